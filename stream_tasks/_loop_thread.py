"""A private event loop in a daemon thread, for code that blocks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import selectors
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from stream_tasks.exceptions import TRANSPORT_ERROR_UNKNOWN, StreamTransportException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["LoopThread"]

T = TypeVar("T")

_all: weakref.WeakSet[LoopThread] = weakref.WeakSet()
_left_to_the_parent: list[Any] = []


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that a forked child can let go of without touching what the parent uses."""

    def __init__(self) -> None:
        self._is_left = False
        self._files = selectors.DefaultSelector()
        super().__init__(self._files)

    def leave(self) -> None:
        """Point all its files at nothing: whatever is collected here then reaches no socket of the parent."""
        self._is_left = True
        nothing = os.open(os.devnull, os.O_RDWR)
        files = [key.fd for key in self._files.get_map().values()]
        if hasattr(selectors, "EpollSelector"):  # pragma: no branch - on Linux
            # Parent and child share what it watches; a kqueue is not inherited.
            files.append(self._files.fileno())
        for file in files:
            os.dup2(nothing, file, inheritable=False)
        os.close(nothing)

    def is_closed(self) -> bool:
        return self._is_left or super().is_closed()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_left:  # pragma: no branch - the last words of a process, after coverage's
            super().call_exception_handler(context)


class LoopThread:
    """Runs coroutines for callers in other threads; the thread begins with the first of them.

    A caller that is interrupted, by Ctrl-C or by anything else that a signal handler raises, has its
    coroutine cancelled and unwound first; a second interrupt breaks even that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.is_closed = False
        self._is_exiting = False
        _all.add(self)

    def run(self, work: Coroutine[Any, Any, T], calls: SimpleQueue[Any] | None = None) -> T:
        """Run a coroutine to its end.

        Args:
            work: The coroutine; it sees the caller's context variables.
            calls: Where it puts what is to be called in the caller's thread, see `in_caller`.

        Raises:
            RuntimeError: The client is closed, or this is the loop's own thread.
        """
        events: SimpleQueue[Any] = SimpleQueue() if calls is None else calls
        context = contextvars.copy_context()
        tasks: list[asyncio.Task[T]] = []

        def start(loop: asyncio.AbstractEventLoop) -> None:
            task = loop.create_task(work, context=context)
            tasks.append(task)
            task.add_done_callback(events.put)

        try:
            self._begin(start)
        except BaseException:
            work.close()
            raise
        try:
            while (event := events.get()) not in tasks:
                event()
        except BaseException:
            self._post(lambda: tasks[0].cancel())  # noqa: PLW0108 - there may be none yet
            # The interrupt may have come with the end, which then is not told again.
            while not (tasks and tasks[0].done()):
                events.get()
            _ = tasks[0].cancelled() or tasks[0].exception()  # else asyncio would say that nobody looked
            raise
        if not tasks[0].cancelled():
            return tasks[0].result()
        if self._is_exiting:
            # This thread goes with the interpreter, and threading prints nothing of that.
            raise SystemExit
        raise StreamTransportException(TRANSPORT_ERROR_UNKNOWN, "the client was closed during this call")

    def in_caller(self, function: Any, calls: SimpleQueue[Any]) -> Any:
        """Make a coroutine function that calls `function` in the thread that called `run`.

        What cannot be called stays what it is: None, or something that the client will refuse.
        """
        if not callable(function):
            return function

        async def call(*args: Any) -> Any:
            loop = asyncio.get_running_loop()
            answer = loop.create_future()

            def there() -> None:
                result = function(*args)
                if asyncio.iscoroutine(result):
                    result.close()
                    raise TypeError("a callback of the blocking client must not be a coroutine function")
                self._post(_settle, answer, result)

            calls.put(there)
            return await answer

        return call

    def schedule(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run what `function` makes without waiting for it, if the loop is still there."""
        if not self.is_closed:
            self._post(lambda: asyncio.ensure_future(function()))

    def _post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call something on the loop, unless that has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(callback, *args)

    def is_current(self) -> bool:
        """Whether this is the loop's own thread."""
        return self._thread is threading.current_thread()

    def close(self) -> None:
        """Stop the loop and wait for its thread; all calls under way are cancelled. Twice is fine."""
        with self._lock:
            was_closed, self.is_closed = self.is_closed, True
        if self._loop is None or self._thread is None:
            return
        if not was_closed:
            self._post(self._loop.stop)
        if not self.is_current():
            self._thread.join()

    def _begin(self, start: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        """Call `start` on the loop, which this starts if need be."""
        if self.is_current():
            raise RuntimeError(
                "the blocking client was called from its own event loop's thread, where it would wait"
                " for itself; use AsyncStream there"
            )
        # Under the lock, so that what has begun is there to be cancelled when the loop is stopped.
        with self._lock:
            if self.is_closed:
                raise RuntimeError("this client is closed")
            if self._loop is None:
                self._loop = new_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="stream_tasks", daemon=True
                )
                self._thread.start()
                _watch_main_thread()
            self._loop.call_soon_threadsafe(start, self._loop)

    def exit(self) -> None:
        """Close because the interpreter ends: no wait may keep it alive."""
        self._is_exiting = True
        self.close()

    def _forget(self) -> None:
        """Begin anew in a forked child; what the parent uses is kept, but not touched."""
        if self._loop is not None:
            if isinstance(self._loop, _Loop):  # pragma: no branch - uvloop's cannot
                self._loop.leave()
            _left_to_the_parent.append((self._loop, self._thread))
        self._loop = self._thread = None
        self._lock = threading.Lock()


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop: uvloop's, if that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return _Loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.wait(pending))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


_watcher: threading.Thread | None = None


def _watch_main_thread() -> None:
    global _watcher  # noqa: PLW0603 - one for the process
    if _watcher is None:
        _watcher = threading.Thread(target=_at_main_thread_end, name="stream_tasks-exit", daemon=True)
        _watcher.start()


def _at_main_thread_end() -> None:
    # Before atexit, the interpreter joins all threads: waits in them must end first.
    threading.main_thread().join()
    for runner in list(_all):
        runner.exit()


def _after_fork() -> None:
    global _watcher  # noqa: PLW0603 - as above
    _watcher = None
    for runner in list(_all):
        runner._forget()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)
