"""Starting, looking at and cancelling durable waits, from any process."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

from sqlalchemy.exc import DBAPIError

from stream_tasks._arguments import check_id
from stream_tasks.durable._database import APP, QUEUE, VERSION, WORKFLOW, Database, WorkerLock
from stream_tasks.durable._ends import (
    PendingWait,
    TaskEnd,
    Terms,
    ask_to_start,
    ask_to_wait,
    end_of,
    failed_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from uuid import UUID

    import sqlalchemy
    from dbos import DBOSClient, EnqueueOptions, WorkflowStatus
    from sqlalchemy.orm import Session

    from stream_tasks.models import StartedTask

__all__ = ["BlockingWaitClient", "WaitClient"]

P = ParamSpec("P")
T = TypeVar("T")

DAY: Final = 86_400.0

_LIVE: Final = ["ENQUEUED", "PENDING", "DELAYED"]
_ENDED: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_PAGE: Final = 500


class BlockingWaitClient:
    """Start, look at and cancel durable waits; workers run them.

    ::

        waits = BlockingWaitClient("postgresql://…/app")
        key = waits.start("export_channels", channels, handler="export-ready", key="export-7")

    Args:
        database: A file, for SQLite; or the URL of a Postgres database. Without it, ``STREAM_DATABASE`` in
            the environment.

    Raises:
        TypeError: `database` has a wrong type.
        ValueError: `database` is missing or not valid.
    """

    def __init__(self, database: str | os.PathLike[str] | None = None) -> None:
        self.database = Database(database)
        self._client: DBOSClient | None = None
        self._pid = 0
        self._making = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the database. The client can still be used, and then connects again."""
        client, self._client = self._client, None
        if client is not None:
            client.destroy()

    def start(
        self,
        operation: Any,
        /,
        *args: Any,
        handler: str | None,
        key: str | None = None,
        timeout: float | None = DAY,
        poll_interval: float = 1.0,
        context: Any = None,
        **kwargs: Any,
    ) -> str:
        """Have a worker start an operation, at most once, and wait for it.

        Args:
            operation: A method of `stream_tasks.AsyncStream` or `stream_tasks.Stream` that starts a task, or
                its name, such as ``export_channels``.
            args: The operation's arguments.
            handler: The name of the handler that is called with the `TaskEnd`; None for none.
            key: The wait's key. The same key twice is one wait. Without it, a new one.
            timeout: The limit of start and wait together, from now on, in seconds; None for no limit.
            poll_interval: The least time between two looks at the task, in seconds.
            context: What to hand to the handler: anything that JSON can hold.
            kwargs: The operation's arguments, by name.

        Returns:
            The key.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
        """
        terms = Terms(handler, timeout, poll_interval, context)
        return self._enqueue(ask_to_start(operation, args, kwargs, terms), key)

    def start_in_transaction(
        self,
        connection: sqlalchemy.Connection | Session,
        operation: Any,
        /,
        *args: Any,
        handler: str | None,
        key: str | None = None,
        timeout: float | None = DAY,
        poll_interval: float = 1.0,
        context: Any = None,
        **kwargs: Any,
    ) -> str:
        """Do as `start` does, in the caller's own transaction: the wait begins if and when it commits.

        Args:
            connection: A connection or session of SQLAlchemy to the database of the waits.
            operation: As for `start`.
            args: As for `start`.
            handler: As for `start`.
            key: As for `start`.
            timeout: As for `start`.
            poll_interval: As for `start`.
            context: As for `start`.
            kwargs: As for `start`.

        Returns:
            The key.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
        """
        terms = Terms(handler, timeout, poll_interval, context)
        options = _options(key)
        ask = ask_to_start(operation, args, kwargs, terms)
        self._dbos.enqueue_in_transaction(connection, options, ask)
        return options["workflow_id"]

    def wait(
        self,
        task: str | UUID | StartedTask[Any],
        *,
        handler: str | None,
        key: str | None = None,
        timeout: float | None = DAY,
        poll_interval: float = 1.0,
        context: Any = None,
        operation: Any = None,
    ) -> str:
        """Have a worker wait for a task that runs already.

        Args:
            task: A task's id, or what starting an operation returned.
            handler: The name of the handler that is called with the `TaskEnd`; None for none.
            key: The wait's key. The same key twice is one wait. Without it, a new one.
            timeout: The limit of the wait from now on, in seconds; None for no limit.
            poll_interval: The least time between two looks at the task, in seconds.
            context: What to hand to the handler: anything that JSON can hold.
            operation: What started the task, if only its id is given: a client's method or its name.

        Returns:
            The key.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
        """
        terms = Terms(handler, timeout, poll_interval, context)
        return self._enqueue(ask_to_wait(task, operation, terms), key)

    def pending(self) -> list[PendingWait]:
        """Return the waits that have not ended, or whose handler has not; the oldest first."""
        return [
            PendingWait.of(
                found.workflow_id, _ask_of(found), found.executor_id if found.status == "PENDING" else None
            )
            for found in self._each(status=_LIVE, load_input=True)
        ]

    def outcome(self, key: str) -> TaskEnd[Any] | None:
        """Return how a wait ended, None if it has not; its handler may still have to run.

        Args:
            key: The wait's key.

        Raises:
            LookupError: There is no such wait, or it was deleted as an old one.
        """
        found = self._find(key)
        ask, started = _ask_of(found), None
        for step in self._dbos.list_workflow_steps(key):
            output = step["output"]
            if isinstance(output, dict):
                started = output.get("started", started)
                if "end" in output:
                    return end_of(key, ask, started or ask["started"], output["end"])
        if found.status == "CANCELLED":
            return end_of(key, ask, None, {"status": "cancelled"})
        if found.status in _LIVE:
            return None
        error = found.error or RuntimeError(found.status)
        fate = ask["call"] is not None
        return end_of(key, ask, None, failed_record(type(error).__name__, str(error), may_have_started=fate))

    def cancel(self, key: str) -> None:
        """Give up a wait: its handler is not called. Stream's task goes on.

        Args:
            key: The wait's key. A wait that has ended stays as it is.

        Raises:
            LookupError: There is no such wait, or it was deleted as an old one.
        """
        self._find(key)
        self._dbos.cancel_workflow(key)

    def take_over(self, worker_id: str) -> int:
        """Give the waits of a worker that never comes back to the other workers.

        Args:
            worker_id: The id of that worker.

        Returns:
            How many there were.

        Raises:
            DuplicateWorkerError: It is running.
        """
        lock = WorkerLock(self.database, check_id("worker_id", worker_id))
        lock.acquire()
        try:
            return self.release_waits(worker_id)
        finally:
            lock.release()

    def release_waits(self, worker_id: str) -> int:
        """Put the waits of a worker that has stopped back into the queue, and return how many there were."""
        keys = [found.workflow_id for found in self._each(status="PENDING", executor_id=worker_id)]
        for start in range(0, len(keys), _PAGE):
            self._dbos.resume_workflows(keys[start : start + _PAGE], queue_name=QUEUE)
        return len(keys)

    def cancelled_keys(self) -> list[str]:
        """Return the keys of what was cancelled of late."""
        since = datetime.now(UTC) - timedelta(minutes=5)
        return [
            each.workflow_id for each in self._each(status="CANCELLED", completed_after=since.isoformat())
        ]

    def forget(self, age: float) -> int:
        """Delete the waits that ended longer ago than `age` seconds, and return how many there were."""
        before = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
        keys = [found.workflow_id for found in self._each(status=_ENDED, completed_before=before)]
        for start in range(0, len(keys), _PAGE):
            self._dbos.delete_workflows(keys[start : start + _PAGE])
        return len(keys)

    def register_queue(self, waits_per_worker: int) -> None:
        """Set how many waits a worker takes."""
        self._dbos.register_queue(QUEUE, worker_concurrency=waits_per_worker, polling_interval_sec=0.5)

    @property
    def _dbos(self) -> DBOSClient:
        with self._making:
            if self._client is None or self._pid != os.getpid():  # a forked child has its own connections
                self._client = _connected(self.database)
                self._pid = os.getpid()
            return self._client

    def _enqueue(self, ask: dict[str, Any], key: str | None) -> str:
        options = _options(key)
        self._dbos.enqueue(options, ask)
        return options["workflow_id"]

    def _find(self, key: str) -> WorkflowStatus:
        found = self._dbos.list_workflows(workflow_ids=[check_id("key", key)], name=WORKFLOW)
        if not found:
            raise LookupError(f"there is no wait with the key {key!r}")
        return found[0]

    def _each(self, *, load_input: bool = False, **wanted: Any) -> Iterator[WorkflowStatus]:
        """Yield workflows, page by page."""
        offset = 0
        while True:
            page = self._dbos.list_workflows(
                name=WORKFLOW, limit=_PAGE, offset=offset, load_input=load_input, load_output=False, **wanted
            )
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE


