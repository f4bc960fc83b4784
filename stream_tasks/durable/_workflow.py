"""The workflow of a durable wait: intend, start, wait, handle. DBOS keeps each step once it is done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, cast

from dbos import DBOS

from stream_tasks._backoff import Backoff
from stream_tasks._batches import delay_after, may_have_started
from stream_tasks.durable._database import WORKFLOW
from stream_tasks.durable._ends import TaskEnd, end_of, failed_record, record_of, started_in, started_record
from stream_tasks.exceptions import StreamException, StreamRateLimitException

if TYPE_CHECKING:
    from stream_tasks._client import AsyncStream

__all__ = ["Handler", "Life", "enter", "leave"]

Handler = Callable[[TaskEnd[Any]], Any]

STARTS: Final = 32
"""Operations that are being started at a time; after a 429 no more than these are tried again."""

RETRIES: Final = Backoff(1.0, 300.0)
"""How long to wait before a handler that raised is called again."""

HANDLER_THREADS: Final = 32

logger = logging.getLogger("stream_tasks")

_current: Life | None = None  # one a process, as DBOS is


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def _workflow(ask: dict[str, Any]) -> None:
    await cast("Life", _current).run(str(DBOS.workflow_id), ask)


def enter(life: Life) -> None:
    """Let workflows run in a life.

    Raises:
        RuntimeError: They run in another one.
    """
    global _current  # noqa: PLW0603 - see there
    if _current is not None:
        raise RuntimeError("this process runs durable waits already: one DurableWaits a process")
    _current = life
    logging.getLogger("dbos").addFilter(_is_worth_telling)


def leave() -> None:
    """Let no workflow run."""
    global _current  # noqa: PLW0603 - see there
    _current = None
    logging.getLogger("dbos").removeFilter(_is_worth_telling)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Leave out the two warnings with which DBOS tells of each workflow that is left."""
    return not record.getMessage().startswith("Asyncio task cancelled for workflow or step")


