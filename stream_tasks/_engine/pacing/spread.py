"""Spreads polls over the window of a quota."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from stream_tasks._engine.pacing.fair_share import FairShare
from stream_tasks._engine.pacing.window import Window
from stream_tasks._engine.tuning import MAX_GAP, RESET_ROUNDING, TIMER_SLACK, WINDOW

if TYPE_CHECKING:
    from stream_tasks._engine.pacing.pacer import InFlight
    from stream_tasks.models import RateLimit

__all__ = ["Spread"]


class Spread:
    """Spreads what is left of a window's quota over the time that is left of it.

    All clients of the quota together should spend it about evenly, and never more in a second than Stream's
    rule allows. This client takes its fair share of that rate.

    If polls had to stop, since the window was used up or after a refusal, the client goes on at a random
    point of its own interval, so that clients do not all come back at once.

    Attributes:
        window: The window as far as it is known.
        share: This client's share of the quota.
    """

    __slots__ = ("_in_flight", "_paced_to", "_phase", "share", "window")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.window = Window(in_flight)
        self.share = FairShare()
        self._paced_to = -math.inf  # the place in time of the last poll
        self._phase = 0.0  # where in its interval the client goes on after a stop

    def next_at(self, at: float, now: float) -> float:
        """Return when the quota allows another poll, not before `at`; `now` is the present."""
        window = self.window
        if at < window.end:
            if window.left > 0:
                free = self._paced_to + self._gap(at)
                if free < window.end:
                    return free if free > at else at
            at = window.end
        gap = self._gap(at)
        # If the next window has not begun, go on at the phase; otherwise it begins with the next poll.
        return max(at + self._phase * gap if at > now else at, self._paced_to + gap)

    def _gap(self, at: float) -> float:
        """Return the seconds between own polls at the time `at`."""
        window = self.window
        if at < window.end:
            even = max(window.left, 1) / (window.end - at)
        else:
            even = window.limit / (WINDOW + RESET_ROUNDING)
        return min(1 / self.share.rate(even, window.most), MAX_GAP)

    def sent(self, now: float) -> None:
        """Note that a poll goes out, which is in flight already."""
        gap = self._gap(now)
        self.window.sent(now)
        # A poll that was late does not make the next one early, except for what timers are late.
        paced_to, earliest = self._paced_to + gap, now - TIMER_SLACK
        if paced_to < earliest:
            self.share.skipped((earliest - paced_to) / gap)
            paced_to = earliest
        self._paced_to = paced_to
        self._phase = self._chance()

    def learn(self, now: float, quota: RateLimit, *, is_refused: bool) -> None:
        """Take in what an answer's headers tell. Values that make no sense are ignored."""
        window, was_known = self.window, self.window.limit > 0
        if not window.learn(now, quota):
            return
        in_flight = len(self._in_flight)
        if not was_known:
            # The answered poll counts, and so may those in flight.
            self.share.begin(now, window.limit - quota.remaining - 1 - in_flight, window.limit / WINDOW)
            # Clients that begin together should not all go on together.
            self._paced_to = now - self._chance() * self._gap(now)
        self.share.learn(now, quota.remaining, window.end, in_flight, is_refused=is_refused)

    def _chance(self) -> float:
        """Return a random part of the interval; 0 for a client that is alone: nobody comes at its time."""
        return 0.0 if self.share.is_alone else random.random()  # noqa: S311 - not a secret

    def stopped(self, until: float) -> None:
        """Note that no poll goes out until then."""
        if until > self._paced_to:
            self._paced_to = max(self._paced_to, until - (1 - self._phase) * self._gap(until))
