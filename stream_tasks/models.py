"""What the server says, as frozen values that know nothing of JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, final

from attrs import Factory, field, frozen
from multidict import CIMultiDict

if sys.version_info >= (3, 13):
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
    "ItemResult",
    "Obstacle",
    "RateLimit",
    "StartedTask",
    "StreamResponse",
    "Task",
    "TaskError",
    "TaskOutcome",
    "TaskResult",
]

T_co = TypeVar("T_co", covariant=True)


@frozen
class TaskError:
    """Why a task failed.

    Attributes:
        type: The kind of failure, as the server names it.
        description: What went wrong.
        stacktrace: The server's stack trace, if it gave one.
        version: The version of the server's worker, if it gave one.
    """

    type: str
    description: str
    stacktrace: str | None = None
    version: str | None = None


@frozen
class Task:
    """A snapshot of a long-running task on Stream's servers.

    Attributes:
        task_id: The task's id, an opaque text.
        status: ``pending``, ``waiting``, ``running``, ``completed``, ``failed``, or one that the
            server adds later.
        created_at: When the task was made, in UTC.
        updated_at: When the server last changed it, in UTC.
        result: The payload of a completed task, if the server sent one.
        error: Why a failed task failed, if the server said so.
    """

    task_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    result: dict[str, Any] | None = field(default=None, repr=False)
    error: TaskError | None = None

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
            raise AttributeError("no task: the server did this work at once")
        return self._task

    @property
    def data(self) -> Task:
        """The same task, for code written for ``getstream``: ``response.data.status``."""
        return self.task

    def __reduce__(self) -> tuple[type[TaskResult], tuple[dict[str, Any], Task | None]]:
        return TaskResult, (dict(self), self._task)


T = TypeVar("T", default=TaskResult)
"""What a task results in: a `TaskResult` if all that is known of the task is its id."""

R = TypeVar("R", default=T)
"""What a wait returns: `T`, unless the caller gives a `result_type`."""


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
class StreamResponse(Generic[T_co]):
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


@frozen
class StartedTask(Generic[T_co]):
    """An operation that the server took on.

    Attributes:
        task_id: The id to wait for, or None when the server did the work at once.
        data: The body that the server answered with.
        result_type: What waiting for this task returns.
        result: The outcome, when the server did the work at once.
    """

    task_id: str | None
    data: dict[str, Any] = field(repr=False)
    result_type: type[T_co] = field(repr=lambda kind: getattr(kind, "__name__", repr(kind)))
    result: T_co | None = None


@frozen
class TaskOutcome(Generic[T_co]):
    """What came of waiting for one of many tasks, like a finished future.

    Attributes:
        task_id: The task, or None when the server had done its work at once.
        task: The last snapshot, or None when none came.
        polls: How often the task was asked for.
        elapsed: How long the wait lasted, in seconds.
    """

    task_id: str | None
    task: Task | None
    polls: int
    elapsed: float
    _value: T_co | None = field(default=None, repr=False)
    _error: Exception | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a result; it may still name items that failed."""
        return self._error is None

    def exception(self) -> Exception | None:
        """Return what the wait for this task raised, or None."""
        return self._error

    def result(self) -> T_co:
        """Return the task's result, or raise what its wait raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # None only where T is


@frozen
class ItemResult:
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
class ItemResults:
    """Per-item outcomes: the base of the results that are a mapping from item to outcome.

    Attributes:
        items: What became of each item.
    """

    items: dict[str, ItemResult]

    @property
    def failed(self) -> dict[str, ItemResult]:
        """The items that did not succeed; a completed task may hold some."""
        return {key: item for key, item in self.items.items() if not item.ok}


class DeleteChannelsResult(ItemResults):
    """What became of each channel, by its cid."""

    __slots__ = ()


class DeleteUsersResult(ItemResults):
    """What became of each user, by its id."""

    __slots__ = ()


class DeleteCallResult(ItemResults):
    """What became of the call, by ``type:id``."""

    __slots__ = ()


@frozen
class ExportChannelsResult:
    """Where an export of channels can be fetched.

    Attributes:
        url: A signed address, good for 24 hours; asking for the task again renews it.
        path: The file's path in the bucket.
        s3_bucket_name: The bucket.
        extra: Whatever else the server sent.
    """

    url: str
    path: str | None = None
    s3_bucket_name: str | None = None
    extra: dict[str, Any] = Factory(dict)


@frozen
class ExportUsersResult:
    """Where an export of users can be fetched.

    Attributes:
        url: A signed address, good for a limited time.
        extra: Whatever else the server sent.
    """

    url: str
    extra: dict[str, Any] = Factory(dict)


@frozen
class DeactivateUsersResult:
    """The users that were deactivated.

    Attributes:
        users: What the server says of each of them.
        extra: Whatever else the server sent.
    """

    users: list[Any] = Factory(list)
    extra: dict[str, Any] = Factory(dict)


@frozen
class ChannelBatchFailure:
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
class ChannelBatchResult:
    """What came of a batch update of channels.

    Attributes:
        operation: The operation, such as ``addMembers``.
        status: How the batch ended.
        success_channels_count: Channels that were updated.
        failed_channels: The channels that were not, by reason.
        batch_created_at: When the batch was made, in UTC.
        finished_at: When it ended, in UTC.
        extra: Whatever else the server sent.
    """

    operation: str | None = None
    status: str | None = None
    success_channels_count: int = 0
    failed_channels: list[ChannelBatchFailure] = Factory(list)
    batch_created_at: datetime | None = None
    finished_at: datetime | None = None
    extra: dict[str, Any] = Factory(dict)

    @property
    def failed(self) -> list[ChannelBatchFailure]:
        """The channels that were not updated; a completed task may hold some."""
        return self.failed_channels
