"""From a task to what a wait is for, and from its final snapshot to what the wait returns or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast
from uuid import UUID

from attrs import evolve, frozen

from stream_tasks import _json
from stream_tasks._arguments import awaiting, check_result_type, check_segment, check_task_id, text_value
from stream_tasks._engine.sighting import UNKNOWN, Origin
from stream_tasks._operations import OPERATIONS
from stream_tasks.endpoints import TASK, Endpoint, Polled
from stream_tasks.exceptions import StreamDecodeException, StreamTaskException, one_line
from stream_tasks.models import (
    ExportChannelsResult,
    ExportUsersResult,
    ItemResults,
    StartedTask,
    T,
    Task,
    TaskOutcome,
    TaskResult,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    from stream_tasks._engine.poll import Key
    from stream_tasks._engine.tracked import Wait
    from stream_tasks._requests import Request

__all__ = [
    "Goal",
    "OperationName",
    "check_decodable",
    "decode_answer",
    "goal_of_ids",
    "origin_of",
    "outcome_at_once",
    "outcome_of",
    "resolve",
    "result_at_once",
    "result_of",
    "snapshot_of",
    "task_id_in",
]

_KEYS_SHOWN: Final = 120

Any_contra = TypeVar("Any_contra", contravariant=True)


class OperationName(Protocol[Any_contra]):
    """A text that names an operation.

    It is a `str`, of which this asks no more than what makes type checkers take the results of a named
    operation for ``Any``: they cannot know them, as `str.__mod__` takes anything.
    """

    def __mod__(self, value: Any_contra, /) -> str:
        """Only a text has it."""
        ...


@frozen
class Goal(Generic[T]):
    """What a wait is for.

    Attributes:
        result_type: What the task's result is decoded to.
        operation: The operation that started the task, if it is known.
        items: What the operation is for, if it is known.
        endpoint: Where what the operation starts is polled, None if that is a task.
        done: The operation, if the server did it at once, so that there is no task.
    """

    result_type: type[T]
    operation: str | None = None
    items: tuple[str, ...] = ()
    endpoint: Endpoint[Any] | None = None
    done: StartedTask[Any] | None = None


_PAYLOAD = Goal(TaskResult)


def goal_of_ids(result_type: type[T] | None = None, operation: Any = None) -> Goal[T]:
    """Return what a wait for a bare id is for.

    Args:
        result_type: What the caller gave for it.
        operation: The name of the operation, or the client's method, that the caller gave.

    Raises:
        TypeError: One has a wrong type.
        ValueError: There is no such operation.
    """
    if result_type is None and operation is None:
        return cast("Goal[T]", _PAYLOAD)
    if result_type is not None:
        check_decodable(result_type)
    if operation is None:
        return Goal(cast("type[T]", result_type))
    name = getattr(operation, "__name__", operation)
    if not isinstance(name, str):
        raise TypeError(f"operation must be a str or a method of the client, not {type(name).__name__}")
    name = text_value(name)
    if name not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, not {name!r}")
    kind = OPERATIONS[name].result_type if result_type is None else result_type
    return Goal(kind, name, endpoint=_endpoint_of(name))


def check_decodable(result_type: type[T]) -> type[T]:
    """Return a type to decode results to.

    Raises:
        TypeError: It is not a class, or nothing can be decoded to it.
    """
    if result_type is not TaskResult:
        check_result_type(result_type)
        _json.check_kind("result_type", cast("Hashable", result_type))
    return result_type


def resolve(
    task: Any, of_ids: Goal[T], result_type: type[Any] | None = None, *, name: str = "task"
) -> tuple[Key | None, Goal[T]]:
    """Return what to poll, if there is anything, and what the wait is for.

    Args:
        task: The task that a caller gave.
        of_ids: What a wait for a bare id is for.
        result_type: What the caller gave to decode the result to, in place of a started task's own.
        name: What to call `task` in an error.

    Raises:
        TypeError: `task` is neither an id, nor a `StartedTask`, nor `Polled`; or nothing can be decoded to
            the type of its result.
        ValueError: The id cannot be one.
    """
    if isinstance(task, str | UUID):
        task_id = check_segment(name, task)
        return task_id if of_ids.endpoint is None else of_ids.endpoint.of(task_id), of_ids
    if isinstance(task, Polled):
        kind = check_decodable(task.endpoint.result_type if result_type is None else result_type)
        return task.id if task.endpoint == TASK else task, Goal(kind, endpoint=task.endpoint)
    if not isinstance(task, StartedTask):
        raise TypeError(
            f"{name} must be a task id (str) or a StartedTask, not {type(task).__name__}{awaiting(task)}"
        )
    kind = check_decodable(task.result_type if result_type is None else result_type)
    if task.task_id is None:
        return None, Goal(kind, task.operation, task.items, done=task)
    task_id, endpoint = check_task_id(task.task_id), _endpoint_of(task.operation)
    return task_id if endpoint is None else endpoint.of(task_id), Goal(kind, task.operation, task.items)


def _endpoint_of(operation: str | None) -> Endpoint[Any] | None:
    """Return where what an operation starts is polled, None if that is a task."""
    described = OPERATIONS.get(operation or "")
    if described is None or described.find_endpoint is None:
        return None
    return described.find_endpoint()


def origin_of(task: Any, of_ids: Goal[Any]) -> Origin:
    """Return what is known of how a task was started."""
    if isinstance(task, StartedTask):
        return Origin(task.operation, len(task.items), task._started)  # noqa: SLF001 - for nobody else
    if isinstance(task, Polled) or of_ids.operation is None:
        return UNKNOWN
    return Origin(of_ids.operation)


def outcome_of(wait: Wait, goal: Goal[T]) -> TaskOutcome[T]:
    """Return the outcome of a wait that has ended."""
    value, error = None, None
    try:
        value = result_of(wait.task_id, wait.final(), goal)
    except Exception as exc:  # noqa: BLE001 - nothing about one task is raised
        error = exc
    return TaskOutcome(
        wait.task_id, wait.task, wait.polls, wait.elapsed, value, error, goal.operation, goal.items, wait.held
    )


def outcome_at_once(goal: Goal[T]) -> TaskOutcome[T]:
    """Return the outcome of what the server did in the request."""
    value, error = None, None
    try:
        value = result_at_once(goal)
    except Exception as exc:  # noqa: BLE001 - as above
        error = exc
    return TaskOutcome(None, None, 0, 0.0, value, error, goal.operation, goal.items)


def result_at_once(goal: Goal[T]) -> T:
    """Return what an operation came to that the server did in the request."""
    done = cast("StartedTask[T]", goal.done)
    if goal.result_type is done.result_type:
        return cast("T", done.result)
    return decode_answer(done.data, goal.result_type)


def decode_answer(data: dict[str, Any], result_type: type[T]) -> T:
    """Return the result in an answer to a start, which has none when the server did not say.

    Raises:
        StreamDecodeException: It does not fit; it says where.
    """
    payload = data.get("result")
    return _decoded(payload if isinstance(payload, dict) else None, result_type, None)


def result_of(task_id: str, task: Task, goal: Goal[T]) -> T:
    """Turn a final snapshot into what the wait returns or raises."""
    if task.is_failed:
        raise StreamTaskException.from_task(task_id, task)
    return _decoded(task.result or {}, goal.result_type, task)


def snapshot_of(task: Task, goal: Goal[T]) -> Task[T]:
    """Return a snapshot with its result decoded, if the task has completed."""
    result = _decoded(task.result or {}, goal.result_type, task) if task.is_completed else None
    return cast("Task[T]", evolve(cast("Task[Any]", task), result=result))


def task_id_in(data: dict[str, Any], request: Request[Any]) -> str | None:
    """Return the id of the task that an answer to a start names, None if the work is done.

    Raises:
        StreamDecodeException: It names no task although there must be one, or what it names is not an id.
    """
    place = f"$.{request.task_id_at}"
    found: Any = data
    for key in request.task_id_at.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    if found:
        try:
            return check_task_id(found)
        except (TypeError, ValueError) as exc:
            raise StreamDecodeException(f"not a task id: {exc}", path=place) from exc
    if request.may_finish_at_once:
        return None
    keys = one_line(", ".join(_keys(data)), _KEYS_SHOWN) or "none"
    advice = ""
    if request.operation is None:
        advice = "name its place with task_id_at, or give may_finish_at_once; "
    raise StreamDecodeException(
        f"no task in an answer with the keys {keys}: {advice}required key {request.task_id_at!r} is missing",
        path=place,
    )


def _keys(data: dict[str, Any]) -> list[str]:
    """Return an answer's keys; first those that may hold a task's id, also one level down."""
    inner = [f"{key}.{each}" for key, value in data.items() if isinstance(value, dict) for each in value]
    keys = [*data, *(key for key in inner if key.endswith("task_id"))]
    return sorted(keys, key=lambda key: not key.endswith("task_id"))


def _decoded(payload: dict[str, Any] | None, kind: type[T], task: Task | None) -> T:
    """Turn a payload into what the caller is to get; None is one of which the server said nothing.

    Raises:
        StreamDecodeException: It does not fit; it says where.
    """
    if kind is TaskResult:
        return TaskResult(payload, task)  # type: ignore[return-value]
    any_kind: Any = kind
    if payload is None and isinstance(any_kind, type) and issubclass(any_kind, ItemResults):
        return cast("T", any_kind(None))  # nothing is known of any item
    value = _json.structure(payload or {}, kind, path="$.result")
    if task is not None and isinstance(value, ExportChannelsResult | ExportUsersResult):
        return cast("T", evolve(value, task_id=task.task_id))
    return value
