"""Few polls in flight at first; more with each good answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stream_tasks._engine.tuning import INITIAL_GAP, INITIAL_IN_FLIGHT, SILENT_AFTER

if TYPE_CHECKING:
    from stream_tasks._engine.pacing.pacer import InFlight

__all__ = ["SlowStart"]


class SlowStart:
    """Limits the polls in flight.

    It begins with a few, one after the other. The first answer shows that the server is there, and lifts the
    limit to the maximum. After a refusal one poll is allowed, after an outage a few, and each good answer
    allows one more: the polls in flight double with each round trip.

    A poll that has had no answer for long does not count, so that polls that hang do not hold up all others.
    """

    __slots__ = ("_allowed", "_has_heard", "_in_flight", "_most")

    def __init__(self, most: int, in_flight: InFlight) -> None:
        self._most = most
        self._in_flight = in_flight
        self._allowed = min(INITIAL_IN_FLIGHT, most)
        self._has_heard = False  # whether the server has shown that it is there, or that it is not

    def next_at(self, now: float) -> float:
        """Return when another poll may be in flight; infinity if not before one has ended."""
        in_flight, count = self._in_flight, len(self._in_flight)
        if count < self._allowed:
            if self._has_heard or not count:
                return now
            return max(now, in_flight.sent_at(0) + count * INITIAL_GAP)
        if count >= self._most:
            return math.inf
        # For each silent poll one more than allowed may be in flight. If there are n more already, the
        # n / 2 oldest ones and their n / 2 replacements are silent.
        silent_at = in_flight.sent_at((count - self._allowed) // 2) + SILENT_AFTER
        return silent_at if silent_at > now else now

    def is_silent(self, now: float) -> bool:
        """Whether no more polls are allowed, and the oldest one has had no answer for long."""
        return len(self._in_flight) >= self._allowed and self._in_flight.sent_at(0) + SILENT_AFTER <= now

    def answered(self) -> None:
        """Allow one more after a good answer; as many as there are after the very first one."""
        if self._allowed < self._most:
            self._allowed = self._allowed + 1 if self._has_heard else self._most
        self._has_heard = True

    def begin_again(self, allowed: int) -> None:
        """Allow only so many polls from now on."""
        self._allowed = min(allowed, self._most)
        self._has_heard = True
