"""Starting an operation for any number of items, as many at a time as the API takes."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import anyio

from stream_tasks._backoff import Backoff
from stream_tasks._operations import MOST_ITEMS
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_DNS_FAILURE,
    StreamApiException,
    StreamBatchException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
)

if TYPE_CHECKING:
    from stream_tasks.models import StartedTask

__all__ = ["batched_operation", "delay_after", "may_have_started", "start_batches"]

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")

PATIENCE: Final = 300.0
"""How long 429s of one batch are waited out, in seconds."""

HOLDS: Final = Backoff(1.0, 60.0)
"""How long a 429 is waited out at least, whatever it says."""

KEPT: Final = 10_000
"""Ids of started tasks that are kept for an error; no more, so that the items may be endless."""

_REQUEST_TIMEOUT: Final = 408
_FIRST_SERVER_ERROR: Final = 500

# No connection, and so nothing was sent.
_NOT_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
)

logger = logging.getLogger("stream_tasks")


def batched_operation(client: object, operation: Any) -> str:
    """Return the name of a method of this client that takes a batch of items.

    Raises:
        TypeError: It is not one of them.
    """
    name = getattr(operation, "__name__", "")
    if getattr(operation, "__self__", None) is not client or name not in MOST_ITEMS:
        allowed = ", ".join(MOST_ITEMS)
        raise TypeError(f"operation must be one of this client's methods {allowed}, not {operation!r}")
    return str(name)


async def start_batches(
    name: str,
    start: Callable[[list[I]], Coroutine[Any, Any, StartedTask[T]]],
    items: Iterable[I] | AsyncIterable[I],
) -> AsyncGenerator[StartedTask[T]]:
    """Start `name` for one batch of the items after another, each when it is asked for."""
    rest = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
    position = 0
    task_ids: deque[str] = deque(maxlen=KEPT)
    while True:
        batch: list[I] = []
        try:
            await _take(rest, MOST_ITEMS[name], batch)
        except Exception as exc:
            taken = f"; taken already: {', '.join(map(repr, batch))}" if batch else ""
            exc.add_note(f"{name}: no item from number {position + 1} on was started{taken}")
            raise
        if not batch:
            return
        try:
            started = await _start(name, start, batch)
        except StreamException as exc:
            raise StreamBatchException(
                operation=name,
                batch=batch,
                position=position,
                may_have_started=may_have_started(exc),
                task_ids=task_ids,
                reason=str(exc),
            ) from exc
        except Exception as exc:
            exc.add_note(f"{name}: no item from number {position + 1} on was started")
            raise
        position += len(batch)
        if started.task_id is not None:
            task_ids.append(started.task_id)
        yield started


async def _take(rest: Iterator[I] | AsyncIterator[I], most: int, batch: list[I]) -> None:
    """Put the next items in `batch`, none at the end; what came before an error stays there."""
    if isinstance(rest, Iterator):
        for item in islice(rest, most):
            batch.append(item)  # noqa: PERF402 - what came before an error is to stay there
        return
    while len(batch) < most:
        try:
            batch.append(await anext(rest))
        except StopAsyncIteration:
            break


async def _start(
    name: str, start: Callable[[list[I]], Coroutine[Any, Any, StartedTask[T]]], batch: list[I]
) -> StartedTask[T]:
    """Start one batch, and once more after a 429: that refuses it before anything is done.

    After no other failure, since the server may have begun, and starting twice is not starting once.
    """
    waited, refusals = 0.0, 0
    while True:
        try:
            return await start(batch)
        except StreamRateLimitException as exc:
            refusals += 1
            delay = delay_after(exc, refusals)
            if exc.unrecoverable or waited + delay > PATIENCE:
                raise
        if refusals == 1:
            logger.warning(
                "%s was refused for the rate limit, and is tried again in %.1f s",
                name,
                delay,
                extra={"stream_event": "rate_limited", "stream_operation": name, "stream_delay": delay},
            )
        await anyio.sleep(delay)
        waited += delay


def delay_after(refusal: StreamRateLimitException, refusals: int) -> float:
    """Return how long to wait after a 429, in seconds."""
    hold = refusal.hold
    quota = refusal.rate_limit
    if hold is None and quota is not None and quota.remaining <= 0:
        hold = quota.reset_in
    delay = max(hold or 0.0, HOLDS.delay(refusals))
    return delay + min(1.0, delay / 10) * random.random()  # noqa: S311 - not a secret


def may_have_started(error: StreamException) -> bool:
    """Whether the server may have done what was asked, for all that is known."""
    if isinstance(error, StreamApiException):
        return error.status_code >= _FIRST_SERVER_ERROR or error.status_code == _REQUEST_TIMEOUT
    if isinstance(error, StreamTransportException):
        is_sent = not isinstance(error.__cause__, _NOT_CONNECTED)
        return is_sent and error.error_type != TRANSPORT_ERROR_DNS_FAILURE
    return True
