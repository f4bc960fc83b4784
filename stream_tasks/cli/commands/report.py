"""``report``: report on waits that have ended."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from stream_tasks.cli.files.ids import STDIN
from stream_tasks.cli.options import FILE
from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.output import is_terminal, printable

if TYPE_CHECKING:
    from stream_tasks._report.record import Record

__all__ = ["command"]


@click.command(
    "report",
    params=[
        click.Argument(["files"], metavar="FILE...", nargs=-1, required=True, type=FILE),
        click.Option(
            ["--html", "page"],
            type=FILE,
            metavar="FILE",
            help="Write the report to FILE as a page that a browser shows, with a timeline and a histogram.",
        ),
    ],
    help="Report on waits: counts, durations, failures by type, failed items, polls.\n\n"
    "FILE holds what 'wait' printed as JSON, or is the journal of a wait; '-' is stdin. If a task is in it "
    "more than once, its end counts. The page needs no network, and holds no link to an export.",
    epilog=epilog(
        "stream-tasks wait --from ids.txt --json > wait.jsonl",
        "stream-tasks report wait.jsonl --html report.html",
        exit_codes={
            0: "the report was made, whatever is in it",
            2: "wrong usage, or a file cannot be used",
        },
    ),
)
def command(*, files: tuple[str, ...], page: str | None) -> None:
    """Print the report, and write the page."""
    for file in files:
        if page is not None and file != STDIN and os.path.exists(page) and os.path.samefile(file, page):  # noqa: PTH110, PTH121 - --help does without pathlib
            raise click.UsageError("--html would overwrite the file that is to be read")
    from stream_tasks._report import Report

    found = Report(record for file in files for record in _read(file))
    if page is not None:
        _write(page, found.to_html())
    if page != STDIN:
        _show(str(found))


def _read(file: str) -> Iterator["Record"]:
    """Yield what a file, or stdin, tells of each wait."""
    from contextlib import nullcontext

    name = "stdin" if file == STDIN else file
    if file == STDIN and sys.stdin is None:
        raise click.UsageError("stdin is closed")
    try:
        # A file is named in messages as it was typed.
        with nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as lines:  # noqa: PTH123
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from _parse(line, f"{name}, line {number}")
    except OSError as error:
        raise click.UsageError(printable(f"{name} cannot be read: {error.strerror or error}")) from None


def _parse(line: bytes, place: str) -> Iterator["Record"]:
    import json

    from stream_tasks._report.record import record_of
    from stream_tasks.cli.ui.log import WARNING, say

    try:
        record = record_of(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        if not line.endswith(b"\n"):
            # Whoever wrote it was killed, or is still writing.
            say(f"Warning: {place} is cut off, and left out.", WARNING)
            return
        told = str(error) if isinstance(error, ValueError) and not isinstance(error, UnicodeError) else ""
        if isinstance(error, json.JSONDecodeError) or not told:
            told = "it is not a JSON object in UTF-8"
        raise click.UsageError(printable(f"{place} is not an outcome of a wait: {told}")) from None
    yield record


def _write(path: str, page: str) -> None:
    """Write the page, whole or not at all."""
    if path == STDIN:
        click.echo(page, nl=False)
        return
    import tempfile

    try:
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - as above
            # A device, or a pipe.
            with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(page)
            return
        folder = os.path.dirname(os.path.realpath(path))  # noqa: PTH120
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as part:
            try:
                part.write(page)
                part.close()
                os.replace(part.name, os.path.realpath(path))  # noqa: PTH105
            except BaseException:
                os.unlink(part.name)  # noqa: PTH108
                raise
    except OSError as error:
        raise click.BadParameter(
            printable(f"{path} cannot be written: {error.strerror or error}"), param_hint="'--html'"
        ) from None


def _show(text: str) -> None:
    if not is_terminal(sys.stdout):
        click.echo(text)
        return
    from rich.text import Text

    from stream_tasks.cli.ui.console import PipeConsole

    shown = Text(text)
    shown.highlight_regex(r"(?m)^(?!  ).*", "bold")
    shown.highlight_regex(r"\b[1-9][\d,]* (failed|could not be polled)", "red")
    shown.highlight_regex(r"\b[1-9][\d,]* timed out", "yellow")
    PipeConsole(highlight=False).print(shown, soft_wrap=True)
