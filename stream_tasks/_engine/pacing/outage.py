"""Probes while the server does not answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stream_tasks._engine.tuning import OUTAGE_AFTER, PROBE_BACKOFF

if TYPE_CHECKING:
    from stream_tasks._engine.pacing.pacer import InFlight

__all__ = ["Outage"]


class Outage:
    """Lets only probes go out after some failures in a row, further and further apart.

    Attributes:
        probe_at: When the next probe may go out; minus infinity if there is no outage.
        ended: When the last outage ended.
    """

    __slots__ = ("_began", "_failures", "_in_flight", "ended", "probe_at")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._failures = 0
        self._began = -math.inf
        self.probe_at = -math.inf
        self.ended = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the server is taken to be away."""
        return self._failures >= OUTAGE_AFTER

    def sent(self, now: float) -> None:
        """Note that a poll goes out; in an outage it is a probe."""
        if self._failures >= OUTAGE_AFTER:
            # Probes that are still in flight count as failures: they are not answered either.
            self.probe_at = now + PROBE_BACKOFF.delay(self._failures - OUTAGE_AFTER + len(self._in_flight))

    def failed(self, sent_at: float, now: float) -> None:
        """Note that a poll, sent at `sent_at`, had no usable answer."""
        if self._failures < OUTAGE_AFTER or sent_at > self._began:
            # Polls that were in flight when the outage began are not counted: all say the same thing.
            self._failures += 1
            if self._failures == OUTAGE_AFTER:
                self._began = now
                self.probe_at = now + PROBE_BACKOFF.delay(1)

    def heard(self, now: float, *, is_well: bool) -> None:
        """Note that the server is there; `is_well` tells whether it gave a good answer."""
        if is_well and self._failures >= OUTAGE_AFTER:
            self.ended = now
        self._failures = 0
        self.probe_at = -math.inf
