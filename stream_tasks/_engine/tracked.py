"""One task that somebody waits for, and one caller's wait for it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from stream_tasks._backoff import FLOOR
from stream_tasks._engine.finality import ends_wait, is_not_found
from stream_tasks._engine.poll import Poll
from stream_tasks._engine.sighting import UNKNOWN, Origin, Sighting
from stream_tasks._engine.tuning import (
    FRESH,
    LAST_LOOK,
    LATE_LOOK,
    LOOK_TIMEOUT,
    RETRY_BACKOFF,
    SLOWER,
    SLOWEST,
)
from stream_tasks.exceptions import StreamException, StreamRateLimitException, StreamWaitTimeoutException

if TYPE_CHECKING:
    from contextvars import Context

    from stream_tasks._backoff import Backoff
    from stream_tasks._engine.durations import Durations
    from stream_tasks._engine.inbox import Inbox
    from stream_tasks._engine.poll import Key, Look
    from stream_tasks.exceptions import WaitReason
    from stream_tasks.models import Task

__all__ = ["Terms", "TrackedTask", "Wait"]


class Terms:
    """How often a caller wants to look, and until when; the waits of one call may share them.

    Attributes:
        backoff: The delays between looks.
        timeout: What the caller asked for, in seconds.
        started: When the call began.
        deadline: When it ends; infinity if it has no limit.
        one_look_from: If the wait is for one look, the earliest time at which that may be sent.
    """

    __slots__ = ("backoff", "deadline", "one_look_from", "started", "timeout")

    def __init__(
        self,
        backoff: Backoff,
        timeout: float | None,
        started: float,
        deadline: float,
        one_look_from: float | None = None,
    ) -> None:
        self.backoff = backoff
        self.timeout = timeout
        self.started = started
        self.deadline = deadline
        self.one_look_from = one_look_from

    def extended(self, now: float) -> Terms:
        """Return the terms of a wait whose deadline was noticed late: one more look, with a limit."""
        return Terms(self.backoff, self.timeout, self.started, now + LATE_LOOK, now)


class _Pace:
    """Where a wait is in its back-off.

    Only looks that come when they are due for this wait lengthen its delays. Looks that come earlier, for
    other waits, move the next look but not the back-off.
    """

    __slots__ = ("delay", "due", "step")

    def __init__(self) -> None:
        self.step = 0
        self.due = -math.inf
        self.delay: float | None = None

    def looked(self, now: float) -> None:
        """Note a look, for whomever it was."""
        if now >= self.due:
            self.delay = None
            self.step += 1

    def next_after(self, looked_at: float, backoff: Backoff) -> float:
        """Return when the next look is due."""
        if self.delay is None:
            # Drawn once for each step, since chance has a part in it.
            self.delay = backoff.delay(max(self.step, 1))
            self.due = looked_at + self.delay
        return looked_at + self.delay


class Wait:
    """One caller's wait for one task.

    Invariant: only the wait itself writes its fields. It ends once, and then tells its inbox.

    Args:
        key: The task, or what else is polled.
        terms: How often to look, and until when.
        inbox: What is told of snapshots and of the end.
        origin: What is known of how the task was started.
    """

    __slots__ = (
        "_pace",
        "ended_at",
        "error",
        "failure",
        "held",
        "inbox",
        "key",
        "origin",
        "polls",
        "task",
        "terms",
    )

    def __init__(self, key: Key, terms: Terms, inbox: Inbox, origin: Origin = UNKNOWN) -> None:
        self.key = key
        self.terms = terms
        self.inbox = inbox
        self.origin = origin
        self.polls = 0
        self.held = 0.0
        self.task: Task | None = None
        self.failure: Exception | None = None
        self.error: Exception | None = None
        self.ended_at: float | None = None
        self._pace: _Pace | None = None

    @property
    def task_id(self) -> str:
        """The id of what is polled."""
        return str(self.key)

    @property
    def operation(self) -> str | None:
        """The operation that started the task, if it is known."""
        return self.origin.operation

    @property
    def elapsed(self) -> float:
        """How long a wait that has ended took, in seconds."""
        return 0.0 if self.ended_at is None else self.ended_at - self.terms.started

    def count_poll(self) -> None:
        """Count a poll whose answer this wait gets."""
        self.polls += 1

    def hold(self, due: float, now: float) -> None:
        """Note that the quota held back a look that was due."""
        self.held += max(now - max(due, self.terms.started), 0.0)

    def extend(self, now: float) -> None:
        """Let the wait have one more look, since its deadline was noticed late."""
        self.terms = self.terms.extended(now)

    def see(
        self,
        answer: Task | Exception,
        now: float,
        sent_at: float,
        not_found_grace: float,
        *,
        is_shared: bool = False,
    ) -> None:
        """Take in what a poll brought, perhaps to other waits, too.

        Args:
            answer: The snapshot, or what the poll raised.
            now: The time.
            sent_at: When the poll was sent.
            not_found_grace: For how long a 404 may mean "not visible yet", in seconds.
            is_shared: Whether another wait has this very exception.
        """
        if self._pace is not None:
            self._pace.looked(now)
        terms = self.terms
        if isinstance(answer, Exception):
            self.failure = answer
            if ends_wait(answer, waited=now - terms.started, not_found_grace=not_found_grace):
                self.finish(now, _copy(answer) if is_shared else answer)
                return
        else:
            self.failure = None
            self.show(answer)
            if answer.is_final:
                self.finish(now)
                return
        if terms.one_look_from is not None and sent_at >= terms.one_look_from:
            self.time_out(now)

    def show(self, task: Task) -> None:
        """Take in a snapshot."""
        is_new = self.inbox.wants_updates and task != self.task
        self.task = task
        if is_new:
            self.inbox.put(task)

    def finish(self, now: float, error: Exception | None = None) -> None:
        """End the wait; a second end changes nothing."""
        if self.ended_at is None:
            self.ended_at = now
            self.error = error
            self.inbox.put(self)

    def time_out(self, now: float, obstacle: WaitReason | None = None) -> None:
        """End the wait because of its deadline; the last failure is the error's cause.

        Args:
            now: The time.
            obstacle: What held the task's looks back, if anything did.
        """
        error = StreamWaitTimeoutException(
            task_id=self.task_id,
            timeout=self.terms.timeout or 0.0,
            elapsed=now - self.terms.started,
            polls=self.polls,
            task=self.task,
            reason=obstacle or self._reason(),
        )
        error.__cause__ = self.failure
        self.finish(now, error)

    def final(self) -> Task:
        """Return what a wait that has ended came to, or raise it."""
        if self.error is not None:
            raise self.error
        assert self.task is not None  # noqa: S101
        return self.task

    def next_look(self, tracked: TrackedTask) -> float:
        """Return when this caller wants the task to be looked at next, infinity for never."""
        terms, looked_at = self.terms, tracked.looked_at
        if looked_at is None or self._wants_own_look(tracked, looked_at):
            return terms.started
        backoff = terms.backoff
        if backoff.interval is not None:
            due = looked_at + backoff.interval
        else:
            if self._pace is None:
                self._pace = _Pace()
                if self.polls:
                    self._pace.looked(looked_at)
            due = self._pace.next_after(looked_at, backoff)
        if self.failure is not None and not is_not_found(self.failure):
            due = max(due, tracked.retry_at)
        if not terms.timeout:
            return due
        takes, last = self._last_look(tracked, terms.timeout)
        if due + takes < last:
            return due
        # A poll sent before the last look is due would still be in flight then, and its answer too old.
        return max(last, looked_at + FLOOR) if tracked.sent_at < last else math.inf

    def latest_look(self, tracked: TrackedTask) -> float:
        """Return the time from which a look must not be put off for others; infinity for never."""
        terms = self.terms
        if terms.one_look_from is not None:
            return max(terms.started, terms.one_look_from)
        return self._last_look(tracked, terms.timeout)[1] if terms.timeout else math.inf

    def _last_look(self, tracked: TrackedTask, timeout: float) -> tuple[float, float]:
        """Return how long the last look may take, and when it is due: it leaves time for a slow answer."""
        takes = min(SLOWER * tracked.took, timeout / 2)
        return takes, self.terms.deadline - max(min(LAST_LOOK, timeout / 4), takes)

    def skips(self) -> float | None:
        """Return the poll interval if looks that cannot pay may be left out, else None.

        Who follows the snapshots wants all looks. Of a task of unknown operation too little can be known.
        """
        is_for_the_end = self.origin.operation is not None and not self.inbox.wants_updates
        return self.terms.backoff.interval if is_for_the_end and self.failure is None else None

    def _wants_own_look(self, tracked: TrackedTask, looked_at: float) -> bool:
        """Whether nothing that was seen so far serves as a look for this caller."""
        one_look_from = self.terms.one_look_from
        if one_look_from is not None:
            return not self.polls or tracked.sent_at < one_look_from
        return not self.polls and not tracked.failures and looked_at < self.terms.started - FRESH

    def _reason(self) -> WaitReason:
        if isinstance(self.failure, StreamRateLimitException):
            return "rate_limited"
        if self.failure is not None and is_not_found(self.failure):
            return "not_found"
        if self.failure is not None or self.task is None:
            return "unreachable"
        return "still_running"


class TrackedTask:
    """One task that somebody waits for: who does, and what the last looks brought.

    Invariants: only the task itself writes its fields. At most one poll of it is in flight, `poll`.

    Args:
        key: The task, or what else is polled.
        context: The context variables that its polls see: those of the call that asked first.
    """

    __slots__ = (
        "context",
        "failures",
        "hinted_at",
        "key",
        "looked_at",
        "poll",
        "retry_at",
        "seen",
        "sent_at",
        "task",
        "took",
        "waits",
    )

    def __init__(self, key: Key, context: Context) -> None:
        self.key = key
        self.context = context
        self.waits: dict[Wait, None] = {}
        self.poll: Poll | None = None
        self.sent_at = -math.inf
        self.looked_at: float | None = None
        self.took = 0.0
        self.failures = 0
        self.hinted_at: float | None = None
        self.retry_at = 0.0
        self.task: Task | None = None
        self.seen: Sighting | None = None

    @property
    def task_id(self) -> str:
        """The id of what is polled."""
        return str(self.key)

    @property
    def operation(self) -> str | None:
        """The operation that started the task, if one of the waits knows it."""
        return next((wait.operation for wait in self.waits if wait.operation is not None), None)

    @property
    def sighting(self) -> Sighting:
        """What was seen of the task's life: only where durations are learned."""
        assert self.seen is not None  # noqa: S101
        return self.seen

    def join(self, wait: Wait, now: float, durations: Durations | None) -> None:
        """Let `wait` have a part in all that is seen from now on, and in what is known.

        Args:
            wait: The wait.
            now: The time.
            durations: How long tasks take, to learn from what is seen; None to learn nothing.
        """
        if durations is not None:
            if self.seen is None:
                self.seen = Sighting.first(durations, wait.origin, now)
            elif wait.operation is not None and self.operation is None:
                self.seen.belongs_to(durations, wait.origin)
        self.waits[wait] = None
        if self.poll is not None and not self.poll.is_withdrawn:
            wait.count_poll()
        if self.task is not None:
            wait.show(self.task)
            if self.task.is_final:
                wait.finish(now)

    def leave(self, wait: Wait) -> None:
        """Look no more for `wait`."""
        del self.waits[wait]

    def patience(self) -> float:
        """Return how long an answer may take before something seems to be wrong with it, in seconds."""
        return max(LOOK_TIMEOUT, SLOWEST * self.took)

    def begin_poll(self, now: float, request_timeout: float, callers_limit: float = math.inf) -> Poll:
        """Make the poll that is sent now.

        Args:
            now: The time.
            request_timeout: The limit of any request, in seconds.
            callers_limit: What is left of the caller's time, in seconds, if the caller makes the poll itself.
        """
        assert self.poll is None, "two polls of one task at once"  # noqa: S101
        shortest = math.inf
        for wait in self.waits:
            wait.count_poll()
            timeout = wait.terms.timeout
            if timeout and timeout < shortest:
                shortest = timeout
        # A look that hangs should leave time for another one.
        is_cut = shortest < 2 * request_timeout and not self.failures
        limit = max(shortest / 2, self.patience()) if is_cut else math.inf
        self.sent_at = now
        self.hinted_at = None
        self.poll = Poll(self, now, limit, callers_limit)
        return self.poll

    def end_poll(self) -> None:
        """Note that no poll is in flight any more."""
        self.poll = None

    def hint(self, now: float) -> None:
        """Note that somebody says that the task has ended: no look that was sent before can tell."""
        self.hinted_at = now

    def next_look(self) -> float:
        """Return when the most eager wait wants the task to be looked at, infinity for never."""
        soonest = math.inf
        for wait in self.waits:
            if wait.ended_at is None:
                soonest = min(soonest, wait.next_look(self), self._hinted_look())
        return soonest

    def pays_at(self, due: float) -> float:
        """Return when a look that is due then can pay, even if there are enough looks for all tasks."""
        if self.seen is None or self.hinted_at is not None:
            return due
        intervals = [wait.skips() for wait in self.waits if wait.ended_at is None]
        interval = min((interval for interval in intervals if interval is not None), default=None)
        if interval is None or None in intervals:
            return due
        return max(due, min(self.seen.pays_at(due, interval), self.latest_look()))

    def latest_look(self) -> float:
        """Return the time from which a look must not be put off for other tasks; infinity for never."""
        if self.hinted_at is not None:
            return -math.inf
        return min((wait.latest_look(self) for wait in self.waits if wait.ended_at is None), default=math.inf)

    def _hinted_look(self) -> float:
        """Return when a hint wants a look, infinity if none has come since the last poll was sent."""
        if self.hinted_at is None:
            return math.inf
        due = self.hinted_at
        if self.looked_at is not None:
            due = max(due, self.looked_at + FLOOR)
        return max(due, self.retry_at) if self.failures else due

    def observe(self, answer: Look | Exception, now: float, sent_at: float, not_found_grace: float) -> None:
        """Take in what a poll brought, and tell the waits."""
        self.looked_at = now
        if isinstance(answer, Exception):
            seen: Task | Exception = answer
            self.failures += 1
            self.retry_at = now + RETRY_BACKOFF.delay(self.failures)
        else:
            seen, quota = answer
            self.failures = 0
            self.took = now - sent_at
            self.task = seen
            if self.seen is not None:
                self.seen.take_in(seen, now, quota)
        for number, wait in enumerate(list(self.waits)):
            if wait.ended_at is None:
                wait.see(seen, now, sent_at, not_found_grace, is_shared=number > 0)


def _copy(failure: Exception) -> Exception:
    """Return an error for another caller: each adds to the traceback and the notes of its own."""
    if not isinstance(failure, StreamException):
        return failure
    its = copy.copy(failure).with_traceback(failure.__traceback__)
    if failure.__cause__ is not None:  # setting it, even to None, hides the context
        its.__cause__ = failure.__cause__
    return its
