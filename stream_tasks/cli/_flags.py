"""An operation's own options as options of a command, read off its signature and its docstring."""

import inspect
import re
from collections.abc import Callable
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import click

__all__ = ["flags"]

_ARGUMENT: Final = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def flags(operation: Callable[..., Any]) -> list[click.Option]:
    """Return an option for each argument of an operation but the first, which are its items."""
    hints = get_type_hints(operation)
    told = dict(_ARGUMENT.findall(inspect.getdoc(operation) or ""))
    _, *names = inspect.signature(operation).parameters
    return [
        _option(name, hints[name], " ".join(told.get(name, "").replace("``", "").split())) for name in names
    ]


def _option(name: str, hint: Any, about: str) -> click.Option:
    (kind,) = (kind for kind in get_args(hint) if kind is not NoneType)
    flag = f"--{name.replace('_', '-')}"
    if kind is bool:
        # Without the flag nothing is sent, and the API's own default holds.
        return click.Option([flag, name], is_flag=True, flag_value=True, default=None, help=about)
    if get_origin(kind) is Literal:
        return click.Option([flag, name], type=click.Choice(get_args(kind)), help=about)
    if kind is str:
        metavar = "ID" if name.endswith("_id") else "TEXT"
        return click.Option([flag, name], metavar=metavar, help=about)
    return click.Option(
        [flag, name],
        multiple=True,
        metavar="TEXT",
        help=f"{about} May be given several times.",
        callback=_list,
    )


def _list(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
    return list(values) or None
