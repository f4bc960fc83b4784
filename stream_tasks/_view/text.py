"""Times and texts for people."""

from typing import Final, TextIO

__all__ = ["about", "duration", "is_terminal", "note_of", "printable", "whole"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_STEP: Final = 5
"""An estimate below a minute is a multiple of so many seconds."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. It is None if its descriptor was closed."""
    return stream is not None and stream.isatty()


def printable(text: str) -> str:
    """Escape characters that could steer a terminal, and what is not valid Unicode, as JSON would."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    import json  # noqa: PLC0415 - it is rarely needed

    return json.dumps(character)[1:-1]


def duration(seconds: float) -> str:
    """Write a time for people: ``3.2 s``, ``2:05`` or ``1:02:05``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    if seconds < _HOUR:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def whole(seconds: float) -> str:
    """Write a time in whole seconds: tenths would flicker."""
    return f"{int(seconds)} s" if seconds < _MINUTE else duration(seconds)


def about(seconds: float) -> str:
    """Write a rough time, rounded up: ``40 s``, ``3 min`` or ``2 h 10 min``."""
    rounded = -int(-seconds // _STEP) * _STEP
    if rounded < _MINUTE:
        return f"{max(rounded, _STEP)} s"
    minutes = -int(-seconds // _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min"
    return f"{minutes // _MINUTE:,} h {minutes % _MINUTE} min"


def note_of(status: str, kind: str, description: str) -> str:
    """Tell in a few words what went wrong with a task, for a row that names it already.

    Args:
        status: ``failed``, ``timed_out`` or ``error``.
        kind: The type of the error.
        description: Its description.
    """
    if status == "timed_out":
        return kind.replace("_", " ")
    return printable(description if status == "error" else f"{kind}: {description}".removesuffix(": "))
