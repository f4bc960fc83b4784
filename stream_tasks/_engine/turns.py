"""Thousands of waits that begin or end at once do so some at a time, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from stream_tasks._engine.due import DueQueue
from stream_tasks._engine.tuning import WAITS_A_TURN

if TYPE_CHECKING:
    from stream_tasks._engine.inbox import Inbox

__all__ = ["Beginnings", "Endings"]

Turn = asyncio.Future[float]


class Beginnings:
    """Lets waits begin some at a time. Those that begin between two answers count as beginning at once.

    Invariant: while `_queue` is not empty, `_next` is scheduled on the loop.
    """

    __slots__ = ("_begun", "_deadlines", "_loop", "_queue")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun = 0
        self._queue: deque[Turn] = deque()
        self._deadlines: DueQueue[Turn] = DueQueue()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def turn(self, deadline: float) -> Turn | None:
        """Return what has to be awaited before a wait begins, None if it may begin.

        Args:
            deadline: When the wait for the turn ends, too.

        Returns:
            A future of the time at which the turn, or the deadline, came.
        """
        if self._begun < WAITS_A_TURN:
            self._begun += 1
            return None
        if not self._queue:
            self._loop.call_soon(self._next)
        turn: Turn = self._loop.create_future()
        self._queue.append(turn)
        self._deadlines.push(turn, deadline)
        return turn

    def answered(self) -> None:
        """Note an answer: what begins after it does not count with what began before."""
        if not self._queue:
            self._begun = 0

    def _next(self) -> None:
        now = self._loop.time()
        expired = self._begun = 0
        while expired < WAITS_A_TURN and self._deadlines.next_due() <= now:
            expired += 1
            _give(self._deadlines.pop(), now)
        while self._queue and self._begun < WAITS_A_TURN:
            turn = self._queue.popleft()
            self._deadlines.discard(turn)
            if not turn.done():
                _give(turn, now)
                self._begun += 1
        if self._queue:
            self._loop.call_soon(self._next)


def _give(turn: Turn, now: float) -> None:
    if not turn.done():
        turn.set_result(now)


class Endings:
    """Lets calls whose deadlines come together end some at a time.

    Each call that sleeps has a deadline of its own, an `anyio.fail_after`. To cancel thousands of calls takes
    twice as long as to tell them, and keeps the loop from everything else. So only the scope of the call that
    elapses first is armed. When it fires, it ends its own call; all others that are due by then are told in
    turns, and all are judged by that one moment.

    Invariants: each inbox that sleeps until a deadline is in `_asleep`. The first one of them is armed. While
    `_elapsed` is not empty, `_next` is scheduled on the loop.
    """

    __slots__ = ("_asleep", "_elapsed", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asleep: DueQueue[Inbox] = DueQueue()
        self._elapsed: deque[tuple[Inbox, float]] = deque()

    def __bool__(self) -> bool:
        return bool(self._asleep or self._elapsed)

    def add(self, inbox: Inbox, deadline: float) -> None:
        """Note that `inbox` sleeps until its deadline."""
        self._asleep.push(inbox, deadline)
        self._arm_first()

    def discard(self, inbox: Inbox) -> None:
        """Note that `inbox` no longer sleeps."""
        self._asleep.discard(inbox)
        self._arm_first()

    def elapse(self, moment: float) -> None:
        """Tell, in turns, the calls whose deadlines have come."""
        was_idle = not self._elapsed
        while self._asleep.next_due() <= moment:
            self._elapsed.append((self._asleep.pop(), moment))
        if was_idle and self._elapsed:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        for _ in range(min(WAITS_A_TURN, len(self._elapsed))):
            inbox, moment = self._elapsed.popleft()
            inbox.elapse(moment)
        self.elapse(self._loop.time())
        if self._elapsed:
            self._loop.call_soon(self._next)
        self._arm_first()

    def _arm_first(self) -> None:
        first = self._asleep.first()
        if first is not None:
            first.arm()
