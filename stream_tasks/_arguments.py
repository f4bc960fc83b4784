"""What callers may give, checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, TypeVar, get_origin

from stream_tasks._backoff import check_seconds
from stream_tasks._http import protocol
from stream_tasks._secret import concealed
from stream_tasks.models import StartedTask, TaskResult

T = TypeVar("T")

DEFAULT_REQUEST_TIMEOUT: Final = 30.0
REQUEST_TIMEOUT_VARIABLE: Final = "STREAM_REQUEST_TIMEOUT"


def settings_of(client: Any) -> dict[str, Any]:
    """Return the arguments that make a client like an official one.

    Raises:
        TypeError: `client` lacks one of them.
    """
    settings = concealed({name: getattr(client, name, None) for name in ("api_key", "token", "base_url")})
    for name, value in settings.items():
        if not isinstance(value, str):
            raise TypeError(f"client must be a getstream client: it has no text {name!r}")
    return settings


def check_instance(name: str, value: Any, kind: type[T]) -> T | None:
    """Return `value` if it is None or a `kind`.

    Raises:
        TypeError: It is neither.
    """
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be an {kind.__module__}.{kind.__name__}, not {type(value).__name__}")
    return value


def check_request_timeout(value: float) -> float:
    """Return the request time-out in seconds; the environment replaces the default.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    text = os.environ.get(REQUEST_TIMEOUT_VARIABLE)
    # By identity: a caller's own 30.0 is another object, and is meant.
    if text and value is DEFAULT_REQUEST_TIMEOUT:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(
                f"{REQUEST_TIMEOUT_VARIABLE} must be a number of seconds, not {text!r}"
            ) from None
    return check_seconds("request_timeout", value, positive=True)


def check_timeout(timeout: Any) -> float | None:
    """Return a wait's time-out in seconds, None for no limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    return None if timeout is None else check_seconds("timeout", timeout)


def check_callback(name: str, value: Any) -> None:
    """Check that `value` is None or can be called.

    Raises:
        TypeError: It cannot.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


def check_result_type(value: Any) -> Any:
    """Return what a result is to be decoded to.

    Raises:
        TypeError: It is no class.
    """
    if not isinstance(value, type) and get_origin(value) is None:
        raise TypeError(f"result_type must be a class, not {value!r}")
    return value


def resolve(task: Any, result_type: type[Any] | None, *, name: str = "task") -> tuple[str | None, type[Any]]:
    """Return the id to ask for, if there is one, and what the result is decoded to."""
    if result_type is not None:
        check_result_type(result_type)
    if isinstance(task, StartedTask):
        kind = task.result_type if result_type is None else result_type
        if task.task_id is not None:
            protocol.path_segment("task_id", task.task_id)
        return task.task_id, kind
    if not isinstance(task, str):
        raise TypeError(f"{name} must be a task id (str) or a StartedTask, not {type(task).__name__}")
    protocol.path_segment(name, task)
    return task, TaskResult if result_type is None else result_type


def check_tasks(tasks: Any) -> Iterable[Any]:
    """Check that `tasks` is one.

    Raises:
        TypeError: It is none, or a single task.
    """
    if isinstance(tasks, str | bytes | StartedTask) or not isinstance(tasks, Iterable):
        raise TypeError(f"tasks must be an iterable of task ids or StartedTasks, not {type(tasks).__name__}")
    return tasks
