"""What the server says, as frozen values that know nothing of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, cast, final, get_origin

from attrs import Factory, field, frozen
from attrs import fields as fields_of
from multidict import CIMultiDict

from stream_tasks._plain import LOCAL, WHOLE, plain, shown

if sys.version_info >= (3, 13):  # pragma: no cover
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # aiohttp depends on it and has imported it

__all__ = [
    "ChannelBatchFailure",
    "ChannelBatchResult",
    "DeactivateUsersResult",
    "DeleteCallResult",
    "DeleteChannelsResult",
    "DeleteUsersResult",
    "ExportChannelsResult",
    "ExportUsersResult",
    "ImportResult",
    "ImportStep",
    "ImportV2Result",
    "ItemResult",
    "Obstacle",
    "RateLimit",
    "Snapshot",
    "StartedTask",
    "Stats",
    "StreamResponse",
    "Task",
    "TaskError",
    "TaskOutcome",
    "TaskResult",
]

_FEW: Final = 3

T_co = TypeVar("T_co", covariant=True)
Result_co = TypeVar("Result_co", covariant=True, default=dict[str, Any])


class _Typed:
    """Says what to write to those who take a model for a ``dict``."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getitem__(self, key: Any) -> Any:
            kind, place = type(self).__name__, ""
            if key in (each.name for each in fields_of(type(self))):
                place = f".{key}"
            elif key in (getattr(self, "extra", None) or ()):
                place = f".extra[{key!r}]"
            elif isinstance(self, ItemResults):
                place = f".items[{key!r}]"
            advice = f": write {place} in place of [{key!r}]" * bool(place)
            raise TypeError(f"{kind!r} object is not subscriptable, as its fields are attributes{advice}")


@frozen
class TaskError(_Typed):
    """Why a task failed.

    Attributes:
        type: The kind of failure, as the server names it; ``unknown`` when it does not.
        description: What went wrong; empty when the server did not say.
        stacktrace: The server's stack trace, if it gave one.
        version: The version of the server's worker, if it gave one.
    """

    type: str = "unknown"
    description: str = ""
    stacktrace: str | None = None
    version: str | None = None


@frozen
class Task(_Typed, Generic[Result_co]):
    """A snapshot of a long-running task on Stream's servers.

    Attributes:
        task_id: The task's id, an opaque text.
        status: ``pending``, ``waiting``, ``running``, ``completed``, ``failed``, or one that the
            server adds later.
        created_at: When the task was made, in UTC.
        updated_at: When the server last changed it, in UTC.
        result: The payload of a completed task, if the server sent one.
        error: Why a failed task failed, if the server said so.
        duration: How long the server took to answer, such as ``36.23ms``; not compared.
        extra: Whatever else the server sent; not compared.
    """

    task_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    result: Result_co | None = field(default=None, repr=False)
    error: TaskError | None = None
    duration: str | None = field(default=None, eq=False, repr=False)
    extra: dict[str, Any] = field(factory=dict, eq=False, repr=False)

    @property
    def is_completed(self) -> bool:
        """Whether the task ended well; its result may still name items that failed."""
        return self.status == "completed"

    @property
    def is_failed(self) -> bool:
        """Whether the task as a whole failed."""
        return self.status == "failed"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended: ``completed`` or ``failed``, and no other status."""
        return self.status in ("completed", "failed")


@frozen
class Snapshot(Task[Result_co]):
    """A snapshot of work that is polled elsewhere than tasks are: an import, say.

    Its ``result`` is what the server tells of it, at any time. ``created_at`` and ``updated_at`` are the
    start of 1970 if it does not tell them.

    Attributes:
        ending: ``completed`` or ``failed`` if the status is a final one, else None.
    """

    ending: Literal["completed", "failed"] | None = None

    @property
    def is_completed(self) -> bool:
        """Whether the work ended well."""
        return self.ending == "completed"

    @property
    def is_failed(self) -> bool:
        """Whether the work failed."""
        return self.ending == "failed"

    @property
    def is_final(self) -> bool:
        """Whether the work has ended."""
        return self.ending is not None


@final
class TaskResult(dict[str, Any]):
    """A completed task's payload: a plain ``dict``, empty when the server sent none.

    It remembers the task that it came from.
    """

    __slots__ = ("_task",)

    def __init__(self, payload: Mapping[str, Any] | None = None, task: Task | None = None) -> None:
        dict.__init__(self, payload or {})
        self._task = task

    @property
    def task(self) -> Task:
        """The completed task.

        Raises:
            AttributeError: The server did the work at once, so that there never was a task.
        """
        if self._task is None:
            raise AttributeError
        return self._task

    @property
    def data(self) -> Task:
        """The same task, for code written for ``getstream``: ``response.data.status``."""
        return self.task

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in ("task", "data"):
                told = "no task: the server did this work at once"
            elif name in self:
                told += (
                    f": this result is a plain payload, so write result[{name!r}]; a wait with operation= or"
                    " result_type= returns a typed one"
                )
            raise AttributeError(told, name=name, obj=self)

    def __reduce__(self) -> tuple[type[TaskResult], tuple[dict[str, Any], Task | None]]:
        return TaskResult, (dict(self), self._task)


T = TypeVar("T", default=TaskResult)
"""What a task results in: a `TaskResult` if all that is known of the task is its id."""

R = TypeVar("R", default=T)
"""What a wait returns: `T`, unless the caller gives a `result_type`."""

S = TypeVar("S", default=dict[str, Any])
"""What a snapshot's result is: a `dict`, unless the caller gives a `result_type`."""

