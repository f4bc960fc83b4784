"""The library's log records on stderr."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from stream_tasks.cli.ui.log import say, style

__all__ = ["library_log"]

_RETRYING_EVERY: Final = 10.0
"""People are warned of retries at most once in so many seconds."""

_PREFIX: Final = "stream_"
"""The names of the library's extra attributes of a record begin with this."""


@contextmanager
def library_log() -> Iterator[None]:
    """Say on stderr what the library logs."""
    logger = logging.getLogger("stream_tasks")
    before = logger.level, logger.propagate
    handler = _Handler(style().library_level)
    logger.setLevel(handler.level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Handler(logging.Handler):
    _quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        facts = {
            name.removeprefix(_PREFIX): value
            for name, value in vars(record).items()
            if name.startswith(_PREFIX)
        }
        if style().form is None:
            if self._is_known(str(facts.get("event"))):
                return
            message = f"{record.levelname.capitalize()}: {message}"
        facts = {name: value for name, value in facts.items() if value is not None}
        # A stderr that cannot be written must not end the code that logs.
        with suppress(OSError):
            say(message, record.levelno, facts=facts)

    def _is_known(self, event: str) -> bool:
        """Whether people were told of this a moment ago, or the command tells it by itself."""
        if event == "retrying":
            if time.monotonic() < self._quiet_until:
                return True
            self._quiet_until = time.monotonic() + _RETRYING_EVERY
        return event in ("wait_finished", "waits_failed")
