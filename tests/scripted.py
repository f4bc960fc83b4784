"""A server that is no server: it answers polls from a script, in the loop's own time."""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import looptime

from stream_tasks import (
    AsyncStream,
    RateLimit,
    StreamRateLimitException,
    StreamTransportException,
    Task,
)
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.calls import follow, wait_for_end
from stream_tasks._engine.engine import Engine, Limits
from stream_tasks._engine.pacing import Pacer
from stream_tasks._engine.poll import Look

T = TypeVar("T")

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

    async def __call__(self, task_id: str, limit: float) -> Look:
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
        return task, None

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

    async def __call__(self, task_id: str, limit: float) -> Look:
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
        return Task(task_id, "completed" if done else "running", EPOCH, EPOCH), None


def engine_over(fetch: Any, *, max_in_flight: int = 100, not_found_grace: float = 5.0) -> Engine:
    """An engine over a scripted server."""
    return Engine(fetch, Pacer, Limits(max_in_flight, 30.0, not_found_grace))


def wait(
    engine: Engine,
    interval: Any = 1.0,
    timeout: float | None = 60.0,
    *,
    task_id: str = "t",
    on_update: Callable[[Task], object] | None = None,
) -> Coroutine[Any, Any, Task]:
    """A caller's wait for a task."""
    return wait_for_end(engine, task_id, engine.terms(as_backoff(interval), timeout), on_update)


def watch(engine: Engine, timeout: float | None = 60.0) -> AsyncGenerator[Task]:
    """A caller's view of a task."""
    return follow(engine, "t", engine.terms(as_backoff(1.0), timeout))


def tasks_left() -> list[Any]:
    """The asyncio tasks besides the test's own."""
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def timers_left() -> int:
    """The timers on the running loop that are not cancelled."""
    loop: Any = asyncio.get_running_loop()
    # uvloop shows none of its own.
    return sum(not handle.cancelled() for handle in getattr(loop, "_scheduled", ()))


def times(polls: Iterable[float]) -> list[float]:
    """Polls, counted from the first."""
    found = list(polls)
    return [round(at - found[0], 3) for at in found]


class ById:
    """Answers each task's polls from its own script; it never sees two polls of one task at once.

    Args:
        scripts: The steps of each task; the last one for ever.
        latency: How long an answer takes.
    """

    def __init__(self, scripts: dict[str, list[Step]], latency: float = 0.0) -> None:
        self.scripts = {task_id: Script(*steps, latency=latency) for task_id, steps in scripts.items()}

    async def __call__(self, task_id: str, limit: float) -> Look:
        script = self.scripts[task_id]
        assert not script.in_flight, "two polls of one task at once"
        return await script(task_id, limit)

    @property
    def polls(self) -> int:
        """The polls of all tasks."""
        return sum(len(script.polls) for script in self.scripts.values())


class ScriptedStream(AsyncStream):
    """A client whose polls are answered by a scripted server."""

    def __init__(self, fetch: Any, **options: Any) -> None:
        super().__init__("key", token="a.ready.token", **options)
        self._fetch = fetch

    def _look_over(self, _: Any) -> Any:
        return self._fetch

    @property
    def engine(self) -> Engine:
        """What polls for it on this loop."""
        return self._here().engine