class Life:
    """What a worker does from its start to its end.

    A workflow that is left has its asyncio task cancelled. DBOS takes no note of that: the wait stays
    pending, and another life goes on with it.

    Args:
        stream: The client that starts and waits.
        handlers: The handlers, by name.
    """

    def __init__(self, stream: AsyncStream, handlers: Mapping[str, Handler]) -> None:
        self._stream = stream
        self._handlers = handlers
        self._nonce = uuid.uuid4().hex
        self._spent: set[str] = set()
        self._is_ending = False
        self._turns = asyncio.Semaphore(STARTS)
        # The workflows that run, and those of them that can be left at any moment.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle: dict[str, asyncio.Task[Any]] = {}
        self._threads = ThreadPoolExecutor(HANDLER_THREADS, thread_name_prefix="stream-tasks-handler")

    async def end(self, grace: float) -> None:
        """Leave all workflows: at once those that wait, in up to `grace` seconds those that do something."""
        self._is_ending = True
        self.leave_waits(list(self._idle))
        deadline = time.monotonic() + grace
        while self._tasks and time.monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=deadline - time.monotonic())
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)

    def leave_waits(self, keys: list[str]) -> None:
        """Leave workflows that wait; they go on in another life unless they were cancelled."""
        for key in keys:
            if key in self._idle:
                self._idle[key].cancel()

    async def run(self, key: str, ask: Mapping[str, Any]) -> None:
        """Run a workflow."""
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # it runs in one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)  # when DBOS has noted the workflow's end, too
        begun = {"started": ask["started"]} if ask["call"] is None else await self._begin(key, ask)
        record = begun.get("end")
        if record is None:
            record = (await _step("wait", self._wait, key, ask, begun["started"]))["end"]
        if ask["handler"] is not None:
            await _step("handle", self._handle, ask, end_of(key, ask, begun.get("started"), record))

    async def _begin(self, key: str, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Start the operation, and return what was started, or how it ended."""
        async with self._turn(key):
            while True:
                nonce = await _step("intend", self._intend)
                begun: dict[str, Any] = await _step("start", self._start, ask, nonce)
                self._spent.discard(nonce)  # the step is kept now, and will not run again
                if "retry_at" not in begun:
                    return begun
                # Refused, and so not started: another life may try, too.
                with self._leavable(key):
                    await asyncio.sleep(max(0.0, begun["retry_at"] - time.time()))

    async def _intend(self) -> str:
        """Return what only a start in this life knows, and only one of them."""
        return f"{self._nonce}-{uuid.uuid4().hex}"

    async def _start(self, ask: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Start the operation, unless that may have been done with this nonce before."""
        name, deadline = ask["operation"], ask["deadline"]
        if nonce in self._spent or not nonce.startswith(self._nonce):
            why = f"the worker ended while it started {name}, which may or may not have been started"
            return {"end": failed_record("UncertainStart", why, may_have_started=True)}
        if deadline is not None and time.time() >= deadline:
            why = f"the time-out had passed before {name} could be started"
            return {"end": failed_record("StreamWaitTimeoutException", why, status="timed_out")}
        self._spent.add(nonce)
        try:
            started = await getattr(self._stream, name)(**ask["call"])
        except StreamRateLimitException as exc:
            retry_at = time.time() + delay_after(exc, 1)
            if not exc.unrecoverable and (deadline is None or retry_at < deadline):
                return {"retry_at": retry_at}
            return {"end": failed_record(type(exc).__name__, str(exc))}
        except Exception as exc:  # noqa: BLE001 - whatever it is, the handler is told
            fate = not isinstance(exc, StreamException) or may_have_started(exc)
            return {"end": failed_record(type(exc).__name__, str(exc), may_have_started=fate)}
        return {"started": started_record(started)}

    async def _wait(self, key: str, ask: Mapping[str, Any], started: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for the task, until the deadline that was set when the wait was made."""
        left = None if ask["deadline"] is None else max(0.0, ask["deadline"] - time.time())
        with self._leavable(key):
            outcomes = await self._stream.wait_for_tasks([started_in(started)], ask["poll_interval"], left)
            self._check_open()
        (outcome,) = outcomes.values()
        return {"end": record_of(outcome)}

    async def _handle(self, ask: Mapping[str, Any], end: TaskEnd[Any]) -> None:
        """Call the handler until it returns."""
        name = ask["handler"]
        attempt = 0
        while True:
            attempt += 1
            handler = self._handlers.get(name)
            try:
                if handler is None:
                    raise LookupError(f"this worker has no handler {name!r}")  # noqa: TRY301 - as if it raised
                await self._call(handler, end)
            except Exception:
                delay = RETRIES.delay(attempt)
                logger.exception(
                    "the handler %r failed for the wait %s, and is called again in %.1f s",
                    name,
                    end.key,
                    delay,
                    extra={"stream_event": "handler_failed", "stream_key": end.key, "stream_delay": delay},
                )
                with self._leavable(end.key):
                    await asyncio.sleep(delay)
            else:
                return

    async def _call(self, handler: Handler, end: TaskEnd[Any]) -> None:
        """Call a handler, in a thread if it is no coroutine function."""
        if inspect.iscoroutinefunction(handler):
            await handler(end)
            return
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads, context.run, handler, end)
        if inspect.isawaitable(result):
            await result

    @contextlib.asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        with self._leavable(key):
            await self._turns.acquire()
        try:
            self._check_open()
            yield
        finally:
            self._turns.release()

    @contextlib.contextmanager
    def _leavable(self, key: str) -> Iterator[None]:
        """Mark a place where a workflow can be left."""
        self._check_open()
        self._idle[key] = asyncio.current_task()  # type: ignore[assignment] # it runs in one
        try:
            yield
        finally:
            del self._idle[key]

    def _check_open(self) -> None:
        """Leave the workflow if this life, or that of its client, is over."""
        if self._is_ending or self._stream._is_closed:  # noqa: SLF001 - a closed client ends waits with an error
            raise asyncio.CancelledError


async def _step(name: str, function: Callable[..., Any], *args: Any) -> Any:
    return await DBOS.run_step_async({"name": name}, function, *args)
