"""Many tasks at once: who has finished, in what order."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from stream_tasks._waiting.poller import AT_A_TIME, unwound

if TYPE_CHECKING:
    from stream_tasks._waiting.poller import Poller
    from stream_tasks._waiting.polling import Waiter
    from stream_tasks.models import Task

__all__ = ["Batch"]


class Batch:
    """Waits that one caller has under way, handed out as they end.

    All of them have the same time-out, so that the first to be added is the first to elapse.
    """

    def __init__(self, poller: Poller, *, wants_updates: bool = False) -> None:
        self._poller = poller
        self.updates: deque[Task] | None = deque() if wants_updates else None
        self._waiting: dict[Waiter, None] = {}
        self._ended: deque[Waiter] = deque()
        self._orphans: list[asyncio.Task[None]] = []
        self._news: asyncio.Future[None] | None = None
        self._is_woken = False
        self._handed_out = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._ended)

    def add(self, waiter: Waiter) -> None:
        """Begin a wait."""
        waiter.on_done = self._note
        if self.updates is not None:
            waiter.updates, waiter.on_news = self.updates, self.wake
        if not self._waiting:
            # `next` may be asleep without a deadline.
            self.wake()
        self._waiting[waiter] = None
        self._poller.start(waiter)

    async def next(self) -> Waiter | None:
        """Return the next wait that has ended; None after `wake`, though there may be none.

        Snapshots in `updates` are older than an end that is returned after them.
        """
        if not self._ended and not self._is_woken:
            self._news = asyncio.get_running_loop().create_future()
            deadline = next(iter(self._waiting)).deadline if self._waiting else math.inf
            try:
                with anyio.fail_after(None if deadline == math.inf else deadline - self._poller.now()):
                    await self._news
            except TimeoutError:
                self._expire()
        if self._ended:
            self._handed_out += 1
            if self._handed_out % AT_A_TIME == 0:
                # Where thousands end at once, others have their turns in between.
                await anyio.lowlevel.checkpoint()
            return self._ended.popleft()
        self._is_woken = False
        return None

    def put(self, waiter: Waiter) -> None:
        """Take in a wait that ended without beginning."""
        self._ended.append(waiter)
        self.wake()

    def wake(self) -> None:
        """Let `next` return, the next time if it is not asleep."""
        self._is_woken = True
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def close(self) -> None:
        """Stop all waits; nothing of them is left when this returns."""
        while self._waiting:
            self._leave(self._waiting.popitem()[0])
        if self._orphans:
            await unwound(self._orphans)

    def _note(self, waiter: Waiter) -> None:
        del self._waiting[waiter]
        waiter.elapsed = self._poller.now() - waiter.started
        self._leave(waiter)
        self.put(waiter)

    def _leave(self, waiter: Waiter) -> None:
        orphan = self._poller.leave(waiter)
        if orphan is not None:
            self._orphans.append(orphan)
            orphan.add_done_callback(self._orphans.remove)

    def _expire(self) -> None:
        now = self._poller.now()
        for waiter in list(self._waiting):
            if waiter.deadline > now:
                break
            self._poller.expire(waiter)
