"""The engine: every poll of a client on one event loop passes here.

Waits are entries in a queue, not timers and tasks: what is due longest is polled first, as soon as
the pacer lets it. A poll runs in an asyncio task of its own, but for the first look of a lone wait,
which its caller makes itself: that saves a task and two turns of the loop for the many tasks that
have ended by then. Where all places are taken and others are due, a poll that hangs is given up.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from stream_tasks._waiting.logs import KNOWN_STATUSES, WaitLog
from stream_tasks._waiting.polling import PATIENCE, PATIENT, Look, Waiter, Watch, is_not_found
from stream_tasks._waiting.wakeups import Deadlines, DueQueue
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TIMEOUT,
    TRANSPORT_ERROR_UNKNOWN,
    StreamApiException,
    StreamDecodeException,
    StreamRateLimitException,
    StreamTransportException,
    one_line,
)
from stream_tasks.models import Obstacle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from stream_tasks._engine.pacing import Pacer, Unpaced
    from stream_tasks._engine.poll import InFlight
    from stream_tasks.models import Task

    OnUpdate = Callable[[Task], object]

__all__ = ["Fetch", "Poller", "unwound"]

AT_A_TIME: Final = 250
"""Waits that begin in one turn of the loop."""

OVERDUE: Final = 0.05
"""A look that is later than this, in seconds, was held back."""

STALLED: Final = 1.0
"""A poll without an answer for so many seconds, and twice as long as the one before, will have none."""

GIVES_WAY: Final = 0.5
"""While no poll is answered, one of them gives way to another every so many seconds."""

TIMERS: Final = 0.002
"""Timers may be early by so many seconds: uvloop's count whole milliseconds."""

_UNAVAILABLE = 503
_SERVER_ERROR = 500


class Fetch(Protocol):
    """Asks the server for a task."""

    def __call__(self, task_id: str, limit: float) -> Awaitable[Look]:
        """Look at a task once.

        Args:
            task_id: The task.
            limit: The time that is left, in seconds; infinity for the request's own limit.
        """
        ...


