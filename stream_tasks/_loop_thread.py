"""A private event loop in a daemon thread, for code that blocks."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import math
import os
import queue
import selectors
import sys
import threading
import weakref
from concurrent.futures import thread as pools
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, TypeVarTuple, cast

from stream_tasks import _green, _sharing
from stream_tasks._clock import real_clock
from stream_tasks.exceptions import TRANSPORT_ERROR_UNKNOWN, StreamTransportException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor
    from types import FrameType

__all__ = ["LoopThread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Not wherever it is installed: a process that has used it cannot fork, since the child crashes as it exits.
UVLOOP_VARIABLE: Final = "STREAM_UVLOOP"

_PATIENCE: Final = 0.5
"""For how long whoever closes in passing waits for the loop to end, in seconds."""

_GLANCE: Final = 0.2
"""How often a pool's thread looks whether its pool is being shut down, in seconds."""

_WORKER: Final = pools._worker.__code__  # noqa: SLF001
_SHUTDOWN: Final = pools.ThreadPoolExecutor.shutdown.__code__
# uvloop's own functions have no frames: there, the thread's is the next one.
_LOOPS_SHUTDOWN: Final = (asyncio.BaseEventLoop._do_shutdown.__code__, threading.Thread.run.__code__)  # type: ignore[attr-defined]  # noqa: SLF001

