"""Which of the tasks that are due is looked at next, if there are not enough looks for all of them.

Pure: times are those of a monotonic clock, in seconds, and come as arguments.

A look is worth the expected delay that has accrued since the task was last seen alive
(`Hazard.accrued`). The best order looks at the task whose look is worth most. To find it without
asking all tasks, `WorthQueue` orders them by when a look at each will be worth the price: a running estimate
of what a look is worth that the quota just bears. The order hardly depends on the price, so that it need not
be exact. It follows what the looks that are taken are worth:

- while they are worth more, the price rises. Tasks that were placed at a lower price come up too early; a
  look at them is not worth the price yet, and they go back;
- while they are worth less, the price falls, slowly. Tasks that were placed at a higher price are too far
  back. The review finds them: for each look, one task is taken from a ring of all. It is placed again if it
  has waited for one round, and looked at at once if it has waited for three.

A round is the time in which the quota bears as many looks as tasks wait. So a task is looked at at the latest
after four rounds.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from stream_tasks._engine.tuning import (
    FAR_ABOVE,
    FEW_TASKS,
    LEAP,
    MAX_FALL,
    MAX_STALE,
    MAX_TRIES,
    MIN_PRICE,
    PRICE_GAIN,
    REVIEW_AFTER,
    SIMILAR,
    STARVES_AFTER,
    WORTHY,
)

if TYPE_CHECKING:
    from stream_tasks._engine.sighting import Sighting

__all__ = ["Candidate", "WorthQueue"]


class Candidate(Protocol):
    """What a queue can hold."""

    @property
    def sighting(self) -> Sighting:
        """When the task was last seen alive."""
        ...

    def pays_at(self, due: float) -> float:
        """Return when a look that is due then can pay, even if there are enough looks for all tasks."""
        ...

    def latest_look(self) -> float:
        """Return the time from which a look must not be put off, whatever it is worth."""
        ...


C = TypeVar("C", bound=Candidate)


class _Entry(Generic[C]):
    """A task in the queue.

    Attributes:
        item: The task.
        sighting: When it was last seen alive.
        due: Since when it is due.
        latest: The time from which a look at it must not be put off.
        since: How many rounds had gone by when it came in.
        number: The number of its place in the heap; 0 if it is out.
        key: The time by which it is ordered.
        price: The price when it was placed.
    """

    __slots__ = ("due", "item", "key", "latest", "number", "price", "sighting", "since")

    def __init__(self, item: C, due: float, since: float) -> None:
        self.item = item
        self.sighting = item.sighting
        self.due = self.key = due
        self.latest = item.latest_look()
        self.since = since
        self.number = 0
        self.price = 0.0


class WorthQueue(Generic[C]):
    """The tasks that are due and wait for a look, ordered by what it is worth.

    Invariant: `_entries` holds the one entry of each task that is in. Places in the heap whose number is not
    their entry's are stale, and so are entries in the ring without a number.

    Attributes:
        price: What a look is worth that the quota just bears, in seconds of delay.
    """

    __slots__ = ("_entries", "_heap", "_leap", "_numbers", "_ring", "_rounds", "price")

    def __init__(self) -> None:
        self.price = MIN_PRICE
        # By what the price rises next if it is out of date.
        self._leap = 1.0
        # How many rounds went by.
        self._rounds = 0.0
        self._entries: dict[C, _Entry[C]] = {}
        self._numbers = count(1)
        self._heap: list[tuple[float, int, _Entry[C]]] = []
        self._ring: deque[_Entry[C]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: object) -> bool:
        return item in self._entries

    def due(self, item: C) -> float:
        """Return since when a task is due, infinity if it is not in."""
        entry = self._entries.get(item)
        return math.inf if entry is None else entry.due

    def open(self, price: float) -> None:
        """Begin at a price; the queue must be empty."""
        self.price = max(price, MIN_PRICE)

    def push(self, item: C, due: float) -> None:
        """Put a task in that is due and not in."""
        entry = self._entries[item] = _Entry(item, due, self._rounds)
        self._place(entry)
        self._ring.append(entry)

    def hasten(self, item: C) -> None:
        """Note that a look at a task that is in may have to be taken earlier."""
        entry = self._entries[item]
        latest = item.latest_look()
        if latest < entry.latest:
            entry.latest = latest
            self._place(entry)
            self._tidy()

    def discard(self, item: C) -> None:
        """Take a task out if it is in."""
        entry = self._entries.get(item)
        if entry is not None:
            self._take_out(entry)
            self._tidy()

    def pop(self, now: float) -> tuple[C, float]:
        """Take out the task to look at now, and return since when it is due; one must be in."""
        entry = self._starving(now) or self._best(now)
        self._rounds += 1 / len(self._entries)
        self._take_out(entry)
        return entry.item, entry.due

    def _take_out(self, entry: _Entry[C]) -> None:
        entry.number = 0
        del self._entries[entry.item]
        if not self._entries:
            self._heap.clear()
            self._ring.clear()

    def _place(self, entry: _Entry[C]) -> None:
        """Place a task by when a look will be worth the price; one that is in moves."""
        price = entry.price = self.price
        key = entry.sighting.worth_at(price)
        entry.key = key = key if key < entry.latest else entry.latest
        number = entry.number = next(self._numbers)
        heappush(self._heap, (key, number, entry))

    def _starving(self, now: float) -> _Entry[C] | None:
        """Review one task, each in turn; return it if it has waited too long."""
        ring = self._ring
        entry = ring.popleft()
        while not entry.number:
            entry = ring.popleft()
        ring.append(entry)
        waited = self._rounds - entry.since
        if waited >= STARVES_AFTER:
            return entry
        if entry.key < now:
            if entry.sighting.worth(now) > FAR_ABOVE * self.price:
                self._leap_up()
        elif waited >= REVIEW_AFTER and SIMILAR * entry.price > self.price:
            self._place(entry)
            self._tidy()
        return None

    def _best(self, now: float) -> _Entry[C]:
        """Return the task whose look is worth most, or nearly so; its place is gone."""
        heap, price = self._heap, self.price
        tries = min(MAX_TRIES, len(self._entries))
        passed_over: list[tuple[float, _Entry[C]]] = []
        while True:
            key, number, entry = heappop(heap)
            if entry.number != number:
                continue
            worth = self._worth(entry, now)
            tries -= 1
            if worth >= WORTHY * price or key > now or not tries:
                break
            passed_over.append((worth, entry))
        if passed_over:
            passed_over.append((worth, entry))
            worth, entry = max(passed_over, key=itemgetter(0))
            for _, other in passed_over:
                if other is not entry:
                    self._place(other)
        self._steer(worth)
        return entry

    def _worth(self, entry: _Entry[C], now: float) -> float:
        """Return what a look is worth now, at least roughly; one not to be put off is worth the price."""
        if entry.latest <= now:
            return self.price
        sighting = entry.sighting
        if entry.price < SIMILAR * self.price or entry.key <= sighting.alive_at:
            return sighting.worth(now)
        # It was worth `price` at `key`. With a constant hazard, worth grows with the square of the gap.
        grown = (now - sighting.alive_at) / (entry.key - sighting.alive_at)
        return entry.price * grown * grown

    def _steer(self, worth: float) -> None:
        """Move the price towards what a look is worth that is taken."""
        price = self.price
        share = worth / price
        if share > FAR_ABOVE:
            self._leap_up()
            return
        if share > 1:
            move = 1 - 1 / share
        else:
            move = (share if share > MAX_FALL else MAX_FALL) - 1
            self._leap = 1.0
        price *= 1 + move * PRICE_GAIN / (len(self._entries) + FEW_TASKS)
        self.price = price if price > MIN_PRICE else MIN_PRICE

    def _leap_up(self) -> None:
        """Let the price rise, faster each time: it is far below what looks are worth."""
        self._leap *= LEAP
        self.price *= self._leap

    def _tidy(self) -> None:
        """Drop what is stale once it is much."""
        if len(self._heap) + len(self._ring) > 4 * len(self._entries) + MAX_STALE:
            self._heap[:] = [place for place in self._heap if place[1] == place[2].number]
            heapify(self._heap)
            self._ring = deque(entry for entry in self._ring if entry.number)
