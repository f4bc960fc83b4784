"""One timer for the time limits of all exchanges: a timer for each costs as much as a tenth of a poll."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Limit"]

Running = asyncio.Task[object]


class Limit:
    """A time limit for what many asyncio tasks do: like `asyncio.timeout`, with one timer for all.

    A task that enters it again is under the limit that it had.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        # When each ends, the first one first, and how often it had been cancelled before.
        self._ends: dict[Running, tuple[float, int]] = {}
        self._again: list[Running] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __enter__(self) -> None:
        task: Any = asyncio.current_task(self._loop)
        if task in self._ends:
            self._again.append(task)
            return
        self._ends[task] = self._loop.time() + self.seconds, task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._sweep)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Make an error of the cancellation that the limit asked for, and of no other.

        Raises:
            TimeoutError: The time was up.
            ConnectionAbortedError: `close` came first.
        """
        task: Any = asyncio.current_task(self._loop)
        if self._again and task in self._again:
            self._again.remove(task)
            return
        end, cancelled = self._ends.pop(task)
        if end < 0 and task.uncancel() <= cancelled and isinstance(error, asyncio.CancelledError):
            raise (ConnectionAbortedError("closed meanwhile") if self._is_closed else TimeoutError) from error

    def close(self) -> None:
        """End what is under way, and drop the timer."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._ends:
            self._end(task)

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = None
        for task, (end, _) in self._ends.items():
            if end > now:
                self._timer = self._loop.call_at(end, self._sweep)
                return
            self._end(task)

    def _end(self, task: Running) -> None:
        """Cancel what a task does under the limit; a second time changes nothing."""
        end, cancelled = self._ends[task]
        if end >= 0:
            self._ends[task] = -1.0, cancelled
            task.cancel()
