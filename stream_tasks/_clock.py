"""Clocks, and what tests do to them: freezegun puts one that stands still in the place of each it finds."""

from __future__ import annotations

import asyncio
import functools
import time
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_clock", "real_clock"]

_A_MOMENT: Final = 0.001
"""A clock that shows the same time for so many seconds stands still."""

_LEAP: Final = 0.5
"""A clock that goes forward by so many seconds more than time does leaps."""


def real_clock() -> Callable[[], float]:
    """Return a monotonic clock that goes on; keep it out of a module's names, where it would be replaced."""
    if not _is_real(time.monotonic) and hasattr(time, "clock_gettime"):
        return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return time.monotonic


def check_clock(loop: asyncio.AbstractEventLoop) -> None:
    """Check that time passes on a loop, before anything waits for it.

    Raises:
        RuntimeError: The loop's clock stands still, or leaps.
    """
    if not _is_real(time.monotonic) and _is_frozen(loop):
        raise RuntimeError(
            "time is frozen on this event loop, so that no wait on it would end in time: freeze_time needs"
            " real_asyncio=True or tick=True here; the blocking Stream needs neither"
        )


def _is_real(clock: object) -> bool:
    return isinstance(clock, BuiltinFunctionType)


def _is_frozen(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop's clock, looked at for a moment, stands still or leaps."""
    if getattr(loop.time, "__func__", None) is not asyncio.BaseEventLoop.time:
        return False  # it has a clock of its own
    clock = real_clock()
    began, theirs = clock(), loop.time()
    while True:
        # Read before and after the loop's clock, since this thread may sleep anywhere.
        is_over = clock() - began > _A_MOMENT
        passed = loop.time() - theirs
        if passed > 0 or is_over:
            return not 0 < passed < clock() - began + _LEAP
