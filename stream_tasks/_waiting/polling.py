"""One task: who waits for it, when it is looked at next, and what ends a wait."""

from __future__ import annotations

import asyncio
import copy
import math
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final

from stream_tasks._backoff import FLOOR, Backoff
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    StreamApiException,
    StreamDecodeException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
    StreamWaitTimeoutException,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from stream_tasks.exceptions import WaitReason
    from stream_tasks.models import RateLimit, Task

__all__ = ["Look", "Waiter", "Watch", "ends_wait", "is_not_found", "is_passing"]

LAST_LOOK: Final = 0.2
"""How long before the deadline a last look is taken, in seconds."""

SLOWER: Final = 1.2
"""By so much the next answer may take longer than the one before."""

PATIENCE: Final = 5.0
"""A poll has so many seconds at the least before it is given up for another one."""

PATIENT: Final = 4
"""Where answers come slowly, as many times as long as the last one took."""

FRESH: Final = 1.0
"""What others saw so many seconds ago, or less, is as good as an own first look."""

RETRY: Final = Backoff(0.25, 10.0, 2.0, 0.5)
"""The delays between tries while the server is in trouble."""

_NOT_FOUND = 404
_PASSING = frozenset({408, 425, 429})
_SERVER_ERROR = 500


def is_passing(status_code: int) -> bool:
    """Whether an HTTP status tells of a bad moment, after which the same request may fare better."""
    return status_code in _PASSING or status_code >= _SERVER_ERROR


def ends_wait(failure: Exception, *, waited: float, not_found_grace: float) -> bool:
    """Whether a failed poll is final, rather than a bad moment.

    Args:
        failure: What the poll raised.
        waited: How long the wait has lasted, in seconds.
        not_found_grace: For how long a 404 may mean "not visible yet", in seconds.
    """
    if isinstance(failure, StreamApiException):
        if failure.unrecoverable:
            return True
        if is_not_found(failure):
            return waited >= not_found_grace
        return not is_passing(failure.status_code)
    if isinstance(failure, StreamTransportException):
        return failure.error_type == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED and not _was_cut_off(failure)
    if isinstance(failure, StreamDecodeException):
        # A cut or foreign body is a bad moment; JSON of another shape comes again.
        return failure.path is not None
    return True


def _was_cut_off(failure: BaseException | None) -> bool:
    """Whether the other side left in the middle of a handshake, rather than failing it."""
    while failure is not None:
        if isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return True
        failure = failure.__cause__
    return False


def is_not_found(failure: Exception) -> bool:
    """Whether the server does not know the task, perhaps not yet."""
    return isinstance(failure, StreamApiException) and failure.status_code == _NOT_FOUND


def _copy(failure: Exception) -> Exception:
    """Return what another one may raise: each adds to its own traceback, and notes."""
    if not isinstance(failure, StreamException):
        return failure
    its = copy.copy(failure).with_traceback(failure.__traceback__)
    if failure.__cause__ is not None:  # setting it, even to None, hides the context
        its.__cause__ = failure.__cause__
    return its


Look = tuple["Task", "RateLimit | None"]
"""What looking at a task brought: the snapshot, and the quota if the answer told it."""


