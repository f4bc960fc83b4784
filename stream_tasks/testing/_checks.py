"""Checks of what tests give, made where they give it: nobody would see an error in the server's thread."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from stream_tasks import _arguments
from stream_tasks._arguments import check_seconds, text_value
from stream_tasks.models import StartedTask

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = [
    "check_count",
    "check_flag",
    "check_json",
    "check_kind",
    "check_pause",
    "check_times",
    "flag",
    "id_of",
    "pause",
    "pause_or_none",
    "text",
    "text_or_none",
]


check_count = partial(_arguments.check_count, least=0, what="a whole number")


def check_kind(name: str, value: object, kind: type, allowed: str) -> None:
    """Check that `value` is a `kind`.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")


def check_flag(name: str, value: object) -> None:
    """Check that a value is True or False.

    Raises:
        TypeError: It is neither.
    """
    check_kind(name, value, bool, "True or False")


def check_times(times: float) -> None:
    """Check how often something is to happen.

    Raises:
        TypeError: It is neither a whole number nor infinite.
        ValueError: It is negative.
    """
    if isinstance(times, bool) or not (hasattr(type(times), "__index__") or times == math.inf):
        raise TypeError(f"times must be a whole number, 0 or more, or math.inf, not {times!r}")
    if times < 0:
        raise ValueError(f"times must be 0 or more, not {times!r}")


def check_pause(name: str, seconds: float) -> None:
    """Check a time in seconds, which may be infinite.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative or NaN.
    """
    if seconds != math.inf:
        check_seconds(name, seconds)


def pause(_: object, attribute: Attribute[Any], value: float) -> None:
    """Check an attribute as `check_pause` does."""
    check_pause(attribute.name, value)


def pause_or_none(_: object, attribute: Attribute[Any], value: float | None) -> None:
    """Check an attribute as `check_pause` does, unless it is None."""
    if value is not None:
        check_pause(attribute.name, value)


def flag(_: object, attribute: Attribute[Any], value: object) -> None:
    """Check an attribute as `check_flag` does."""
    check_flag(attribute.name, value)


def text(_: object, attribute: Attribute[Any], value: object) -> None:
    """Check that an attribute is a text."""
    check_kind(attribute.name, value, str, "a text")


def text_or_none(_: object, attribute: Attribute[Any], value: object) -> None:
    """Check that an attribute is a text or None."""
    if value is not None:
        check_kind(attribute.name, value, str, "a text or None")


def check_json(name: str, value: object) -> None:
    """Check that `value` can be sent as JSON.

    Raises:
        TypeError: It cannot.
    """
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"{name} must be what JSON can hold: {exc}") from None


def id_of(task: object, name: str = "task_id") -> str:
    """Return the id of a task that is named by it, or by what its start returned.

    Raises:
        TypeError: It is neither.
        ValueError: The work was done without a task.
    """
    if isinstance(task, StartedTask):
        if task.task_id is None:
            raise ValueError("task_id is None: the work was done at once, without a task")
        task = task.task_id
    if not isinstance(task, str | UUID):
        raise TypeError(f"{name} must be a task id (str) or a StartedTask, not {type(task).__name__}")
    return str(task) if isinstance(task, UUID) else text_value(task)