R_any = TypeVar("R_any", default=Any)
"""What waiting for a task returns of which nothing is known in advance."""


@frozen
class RateLimit:
    """The quota that a response's headers told of.

    Attributes:
        limit: Requests allowed in a window.
        remaining: Requests left in this window, over all processes that share the API key.
        reset: When the window ends, in UTC.
        reset_in: How long that was from the answer on, in seconds, by the server's own clock.
    """

    limit: int
    remaining: int
    reset: datetime
    reset_in: float | None = field(default=None, eq=False, repr=False)


@frozen
class Obstacle:
    """What holds a client's polls back at the moment.

    Attributes:
        reason: ``rate_limited`` by the quota, or ``unreachable`` while the server is.
        seconds: How long until the next poll goes out.
    """

    reason: Literal["rate_limited", "unreachable"]
    seconds: float


@frozen
class Stats:
    """What a client does at the moment, for health pages and notebooks.

    Attributes:
        waiting: The waits under way.
        in_flight: The polls that are not answered yet.
        quota: The quota as the last answer told it, None if none did.
        held_until: When polls may go out again after a refusal or in an outage, None if nothing holds them.
        polls: The polls that were sent so far.
        refused: The polls that were answered with a 429.
        obstacle: What holds back the polls that are due, None if nothing does.
    """

    waiting: int = 0
    in_flight: int = 0
    quota: RateLimit | None = None
    held_until: datetime | None = None
    polls: int = 0
    refused: int = 0
    obstacle: Obstacle | None = None


@frozen
class StreamResponse(_Typed, Generic[T_co]):
    """One answer of the server.

    Attributes:
        data: The decoded body.
        status_code: The HTTP status.
        headers: The response's headers; names in any case.
        rate_limit: The quota, or None when the headers did not tell it.
    """

    data: T_co
    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    rate_limit: RateLimit | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The headers of an answer are a view that does not pickle.
        headers = CIMultiDict(self.headers)
        return StreamResponse, (self.data, self.status_code, headers, self.rate_limit)


