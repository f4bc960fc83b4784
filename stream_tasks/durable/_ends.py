"""What a durable wait is for and how it ended, as values and as the JSON that the database holds.

An *ask* is a workflow's input: what to start, or what was started, and for whom. A *record* is how a wait
ended. Both are dicts of plain JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

from attrs import field, frozen

from stream_tasks._arguments import check_id, check_seconds, check_task_id, check_timeout
from stream_tasks._operations import OPERATIONS
from stream_tasks._plain import plain
from stream_tasks._requests import custom
from stream_tasks._results import goal_of_ids
from stream_tasks.models import StartedTask, TaskError, TaskResult

if TYPE_CHECKING:
    from stream_tasks.models import TaskOutcome

__all__ = [
    "PendingWait",
    "TaskEnd",
    "Terms",
    "ask_to_start",
    "ask_to_wait",
    "end_of",
    "failed_record",
    "record_of",
    "started_in",
    "started_record",
]

T_co = TypeVar("T_co", covariant=True)

_START_TASK: Final = "start_task"


@frozen
class TaskEnd(Generic[T_co]):
    """How a durable wait ended; what a handler is called with.

    Attributes:
        key: The wait's key.
        task_id: The task; None if the server did the work at once, or if nothing is known to have started.
        operation: The operation that started the task, if it is known.
        items: What the operation is for, if it is known.
        status: ``completed`` or ``failed`` like the task, ``timed_out``, ``error``, or ``cancelled``.
        result: The result, of the operation's own type; None unless `status` is ``completed``.
        error: Why there is no result.
        may_have_started: Whether the operation may or may not have been started; nobody knows.
        context: What the caller gave along.
        last_status: The server's last word on the task, if there was one.
        polls: How often the task was asked for, by the worker that saw the end.
        elapsed: How long that worker waited, in seconds.
    """

    key: str
    task_id: str | None
    operation: str | None
    items: tuple[str, ...]
    status: Literal["completed", "failed", "timed_out", "error", "cancelled"]
    result: T_co | None = None
    error: TaskError | None = None
    may_have_started: bool = False
    context: Any = None
    last_status: str | None = None
    polls: int = 0
    elapsed: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is a result; it may still name items that failed."""
        return self.status == "completed"

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, as ``stream-tasks worker`` prints it."""
        return cast("dict[str, Any]", plain(self))


@frozen
class PendingWait:
    """A durable wait that has not ended, or whose handler has not.

    Attributes:
        key: Its key.
        task_id: The task, if it was known when the wait was made.
        operation: The operation, if it is known.
        handler: The name of the handler.
        worker: The worker that runs it; None while none does.
        deadline: When it times out, in UTC; None for no limit.
        context: What the caller gave along.
    """

    key: str
    task_id: str | None
    operation: str | None
    handler: str | None
    worker: str | None
    deadline: datetime | None
    context: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, key: str, ask: Mapping[str, Any], worker: str | None) -> PendingWait:
        """Return a workflow's input as this."""
        deadline = None if ask["deadline"] is None else datetime.fromtimestamp(ask["deadline"], UTC)
        task_id = (ask["started"] or {}).get("task_id")
        return cls(key, task_id, ask["operation"], ask["handler"], worker, deadline, ask["context"])

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, as ``stream-tasks pending`` prints it."""
        return cast("dict[str, Any]", plain(self))


class Terms(NamedTuple):
    """What a caller says of a wait.

    Attributes:
        handler: The handler's name, None for none.
        timeout: The limit of the wait from now on, in seconds.
        poll_interval: The least time between two looks, in seconds.
        context: What to hand to the handler.
    """

    handler: str | None
    timeout: float | None
    poll_interval: float
    context: Any

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Check them, and return a workflow's input.

        Raises:
            TypeError: One has a wrong type.
            ValueError: One is out of range.
        """
        limit = check_timeout(self.timeout)
        return {
            "operation": None,
            "call": None,
            "started": None,
            "handler": None if self.handler is None else check_id("handler", self.handler),
            "deadline": None if limit is None else time.time() + limit,
            "poll_interval": check_seconds("poll_interval", self.poll_interval),
            "context": _checked_context(self.context),
            **fields,
        }


