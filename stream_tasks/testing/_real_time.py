"""The real time, whatever a test has put in the place of `time.monotonic`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

__all__ = ["real_time"]

# freezegun and the like replace the functions of `time`, in all modules that have imported them, but not this
# one. Where the system lacks it, the partial hides the function from them.
real_time: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    if hasattr(time, "clock_gettime")
    else partial(time.monotonic)
)
"""Return the seconds from any start, by a clock that is never set."""
