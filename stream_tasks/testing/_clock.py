"""A clock that waits for nobody: an hour passes as soon as everybody waits for it."""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import sleep  # the real one: tests may put another in the module
from typing import Any, Final, Self, cast

from attrs import define, field, frozen

from stream_tasks import _loop_thread
from stream_tasks._arguments import check_seconds
from stream_tasks.testing._real_time import real_time
from stream_tasks.testing._threads import Threads, running_loops

__all__ = ["ServerLoop", "ServerTime", "VirtualClock", "now"]

_SETTLE: Final = 1e-4  # seconds between two looks, in which what is on its way arrives
_SELDOM: Final = 2e-3  # seconds between looks at the most, while somebody is at work

_RESOLUTION: Final = time.get_clock_info("monotonic").resolution

_set_running_loop = asyncio.events._set_running_loop  # noqa: SLF001 - each event loop of asyncio passes here

_active: VirtualClock | None = None
_ahead = 0.0  # seconds by which virtual clocks have moved time


def now() -> float:
    """Return the time in seconds from any start; virtual while a `VirtualClock` runs, and never less."""
    clock = _active
    return real_time() + _ahead if clock is None else clock._now  # noqa: SLF001 - the same module


@frozen
class ServerTime:
    """The time of a server.

    Attributes:
        now: Returns the time in seconds from any start.
        epoch: The Unix time, in seconds, at which `now` returned zero.
    """

    now: Callable[[], float]
    epoch: float = field(init=False)

    @epoch.default
    def _epoch(self) -> float:
        return time.time() - self.now()

    def unix(self) -> float:
        """Return the Unix time in seconds."""
        return self.epoch + self.now()


class ServerLoop(asyncio.SelectorEventLoop):
    """A loop of a server's thread. Nobody waits for its timers, unless it says so."""

    is_awaited = False

    def time(self) -> float:
        return real_time()


class VirtualClock:
    """A clock that jumps from one timer to the next whenever everything waits.

    While it runs, all event loops of the process go by it: the test's own, the blocking client's and the
    server's. So do the time-outs, deadlines and pauses on them, and the times that `FakeStream` tells.
    Time stands still while code runs or a request is under way, and jumps when all loops are idle and no
    other thread is at work. A thread that has not moved for a quarter of a second of real time counts as
    idle; one in a callback of the blocking client, or in the iterable that it pulls, after five seconds.
    ``time.time``, ``time.monotonic`` and ``time.sleep`` keep the real time. The work of other processes is
    not seen: time jumps over it, and stands still for clients there.

    Used with ``with``, also around ``async`` code. Loops must be asyncio's own selector loops: uvloop's
    keep the real time. One clock can run at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while time is moved
        self._now = self._began = now()
        self._is_running = False
        self._sleepers: dict[asyncio.BaseEventLoop, _Sleeper] = {}
        self._resting: set[_Sleeper] = set()  # each adds and removes itself, in its loop's thread
        self._rested: SimpleQueue[None] = SimpleQueue()  # wakes the watching thread
        self._restore: list[tuple[Any, str, Any]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.elapsed:g} s{'' if self._is_running else ', stopped'}>"

    @property
    def elapsed(self) -> float:
        """The seconds that have passed on it."""
        return self._now - self._began

    def advance(self, seconds: float) -> None:
        """Let time pass by hand, for blocking code that has a loop of its own.

        Args:
            seconds: How much.

        Raises:
            RuntimeError: The clock does not run.
            TypeError: `seconds` is not a number.
            ValueError: It is negative or not finite.
        """
        seconds = check_seconds("seconds", seconds)
        with self._lock:
            if not self._is_running:
                raise RuntimeError("the clock does not run; use it as `with VirtualClock() as clock:`")
            self._jump(self._now + seconds)

    def __enter__(self) -> Self:
        global _active  # noqa: PLW0603 - one for the process
        if _active is not None:
            raise RuntimeError("another virtual clock runs already")
        for loop in running_loops():
            _selector_of(loop)
        self._now = self._began = _even(now())
        self._is_running = True
        _active = self
        self._replace(_loop_thread, "new_loop", _loop_thread._Loop)  # noqa: SLF001 - not uvloop's
        self._replace(asyncio.events, "_set_running_loop", self._set_running_loop)
        for loop in running_loops():
            self._adopt(loop)
            _stir(loop)  # its next sleep is by this clock
        threading.Thread(target=self._watch, name="VirtualClock", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        global _active, _ahead  # noqa: PLW0603 - one for the process
        with self._lock:
            if not self._is_running:
                return
            self._is_running = False
            while self._restore:
                setattr(*self._restore.pop())
            _ahead = self._now - real_time()
            _active = None
            for sleeper in set(self._resting):
                _stir(sleeper.loop)
            self._sleepers.clear()

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._restore.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _set_running_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Take the place of the function that each event loop calls when it begins to run."""
        if isinstance(loop, asyncio.BaseEventLoop):
            self._adopt(loop)
        _set_running_loop(loop)

    def _adopt(self, loop: asyncio.BaseEventLoop) -> None:
        """Let a loop go by this clock."""
        if loop not in self._sleepers:
            selector = _selector_of(loop)
            since = _even(loop.time() - now())
            sleeper = self._sleepers[loop] = _Sleeper(loop, selector.select, since)
            loop.time = lambda: since + now()  # type: ignore[method-assign]
            self._replace(selector, "select", functools.partial(self._select, sleeper))

    def _select(self, sleeper: _Sleeper, timeout: float | None = None) -> list[Any]:
        """Sleep in a loop's place until it has something to do, or its time has come."""
        ready = sleeper.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        sleeper.due = sleeper.due_in(timeout)
        self._resting.add(sleeper)
        try:
            # Asked after it has been added: what moves or stops the clock from now on wakes it.
            if not self._is_running:
                return sleeper.select(timeout)
            self._rested.put(None)
            return sleeper.select(None if self._now < sleeper.due else 0)
        finally:
            sleeper.turn += 1
            self._resting.discard(sleeper)

    def _watch(self) -> None:
        """Move time, in a thread of its own, whenever everybody waits."""
        threads = Threads()
        pause = _SETTLE
        while self._is_running:
            idle = self._idle(threads)
            if idle:
                sleep(_SETTLE)
                with self._lock:
                    is_idle = self._idle(threads) == idle
                    self._jump(min(sleeper.due for sleeper, _ in idle) if is_idle else self._now)
            with suppress(Empty):
                self._rested.get(timeout=pause)
                pause = _SETTLE / 2
            pause = min(2 * pause, _SELDOM)

    def _idle(self, threads: Threads) -> set[tuple[_Sleeper, int]]:
        """Return the loops that rest, with their turns, if somebody waits for a timer and nobody has work."""
        resting = self._turns()
        due = min((sleeper.due for sleeper, _ in resting), default=math.inf)
        if due == math.inf or not any(sleeper.is_awaited for sleeper, _ in resting):
            return set()
        loops = {sleeper.thread for sleeper in list(self._sleepers.values())}
        is_idle = (
            self._is_running
            and not threads.at_work({sleeper.thread for sleeper, _ in resting}, loops)
            and not any(sleeper.is_ready for sleeper, _ in resting)
            and resting == self._turns()  # no loop has woken, and perhaps rests again, since it was looked at
        )
        return resting if is_idle else set()

    def _turns(self) -> set[tuple[_Sleeper, int]]:
        return {(sleeper, sleeper.turn) for sleeper in set(self._resting)}

    def _jump(self, to: float) -> None:
        self._now = max(self._now, to)
        for sleeper in set(self._resting):
            if sleeper.due <= self._now:
                _stir(sleeper.loop)


