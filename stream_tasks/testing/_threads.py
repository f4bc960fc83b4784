"""Which threads are at work, as far as another thread can see."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import thread as futures
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stream_tasks import _loop_thread
from stream_tasks.testing._real_time import real_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

__all__ = ["Threads", "running_loops"]

_STATES: Final = Path("/proc/self/task")  # where Linux tells what threads do

_STILL: Final = 0.25  # seconds after which a thread that has not moved counts as idle
_STILL_CALLED: Final = 5.0  # the same in a callback, for whose end a wait on the loop waits
_STILL_WAITING: Final = 0.0 if _STATES.exists() else 0.02  # the same where threads wait for others

_ATTEND: Final = _loop_thread.LoopThread._attend.__code__  # noqa: SLF001 - where callers wait for their calls
_WAITING: Final = frozenset(
    function.__code__
    for function in (
        _loop_thread.LoopThread._attend,  # noqa: SLF001 - as above
        futures._worker,  # noqa: SLF001 - where the idle threads of a pool are
        threading.Condition.wait,
        threading.Thread.join,
        getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join),  # until Python 3.12
    )
)
_RUNS: Final = ("run_forever", "run_until_complete")  # asyncio's own, and nest_asyncio's


def running_loops() -> Iterator[asyncio.BaseEventLoop]:
    """Yield asyncio's event loops that run in any thread."""
    for frame in sys._current_frames().values():  # noqa: SLF001 - documented, despite its name
        place: FrameType | None = frame
        while place is not None:
            loop = place.f_locals.get("self") if place.f_code.co_name in _RUNS else None
            if isinstance(loop, asyncio.BaseEventLoop):
                yield loop
            place = place.f_back


class Threads:
    """Tells threads at work from idle ones.

    A thread that has moved since the last look is at work. So is one that is about to run since another has
    just handed it something; Linux tells of such. Any other is idle at once where Python code waits for other
    threads. Elsewhere it may be in a call that waits for the world outside, which Python cannot see, and
    counts as idle after some time in the same place.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._since: dict[int, float] = {}

    def at_work(self, resting: AbstractSet[int | None], loops: AbstractSet[int | None]) -> bool:
        """Whether any thread may be at work, or was since the last call; not counting the one that asks.

        Args:
            resting: The threads that are known to wait.
            loops: Threads that run event loops. Their callbacks count as work, however still they are.
        """
        others = {thread for thread in threading.enumerate() if thread.ident not in resting}
        others.discard(threading.current_thread())
        found = any(
            thread.ident is None or _runs(thread) for thread in others
        )  # without one it is about to begin
        real_now = real_time()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, despite its name
            if ident in resting or ident == threading.get_ident():
                continue
            place = (id(frame), frame.f_lasti)
            if self._places.get(ident) != place:
                self._places[ident] = place
                self._since[ident] = real_now
                found = True
            else:
                found |= real_now - self._since[ident] < _patience(frame, runs_loop=ident in loops)
        return found


def _runs(thread: threading.Thread) -> bool:
    """Whether a thread runs, or is about to, as far as the system tells."""
    try:
        return (_STATES / str(thread.native_id) / "stat").read_bytes().rpartition(b")")[2].startswith(b" R")
    except OSError:  # another system, or it has ended
        return False


def _patience(frame: FrameType, *, runs_loop: bool) -> float:
    """Return after how many seconds in the same place a thread counts as idle."""
    if frame.f_code in _WAITING:
        return _STILL_WAITING
    if runs_loop:
        return float("inf")
    place = frame.f_back
    while place is not None and place.f_code is not _ATTEND:
        place = place.f_back
    return _STILL if place is None else _STILL_CALLED
