"""Tells the log and the hooks what happens, and counts it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from stream_tasks._arguments import API_PREFIX
from stream_tasks._engine.finality import ends_wait, is_not_found
from stream_tasks._engine.logs import KNOWN_STATUSES, TASK_ROUTE, WaitLog
from stream_tasks._engine.tuning import HELD_BACK_AFTER
from stream_tasks.endpoints import Polled
from stream_tasks.exceptions import StreamApiException, StreamRateLimitException, StreamWaitTimeoutException
from stream_tasks.instrumentation._events import (
    Held,
    PollEnded,
    PollStarted,
    Resumed,
    WaitEnded,
    WaitStarted,
)
from stream_tasks.instrumentation._hooks import PROCESS, around
from stream_tasks.instrumentation._naming import naming

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_tasks._engine.pacing import Pacer, Reason, Unpaced
    from stream_tasks._engine.poll import Fetch, Key, Look, Poll
    from stream_tasks._engine.tracked import TrackedTask, Wait
    from stream_tasks.instrumentation._events import Event, PollReason, WaitOutcome
    from stream_tasks.instrumentation._hooks import Guarded
    from stream_tasks.models import RateLimit, Task

__all__ = ["Reporter"]


class Reporter:
    """Tells the log and the hooks of one client on one event loop.

    The log is a hook like any other, but its exceptions reach the event loop, and no event is made that
    neither the log nor a hook wants.

    Args:
        hooks: The hooks of the client.
        pacer: What holds polls back.
        now: Returns the event loop's time.

    Attributes:
        waiting: The waits under way.
        refused: The polls that were answered with a 429.
        quota: What the last answer that told the quota said.
    """

    __slots__ = ("_held", "_held_since", "_hooks", "_log", "_pacer", "quota", "refused", "waiting")

    def __init__(self, hooks: tuple[Guarded, ...], pacer: Pacer | Unpaced, now: Callable[[], float]) -> None:
        self._hooks = hooks
        self._pacer = pacer
        self._log = WaitLog(now)
        self._held: Held | None = None
        self._held_since = 0.0
        self.waiting = 0
        self.refused = 0
        self.quota: RateLimit | None = None

    def started(self, wait: Wait) -> None:
        """Tell that a wait begins."""
        self.waiting += 1
        if self._log.listens() or self._hooks or PROCESS.hooks:
            self._tell(
                WaitStarted(
                    task_id=wait.task_id,
                    operation=wait.operation,
                    wait_id=id(wait),
                    timeout=wait.terms.timeout,
                )
            )

    def left(self, wait: Wait, now: float) -> None:
        """Tell how a wait ended, and if it was the last one, that nothing is held back any more."""
        self.waiting -= 1
        if not self.waiting:
            self._resume(wait.task_id, wait.operation, None, now)
        if self._log.is_heard or self._hooks or PROCESS.hooks or _may_have_failed(wait):
            self._tell(_ending(wait, now))
        if self._log.withheld:
            self._log.count_withheld(is_last=not self.waiting)

    def missed(self, wait: Wait, now: float) -> None:
        """Tell of a wait whose deadline came before its turn."""
        self.started(wait)
        self.left(wait, now)

    def close(self) -> None:
        """Tell what is left to be told."""
        self._log.close()

    def around(self, poll: Poll, fetch: Fetch) -> Fetch:
        """Return what makes a poll's request, within what hooks put around it."""
        hooks = self._all_hooks()
        if not self._log.hears_requests() and all(hook.around_poll is None for hook in hooks):
            return fetch
        return functools.partial(_fetch_within, hooks, poll, fetch)

    def sent(self, poll: Poll, due: float) -> None:
        """Note how late a poll goes out: the quota may have held it back."""
        tracked, now = poll.tracked, poll.sent_at
        reason = self._held_back(due, now)
        if reason == "rate_limited":
            for wait in tracked.waits:
                wait.hold(due, now)
        if not self._has_hooks():
            return
        poll.note_late(now - due)
        if reason is not None and self._held is None:
            self._hold(tracked, reason, 0.0, None, due)
        elif reason is None and self._held is not None and self._held.error is None:
            self._resume(tracked.task_id, tracked.operation, None, now)

    def answered(self, poll: Poll, task: Task, quota: RateLimit | None, now: float) -> None:
        """Tell what a poll brought, and that trouble is over."""
        if quota is not None:
            self.quota = quota
        is_known = task.status in KNOWN_STATUSES
        if is_known and self._held is None and not (self._hooks or PROCESS.hooks or self._log.withheld):
            return  # so it is nearly always
        tracked = poll.tracked
        if self._is_in_trouble and poll.sent_at > self._held_since:
            # An answer to a poll that was sent before says nothing about the trouble.
            self._resume(tracked.task_id, tracked.operation, task.status, now)
        if self._log.withheld:
            self._log.count_withheld()
        if self._has_hooks() or (not is_known and isinstance(tracked.key, str)):
            self._tell(_poll_ended(poll, now, status=task.status, quota=quota))

    def failed(self, poll: Poll, failure: Exception, now: float) -> None:
        """Tell that a poll failed, and of trouble that begins."""
        if isinstance(failure, StreamRateLimitException):
            self.refused += 1
        quota = failure.rate_limit if isinstance(failure, StreamApiException) else None
        if quota is not None:
            self.quota = quota
        if self._has_hooks():
            self._tell(_poll_ended(poll, now, error=failure, quota=quota))
        tracked = poll.tracked
        if self._is_in_trouble or is_not_found(failure):
            return  # it is told already, or the task is not visible yet
        if all(wait.ended_at is not None for wait in tracked.waits):
            return  # nobody is going to look again
        self._resume(tracked.task_id, tracked.operation, None, now)
        reason: Reason = "rate_limited" if isinstance(failure, StreamRateLimitException) else "unreachable"
        until = max(tracked.retry_at, self._pacer.held_until)
        self._hold(tracked, reason, max(until - now, 0.0), failure, now)

    def dropped(self, poll: Poll, now: float) -> None:
        """Tell that a poll ended without an answer, since nobody waited for it any more."""
        if self._has_hooks():
            self._tell(_poll_ended(poll, now, is_dropped=True))

    @property
    def _is_in_trouble(self) -> bool:
        """Whether polls failed, rather than wait for their share of the quota."""
        return self._held is not None and self._held.error is not None

    def _held_back(self, due: float, now: float) -> Reason | None:
        """Return what made a poll late that goes out now, None if nothing did."""
        if now - due <= HELD_BACK_AFTER:
            return None
        reason = self._pacer.obstacle(now, since=due)
        return "rate_limited" if reason is None and self._pacer.has_rate else reason

    def _hold(
        self, tracked: TrackedTask, reason: Reason, seconds: float, error: Exception | None, since: float
    ) -> None:
        self._held_since = since
        self._held = Held(
            task_id=tracked.task_id,
            operation=tracked.operation,
            reason=reason,
            status=None if tracked.task is None else tracked.task.status,
            polls=max((wait.polls for wait in tracked.waits), default=0),
            seconds=seconds,
            error=error,
        )
        self._tell(self._held)

    def _resume(self, task_id: str, operation: str | None, status: str | None, now: float) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._tell(
                Resumed(
                    task_id=task_id,
                    operation=operation,
                    reason=held.reason,
                    status=status,
                    seconds=now - self._held_since,
                )
            )

    def _has_hooks(self) -> bool:
        return bool(self._hooks or PROCESS.hooks)

    def _all_hooks(self) -> tuple[Guarded, ...]:
        """Return who is told; a hook that the process has, too, is told once."""
        own, process = self._hooks, PROCESS.hooks
        if not (own and process):
            return own or process
        return (*own, *(hook for hook in process if not any(known.guards(hook.hook) for known in own)))

    def _tell(self, event: Event) -> None:
        try:
            self._log(event)
        finally:
            for hook in self._all_hooks():
                hook.tell(event)


