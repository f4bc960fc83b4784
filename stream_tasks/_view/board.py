"""The progress of waits for many tasks."""

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any, Final, NamedTuple, Protocol, Self

from attrs import frozen

from stream_tasks._view.text import about, duration, note_of, printable, whole
from stream_tasks.models import Obstacle, Task, TaskOutcome

__all__ = ["Board", "Ended", "HowItEnded", "Row", "explain"]

ROWS: Final = 50
"""How many of the tasks that changed last are remembered."""

RATE_OVER: Final = 10.0
"""The time over which the rate is measured, in seconds."""

ESTIMATE_OVER: Final = 60.0
"""The time over which the rate for the estimate of the time left is measured, in seconds."""

ESTIMATE_AFTER: Final = 2.0
"""How long the rate must have been measured before there is an estimate, in seconds."""

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


class HowItEnded(Protocol):
    """What a board needs to know of a wait that has ended."""

    @property
    def task_id(self) -> str | None:
        """The task, or None if the server did the work at once."""

    @property
    def status(self) -> str:
        """``completed``, ``failed``, ``timed_out`` or ``error``."""

    @property
    def note(self) -> str:
        """The result or the error in a few words."""


class Ended(NamedTuple):
    """How a wait ended: the attributes are those of `HowItEnded`."""

    task_id: str | None
    status: str
    note: str

    @classmethod
    def of(cls, outcome: TaskOutcome[Any]) -> Self:
        """Take what a board needs from an outcome."""
        status = outcome.status
        if status == "completed":
            return cls(outcome.task_id, status, "")
        error = outcome.to_dict()["error"]
        return cls(outcome.task_id, status, note_of(status, str(error["type"]), str(error["description"])))


