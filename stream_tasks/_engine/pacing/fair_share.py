"""How much of the quota this client takes beside others, whom it does not see."""

from __future__ import annotations

import math

from stream_tasks._engine.tuning import (
    ALONE_AFTER,
    FRONT_LOADING,
    INITIAL_RATE,
    INITIAL_SHARE,
    MIN_SHARE,
    NEW_WINDOW_AFTER,
    SHARE_CUT,
    SHARE_EQUALISER,
    SHARE_RECOVERY,
    SHARE_SAMPLE,
    SHARED_LOADING,
)

__all__ = ["FairShare"]


class FairShare:
    """Measures the client's part of all calls by how `remaining` falls against its own spending.

    If `remaining` fell by 10 during a sample and 2 of those calls were the client's own, its part is 0.2. The
    client then takes the part to the power of 0.9 as its share. That is a little more than the part, and the
    more so the smaller the part is: small shares grow beside big ones until all clients have the same.
    Together the shares are then somewhat more than 1 (1.23 for 8 clients), which `rate` allows for.

    Attributes:
        is_alone: Whether nobody else seems to spend the quota.
    """

    __slots__ = (
        "_end",
        "_is_measured",
        "_mine",
        "_others_at",
        "_remaining",
        "_room",
        "_share",
        "_since",
        "_unused",
        "is_alone",
    )

    def __init__(self) -> None:
        self._share = 1.0
        self._room = 1.0  # factor that is lower after refusals by the second's rule
        self.is_alone = True
        self._is_measured = False
        self._others_at = -math.inf  # when others spent something
        # This sample began with an answer:
        self._since = -math.inf
        self._end = -math.inf  # the window's end; minus infinity if there is no sample
        self._remaining = 0
        self._mine = 0  # own calls since then
        self._unused = 0.0  # calls since then that the share would have allowed, but nobody needed

    def rate(self, even: float, most: float) -> float:
        """Return this client's calls a second.

        Args:
            even: What all clients together may spend in a second, to spend the rest of the window evenly.
            most: What they may spend in one second.
        """
        together = min(FRONT_LOADING * even, most) if self.is_alone else SHARED_LOADING * min(even, most)
        return together * self._share * self._room

    def begin(self, now: float, others: int, even: float) -> None:
        """Begin to share a quota of `even` calls a second, of which others have spent so many already."""
        if others > 0:
            self._share = min(max(INITIAL_SHARE, INITIAL_RATE / even), 1.0)
            self.is_alone, self._others_at = False, now

    def skipped(self, calls: float) -> None:
        """Note that the client needed fewer calls than its share: it keeps the share."""
        self._unused += calls

    def answered(self, limit: int) -> None:
        """Note a good answer to a poll that was sent after the last hold."""
        if self._room < 1:
            self._room = min(self._room + SHARE_RECOVERY / (max(limit, 1) * self._share), 1.0)

    def refused_in_second(self) -> None:
        """Note that a poll was refused although quota is left in the window: others spend the same second."""
        self._room = max(self._room * SHARE_CUT, MIN_SHARE)

    def learn(self, now: float, remaining: int, end: float, in_flight: int, *, is_refused: bool) -> None:
        """Take in what an answer tells.

        Args:
            now: The time.
            remaining: The calls that remain of the window.
            end: When that window ends.
            in_flight: Own polls whose answers are to come; the server may have counted them.
            is_refused: Whether the answer is a refusal, which holds the client for a while.
        """
        self._mine += 1
        if remaining <= self._remaining and -NEW_WINDOW_AFTER < end - self._end < NEW_WINDOW_AFTER:
            sample = SHARE_SAMPLE if self._is_measured else SHARE_SAMPLE / 4
            if now - self._since < sample and not is_refused:
                return
            if remaining > 0:
                self._measure(now, self._remaining - remaining - self._mine, in_flight)
        # What others spend while this client is held does not make its share smaller.
        self._end = -math.inf if is_refused else end
        self._since, self._remaining = now, remaining
        self._mine = 0
        self._unused = 0.0

    def _measure(self, now: float, others: int, in_flight: int) -> None:
        """Take in a sample in which others made so many calls, unless these are own polls in flight."""
        part = 1.0
        if others > in_flight:
            # What the client leaves to others of its share does not make the share smaller.
            mine = self._mine / self._room + self._unused
            part = mine / (mine + others)
            self._others_at = now
        self._share = part ** (1 - SHARE_EQUALISER)
        self.is_alone = now - self._others_at >= ALONE_AFTER
        self._is_measured = True
