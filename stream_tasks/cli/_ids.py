"""Ids from arguments, files and stdin."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import click

from stream_tasks._http import protocol
from stream_tasks.cli._output import is_terminal, printable

__all__ = ["STDIN", "is_lasting", "read_ids", "task_of"]

STDIN: Final = "-"

Check = Callable[[str], str]
Read = Callable[[str], str | None]


def is_lasting(file: str) -> bool:
    """Whether a file of ids has the same ids when it is read once more."""
    return os.path.isfile(file) and not file.startswith(("/dev/fd/", "/dev/stdin", "/proc/"))  # noqa: PTH113


def read_ids(
    arguments: Sequence[str],
    files: Sequence[str],
    *,
    what: str = "task",
    check: Check = protocol.check_task_id,
    read: Read | None = None,
) -> list[str]:
    """Return the ids, in the order given, each once.

    Args:
        arguments: Ids, or ``-`` for stdin.
        files: Paths of files of ids, one a line, or ``-`` for stdin.
        what: What they are the ids of.
        check: Returns an id as it is to be used, or raises ValueError.
        read: Returns the id in a line of a file or of stdin, None if there is none, or raises ValueError;
            without it, a line is an id.

    Raises:
        click.UsageError: A file cannot be read, an id cannot be one, or nothing is given.
    """
    if not arguments and not files and is_terminal(sys.stdin):
        raise click.UsageError(f"no {what} is named: give ids, --from FILE, or '-' for ids on stdin")
    read = read or check
    ids = list(_arguments(arguments, check, read))
    for file in files:
        ids += _stdin(read) if file == STDIN else _file(file, read)
    if not arguments and not files:
        ids += _stdin(read)
        if not ids:
            raise click.UsageError(f"no {what} is named, and there is no id on stdin")
    return list(dict.fromkeys(ids))


def task_of(line: str) -> str | None:
    """Return the task that a line is the id of, or that its JSON object names; None if that had no task.

    Raises:
        ValueError: It names none.
    """
    if not line.startswith("{"):
        return protocol.check_task_id(line)
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = {}
    task_id = fields.get("task_id")
    if isinstance(task_id, str):
        return protocol.check_task_id(task_id)
    if "task_id" in fields and task_id is None:
        return None
    raise ValueError("begins with '{', but is no JSON object with a text task_id")


def _arguments(arguments: Sequence[str], check: Check, read: Read) -> Iterator[str]:
    for argument in arguments:
        if argument == STDIN:
            yield from _stdin(read)
            continue
        try:
            yield check(argument)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'ID'") from None


def _file(path: str, read: Read) -> Iterator[str]:
    try:
        with open(path, "rb") as lines:  # noqa: PTH123 - messages name the path as it was typed
            yield from _lines(lines, path, read)
    except OSError as error:
        raise click.BadParameter(printable(f"{path}: {error.strerror}"), param_hint="'--from'") from None


def _stdin(read: Read) -> Iterator[str]:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    if is_terminal(sys.stdin):
        click.echo("Type ids, one a line; Ctrl-D ends them.", err=True)
    try:
        yield from _lines(sys.stdin.buffer, "stdin", read)
    except OSError as error:
        raise click.UsageError(f"stdin cannot be read: {error.strerror or error}") from None


def _lines(lines: Iterable[bytes] | BinaryIO, name: str, read: Read) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            # Where files were put together, a byte order mark can begin any line.
            text = line.decode("utf-8-sig").strip()
            if text and not text.startswith("#") and (item := read(text)) is not None:
                yield item
        except ValueError as error:
            wrong = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise click.UsageError(printable(f"{name}, line {number}: {wrong}")) from None
