"""Which threads are at work, as far as can be seen from outside."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import thread as futures
from os import close as os_close
from os import open as os_open
from os import read as os_read
from typing import TYPE_CHECKING, Final

from stream_tasks import _loop_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

__all__ = ["Threads", "running_loops"]

_STILL: Final = 0.25  # seconds after which a thread that has not moved is taken to wait
_STILL_CALLED: Final = 5.0  # the same in a callback, for whose end a wait on the loop waits
_ATTEND: Final = _loop_thread.LoopThread._attend.__code__  # noqa: SLF001 - where callers wait for their calls
_CONDITION: Final = threading.Condition.wait.__code__
_POOL: Final = futures._worker.__code__  # noqa: SLF001 - where the idle ones of a pool are
_JOINS: Final = frozenset(
    function.__code__
    for function in (
        threading.Thread.join,
        getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join),  # until Python 3.12
    )
)
_START: Final = threading.Thread.start.__code__


def running_loops() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield asyncio's event loops that run in any thread."""
    for frame in sys._current_frames().values():  # noqa: SLF001 - documented, despite its name
        place: FrameType | None = frame
        while place is not None:
            if place.f_code is asyncio.BaseEventLoop.run_forever.__code__:
                yield place.f_locals["self"]
            place = place.f_back


def _waits(frame: FrameType) -> bool:
    """Whether a thread waits for another one that has not given it anything yet."""
    code, its = frame.f_code, frame.f_locals
    if code is _ATTEND:
        call = its["call"]
        return call.task is not None and not call.is_over and bool(call.events.empty())
    if code is _CONDITION:
        starter = frame.f_back and frame.f_back.f_back  # it waits for an event, and that for a condition
        is_start = starter is not None and starter.f_code is _START  # of a thread that may not be seen yet
        return its.get("waiter") in its["self"]._waiters and not is_start  # noqa: SLF001 - told, it is not in there
    if code is _POOL:
        return bool(its["work_queue"].empty())
    return code in _JOINS


def _is_called(frame: FrameType) -> bool:
    """Whether a thread runs what a call of the blocking client wants done in it."""
    place = frame.f_back
    while place is not None and place.f_code is not _ATTEND:
        place = place.f_back
    return place is not None


def _is_runnable(thread: threading.Thread) -> bool:
    """Whether the system is about to let a thread run, as it is when work has been handed to it; on Linux."""
    try:
        file = os_open(f"/proc/self/task/{thread.native_id}/stat", os.O_RDONLY)
        try:
            return os_read(file, 256).rpartition(b")")[2].startswith(b" R")
        finally:
            os_close(file)
    except OSError:  # another system, or it has ended
        return False


class Threads:
    """Tells threads that compute from those that wait.

    Some wait in a place that is made for it. Any other may be in a call that waits for the world
    outside, which Python cannot see; then its place does not change.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._since: dict[int, float] = {}

    def at_work(self, resting: AbstractSet[int], loops: AbstractSet[int]) -> bool:
        """Whether any thread may be at work; one that has moved since the last call may.

        Args:
            resting: The threads that are known to wait.
            loops: Threads that run event loops, whose callbacks count as work however still they are.
        """
        found = any(_is_runnable(thread) for thread in threading.enumerate() if thread.ident not in resting)
        real_now = time.monotonic()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, despite its name
            if ident in resting:
                continue
            place = (id(frame), frame.f_lasti)
            if self._places.get(ident) != place:
                self._places[ident] = place
                self._since[ident] = real_now
                found = True
            elif not _waits(frame):
                still = real_now - self._since[ident]
                limit = _STILL_CALLED if _is_called(frame) else _STILL
                found |= ident in loops or still < limit
        return found
