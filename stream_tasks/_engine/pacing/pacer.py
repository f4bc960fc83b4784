"""When the next poll may go out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol

from stream_tasks._engine.pacing.hold import Hold
from stream_tasks._engine.pacing.learned_rate import LearnedRate
from stream_tasks._engine.pacing.outage import Outage
from stream_tasks._engine.pacing.slow_start import SlowStart
from stream_tasks._engine.pacing.spread import Spread
from stream_tasks._engine.tuning import INITIAL_IN_FLIGHT, TIMER_SLACK

if TYPE_CHECKING:
    from stream_tasks.models import RateLimit

__all__ = ["InFlight", "Pacer", "Reason", "Sent", "Unpaced"]

Reason = Literal["rate_limited", "unreachable"]
"""What holds polls back."""


class Sent(Protocol):
    """All that pacing knows of a poll."""

    @property
    def sent_at(self) -> float:
        """When the poll was sent."""
        ...


class InFlight(Protocol):
    """The polls that are in flight, oldest first.

    Invariant: a poll is added before the pacer is told that it was sent, and removed before the pacer is told
    how it ended.
    """

    def __len__(self) -> int: ...

    def sent_at(self, index: int) -> float:
        """Return when a poll was sent; index 0 is the oldest one."""
        ...


class Unpaced:
    """Lets polls go out as they are due, up to a number in flight; learns nothing.

    Args:
        max_in_flight: The most polls in flight.
        in_flight: The polls that are in flight.
    """

    def __init__(self, max_in_flight: int, in_flight: InFlight) -> None:
        self._most = max_in_flight
        self._in_flight = in_flight

    def next_at(self, now: float) -> float:
        """Return when the next poll may go out; infinity if not before one in flight has ended."""
        return math.inf if len(self._in_flight) >= self._most else now

    has_rate = False
    """Whether polls are spread by a rate."""

    held_until = -math.inf
    """When polls may go out again: nothing holds them."""

    def obstacle(self, now: float, since: float = math.inf) -> Reason | None:
        """Return what holds polls back: here nothing does."""
        del now, since
        return None

    def sent(self, poll: Sent) -> None:
        """Note that a poll goes out."""

    def answered(self, poll: Sent, now: float, quota: RateLimit | None) -> None:
        """Note that a poll was answered."""

    def refused(
        self,
        poll: Sent,
        now: float,
        quota: RateLimit | None,
        retry_after: float | None,
        *,
        is_too_often: bool = True,
    ) -> None:
        """Note that the server asked to come later."""

    def failed(self, poll: Sent, now: float) -> None:
        """Note that a poll had no usable answer."""

    def dropped(self, poll: Sent, now: float) -> None:
        """Note that a poll was given up."""


class Pacer:
    """Decides when the next poll may go out.

    Args:
        max_in_flight: The most polls in flight.
        in_flight: The polls that are in flight. The pacer only reads it.
    """

    def __init__(self, max_in_flight: int, in_flight: InFlight) -> None:
        self._start = SlowStart(max_in_flight, in_flight)
        self._hold = Hold()
        self._outage = Outage(in_flight)
        self._spread = Spread(in_flight)
        self._window = self._spread.window
        self._rate = LearnedRate()

    # Questions: they change nothing.

    def next_at(self, now: float) -> float:
        """Return when the next poll may go out, as far as is known now.

        Args:
            now: The time, in seconds of a monotonic clock.

        Returns:
            `now` or a later time; infinity if no poll may go out before one in flight has ended.
        """
        at = self._start.next_at(now)
        if at == math.inf:
            return at
        at = self._rate.next_at(max(at, self._hold.until, self._outage.probe_at))
        return self._spread.next_at(at, now) if self._window.limit else at

    def obstacle(self, now: float, since: float = math.inf) -> Reason | None:
        """Return what holds polls back.

        Args:
            now: The time.
            since: Also tell what has held back polls that are due since then, but does so no longer.
        """
        if self._start.is_silent(now) or self._outage.is_on:
            return "unreachable"
        if self._hold.refusals or self._is_spread(now - TIMER_SLACK):
            return "rate_limited"
        if since < self._outage.ended:
            return "unreachable"
        return "rate_limited" if since < self._hold.until else None

    def _is_spread(self, lately: float) -> bool:
        """Whether a poll that was due `lately` had to wait for a rate."""
        return self.has_rate and lately < self.next_at(lately) < math.inf

    @property
    def has_rate(self) -> bool:
        """Whether polls are spread by a rate: that of the quota, or a learned one."""
        return bool(self._window.limit) or self._rate.is_known

    @property
    def held_until(self) -> float:
        """When polls may go out again after a refusal or during an outage; it may be past."""
        return max(self._hold.until, self._outage.probe_at)

    # Notes: each says what became of one poll.

    def sent(self, poll: Sent) -> None:
        """Note that a poll goes out at `poll.sent_at`."""
        now = poll.sent_at
        if self._window.limit:
            self._spread.sent(now)
        self._rate.sent(now)
        self._outage.sent(now)

    def answered(self, poll: Sent, now: float, quota: RateLimit | None) -> None:
        """Note that a poll was answered.

        Args:
            poll: The poll.
            now: The time.
            quota: The quota that the answer told.
        """
        if quota is not None:
            self._spread.learn(now, quota, is_refused=False)
        is_news = self._hold.is_news(poll.sent_at)
        self._rate.answered(poll.sent_at, now, is_news=is_news)
        self._outage.heard(now, is_well=True)
        if is_news:
            self._hold.answered()
            self._start.answered()
            self._spread.share.answered(self._window.limit)

    def refused(
        self,
        poll: Sent,
        now: float,
        quota: RateLimit | None,
        retry_after: float | None,
        *,
        is_too_often: bool = True,
    ) -> None:
        """Note that the server asked to come later.

        Args:
            poll: The poll.
            now: The time.
            quota: The quota that the answer told.
            retry_after: The server's Retry-After, in seconds.
            is_too_often: Whether the client asked too often; otherwise the server is overloaded.
        """
        if quota is not None:
            self._spread.learn(now, quota, is_refused=True)
        self._outage.heard(now, is_well=False)
        if self._hold.is_news(poll.sent_at):
            self._hold.count(now)
            if is_too_often and not self._window.limit and self._hold.refusals == 1:
                self._rate.refused(now)
            is_in_second = quota is not None and quota.remaining > 0
            if is_too_often and is_in_second and poll.sent_at >= self._window.known_since:
                # Polls that went out before the quota was known were not spread.
                self._spread.share.refused_in_second()
        is_spent = quota is not None and quota.remaining <= 0
        self._hold.refused(now, retry_after, self._window.reset_in(now) if is_spent else None)
        if is_too_often:
            self._rate.held(self._hold.until)
        else:
            self._rate.deferred(poll.sent_at)
        if self._window.limit:
            self._spread.stopped(self._hold.until)
        self._start.begin_again(1)

    def failed(self, poll: Sent, now: float) -> None:
        """Note that a poll had no usable answer."""
        self._outage.failed(poll.sent_at, now)
        self._rate.failed(poll.sent_at, now)
        if self._outage.is_on:
            self._start.begin_again(INITIAL_IN_FLIGHT)

    def dropped(self, poll: Sent, now: float) -> None:
        """Note that a poll was given up or withdrawn, which says nothing about the server."""
