"""Ctrl-C and SIGTERM, which end what is under way, and leave time to say what was not finished."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from attrs import define

from stream_tasks.cli import _codes

__all__ = ["Stop", "stoppable"]


@define
class Stop:
    """What stopped it, where something did.

    Attributes:
        code: What to exit with.
        word: What to call it.
    """

    code: int = _codes.SIGINT
    word: str = "Interrupted"


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Cancel the running task on SIGTERM, as asyncio does on Ctrl-C.

    Yields:
        What to tell, once the body was cancelled: nothing else cancels what ``asyncio.run`` runs.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    stop = Stop()

    def terminate() -> None:
        stop.code, stop.word = _codes.SIGTERM, "Terminated"
        task.cancel()

    with suppress(NotImplementedError):  # on Windows there is nothing to tidy up after
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield stop
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGTERM)
