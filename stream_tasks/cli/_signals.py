"""Ctrl-C and SIGTERM end what is under way, and leave time to say what was not finished."""

import asyncio
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

from stream_tasks.cli import _codes
from stream_tasks.cli._output import PipeConsole, is_live

__all__ = ["PATIENCE", "Stop", "deafen", "run"]

T = TypeVar("T")

PATIENCE: Final = 1.0
"""For so many seconds further signals count as the first one, and stdout's reader may still read."""

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR: Final = b"\x1b[?25h"


@define(eq=False)
class Stop:
    """Whether a signal asked to stop, and which.

    Attributes:
        code: What to exit with.
        word: What to call it.
        is_stuck: Whether a thread writes what nobody reads: the process would wait for it for ever.
    """

    code: int = _codes.SIGINT
    word: str = "Interrupted"
    is_stuck: bool = False
    _asked_at: float | None = None
    _cancel: Callable[[], object] | None = field(default=None, repr=False)

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self._asked_at is not None

    def cancels(self, task: asyncio.Task[Any]) -> None:
        """Name the running task as the one that a signal cancels, also one that came before."""
        loop = task.get_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self.is_asked:
            task.cancel()

    def hear(self, number: int, _: FrameType | None = None) -> None:
        """Take in a signal."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if number == signal.SIGTERM:
                self.code, self.word = _codes.SIGTERM, "Terminated"
            if self._cancel is not None:
                with suppress(RuntimeError):  # the loop is closed: it is over anyway
                    self._cancel()
        elif now > self._asked_at + PATIENCE:
            self.leave()

    async def write(self, write: Callable[..., object], *args: Any) -> None:
        """Write in a thread, so that a slow reader holds nothing up, and in one piece, even when cancelled.

        A reader may take for ever, but `PATIENCE` once a signal came: then the process has to `leave`.

        Raises:
            OSError: What `write` raises.
            asyncio.CancelledError: It was cancelled, and is written, or stuck.
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
        """End the process at once, whatever is under way."""
        for is_stderr in (False, True):
            console = PipeConsole(stderr=is_stderr)
            if is_live(console):
                with suppress(OSError):
                    # Past the buffer, in which a write may be under way.
                    os.write(console.file.fileno(), _SHOW_CURSOR)
        os._exit(self.code)


def run(main: Callable[[Stop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function as `asyncio.run` would; a signal cancels it, and raises nothing anywhere else.

    asyncio's own handling raises a KeyboardInterrupt wherever a second Ctrl-C happens to come.

    Args:
        main: Called with what tells of a signal.

    Raises:
        click.exceptions.Exit: It was cancelled, and did not see to that itself.
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
        click.echo(f"\n{stop.word}.", err=True)
        raise click.exceptions.Exit(stop.code) from None
    finally:
        if not stop.is_asked:  # else the process is about to end, and nothing is to disturb that
            for number, handler in before.items():
                signal.signal(number, handler)


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Handle signals, but those that are ignored, as in a background job; return how they were handled."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            previous = signal.getsignal(number)
            if previous not in (signal.SIG_IGN, None):
                before[number] = previous
                signal.signal(number, handler)
    return before


def deafen() -> None:
    """Let no further signal disturb the end of the process."""
    for number in _NUMBERS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