async def _fetch_within(hooks: tuple[Guarded, ...], poll: Poll, fetch: Fetch, key: Key, limit: float) -> Look:
    tracked = poll.tracked
    started = PollStarted(
        task_id=tracked.task_id,
        operation=tracked.operation,
        poll_id=id(poll),
        wait_ids=_wait_ids(tracked),
        route=_route(key),
    )
    with naming(tracked.operation), around(hooks, started):
        return await fetch(key, limit)


def _poll_ended(
    poll: Poll,
    now: float,
    *,
    status: str | None = None,
    error: Exception | None = None,
    quota: RateLimit | None = None,
    is_dropped: bool = False,
) -> PollEnded:
    tracked = poll.tracked
    return PollEnded(
        task_id=tracked.task_id,
        operation=tracked.operation,
        poll_id=id(poll),
        wait_ids=_wait_ids(tracked),
        route=_route(tracked.key),
        reason="dropped" if is_dropped else None if error is None else _reason(error),
        status=status,
        error=error,
        seconds=now - poll.sent_at,
        late=poll.late,
        rate_limit=quota,
    )


def _wait_ids(tracked: TrackedTask) -> tuple[int, ...]:
    return tuple(map(id, tracked.waits))


def _route(key: Key) -> str:
    if not isinstance(key, Polled):
        return TASK_ROUTE
    path = key.endpoint.path
    return path if path.startswith("/api/") else API_PREFIX + path


def _may_have_failed(wait: Wait) -> bool:
    """Whether a wait ended with an error, or its task did."""
    return wait.error is not None or (wait.task is not None and wait.task.is_failed)


def _reason(failure: Exception) -> PollReason:
    if isinstance(failure, StreamRateLimitException):
        return "rate_limited"
    if is_not_found(failure):
        return "not_found"
    return "refused" if ends_wait(failure, waited=0.0, not_found_grace=0.0) else "unreachable"


def _ending(wait: Wait, now: float) -> WaitEnded:
    task, error = wait.task, wait.error
    outcome: WaitOutcome
    reason: str | None = None
    if wait.ended_at is None:
        outcome = "cancelled"
    elif isinstance(error, StreamWaitTimeoutException):
        outcome, reason = "timed_out", error.reason
    elif error is not None:
        outcome, reason = "error", getattr(error, "error_type", type(error).__name__)
    elif task is not None and task.is_failed:
        outcome, reason = "failed", "unknown" if task.error is None else task.error.type
    else:
        outcome = "completed"
    return WaitEnded(
        task_id=wait.task_id,
        operation=wait.operation,
        wait_id=id(wait),
        outcome=outcome,
        reason=reason,
        status=None if task is None else task.status,
        polls=wait.polls,
        seconds=now - wait.terms.started,
        held=wait.held,
        task=task,
        error=error,
    )
