"""What is due when: one queue and one timer for any number of waits."""

from __future__ import annotations

import asyncio
import heapq
import math
from itertools import count
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deadlines", "DueQueue", "Queueable"]

MOST_STALE: Final = 1_000
"""More stale entries than this are dropped, if they are more than half of the queue."""


class Queueable(Protocol):
    """What a queue can hold: something that remembers its place."""

    place: int


Q = TypeVar("Q", bound=Queueable)


class DueQueue(Generic[Q]):
    """Items ordered by when they are due; equally due ones by when they came.

    An item stands in it once: pushing it again moves it. Moved and discarded items leave a stale
    entry behind, which is dropped when it comes to the top, or with many others.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Q]] = []
        self._places = count(1)
        self._discarded = 0

    def push(self, item: Q, due: float) -> None:
        """Put `item` in, or move it."""
        item.place = next(self._places)
        heapq.heappush(self._heap, (due, item.place, item))

    def discard(self, item: Q) -> None:
        """Take `item` out, if it is in."""
        item.place = 0
        self._discarded += 1
        if self._discarded > MOST_STALE and self._discarded > len(self._heap) / 2:
            self._discarded = 0
            self._heap = [entry for entry in self._heap if entry[2].place == entry[1]]
            heapq.heapify(self._heap)

    def next_due(self) -> float:
        """Return when the first item is due, infinity when there is none."""
        while self._heap:
            due, place, item = self._heap[0]
            if item.place == place:
                return due
            heapq.heappop(self._heap)
        return math.inf

    def pop(self) -> Q:
        """Take out the item that has been due the longest; `next_due` must have found one."""
        item = heapq.heappop(self._heap)[2]
        item.place = 0
        return item


class Deadlines(Generic[Q]):
    """Calls back for each item whose deadline has come: one timer for all, where each could have its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: DueQueue[Q] = DueQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def add(self, item: Q, at: float, expire: Callable[[Q], None]) -> None:
        """Call `expire` at a time of the loop, unless `item` is discarded before.

        It is the same for all, and not kept but by the timer: it may be a method of who keeps this.
        """
        self._queue.push(item, at)
        if at < self._timer_at:
            self._set(at, expire)

    def discard(self, item: Q) -> None:
        """Take `item` out, which must be in."""
        self._queue.discard(item)
        if self._timer is not None and self._queue.next_due() == math.inf:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf

    def _set(self, at: float, expire: Callable[[Q], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._ring, expire), at

    def _ring(self, expire: Callable[[Q], None]) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        while (at := self._queue.next_due()) <= now:
            expire(self._queue.pop())
        if at < math.inf:
            self._set(at, expire)
