"""What hooks are told."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from stream_tasks.models import RateLimit, Task

__all__ = [
    "Event",
    "Held",
    "PollEnded",
    "PollReason",
    "PollStarted",
    "Resumed",
    "WaitEnded",
    "WaitOutcome",
    "WaitStarted",
]

PollReason = Literal["rate_limited", "not_found", "unreachable", "refused", "dropped"]
"""Why a poll brought no status."""

WaitOutcome = Literal["completed", "failed", "timed_out", "cancelled", "error"]
"""How a wait ended."""


@frozen(kw_only=True)
class WaitStarted:
    """A wait for one task begins; this is told in the context variables of the caller.

    Attributes:
        task_id: The task.
        operation: The operation that started the task, if it is known.
        wait_id: Tells this wait from all others under way in this process: a task may have several.
        timeout: The limit of the wait, in seconds; None for no limit.
    """

    task_id: str
    operation: str | None
    wait_id: int
    timeout: float | None


@frozen(kw_only=True)
class PollStarted:
    """A poll goes out. Only ``around_poll`` of a hook is given this.

    Attributes:
        task_id: The task.
        operation: The operation that started the task, if one of the waits knows it.
        poll_id: Tells this poll from all others in flight in this process.
        wait_ids: The waits that have a part in it, the oldest first.
        route: The path that is asked, with ``{id}`` in place of the id.
    """

    task_id: str
    operation: str | None
    poll_id: int
    wait_ids: tuple[int, ...]
    route: str


@frozen(kw_only=True)
class PollEnded:
    """A poll was answered, failed, or was given up.

    Attributes:
        task_id: The task.
        operation: The operation that started the task, if one of the waits knows it.
        poll_id: Tells this poll from all others in flight in this process.
        wait_ids: The waits that have a part in it, the oldest first.
        route: The path that was asked, with ``{id}`` in place of the id.
        reason: Why it brought no status: ``rate_limited``, ``not_found``, ``unreachable``, ``refused`` for
            good, or ``dropped``, since nobody waited for it any more; None if it brought one.
        status: The task's status, if the poll brought it.
        error: What went wrong.
        seconds: How long the poll took.
        late: How much later it was sent than it was due, in seconds.
        rate_limit: The quota, if the answer told it.
    """

    task_id: str
    operation: str | None
    poll_id: int
    wait_ids: tuple[int, ...] = field(repr=False)
    route: str
    reason: PollReason | None
    status: str | None
    error: Exception | None
    seconds: float
    late: float
    rate_limit: RateLimit | None


@frozen(kw_only=True)
class Held:
    """Something begins to hold back the polls of a client: a failed poll, a refusal, or the quota.

    It is told once; `Resumed` follows.

    Attributes:
        task_id: The task whose poll showed it.
        operation: The operation that started the task, if one of the waits knows it.
        reason: ``rate_limited`` by the quota, or ``unreachable``.
        status: The last known status of the task.
        polls: The polls for the task so far.
        seconds: How long until the task is looked at again, as far as is known.
        error: The failure; None if polls only wait for their share of the quota.
    """

    task_id: str
    operation: str | None
    reason: Literal["rate_limited", "unreachable"]
    status: str | None
    polls: int
    seconds: float
    error: Exception | None


@frozen(kw_only=True)
class Resumed:
    """Nothing holds back the polls of a client any more, or nobody waits.

    Attributes:
        task_id: The task whose poll showed it, or the last one that was waited for.
        operation: The operation that started the task, if it is known.
        reason: What held polls back, as `Held` said.
        status: The status of the task; None if it was not looked at.
        seconds: For how long polls were held back.
    """

    task_id: str
    operation: str | None
    reason: Literal["rate_limited", "unreachable"]
    status: str | None
    seconds: float


@frozen(kw_only=True)
class WaitEnded:
    """A wait for one task has ended.

    Attributes:
        task_id: The task.
        operation: The operation that started the task, if it is known.
        wait_id: The one that `WaitStarted` told.
        outcome: ``completed`` or ``failed`` as the task, ``timed_out``, ``cancelled`` by the caller, or
            ``error`` if the wait itself could not go on.
        reason: Of a time-out its reason, such as ``rate_limited``; of a failed task and an error its type;
            otherwise None.
        status: The last known status of the task.
        polls: The polls of the wait.
        seconds: How long it took.
        held: For how long of that the quota held back looks that were due, in seconds.
        task: The last snapshot of the task.
        error: The time-out or the error.
    """

    task_id: str
    operation: str | None
    wait_id: int
    outcome: WaitOutcome
    reason: str | None
    status: str | None
    polls: int
    seconds: float
    held: float
    task: Task | None = field(repr=False)
    error: Exception | None


Event = WaitStarted | PollEnded | Held | Resumed | WaitEnded
"""What a hook is called with."""
