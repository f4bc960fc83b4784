"""The window of the quota: how many calls are left, and until when."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from stream_tasks._engine.tuning import (
    MAX_WINDOW,
    NEW_WINDOW_AFTER,
    RESET_ROUNDING,
    SECOND_DIVISOR,
    SECOND_UTILISATION,
    WINDOW,
)

if TYPE_CHECKING:
    from stream_tasks._engine.pacing.pacer import InFlight
    from stream_tasks.models import RateLimit

__all__ = ["Window"]


class Window:
    """What the server says of the quota, and what the client has spent since.

    Other processes spend the same quota, so what an answer says remains replaces the own count.

    Attributes:
        limit: The calls in a window; 0 as long as no answer has told a quota.
        left: The calls that are left.
        end: When the window ends. After that the next window begins with the next call.
        most: Calls a second by the rule for one second.
        known_since: When the quota became known; minus infinity before.
    """

    __slots__ = ("_in_flight", "_spent", "end", "known_since", "left", "limit", "most")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._spent = 0  # own calls in this window
        self.limit = 0
        self.left = 0
        self.end = -math.inf
        self.most = 1.0
        self.known_since = -math.inf

    def reset_in(self, now: float) -> float | None:
        """Return the seconds to the end of this window; None if it has ended."""
        return self.end - now if self.end > now else None

    def sent(self, now: float) -> None:
        """Count a call, whose poll is in flight already."""
        if now >= self.end:
            self._begin(now, self.limit, spent=len(self._in_flight) - 1)
        self.left -= 1
        self._spent += 1

    def learn(self, now: float, quota: RateLimit) -> bool:
        """Take in what an answer's headers tell; return whether they tell what is left, and until when."""
        if quota.limit < 1:
            return False
        reset_in = quota.reset.timestamp() - time.time() if quota.reset_in is None else quota.reset_in
        is_known = self.limit > 0
        if -NEW_WINDOW_AFTER < reset_in <= 0 and now >= self.end:
            # That window is over, but the next one has the same limit.
            self._begin(now, quota.limit, spent=len(self._in_flight))
        is_told = 0 < reset_in <= MAX_WINDOW
        if is_told:
            end = now + reset_in + RESET_ROUNDING
            if end > self.end + NEW_WINDOW_AFTER:
                self._begin(now, quota.limit, spent=len(self._in_flight))
            self.end = end
            if quota.limit != self.limit:
                self._set_limit(quota.limit)
            # Polls that are in flight may not be counted yet in what the server says.
            left, own = quota.remaining - len(self._in_flight), self.limit - self._spent
            self.left = left if left < own else own
        if not is_known and self.limit:
            self.known_since = now
        return is_told

    def _begin(self, now: float, limit: int, *, spent: int) -> None:
        """Begin a window; the polls in flight may count in it."""
        self._set_limit(limit)
        self._spent = spent
        self.left = limit - spent
        self.end = now + WINDOW + RESET_ROUNDING

    def _set_limit(self, limit: int) -> None:
        self.limit = limit
        self.most = SECOND_UTILISATION * max(limit // SECOND_DIVISOR, 1)
