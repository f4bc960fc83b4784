"""Where the engine's coroutine sleeps."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Alarm"]


class Alarm:
    """Where the engine's coroutine sleeps: until a time, unless it is woken earlier.

    Invariants: there is one coroutine at a time. `until` is when its sleep ends, minus infinity while it is
    awake or about to wake.
    """

    __slots__ = ("_event", "_runner", "until")

    def __init__(self) -> None:
        self._runner: asyncio.Task[None] | None = None
        self._event: anyio.Event | None = None
        self.until = -math.inf

    @property
    def is_running(self) -> bool:
        """Whether the coroutine has been started and has not ended."""
        return self._runner is not None and not self._runner.done()

    def start(self, run: Coroutine[Any, Any, None]) -> None:
        """Start the coroutine, without the context variables of the call that happens to be first."""
        self._runner = Context().run(asyncio.get_running_loop().create_task, run)

    def stop(self) -> asyncio.Task[None] | None:
        """Cancel the coroutine; return what has to unwind."""
        runner, self._runner, self.until = self._runner, None, -math.inf
        if runner is not None:
            runner.cancel()
        return runner

    async def sleep(self, now: float, until: float) -> None:
        """Sleep until a time of the loop, or until `ring`."""
        if self._event is None or self._event.is_set():
            self._event = anyio.Event()
        self.until = until
        with anyio.move_on_after(until - now):
            await self._event.wait()
        self.until = -math.inf

    def ring(self) -> None:
        """End the sleep."""
        self.until = -math.inf
        if self._event is not None:
            self._event.set()
