"""The progress of a wait for many tasks."""

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen

from stream_tasks.cli.endings import Ending
from stream_tasks.cli.ui.output import duration, printable
from stream_tasks.models import Obstacle, Task

__all__ = ["Board", "Row", "explain"]

ROWS: Final = 50
"""How many of the tasks that changed last are remembered."""

RATE_OVER: Final = 10.0
"""The time over which the rate is measured, in seconds."""

_STICKY: Final = 1.5
_MINUTE: Final = 60


@frozen
class Row:
    """A task whose status changed.

    Attributes:
        task_id: The task.
        status: Its new status.
        at: When that was seen, in seconds from the wait's start; None if nothing was seen yet.
        note: Its result or error in a few words.
    """

    task_id: str
    status: str = "not seen"
    at: float | None = None
    note: str = ""


class Board:
    """Counts what happens in a wait.

    Args:
        ids: The tasks that are waited for.
        timeout: The time-out of the wait, in seconds; None for no time-out, 0 for one poll of each task.
        total: The number of tasks, including those that a journal says have ended.
        clock: Returns the time in seconds.
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
        """How many waits have ended."""
        return self.counts.total()

    def see(self, task: Task) -> None:
        """Note a snapshot."""
        # A task that has ended comes again as an ending, which says more.
        if not task.is_final and self.unfinished.get(task.task_id, task.status) != task.status:
            self.unfinished[task.task_id] = task.status
            self._move(Row(task.task_id, printable(task.status), self.elapsed))

    def end(self, ending: Ending, *, is_new: bool = True) -> None:
        """Note how the wait for one task ended, in this run or in an earlier one."""
        self.counts[ending.status] += 1
        if is_new and ending.task_id is not None:
            self.unfinished.pop(ending.task_id, None)
            # The column is too narrow for results.
            note = ending.note if ending.exit_code else ""
            self._move(Row(ending.task_id, ending.status.replace("_", " "), self.elapsed, note))

    def _move(self, row: Row) -> None:
        self._moved.pop(row.task_id, None)
        self._moved[row.task_id] = row
        if len(self._moved) > ROWS:
            self._moved.popitem(last=False)

    def rows(self, most: int) -> list[Row]:
        """Return all tasks in the order given if they are few, else those that changed last."""
        if len(self._first) <= most and self.total <= most:
            return [self._moved.get(row.task_id, row) for row in self._first]
        return list(reversed(self._moved.values()))[:most]

    def tick(self, obstacle: Obstacle | None) -> None:
        """Note the time, and what holds polls back. To be called at least once a second."""
        now = self._clock()
        if not self._samples or now >= self._samples[-1][0] + 1:
            self._samples.append((now, self.done))
        while now > self._samples[0][0] + RATE_OVER and len(self._samples) > 1:
            self._samples.popleft()
        # A quota can hold polls back and let them go many times a second.
        if obstacle is not None or now > self._obstacle_at + _STICKY:
            self._obstacle, self._obstacle_at = obstacle, now

    @property
    def obstacle(self) -> Obstacle | None:
        """What holds polls back, if anything does."""
        return self._obstacle

    @property
    def progress(self) -> str:
        """One line: how many are done, at which rate, and when the time-out is."""
        parts = [f"{self.done:,} of {self.total:,} done", f"{self.counts['failed']:,} failed"]
        if self.counts["error"]:
            parts.append(f"{self.counts['error']:,} could not be polled")
        rate = self._rate()
        if rate >= 1:
            parts.append(f"{rate:,.0f} a second")
        elif rate:
            parts.append(f"{math.ceil(rate * _MINUTE)} a minute")
        parts.append(self.time_left)
        return ", ".join(parts)

    @property
    def time_left(self) -> str:
        """When the time-out is."""
        if self._timeout == 0:
            return "one poll of each"
        if self._timeout is None:
            return f"{_whole(self.elapsed)} so far"
        return f"time-out in {_whole(max(self._timeout - self.elapsed, 0))}"

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
    """Write whole seconds: tenths would flicker."""
    return f"{int(seconds)} s" if seconds < _MINUTE else duration(seconds)
