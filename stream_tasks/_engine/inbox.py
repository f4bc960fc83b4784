"""How a caller receives what happens to its waits, within its deadline."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from stream_tasks._engine.tracked import Wait
from stream_tasks._engine.tuning import WAITS_A_TURN
from stream_tasks.models import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stream_tasks._engine.engine import Engine

    OnUpdate = Callable[[Task], object]

Event = Task | Wait

__all__ = ["Inbox", "unwound"]


class Inbox:
    """What happens to the waits of one call, in order: new snapshots, and waits that have ended.

    All its waits have one time-out, so that the first one that was added is the first one to elapse.

    Invariants: `_waits` holds the waits whose end has not been handed out, `_late` those of them that have
    one more look since their deadline was noticed late. Until its end is handed out, a wait stays with its
    task, so that others who ask for the same task find what was seen.

    Args:
        engine: What looks at the tasks.
        wants_updates: Whether new snapshots are events.
    """

    __slots__ = (
        "_elapsed_at",
        "_engine",
        "_events",
        "_handed_out",
        "_late",
        "_news",
        "_orphans",
        "_scope",
        "_waits",
        "context",
        "wants_updates",
    )

    def __init__(self, engine: Engine, *, wants_updates: bool = False) -> None:
        self._engine = engine
        self.wants_updates = wants_updates
        self.context = copy_context()
        self._waits: dict[Wait, None] = {}
        self._late: dict[Wait, None] = {}
        self._events: deque[Event | None] = deque()
        self._news: asyncio.Future[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._elapsed_at: float | None = None
        self._orphans: list[asyncio.Task[None]] = []
        self._handed_out = 0

    def __bool__(self) -> bool:
        """Whether there is anything to come: an end that has not been handed out."""
        return bool(self._waits or self._late or self._events)

    @property
    def deadline(self) -> float:
        """When the first wait elapses, infinity if none does."""
        deadline = math.inf
        for waits in (self._waits, self._late):
            for wait in waits:
                deadline = min(deadline, wait.terms.deadline)
                break
        return deadline

    async def begin(self, wait: Wait, moment: float) -> None:
        """Begin the only wait of this inbox.

        If the first look may go out at once, the caller's own asyncio task makes it. For a task that has
        ended by then, as many have, that saves an asyncio task, a scope and two turns of the loop: a tenth
        of the time. The deadline bounds this look as its request's limit.

        Args:
            wait: The wait.
            moment: When its turn came, or its deadline.
        """
        if moment >= wait.terms.deadline and not self._engine.expire(wait, moment):
            return
        self._waits[wait] = None
        poll = self._engine.join(wait, makes_first_look=True)
        if poll is not None:
            await self._engine.make(poll)
            if (now := self._engine.now()) >= wait.terms.deadline:
                self._elapsed_at = now

    def add(self, wait: Wait, moment: float = -math.inf) -> None:
        """Begin one of many waits, unless its deadline has come at this moment."""
        if moment >= wait.terms.deadline and not self._engine.expire(wait, moment):
            return
        if not self._waits and self._news is not None:
            self.wake()  # `next` is asleep without a deadline
        self._waits[wait] = None
        self._engine.join(wait)

    def put(self, event: Event | None) -> None:
        """Take in what happened; an ended wait need not have been added."""
        self._events.append(event)
        self._stir()

    def wake(self) -> None:
        """Let `next` return, with None if nothing has happened."""
        self.put(None)

    async def next(self) -> Event | None:
        """Sleep until something happens, or until the deadline; then waits end, one with each call.

        Returns:
            A new snapshot, or a wait that has ended, which is let go by then; None after `wake`.
        """
        if not self._events and self._elapsed_at is None:
            deadline = self.deadline
            if deadline <= self._engine.now():
                # Nobody looked here at the deadline. It was not noticed late.
                self._elapsed_at = deadline
            else:
                await self._sleep(deadline)
        return await self.take()

    async def _sleep(self, deadline: float) -> None:
        """Sleep until something happens, or until the deadline."""
        endings = self._engine.endings
        try:
            with suppress(TimeoutError), anyio.fail_after(None) as self._scope:
                if deadline < math.inf:
                    endings.add(self, deadline)  # which arms the scope if this is the first to elapse
                await self._arrival()
        finally:
            self._scope = None
            endings.discard(self)
        if self._elapsed_at is None and self.deadline <= (now := self._engine.now()):
            self._elapsed_at = now
            endings.elapse(now)

    def arm(self) -> None:
        """Let the sleep end at the deadline: no other inbox elapses earlier."""
        if self._scope is not None and self._scope.deadline == math.inf:
            self._scope.deadline = self.deadline

    async def take(self) -> Event | None:
        """Return the next event as `next` does, but sleep without a deadline.

        What many waits come to is handed out some at a time, so that others have their turns in between.
        """
        if not self._events and self._elapsed_at is None:
            await self._arrival()
        while not self._events and self._elapsed_at is not None:
            self._end_next(self._elapsed_at)
        event = self._events.popleft() if self._events else None
        if isinstance(event, Wait):
            self._let_go(event)
            self._handed_out += 1
            if self._handed_out % WAITS_A_TURN == 0:
                await anyio.lowlevel.checkpoint()
        return event

    def add_some(self, waits: Iterator[Wait]) -> bool:
        """Begin as many waits as one turn of the loop has time for, unless there is an event to be taken.

        Returns:
            Whether any has begun.
        """
        some = [] if self._events else list(islice(waits, WAITS_A_TURN))
        for wait in some:
            self.add(wait)
        return bool(some)

    def elapse(self, moment: float) -> None:
        """Let the waits end whose deadline has come by then."""
        self._elapsed_at = moment
        self._stir()

    async def close(self) -> None:
        """Let go of all waits; nothing of them is left when this returns."""
        for waits in (self._waits, self._late):
            while waits:
                self._leave(waits.popitem()[0])
        if self._orphans:
            await unwound(self._orphans)

    async def _arrival(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _stir(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _end_next(self, moment: float) -> None:
        """End the first wait whose deadline has come by then, unless it has one more look."""
        for waits in (self._waits, self._late):
            wait = next(iter(waits), None)
            if wait is not None and wait.terms.deadline <= moment:
                if self._engine.expire(wait, moment):
                    del waits[wait]
                    self._late[wait] = None
                return
        self._elapsed_at = None

    def _let_go(self, wait: Wait) -> None:
        for waits in (self._waits, self._late):
            if wait in waits:
                del waits[wait]
                self._leave(wait)

    def _leave(self, wait: Wait) -> None:
        self._orphans += self._engine.leave(wait)


async def unwound(cancelled: Sequence[asyncio.Task[Any]]) -> None:
    """Return when cancelled asyncio tasks have ended: what was for one call alone ends with it."""
    with anyio.CancelScope(shield=True):
        await asyncio.wait(cancelled)