class Poller:
    """Looks at tasks for everyone who waits, as often as they need and the pacer allows."""

    def __init__(
        self,
        fetch: Fetch,
        pacer: Pacer | Unpaced,
        in_flight: InFlight[Watch],
        *,
        not_found_grace: float,
        request_timeout: float,
    ) -> None:
        self._fetch = fetch
        self._pacer = pacer
        self._in_flight = in_flight
        self._not_found_grace = not_found_grace
        self._request_timeout = request_timeout
        self._loop = asyncio.get_running_loop()
        self._watches: dict[str, Watch] = {}
        # Polls in tasks of their own, the one that is out longest first.
        self._out: dict[Watch, asyncio.Task[None]] = {}
        self._patience = PATIENCE
        self._gave_way = -math.inf
        self._answered = -math.inf  # when the last poll went out that was answered
        self._due: DueQueue[Watch] = DueQueue()
        self._deadlines: Deadlines[Waiter] = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._log = WaitLog()
        self._is_closed = False
        self._begun = 0
        self._turns: deque[asyncio.Future[None]] = deque()

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def turn(self) -> asyncio.Future[None] | None:
        """Let thousands of waits that begin at once begin some at a time, so that the loop stays free.

        Those that begin between two answers count as beginning at once.

        Returns:
            What has to be awaited before the wait begins; None if it may begin.
        """
        if self._begun < AT_A_TIME:
            self._begun += 1
            return None
        if not self._turns:
            self._loop.call_soon(self._next_turn)
        turn = self._loop.create_future()
        self._turns.append(turn)
        return turn

    async def wait(self, waiter: Waiter, on_update: OnUpdate | None = None) -> Task:
        """Wait for a task's end.

        Returns:
            The final snapshot.

        Raises:
            StreamWaitTimeoutException: The deadline came first.
            StreamException: A poll failed for good.
        """
        watch = self.join(waiter)
        try:
            limit = self._take_up(watch, waiter)
            if limit is not None:
                await self._poll(watch, limit)
            while True:
                while waiter.updates and on_update is not None and self._loop.time() < waiter.deadline:
                    await self._call(on_update, waiter)
                if waiter.is_done:
                    break
                await self._news(waiter)
        finally:
            orphan = self.leave(waiter)
            if orphan is not None:
                await unwound([orphan])
        return waiter.final()

    async def _call(self, on_update: OnUpdate, waiter: Waiter) -> None:
        """Show a caller the next snapshot, within its deadline."""
        pending = on_update(waiter.updates.popleft()) if waiter.updates else None
        if inspect.isawaitable(pending):
            remaining = None if waiter.deadline == math.inf else waiter.deadline - self._loop.time()
            with anyio.move_on_after(remaining):
                await pending

    async def watch(self, waiter: Waiter) -> AsyncGenerator[Task]:
        """Yield each new snapshot, the final one last; raises as `wait` does."""
        turn = self.turn()
        if turn is not None:
            await turn
        watch = self.join(waiter)
        try:
            limit = self._take_up(watch, waiter)
            if limit is not None:
                await self._poll(watch, limit)
            while True:
                while waiter.updates:
                    yield waiter.updates.popleft()
                if waiter.is_done:
                    break
                await self._news(waiter)
        finally:
            orphan = self.leave(waiter)
            if orphan is not None:
                await unwound([orphan])
        waiter.final()

    def _next_turn(self) -> None:
        self._begun = 0
        while self._turns and self._begun < AT_A_TIME:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                self._begun += 1
        if self._turns:
            self._loop.call_soon(self._next_turn)

    def join(self, waiter: Waiter) -> Watch:
        """Let `waiter` have a part in the looks at its task; the first one to come has to begin them."""
        if waiter.timeout == 0:
            # One look, bounded like any request, and so is the wait for its turn.
            waiter.deadline = waiter.started + self._request_timeout
        self._log.started(waiter)
        watch = self._watches.get(waiter.task_id)
        is_first = watch is None
        if watch is None:
            watch = self._watches[waiter.task_id] = Watch(waiter.task_id)
        watch.waiters[waiter] = None
        if self._is_closed:
            self._close(waiter)
        if is_first or self._is_closed:
            return watch
        waiter.polls += watch.is_polling and not (watch.poll is not None and watch.poll.cancelling())
        if watch.task is not None:
            waiter.show(watch.task)
            if watch.task.is_final:
                waiter.finish()
        if not waiter.is_done and not watch.is_polling:
            due = waiter.next_look(watch)
            if not watch.place or due < watch.due:
                self._put(watch, due)
                self._arm()
        return watch

    def start(self, waiter: Waiter) -> None:
        """Look at a task for `waiter` as soon as the pacer allows."""
        watch = self.join(waiter)
        if watch.ended is None and not watch.place and not watch.is_polling and not waiter.is_done:
            self._plan(watch)

    def leave(self, waiter: Waiter) -> asyncio.Task[None] | None:
        """Stop looking for `waiter`; return the poll that this leaves without an owner, cancelled."""
        watch = self._watches[waiter.task_id]
        del watch.waiters[waiter]
        if waiter.place:
            self._deadlines.discard(waiter)
        if self._log.is_heard:
            self._log.ended(waiter, self._loop.time())
        if watch.waiters:
            # If nobody else wants the next look so early, that is seen when it is due.
            return None
        if watch.place:
            self._due.discard(watch)
            if self._due.next_due() == math.inf:
                self._arm()
        if watch.poll is None or not watch.has_begun:
            del self._watches[waiter.task_id]
        elif not watch.poll.cancelling():
            # Whoever comes before this poll has ended finds it, and does not begin another.
            watch.poll.cancel()
        return watch.poll

    def expire(self, waiter: Waiter) -> None:
        """End a wait whose deadline has come."""
        now = self._loop.time()
        watch = self._watches[waiter.task_id]
        if watch.place and watch.due < now - OVERDUE:
            waiter.obstacle = self._pacer.obstacle(now, since=watch.due)
        elif watch.is_polling and now - watch.sent_at > max(STALLED, 2 * watch.took):
            waiter.obstacle = "unreachable"
        waiter.finish(waiter.timed_out(now))

    def obstacle(self) -> Obstacle | None:
        """Return what holds polls back, if anything does."""
        now = self._loop.time()
        reason = self._pacer.obstacle(now) if self._watches else None
        due, free = self._due.next_due(), self._pacer.next_at(now)
        if reason is None or (reason == "rate_limited" and due > free):
            return None
        at = max(due, free)
        # Infinity: a poll is out already.
        return Obstacle(reason, max(at - now, 0.0) if at < math.inf else 0.0)

    def close(self) -> None:
        """End all waits with an error, those that have not had their turn as they join."""
        self._is_closed = True
        for watch in list(self._watches.values()):
            for waiter in list(watch.waiters):
                self._close(waiter)

    @staticmethod
    def _close(waiter: Waiter) -> None:
        seen = f"last status {one_line(waiter.task.status)!r}" if waiter.task else "never seen"
        waiter.finish(
            StreamTransportException(
                TRANSPORT_ERROR_UNKNOWN,
                f"the client was closed while it waited for task {one_line(waiter.task_id)} ({seen})",
            )
        )

    def _take_up(self, watch: Watch, waiter: Waiter) -> float | None:
        """Begin the first look at a task, if it has had none and may have it at once; else plan it.

        Returns:
            The limit of that look, in seconds; None if the caller has none to make.
        """
        if watch.ended is not None or watch.place or watch.is_polling or waiter.is_done:
            return None
        now = self._loop.time()
        if self._pacer.next_at(now) <= now < self._due.next_due() and now < waiter.deadline:
            self._begin(watch, now)
            return waiter.deadline - now if waiter.timeout else math.inf
        self._plan(watch)
        return None

    def _news(self, waiter: Waiter) -> asyncio.Future[None]:
        """Return what is done when there is news for `waiter`, or its deadline comes."""
        if not waiter.place and waiter.deadline < math.inf:
            self._deadlines.add(waiter, waiter.deadline, self.expire)
        return waiter.changed()

    def _plan(self, watch: Watch) -> None:
        """Put a watch where its waiters want it in the queue."""
        self._put(watch, watch.next_look())
        self._arm()

    def _put(self, watch: Watch, due: float) -> None:
        watch.due = due
        if due < math.inf:
            if watch.context is None:
                watch.context = copy_context()
            self._due.push(watch, due)

    def _arm(self) -> None:
        """Set the one timer to when the next poll can go out."""
        at = self._due.next_due()
        if at < math.inf:
            at = max(at, self._free_at(self._loop.time()))
        at = min(at, self._lost_at())
        if self._timer is not None:
            if self._timer_at <= at < math.inf:
                return
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            # uvloop's handles do not all know when they are due.
            self._timer, self._timer_at = self._loop.call_at(at, self._on_timer), at

    def _free_at(self, now: float) -> float:
        """Return when the next poll can go out, be it in place of one that hangs."""
        at = self._pacer.next_at(now)
        if at == math.inf and self._out:
            at = self._next_to_go()[1]
        return at

    def _on_timer(self) -> None:
        self._timer = None
        self._release()

    def _release(self) -> None:
        """Send out what is due, as far as the pacer allows."""
        now = self._loop.time()
        while self._lost_at() <= now:
            self._give_up(next(iter(self._out)), now)
        while self._due.next_due() <= now and self._pacer.next_at(now) <= now:
            watch = self._due.pop()
            due = watch.next_look()
            if due > now:
                self._put(watch, due)
                continue
            self._begin(watch, now)
            watch.has_begun = False
            poll = self._loop.create_task(self._poll(watch, math.inf), context=watch.context)
            if watch.is_polling:  # pragma: no branch - only an eager task may have ended
                watch.poll = poll
                self._out[watch] = poll
        if self._due.next_due() <= now and self._free_at(now) <= now:
            self._give_up(self._next_to_go()[0], now)
        self._arm()

    def _overtaken(self) -> Watch | None:
        """Return the poll that is out longest, if later ones were answered."""
        watch = next(iter(self._out), None)
        return watch if watch is not None and watch.sent_at < self._answered else None

    def _next_to_go(self) -> tuple[Watch, float]:
        """Return the poll that gives way next, where others want its place, and when."""
        watch = self._overtaken()
        if watch is not None:
            return watch, watch.sent_at + self._patience
        # All may only be slow: so half of them stay.
        watch = next(islice(self._out, len(self._out) // 2, None))
        return watch, max(watch.sent_at + self._patience, self._gave_way + GIVES_WAY)

    def _lost_at(self) -> float:
        """Return when a poll is given up that was overtaken.

        That happens to it once: the next one has all its time.
        """
        watch = self._overtaken()
        return math.inf if watch is None or watch.failures else watch.sent_at + self._patience

    def _give_up(self, watch: Watch, now: float) -> None:
        """End a poll that hangs: another one may have more luck."""
        watch.is_given_up = True
        self._out.pop(watch).cancel()
        self._gave_way = now

    def _begin(self, watch: Watch, now: float) -> None:
        watch.is_polling = True
        watch.is_given_up = False
        watch.sent_at = now
        self._in_flight.add(watch)
        self._pacer.sent(watch)
        shortest = math.inf
        for waiter in watch.waiters:
            waiter.polls += 1
            if waiter.timeout and waiter.timeout < shortest:
                shortest = waiter.timeout
        # A look that hangs should leave time for another one.
        is_cut = shortest < 2 * self._request_timeout and not watch.failures
        watch.limit = max(shortest / 2, watch.patience()) if is_cut else math.inf

    async def _poll(self, watch: Watch, limit: float) -> None:
        """Look at one task once, and tell everyone."""
        watch.has_begun = True
        answer: Look | Exception | None = None
        try:
            # Whoever wanted this may have left before the loop came round to it.
            if watch.waiters:
                answer = await self._fetch(watch.task_id, limit if limit < watch.limit else watch.limit)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            answer = exc
        except asyncio.CancelledError:
            if not watch.is_given_up:
                raise
            waited = self._loop.time() - watch.sent_at
            answer = StreamTransportException(
                TRANSPORT_ERROR_TIMEOUT, f"no answer for {waited:.0f} s; given up, to ask again later"
            )
        finally:
            self._settle(watch, answer, limit)

    def _settle(self, watch: Watch, answer: Look | Exception | None, limit: float) -> None:
        """Take in what a poll brought, and plan the next one."""
        now = self._loop.time()
        took = now - watch.sent_at
        if not self._turns:
            self._begun = 0
        watch.is_polling = False
        watch.poll = None
        self._out.pop(watch, None)
        self._in_flight.remove(watch)
        try:
            if answer is None:
                self._pacer.dropped(watch, now)
            elif took > limit - TIMERS and _is_timeout(answer):
                # The caller's deadline ended this, not the server: it says nothing to the others.
                self._pacer.dropped(watch, now)
                for waiter in list(watch.waiters):
                    if waiter.deadline <= now:
                        self.expire(waiter)
            else:
                self._take_in(watch, answer, now)
        finally:
            # Also where a handler or a filter of the log raises.
            if watch.waiters:
                due = watch.next_look()
                if due < math.inf:
                    self._put(watch, due)
            elif self._watches.get(watch.task_id) is watch:
                del self._watches[watch.task_id]
            if self._timer is not None or self._out or self._due.next_due() < math.inf:
                self._release()

    def _take_in(self, watch: Watch, answer: Look | Exception, now: float) -> None:
        if isinstance(answer, Exception):
            if watch.is_given_up:
                # That others hang, too, is seen by how long they are out.
                self._pacer.dropped(watch, now)
            else:
                self._take_in_failure(watch, answer, now)
            watch.see(answer, now, self._not_found_grace)
            if not all(waiter.is_done for waiter in watch.waiters) and not is_not_found(answer):
                # Otherwise nobody is going to look again, or the task is not visible yet.
                self._log.failed(watch, answer, now)
            return
        task, quota = answer
        watch.took = now - watch.sent_at
        self._answered = max(self._answered, watch.sent_at)
        if self._patience > PATIENCE or watch.took > PATIENCE / PATIENT:
            self._patience = watch.patience()
        self._pacer.answered(watch, now, quota)
        if self._log.trouble_since is not None or task.status not in KNOWN_STATUSES:
            self._log.answered(task, now)
        watch.see(task, now, self._not_found_grace)

    def _take_in_failure(self, watch: Watch, failure: Exception, now: float) -> None:
        if isinstance(failure, StreamApiException):
            retry_after = failure.hold
            is_too_often = isinstance(failure, StreamRateLimitException)
            if is_too_often or (failure.status_code == _UNAVAILABLE and retry_after is not None):
                self._pacer.refused(watch, now, failure.rate_limit, retry_after, is_too_often=is_too_often)
            elif failure.status_code < _SERVER_ERROR:
                self._pacer.answered(watch, now, failure.rate_limit)
            else:
                self._pacer.failed(watch, now)
        elif isinstance(failure, StreamDecodeException) and failure.path is not None:
            self._pacer.answered(watch, now, None)
        else:
            self._pacer.failed(watch, now)


def _is_timeout(answer: object) -> bool:
    return isinstance(answer, StreamTransportException) and answer.error_type == TRANSPORT_ERROR_TIMEOUT


async def unwound(cancelled: Sequence[asyncio.Task[None]]) -> None:
    """Return when cancelled tasks have ended: what was for one caller alone ends with its wait."""
    with anyio.CancelScope(shield=True):
        await asyncio.wait(cancelled)
