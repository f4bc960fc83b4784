"""Which threads are at work, as far as can be seen from outside."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from concurrent.futures import thread as futures
from typing import TYPE_CHECKING, Final

from stream_tasks import _loop_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from types import FrameType

__all__ = ["Threads", "running_loops"]

_STILL: Final = 0.25  # seconds after which a thread that has not moved is taken to wait
_HANDOVERS: Final = frozenset(str(module.__file__) for module in (threading, queue, futures, _loop_thread))


def running_loops() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield asyncio's event loops that run in any thread."""
    for frame in sys._current_frames().values():  # noqa: SLF001 - documented, despite its name
        place: FrameType | None = frame
        while place is not None:
            if place.f_code is asyncio.BaseEventLoop.run_forever.__code__:
                yield place.f_locals["self"]
            place = place.f_back


class Threads:
    """Tells threads that compute from those that wait.

    A thread in one of the modules that hand work from thread to thread waits for some. Any other may be
    in a call that waits for the world outside, which Python cannot see; then its place does not change.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._since: dict[int, float] = {}

    def at_work(self, resting: AbstractSet[int], loops: AbstractSet[int]) -> bool:
        """Whether any thread may be at work.

        Args:
            resting: The threads that are known to wait.
            loops: Threads that run event loops, whose callbacks count as work however still they are.
        """
        found = False
        real_now = time.monotonic()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, despite its name
            if ident in resting or frame.f_code.co_filename in _HANDOVERS:
                continue
            place = (id(frame), frame.f_lasti)
            if self._places.get(ident) != place:
                self._places[ident] = place
                self._since[ident] = real_now
            found |= ident in loops or real_now - self._since[ident] < _STILL
        return found
