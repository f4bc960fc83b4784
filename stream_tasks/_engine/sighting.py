"""What was seen of one task's life, and what a look at it is worth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from stream_tasks._engine.tuning import MAX_SKIPPED, MIN_ENDS_TO_SKIP, NOTE_AFTER, PAYS

if TYPE_CHECKING:
    from stream_tasks._engine.durations import Durations, OperationDurations
    from stream_tasks.models import RateLimit, Task

__all__ = ["UNKNOWN", "Origin", "Sighting"]

_EPOCH_YEAR = 1970


class Origin(NamedTuple):
    """What is known of how a task was started.

    Attributes:
        operation: The operation; None if it is unknown.
        items: For how many items the task works; 0 if that is unknown.
        started: When this program started it, as Unix time in seconds; None if it did not.
    """

    operation: str | None = None
    items: int = 0
    started: float | None = None


UNKNOWN = Origin()
"""That of a bare id."""


class Sighting:
    """When a task was last seen alive, as far as this client knows.

    Times are those of the loop's clock, in seconds.

    Attributes:
        durations: Those of tasks like this one, which learn from it.
        expected: Those that tell most of it.
        born: When the server created it; if that is unknown, when the wait began.
        alive_at: When it was last seen alive; `born` if it was not.
        is_age_known: Whether `born` is when the server created it.
    """

    __slots__ = ("_noted", "alive_at", "born", "durations", "expected", "is_age_known")

    def __init__(self, durations: OperationDurations, now: float, age: float | None = None) -> None:
        """Begin at the first wait for a task.

        Args:
            durations: Those of tasks like this one.
            now: The time.
            age: How long ago it was started, in seconds, if it is known; otherwise the first look tells.
        """
        self.durations = self.expected = durations
        self.born = self.alive_at = now - (age or 0.0)
        self.is_age_known = age is not None
        self._noted = 0.0  # the age up to which `durations` knows that it lived

    @classmethod
    def first(cls, learned: Durations, origin: Origin, now: float) -> Sighting:
        """Begin at the first wait for a task of which this is known."""
        age = None if origin.started is None else max(time.time() - origin.started, 0.0)
        self = cls(learned.of(origin.operation, origin.items), now, age)
        self.expected = learned.likeliest(origin.operation, origin.items)
        return self

    def belongs_to(self, learned: Durations, origin: Origin) -> None:
        """Note the operation, of which nothing was known: its durations learn the whole life."""
        self.durations = learned.of(origin.operation, origin.items)
        self.expected = learned.likeliest(origin.operation, origin.items)
        self._noted = 0.0

    def take_in(self, task: Task, now: float, quota: RateLimit | None) -> None:
        """Take in a snapshot; times that a server cannot mean tell nothing.

        Args:
            task: The snapshot.
            now: The time.
            quota: The quota that came with it, which tells the server's time.
        """
        if not task.is_final and self.is_age_known:
            self.alive(now, 0.0)
            return
        created = task.created_at
        if created.year <= _EPOCH_YEAR:
            self.alive_at = now
            return
        age = _server_time(quota) - created.timestamp()
        if not task.is_final:
            self.alive(now, age)
        elif (duration := (task.updated_at - created).total_seconds()) > 0:
            self.ended(now, age, duration)

    def alive(self, now: float, age: float) -> None:
        """Note that a look found the task alive.

        Args:
            now: The time.
            age: How long ago the server created it, in seconds. Only the first look at a task of unknown
                age uses it: later ages follow from this client's own clock.
        """
        if not self.is_age_known:
            self.is_age_known = True
            # Whatever the clocks say, the task was there when the wait began.
            self.born = min(self.born, now - age)
            self.durations.first_look(had_ended=False)
        self.alive_at = now
        if now - self.born > NOTE_AFTER * self._noted:
            self.durations.alive(self._noted, now - self.born)
            self._noted = now - self.born

    def ended(self, now: float, age: float, duration: float) -> None:
        """Note that a look found the task ended.

        Args:
            now: The time.
            age: How long ago the server created it, in seconds.
            duration: How long it took, by the server's clock, in seconds.
        """
        if not self.is_age_known:
            self.durations.first_look(had_ended=age - duration > now - self.born)
        self.durations.ended(self._noted, duration)

    def worth(self, now: float) -> float:
        """Return what a look is worth now, in seconds of delay."""
        durations, born = self.expected, self.born
        odds = 0.0 if self.is_age_known else durations.odds_ended_before
        return durations.accrued(self.alive_at - born, now - born, odds)

    def worth_at(self, price: float) -> float:
        """Return the time at which a look will be worth `price`."""
        durations, born = self.expected, self.born
        odds = 0.0 if self.is_age_known else durations.odds_ended_before
        return born + durations.age_at(self.alive_at - born, price, odds)

    def pays_at(self, due: float, poll_interval: float) -> float:
        """Return when a look that is due then is worth something, even if there are enough looks for all.

        Args:
            due: When the look is due.
            poll_interval: The waiter's, in seconds.
        """
        is_sure = self.durations is self.expected and self.durations.count >= MIN_ENDS_TO_SKIP
        if not is_sure or self.worth(due) >= PAYS * poll_interval:
            return due
        return min(self.worth_at(PAYS * poll_interval), due + MAX_SKIPPED * poll_interval)


def _server_time(quota: RateLimit | None) -> float:
    """Return the server's Unix time, in seconds; by this machine's clock if no answer told it."""
    if quota is None or quota.reset_in is None:
        return time.time()
    return quota.reset.timestamp() - quota.reset_in