class _Rate:
    """How many waits end in a time.

    Invariant: the samples are at least a second apart, and at most one is older than `ESTIMATE_OVER`.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, done: int) -> None:
        """Note how many are done."""
        if not self._samples or now >= self._samples[-1][0] + 1:
            self._samples.append((now, done))
        while len(self._samples) > 1 and now > self._samples[1][0] + ESTIMATE_OVER:
            self._samples.popleft()

    def over(self, seconds: float, now: float, done: int, *, after: float = 0.0) -> float:
        """Return how many waits ended a second lately; 0 if nothing was noted `after` seconds ago.

        Args:
            seconds: The time to look back.
            now: The time.
            done: How many are done.
            after: The least time to look back.
        """
        samples = self._samples or [(now, done)]
        since, before = next(sample for sample in samples if samples[-1][0] <= sample[0] + seconds)
        return (done - before) / max(now - since, 1.0) if now >= since + after else 0.0


class Board:
    """Counts what happens in waits for many tasks. Any thread may call its methods.

    Args:
        ids: The tasks that are waited for, as far as they are known.
        timeout: The time-out of the waits, in seconds; None for no time-out, 0 for one poll of each task.
        total: The number of tasks, including those that a journal says have ended; None if it is not known.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        ids: Iterable[str],
        timeout: float | None,
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished: dict[str, str] = dict.fromkeys(ids, "")
        self.total = total
        self.counts: Counter[str] = Counter()
        self._lock = RLock()
        self._timeout = timeout
        self._clock = clock
        self._started = clock()
        self._first = [Row(task_id) for task_id in list(self.unfinished)[:ROWS]]
        self._moved: OrderedDict[str, Row] = OrderedDict()
        self._rate = _Rate()
        self._trouble: tuple[float, Obstacle | None] = (-math.inf, None)

    @property
    def elapsed(self) -> float:
        """How long the wait has lasted, in seconds."""
        return self._clock() - self._started

    @property
    def done(self) -> int:
        """How many waits have ended."""
        with self._lock:
            return self.counts.total()

    def see(self, task: Task) -> None:
        """Note a snapshot."""
        # A task that has ended comes again as an ending, which says more.
        if not task.is_final and self.unfinished.get(task.task_id, task.status) != task.status:
            with self._lock:
                self.unfinished[task.task_id] = task.status
                self._move(Row(task.task_id, printable(task.status), self.elapsed))

    def end(self, ending: HowItEnded, *, is_new: bool = True) -> None:
        """Note how the wait for one task ended, in this run or in an earlier one."""
        with self._lock:
            self.counts[ending.status] += 1
            if is_new and ending.task_id is not None:
                self.unfinished.pop(ending.task_id, None)
                # The column is too narrow for results.
                note = ending.note if ending.status != "completed" else ""
                self._move(Row(ending.task_id, ending.status.replace("_", " "), self.elapsed, note))

    def _move(self, row: Row) -> None:
        self._moved.pop(row.task_id, None)
        self._moved[row.task_id] = row
        if len(self._moved) > ROWS:
            self._moved.popitem(last=False)

    def rows(self, most: int) -> list[Row]:
        """Return all tasks in the order given if they are few, else those that changed last."""
        with self._lock:
            if 0 < len(self._first) <= most and (self.total or 0) <= most:
                return [self._moved.get(row.task_id, row) for row in self._first]
            return list(reversed(self._moved.values()))[:most]

    def tick(self, obstacle: Obstacle | None) -> None:
        """Note the time, and what holds polls back. To be called at least once a second."""
        now = self._clock()
        with self._lock:
            self._rate.note(now, self.done)
            # A quota can hold polls back and let them go many times a second.
            if obstacle is not None or now > self._trouble[0] + _STICKY:
                self._trouble = now, obstacle

    @property
    def obstacle(self) -> Obstacle | None:
        """What holds polls back, if anything does."""
        return self._trouble[1]

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate of the last minute, in seconds; None if that cannot be told."""
        with self._lock:
            done = self.done
            rate = self._rate.over(ESTIMATE_OVER, self._clock(), done, after=ESTIMATE_AFTER)
        return (self.total - done) / rate if self.total is not None and rate and done < self.total else None

    @property
    def progress(self) -> str:
        """One line: how many are done, at which rate, how long the rest takes, and when the time-out is."""
        parts = [self._done]
        with self._lock:
            rate = self._rate.over(RATE_OVER, self._clock(), self.done)
        if rate >= 1:
            parts.append(f"{rate:,.0f} a second")
        elif rate:
            parts.append(f"{math.ceil(rate * _MINUTE)} a minute")
        if (left := self.seconds_left) is not None:
            parts.append(f"about {about(left)} left")
        parts.append(self.time_left)
        return ", ".join(parts)

    @property
    def end_line(self) -> str:
        """One line for the end: how many are done, and how long it took."""
        return f"{self._done}, in {duration(self.elapsed)}"

    @property
    def _done(self) -> str:
        with self._lock:
            counts, done = Counter(self.counts), self.done
        parts = [f"{done:,} done" if self.total is None else f"{done:,} of {self.total:,} done"]
        parts.append(f"{counts['failed']:,} failed")
        if counts["error"]:
            parts.append(f"{counts['error']:,} could not be polled")
        if counts["timed_out"]:
            parts.append(f"{counts['timed_out']:,} timed out")
        return ", ".join(parts)

    @property
    def time_left(self) -> str:
        """When the time-out is."""
        if self._timeout == 0:
            return "one poll of each"
        if self._timeout is None:
            return f"{whole(self.elapsed)} so far"
        return f"time-out in {whole(max(self._timeout - self.elapsed, 0))}"


def explain(obstacle: Obstacle) -> str:
    """Tell people what holds polls back."""
    wait = f"{math.ceil(obstacle.seconds)} s"
    if obstacle.reason == "rate_limited":
        return f"waiting for the rate limit, {wait}" if obstacle.seconds > 1 else "slowed by the rate limit"
    again = f" in {wait}" if obstacle.seconds > 1 else ""
    return f"the server cannot be reached, trying again{again}"
