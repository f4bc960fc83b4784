"""The library's warnings on stderr."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from stream_tasks.cli.ui.output import printable

__all__ = ["warnings_on_stderr"]

_RETRYING_EVERY: Final = 10.0
"""Warnings about retries come at most once in so many seconds."""


@contextmanager
def warnings_on_stderr(*, quiet: bool = False) -> Iterator[None]:
    """Write the library's warnings as lines for people, or drop them if `quiet`."""
    logger = logging.getLogger("stream_tasks")
    handler = logging.NullHandler() if quiet else _Lines(logging.WARNING)
    was_propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = was_propagated


class _Lines(logging.Handler):
    _quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "stream_event", None)
        if event == "wait_finished":
            return  # the command tells this itself
        if event == "retrying":
            if time.monotonic() < self._quiet_until:
                return
            self._quiet_until = time.monotonic() + _RETRYING_EVERY
        # A closed stderr must not end the code that warns. `sys.stderr` is looked up each time, unlike click
        # does: rich replaces it while it draws a table.
        with suppress(OSError):
            if sys.stderr is not None:
                sys.stderr.write(f"Warning: {printable(record.getMessage())}\n")