class QuotaServer:
    """Counts polls as Stream does: so many in a window, and a thirtieth of them in a second.

    Args:
        limit: The polls that fit in a window; it may be changed at any time.
        aligned: Whether windows begin with their first call, or with the clock's minute.
        rounding: How a window's end is told in whole seconds.
        latency: How long a poll travels, there and back each: the least and the most.
        duration: How long tasks take from their first look, in seconds.
        phase: What the wall clock shows at the loop's time zero, past a full minute.
        says: Whether answers tell the quota.

    Attributes:
        arrivals: When polls arrived, and whether they were let in.
        sent: When they were sent.
    """

    WINDOW = 60.0

    def __init__(
        self,
        limit: int,
        *,
        aligned: Literal["call", "clock"] = "call",
        rounding: Callable[[float], int] = math.ceil,
        latency: tuple[float, float] = (0.02, 0.02),
        duration: Callable[[str], float] = lambda _: math.inf,
        phase: float = 0.0,
        says: bool = True,
        seed: int = 0,
    ) -> None:
        self.limit = limit
        self.aligned = aligned
        self.rounding = rounding
        self.latency = latency
        self.duration = duration
        self.wall = EPOCH.timestamp() + phase
        self.says = says
        self.chance = random.Random(seed)
        self.sent: list[float] = []
        self.arrivals: list[tuple[float, bool]] = []
        self.begun: dict[str, float] = {}
        self.in_flight: set[str] = set()
        self.most_in_flight = 0
        self._used = self._used_in_second = 0
        self._window_end = self._second_end = -math.inf

    def spend(self, now: float) -> bool:
        """Count one call, refused ones too; return whether it is let in."""
        if now >= self._window_end:
            self._used = 0
            begun = now
            if self.aligned == "clock":
                begun = now - (self.wall + now) % self.WINDOW
            self._window_end = begun + self.WINDOW
        at_once = max(1, self.limit // 30)
        if now >= self._second_end:
            self._used_in_second = 0
            self._second_end = now + min(1.0, at_once * 30 / self.limit)
        self._used += 1
        self._used_in_second += 1
        return self._used <= self.limit and self._used_in_second <= at_once

    def told(self, now: float) -> RateLimit:
        """Return what an answer tells of the quota as it is, if it arrives then."""
        reset = self.rounding(self.wall + self._window_end)
        remaining = max(0, self.limit - self._used)
        return RateLimit(self.limit, remaining, datetime.fromtimestamp(reset, UTC), reset - self.wall - now)

    async def __call__(self, task_id: str, limit: float) -> Look:
        del limit
        assert task_id not in self.in_flight, "two polls of one task at once"
        loop = asyncio.get_running_loop()
        self.sent.append(loop.time())
        self.in_flight.add(task_id)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        try:
            await asyncio.sleep(self.chance.uniform(*self.latency))
            now = loop.time()
            is_let_in = self.spend(now)
            self.arrivals.append((now, is_let_in))
            latency = self.chance.uniform(*self.latency)
            quota = self.told(now + latency)
            await asyncio.sleep(latency)
        finally:
            self.in_flight.discard(task_id)
        if not is_let_in:
            raise StreamRateLimitException(rate_limit=quota if self.says else None)
        done = now - self.begun.setdefault(task_id, now) >= self.duration(task_id)
        task = Task(task_id, "completed" if done else "running", EPOCH, EPOCH)
        return task, quota if self.says else None

    @property
    def refused(self) -> int:
        """How many polls were refused."""
        return sum(not is_let_in for _, is_let_in in self.arrivals)


def most_within(moments: list[float], span: float) -> int:
    """The most moments that any span of time holds."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - span:
            first += 1
        most = max(most, last - first + 1)
    return most


def assert_rests(engine: Engine) -> None:
    """Nothing is left of any wait: no poll, no timer, no place in the queue, no coroutine of the engine."""
    assert not len(engine._in_flight)
    assert not engine._tasks
    assert engine._due.next_due() == math.inf
    assert not engine._alarm.is_running
    assert not engine.endings
    assert not tasks_left()
    assert not timers_left()


def in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own, whose clock jumps."""
    loop = looptime.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets whose clock jumps to the next timer, and which a callback can block."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector: Any = self

    def time(self) -> float:
        return self._now

    def block(self, seconds: float) -> None:
        """Let time pass without a turn of the loop."""
        self._now += seconds

    def run_for(self, seconds: float) -> None:
        """Run until so much time has passed."""
        self.call_later(seconds, self.stop)
        self.run_forever()

    def select(self, timeout: float | None) -> tuple[()]:
        assert timeout is not None, "everybody waits for everybody else"
        self._now += timeout
        return ()

    def _process_events(self, event_list: object) -> None:
        del event_list
