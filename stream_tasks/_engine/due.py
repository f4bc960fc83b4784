"""What is due when: one queue for any number of tasks."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Generic, TypeVar

from stream_tasks._engine.tuning import MAX_STALE

__all__ = ["DueQueue"]

T = TypeVar("T")


class DueQueue(Generic[T]):
    """Items ordered by when they are due; equally due ones by when they came.

    Invariant: `_entries` holds the one valid entry of each item that is in the queue. The heap holds these
    and stale ones, which moved or discarded items have left. A stale entry is dropped when it comes to the
    top, or together with the others when they are too many.
    """

    __slots__ = ("_entries", "_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._entries: dict[T, tuple[float, int, T]] = {}
        self._numbers = count()

    def __contains__(self, item: object) -> bool:
        return item in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, item: T, due: float) -> None:
        """Put `item` in, or move it."""
        entry = self._entries[item] = (due, next(self._numbers), item)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > MAX_STALE and len(self._heap) > 2 * len(self._entries):
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def discard(self, item: T) -> None:
        """Take `item` out if it is in."""
        self._entries.pop(item, None)

    def due(self, item: T) -> float:
        """Return when `item` is due, infinity if it is not in."""
        entry = self._entries.get(item)
        return math.inf if entry is None else entry[0]

    def next_due(self) -> float:
        """Return when the first item is due, infinity if there is none."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if self._entries.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(heap)
        return math.inf

    def first(self) -> T | None:
        """Return the item that is due first, None if there is none."""
        return None if self.next_due() == math.inf else self._heap[0][2]

    def pop(self) -> T:
        """Take out the item that has been due the longest; `next_due` must have found one."""
        item = heapq.heappop(self._heap)[2]
        del self._entries[item]
        return item
