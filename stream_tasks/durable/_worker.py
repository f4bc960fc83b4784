"""The worker: where durable waits run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from dbos import DBOS

from stream_tasks._arguments import check_callback, check_count, check_id, check_seconds
from stream_tasks._client import AsyncStream
from stream_tasks.durable import _workflow
from stream_tasks.durable._database import DuplicateWorkerError, WorkerLock, check_worker_id
from stream_tasks.durable._wait_client import DAY, WaitClient

if TYPE_CHECKING:
    import os

    from stream_tasks.durable._ends import TaskEnd

__all__ = ["DurableWaits"]

H = TypeVar("H", bound=Callable[["TaskEnd[Any]"], Any])

LOCK_ATTEMPTS: Final = 20
LOCK_INTERVAL: Final = 0.25
"""How long to wait for a worker's id, in seconds: its last life may just be ending."""

WATCH_INTERVAL: Final = 2.0
"""How often a worker looks for waits that were cancelled elsewhere, in seconds."""

FORGET_EVERY: Final = 30
"""In how many of these looks one is for old waits, to delete them."""

logger = logging.getLogger("stream_tasks")


class DurableWaits(WaitClient):
    """Run durable waits, in this process; one a process, since DBOS is.

    ::

        client = AsyncStream()
        waits = DurableWaits(client, "waits.db")

        @waits.on_end("export-ready")
        async def export_ready(end: TaskEnd[ExportChannelsResult]) -> None:
            print(end.key, end.result.url if end.ok else end.error)

        async with client, waits:
            await waits.start(client.export_channels, channels, handler="export-ready", key="export-7")

    Handlers are called at least once, on this event loop, or in a thread if they are no coroutine functions.

    Args:
        client: The client that starts and waits.
        database: A file, for SQLite and one process; or the URL of a Postgres database, for many. Without
            it, ``STREAM_DATABASE`` in the environment.
        worker_id: The id under which a worker finds its waits again when it restarts; needed on Postgres.
        waits_per_worker: How many waits a worker takes at a time. The workers of a database share this
            number: that of the last one to start holds.
        keep: How long to keep what has ended, in seconds.
        grace: How long closing waits for handlers and for starts that are under way, in seconds.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is missing or out of range.
    """

    def __init__(
        self,
        client: AsyncStream,
        database: str | os.PathLike[str] | None = None,
        *,
        worker_id: str | None = None,
        waits_per_worker: int = 10_000,
        keep: float = 7 * DAY,
        grace: float = 30.0,
    ) -> None:
        super().__init__(database)
        if not isinstance(client, AsyncStream):
            raise TypeError(f"client must be an AsyncStream, not {type(client).__name__}")
        self._stream = client
        self._worker_id = check_worker_id(self._blocking.database, worker_id)
        self._lock = WorkerLock(self._blocking.database, self._worker_id)
        self._waits_per_worker = check_count("waits_per_worker", waits_per_worker)
        self._keep = check_seconds("keep", keep)
        self._grace = check_seconds("grace", grace)
        self._handlers: dict[str, _workflow.Handler] = {}
        self._life: _workflow.Life | None = None
        self._watcher: asyncio.Task[None] | None = None

    def on_end(self, name: str) -> Callable[[H], H]:
        """Register a handler: ``@waits.on_end("export-ready")``.

        It is called with the `TaskEnd` of each wait that names it, at least once, and again while it raises.

        Args:
            name: The name, which waits keep: a later version of the app must still have it.

        Returns:
            A decorator; the function stays as it is.

        Raises:
            TypeError: `name` is not a text, or what is decorated cannot be called.
            ValueError: `name` is empty, or another handler has it.
        """
        if check_id("name", name) in self._handlers:
            raise ValueError(f"name must be that of one handler, and {name!r} is registered already")

        def register(handler: H) -> H:
            check_callback("handler", handler)
            self._handlers[name] = handler
            return handler

        return register

    async def __aenter__(self) -> Self:
        """Take up the waits of this worker, and take more from the queue.

        Raises:
            DuplicateWorkerError: A worker with this id is running; on SQLite, any worker of the file.
            RuntimeError: This process has another `DurableWaits` that is open.
        """
        life = _workflow.Life(self._stream, self._handlers)
        _workflow.enter(life)
        try:
            await asyncio.to_thread(self._prepare)
            DBOS(config=self._blocking.database.config(self._worker_id))
            # On this loop, which DBOS then uses: handlers run on it, and all waits share the client's quota.
            DBOS.launch()
        except BaseException:
            _workflow.leave()
            DBOS.destroy()
            self._lock.release()
            raise
        self._life = life
        self._watcher = asyncio.create_task(self._watch(life))
        return self

    async def aclose(self) -> None:
        """Stop, and leave the waits to the other workers, or to this one when it is started again.

        Handlers, and starts that are under way, are given `grace` seconds.
        """
        life, self._life = self._life, None
        if life is not None and self._watcher is not None:
            self._watcher.cancel()
            await life.end(self._grace)
            threads = ThreadPoolExecutor(1)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(threads, DBOS.destroy)
            threads.shutdown(wait=False)
            # DBOS had put an executor of its own in the place of the loop's, and has shut it down now.
            loop.set_default_executor(ThreadPoolExecutor())
            _workflow.leave()
            try:
                left = await asyncio.to_thread(self._blocking.release_waits, self._worker_id)
                logger.info("%d durable waits go back", left, extra={"stream_event": "waits_released"})
            finally:
                self._lock.release()
        await super().aclose()

    def _prepare(self) -> None:
        """Take the lock, and make the database ready."""
        self._blocking.database.prepare()
        attempts = 1
        while True:
            try:
                self._lock.acquire()
                break
            except DuplicateWorkerError:
                if attempts >= LOCK_ATTEMPTS:
                    raise
                attempts += 1
                time.sleep(LOCK_INTERVAL)
        self._blocking.register_queue(self._waits_per_worker)

    async def _watch(self, life: _workflow.Life) -> None:
        """Leave what was cancelled elsewhere, delete what is old, and keep the lock."""
        number, is_failing = 0, False
        while True:
            try:
                life.leave_waits(await asyncio.to_thread(self._blocking.cancelled_keys))
                if number % FORGET_EVERY == 0:
                    await asyncio.to_thread(self._blocking.forget, self._keep)
                await asyncio.to_thread(self._lock.acquire)
                is_failing = False
            except Exception as exc:  # noqa: BLE001 - whatever the database raises
                if not is_failing:
                    told = "the database of the waits fails, and is tried again: %s"
                    logger.error(told, exc, extra={"stream_event": "database_failed"})  # noqa: TRY400
                is_failing = True
            number += 1
            await asyncio.sleep(WATCH_INTERVAL)

    async def cancel(self, key: str) -> None:
        await super().cancel(key)
        if self._life is not None:
            self._life.leave_waits([key])
