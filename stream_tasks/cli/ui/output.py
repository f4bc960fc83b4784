"""Lines for people, and the streams they are written to."""

import errno
import io
import math
import os
import sys
from typing import Any, TextIO

__all__ = ["describe", "duration", "is_terminal", "prepare", "printable", "to_json"]

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_MINUTE = 60
_HOUR = 3600


def prepare() -> None:
    """Let stdout accept any text in any encoding, as stderr does, and ignore terminal sizes of 0.

    A closed stderr becomes the null device: click would write usage errors to stdout otherwise.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").strip("0"):
            os.environ.pop(name, None)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. It is None if its descriptor was closed."""
    return stream is not None and stream.isatty()


def printable(text: str) -> str:
    """Escape characters that could steer a terminal, and what is not valid Unicode, as JSON would."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    import json

    return json.dumps(character)[1:-1]


def to_json(value: Any, **options: Any) -> str:
    """Write JSON that any parser accepts. Python reads NaN and infinities in JSON; they become null.

    Args:
        value: The value.
        options: Options for `json.dumps`.
    """
    import json

    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(error: OSError) -> str:
    """Describe an error of the system. Most of them come from writing to stdout or stderr."""
    why = error.strerror or str(error)
    if error.filename is not None:
        why += f": {os.fsdecode(error.filename)}"
    elif error.errno not in _NO_DESCRIPTOR:
        why = f"cannot write: {why}"
    return why


def duration(seconds: float) -> str:
    """Write a time for people: ``3.2 s``, ``2:05`` or ``1:02:05``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    if seconds < _HOUR:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
