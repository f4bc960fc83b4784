"""The progress of waits for many tasks, where people look: on a terminal, in a notebook, in a log.

::

    from stream_tasks.progress import track

    for outcome in track(client.as_completed(ids), total=len(ids)):
        ...

On a terminal it needs rich, which comes with the extra ``cli``.
"""

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Sized
from contextlib import suppress
from typing import Any, Final, TypeVar, cast, overload

from stream_tasks._arguments import check_count
from stream_tasks._origins import Origin, origin_of
from stream_tasks._view.board import Board, Ended
from stream_tasks._view.lines import Lines, Nothing
from stream_tasks._view.notebook import Notebook, is_notebook
from stream_tasks._view.text import is_terminal
from stream_tasks.exceptions import StreamException
from stream_tasks.models import Obstacle, TaskOutcome

try:
    # Now, since it takes a moment: an event loop would be held up later.
    from stream_tasks._view import screen
except ModuleNotFoundError:
    _has_rich = False
else:
    _has_rich = True

__all__ = ["track"]

T = TypeVar("T")

_UNWRITABLE: Final = (OSError, ValueError)
"""What writing to a stream raises that is broken, or closed."""

_MISSING: Final = "track needs rich, which is in the extra stream_tasks[cli]: pip install rich"

_drawing: Final = threading.Lock()
"""Two bars on one terminal would overwrite each other."""


@overload
def track(
    outcomes: AsyncIterable[TaskOutcome[T]], total: int | None = None
) -> AsyncGenerator[TaskOutcome[T]]: ...


@overload
def track(
    outcomes: Iterable[TaskOutcome[T]], total: int | None = None
) -> Generator[TaskOutcome[T], None, None]: ...


def track(
    outcomes: AsyncIterable[TaskOutcome[T]] | Iterable[TaskOutcome[T]], total: int | None = None
) -> AsyncGenerator[TaskOutcome[T]] | Generator[TaskOutcome[T], None, None]:
    """Show the progress of waits for many tasks while iterating over their outcomes.

    It shows how many are done, how many failed, when the time-out is, what holds polls back, and about how
    long the rest will take at the rate of the last minute. On a terminal, that is a bar and a table on
    stderr; what the program prints appears above them. In a Jupyter notebook, it is a table below the cell.
    Elsewhere, it is a line on stderr now and then, and one at the end.

    ::

        for outcome in track(client.as_completed(ids), total=len(ids)):
            ...
        async for outcome in track(client.as_completed(ids), total=len(ids)):
            ...

    The display ends with the loop, however it ends: by a ``break``, an exception, Ctrl-C or a cancellation.
    `outcomes` is closed then, which stops all other waits.

    Args:
        outcomes: What `as_completed` of either client returns, or any other iterable of outcomes. The
            time-out and what holds polls back are known of `as_completed` only.
        total: How many there will be; None if that is not known. The default is ``len(outcomes)`` if it has
            a length.

    Returns:
        An iterator over the same outcomes, asynchronous if `outcomes` is.

    Raises:
        ImportError: rich is missing, and this is not a notebook.
        TypeError: `outcomes` is not iterable, or yields something else; `total` is not a number.
        ValueError: `total` is negative.
    """
    if not isinstance(outcomes, AsyncIterable | Iterable):
        raise TypeError(f"outcomes must be what as_completed returns, not {type(outcomes).__name__}")
    if total is None and isinstance(outcomes, Sized):
        total = len(outcomes)
    if total is not None:
        total = check_count("total", total, least=0)
    if not _has_rich and not is_notebook():
        raise ImportError(_MISSING, name="rich")
    view = _View(origin_of(outcomes), total)
    tracked = _each_async(outcomes, view) if isinstance(outcomes, AsyncIterable) else _each(outcomes, view)
    # A generator that is dropped half-way is closed later than this, an asynchronous one by its loop.
    weakref.finalize(tracked, view.stop)
    return tracked


