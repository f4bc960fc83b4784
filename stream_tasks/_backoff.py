"""Pure: from settings to delays."""

from __future__ import annotations

import functools
import math
import random

from attrs import field, frozen

from stream_tasks._arguments import as_real, check_number, check_seconds

__all__ = ["FLOOR", "Backoff", "as_backoff"]

FLOOR = 0.05
"""No task is asked for more often than this, in seconds."""


@frozen
class Backoff:
    """Delays that grow from poll to poll; accepted wherever ``poll_interval`` is.

    Attributes:
        initial: The first delay, in seconds; less than the floor of 50 ms counts as that.
        maximum: The longest delay, in seconds.
        factor: By how much each delay is longer than the one before; 1 or more.
        jitter: The share of each delay that is left to chance, 0 to 1: with 0.1, a delay of 10 s
            becomes one between 9 s and 10 s.

    Raises:
        TypeError: An argument is no number.
        ValueError: An argument is out of range.
    """

    initial: float = field(converter=as_real)
    maximum: float = field(converter=as_real)
    factor: float = field(default=2.0, converter=as_real)
    jitter: float = field(default=0.1, converter=as_real)

    def __attrs_post_init__(self) -> None:
        check_seconds("initial", self.initial)
        check_seconds("maximum", self.maximum)
        if self.maximum < self.initial:
            raise ValueError(f"maximum must be at least initial ({self.initial!r}), not {self.maximum!r}")
        check_number("factor", self.factor, 1, math.inf, "1 or more")
        check_number("jitter", self.jitter, 0, 1, "between 0 and 1")

    @property
    def interval(self) -> float | None:
        """The one delay, in seconds, if all are alike; else None."""
        if self.jitter or (self.factor > 1 and self.initial != self.maximum):
            return None
        return max(float(self.initial), FLOOR)

    def delay(self, attempt: int) -> float:
        """Return the delay after a poll, in seconds, with its share of chance.

        Args:
            attempt: The number of the poll, counted from 1.
        """
        initial, maximum = max(self.initial, FLOOR), max(self.maximum, FLOOR)
        base = float(initial)
        if self.factor > 1:
            # The power of a large attempt overflows; its logarithm does not.
            grown = math.log(initial) + (attempt - 1) * math.log(self.factor)
            base = float(maximum) if grown >= math.log(maximum) else math.exp(grown)
        if self.jitter:
            base *= 1 - self.jitter * random.random()  # noqa: S311 - not a secret
        return max(base, FLOOR)


def as_backoff(poll_interval: float | Backoff) -> Backoff:
    """Take what a caller gave for ``poll_interval``.

    Raises:
        TypeError: It is neither a number nor a `Backoff`.
        ValueError: It is negative, NaN or infinite.
    """
    if type(poll_interval) is float:
        return _constant(poll_interval)
    if isinstance(poll_interval, Backoff):
        return poll_interval
    return _constant(check_seconds("poll_interval", poll_interval))


@functools.lru_cache(maxsize=64)
def _constant(poll_interval: float) -> Backoff:
    # Waits begin by the thousand with the same interval.
    seconds = check_seconds("poll_interval", poll_interval)
    return Backoff(seconds, seconds, 1.0, 0.0)
