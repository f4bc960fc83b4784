"""How often the server may be asked, by all waits of a client together.

Pure: times are those of a monotonic clock and come as arguments, quotas come as `RateLimit` values.
Three things hold polls back, whichever holds longest:

- the quota: what remains of the window is spread over the time that is left of it, a little more of
  it at first, and never more in a second than Stream's rule allows;
- a refusal: nothing goes out until the time that the server named, and where it tells no quota, polls
  are spread by what it bore before;
- an outage: a few probes go out, further and further apart.

After each of the last two, and at the start, polls in flight are few, and double with each round of
good answers. What gets no answer for long does not count among them, lest it holds up all others.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from stream_tasks._backoff import Backoff

if TYPE_CHECKING:
    from stream_tasks.models import RateLimit

__all__ = ["Pacer", "Unpaced"]

WINDOW: Final = 60.0
"""Stream's window, in seconds."""

LONGEST_WINDOW: Final = 2 * WINDOW
"""A window that ends later than this is none."""

LONGEST_HOLD: Final = 2 * WINDOW
"""However long the server asks to wait, after so many seconds it is asked again."""

ABSURD_HOLD: Final = 3600.0
"""A request to wait longer than this, in seconds, is none."""

SECONDS: Final = 30
"""Stream allows this part of a window's limit in a second, and at least one call."""

SHARE: Final = 0.9
"""How much of that is spent: travel times vary."""

FRONT_LOADING: Final = 1.5
"""How much faster than evenly what remains is spent; the rate falls as the window goes on."""

YIELD: Final = 0.7
"""What is left of the rate after a refusal by the second's rule: others spend at that moment, too."""

LEAST_SHARE: Final = 0.1
"""What is left of it at the least."""

RECOVERY: Final = 0.6
"""How much of the rate comes back in a window that is spent."""

CALM: Final = 10.0
"""Where no quota is told, the rate is after so many seconds what it was at the last refusal."""

SLOWEST: Final = 0.2
"""It never falls below so many polls a second."""

LITTLE: Final = 5.0
"""Who was asked less often than this in a second bears at least as much."""

BURST: Final = 0.02
"""Polls may be early by so many seconds: timers are not exact."""

FEW: Final = 4
"""Polls in flight before anything is known, and during an outage."""

SILENT: Final = 2.0
"""A poll that had no answer for so many seconds leaves its place to others."""

ROUNDING: Final = 1.0
"""The windows' ends are told in whole seconds, perhaps cut; a window is taken to end so much later."""

ANOTHER_WINDOW: Final = 5.0
"""The end of one window wavers by rounding and travel; by so many seconds, it is another's."""

SOON: Final = 1.0
"""Who is refused and told to come back sooner than this has been told nothing."""

RE_ENTRY: Final = 1.0
"""A hold is up to so many seconds longer, or a tenth, so that clients do not all come back at once."""

OUTAGE: Final = 5
"""So many failures in a row, from whichever tasks, are an outage."""

HOLDS: Final = Backoff(1.0, 60.0, 2.0, 0.5)
PROBES: Final = Backoff(0.25, 2.0, 2.0, 0.5)

Reason = Literal["rate_limited", "unreachable"]


