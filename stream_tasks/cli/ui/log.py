"""What is said on stderr: lines for people, or with ``--log-format`` records with times."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from stream_tasks.cli.ui.output import printable, to_json

__all__ = [
    "DEBUG",
    "ERROR",
    "INFO",
    "LEVELS",
    "WARNING",
    "Style",
    "default_style",
    "say",
    "say_error",
    "set_style",
    "style",
]

# The numbers are those of `logging`, which takes long to import.
DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
LEVELS: Final = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_NAMES: Final = {number: name for name, number in LEVELS.items()}


class Style(NamedTuple):
    """How stderr is written.

    Attributes:
        form: ``text`` or ``json`` for records with times, None for lines for people.
        level: The lowest level that is said.
        library_level: The lowest level of the library's own records that is said.
    """

    form: str | None = None
    level: int = INFO
    library_level: int = WARNING


_FOR_PEOPLE: Final = Style()

# A command's tasks and threads have its context variables, but not click's context.
_style: ContextVar[Style] = ContextVar("style")


@contextmanager
def default_style() -> Iterator[None]:
    """Begin with lines for people, and forget at the end what `set_style` set."""
    token = _style.set(_FOR_PEOPLE)
    try:
        yield
    finally:
        _style.reset(token)


def set_style(new: Style) -> None:
    """Set how stderr is written, until the end of the command."""
    _style.set(new)


def style() -> Style:
    """Return how stderr is written."""
    return _style.get(_FOR_PEOPLE)


def say(
    message: str, level: int = INFO, *, lines: Sequence[str] = (), facts: Mapping[str, Any] | None = None
) -> None:
    """Say something on stderr.

    Args:
        message: What to say. Characters that could steer a terminal are escaped.
        level: How important it is, one of `LEVELS`.
        lines: More lines; in JSON, a list.
        facts: For JSON only.

    Raises:
        OSError: stderr cannot be written.
    """
    form, lowest, _ = style()
    if level < lowest:
        return
    if form is None:
        _write("\n".join([message, *lines]))
        return
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = _NAMES.get(level, str(level))
    message = message.strip()
    if form == "text":
        _write("\n".join(f"{time} {name.upper()} {line}" for line in [*message.splitlines(), *lines]))
        return
    record = {"time": time, "level": name, "message": message, **(facts or {})}
    _write(to_json(record | ({"lines": list(lines)} if lines else {}), default=str))


def say_error(message: str, facts: Mapping[str, Any] | None = None) -> None:
    """Say that something went wrong.

    Raises:
        OSError: stderr cannot be written.
    """
    say(f"Error: {message}" if style().form is None else message, ERROR, facts=facts)


def _write(text: str) -> None:
    # `sys.stderr` is looked up each time, unlike click does: rich replaces it while it draws a table.
    if sys.stderr is not None:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
