"""Which task is looked at next, and when: all tasks that wait for a look, in one place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

from stream_tasks._engine.due import DueQueue
from stream_tasks._engine.tuning import MOVED_AT_ONCE, SCARCE_AFTER
from stream_tasks._engine.worth import Candidate, WorthQueue

if TYPE_CHECKING:
    from stream_tasks._engine.durations import Durations

__all__ = ["Lineup"]

C = TypeVar("C", bound=Candidate)


class Lineup(Generic[C]):
    """The tasks that wait for a look: from when each is due, and which comes next.

    While there are enough looks for all, tasks come in order of when they are due. Once a look is taken late,
    looks are scarce: of the tasks that are due, the one comes first whose look is worth most. Looks are
    scarce until no task is due any more.

    Invariants: a task is in `_due` or in `_scarce` or in neither. All tasks in `_scarce` are due. As long as
    nothing was learned, `_scarce` is empty.

    Attributes:
        durations: How long tasks take; None to go by when they are due alone.
    """

    __slots__ = ("_due", "_scarce", "durations")

    def __init__(self, durations: Durations | None = None) -> None:
        self.durations = durations
        self._due: DueQueue[C] = DueQueue()
        self._scarce: WorthQueue[C] = WorthQueue()

    def __contains__(self, item: object) -> bool:
        return item in self._due or item in self._scarce

    def __len__(self) -> int:
        return len(self._due) + len(self._scarce)

    def due(self, item: C) -> float:
        """Return when a task is due, infinity if it is not in."""
        return min(self._due.due(item), self._scarce.due(item))

    def next_due(self) -> float:
        """Return when the first task is due, infinity if none is in; while looks are scarce, one is due."""
        return -math.inf if self._scarce else self._due.next_due()

    def push(self, item: C, due: float) -> None:
        """Put in a task that is not in, unless it is never due.

        While there are enough looks for all, a look that cannot pay is left out.
        """
        if due < math.inf:
            self._due.push(item, due if self._scarce or self.durations is None else item.pays_at(due))

    def hasten(self, item: C, due: float) -> bool:
        """Have a look at a task taken at `due`, unless it is due earlier.

        Returns:
            Whether that changes when the task is due.
        """
        if item in self._scarce:
            self._scarce.hasten(item)
        elif due < self._due.due(item):
            self._due.push(item, due)
            return True
        return False

    def discard(self, item: C) -> None:
        """Take a task out if it is in."""
        self._due.discard(item)
        self._scarce.discard(item)

    def pop(self, now: float) -> tuple[C, float]:
        """Take out the task to look at now, and return since when it is due; one must be due."""
        if not self._scarce:
            due = self._due.next_due()
            item = self._due.pop()
            if now - due <= SCARCE_AFTER or self.durations is None or not self.durations.is_of_use:
                return item, due
            self._scarce.open(item.sighting.worth(now))
            self._scarce.push(item, due)
        for _ in range(MOVED_AT_ONCE):
            due = self._due.next_due()
            if due > now:
                break
            self._scarce.push(self._due.pop(), due)
        return self._scarce.pop(now)
