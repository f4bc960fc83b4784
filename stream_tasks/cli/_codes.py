"""What the command line exits with; where several apply, the highest is the one."""

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
"""A task failed, or an item of one that completed."""

USAGE: Final = 2
"""Wrong usage, which is click's own code."""

TIMED_OUT: Final = 3
"""The time ran out; a task may still be running."""

ERROR: Final = 4
"""The server could not be asked, or refused."""

SIGNAL: Final = 128
"""From here on it was a signal, whose number is added."""

SIGINT: Final = SIGNAL + 2
SIGPIPE: Final = SIGNAL + 13
SIGTERM: Final = SIGNAL + 15
