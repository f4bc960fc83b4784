"""JSON for programs, lines for people, and what a terminal shows."""

import errno
import io
import json
import os
import sys
from typing import Any, TextIO

import click
from rich.console import Console
from rich.highlighter import JSONHighlighter

from stream_tasks.exceptions import StreamException

__all__ = [
    "PipeConsole",
    "complain",
    "duration",
    "is_live",
    "is_terminal",
    "prepare",
    "printable",
    "refused",
    "show_json",
]

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_MINUTE = 60
_HOUR = 3600


def prepare() -> None:
    """Let stdout take any text in any encoding, as stderr does, and sizes of 0 count as unset.

    A closed stderr becomes the null device: click writes wrong usage to stdout otherwise.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").strip("0"):
            os.environ.pop(name, None)


class PipeConsole(Console):
    """A console that leaves a closed pipe to the command line's own handling."""

    def on_broken_pipe(self) -> None:
        """Raise once more what rich would turn into an exit code of its own."""
        raise BrokenPipeError


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people read or write there; a stream is None where its descriptor was closed."""
    return stream is not None and stream.isatty()


def is_live(console: Console) -> bool:
    """Whether lines that were written can be written over; a forced colour does not make a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


def printable(text: str) -> str:
    """Escape whatever could steer a terminal or is no Unicode text, as JSON would."""
    return "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1] for c in text)


def show_json(value: Any) -> None:
    """Print JSON on stdout: coloured and indented on a terminal, else on one line."""
    if not is_terminal(sys.stdout):
        click.echo(json.dumps(value))
        return
    is_unicode = sys.stdout.encoding.lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not is_unicode)
    PipeConsole().print(JSONHighlighter()(printable(text)), soft_wrap=True)


def complain(error: StreamException) -> None:
    """Print an error on stderr."""
    click.echo(f"Error: {printable(str(error))}", err=True)


def refused(error: OSError) -> str:
    """Say what the system refused, in most cases to write to stdout or stderr."""
    why = error.strerror or str(error)
    if error.filename is not None:
        why += f": {os.fsdecode(error.filename)}"
    elif error.errno not in _NO_DESCRIPTOR:
        why = f"cannot write: {why}"
    return f"Error: {printable(why)}"


def duration(seconds: float) -> str:
    """Write a time for people: ``3.2 s``, ``2:05`` or ``1:02:05``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    if seconds < _HOUR:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
