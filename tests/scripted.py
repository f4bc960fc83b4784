"""A server that is no server: it answers polls from a script, in the loop's own time."""

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from stream_tasks import StreamResponse, StreamTransportException, Task
from stream_tasks._backoff import as_backoff
from stream_tasks._waiting.pacing import Pacer
from stream_tasks._waiting.poller import Poller
from stream_tasks._waiting.polling import Waiter

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def snapshot(status: str, **fields: Any) -> Task:
    """A snapshot of the task ``t``."""
    return Task("t", status, EPOCH, EPOCH, **fields)


class Hang(float):
    """An answer that takes so many seconds, and then says that the task is running."""


Step = str | Exception | Hang


class Script:
    """Answers each poll with the next step; the last one for ever.

    Attributes:
        polls: When each poll began, on the loop's clock.
        cancelled: How many polls were cancelled.
        in_flight: The polls that are under way, and the most at a time.
    """

    def __init__(self, *steps: Step, latency: float = 0.0) -> None:
        self.steps = list(steps)
        self.latency = latency
        self.polls: list[float] = []
        self.ids: list[str] = []
        self.cancelled = 0
        self.in_flight = 0
        self.most_in_flight = 0

    async def __call__(self, task_id: str, limit: float) -> StreamResponse[Task]:
        loop = asyncio.get_running_loop()
        self.polls.append(loop.time())
        self.ids.append(task_id)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            takes = step if isinstance(step, Hang) else self.latency
            if takes > limit:
                await asyncio.sleep(limit)
                raise StreamTransportException("timeout")
            if takes:
                await asyncio.sleep(takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if isinstance(step, Exception):
            raise step
        status = "running" if isinstance(step, Hang) else step
        moved = timedelta(seconds=len(self.polls)) if status == "moving" else timedelta(0)
        task = Task(task_id, status.replace("moving", "running"), EPOCH, EPOCH + moved)
        return StreamResponse(task, 200, {})

    @property
    def gaps(self) -> list[float]:
        """The times between polls."""
        return [round(b - a, 3) for a, b in zip(self.polls, self.polls[1:], strict=False)]


class ByTime:
    """Answers by the clock: each task is completed so many seconds after its first poll."""

    def __init__(self, duration: Callable[[str], float], latency: float = 0.0) -> None:
        self.duration = duration
        self.latency = latency
        self.begun: dict[str, float] = {}
        self.polls: list[tuple[float, str]] = []
        self.in_flight: set[str] = set()
        self.most_in_flight = 0

    async def __call__(self, task_id: str, limit: float) -> StreamResponse[Task]:
        del limit
        assert task_id not in self.in_flight, "two polls of one task at once"
        loop = asyncio.get_running_loop()
        begun = self.begun.setdefault(task_id, loop.time())
        self.polls.append((loop.time(), task_id))
        self.in_flight.add(task_id)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
        finally:
            self.in_flight.discard(task_id)
        done = loop.time() - begun >= self.duration(task_id)
        return StreamResponse(Task(task_id, "completed" if done else "running", EPOCH, EPOCH), 200, {})


def poller(fetch: Any, *, max_in_flight: int = 100, not_found_grace: float = 5.0) -> Poller:
    """An engine over a scripted server."""
    return Poller(fetch, Pacer(max_in_flight), not_found_grace=not_found_grace)


def waiter(
    engine: Poller,
    interval: Any = 1.0,
    timeout: float | None = 60.0,
    *,
    task_id: str = "t",
    wants_updates: bool = False,
) -> Waiter:
    """A caller's wait for a task."""
    return Waiter(task_id, as_backoff(interval), timeout, engine.now(), wants_updates=wants_updates)


def tasks_left() -> list[Any]:
    """The asyncio tasks besides the test's own."""
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def timers_left() -> int:
    """The timers on the running loop that are not cancelled."""
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


def times(polls: Iterable[float]) -> list[float]:
    """Polls, counted from the first."""
    found = list(polls)
    return [round(at - found[0], 3) for at in found]


INFINITY = math.inf
