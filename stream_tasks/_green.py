"""Greenlets in place of threads, as gevent and eventlet make them: several event loops share a thread."""

from __future__ import annotations

import _queue
import _thread
import asyncio
import queue
import sys
import threading
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Place", "Turns", "farewell", "new_queue"]

Select: TypeAlias = "Callable[[float | None], list[Any]]"


def is_green() -> bool:
    """Whether new threads are greenlets."""
    return not isinstance(_thread.start_new_thread, BuiltinFunctionType)


def new_queue() -> queue.SimpleQueue[Any]:
    """Make a queue for threads or greenlets; gevent replaces queues even where threads are left alone."""
    return queue.SimpleQueue() if is_green() else _queue.SimpleQueue()


class Place:
    """Where a loop is begun.

    Attributes:
        is_green: Whether it is in a greenlet of the same thread.
        interrupt: What a signal handler, or a handler of the log, has ended the loop by.
    """

    def __init__(self) -> None:
        self.is_green = is_green()
        self.interrupt: BaseException | None = None
        self._thread = threading.get_native_id()

    def check(self) -> None:
        """Check that the loop can be reached from here.

        Raises:
            RuntimeError: It cannot.
        """
        if self.is_green is not is_green():
            raise RuntimeError(
                "threads have been replaced by greenlets after this client was first used; let gevent or"
                " eventlet patch Python before anything else is imported"
            )
        if self.is_green and self._thread != threading.get_native_id():
            raise RuntimeError(
                "this client was first used in another thread, whose greenlets alone can use it, since gevent"
                " or eventlet have replaced threads by greenlets; make one client for each such thread"
            )


class _State(NamedTuple):
    """What asyncio keeps for each thread."""

    loop: asyncio.AbstractEventLoop | None
    task: asyncio.Task[Any] | None
    hooks: Any


class Turns:
    """Lets a loop take turns with others of its thread: as a context, while it runs.

    Another loop may be in the middle of a task, whose greenlet is blocked there.
    """

    def __init__(self, select: Select) -> None:
        self._select = select
        self._theirs = self._ours = _State(None, None, (None, None))

    def __enter__(self) -> None:
        self._theirs = _put_aside()

    def __exit__(self, *_: object) -> None:
        _put_back(self._theirs)

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for files, and let others run meanwhile."""
        self._ours = _put_aside()
        _put_back(self._theirs)
        try:
            return self._select(timeout)
        finally:
            self._theirs = _put_aside()
            _put_back(self._ours)


def _put_aside() -> _State:
    loop = asyncio._get_running_loop()  # noqa: SLF001 - documented for those who write event loops
    task = None if loop is None else asyncio.current_task(loop)
    if task is not None:
        asyncio._leave_task(loop, task)  # type: ignore[arg-type]  # noqa: SLF001 - likewise
    asyncio._set_running_loop(None)  # noqa: SLF001 - likewise
    return _State(loop, task, sys.get_asyncgen_hooks())


def _put_back(state: _State) -> None:
    asyncio._set_running_loop(state.loop)  # noqa: SLF001 - likewise
    if state.task is not None:
        asyncio._enter_task(state.loop, state.task)  # type: ignore[arg-type]  # noqa: SLF001 - likewise
    sys.set_asyncgen_hooks(*state.hooks)


def farewell() -> BaseException:
    """Return what ends this thread, or greenlet, without a word."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None or greenlet.getcurrent().parent is None or _is_of_threading():
        return SystemExit()
    error: BaseException = greenlet.GreenletExit()
    return error


def _is_of_threading() -> bool:
    """Whether `threading` has started this, rather than the bare function under it."""
    this: object = threading.current_thread()
    return isinstance(this, threading.Thread) and not isinstance(this, threading._DummyThread)  # noqa: SLF001
