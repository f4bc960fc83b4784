"""Which threads are at work, as far as another thread can see."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from concurrent.futures import thread as futures
from time import process_time, thread_time
from typing import TYPE_CHECKING, Final

from stream_tasks import _loop_thread
from stream_tasks.testing._real_time import real_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

__all__ = ["Threads", "running_loops"]

_STILL: Final = 0.25  # seconds after which a thread that has not moved counts as idle
_STILL_CALLED: Final = 5.0  # the same in a callback, for whose end a wait on the loop waits
_COMPUTED: Final = 0.02  # seconds of CPU time in that while, after which somebody must have computed

_ATTEND: Final = _loop_thread.LoopThread._attend.__code__  # noqa: SLF001 - where callers wait for their calls
_CONDITION: Final = threading.Condition.wait.__code__
_POOL: Final = futures._worker.__code__  # noqa: SLF001 - where the idle threads of a pool are
_JOINS: Final = frozenset(
    function.__code__
    for function in (
        threading.Thread.join,
        getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join),  # until Python 3.12
    )
)
_RUNS: Final = ("run_forever", "run_until_complete")  # whoever wrote them: nest_asyncio replaces asyncio's


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

    Some threads wait in a place where Python code waits for other threads: they are idle until they are
    handed something. Only the objects in that place tell whether they are, since a thread that has just been
    woken looks like one that still sleeps. Any other thread may be in a call that waits for the world
    outside, which Python cannot see. It counts as idle after some time in the same place, unless the process
    computes.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._since: dict[int, tuple[float, float]] = {}  # in real time and in CPU time

    def at_work(self, resting: AbstractSet[int | None], loops: AbstractSet[int | None]) -> bool:
        """Whether any thread may be at work, or was since the last call; always called by the same thread.

        Args:
            resting: The threads that are known to wait.
            loops: Threads that run event loops. Their callbacks count as work, however still they are.
        """
        found = any(thread.ident is None for thread in threading.enumerate())  # one is about to begin
        moment = real_time(), process_time() - thread_time()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, despite its name
            if ident in resting or ident == threading.get_ident():
                continue
            place = (id(frame), frame.f_lasti)
            if self._places.get(ident) != place:
                self._places[ident] = place
                self._since[ident] = moment
                found = True
            elif not _waits(frame):
                limit = _STILL_CALLED if _is_called(frame) else _STILL
                found |= ident in loops or not self._is_still(ident, moment, limit)
        return found

    def _is_still(self, ident: int, moment: tuple[float, float], limit: float) -> bool:
        """Whether a thread has been in the same place long enough, while the process did not compute."""
        since, used = self._since[ident]
        if moment[0] - since < limit:
            return False
        if moment[1] - used > _COMPUTED:
            self._since[ident] = moment
            return False
        self._since[ident] = -math.inf, math.inf  # until it moves
        return True


def _waits(frame: FrameType) -> bool:
    """Whether a thread waits for another one that has not handed it anything yet."""
    code, its = frame.f_code, frame.f_locals
    if code is _ATTEND:
        call = its["call"]
        return call.task is not None and not call.is_over and bool(call.events.empty())
    if code is _CONDITION:
        return its.get("waiter") in its["self"]._waiters  # noqa: SLF001 - a waiter that is notified leaves it
    if code is _POOL:
        return bool(its["work_queue"].empty())
    return code in _JOINS


def _is_called(frame: FrameType) -> bool:
    """Whether a thread runs a callback of the blocking client."""
    place = frame.f_back
    while place is not None and place.f_code is not _ATTEND:
        place = place.f_back
    return place is not None
