"""No poll goes out for a while after a refusal."""

from __future__ import annotations

import math
import random

from stream_tasks._engine.tuning import (
    HOLD_BACKOFF,
    HOLD_JITTER,
    MAX_HOLD,
    MAX_RETRY_AFTER,
    MIN_RETRY_AFTER,
)

__all__ = ["Hold"]


class Hold:
    """Holds all polls of the client until the time that the server named in a refusal.

    That is what Retry-After says; else the end of the window if its quota is spent; else a back-off that
    grows with each refusal. Values that make no sense are ignored or capped.

    Attributes:
        until: When the hold ends.
        refusals: The refusals since the last good answer. Polls that were in flight together when the
            first of them was refused are counted once: all say the same thing.
    """

    __slots__ = ("_began", "refusals", "until")

    def __init__(self) -> None:
        self._began = -math.inf
        self.until = -math.inf
        self.refusals = 0

    def is_news(self, sent_at: float) -> bool:
        """Whether a poll was sent after the last hold; otherwise its answer says nothing new."""
        return sent_at > self._began

    def answered(self) -> None:
        """Note a good answer to a poll that was sent after the last hold."""
        self.refusals = 0

    def count(self, now: float) -> None:
        """Count a refusal of a poll that was sent after the last hold."""
        self.refusals += 1
        self._began = now

    def refused(self, now: float, retry_after: float | None, reset_in: float | None) -> None:
        """Begin a hold, or make it longer.

        Args:
            now: The time.
            retry_after: The server's Retry-After, in seconds.
            reset_in: When the quota comes back, in seconds; None if it is not spent.
        """
        if retry_after is not None and MIN_RETRY_AFTER <= retry_after <= MAX_RETRY_AFTER:
            hold = retry_after
        elif reset_in is not None:
            hold = reset_in
        else:
            hold = max(HOLD_BACKOFF.delay(self.refusals), MIN_RETRY_AFTER)
        hold = min(hold, MAX_HOLD)
        hold += min(HOLD_JITTER, hold / 10) * random.random()  # noqa: S311 - not a secret
        self.until = max(self.until, now + hold)
