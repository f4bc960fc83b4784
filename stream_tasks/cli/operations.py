"""What the command line needs to know of the operations, read off their descriptions."""

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from textwrap import dedent
from typing import TYPE_CHECKING, Any, Final

import click

from stream_tasks._operations import OPERATIONS
from stream_tasks._requests import Field

if TYPE_CHECKING:
    from stream_tasks.models import StartedTask

__all__ = ["as_started", "check", "max_items", "operation_name", "options_of"]

_ARGUMENT: Final = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def max_items(operation: str) -> int:
    """Return how many items a task of an operation can have."""
    described = OPERATIONS[operation]
    return described.most[described.items]


def check(operation: str, *items: Sequence[Any], **options: Any) -> None:
    """Check an operation's arguments without sending anything.

    Raises:
        ValueError: An argument is invalid.
    """
    OPERATIONS[operation].request(*items, **options)


def operation_name(value: str) -> str:
    """Return an operation's name as the API writes it.

    Raises:
        click.BadParameter: There is no such operation.
    """
    name = value.replace("-", "_")
    if name not in OPERATIONS:
        raise click.BadParameter(f"{value!r} is not one of {', '.join(OPERATIONS)}")
    return name


def as_started(task_id: str, fields: Mapping[str, Any]) -> "str | StartedTask[Any]":
    """Return what is known of a task that was started elsewhere: at least its id.

    Args:
        task_id: The id.
        fields: The line of JSON about it: its ``operation`` and ``items``, if they are known.
    """
    from stream_tasks.models import StartedTask

    operation, items = fields.get("operation"), fields.get("items")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        return task_id
    of = items if isinstance(items, list) and all(isinstance(each, str) for each in items) else ()
    return StartedTask(task_id, {}, OPERATIONS[operation].result_type, operation=operation, items=tuple(of))


def options_of(operation: str) -> list[click.Option]:
    """Return a command-line option for each argument of an operation, except for its items."""
    described = OPERATIONS[operation]
    about = dict(_ARGUMENT.findall(_docstring(described.rules)))
    return [
        _option(field, " ".join(about.get(field.name, "").replace("``", "").split()))
        for field in described.fields
        if field.name != described.items
    ]


def _docstring(function: Callable[..., Any]) -> str:
    """Return a function's docstring, also under ``python -OO``, which drops docstrings."""
    found = inspect.getdoc(function)
    if found is None:
        tree = ast.parse(dedent(inspect.getsource(function)))
        found = ast.get_docstring(next(each for each in tree.body if isinstance(each, ast.FunctionDef)))
    return found or ""


def _option(field: Field, about: str) -> click.Option:
    names = [f"--{field.name.replace('_', '-')}", field.name]
    if field.type == "flag":
        # Without the flag nothing is sent, and the API's default applies.
        return click.Option(names, is_flag=True, flag_value=True, default=None, help=about)
    if field.type == "word":
        return click.Option(names, type=click.Choice(field.words), required=field.is_required, help=about)
    if field.type == "object":
        about = f"A JSON object: {about}"
        return click.Option(names, type=_json_object, metavar="JSON", required=field.is_required, help=about)
    if field.type == "list":
        return click.Option(
            names,
            multiple=True,
            metavar="TEXT",
            help=f"{about} May be given several times.",
            callback=lambda _, __, values: list(values) or None,
        )
    metavar = "ID" if field.type == "id" else "TEXT"
    return click.Option(names, metavar=metavar, required=field.is_required, help=about)


def _json_object(value: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{value!r} is not a JSON object")
    return found
