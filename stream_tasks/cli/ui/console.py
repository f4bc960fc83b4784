"""What is shown with rich."""

import sys
from typing import Any

import click
from rich.highlighter import JSONHighlighter

from stream_tasks._view.screen import PipeConsole, is_live
from stream_tasks.cli.ui.output import is_terminal, printable, to_json

__all__ = ["PipeConsole", "is_live", "show_json"]


def show_json(value: Any) -> None:
    """Print JSON on stdout: coloured and indented on a terminal, else on one line."""
    if not is_terminal(sys.stdout):
        click.echo(to_json(value))
        return
    is_unicode = sys.stdout.encoding.lower().startswith("utf")
    text = to_json(value, indent=2, ensure_ascii=not is_unicode)
    PipeConsole().print(JSONHighlighter()(printable(text)), soft_wrap=True)
