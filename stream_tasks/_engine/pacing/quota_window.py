"""Spreads polls over a window whose quota the server tells."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from stream_tasks._engine.tuning import (
    FRONT_LOADING,
    INITIAL_IN_FLIGHT,
    MAX_WINDOW,
    MIN_SHARE,
    NEW_WINDOW_AFTER,
    RESET_ROUNDING,
    SECOND_DIVISOR,
    SECOND_UTILISATION,
    SHARE_CUT,
    SHARE_RECOVERY,
    TIMER_SLACK,
    WINDOW,
)

if TYPE_CHECKING:
    from stream_tasks._engine.pacing.pacer import InFlight
    from stream_tasks.models import RateLimit

__all__ = ["QuotaWindow"]


class QuotaWindow:
    """Spreads what remains of a window's quota over the time that is left of it.

    Polls go out somewhat faster than evenly at first, and never faster than Stream's rule for one second
    allows. Other processes spend the same quota, so what an answer says remains replaces the own count. After
    a refusal by the second's rule the client takes a smaller share of the rate, which recovers with answers.

    Attributes:
        limit: The calls in a window; 0 as long as no answer has told a quota.
    """

    __slots__ = (
        "_end",
        "_in_flight",
        "_known_since",
        "_left",
        "_min_gap",
        "_paced_to",
        "_share",
        "_spent",
        "limit",
    )

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.limit = 0
        self._known_since = math.inf
        self._min_gap = 0.0  # seconds between polls, by the rule for one second
        self._share = 1.0  # of the rate that the quota allows
        self._left = 0  # calls left in this window
        self._spent = 0  # own calls in this window
        self._end = -math.inf
        self._paced_to = -math.inf  # the place in time of the last poll

    def next_at(self, at: float, now: float) -> float:
        """Return when the quota allows another poll, not before `at`; `now` is the present."""
        end, left = self._end, self._left
        if left <= 0 and at < end:
            at = end
        if at >= end:
            if at > now:
                # The next window has not begun. Of this one, the last poll counts in its first second.
                return max(at, self._paced_to + self._min_gap / self._share)
            # The next window begins with the next poll.
            end, left = now + WINDOW + RESET_ROUNDING, self.limit - len(self._in_flight)
        free = self._paced_to + self._gap(end - at, left)
        return free if free > at else at

    def _gap(self, time_left: float, left: int) -> float:
        """Return the seconds between polls for so many calls in so much time."""
        spread = time_left / (FRONT_LOADING * (left if left > 1 else 1))
        return (spread if spread > self._min_gap else self._min_gap) / self._share

    def sent(self, now: float) -> None:
        """Note that a poll goes out, which is in flight already."""
        if now >= self._end:
            self._begin(now, self.limit, spent=len(self._in_flight) - 1)
        # A poll that was late does not make the next one early, except for what timers are late.
        paced_to, earliest = self._paced_to + self._gap(self._end - now, self._left), now - TIMER_SLACK
        self._paced_to = paced_to if paced_to > earliest else earliest
        self._left -= 1
        self._spent += 1

    def answered(self) -> None:
        """Note a good answer to a poll that was sent after the last hold: the share recovers."""
        if self._share < 1:
            self._share = min(self._share + SHARE_RECOVERY / max(self.limit, 1), 1.0)

    def refused_in_second(self, sent_at: float) -> None:
        """Note a refusal although quota is left in the window: others spend the same second.

        That holds for polls that were spread. Those that went out before the quota was known were not.
        """
        if sent_at >= self._known_since:
            self._share = max(self._share * SHARE_CUT, MIN_SHARE)

    def reset_in(self, now: float) -> float | None:
        """Return the seconds to the end of this window; None if it has ended."""
        return self._end - now if self._end > now else None

    def learn(self, now: float, quota: RateLimit) -> None:
        """Take in what an answer's headers tell. Values that make no sense are ignored."""
        if quota.limit < 1:
            return
        reset_in = quota.reset.timestamp() - time.time() if quota.reset_in is None else quota.reset_in
        if -NEW_WINDOW_AFTER < reset_in <= 0 and now >= self._end:
            # That window is over, but the next one has the same limit.
            self._begin(now, quota.limit, spent=len(self._in_flight))
        if not 0 < reset_in <= MAX_WINDOW:
            return
        end = now + reset_in + RESET_ROUNDING
        if not self.limit:
            # Polls that went out before the quota was known count in this second, too.
            self._begin(now, quota.limit, spent=len(self._in_flight))
            self._paced_to = now + min(len(self._in_flight), INITIAL_IN_FLIGHT) * self._min_gap
            self._known_since = now
        elif end > self._end + NEW_WINDOW_AFTER:
            self._begin(now, quota.limit, spent=len(self._in_flight))
        self._end = end
        if quota.limit != self.limit:
            self._set_limit(quota.limit)
        # Polls that are in flight may not be counted yet in what the server says.
        left, own = quota.remaining - len(self._in_flight), self.limit - self._spent
        self._left = left if left < own else own

    def _begin(self, now: float, limit: int, *, spent: int) -> None:
        """Begin a window; the polls in flight may count in it."""
        self._set_limit(limit)
        self._spent = spent
        self._left = limit - spent
        self._end = now + WINDOW + RESET_ROUNDING

    def _set_limit(self, limit: int) -> None:
        self.limit = limit
        self._min_gap = 1 / (SECOND_UTILISATION * max(limit // SECOND_DIVISOR, 1))
