"""What a call does: wait for one task, follow one, wait for many. All receive what happens by an inbox."""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.sighting import UNKNOWN
from stream_tasks._engine.tracked import Wait
from stream_tasks.models import Task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from stream_tasks._engine.engine import Engine
    from stream_tasks._engine.poll import Key
    from stream_tasks._engine.sighting import Origin
    from stream_tasks._engine.tracked import Terms

    OnEnd = Callable[[Wait], Awaitable[object] | None]
    OnUpdate = Callable[[Task], object]

__all__ = ["follow", "tell", "wait_for_all", "wait_for_end"]


async def wait_for_end(
    engine: Engine,
    key: Key,
    terms: Terms,
    on_update: OnUpdate | None = None,
    origin: Origin = UNKNOWN,
) -> Task:
    """Wait for a task's end.

    Returns:
        The final snapshot.

    Raises:
        StreamWaitTimeoutException: The deadline came first.
        StreamException: A poll failed for good.
    """
    turn = engine.beginnings.turn(terms.deadline)
    moment = terms.started if turn is None else await turn
    inbox = Inbox(engine, wants_updates=on_update is not None)
    wait = Wait(key, terms, inbox, origin)
    try:
        await inbox.begin(wait, moment)
        while (event := await inbox.next()) is not wait:
            if isinstance(event, Task) and engine.now() < wait.terms.deadline:
                await tell(on_update, event, wait.terms.deadline)
    finally:
        await inbox.close()
    return wait.final()


async def follow(engine: Engine, key: Key, terms: Terms, origin: Origin = UNKNOWN) -> AsyncGenerator[Task]:
    """Yield each new snapshot, the final one last; raises as `wait_for_end` does."""
    turn = engine.beginnings.turn(terms.deadline)
    moment = terms.started if turn is None else await turn
    inbox = Inbox(engine, wants_updates=True)
    wait = Wait(key, terms, inbox, origin)
    try:
        await inbox.begin(wait, moment)
        while (event := await inbox.next()) is not wait:
            if isinstance(event, Task):
                yield event
    finally:
        await inbox.close()
    wait.final()


async def wait_for_all(
    inbox: Inbox,
    waits: Iterator[Wait],
    deadline: float,
    on_end: OnEnd,
    on_update: OnUpdate | None = None,
) -> None:
    """Begin many waits some at a time, and pass on what happens to them until all have ended.

    The whole call has one deadline. It cuts `on_update`, but not what `on_end` returns.

    Args:
        inbox: What the waits tell.
        waits: The waits, which are made as they begin.
        deadline: When the call ends, on the loop's clock.
        on_end: Called with each wait that has ended; what it returns is awaited.
        on_update: Called with each new snapshot.
    """
    now = asyncio.get_running_loop().time
    moment = deadline  # unless it comes while this sleeps, and is noticed later
    while now() < deadline:
        pending = None
        scope: anyio.CancelScope | None = None
        try:
            with anyio.fail_after(None if deadline == math.inf else deadline - now()) as scope:
                pending = await _pass_on(inbox, waits, deadline, on_end, on_update)
        except TimeoutError:
            if scope is None or not scope.cancelled_caught:
                raise  # out of a callback
            moment = now()
        if pending is None:
            break
        await pending
    await _run_out(inbox, waits, moment, on_end)


async def _pass_on(
    inbox: Inbox, waits: Iterator[Wait], deadline: float, on_end: OnEnd, on_update: OnUpdate | None
) -> Awaitable[object] | None:
    """Begin waits and pass on what happens, until all have ended or the deadline has come.

    Returns:
        What `on_end` wants to be awaited before this goes on.
    """
    now = asyncio.get_running_loop().time
    while now() < deadline:
        if inbox.add_some(waits):
            await anyio.lowlevel.checkpoint()
        elif not inbox:
            return None
        else:
            event = await inbox.take()
            if isinstance(event, Task):
                await tell(on_update, event)
            elif event is not None and (pending := on_end(event)) is not None:
                return pending
    return None


async def _run_out(inbox: Inbox, waits: Iterator[Wait], moment: float, on_end: OnEnd) -> None:
    """End what is left after the deadline, one wait after another, those that have not begun, too."""
    inbox.elapse(moment)
    while True:
        if not inbox:
            wait = next(waits, None)
            if wait is None:
                return
            inbox.add(wait, moment)
        event = await inbox.next()
        if isinstance(event, Wait) and (pending := on_end(event)) is not None:
            await pending


async def tell(callback: Callable[[Any], object] | None, news: Any, until: float = math.inf) -> None:
    """Call back, and await what that returns, at most until a time of the loop."""
    if callback is not None:
        pending = callback(news)
        if inspect.isawaitable(pending):
            with anyio.CancelScope(deadline=until):
                await pending
