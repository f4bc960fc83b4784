"""Finds out how many polls a second the server bears."""

from __future__ import annotations

import math

from stream_tasks._engine.pacing.losses import Losses
from stream_tasks._engine.tuning import MIN_KNOWN_RATE, MIN_RATE, RATE_CUT, RATE_RECOVERY, TIMER_SLACK

__all__ = ["LearnedRate"]


class LearnedRate:
    """Spreads polls by the rate at which the server answered before it refused some of them, or failed many.

    The rate falls below what the server bore, comes back to it, stays near it for a while, and then rises
    ever faster: what the server bore then may be far less than what it bears now.
    """

    __slots__ = (
        "_answers",
        "_answers_before",
        "_borne",
        "_calm_from",
        "_losses",
        "_paced_to",
        "_second_end",
    )

    def __init__(self) -> None:
        self._borne = 0.0  # polls a second; 0: no limit is known
        self._calm_from = -math.inf  # when the last hold ended, or the rate was lowered
        self._paced_to = -math.inf  # the place in time of the last poll
        self._second_end = -math.inf
        self._answers = self._answers_before = 0  # good ones in this second and in the one before
        self._losses = Losses()

    @property
    def is_known(self) -> bool:
        """Whether the client goes by a rate."""
        return self._borne > 0

    def next_at(self, at: float) -> float:
        """Return when the rate allows another poll, not before `at`."""
        return max(at, self._paced_to + 1 / self._rate(at)) if self._borne else at

    def sent(self, now: float) -> None:
        """Note that a poll goes out."""
        if self._borne:
            self._paced_to = max(self._paced_to + 1 / self._rate(now), now - TIMER_SLACK)

    def answered(self, sent_at: float, now: float, *, is_news: bool) -> None:
        """Count a good answer to a poll that was sent at `sent_at`: after the last refusal if `is_news`."""
        if now >= self._second_end:
            self._answers_before = self._answers if now < self._second_end + 1 else 0
            self._answers, self._second_end = 0, now + 1
        self._answers += 1
        if self._borne and not is_news:
            # Polls that were in flight together with refused ones show what is borne, too.
            self._borne = max(self._borne, self._answers)
        verdict = self._losses.answered(sent_at, now)
        if verdict == "too many":
            rate = self._rate(now) if self._borne else math.inf
            self._borne, self._calm_from = min(rate, self._losses.goodput), now
        elif verdict == "unrelated":
            self._borne = 0.0

    def deferred(self, sent_at: float) -> None:
        """Count a poll, sent at `sent_at`, to which an overloaded server said when to come again."""
        self._losses.deferred(sent_at)

    def failed(self, sent_at: float, now: float) -> None:
        """Count a poll, sent at `sent_at`, without a usable answer."""
        self._losses.failed(sent_at, now)

    def refused(self, now: float) -> None:
        """Lower the rate after a refusal; one before any good answer tells no rate."""
        counted = max(self._answers, self._answers_before)
        if self._borne:
            self._borne = min(self._rate(now), max(self._borne, counted))
        elif counted:
            self._borne = max(counted, MIN_KNOWN_RATE)
        self._losses.begin(now)

    def held(self, until: float) -> None:
        """Note until when polls are held after a refusal."""
        self._calm_from = until

    def _rate(self, now: float) -> float:
        """Return how many polls a second go out."""
        calm = max(now - self._calm_from, 0.0) / RATE_RECOVERY - 1
        return max(self._borne * (1 + (1 - RATE_CUT) * calm**3), MIN_RATE)
