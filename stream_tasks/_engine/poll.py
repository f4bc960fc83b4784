"""The ledger of polls that are in flight."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_tasks._engine.pacing import Sent

__all__ = ["InFlight"]

P = TypeVar("P", bound="Sent")


class InFlight(Generic[P]):
    """The polls that are in flight, oldest first.

    Invariant: a poll is here from just before the pacer is told that it was sent until just before the pacer
    is told how it ended. Only the engine adds and removes polls; the pacer reads.
    """

    __slots__ = ("_polls",)

    def __init__(self) -> None:
        self._polls: dict[P, None] = {}

    def add(self, poll: P) -> None:
        """Add a poll that is being sent."""
        self._polls[poll] = None

    def remove(self, poll: P) -> None:
        """Remove a poll that has ended.

        Raises:
            KeyError: The poll is not in flight.
        """
        del self._polls[poll]

    def __len__(self) -> int:
        return len(self._polls)

    def __iter__(self) -> Iterator[P]:
        return iter(self._polls)

    def __contains__(self, poll: object) -> bool:
        return poll in self._polls

    def sent_at(self, index: int) -> float:
        """Return when a poll was sent; index 0 is the oldest one."""
        return next(islice(self._polls, index, None)).sent_at