class Waiter:
    """One caller's wait for one task."""

    __slots__ = (
        "_changed",
        "_delay",
        "_own_due",
        "_step",
        "backoff",
        "deadline",
        "elapsed",
        "error",
        "failure",
        "is_done",
        "obstacle",
        "on_done",
        "on_news",
        "place",
        "polls",
        "started",
        "task",
        "task_id",
        "timeout",
        "updates",
    )

    def __init__(
        self,
        task_id: str,
        backoff: Backoff,
        timeout: float | None,
        now: float,
        *,
        wants_updates: bool = False,
    ) -> None:
        self.task_id = task_id
        self.backoff = backoff
        self.timeout = timeout
        self.started = now
        # A time-out of zero is one look, which has the request's own time-out.
        self.deadline = now + timeout if timeout else math.inf
        self.place = 0
        self.polls = 0
        self.elapsed = 0.0
        self.task: Task | None = None
        self.failure: Exception | None = None
        self.error: Exception | None = None
        self.is_done = False
        self.obstacle: WaitReason | None = None
        self.on_done: Callable[[Waiter], None] | None = None
        self.on_news: Callable[[], None] | None = None
        self.updates: deque[Task] | None = deque() if wants_updates else None
        self._delay: float | None = None
        self._own_due = -math.inf
        self._step = 0
        self._changed: asyncio.Future[None] | None = None

    def see(
        self, answer: Task | Exception, now: float, not_found_grace: float, *, is_shared: bool = False
    ) -> None:
        """Take in what a poll brought, perhaps to others, too."""
        if now >= self._own_due:
            # What is looked at earlier, for others, does not lengthen this one's delays.
            self._delay = None
            self._step += 1
        if isinstance(answer, Exception):
            self.failure = answer
            if ends_wait(answer, waited=now - self.started, not_found_grace=not_found_grace):
                self.finish(_copy(answer) if is_shared else answer)
                return
        else:
            self.failure = None
            self.show(answer)
            if answer.is_final:
                self.finish()
                return
        if self.timeout == 0:
            self.finish(self.timed_out(now))

    def show(self, task: Task) -> None:
        """Take in a snapshot."""
        if self.updates is not None and task != self.task:
            self.updates.append(task)
            self.wake()
        self.task = task

    def finish(self, error: Exception | None = None) -> None:
        """End the wait; a second end changes nothing."""
        if self.is_done:
            return
        self.error = error
        self.is_done = True
        if self._changed is not None or self.on_news is not None:
            self.wake()
        if self.on_done is not None:
            self.on_done(self)

    def wake(self) -> None:
        """Let whoever sleeps look what there is."""
        if self.on_news is not None:
            self.on_news()
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def changed(self) -> asyncio.Future[None]:
        """Return what is done when there is news."""
        self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def next_look(self, watch: Watch) -> float:
        """Return when this caller wants the task to be looked at next."""
        if watch.ended is None or (not self.polls and self._wants_own_look(watch, watch.ended)):
            return self.started
        if self._delay is None:
            # Once for each step: chance has a part in it.
            self._delay = self.backoff.delay(max(self._step, 1))
            self._own_due = watch.ended + self._delay
        due = watch.ended + self._delay
        if self.failure is not None and not is_not_found(self.failure):
            due = max(due, watch.retry_at)
        if self.timeout:
            # In time for a slow answer, too.
            takes = min(SLOWER * watch.took, self.timeout / 2)
            last = self.deadline - max(min(LAST_LOOK, self.timeout / 4), takes)
            if due + takes >= last:
                # What is begun before, and then in the way, cannot tell how the task is at last.
                return max(last, watch.ended + FLOOR) if watch.sent_at < last else math.inf
        return due

    def _wants_own_look(self, watch: Watch, ended: float) -> bool:
        """Whether what others saw is no first look for this caller, who joined them."""
        return self.timeout == 0 or (not watch.failures and ended < self.started - FRESH)

    def final(self) -> Task:
        """Return what a finished wait has come to, or raise it."""
        if self.error is not None:
            raise self.error
        assert self.task is not None  # noqa: S101
        return self.task

    def timed_out(self, now: float) -> StreamWaitTimeoutException:
        """Describe a wait that its deadline ended; the last failure is its cause."""
        error = StreamWaitTimeoutException(
            task_id=self.task_id,
            timeout=self.timeout or 0.0,
            elapsed=now - self.started,
            polls=self.polls,
            task=self.task,
            reason=self._reason(),
        )
        error.__cause__ = self.failure
        return error

    def _reason(self) -> WaitReason:
        if self.obstacle is not None:
            return self.obstacle
        if isinstance(self.failure, StreamRateLimitException):
            return "rate_limited"
        if self.failure is not None or self.task is None:
            return "unreachable"
        return "still_running"


class Watch:
    """One task that is being looked at, for everyone who waits for it."""

    __slots__ = (
        "context",
        "due",
        "ended",
        "failures",
        "has_begun",
        "is_given_up",
        "is_polling",
        "limit",
        "place",
        "poll",
        "retry_at",
        "sent_at",
        "task",
        "task_id",
        "took",
        "waiters",
    )

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.waiters: dict[Waiter, None] = {}
        self.due = math.inf
        self.place = 0
        self.context: Context | None = None
        self.is_polling = False
        self.is_given_up = False
        self.limit = math.inf
        self.sent_at = 0.0
        self.has_begun = False
        self.poll: asyncio.Task[None] | None = None
        self.ended: float | None = None
        self.took = 0.0
        self.failures = 0
        self.retry_at = 0.0
        self.task: Task | None = None

    def patience(self) -> float:
        """Return how long an answer may take before something seems to be wrong with it, in seconds."""
        return max(PATIENCE, PATIENT * self.took)

    def next_look(self) -> float:
        """Return when the most eager waiter wants it to be looked at."""
        soonest = math.inf
        for waiter in self.waiters:
            if not waiter.is_done:
                soonest = min(soonest, waiter.next_look(self))
        return soonest

    def see(self, answer: Task | Exception, now: float, not_found_grace: float) -> None:
        """Take in what a poll brought, and tell the waiters."""
        self.ended = now
        if isinstance(answer, Exception):
            self.failures += 1
            self.retry_at = now + RETRY.delay(self.failures)
        else:
            self.failures = 0
            self.task = answer
        for number, waiter in enumerate(list(self.waiters)):
            waiter.see(answer, now, not_found_grace, is_shared=number > 0)
