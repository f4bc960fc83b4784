"""Ids from arguments, files and stdin."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import click

from stream_tasks._http import protocol
from stream_tasks.cli._output import is_terminal

__all__ = ["read_ids", "uses_stdin"]

STDIN: Final = "-"

Check = Callable[[str], str]


def uses_stdin(arguments: Sequence[str], files: Sequence[str]) -> bool:
    """Whether ids are read from stdin: it is named, or nothing is given at all."""
    return STDIN in (*arguments, *files) or not (arguments or files)


def read_ids(
    arguments: Sequence[str],
    files: Sequence[str],
    *,
    what: str = "task",
    check: Check = protocol.check_task_id,
) -> list[str]:
    """Return the ids, in the order given, each once.

    Args:
        arguments: Ids, or ``-`` for stdin.
        files: Paths of files of ids, one a line, or ``-`` for stdin.
        what: What they are the ids of.
        check: Returns an id as it is to be used, or raises ValueError.

    Raises:
        click.UsageError: A file cannot be read, an id cannot be one, or nothing is given.
    """
    if not arguments and not files and is_terminal(sys.stdin):
        raise click.UsageError(f"no {what} is named: give ids, --from FILE, or '-' for ids on stdin")
    ids = list(_arguments(arguments, check))
    for file in files:
        ids += _stdin(check) if file == STDIN else _file(file, check)
    if not arguments and not files:
        ids += _stdin(check)
        if not ids:
            raise click.UsageError(f"no {what} is named, and there is no id on stdin")
    return list(dict.fromkeys(ids))


def _arguments(arguments: Sequence[str], check: Check) -> Iterator[str]:
    for argument in arguments:
        if argument == STDIN:
            yield from _stdin(check)
            continue
        try:
            yield check(argument)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'ID'") from None


def _file(path: str, check: Check) -> Iterator[str]:
    try:
        with open(path, "rb") as lines:  # noqa: PTH123 - messages name the path as it was typed
            yield from _lines(lines, path, check)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--from'") from None


def _stdin(check: Check) -> Iterator[str]:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    if is_terminal(sys.stdin):
        click.echo("Type ids, one a line; Ctrl-D ends them.", err=True)
    return _lines(sys.stdin.buffer, "stdin", check)


def _lines(lines: Iterable[bytes] | BinaryIO, name: str, check: Check) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text and not text.startswith("#"):
                yield check(text)
        except ValueError as error:
            wrong = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise click.UsageError(f"{name}, line {number}: {wrong}") from None
