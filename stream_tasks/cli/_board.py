"""How far a wait for many tasks is, for people to see."""

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen

from stream_tasks.cli._endings import Ending
from stream_tasks.cli._output import duration, printable
from stream_tasks.models import Obstacle, Task

__all__ = ["Board", "Row", "explain"]

ROWS: Final = 50
"""So many of the tasks that moved last are remembered."""

RATE_OVER: Final = 10.0
"""The seconds over which the rate is counted."""

_STICKY: Final = 1.5
_MINUTE: Final = 60


@frozen
class Row:
    """A task that moved.

    Attributes:
        task_id: The task.
        status: Its new status.
        at: When that was seen, in seconds from the wait's start; None when nothing was seen yet.
        note: What came of it.
    """

    task_id: str
    status: str = "not seen"
    at: float | None = None
    note: str = ""


class Board:
    """Keeps count of a wait.

    Args:
        ids: The tasks that are waited for.
        timeout: The limit of the wait in seconds; None for no limit, 0 for one look.
        total: How many tasks there are, with those that have ended before.
        clock: The time in seconds.
    """

    def __init__(
        self,
        ids: Iterable[str],
        timeout: float | None,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished: dict[str, str] = dict.fromkeys(ids, "")
        self.total = total
        self.counts: Counter[str] = Counter()
        self._timeout = timeout
        self._clock = clock
        self._started = clock()
        self._first = [Row(task_id) for task_id in list(self.unfinished)[:ROWS]]
        self._moved: OrderedDict[str, Row] = OrderedDict()
        self._samples: deque[tuple[float, int]] = deque()
        self._obstacle: Obstacle | None = None
        self._obstacle_at = -math.inf

    @property
    def elapsed(self) -> float:
        """How long the wait has lasted, in seconds."""
        return self._clock() - self._started

    @property
    def done(self) -> int:
        """How many tasks are not waited for any more."""
        return self.counts.total()

    def see(self, task: Task) -> None:
        """Take in a snapshot."""
        # What has ended comes again as an ending, which tells more.
        if not task.is_final and self.unfinished.get(task.task_id, task.status) != task.status:
            self.unfinished[task.task_id] = task.status
            self._move(Row(task.task_id, printable(task.status), self.elapsed))

    def end(self, ending: Ending, *, is_new: bool = True) -> None:
        """Take in how a wait for one task ended, in this run or in one before it."""
        self.counts[ending.status] += 1
        if is_new and ending.task_id is not None:
            self.unfinished.pop(ending.task_id, None)
            # Results tell nothing in the width that there is.
            note = ending.note if ending.exit_code else ""
            self._move(Row(ending.task_id, ending.status.replace("_", " "), self.elapsed, note))

    def _move(self, row: Row) -> None:
        self._moved.pop(row.task_id, None)
        self._moved[row.task_id] = row
        if len(self._moved) > ROWS:
            self._moved.popitem(last=False)

    def rows(self, most: int) -> list[Row]:
        """Return all tasks in the order given if they are few, else those that moved last."""
        if len(self._first) <= most and self.total <= most:
            return [self._moved.get(row.task_id, row) for row in self._first]
        return list(reversed(self._moved.values()))[:most]

    def tick(self, obstacle: Obstacle | None) -> None:
        """Look at the clock, and at what holds polls back: once a second, or more often."""
        now = self._clock()
        if not self._samples or now >= self._samples[-1][0] + 1:
            self._samples.append((now, self.done))
        while now > self._samples[0][0] + RATE_OVER and len(self._samples) > 1:
            self._samples.popleft()
        # A quota holds polls back and lets them go many times a second.
        if obstacle is not None or now > self._obstacle_at + _STICKY:
            self._obstacle, self._obstacle_at = obstacle, now

    @property
    def obstacle(self) -> Obstacle | None:
        """What holds polls back, if anything does."""
        return self._obstacle

    @property
    def progress(self) -> str:
        """One line: how many are done, how fast, and how much time is left."""
        parts = [f"{self.done:,} of {self.total:,} done", f"{self.counts['failed']:,} failed"]
        if self.counts["error"]:
            parts.append(f"{self.counts['error']:,} could not be asked for")
        rate = self._rate()
        if rate >= 1:
            parts.append(f"{rate:,.0f} a second")
        elif rate:
            parts.append(f"{math.ceil(rate * _MINUTE)} a minute")
        parts.append(self.time_left)
        return ", ".join(parts)

    @property
    def time_left(self) -> str:
        """How long until the deadline."""
        if self._timeout == 0:
            return "one look at each"
        if self._timeout is None:
            return f"{_whole(self.elapsed)} so far"
        return f"{_whole(max(self._timeout - self.elapsed, 0))} left"

    def _rate(self) -> float:
        if not self._samples:
            return 0.0
        since, before = self._samples[0]
        return (self.done - before) / max(self._clock() - since, 1.0)


def explain(obstacle: Obstacle) -> str:
    """Tell people what holds polls back."""
    wait = f"{math.ceil(obstacle.seconds)} s"
    if obstacle.reason == "rate_limited":
        return f"waiting for the rate limit, {wait}" if obstacle.seconds > 1 else "slowed by the rate limit"
    again = f" in {wait}" if obstacle.seconds > 1 else ""
    return f"the server cannot be reached, trying again{again}"


def _whole(seconds: float) -> str:
    """Write whole seconds, which do not flicker."""
    return f"{int(seconds)} s" if seconds < _MINUTE else duration(seconds)
