"""Lines for people, and the streams they are written to."""

import errno
import io
import math
import os
import sys
from typing import Any

from stream_tasks._view.text import duration, is_terminal, printable

__all__ = ["describe", "duration", "is_terminal", "prepare", "printable", "to_json"]

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


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
