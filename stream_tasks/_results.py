"""From final snapshots to what a wait returns or raises."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from stream_tasks import _json
from stream_tasks.exceptions import StreamTaskException
from stream_tasks.models import StartedTask, Task, TaskOutcome, TaskResult

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # aiohttp depends on it and has imported it

if TYPE_CHECKING:
    from stream_tasks._engine.tracked import Wait

__all__ = ["R", "T", "decode_result", "outcome_at_once", "outcome_of", "result_at_once", "result_of"]

T = TypeVar("T", default=TaskResult)
"""What a task results in: a `TaskResult` if all that is known of the task is its id."""

R = TypeVar("R", default=T)
"""What a wait returns: `T`, unless the caller gives a `result_type`."""


def outcome_of(wait: Wait, kind: type[T]) -> TaskOutcome[T]:
    """Return the outcome of a wait that has ended."""
    value, error = None, None
    try:
        value = result_of(wait.task_id, wait.final(), kind)
    except Exception as exc:  # noqa: BLE001 - nothing about one task is raised
        error = exc
    return TaskOutcome(wait.task_id, wait.task, wait.polls, wait.elapsed, value, error)


def outcome_at_once(started: StartedTask[T]) -> TaskOutcome[T]:
    """Return the outcome of what the server did in the request."""
    return TaskOutcome(None, None, 0, 0.0, started.result)


def result_at_once(data: dict[str, Any], result_type: type[T]) -> T:
    """Return what an operation came to that the server did in the request, from its answer."""
    payload = data.get("result")
    return decode_result(payload if isinstance(payload, dict) else {}, result_type, None)


def result_of(task_id: str, task: Task, kind: type[T]) -> T:
    """Turn a final snapshot into what the wait returns or raises."""
    if task.status == "failed":
        raise StreamTaskException.from_task(task_id, task)
    return decode_result(task.result or {}, kind, task)


def decode_result(payload: dict[str, Any], kind: type[T], task: Task | None) -> T:
    """Turn a payload into what the caller is to get.

    Raises:
        StreamDecodeException: It does not fit; it says where.
    """
    if kind is TaskResult:
        return TaskResult(payload, task)  # type: ignore[return-value]
    return _json.structure(payload, kind, path="$.result")
