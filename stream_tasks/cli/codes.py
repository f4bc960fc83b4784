"""The exit codes. If several apply, the highest wins."""

from typing import Final

__all__ = [
    "ERROR",
    "FAILED",
    "SIGINT",
    "SIGNAL",
    "SIGPIPE",
    "SIGTERM",
    "TIMED_OUT",
    "USAGE",
]

FAILED: Final = 1
"""A task failed, or an item of a completed task."""

USAGE: Final = 2
"""Wrong usage. click uses the same code."""

TIMED_OUT: Final = 3
"""The time-out was reached; a task may still be running."""

ERROR: Final = 4
"""The server could not be reached, or it refused the request."""

SIGNAL: Final = 128
"""The base of the codes for signals; the signal's number is added."""

SIGINT: Final = SIGNAL + 2
SIGPIPE: Final = SIGNAL + 13
SIGTERM: Final = SIGNAL + 15
