"""Ctrl-C and SIGTERM end a command, and leave it time to say what was not finished."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - else `to_thread` imports it, perhaps out of descriptors
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Final, TypeVar, cast

import click
from attrs import define, field

from stream_tasks.cli import codes
from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.log import ERROR, say

__all__ = ["PATIENCE", "Stop", "run"]

T = TypeVar("T")

PATIENCE: Final = 1.0
"""For how long further signals count as the first one, and stdout's reader may still read, in seconds."""

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h"


@define(eq=False)
class Stop:
    """Which signal came, if any.

    Attributes:
        code: The exit code.
        word: A word for the signal.
        is_stuck: Whether a thread writes to a pipe that nobody reads: the process would never end by itself.
    """

    code: int = codes.SIGINT
    word: str = "Interrupted"
    is_stuck: bool = False
    _asked_at: float | None = None
    _cancel: Callable[[], object] | None = field(default=None, repr=False)

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self._asked_at is not None

    def cancels(self, task: asyncio.Task[Any]) -> None:
        """Let a signal cancel the running task, even a signal that came before."""
        loop = task.get_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self.is_asked:
            task.cancel()

    def hear(self, number: int, _: FrameType | None = None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if number == signal.SIGTERM:
                self.code, self.word = codes.SIGTERM, "Terminated"
            if self._cancel is not None:
                with suppress(RuntimeError):  # the loop is closed already
                    self._cancel()
        elif now > self._asked_at + PATIENCE:
            self.leave()

    async def write(self, write: Callable[..., object], *args: Any) -> None:
        """Write in a thread, so that a slow reader does not block the loop; a cancelled write is completed.

        A reader has any amount of time, but only `PATIENCE` after a signal: then the process has to `leave`.

        Raises:
            OSError: `write` raised it.
            asyncio.CancelledError: The caller was cancelled. The write is done, or stuck.
        """
        writing = asyncio.create_task(asyncio.to_thread(write, *args))
        cancelled: asyncio.CancelledError | None = None
        while not (writing.done() or self.is_stuck):
            was_asked = self.is_asked
            try:
                await asyncio.wait([writing], timeout=PATIENCE)
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                self.is_stuck = was_asked and not writing.done()
        if writing.done():
            writing.result()
        if cancelled is not None:
            raise cancelled

    def leave(self) -> None:
        """End the process at once."""
        for is_stderr in (False, True):
            console = PipeConsole(stderr=is_stderr)
            if is_live(console):
                with suppress(OSError):
                    # Not through the buffer: a thread may hold its lock.
                    os.write(console.file.fileno(), _SHOW_CURSOR)
        os._exit(self.code)


def run(main: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function as `asyncio.run` does; a signal cancels it.

    asyncio raises KeyboardInterrupt at any place in the code when Ctrl-C comes a second time; this does not.

    Args:
        main: Called with a `Stop`.

    Raises:
        click.exceptions.Exit: It was cancelled, and did not handle that itself.
    """
    stop = Stop()

    async def cancellable() -> T:
        stop.cancels(cast("asyncio.Task[Any]", asyncio.current_task()))
        try:
            return await main(stop)
        finally:
            if stop.is_stuck:
                stop.leave()

    before = _handle(stop.hear)
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        say(f"\n{stop.word}.", ERROR)
        raise click.exceptions.Exit(stop.code) from None
    finally:
        if not stop.is_asked:  # otherwise the process is about to end, and no signal may disturb that
            for number, handler in before.items():
                signal.signal(number, handler)


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Handle signals, except those that are ignored, as in a background job; return the previous handlers."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            previous = signal.getsignal(number)
            if previous not in (signal.SIG_IGN, None):
                before[number] = previous
                signal.signal(number, handler)
    return before