@define(eq=False)
class _Sleeper:
    """A loop that goes by a virtual clock.

    Attributes:
        loop: The loop.
        select: Sleeps in real time, as the loop's selector does.
        since: The loop's time when the clock's is zero.
        due: When its next timer is due, in seconds of the clock.
        turn: How often it has rested.
    """

    loop: asyncio.BaseEventLoop
    select: Callable[[float | None], list[Any]]
    since: float
    due: float = math.inf
    turn: int = 0

    def due_in(self, timeout: float | None) -> float:
        """Return when a timer is due, in seconds of the clock."""
        if timeout is None:
            return math.inf
        at = self.loop.time() + timeout
        due = at - self.since
        # A timer is due when its time is reached, and asyncio adds the resolution to see that it is.
        while self.since + due < at or self.since + due + _RESOLUTION <= at:
            due += math.ulp(max(at, due))
        return due

    @property
    def thread(self) -> int | None:
        """The thread that the loop runs in, or None."""
        return cast("int | None", cast("Any", self.loop)._thread_id)  # noqa: SLF001 - nobody else knows it

    @property
    def is_ready(self) -> bool:
        """Whether the loop has something to do, as another thread sees it."""
        try:
            return bool(self.select(0))
        except (OSError, ValueError):  # it has just been closed
            return True

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for something on this loop."""
        if isinstance(self.loop, _loop_thread._Loop):  # noqa: SLF001 - between calls it has nothing to do
            return bool(asyncio.all_tasks(self.loop))
        return not isinstance(self.loop, ServerLoop) or self.loop.is_awaited


def _selector_of(loop: asyncio.BaseEventLoop) -> selectors.BaseSelector:
    """Return what a loop sleeps by.

    Raises:
        RuntimeError: The clock cannot move it.
    """
    selector = cast("Any", loop)._selector  # noqa: SLF001 - there is no other way to it
    if not isinstance(selector, selectors.BaseSelector):  # Windows' default
        raise RuntimeError(f"a virtual clock needs a SelectorEventLoop, not {type(loop).__name__}")  # noqa: TRY004
    return selector


def _even(seconds: float) -> float:
    """Round a time up to one at which sums of whole seconds are exact."""
    return math.ceil(seconds * 1024) / 1024


def _stir(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop take a turn."""
    with suppress(RuntimeError):  # it may have been closed
        loop.call_soon_threadsafe(lambda: None)
