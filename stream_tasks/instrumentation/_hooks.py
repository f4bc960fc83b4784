"""Who is told: the hooks of a client and those of the process."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import MethodType
from typing import Any, Final

from stream_tasks.instrumentation._events import Event, PollStarted

__all__ = ["PROCESS", "Guarded", "Hook", "add_hook", "around", "guard", "remove_hook"]

Hook = Callable[[Event], object]
"""A function of one event; what it returns is ignored."""

logger = logging.getLogger("stream_tasks")

# A hook is not a coroutine: a CancelledError out of it cancels nothing that was asked for.
_FAILURES: Final = (Exception, asyncio.CancelledError)


class Guarded:
    """A hook that cannot harm whoever calls it; its first failure is logged.

    Attributes:
        hook: The hook.
        around_poll: Its method of that name, None if it has none.
    """

    __slots__ = ("_has_failed", "around_poll", "hook")

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.around_poll: Callable[[PollStarted], AbstractContextManager[Any]] | None = getattr(
            hook, "around_poll", None
        )
        self._has_failed = False

    def guards(self, hook: Hook) -> bool:
        """Return whether this is the guard of a hook."""
        # Two hooks may be equal, as two empty lists are. A bound method is made anew each time it is named.
        return self.hook is hook or (isinstance(hook, MethodType) and self.hook == hook)

    def tell(self, event: Event) -> None:
        """Call the hook."""
        try:
            self.hook(event)
        except _FAILURES as exc:
            self.failed(exc)

    def failed(self, error: BaseException) -> None:
        """Log the first failure."""
        if self._has_failed:
            return
        self._has_failed = True
        name = getattr(self.hook, "__qualname__", type(self.hook).__qualname__)
        with contextlib.suppress(Exception):  # a filter of the log may raise, too
            logger.error(
                "the hook %s failed: further failures of it are not told",
                name,
                exc_info=error,
                extra={"stream_event": "hook_failed", "stream_hook": name},
            )


class _Process:
    """The hooks of the process.

    Invariant: `hooks` is replaced, never changed, and only under `_lock`: any thread may read it.
    """

    def __init__(self) -> None:
        self.hooks: tuple[Guarded, ...] = ()
        self._lock = threading.Lock()

    def add(self, hook: Guarded) -> None:
        """Add a hook unless it is there."""
        with self._lock:
            if not any(known.guards(hook.hook) for known in self.hooks):
                self.hooks = (*self.hooks, hook)

    def remove(self, hook: Hook) -> None:
        """Remove a hook if it is there."""
        with self._lock:
            self.hooks = tuple(known for known in self.hooks if not known.guards(hook))


PROCESS: Final = _Process()


def guard(hooks: Iterable[Hook]) -> tuple[Guarded, ...]:
    """Return the hooks of a client.

    Raises:
        TypeError: They are not functions, or are coroutine functions.
    """
    if not isinstance(hooks, Iterable):
        raise TypeError(f"hooks must be a list of functions, not {type(hooks).__name__}")
    guarded: list[Guarded] = []
    for hook in hooks:
        _check_hook("each of hooks", hook)
        if not any(known.guards(hook) for known in guarded):
            guarded.append(Guarded(hook))
    return tuple(guarded)


def add_hook(hook: Hook) -> None:
    """Let a hook be called with the events of all clients in this process, also of those that exist already.

    ``add_hook(print)``

    Args:
        hook: A function of one event. Adding it twice changes nothing.

    Raises:
        TypeError: It is not a function, or it is a coroutine function.
    """
    _check_hook("hook", hook)
    PROCESS.add(Guarded(hook))


def remove_hook(hook: Hook) -> None:
    """Let a hook that `add_hook` added be called no more; if it was not added, do nothing.

    ``remove_hook(print)``

    Args:
        hook: The function that was added.
    """
    PROCESS.remove(hook)


def _check_hook(name: str, hook: Any) -> None:
    if not callable(hook):
        raise TypeError(f"{name} must be a function of one event, not {type(hook).__name__}")
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} must be an ordinary function: nobody would await a coroutine function")


@contextlib.contextmanager
def around(hooks: Iterable[Guarded], poll: PollStarted) -> Iterator[None]:
    """Hold open what hooks put around a poll; their failures touch nothing."""
    opened: list[tuple[Guarded, AbstractContextManager[Any]]] = []
    for hook in hooks:
        if hook.around_poll is not None:
            try:
                scope = hook.around_poll(poll)
                scope.__enter__()
            except _FAILURES as exc:
                hook.failed(exc)
            else:
                opened.append((hook, scope))
    try:
        yield
    finally:
        for hook, scope in reversed(opened):
            try:
                scope.__exit__(None, None, None)
            except _FAILURES as exc:
                hook.failed(exc)
