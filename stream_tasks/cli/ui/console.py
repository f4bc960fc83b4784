"""What is shown with rich."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.highlighter import JSONHighlighter

from stream_tasks.cli.ui.output import is_terminal, printable, to_json

__all__ = ["PipeConsole", "is_live", "show_json"]


class PipeConsole(Console):
    """A console that leaves a closed pipe to the command line's own handling."""

    def on_broken_pipe(self) -> None:
        """Raise again what rich would turn into an exit code of its own."""
        raise BrokenPipeError


def is_live(console: Console) -> bool:
    """Whether lines that were written can be overwritten. A forced colour does not make a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


def show_json(value: Any) -> None:
    """Print JSON on stdout: coloured and indented on a terminal, else on one line."""
    if not is_terminal(sys.stdout):
        click.echo(to_json(value))
        return
    is_unicode = sys.stdout.encoding.lower().startswith("utf")
    text = to_json(value, indent=2, ensure_ascii=not is_unicode)
    PipeConsole().print(JSONHighlighter()(printable(text)), soft_wrap=True)