class Unpaced:
    """Lets polls go as they are due, up to a number in flight; learns nothing."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        # When polls in flight went out; of those that come back, the first is taken to be the first.
        self._out: deque[float] = deque()

    @property
    def in_flight(self) -> int:
        """How many polls are out."""
        return len(self._out)

    def next_at(self, now: float) -> float:
        """Return when the next poll may go out; infinity: not before one that is out has ended."""
        return math.inf if self.in_flight >= self.max_in_flight else now

    def obstacle(self, now: float, since: float = math.inf) -> Reason | None:
        """Return what holds polls back, or has held back those that are due since then, if anything does."""
        del now, since
        return None

    def sent(self, now: float) -> None:
        """Note that a poll goes out."""
        self._out.append(now)

    def dropped(self) -> None:
        """Note that a poll was given up."""
        self._out.popleft()

    def answered(self, now: float, quota: RateLimit | None) -> None:
        """Note that a poll was answered."""
        del now, quota
        self._out.popleft()

    def refused(
        self, now: float, quota: RateLimit | None, retry_after: float | None, *, is_too_often: bool = True
    ) -> None:
        """Note that the server asked to come later, in so many seconds if it said, and whether for that."""
        del now, quota, retry_after, is_too_often
        self._out.popleft()

    def failed(self, now: float) -> None:
        """Note that a poll brought no usable answer."""
        del now
        self._out.popleft()


class Pacer(Unpaced):
    """Decides when the next poll may go out."""

    def __init__(self, max_in_flight: int) -> None:
        super().__init__(max_in_flight)
        self._allowed = min(FEW, max_in_flight)
        self._is_new = True
        self._hold_until = -math.inf
        self._refusals = 0
        self._probe_at = -math.inf
        self._failures = 0
        self._outage_began = self._outage_ended = -math.inf
        self._quota = 0
        self._shortest = 0.0
        self._share = 1.0
        self._left = 0
        self._spent = 0
        self._window_end = -math.inf
        self._paced_to = -math.inf
        self._spreads = False
        self._borne = 0.0
        self._calm_from = -math.inf
        self._second_end = -math.inf
        self._answers = self._answers_before = 0

    def next_at(self, now: float) -> float:
        """Return when the next poll may go out; infinity: not before one that is out has ended."""
        at, out = now, self._out
        if len(out) >= self._allowed:
            if len(out) >= self.max_in_flight:
                return math.inf
            # For each that is silent, another one beyond what is allowed may go out.
            at = max(now, out[(len(out) - self._allowed) // 2] + SILENT)
        if self._hold_until > at or self._probe_at > at:
            at = max(self._hold_until, self._probe_at)
        if not self._quota:
            return max(at, self._paced_to + 1 / self._rate(at)) if self._borne else at
        if self._left <= 0 and at < self._window_end:
            at = self._window_end
        if at >= self._window_end:
            if at > now:
                # That window is none yet; this one's last poll is in its first second.
                return max(at, self._paced_to + self._shortest / self._share)
            self._begin_window(now, self._quota)
        free = self._paced_to + self._gap(at)
        return free if free > at else at

    def _gap(self, now: float) -> float:
        """Return the seconds between polls that the quota bears."""
        spread = (self._window_end - now) / (FRONT_LOADING * (self._left if self._left > 1 else 1))
        return (spread if spread > self._shortest else self._shortest) / self._share

    def obstacle(self, now: float, since: float = math.inf) -> Reason | None:
        """Return what holds polls back, or has held back those that are due since then, if anything does."""
        is_silent = self.in_flight >= self._allowed and self._out[0] + SILENT <= now
        if is_silent or self._failures >= OUTAGE:
            return "unreachable"
        lately = now - BURST
        if self._refusals or ((self._quota or self._borne) and lately < self.next_at(lately) < math.inf):
            return "rate_limited"
        if since < self._outage_ended:
            return "unreachable"
        return "rate_limited" if since < self._hold_until else None

    def sent(self, now: float) -> None:
        """Note that a poll goes out."""
        self._out.append(now)
        if self._quota:
            # A poll that was late does not make the next one early, but for what timers lack.
            paced_to, earliest = self._paced_to + self._gap(now), now - BURST
            self._paced_to = paced_to if paced_to > earliest else earliest
            self._left -= 1
            self._spent += 1
            self._spreads = True
        elif self._borne:
            self._paced_to = max(self._paced_to + 1 / self._rate(now), now - BURST)
        if self._failures >= OUTAGE:
            # Those that are still out count as if they had failed.
            self._probe_at = now + PROBES.delay(self._failures - OUTAGE + self.in_flight)

    def answered(self, now: float, quota: RateLimit | None) -> None:
        """Note that a poll was answered."""
        self._out.popleft()
        self.learn(now, quota)
        if not self._quota:
            self._count(now)
        if self._failures >= OUTAGE:
            self._outage_ended = now
        self._failures = 0
        self._probe_at = -math.inf
        if now >= self._hold_until:
            # Otherwise it was sent before the refusal, and says nothing of it.
            self._refusals = 0
            if self._allowed < self.max_in_flight:
                self._allowed = self.max_in_flight if self._is_new else self._allowed + 1
            if self._share < 1:
                self._share = min(self._share + RECOVERY / max(self._quota, 1), 1.0)
        self._is_new = False

    def refused(
        self, now: float, quota: RateLimit | None, retry_after: float | None, *, is_too_often: bool = True
    ) -> None:
        """Note that the server asked to come later.

        Args:
            now: The time.
            quota: What the answer told of it.
            retry_after: In how many seconds to come, if it said.
            is_too_often: Whether that is for being asked too often.
        """
        self._out.popleft()
        self.learn(now, quota)
        self._failures = 0
        self._probe_at = -math.inf
        if now >= self._hold_until:
            # Those of one burst tell the same thing.
            self._refusals += 1
            if is_too_often and not self._quota and self._refusals == 1:
                self._slow_down(now)
            if is_too_often and quota is not None and quota.remaining > 0 and self._spreads:
                # The window bears it, the second did not, though polls were spread.
                self._share = max(self._share * YIELD, LEAST_SHARE)
        hold = retry_after if retry_after is not None and SOON <= retry_after <= ABSURD_HOLD else None
        if hold is None and quota is not None and quota.remaining <= 0 and self._window_end > now:
            hold = self._window_end - now
        if hold is None:
            # Nothing was said, or quota is left and it was the second's share that was spent.
            hold = max(HOLDS.delay(self._refusals), SOON)
        hold = min(hold, LONGEST_HOLD)
        hold += min(RE_ENTRY, hold / 10) * random.random()  # noqa: S311 - not a secret
        self._hold_until = max(self._hold_until, now + hold)
        if is_too_often:
            self._calm_from = self._hold_until
        self._allowed = 1
        self._is_new = False

    def failed(self, now: float) -> None:
        """Note that a poll brought no usable answer."""
        sent_at = self._out.popleft()
        if self._failures < OUTAGE or sent_at > self._outage_began:
            # Those that were out together when it began tell one thing, however many they are.
            self._failures += 1
        if self._failures >= OUTAGE:
            self._allowed = min(FEW, self.max_in_flight)
            self._is_new = False
        if self._failures == OUTAGE:
            self._outage_began = now
            self._probe_at = now + PROBES.delay(1)

    def _count(self, now: float) -> None:
        """Count the answers of this second and the one before: so much the server bears."""
        if now >= self._second_end:
            self._answers_before = self._answers if now < self._second_end + 1 else 0
            self._answers, self._second_end = 0, now + 1
        self._answers += 1
        if self._borne and now < self._hold_until:
            # What was out with those that were refused shows, too, how much is borne.
            self._borne = max(self._borne, self._answers)

    def _slow_down(self, now: float) -> None:
        """Ask less often than was refused; where nothing was answered before, that tells no rate."""
        counted = max(self._answers, self._answers_before)
        if self._borne:
            self._borne = min(self._rate(now), max(self._borne, counted))
        elif counted:
            self._borne = max(counted, LITTLE)

    def _rate(self, now: float) -> float:
        """Return how many polls a second go out where no quota is told.

        It comes back to what the server bore, stays near it for a while, and then rises ever faster:
        what the server bore then may be far less than what it bears now.
        """
        calm = max(now - self._calm_from, 0.0) / CALM - 1
        return max(self._borne * (1 + (1 - YIELD) * calm**3), SLOWEST)

    def learn(self, now: float, quota: RateLimit | None) -> None:
        """Take in what an answer's headers told."""
        if quota is None or quota.limit < 1:
            return
        reset_in = quota.reset.timestamp() - time.time() if quota.reset_in is None else quota.reset_in
        if -ANOTHER_WINDOW < reset_in <= 0 and now >= self._window_end:
            # That window is over, but the next one will be as large.
            self._begin_window(now, quota.limit)
        if not 0 < reset_in <= LONGEST_WINDOW:
            return
        end = now + reset_in + ROUNDING
        if not self._quota:
            # What went out unspread has had its share of this second, too.
            self._begin_window(now, quota.limit)
            self._paced_to = now + min(self.in_flight, FEW) * self._shortest
        elif end > self._window_end + ANOTHER_WINDOW:
            self._begin_window(now, quota.limit)
        self._window_end = end
        if quota.limit != self._quota:
            self._bear(quota.limit)
        # Others spend the same quota: what the server says overrides our own count. Polls that are
        # still out may not be in it yet.
        left, own = quota.remaining - self.in_flight, self._quota - self._spent
        self._left = left if left < own else own

    def _bear(self, limit: int) -> None:
        """Note the quota, and the seconds between polls at the least that its rule for a second bears."""
        self._quota = limit
        self._shortest = 1 / (SHARE * max(limit // SECONDS, 1))

    def _begin_window(self, now: float, limit: int) -> None:
        """Take it that a window begins, until an answer tells; what is still out may count in it."""
        self._bear(limit)
        self._spent = self.in_flight
        self._left = limit - self.in_flight
        self._window_end = now + WINDOW + ROUNDING