_all: weakref.WeakSet[LoopThread] = weakref.WeakSet()
_left_to_the_parent: list[Any] = []
_is_ending = False  # the interpreter
_is_forked_by_a_thread = False
_watcher: threading.Thread | None = None


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that a forked child can let go of without touching what the parent uses.

    Its time passes also where a test has frozen `time.monotonic`.
    """

    time = staticmethod(real_clock())

    def __init__(self) -> None:
        self._is_left = True  # should making it fail
        self._files = selectors.DefaultSelector()
        super().__init__(self._files)
        self._is_left = False
        # In debug mode asyncio complains of slow callbacks, of which the user of this loop has none.
        self.slow_callback_duration = math.inf

    def share_thread(self) -> _green.Turns:
        """Let other loops of this thread, which is a greenlet, have their turns."""
        turns = _green.Turns(self._files.select)
        self._files.select = turns.select  # type: ignore[method-assign]
        return turns

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

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Look up names in daemon threads: the interpreter would not end before those of a pool."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        answer = self.create_future()

        def work() -> None:
            try:
                tell = functools.partial(_settle, answer, func(*args))
            except BaseException as exc:  # noqa: BLE001 - it is raised on the loop
                tell = functools.partial(_fail, answer, exc)
            with contextlib.suppress(RuntimeError):  # the loop may have been closed
                self.call_soon_threadsafe(tell)

        threading.Thread(target=work, name="stream_tasks-lookup", daemon=True).start()
        return answer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_left:  # pragma: no branch - the last words of a process, after coverage's
            super().call_exception_handler(context)


class _Call(Generic[T]):
    """A coroutine that a thread waits for; what is a method here happens on the loop."""

    def __init__(self, function: Callable[[], Awaitable[T]], events: queue.SimpleQueue[Any]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.events = events
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[T] | None = None
        self.is_over = False

    def start(self) -> None:
        if not self.is_over:
            self.task = self._context.run(asyncio.get_running_loop().create_task, self._run())
            self.task.add_done_callback(self._end)

    async def _run(self) -> T:
        return await self._function()

    def withdraw(self) -> None:
        if self.task is None:
            self._end()
        else:
            self.task.cancel()

    def _end(self, task: asyncio.Task[T] | None = None) -> None:
        if task is not None and not task.cancelled():
            task.exception()  # else asyncio would say that nobody looked, where an interrupt has come between
        self.is_over = True
        self.events.put(self)


class LoopThread:
    """Runs coroutines for callers in other threads; the thread begins with the first of them.

    A caller that is interrupted, by Ctrl-C or by anything else that a signal handler raises, has its
    coroutine cancelled and unwound first; a second interrupt breaks even that.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close what its thread is about to call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._place = _green.Place()
        self.is_closed = self._is_exiting = _is_ending
        _all.add(self)

    def run(
        self,
        function: Callable[[], Awaitable[T]],
        calls: queue.SimpleQueue[Any] | None = None,
        *,
        is_quick: bool = False,
    ) -> T:
        """Run a coroutine to its end.

        Args:
            function: Makes the coroutine, on the loop; both see the caller's context variables.
            calls: Where it puts what is to be called in the caller's thread, see `in_caller`.
            is_quick: Whether it waits for nothing, so that an event loop of the caller's may bear it.

        Raises:
            RuntimeError: The client is closed, or this is the loop's own thread.
            SystemExit: The interpreter is ending, or the event loop whose pool this thread belongs to:
                the thread ends with it, and prints nothing.
        """
        if not is_quick:
            _sharing.warn_of_running_loop()
        call = _Call(function, _green.new_queue() if calls is None else calls)
        try:
            self._offer(call)
            self._attend(call)
        except BaseException:
            if call.loop is not None and call.loop is self._loop:
                self._withdraw(call, call.loop)
            raise
        return self._result(cast("asyncio.Task[T]", call.task))

    def in_caller(self, function: Any, calls: queue.SimpleQueue[Any]) -> Any:
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

    def pull_in_caller(
        self, pull: Callable[[], T], calls: queue.SimpleQueue[Any]
    ) -> Callable[[], Awaitable[T]]:
        """Make a coroutine function that pulls from a caller's iterable, as `in_caller` does.

        What that raises comes out of the coroutine, in its turn with what else happens there; an
        interrupt unwinds the call.
        """

        def attempt() -> tuple[T, None] | tuple[None, Exception]:
            try:
                return pull(), None
            except Exception as exc:  # noqa: BLE001 - it is raised on the loop
                return None, exc

        attempt_there = self.in_caller(attempt, calls)

        async def call() -> T:
            pulled, error = await attempt_there()
            if error is not None:
                raise error
            return cast("T", pulled)

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

    def close(self, limit: float | None = None) -> None:
        """Stop the loop and wait for its thread; all calls under way are cancelled. Twice is fine.

        Args:
            limit: The longest wait, in seconds.
        """
        with self._lock:
            if self._loop is not None and not self.is_closed:
                self._post(self._loop.stop)
            self.is_closed = True
        self._join(limit)

    def _join(self, limit: float | None = None) -> None:
        if self._thread is not None and not self.is_current():
            self._thread.join(limit)

    def _offer(self, call: _Call[Any]) -> None:
        """Start a call on the loop, which this starts if need be."""
        if self.is_current():
            raise RuntimeError(
                "the blocking client was called from its own event loop's thread, where it would wait"
                " for itself; use AsyncStream there"
            )
        # Under the lock, so that what has begun is there to be cancelled when the loop is stopped.
        with self._lock:
            if self.is_closed:
                raise self._closed()
            if self._loop is not None:
                self._place.check()
            is_there = self._place.interrupt is None
            call.loop = (self._loop if is_there else None) or self._begin()
            call.loop.call_soon_threadsafe(call.start)

    def _attend(self, call: _Call[Any]) -> None:
        """Return when a call is over; until then do what it wants done in this thread."""
        glance = _GLANCE if _is_of_a_pool() else None
        while True:
            try:
                event = call.events.get(timeout=glance)
            except queue.Empty:
                if _is_abandoned():
                    raise SystemExit("the event loop in whose pool this call waited is ending") from None
                continue
            if event is call:
                return
            event()
            if call.loop is not self._loop:
                raise RuntimeError("this call goes on in the parent process, not in its forked child")

    def _begin(self) -> asyncio.AbstractEventLoop:
        """Start the loop's thread; an interrupt leaves all of it, or nothing."""
        if _is_forked_by_a_thread:
            _watch_main_thread()
        made: queue.SimpleQueue[asyncio.AbstractEventLoop | Exception] = _green.new_queue()
        is_wanted: queue.SimpleQueue[bool] = _green.new_queue()
        place = _green.Place()
        serve = functools.partial(_serve, made, is_wanted, place)
        thread = threading.Thread(target=serve, name="stream_tasks", daemon=True)
        loop: asyncio.AbstractEventLoop | Exception | None = None
        try:
            thread.start()
            loop = made.get()
            if isinstance(loop, Exception):
                raise loop  # noqa: TRY301 - what has begun is undone alike
            self._loop, self._thread, self._place = loop, thread, place
            is_wanted.put(True)
        except BaseException:
            self._loop = self._thread = None
            is_wanted.put(False)
            if isinstance(loop, asyncio.AbstractEventLoop):
                with contextlib.suppress(RuntimeError):  # it was not wanted, and is closed
                    loop.call_soon_threadsafe(loop.stop)
            raise
        return loop

    def _withdraw(self, call: _Call[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Cancel a call that is no longer waited for, however far it has come, and wait for its end."""
        with self._lock:
            if is_open := not self.is_closed:
                with contextlib.suppress(RuntimeError):  # an interrupt may have ended it
                    loop.call_soon_threadsafe(call.withdraw)
        # The interrupt may have come with the end, which then is not told again.
        while is_open and not call.is_over and self._place.interrupt is None:
            call.events.get()
        if not is_open:
            self._join()

    def _result(self, task: asyncio.Task[T]) -> T:
        if not task.cancelled():
            return task.result()
        if self._place.interrupt is not None:
            raise self._place.interrupt
        if self._is_exiting:
            raise self._closed()
        raise StreamTransportException(TRANSPORT_ERROR_UNKNOWN, "the client was closed during this call")

    def _closed(self) -> BaseException:
        """Return what a call to a closed client raises."""
        if self._is_exiting and threading.current_thread() is not threading.main_thread():
            # Threads print nothing of it, and those that try again after any error end with it.
            return _green.farewell()
        return RuntimeError("this client is closed")

    def exit(self, *_: object) -> None:
        """Close because the interpreter ends, or the client is collected: that must not hang on anything."""
        self._is_exiting = True
        self.close(_PATIENCE)

    def _forget(self) -> None:
        """Begin anew in a forked child; what the parent uses is kept, but not touched."""
        if self._loop is not None:
            if isinstance(self._loop, _Loop):  # uvloop's cannot
                self._loop.leave()
            _left_to_the_parent.append((self._loop, self._thread))
        self._loop = self._thread = None
        self._lock = threading.RLock()


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop: asyncio's, or uvloop's where the environment asks for that.

    Raises:
        ImportError: It is asked for, but not installed.
    """
    if os.environ.get(UVLOOP_VARIABLE, "0") != "1":
        return _Loop()
    import uvloop  # noqa: PLC0415 - an extra

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _serve(
    made: queue.SimpleQueue[asyncio.AbstractEventLoop | Exception],
    is_wanted: queue.SimpleQueue[bool],
    place: _green.Place,
) -> None:
    # Made in this thread, where no interrupt can leave half a loop.
    try:
        loop, turns = _shared_loop() if place.is_green else (new_loop(), contextlib.nullcontext())
    except Exception as exc:  # noqa: BLE001 - it is raised where the loop is wanted
        made.put(exc)
        return
    made.put(loop)
    try:
        if is_wanted.get():
            with turns:
                _run(loop, place)
    finally:
        loop.close()


def _shared_loop() -> tuple[asyncio.AbstractEventLoop, contextlib.AbstractContextManager[None]]:
    """Make a loop for a greenlet; uvloop's would let no other greenlet run."""
    loop = _Loop()
    return loop, loop.share_thread()


def _run(loop: asyncio.AbstractEventLoop, place: _green.Place) -> None:
    """Run a loop until it is stopped, and then what is left on it to its end."""
    try:
        loop.run_forever()
    except (KeyboardInterrupt, SystemExit) as exc:
        # Signal handlers run in whichever greenlet does; all who wait are told.
        place.interrupt = exc
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.wait(pending))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _is_of_a_pool() -> bool:
    """Whether this is a thread of a `ThreadPoolExecutor`, which registers it only after its start."""
    place: FrameType | None = sys._getframe()  # noqa: SLF001 - documented, despite its name
    while place is not None and place.f_code is not _WORKER:
        place = place.f_back
    return place is not None


def _is_abandoned() -> bool:
    """Whether an event loop that ends waits for this thread, which is of its pool.

    Whatever awaited this call has been cancelled by then. Others who shut a pool down wait for results.
    """
    this = threading.current_thread()
    for frame in sys._current_frames().values():  # noqa: SLF001 - documented, despite its name
        place: FrameType | None = frame
        while place is not None and place.f_code is not _SHUTDOWN:
            place = place.f_back
        if place is not None and _is_a_loops(place) and this in place.f_locals["self"]._threads:  # noqa: SLF001
            return True
    return False


def _is_a_loops(shutdown: FrameType) -> bool:
    """Whether an event loop shuts a pool down here."""
    caller = shutdown.f_back
    return caller is not None and caller.f_code in _LOOPS_SHUTDOWN


def _at_end() -> None:
    """End all calls, before the interpreter joins the threads that wait for them."""
    global _is_ending  # noqa: PLW0603 - one for the process
    _is_ending = True
    for runner in list(_all):
        runner.exit()


# Functions that are registered last are called first, and importing `pools` has registered the one that
# joins the threads of all pools. `atexit` would be too late: all threads are joined before.
getattr(threading, "_register_atexit", atexit.register)(_at_end)


def _watch_main_thread() -> None:
    """End all calls with the main thread.

    In a child that was forked by another thread, that thread is it, and no interpreter ends after it.
    """
    global _watcher  # noqa: PLW0603 - one for the process
    # An interrupt may come between making and starting it; what has not begun is made anew.
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_at_main_thread_end, name="stream_tasks-exit", daemon=True)
        _watcher.start()


def _at_main_thread_end() -> None:
    threading.main_thread().join()
    _at_end()


def _after_fork() -> None:
    global _is_forked_by_a_thread, _watcher  # noqa: PLW0603 - as above
    main_thread: object = threading.main_thread()
    _is_forked_by_a_thread = not isinstance(main_thread, threading._MainThread)  # type: ignore[attr-defined]  # noqa: SLF001
    _watcher = None
    for runner in list(_all):
        runner._forget()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_after_fork)
