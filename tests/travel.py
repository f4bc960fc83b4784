"""Polls on their way between pacers and a server that counts them, event by event, without an event loop."""

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any

from scripted import QuotaServer

from stream_tasks import RateLimit
from stream_tasks._engine.pacing import Pacer, Reason, Unpaced
from stream_tasks._engine.poll import InFlight

__all__ = ["Asker", "Poll", "Travel"]


class Poll:
    """A poll, as far as pacing cares."""

    def __init__(self, sent_at: float) -> None:
        self.sent_at = sent_at


class Asker:
    """Plays the engine: it keeps the polls in flight and tells the pacer of them.

    A note without a poll is about the oldest one.
    """

    def __init__(self, places: int, kind: type[Pacer | Unpaced] = Pacer) -> None:
        self.polls: Any = InFlight()
        self.pacer: Any = kind(places, self.polls)

    @property
    def in_flight(self) -> int:
        return len(self.polls)

    def next_at(self, now: float) -> float:
        at: float = self.pacer.next_at(now)
        return at

    def obstacle(self, now: float, since: float = math.inf) -> Reason | None:
        reason: Reason | None = self.pacer.obstacle(now, since)
        return reason

    def sent(self, now: float) -> Poll:
        poll = Poll(now)
        self.polls.add(poll)
        self.pacer.sent(poll)
        return poll

    def _ended(self, poll: Poll | None) -> Poll:
        ended = next(iter(self.polls)) if poll is None else poll
        self.polls.remove(ended)
        return ended

    def answered(self, now: float, known: RateLimit | None, poll: Poll | None = None) -> None:
        self.pacer.answered(self._ended(poll), now, known)

    def refused(
        self,
        now: float,
        known: RateLimit | None,
        retry_after: float | None,
        poll: Poll | None = None,
        *,
        is_too_often: bool = True,
    ) -> None:
        self.pacer.refused(self._ended(poll), now, known, retry_after, is_too_often=is_too_often)

    def failed(self, now: float, poll: Poll | None = None) -> None:
        self.pacer.failed(self._ended(poll), now)

    def dropped(self, now: float = 0.0, poll: Poll | None = None) -> None:
        self.pacer.dropped(self._ended(poll), now)


class Travel:
    """Pacers that always have something to ask, and a server that counts.

    Args:
        server: The server.
        pacers: How many pacers there are; they know nothing of each other.
        begins: When each of them begins; at once by default.

    Attributes:
        sent: For each pacer, when its polls went out.
        arrived: When polls arrived, of all pacers.
        refused: When polls were refused.
    """

    def __init__(
        self, server: QuotaServer, pacers: int = 1, begins: Callable[[int], float] | None = None
    ) -> None:
        self.server = server
        self.askers = [Asker(100) for _ in range(pacers)]
        self.begins = [0.0 if begins is None else begins(number) for number in range(pacers)]
        self.sent: list[list[float]] = [[] for _ in range(pacers)]
        self.arrived: list[float] = []
        self.refused: list[float] = []
        self._places = itertools.count()

    def run(self, until: float, *, others: Callable[[float], float] | None = None) -> None:
        """Play; `others` tells when another program, which is not paced, calls next."""
        self._events: list[tuple[float, int, str, int, Any]] = []
        self._wakes = list(self.begins)
        for number, begin in enumerate(self.begins):
            self._push(begin, "wake", number)
        if others is not None:
            self._push(others(0.0), "other", -1)
        while self._events and self._events[0][0] < until:
            now, _, what, number, load = heapq.heappop(self._events)
            if what == "other":
                self.server.spend(now)
                assert others is not None
                self._push(others(now), "other", -1)
            elif what == "arrives":
                self._arrives(now, number, load)
            elif what == "answers":
                self._answers(now, number, *load)
            elif now == self._wakes[number]:
                self._asks(now, number)

    def _push(self, at: float, what: str, number: int, load: Any = None) -> None:
        heapq.heappush(self._events, (at, next(self._places), what, number, load))

    def _arrives(self, now: float, number: int, poll: Poll) -> None:
        is_let_in = self.server.spend(now)
        self.arrived.append(now)
        if not is_let_in:
            self.refused.append(now)
        back = now + self._latency()
        self._push(back, "answers", number, (poll, is_let_in, self.server.told(back)))

    def _answers(self, now: float, number: int, poll: Poll, is_let_in: bool, told: RateLimit) -> None:
        asker = self.askers[number]
        if is_let_in:
            asker.answered(now, told, poll)
        else:
            asker.refused(now, told, None, poll)
        self._asks(now, number)

    def _asks(self, now: float, number: int) -> None:
        asker = self.askers[number]
        while asker.next_at(now) <= now:
            self.sent[number].append(now)
            self._push(now + self._latency(), "arrives", number, asker.sent(now))
        self._wakes[number] = asker.next_at(now)
        if self._wakes[number] < math.inf:
            self._push(self._wakes[number], "wake", number)

    def _latency(self) -> float:
        return self.server.chance.uniform(*self.server.latency)
