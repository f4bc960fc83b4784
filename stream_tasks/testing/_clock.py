"""A clock that waits for nobody: an hour passes as soon as all have nothing to do but to wait for it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import suppress
from selectors import BaseSelector
from time import sleep  # the real one: tests may put another in the module
from typing import TYPE_CHECKING, Any, Final, Self, cast

from stream_tasks import _loop_thread
from stream_tasks._arguments import check_seconds
from stream_tasks.testing._threads import Threads, running_loops

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ServerLoop", "VirtualClock", "now"]

_SETTLE: Final = 1e-4  # seconds in which what is on its way arrives
_AGAIN: Final = 1e-3  # seconds until the last one looks again for who is at work
_SELDOM: Final = 0.02  # the same for the others, which need not

_RESOLUTION: Final = time.get_clock_info("monotonic").resolution

_run_once = cast("Any", asyncio.BaseEventLoop)._run_once  # noqa: SLF001 - each loop passes here
_active: VirtualClock | None = None
_ahead = 0.0  # seconds by which virtual clocks have moved time


def now() -> float:
    """Return the time in seconds from any start; virtual while a `VirtualClock` runs, and never less."""
    clock = _active
    return time.monotonic() + _ahead if clock is None else clock._now  # noqa: SLF001 - the same module


class ServerLoop(asyncio.SelectorEventLoop):
    """A loop for whose sake time need not pass, unless it says so."""

    is_awaited = False


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
        self._lock = threading.Lock()
        self._now = self._began = now()
        self._is_running = False
        self._sleepers: dict[asyncio.AbstractEventLoop, _Sleeper] = {}
        self._resting: set[_Sleeper] = set()
        self._threads = Threads()

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
            TypeError: `seconds` is no number.
            ValueError: It is negative or not finite.
        """
        seconds = check_seconds("seconds", seconds)
        if not self._is_running:
            raise RuntimeError("the clock does not run; use it as `with VirtualClock() as clock:`")
        with self._lock:
            self._jump(self._now + seconds)

    def __enter__(self) -> Self:
        global _active  # noqa: PLW0603 - one for the process
        if _active is not None:
            raise RuntimeError("another virtual clock runs already")
        self._now = self._began = _even(now())
        self._is_running = True
        _active = self

        def run_once(loop: asyncio.AbstractEventLoop) -> None:
            self._adopt(loop)
            _run_once(loop)

        cast("Any", asyncio.BaseEventLoop)._run_once = run_once  # noqa: SLF001
        self._new_loop, _loop_thread.new_loop = _loop_thread.new_loop, _loop_thread._Loop  # noqa: SLF001 - not uvloop
        with suppress(RuntimeError):  # there may be none
            self._adopt(asyncio.get_running_loop())
        for loop in running_loops():
            _stir(loop)  # it is adopted in its next turn
        return self

    def __exit__(self, *_: object) -> None:
        global _active, _ahead  # noqa: PLW0603 - one for the process
        if not self._is_running:
            return
        cast("Any", asyncio.BaseEventLoop)._run_once = _run_once  # noqa: SLF001
        _loop_thread.new_loop = self._new_loop
        with self._lock:
            self._is_running = False
            _ahead = self._now - time.monotonic()
            _active = None
            for sleeper in self._sleepers.values():
                sleeper.leave()
            self._sleepers.clear()

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let a loop, in whose thread this is called, go by this clock."""
        if loop not in self._sleepers:
            with self._lock:
                if self._is_running:
                    self._sleepers[loop] = _Sleeper(loop, self._rest)

    def _rest(self, sleeper: _Sleeper, due: float) -> list[Any]:
        """Return what a loop finds ready, at the latest when its time is `due`."""
        with self._lock:
            sleeper.due = due
            self._resting.add(sleeper)
        running = asyncio.get_running_loop()
        asyncio._set_running_loop(None)  # noqa: SLF001 - it may block now, whatever watches over its callbacks
        try:
            while self._is_running and self._now < due:
                pause = self._pass_time()
                ready = sleeper.ready(pause)
                if ready:
                    return ready
            return []
        finally:
            asyncio._set_running_loop(running)  # noqa: SLF001 - as above
            with self._lock:
                self._resting.discard(sleeper)

    def _pass_time(self) -> float:
        """Jump to the next timer if everyone waits for it; return how long to look for other work."""
        with self._lock:
            due = min((sleeper.due for sleeper in self._resting), default=math.inf)
            if due == math.inf or not any(sleeper.is_awaited() for sleeper in self._resting):
                return _SELDOM
            if self._is_quiet() and self._stays_quiet():
                self._jump(due)
                return 0
            return _AGAIN

    def _is_quiet(self) -> bool:
        resting = {sleeper.thread for sleeper in self._resting}
        loops = {s.thread for loop, s in self._sleepers.items() if loop.is_running()}
        return not any(sleeper.ready(0) for sleeper in self._resting) and not self._threads.at_work(
            resting, loops
        )

    def _stays_quiet(self) -> bool:
        sleep(_SETTLE)
        return self._is_quiet()

    def _jump(self, to: float) -> None:
        self._now = max(self._now, to)
        for sleeper in self._resting:
            if sleeper.due <= self._now:
                sleeper.wake()


class _Sleeper:
    """What stands between a loop and its selector."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rest: Callable[[_Sleeper, float], list[Any]]) -> None:
        self.thread: int = threading.get_ident()
        self.due: float = math.inf
        self._loop = loop
        self._rest = rest
        self._selector: BaseSelector = cast("Any", loop)._selector  # noqa: SLF001 - the one way to its sleep
        if not isinstance(self._selector, BaseSelector):  # Windows' default
            raise RuntimeError(f"a virtual clock needs a SelectorEventLoop, not {type(loop).__name__}")  # noqa: TRY004
        self.ready: Callable[[float | None], list[Any]] = self._selector.select
        self._since = _even(loop.time() - now())
        loop.time = self._time  # type: ignore[method-assign]
        self._selector.select = self._select  # type: ignore[method-assign]

    def _time(self) -> float:
        return self._since + now()

    def _select(self, timeout: float | None = None) -> list[Any]:
        self.thread = threading.get_ident()
        ready = self.ready(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return self._rest(self, math.inf)
        at = self._time() + timeout
        due = at - self._since
        # A timer is due when its time is reached, and asyncio adds the resolution to see that it is.
        while self._since + due < at or self._since + due + _RESOLUTION <= at:
            due += math.ulp(max(at, due))
        return self._rest(self, due)

    def is_awaited(self) -> bool:
        """Whether somebody waits for something on this loop."""
        if isinstance(self._loop, _loop_thread._Loop):  # noqa: SLF001 - between calls it has nothing to do
            return bool(asyncio.all_tasks(self._loop))
        return not isinstance(self._loop, ServerLoop) or self._loop.is_awaited

    def wake(self) -> None:
        """Let the loop look at the clock."""
        _stir(self._loop)

    def leave(self) -> None:
        """Give the loop its own selector back; its time goes on from where it is."""
        del self._selector.select
        self.wake()


def _even(seconds: float) -> float:
    """Round a time up to one at which sums of whole seconds are exact."""
    return math.ceil(seconds * 1024) / 1024


def _stir(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop take a turn."""
    with suppress(RuntimeError):  # it may have been closed
        loop.call_soon_threadsafe(lambda: None)