def _as_tuple(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(items)


def _few(items: tuple[str, ...]) -> str:
    """Show a few items, and how many there are."""
    return shown(items) if len(items) <= _FEW else f"<{len(items)} items: {shown(items[:_FEW])[1:-1]}, …>"


@frozen
class StartedTask(_Typed, Generic[T_co]):
    """An operation that the server took on; `to_json` keeps it for another program.

    Attributes:
        task_id: The id to wait for, or None when the server did the work at once.
        data: The body that the server answered with.
        result_type: What waiting for this task returns.
        result: The outcome, when the server did the work at once.
        operation: The operation, such as ``delete_users``; None for one that this client has no method for.
        items: What the operation is for: ids of users, channels or feeds, say.
    """

    task_id: str | None
    data: dict[str, Any] = field(repr=False)
    result_type: type[T_co] = field(repr=lambda kind: getattr(kind, "__name__", repr(kind)))
    result: T_co | None = None
    operation: str | None = None
    items: tuple[str, ...] = field(default=(), converter=_as_tuple, repr=_few)
    # Unix time, in seconds. Only the program that started the task knows it.
    _started: float | None = field(default=None, eq=False, repr=False, kw_only=True)

    def to_json(self) -> str:
        """Write it down as JSON, in one line.

        ::

            path.write_text(started.to_json())
            ...
            started = StartedTask.from_json(path.read_text())
            export = await client.wait_for_task(started)
        """
        told = {
            "task_id": self.task_id,
            "operation": self.operation,
            "items": self.items,
            "result_type": _name_of(self.result_type),
            "data": plain(self.data),
        }
        if self.task_id is None:
            told["result"] = plain(self.result)
        return json.dumps(told, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, result_type: type[R_any] | None = None) -> StartedTask[R_any]:
        """Read what `to_json` wrote.

        Args:
            text: The JSON.
            result_type: What waiting for the task returns; needed if the task was started with a type of
                the caller's own, which JSON cannot hold.

        Returns:
            The started task, as it was.

        Raises:
            TypeError: `text` is neither text nor bytes.
            ValueError: It is not what `to_json` wrote, or `result_type` is needed.
        """
        if not isinstance(text, str | bytes):
            raise TypeError(f"text must be a str or bytes, not {type(text).__name__}")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"text must be what StartedTask.to_json wrote: {exc}") from None
        return _restored(cls, fields, result_type)


def _name_of(kind: Any) -> str:
    """Return a result type's name: of this module's and builtins the plain one, of others with the module."""
    name = getattr(kind, "__qualname__", repr(kind))
    return name if _RESULT_TYPES.get(name) is kind else f"{getattr(kind, '__module__', '')}.{name}"


def _restored(
    cls: type[StartedTask[Any]], fields: Any, result_type: type[R_any] | None
) -> StartedTask[R_any]:
    from stream_tasks import _json  # noqa: PLC0415 - a layer above, which makes results of what is told

    if not isinstance(fields, dict) or not isinstance(fields.get("task_id", 0), str | None):
        raise ValueError("text must be what StartedTask.to_json wrote: an object with a task_id")  # noqa: TRY004
    told = fields.get("result_type", "TaskResult")
    kind = cast("type[R_any] | None", _RESULT_TYPES.get(str(told))) if result_type is None else result_type
    if kind is None:
        raise ValueError(f"result_type must be given: the task was started with {told!r}")
    result, items = fields.get("result"), fields.get("items") or ()
    if result is not None:
        result = TaskResult(result) if kind is TaskResult else _json.structure(result, kind, path="$.result")
    elif "result" in fields and issubclass(get_origin(kind) or kind, ItemResults):
        result = cast("Any", kind)(None)
    return cls(fields["task_id"], fields.get("data") or {}, kind, result, fields.get("operation"), items)