def ask_to_start(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], terms: Terms) -> Any:
    """Return the input of a workflow that starts an operation: a client's method, or its name.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
    """
    name = getattr(operation, "__name__", operation)
    return terms.ask(operation=name, call=_call(name, args, kwargs))


def ask_to_wait(task: Any, operation: Any, terms: Terms) -> Any:
    """Return the input of a workflow that waits for what runs; `operation` is what started a bare id.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
    """
    if not isinstance(task, StartedTask):
        goal = goal_of_ids(None, operation)
        task = StartedTask(check_task_id(task), {}, goal.result_type, operation=goal.operation)
    return terms.ask(operation=task.operation, started=started_record(task))


def _checked_context(context: Any) -> Any:
    try:
        return json.loads(json.dumps(context, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"context must be what JSON can hold: {exc}") from None


def _call(name: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Check a call of an operation without sending anything, and return its arguments by name."""
    if name == _START_TASK:
        given = dict(zip(("method", "path"), args, strict=False)) | dict(kwargs)
        if given.get("result_type") is not None:
            raise ValueError("result_type must be None: a database cannot hold a type of your own")
        custom(given.get("method"), given.get("path"), TaskResult, given.get("json"), given.get("params"))  # type: ignore[arg-type]
        return cast("dict[str, Any]", plain(given))
    if name not in OPERATIONS:
        allowed = ", ".join([*OPERATIONS, _START_TASK])
        raise ValueError(f"operation must be one of the client's methods {allowed}, not {name!r}")
    described = OPERATIONS[name]
    try:
        given = described.signature.bind(*args, **kwargs).arguments
    except TypeError as exc:
        raise TypeError(f"{name}() {exc}") from None
    # Iterables are read once: to be checked here, and to be sent later.
    given = {each: list(value) if _is_iterable(value) else value for each, value in given.items()}
    described.request(**given)
    return cast("dict[str, Any]", plain(given))


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def started_record(task: StartedTask[Any]) -> dict[str, Any]:
    """Return what is kept of a started task.

    Raises:
        ValueError: Its result is decoded to a type of the caller's own, which a database cannot hold.
    """
    text = task.to_json()
    StartedTask.from_json(text)
    fields = cast("dict[str, Any]", json.loads(text))
    del fields["data"]
    return fields


def started_in(record: Mapping[str, Any]) -> StartedTask[Any]:
    """Return the started task that `started_record` kept."""
    return StartedTask.from_json(json.dumps(record))


def record_of(outcome: TaskOutcome[Any]) -> dict[str, Any]:
    """Return how a wait for a task ended."""
    fields = outcome.to_dict()
    del fields["operation"], fields["items"]  # the ask tells them
    return fields


def failed_record(
    error_type: str, description: str, *, status: str = "error", may_have_started: bool = False
) -> dict[str, Any]:
    """Return how a wait ended that never had a task."""
    error = plain(TaskError(error_type, description))
    return {"status": status, "error": error, "may_have_started": may_have_started}


def end_of(
    key: str, ask: Mapping[str, Any], started: Mapping[str, Any] | None, record: Mapping[str, Any]
) -> TaskEnd[Any]:
    """Return a record as what a handler gets, its result of the operation's own type."""
    result, error = None, record.get("error")
    if record["status"] == "completed" and started is not None:
        result = started_in({**started, "task_id": None, "result": record["result"]}).result
    items = (started or {}).get("items")
    if not items and ask["operation"] in OPERATIONS and ask["call"] is not None:
        items = OPERATIONS[ask["operation"]].request(**ask["call"]).items
    return TaskEnd(
        key,
        record.get("task_id"),
        ask["operation"],
        tuple(items or ()),
        record["status"],
        result,
        None if error is None else TaskError(**error),
        record.get("may_have_started", False),
        ask["context"],
        record.get("last_status"),
        record.get("polls", 0),
        record.get("elapsed", 0.0),
    )
