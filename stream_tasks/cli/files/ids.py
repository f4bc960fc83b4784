"""Ids from arguments, files and stdin."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import click

from stream_tasks.cli.ui.output import is_terminal, printable

__all__ = ["STDIN", "can_be_read_again", "read_ids", "task_of"]

STDIN: Final = "-"

Check = Callable[[str], str]
Read = Callable[[str], str | None]


def can_be_read_again(file: str) -> bool:
    """Whether a file of ids still has the same ids when it is read again."""
    return os.path.isfile(file) and not file.startswith(("/dev/fd/", "/dev/stdin", "/proc/"))  # noqa: PTH113


def read_ids(
    arguments: Sequence[str],
    files: Sequence[str],
    *,
    what: str = "task",
    check: Check | None = None,
    read: Read | None = None,
) -> list[str]:
    """Return the ids, in the order given, each once.

    Args:
        arguments: Ids, or ``-`` for stdin.
        files: Paths of files of ids, one a line, or ``-`` for stdin.
        what: What has these ids.
        check: Returns a valid id unchanged, or raises ValueError. By default, it checks a task's id.
        read: Returns the id in a line of a file or of stdin, None for a line without an id, or raises
            ValueError. By default, a line is an id.

    Raises:
        click.UsageError: A file cannot be read, an id is invalid, or there are no ids.
    """
    if not arguments and not files and is_terminal(sys.stdin):
        raise click.UsageError(f"no {what} is named: give ids, --from FILE, or '-' for ids on stdin")
    check = check or _task_id
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
    """Return the id in a line: the line itself, or the ``task_id`` of its JSON object.

    Returns:
        The id, or None if the object's ``task_id`` is null: the server had done the work at once.

    Raises:
        ValueError: The line has no valid id.
    """
    if not line.startswith("{"):
        return _task_id(line)
    import json

    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = {}
    task_id = fields.get("task_id")
    if isinstance(task_id, str):
        return _task_id(task_id)
    if "task_id" in fields and task_id is None:
        return None
    raise ValueError("begins with '{', but is not a JSON object with a text task_id")


def _task_id(value: str) -> str:
    from stream_tasks._arguments import check_task_id

    return check_task_id(value)


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
            # In concatenated files, any line can begin with a byte order mark.
            text = line.decode("utf-8-sig").strip()
            if text and not text.startswith("#") and (item := read(text)) is not None:
                yield item
        except ValueError as error:
            wrong = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise click.UsageError(printable(f"{name}, line {number}: {wrong}")) from None
