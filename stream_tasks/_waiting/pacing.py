"""How often the server may be asked, by all waits of a client together."""

from __future__ import annotations

import math

__all__ = ["Pacer"]


class Pacer:
    """Decides when the next poll may go out."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0

    def next_at(self, now: float) -> float:
        """Return when the next poll may go out; infinity: not before one that is out has ended."""
        return math.inf if self.in_flight >= self.max_in_flight else now

    def sent(self) -> None:
        """Note that a poll goes out."""
        self.in_flight += 1

    def ended(self) -> None:
        """Note that a poll has ended, however it did."""
        self.in_flight -= 1
