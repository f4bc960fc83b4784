"""What tests may give, checked where they give it: in the server's thread nobody would see what is wrong."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from stream_tasks._backoff import check_seconds
from stream_tasks.models import StartedTask

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ["check_count", "check_json", "check_kind", "check_pause", "check_times", "id_of", "pause_or_none"]


def check_kind(name: str, value: object, kind: type, allowed: str) -> None:
    """Check that `value` is a `kind`.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")


def check_count(name: str, value: int, *, least: int = 0) -> None:
    """Check a whole number.

    Raises:
        TypeError: It is none.
        ValueError: It is less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, {least} or more, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}")


def check_times(times: float) -> None:
    """Check how often something shall happen.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative.
    """
    check_kind("times", times, int | float, "a number")  # type: ignore[arg-type]  # isinstance takes it
    if not times >= 0:
        raise ValueError(f"times must be 0 or more, not {times!r}")


def check_pause(name: str, seconds: float) -> None:
    """Check a time in seconds, which may be infinite.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative or NaN.
    """
    if seconds != math.inf:
        check_seconds(name, seconds)


def pause_or_none(_: object, attribute: Attribute[Any], value: float | None) -> None:
    """Check an attribute as `check_pause` does, unless it is None."""
    if value is not None:
        check_pause(attribute.name, value)


def check_json(name: str, value: object) -> None:
    """Check that `value` can be sent as JSON.

    Raises:
        TypeError: It cannot.
    """
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"{name} must be what JSON can hold: {exc}") from None


def id_of(task: object) -> str:
    """Return the id of a task that is named by it, or by what its start returned.

    Raises:
        TypeError: It is neither.
        ValueError: The work was done without a task.
    """
    if isinstance(task, StartedTask):
        if task.task_id is None:
            raise ValueError("task_id is None: the work was done at once, without a task")
        task = task.task_id
    if not isinstance(task, str):
        raise TypeError(f"task_id must be a task id (str) or a StartedTask, not {type(task).__name__}")
    return task
