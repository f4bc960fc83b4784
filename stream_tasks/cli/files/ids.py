"""Ids from arguments, files and stdin."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

import click

from stream_tasks.cli.ui.output import is_terminal, printable

__all__ = ["STDIN", "can_be_read_again", "read_ids", "task_of"]

STDIN: Final = "-"

Check = Callable[[str], str]
Read = Callable[[str], str | None]
Parse = Callable[[Iterable[bytes], str], Iterator[str]]


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
    column: str | None = None,
) -> list[str]:
    """Return the ids, in the order given, each once.

    Args:
        arguments: Ids, or ``-`` for stdin.
        files: Paths of files of ids, one a line, or ``-`` for stdin.
        what: What has these ids.
        check: Returns a valid id unchanged, or raises ValueError. By default, it checks a task's id.
        read: Returns the id in a line of a file or of stdin, None for a line without an id, or raises
            ValueError. By default, a line is an id, and must not have a comma.
        column: The column that has the ids, if files and stdin are tables.

    Raises:
        click.UsageError: A file cannot be read, an id is invalid, or there are no ids.
    """
    if not arguments and not files and is_terminal(sys.stdin):
        raise click.UsageError(f"no {what} is named: give ids, --from FILE, or '-' for ids on stdin")
    if column is not None and arguments and not files and STDIN not in arguments:
        raise click.UsageError("--column needs a table: give --from FILE, or '-' for a table on stdin")
    check = check or _task_id
    parse: Parse = partial(_lines, read=read or partial(_plain, check))
    if column is not None:
        parse = partial(_table, column=column, check=check)
    ids = list(_arguments(arguments, check, parse))
    for file in files:
        ids += _stdin(parse) if file == STDIN else _file(file, parse)
    if not arguments and not files:
        ids += _stdin(parse)
        if not ids:
            raise click.UsageError(f"no {what} is named, and there is no id on stdin")
    return list(dict.fromkeys(ids))


def task_of(line: str, described: dict[str, dict[str, Any]]) -> str | None:
    """Return the id in a line: the line itself, or the ``task_id`` of its JSON object.

    Args:
        line: The line.
        described: Gets the JSON object, by its id.

    Returns:
        The id, or None if the object's ``task_id`` is null: the server had done the work at once.

    Raises:
        ValueError: The line has no valid id.
    """
    if not line.startswith("{"):
        return _plain(_task_id, line)
    import json

    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = {}
    task_id = fields.get("task_id")
    if isinstance(task_id, str):
        described[task_id] = fields
        return _task_id(task_id)
    if "task_id" in fields and task_id is None:
        return None
    raise ValueError("begins with '{', but is not a JSON object with a text task_id")


def _plain(check: Check, value: str) -> str:
    if "," in value:
        raise ValueError(f"an id has no comma, but {value!r} has; --column NAME reads a table")
    return check(value)


def _task_id(value: str) -> str:
    from stream_tasks._arguments import check_task_id

    return check_task_id(value)


def _arguments(arguments: Sequence[str], check: Check, parse: Parse) -> Iterator[str]:
    for argument in arguments:
        if argument == STDIN:
            yield from _stdin(parse)
            continue
        try:
            yield _plain(check, argument)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'ID'") from None


def _file(path: str, parse: Parse) -> Iterator[str]:
    try:
        with open(path, "rb") as lines:  # noqa: PTH123 - messages name the path as it was typed
            yield from parse(lines, path)
    except OSError as error:
        raise click.BadParameter(printable(f"{path}: {error.strerror}"), param_hint="'--from'") from None


def _stdin(parse: Parse) -> Iterator[str]:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    if is_terminal(sys.stdin):
        click.echo("Type ids, one a line; Ctrl-D ends them.", err=True)
    try:
        yield from parse(sys.stdin.buffer, "stdin")
    except OSError as error:
        raise click.UsageError(f"stdin cannot be read: {error.strerror or error}") from None


def _lines(lines: Iterable[bytes], name: str, *, read: Read) -> Iterator[str]:
    """Read a file of ids, one a line."""
    for number, text in enumerate(_decoded(lines, name), 1):
        line = text.strip()
        try:
            if line and not line.startswith("#") and (item := read(line)) is not None:
                yield item
        except ValueError as error:
            raise _wrong(name, number, error) from None


def _table(lines: Iterable[bytes], name: str, *, column: str, check: Check) -> Iterator[str]:
    """Read a column of a table that begins with a line of headings."""
    import csv

    texts = _decoded(lines, name)
    first = next(texts, "")
    mark = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    rows = csv.reader(chain([first], texts), delimiter=mark, strict=True)
    try:
        for cell in _cells(rows, column):
            yield check(cell)
    except (ValueError, csv.Error) as error:
        raise _wrong(name, rows.line_num, error) from None


def _cells(rows: Iterator[list[str]], column: str) -> Iterator[str]:
    """Yield the cells of a column. The first row has the columns' names."""
    names = [name.strip() for name in next(rows)]
    if names.count(column) != 1:
        raise ValueError(f"there must be one column {column!r}, but there are {', '.join(names)}")
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        # In a row with too many or too few cells, another cell may be in this one's place.
        if len(cells) != len(names):
            raise ValueError(f"the row has {len(cells)} cells, but there are {len(names)} columns")
        cell = cells[names.index(column)]
        if not cell:
            raise ValueError(f"{column} is empty")
        yield cell


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Decode lines. In concatenated files, any line can begin with a byte order mark."""
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise _wrong(name, number, "is not UTF-8") from None


def _wrong(name: str, number: int, why: object) -> click.UsageError:
    return click.UsageError(printable(f"{name}, line {number}: {why}"))
