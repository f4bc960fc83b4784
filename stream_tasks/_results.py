"""From a task to its id, and from its final snapshot to what a wait returns or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from stream_tasks import _json
from stream_tasks._arguments import check_result_type, check_segment, check_task_id
from stream_tasks.exceptions import StreamTaskException
from stream_tasks.models import StartedTask, T, Task, TaskOutcome, TaskResult

if TYPE_CHECKING:
    from stream_tasks._engine.tracked import Wait

__all__ = ["decode_result", "outcome_at_once", "outcome_of", "resolve", "result_at_once", "result_of"]


def resolve(task: Any, result_type: type[T] | None, *, name: str = "task") -> tuple[str | None, type[T]]:
    """Return the id of the task to ask for, if it has one, and what its result is decoded to.

    Raises:
        TypeError: `task` is neither an id nor a `StartedTask`, or `result_type` is not a class.
        ValueError: The id cannot be one.
    """
    if result_type is not None:
        check_result_type(result_type)
    if isinstance(task, StartedTask):
        kind = task.result_type if result_type is None else result_type
        return None if task.task_id is None else check_task_id(task.task_id), kind
    if not isinstance(task, str | UUID):
        raise TypeError(f"{name} must be a task id (str) or a StartedTask, not {type(task).__name__}")
    return check_segment(name, task), cast("type[T]", result_type or TaskResult)


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
