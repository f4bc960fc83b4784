"""Tells failures that come from asking too often from failures that come anyway."""

from __future__ import annotations

import math
from typing import Literal

from stream_tasks._engine.tuning import (
    LOSS_FALL,
    LOSS_MARGIN,
    LOSS_ROUND,
    LOSS_RUNS,
    LOSS_SAMPLE,
    LOSS_SMOOTHING,
    USUAL_LOSS,
)

__all__ = ["Losses", "Verdict"]

Verdict = Literal["too many", "unrelated"]


class Losses:
    """Counts how many polls fail while others are answered, in rounds.

    If too many polls of a round fail, the client asks less often, and the next round shows whether that
    helps. Far fewer failures mean that the server was asked too often. About as many as before mean that
    failures do not depend on how often it is asked: then that share of them is usual.

    Attributes:
        since: When this round began. Polls that were sent before do not count.
        goodput: Good answers a second in the last round.
    """

    __slots__ = ("_bad", "_before", "_good", "_run", "_run_since", "_runs", "_usual", "goodput", "since")

    def __init__(self) -> None:
        self.since = -math.inf
        self.goodput = 0.0
        self._good = 0
        self._bad = 0
        self._run = 0  # failures since the last good answer; they are not among the bad ones yet
        self._run_since = 0.0
        self._runs = 0  # stretches of failures, with good answers in between
        self._before = 0.0  # the share of failures in the round before, if that lowered the rate; else 0
        self._usual = USUAL_LOSS  # the share of failures that does not depend on the rate

    def begin(self, now: float, before: float = 0.0) -> None:
        """Begin a round; `before` is the share of failures in the round before, if that lowered the rate."""
        self.since = now
        self._good = self._bad = self._run = self._runs = 0
        self._before = before

    def deferred(self, sent_at: float) -> None:
        """Count a poll to which the server said when to come again."""
        if sent_at >= self.since:
            self._bad += 1

    def failed(self, sent_at: float, now: float) -> None:
        """Count a poll without a usable answer."""
        if sent_at >= self.since:
            if not self._run:
                self._run_since = now
            self._run += 1

    def answered(self, sent_at: float, now: float) -> Verdict | None:
        """Count a good answer, and judge the round if it is complete.

        Only good answers do so: without any, the server is away, which says nothing about a rate.
        """
        if self.since == -math.inf:
            self.since = sent_at
        if sent_at < self.since:
            return None
        self._good += 1
        if self._run and sent_at >= self._run_since:
            if now - self._run_since < LOSS_ROUND:
                self._bad += self._run
                self._runs += 1
            self._run = 0
        limit = self._usual + LOSS_MARGIN
        # More than a whole round may have are too many, whatever becomes of the rest of it.
        is_complete = self._good + self._bad >= LOSS_SAMPLE or self._bad > limit * LOSS_SAMPLE
        if now - self.since < LOSS_ROUND or not is_complete:
            return None
        if 0 < self._runs < LOSS_RUNS and now - self.since < LOSS_RUNS * LOSS_ROUND:
            return None  # a server that is away for a moment fails all polls in a row
        self.goodput = self._good / (now - self.since)
        return self._judge(now, self._bad / (self._good + self._bad), limit)

    def _judge(self, now: float, share: float, limit: float) -> Verdict | None:
        """Judge a round in which this share of polls failed, and begin the next one."""
        before = self._before
        if share <= limit:
            if before:
                # What failed before did depend on the rate.
                self._usual = min(self._usual, USUAL_LOSS)
            if share < self._usual or self._usual < USUAL_LOSS:
                # A larger share would hide a load that grows slowly.
                self._usual += LOSS_SMOOTHING * (share - self._usual)
            self.begin(now)
            return None
        if share > before * LOSS_FALL > 0:
            self._usual = share
            self.begin(now)
            return "unrelated"
        self.begin(now, share)
        return "too many"