@frozen(repr=False)
class TaskOutcome(_Typed, Generic[T_co]):
    """What came of waiting for one of many tasks, like a finished future.

    Attributes:
        task_id: The task, or None when the server had done its work at once.
        task: The last snapshot, or None when none came.
        polls: How often the task was asked for.
        elapsed: How long the wait lasted, in seconds.
        operation: The operation that started the task, if it is known.
        items: What the operation is for, if it is known.
        held: For how long of the wait the quota held back looks that were due, in seconds.
    """

    task_id: str | None
    task: Task | None
    polls: int
    elapsed: float
    _value: T_co | None = None
    _error: Exception | None = None
    operation: str | None = None
    items: tuple[str, ...] = ()
    held: float = 0.0

    def __repr__(self) -> str:
        told = f"result={shown(self._value)}" if self.ok else f"error={shown(self._error)}"
        return (
            f"{type(self).__name__}(task_id={self.task_id!r}, status={self.status!r}, {told}, "
            f"polls={self.polls}, elapsed={self.elapsed:.3f})"
        )

    @property
    def ok(self) -> bool:
        """Whether there is a result; it may still name items that failed."""
        return self._error is None

    @property
    def status(self) -> Literal["completed", "failed", "timed_out", "error"]:
        """How the wait ended.

        ``completed`` or ``failed`` like the task; ``timed_out`` when it was not seen to end; ``error`` when
        it could not be asked for, or its result does not fit.
        """
        word: Literal["completed", "failed", "timed_out", "error"] = "completed"
        if self._error is not None:
            word = getattr(self._error, "_outcome_status", "error")
        return word

    def exception(self) -> Exception | None:
        """Return what the wait for this task raised, or None."""
        return self._error

    def result(self) -> T_co:
        """Return the task's result, or raise what its wait raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # None only where T is

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold, as the command line prints it.

        ``pandas.DataFrame(map(TaskOutcome.to_dict, outcomes.values()))`` is a table.

        Returns:
            ``task_id``, ``operation``, ``items``, ``status``, ``last_status`` (the server's last word, or
            None), ``result`` (the payload, or None), ``error`` (``type``, ``description``, ``stacktrace``
            and ``version``, or None), ``polls`` and ``elapsed`` (in seconds). If the quota held back looks,
            also ``held`` (in seconds).
        """
        payload = None
        if self.ok:
            payload = plain(self._value if self.task is None else self.task.result or {})
        held = {"held": round(self.held, 3)} if self.held else {}
        return {
            "task_id": self.task_id,
            "operation": self.operation,
            "items": list(self.items),
            "status": self.status,
            "last_status": None if self.task is None else self.task.status,
            "result": payload,
            "error": None if self._error is None else plain(_told(self._error)),
            "polls": self.polls,
            "elapsed": round(self.elapsed, 3),
            **held,
        }


def _told(error: Exception) -> TaskError:
    fields = getattr(error, "_task_error_fields", None)
    return TaskError(type(error).__name__, str(error)) if fields is None else TaskError(*fields())


@frozen
class ItemResult(_Typed):
    """What became of one item of a batch.

    Attributes:
        status: ``ok``, or another word when the item failed.
        error: What went wrong with this item, if the server said so.
        extra: Whatever else the server sent.
    """

    status: str
    error: str | None = None
    extra: dict[str, Any] = Factory(dict)

    @property
    def ok(self) -> bool:
        """Whether this item succeeded."""
        return self.status == "ok"


@frozen
class ItemResults(_Typed):
    """Per-item outcomes: the base of the results that are a mapping from item to outcome.

    Attributes:
        items: What became of each item, or None when the server did not say.
    """

    items: dict[str, ItemResult] | None = field(metadata={WHOLE: True})

    @property
    def failed(self) -> dict[str, ItemResult]:
        """The items that the server says did not succeed; a completed task may hold some."""
        return {key: item for key, item in (self.items or {}).items() if not item.ok}


class DeleteChannelsResult(ItemResults):
    """What became of each channel, by its cid."""

    __slots__ = ()


class DeleteUsersResult(ItemResults):
    """What became of each user, by its id."""

    __slots__ = ()


class DeleteCallResult(ItemResults):
    """What became of the call, by ``type:id``."""

    __slots__ = ()


def _of_a_task() -> Any:
    return field(default=None, kw_only=True, eq=False, repr=False, metadata={LOCAL: True})


@frozen
class ExportChannelsResult(_Typed):
    """Where an export of channels can be fetched.

    Attributes:
        url: A signed address, good for 24 hours; asking for the task again renews it.
        path: The file's path in the bucket.
        s3_bucket_name: The bucket.
        extra: Whatever else the server sent.
        task_id: The task that exported them, if it is known: `download` asks it for a fresh link.
    """

    url: str
    path: str | None = None
    s3_bucket_name: str | None = None
    extra: dict[str, Any] = Factory(dict)
    task_id: str | None = _of_a_task()


