"""The engine: one coroutine for each event loop starts the polls that are due."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from stream_tasks._engine.alarm import Alarm
from stream_tasks._engine.deadlines import Judge
from stream_tasks._engine.lineup import Lineup
from stream_tasks._engine.poll import Fetch, InFlight, Look, Poll
from stream_tasks._engine.reporter import Reporter
from stream_tasks._engine.tracked import Terms, TrackedTask, Wait
from stream_tasks._engine.tuning import WAKE_SLACK
from stream_tasks._engine.turns import Beginnings, Endings
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_UNKNOWN,
    StreamApiException,
    StreamDecodeException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
    one_line,
)
from stream_tasks.models import Obstacle, Stats

if TYPE_CHECKING:
    from stream_tasks._backoff import Backoff
    from stream_tasks._engine.durations import Durations
    from stream_tasks._engine.pacing import Pacer, Unpaced
    from stream_tasks._engine.poll import Key
    from stream_tasks.instrumentation._hooks import Guarded

__all__ = ["Engine", "Limits"]

_UNAVAILABLE = 503
_SERVER_ERROR = 500


class Limits(NamedTuple):
    """What a client allows.

    Attributes:
        max_in_flight: The most polls in flight.
        request_timeout: The limit of one request, in seconds.
        not_found_grace: For how long from a wait's start a 404 may mean "not visible yet", in seconds.
    """

    max_in_flight: int
    request_timeout: float
    not_found_grace: float


class Engine:
    """Looks at tasks for everyone who waits, as often as they need and the pacer allows.

    Invariants, between any two steps of the loop:

    - a task that somebody waits for is in `_tasks`, once;
    - it has a poll in flight, or is in `_due` if one of its waits wants another look;
    - while anything is in `_due` or in flight by a job of its own, `_run` sleeps in `_alarm`, at the longest
      until the next thing it has to do.

    Args:
        fetch: Asks the server for a task.
        pacer: Makes what decides when the next poll may go out.
        limits: What the client allows.
        durations: How long tasks take, to learn and to go by; None to do neither.
        hooks: Who is told what happens, beside the log and the hooks of the process.
    """

    def __init__(
        self,
        fetch: Fetch,
        pacer: type[Pacer | Unpaced],
        limits: Limits,
        durations: Durations | None = None,
        hooks: tuple[Guarded, ...] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._fetch = fetch
        self._limits = limits
        self._in_flight = InFlight()
        self._pacer = pacer(limits.max_in_flight, self._in_flight)
        self._tasks: dict[Key, TrackedTask] = {}
        self._due: Lineup[TrackedTask] = Lineup(durations)
        self._judge = Judge(self._pacer, self._in_flight, self._due)
        self._alarm = Alarm()
        self._reporter = Reporter(hooks, self._pacer, self._loop.time)
        self._is_closed = False
        self.beginnings = Beginnings(self._loop)
        self.endings = Endings(self._loop)

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def terms(self, backoff: Backoff, timeout: float | None) -> Terms:
        """Return the terms of a call that begins now."""
        now = self._loop.time()
        if timeout is None:
            return Terms(backoff, timeout, now, math.inf)
        if timeout == 0:
            # One look, bounded like any request, and so is the wait for its turn.
            return Terms(backoff, timeout, now, now + self._limits.request_timeout, -math.inf)
        return Terms(backoff, timeout, now, now + timeout)

    async def _run(self) -> None:
        """Do what `_schedule` does. Should that fail, which would be a fault here, no wait hangs."""
        try:
            await self._schedule()
        except Exception as exc:
            for tracked in list(self._tasks.values()):
                for wait in list(tracked.waits):
                    wait.finish(self._loop.time(), exc)
            raise

    async def _schedule(self) -> None:
        """Start the polls that are due, from the first wait that has to be planned to the last one.

        Each time round:

        1. A poll whose answer seems to be lost, since later polls were answered, is given up.
        2. What is due goes out as the pacer allows: the longest due first, or what is worth most.
        3. If something is due and only polls that hang are in its way, one of them gives way.
        4. Sleep until one of these can happen next. Joins and answers that change when end the sleep.
        """
        while True:
            now = self._loop.time()
            while self._in_flight.lost_at() <= now:
                self._in_flight.give_up(now, is_lost=True)
            while self._due.next_due() <= now and self._pacer.next_at(now) <= now:
                self._send(*self._due.pop(now), now)
            if self._due.next_due() <= now and self._free_at(now) <= now:
                self._in_flight.give_up(now, is_lost=False)
            await self._alarm.sleep(now, self._next_event(now))

    def _next_event(self, now: float) -> float:
        """Return when `_run` has something to do next."""
        at = self._due.next_due()
        if at < math.inf:
            at = max(at, self._free_at(now))
        return min(at, self._in_flight.lost_at())

    def _free_at(self, now: float) -> float:
        """Return when the next poll can go out, be it in place of one that hangs."""
        at = self._pacer.next_at(now)
        return self._in_flight.gives_way_at() if at == math.inf else at

    def _send(self, tracked: TrackedTask, planned: float, now: float) -> None:
        """Send a poll for a task that was due, unless whoever wanted it so early has left."""
        due = tracked.next_look()
        if due > now:
            self._due.push(tracked, due)
            return
        poll = self._begin(tracked, now)
        self._reporter.sent(poll, max(due, planned))
        job = self.make(poll)
        try:
            # Without `context=`, which not every task factory takes.
            poll.made_by(tracked.context.run(self._loop.create_task, job))
        except Exception as exc:  # noqa: BLE001 - a task factory's failure belongs to those who wait
            job.close()
            self._ended(poll, exc)

    def _begin(self, tracked: TrackedTask, now: float, callers_limit: float = math.inf) -> Poll:
        poll = tracked.begin_poll(now, self._limits.request_timeout, callers_limit)
        self._in_flight.add(poll)
        self._pacer.sent(poll)
        return poll

    async def make(self, poll: Poll) -> None:
        """Make a poll, and tell everyone who waits what it brought."""
        answer: Look | Exception | None = None
        try:
            answer = await poll.answer(self._reporter.around(poll, self._fetch))
        finally:
            self._ended(poll, answer)

    def _ended(self, poll: Poll, answer: Look | Exception | None) -> None:
        """Take in what a poll brought, and plan the next look."""
        now = self._loop.time()
        tracked = poll.tracked
        self._in_flight.remove(poll)
        poll.end()
        tracked.end_poll()
        self.beginnings.answered()
        try:
            self._take_in(poll, answer, now)
        finally:
            # Also if a handler or a filter of the log raises.
            if tracked.waits:
                self._due.push(tracked, tracked.next_look())
            elif self._tasks.get(tracked.key) is tracked:
                self._forget(tracked)
            self._wake(now)

    def _take_in(self, poll: Poll, answer: Look | Exception | None, now: float) -> None:
        tracked = poll.tracked
        if answer is None:
            self._pacer.dropped(poll, now)
            self._reporter.dropped(poll, now)
        elif poll.was_cut(answer, now):
            self._pacer.dropped(poll, now)
            self._reporter.dropped(poll, now)
            for wait in list(tracked.waits):
                if wait.terms.deadline <= now and not self._judge.is_missed(tracked, wait, now):
                    wait.time_out(now, self._judge.obstacle(tracked, wait, now))
        elif isinstance(answer, Exception):
            if poll.is_given_up:
                # That others hang, too, is seen by how long they are out.
                self._pacer.dropped(poll, now)
            else:
                _note_failure(self._pacer, poll, answer, now)
            tracked.observe(answer, now, poll.sent_at, self._limits.not_found_grace)
            self._reporter.failed(poll, answer, now)
        else:
            task, quota = answer
            self._in_flight.answered(poll, now)
            self._pacer.answered(poll, now, quota)
            self._reporter.answered(poll, task, quota, now)
            tracked.observe(answer, now, poll.sent_at, self._limits.not_found_grace)

    def join(self, wait: Wait, *, makes_first_look: bool = False) -> Poll | None:
        """Let `wait` have a part in the looks at its task, and plan one if it wants it earlier.

        Returns:
            The task's first poll, begun and counted, if the caller makes it itself and may do so at once.
        """
        now = self._loop.time()
        self._reporter.started(wait)
        tracked = self._tasks.get(wait.key)
        if tracked is None:
            tracked = self._tasks[wait.key] = TrackedTask(wait.key, wait.inbox.context)
        tracked.join(wait, now, self._due.durations)
        if self._is_closed:
            self._end_closed(wait)
        if wait.ended_at is not None or tracked.poll is not None:
            return None
        is_first = makes_first_look and tracked not in self._due and tracked.looked_at is None
        if is_first and self._pacer.next_at(now) <= now < self._due.next_due():
            limit = wait.terms.deadline - now if wait.terms.timeout else math.inf
            return self._begin(tracked, now, limit)
        self._hasten(tracked, wait.next_look(tracked), now)
        return None

    def leave(self, wait: Wait) -> list[asyncio.Task[None]]:
        """Look no more for `wait`.

        Returns:
            What this leaves without an owner and has to unwind: a cancelled poll, the engine's coroutine.
        """
        tracked = self._tasks[wait.key]
        tracked.leave(wait)
        self._reporter.left(wait, self._loop.time())
        if tracked.waits:
            # If nobody else wants the next look so early, that is seen when it is due.
            return []
        self._due.discard(tracked)
        poll = tracked.poll
        orphans = [] if poll is None else [poll.withdraw()]
        if poll is None or not poll.has_begun:
            orphans.append(self._forget(tracked))
        # Otherwise whoever comes before this poll has ended finds it, and does not begin another one.
        return [orphan for orphan in orphans if orphan is not None]

    def expire(self, wait: Wait, moment: float) -> bool:
        """End a wait whose deadline has come, or let it have one more look if that was noticed late.

        Args:
            wait: The wait, which need not have joined.
            moment: When the deadline was noticed.

        Returns:
            Whether the wait goes on for one more look.
        """
        now = self._loop.time()
        tracked = self._tasks.get(wait.key)
        if not self._is_closed and self._judge.is_missed(tracked, wait, moment):
            wait.extend(now)
            if tracked is not None and tracked.poll is None:
                self._hasten(tracked, now, now)
            return True
        obstacle = self._judge.obstacle(tracked, wait, moment)
        if obstacle == "rate_limited":
            wait.hold(wait.terms.started if tracked is None else self._due.due(tracked), now)
        wait.time_out(now, obstacle)
        if tracked is None or wait not in tracked.waits:
            self._reporter.missed(wait, now)
        return False

    def hint(self, key: Key) -> None:
        """Look at a task at once, since somebody says that it has ended; if nobody waits for it, do nothing.

        Further hints before that look change nothing.
        """
        tracked = self._tasks.get(key)
        if tracked is None or not tracked.waits:
            return
        now = self._loop.time()
        tracked.hint(now)
        if tracked.poll is None:
            self._hasten(tracked, tracked.next_look(), now)

    def obstacle(self) -> Obstacle | None:
        """Return what holds polls back, if anything does."""
        now = self._loop.time()
        reason = self._pacer.obstacle(now) if self._tasks else None
        due, free = self._due.next_due(), self._pacer.next_at(now)
        if reason is None or (reason == "rate_limited" and due > free):
            return None
        at = max(due, free)
        # Infinity: a poll is out already.
        return Obstacle(reason, max(at - now, 0.0) if at < math.inf else 0.0)

    def stats(self) -> Stats:
        """Return a snapshot of what is under way."""
        now = self._loop.time()
        held = self._pacer.held_until - now
        return Stats(
            waiting=self._reporter.waiting,
            in_flight=len(self._in_flight),
            quota=self._reporter.quota,
            held_until=datetime.now(UTC) + timedelta(seconds=held) if held > 0 else None,
            polls=self._in_flight.total,
            refused=self._reporter.refused,
            obstacle=self.obstacle(),
        )

    def close(self) -> None:
        """End all waits with an error, those that have not had their turn as they join."""
        self._is_closed = True
        self._reporter.close()
        for tracked in list(self._tasks.values()):
            for wait in list(tracked.waits):
                self._end_closed(wait)

    def _end_closed(self, wait: Wait) -> None:
        seen = f"last status {one_line(wait.task.status)!r}" if wait.task else "never seen"
        message = f"the client was closed while it waited for task {one_line(wait.task_id)} ({seen})"
        wait.finish(self._loop.time(), StreamTransportException(TRANSPORT_ERROR_UNKNOWN, message))

    def _hasten(self, tracked: TrackedTask, due: float, now: float) -> None:
        """Have a look taken at `due`, unless one is planned for earlier."""
        if self._due.hasten(tracked, due):
            self._wake(now)

    def _wake(self, now: float) -> None:
        """Let `_run` see that there is something to do earlier than it knew; begin it if it is not there."""
        if self._alarm.is_running:
            until = self._alarm.until - WAKE_SLACK
            if until > now and until > self._next_event(now):
                self._alarm.ring()
        elif self._due or self._in_flight.lost_at() < math.inf:
            self._alarm.start(self._run())

    def _forget(self, tracked: TrackedTask) -> asyncio.Task[None] | None:
        """Drop a task that nobody waits for; after the last one, end `_run` and return what has to unwind."""
        del self._tasks[tracked.key]
        return None if self._tasks else self._alarm.stop()


def _note_failure(pacer: Pacer | Unpaced, poll: Poll, failure: Exception, now: float) -> None:
    """Tell the pacer what a failure says about the server, rather than about the task."""
    if isinstance(failure, StreamApiException):
        retry_after = failure.hold
        is_too_often = isinstance(failure, StreamRateLimitException)
        if is_too_often or (failure.status_code == _UNAVAILABLE and retry_after is not None):
            pacer.refused(poll, now, failure.rate_limit, retry_after, is_too_often=is_too_often)
        elif failure.status_code < _SERVER_ERROR:
            pacer.answered(poll, now, failure.rate_limit)
        else:
            pacer.failed(poll, now)
    elif isinstance(failure, StreamDecodeException) and failure.path is not None:
        pacer.answered(poll, now, None)
    elif isinstance(failure, StreamException):
        pacer.failed(poll, now)
    else:
        pacer.dropped(poll, now)