def _each(outcomes: Iterable[TaskOutcome[T]], view: "_View") -> Generator[TaskOutcome[T], None, None]:
    try:
        view.start(view.ask)
        for outcome in outcomes:
            view.end(outcome)
            yield outcome
        view.stop(is_over=True)
    finally:
        view.stop()
        if isinstance(outcomes, Generator):
            outcomes.close()


async def _each_async(
    outcomes: AsyncIterable[TaskOutcome[T]], view: "_View"
) -> AsyncGenerator[TaskOutcome[T]]:
    loop = asyncio.get_running_loop()
    found: list[Obstacle | None] = [None]

    def look() -> None:
        found[0] = view.ask()

    def ask() -> Obstacle | None:
        # The client of this loop can be asked in its own thread only; this is the answer of a tick before.
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(look)
        return found[0]

    try:
        view.start(ask)
        async for outcome in outcomes:
            view.end(outcome)
            yield outcome
        view.stop(is_over=True)
    finally:
        view.stop()
        if isinstance(outcomes, AsyncGenerator):
            await outcomes.aclose()


class _View:
    """Shows what is known of waits, in a thread of its own: neither a slow loop nor a slow terminal matters.

    Args:
        origin: Where the outcomes come from, if that is known.
        total: How many there will be, if that is known.
    """

    def __init__(self, origin: Origin | None, total: int | None) -> None:
        self._origin = origin
        self._total = total
        self._process = os.getpid()
        self._lock = threading.RLock()  # held while the display is used
        self._has_ended = threading.Event()
        self._display = Nothing()
        self._draws = False
        self._board: Board

    def ask(self) -> Obstacle | None:
        """Return what holds polls back, if that is known."""
        with suppress(RuntimeError, StreamException):  # the client is closed
            return None if self._origin is None else cast("Obstacle | None", self._origin.client.obstacle)
        return None

    def start(self, ask: Callable[[], Obstacle | None]) -> None:
        """Begin to show; `ask` tells what holds polls back."""
        board = self._board = Board((), self._origin and self._origin.timeout, self._total)
        board.tick(None)
        with self._lock, suppress(*_UNWRITABLE):
            self._display = self._choose_display()
            self._display.__enter__()
        with suppress(RuntimeError):  # no more threads can be started
            threading.Thread(target=self._run, args=(ask,), name="stream_tasks progress", daemon=True).start()

    def _choose_display(self) -> Nothing:
        if is_notebook():
            return Notebook(self._board)
        console = screen.SharedConsole(self._lock)
        is_free = screen.is_live(console) and screen.is_apart(as_json=False)
        self._draws = is_free and _drawing.acquire(blocking=False)
        if self._draws:
            return screen.Screen(self._board, console, takes_stdout=is_terminal(sys.stdout))
        return Lines(self._board, lambda line, _: _write(line))

    def _run(self, ask: Callable[[], Obstacle | None]) -> None:
        while not self._has_ended.wait(self._display.every):
            self._board.tick(ask())
            with self._lock:
                if not self._has_ended.is_set():
                    self._tick()

    def _tick(self) -> None:
        try:
            self._display.tick()
        except _UNWRITABLE:
            self.stop()

    def end(self, outcome: TaskOutcome[Any]) -> None:
        """Note an outcome.

        Raises:
            TypeError: It is something else.
        """
        if not isinstance(outcome, TaskOutcome):
            raise TypeError(
                f"outcomes must yield TaskOutcome, as as_completed does, not {type(outcome).__name__}"
            )
        self._board.end(Ended.of(outcome))

    def stop(self, *, is_over: bool = False) -> None:
        """Show nothing any more; in a forked child, leave the terminal to the parent.

        Args:
            is_over: Whether all outcomes have come.
        """
        if self._has_ended.is_set() or os.getpid() != self._process:
            return
        self._has_ended.set()
        with self._lock, suppress(*_UNWRITABLE):
            display, self._display = self._display, Nothing()
            try:
                display.__exit__()
            finally:
                if self._draws:
                    _drawing.release()
            if is_over and not isinstance(display, Notebook):
                _write(self._board.end_line)


def _write(line: str) -> None:
    # It is looked up each time: rich replaces it while it draws.
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