def _awaited(
    method: Callable[Concatenate[BlockingWaitClient, P], T],
) -> Callable[Concatenate[WaitClient, P], Coroutine[Any, Any, T]]:
    """Make a method that is awaited of a blocking one."""

    @functools.wraps(method)
    async def call(self: WaitClient, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self._blocking, *args, **kwargs)

    return cast("Callable[Concatenate[WaitClient, P], Coroutine[Any, Any, T]]", call)


class WaitClient:
    """`BlockingWaitClient` for asyncio: the same methods, which are awaited.

    ::

        waits = WaitClient("postgresql://…/app")
        key = await waits.start(client.export_channels, channels, handler="export-ready", key="export-7")

    Args:
        database: A file, for SQLite; or the URL of a Postgres database. Without it, ``STREAM_DATABASE`` in
            the environment.

    Raises:
        TypeError: `database` has a wrong type.
        ValueError: `database` is missing or not valid.
    """

    def __init__(self, database: str | os.PathLike[str] | None = None) -> None:
        self._blocking = BlockingWaitClient(database)
        self.start_in_transaction = self._blocking.start_in_transaction

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the database. The client can still be used, and then connects again."""
        await asyncio.to_thread(self._blocking.close)

    start = _awaited(BlockingWaitClient.start)
    wait = _awaited(BlockingWaitClient.wait)
    pending = _awaited(BlockingWaitClient.pending)
    outcome = _awaited(BlockingWaitClient.outcome)
    cancel = _awaited(BlockingWaitClient.cancel)
    take_over = _awaited(BlockingWaitClient.take_over)


def _options(key: str | None) -> EnqueueOptions:
    return {
        "workflow_name": WORKFLOW,
        "queue_name": QUEUE,
        "workflow_id": uuid.uuid4().hex if key is None else check_id("key", key),
        "app_version": VERSION,
        "application_name": APP,
    }


def _ask_of(found: WorkflowStatus) -> dict[str, Any]:
    return cast("dict[str, Any]", found.input["args"][0]) if found.input else {}


def _connected(database: Database) -> DBOSClient:
    """Return a client of a database that has the tables."""
    database.prepare()
    client = database.client()
    try:
        client.list_workflows(limit=1, load_input=False, load_output=False)
    except DBAPIError:
        database.migrate()
    return client