@frozen
class ExportUsersResult(_Typed):
    """Where an export of users can be fetched.

    Attributes:
        url: A signed address, good for a limited time.
        extra: Whatever else the server sent.
        task_id: The task that exported them, if it is known: `download` asks it for a fresh link.
    """

    url: str
    extra: dict[str, Any] = Factory(dict)
    task_id: str | None = _of_a_task()


@frozen
class DeactivateUsersResult(_Typed):
    """The users that were deactivated.

    Attributes:
        users: What the server says of each of them.
        extra: Whatever else the server sent.
    """

    users: list[Any] = Factory(list)
    extra: dict[str, Any] = Factory(dict)


@frozen
class ChannelBatchFailure(_Typed):
    """Channels of a batch update that share a reason to have failed.

    Attributes:
        reason: What went wrong.
        cids: The channels.
        extra: Whatever else the server sent.
    """

    reason: str
    cids: list[str] = Factory(list)
    extra: dict[str, Any] = Factory(dict)


@frozen
class ChannelBatchResult(_Typed):
    """What came of a batch update of channels.

    Attributes:
        operation: The operation, such as ``addMembers``.
        status: How the batch ended.
        success_channels_count: Channels that were updated, or None when the server did not say.
        failed_channels: The channels that the server says were not, by reason.
        batch_created_at: When the batch was made, in UTC.
        finished_at: When it ended, in UTC.
        extra: Whatever else the server sent.
    """

    operation: str | None = None
    status: str | None = None
    success_channels_count: int | None = None
    failed_channels: list[ChannelBatchFailure] = Factory(list)
    batch_created_at: datetime | None = None
    finished_at: datetime | None = None
    extra: dict[str, Any] = Factory(dict)

    @property
    def failed(self) -> list[ChannelBatchFailure]:
        """The channels that were not updated; a completed task may hold some."""
        return self.failed_channels


@frozen
class ImportStep(_Typed):
    """One step of an import.

    Attributes:
        created_at: When it was taken, in UTC.
        prev_state: The state before.
        next_state: The state after.
        extra: Whatever else the server sent.
    """

    created_at: datetime
    prev_state: str = ""
    next_state: str = ""
    extra: dict[str, Any] = Factory(dict)


@frozen
class ImportResult(_Typed):
    """What the server tells of an import.

    Attributes:
        id: Its id.
        state: Its state, such as ``completed``.
        history: The steps that it took, as they came.
        mode: ``insert`` or ``upsert``.
        path: The file.
        size: Its size in bytes, if the server said so.
        created_at: When it was made, in UTC.
        updated_at: When the server last changed it, in UTC.
        extra: Whatever else the server sent.
    """

    id: str
    state: str
    history: list[ImportStep] = Factory(list)
    mode: str | None = None
    path: str | None = None
    size: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: dict[str, Any] = Factory(dict)


@frozen
class ImportV2Result(_Typed):
    """What the server tells of an import of the second version.

    Attributes:
        id: Its id.
        state: Its state, a number.
        product: ``chat`` or ``feeds``.
        settings: What was asked for.
        result: What came of it, if the server said so.
        app_pk: The app's number.
        created_at: When it was made, in UTC.
        updated_at: When the server last changed it, in UTC.
        extra: Whatever else the server sent.
    """

    id: str
    state: int
    product: str | None = None
    settings: dict[str, Any] = Factory(dict)
    result: dict[str, Any] | None = None
    app_pk: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: dict[str, Any] = Factory(dict)


_RESULT_TYPES: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        ChannelBatchResult,
        DeactivateUsersResult,
        DeleteCallResult,
        DeleteChannelsResult,
        DeleteUsersResult,
        ExportChannelsResult,
        ExportUsersResult,
        ImportResult,
        ImportV2Result,
        TaskResult,
        dict,
    )
}
"""The result types that JSON can name."""
