"""The blocking client: the asynchronous one on a private event loop."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import queue
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar, cast

from stream_tasks._arguments import DEFAULT_REQUEST_TIMEOUT, check_items, check_tasks, settings_of
from stream_tasks._batches import batched_operation
from stream_tasks._client import AsyncStream
from stream_tasks._green import new_queue
from stream_tasks._loop_thread import LoopThread
from stream_tasks._misuse import check_options
from stream_tasks._operations import MOST_ITEMS
from stream_tasks._origins import remember
from stream_tasks._secret import concealed, hidden
from stream_tasks.exceptions import StreamTransportException
from stream_tasks.models import Obstacle, StartedTask, Stats, Task, TaskOutcome

if TYPE_CHECKING:
    import ssl
    from uuid import UUID

    import aiohttp

    from stream_tasks._backoff import Backoff
    from stream_tasks._downloads import BlockingChunks
    from stream_tasks._engine.durations import Durations
    from stream_tasks._results import OperationName
    from stream_tasks.endpoints import Polled
    from stream_tasks.instrumentation import Hook
    from stream_tasks.models import R, S, T
    from stream_tasks.webhooks import TaskEvent

__all__ = ["Stream"]

P = ParamSpec("P")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 - an item of a batch
OnUpdate = Callable[[Task], object]
OnOutcome = Callable[[TaskOutcome[Any]], object]
OnProgress = Callable[[int, int | None], object]
Starting = Callable[..., StartedTask[V]]

Calls = queue.SimpleQueue[Any]

_END = object()


def _blocking(
    method: Callable[Concatenate[AsyncStream, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Stream, P], T]:
    """Make a blocking method of an asynchronous one."""

    @functools.wraps(method)
    def call(self: Stream, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(functools.partial(method, self._client, *args, **kwargs))

    call.__doc__ = (call.__doc__ or "").replace("await ", "")  # of its example
    return cast("Callable[Concatenate[Stream, P], T]", call)


class Stream:
    """A client for Stream's long-running tasks, for code that blocks.

    The same engine as `AsyncStream`, run on a private event loop in a daemon thread. It can be used from
    many threads at once, inside a running event loop (where it blocks that loop), and with or without
    ``with``. An app needs one client, which lives as long as the app does: two clients compete for the same
    quota.

    Callbacks run in the thread of the caller, and may call the client. Ctrl-C during a call cancels it first.

    Args:
        api_key: The app's key; without it, ``STREAM_API_KEY`` in the environment.
        api_secret: The app's secret; without it and `token`, ``STREAM_API_SECRET`` in the environment.
        token: A ready server-side JWT in place of the secret, or a function that returns one. It is asked at
            the first request, and again when the server says that the token has expired. A coroutine function
            runs on the event loop, any other one in a worker thread; it must not use this client. What it
            raises comes out of the calls that need the token.
        base_url: Where the API is; without it, ``STREAM_BASE_URL`` in the environment, else Stream's own.
        request_timeout: The limit of one request, in seconds; ``STREAM_REQUEST_TIMEOUT`` in the
            environment replaces the default.
        connect_timeout: The limit of one connection's set-up, in seconds.
        max_connections: Open connections at the most, and so polls in flight.
        not_found_grace: For how long from a wait's start a 404 means "not visible yet", in seconds.
        session: None: only an `AsyncStream` can share a session, which belongs to its event loop.
        ssl_context: The authorities to trust, in place of the system's.
        trust_env: Whether to heed ``HTTPS_PROXY`` and the like, and passwords in .netrc.
        pacing: Whether all waits together keep within the quota; without it, only `max_connections` holds.
        durations: How long tasks take, as far as another client has learned it: its `durations`, in which
            both then go on learning, or what ``durations.to_json()`` returned.
        learning: Whether to learn how long tasks take, and to look when they are likely to end where the
            quota does not bear all looks; without it, the task comes next that is due for longest.
        hooks: Functions that are called with what happens to this client's waits, in its own thread; see
            `stream_tasks.instrumentation`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is missing, empty or out of range.

    Example:
        >>> with Stream() as client:
        ...     started = client.export_channels([{"type": "messaging", "id": "general"}])
        ...     export = client.wait_for_task(started, timeout=600)
        ...     print(export.url)
    """

    def __init__(
        self,
        api_key: str | None = None,
        api_secret: str | None = None,
        *,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        base_url: str | None = None,
        request_timeout: float = DEFAULT_REQUEST_TIMEOUT,
        connect_timeout: float = 10.0,
        max_connections: int = 100,
        not_found_grace: float = 5.0,
        session: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = False,
        pacing: bool = True,
        durations: Durations | str | bytes | None = None,
        learning: bool = True,
        hooks: Iterable[Hook] = (),
    ) -> None:
        # From here on no dump of this frame shows them.
        api_key, api_secret, token, base_url = map(hidden, (api_key, api_secret, token, base_url))
        if session is not None:
            raise ValueError(
                "session must be None: an aiohttp.ClientSession belongs to the event loop it was made on,"
                " and the blocking client has a loop of its own; AsyncStream takes one"
            )
        self._client = AsyncStream(
            api_key,
            api_secret,
            token=token,
            base_url=base_url,
            request_timeout=request_timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
            not_found_grace=not_found_grace,
            ssl_context=ssl_context,
            trust_env=trust_env,
            pacing=pacing,
            durations=durations,
            learning=learning,
            hooks=hooks,
        )
        self._loop = LoopThread()
        # Among garbage the session would be lost to the loop, which has to close it: so this keeps it.
        self._finalizer = weakref.finalize(self, self._loop.exit, self._client)

    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **options: Any) -> Self:
            names = list(options)
            del args, options  # a dump of this frame would show them
            if cls.__init__ is Stream.__init__:
                check_options(cls.__name__, names)
            return super().__new__(cls)

        __new__.__signature__ = inspect.signature(__init__)

    @classmethod
    def from_getstream(cls, client: Any, **options: Any) -> Self:
        """Make a client with the key, token and base URL of an official ``getstream`` client.

        Args:
            client: A ``getstream.Stream`` or ``getstream.AsyncStream``, or anything with its
                ``api_key``, ``token`` and ``base_url``.
            options: Further arguments of this class.

        Returns:
            The client; that one stays as it is.

        Raises:
            TypeError: `client` lacks one of these.

        Example:
            >>> client = Stream.from_getstream(official)
        """
        options = concealed(options)  # from here on no dump of this frame shows them
        return cls(**settings_of(client), **options)

    def __repr__(self) -> str:
        return repr(getattr(self, "_client", "AsyncStream()")).replace("AsyncStream", type(self).__name__, 1)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{type(self).__name__} holds a token and connections, and cannot be pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    if not TYPE_CHECKING:

        def __aenter__(self) -> NoReturn:
            raise TypeError(f"write 'with' for {type(self).__name__}, which blocks, or use AsyncStream")

        def __aexit__(self, *_: object) -> None:
            """Not reached: `__aenter__` raises."""

    def close(self) -> None:
        """End all waits and close the connections; closing twice is fine.

        Example:
            >>> client.close()
        """
        if not self._loop.is_closed:
            # Another thread may close it at the same moment.
            with contextlib.suppress(RuntimeError, StreamTransportException):
                self._loop.run(self._client.aclose, is_quick=True)
        self._finalizer.detach()
        self._loop.close()

    @property
    def obstacle(self) -> Obstacle | None:
        """What holds back the polls that are due, None when nothing does; any thread may ask.

        Example:
            >>> if client.obstacle:
            ...     print(client.obstacle.reason, client.obstacle.seconds)
        """

        async def look() -> Obstacle | None:
            return self._client.obstacle

        return self._loop.run(look, is_quick=True)

    @property
    def durations(self) -> Durations:
        """How long tasks take, by operation, as far as this client has seen: a mapping; see `Durations`.

        Example:
            >>> for operation, seen in client.durations.items():
            ...     median, most = seen.remaining(30)  # seconds that a task still takes when it is 30 s old
            ...     print(operation, seen.count, median, most)
        """
        return self._client.durations

    def stats(self) -> Stats:
        """Return a snapshot of what this client does, for health pages and notebooks; any thread may ask.

        Returns:
            The snapshot; all of it is zero or None before the first call.

        Example:
            >>> stats = client.stats()
            >>> print(stats.waiting, stats.in_flight, stats.quota, stats.obstacle)
        """

        async def look() -> Stats:
            return self._client.stats()

        return self._loop.run(look)

    def hint(self, about: TaskEvent | str | UUID | StartedTask[Any] | Polled[Any]) -> None:
        """Look at a task at once, since something says that it has ended: a webhook, say.

        Whoever waits for the task, in any thread, is woken by one look, within the quota; what that finds is
        the truth. If nobody waits for it, nothing happens. However many hints come, the looks are at least
        50 ms apart.

        Args:
            about: The event, or the task: its id, or what starting an operation returned.

        Raises:
            TypeError: It is none of these.
            ValueError: The id cannot be one.

        Example:
            >>> client.hint(webhooks.parse(body, signature, api_secret))
        """

        async def hint() -> None:
            self._client.hint(about)

        self._loop.run(hint, is_quick=True)

    request = _blocking(AsyncStream.request)
    get_task = _blocking(AsyncStream.get_task)
    start_task = _blocking(AsyncStream.start_task)

    def wait_for_task(
        self,
        task: str | UUID | StartedTask[T] | Polled[T],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        result_type: type[R] | None = None,
        operation: Starting[R] | OperationName[R] | None = None,
        on_update: OnUpdate | None = None,
    ) -> R:
        """Wait until a task has ended.

        Passing trouble, such as a 429, a 503 or a reset, is waited out.

        Args:
            task: A task's id, or what starting an operation returned.
            poll_interval: The least time between two looks, in seconds (the floor is 50 ms), or a `Backoff`.
            timeout: The limit of the whole wait, in seconds; None for no limit, 0 for one look.
            result_type: What to decode the result to, in place of what the task was started with.
            operation: What started the task, if only its id is known: the method of this client or its name,
                such as ``delete_users``. The result then is of the operation's own type.
            on_update: Called with each new snapshot, in this thread; it may call the client.

        Returns:
            The task's result: a `TaskResult`, or what the task was started with.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
            StreamTaskException: The task failed.
            StreamWaitTimeoutException: The wait elapsed; the task may still be running.
            StreamApiException: The server refused for good.
            StreamTransportException: TLS verification failed.
            StreamDecodeException: An answer or the result does not fit.

        Example:
            >>> started = client.export_channels([{"type": "messaging", "id": "general"}])
            >>> export = client.wait_for_task(started, timeout=600)
            >>> print(export.url)
        """
        calls: Calls = new_queue()
        told = self._loop.in_caller(on_update, calls)
        wait = functools.partial(
            self._client.wait_for_task, task, poll_interval, timeout,
            result_type=result_type, operation=cast("Any", operation), on_update=told,
        )  # fmt: skip
        return self._loop.run(wait, calls)

    def wait_for(
        self,
        polled: Polled[T],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        result_type: type[R] | None = None,
        on_update: OnUpdate | None = None,
    ) -> R:
        """Wait for something that is polled elsewhere than tasks are, such as a campaign.

        It shares the quota with all other waits of this client; see `stream_tasks.endpoints`.

        Args:
            polled: What to wait for: an id at an endpoint, as `Endpoint.of` makes it.
            poll_interval: The least time between two looks, in seconds (the floor is 50 ms), or a `Backoff`.
            timeout: The limit of the whole wait, in seconds; None for no limit, 0 for one look.
            result_type: What to decode the result to, in place of what the endpoint says.
            on_update: Called with each new snapshot, a `Snapshot`, in this thread; it may call the client.

        Returns:
            What the server tells of it at its end.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
            StreamTaskException: It failed.
            StreamWaitTimeoutException: The wait elapsed; the work may still be going on.
            StreamApiException: The server refused for good.
            StreamTransportException: TLS verification failed.
            StreamDecodeException: An answer or the result does not fit.

        Example:
            >>> campaign = client.wait_for(CAMPAIGN.of("spring"), poll_interval=10, timeout=3600)
            >>> print(campaign["stats"])
        """
        calls: Calls = new_queue()
        told = self._loop.in_caller(on_update, calls)
        wait = functools.partial(
            self._client.wait_for, polled, poll_interval, timeout, result_type=result_type, on_update=told
        )
        return self._loop.run(wait, calls)

    def watch_task(
        self,
        task: str | UUID | StartedTask[Any] | Polled[Any],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        result_type: type[S] | None = None,
        operation: Starting[S] | OperationName[S] | None = None,
    ) -> Iterator[Task[S]]:
        """Follow a task: an iterator over each new snapshot, the final one last.

        A failed task is yielded like any other.

        Args:
            task: A task's id, or what starting an operation returned.
            poll_interval: The least time between two looks, in seconds (the floor is 50 ms), or a `Backoff`.
            timeout: The limit of the whole wait, in seconds; None for no limit, 0 for one look.
            result_type: What to decode the final snapshot's ``result`` to; a ``dict`` without it.
            operation: What started the task: the method of this client or its name. The final snapshot's
                ``result`` then is of the operation's own type.

        Returns:
            An iterator; each snapshot differs from the one before.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
            StreamException: As for `wait_for_task`, but for `StreamTaskException`.

        Example:
            >>> for task in client.watch_task(task_id, timeout=600):
            ...     print(task.status, task.updated_at)
        """

        async def begin() -> AsyncGenerator[Task[S]]:
            return self._client.watch_task(
                task, poll_interval, timeout, result_type=result_type, operation=cast("Any", operation)
            )

        return self._iterate(self._loop.run(begin, is_quick=True), process=os.getpid())

    def wait_for_tasks(
        self,
        tasks: Iterable[str | UUID | StartedTask[T] | Polled[T]],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        result_type: type[R] | None = None,
        operation: Starting[R] | OperationName[R] | None = None,
        on_outcome: OnOutcome | None = None,
        on_update: OnUpdate | None = None,
    ) -> dict[str, TaskOutcome[R]]:
        """Wait until all of many tasks have ended; nothing about one of them is raised.

        The callbacks are called in this thread, and may call the client.

        Args:
            tasks: Ids, and what starting operations returned.
            poll_interval: The least time between two looks at a task, in seconds, or a `Backoff`. It
                stretches for all alike when the quota does not bear it.
            timeout: The limit of the whole call, in seconds; None for no limit, 0 for one look at each.
            result_type: What to decode the results to, in place of what the tasks were started with.
            operation: What started the tasks of which only ids are known: the method of this client or its
                name, such as ``delete_users``. Their results then are of the operation's own type.
            on_outcome: Called with each outcome as it comes.
            on_update: Called with each new snapshot of any of the tasks.

        Returns:
            An outcome for each id, in the order given, duplicates once. An operation that the server
            did at once has no id: its place in `tasks`, such as ``#3``, stands for it (``##3`` should
            ``#3`` be the id of another).

        Raises:
            TypeError: An argument, or one of `tasks`, has a wrong type.
            ValueError: An argument, or one of `tasks`, is out of range.

        Example:
            >>> outcomes = client.wait_for_tasks(ids, timeout=600)
            >>> for task_id, outcome in outcomes.items():
            ...     print(task_id, outcome.result() if outcome.ok else outcome.exception())
        """
        calls: Calls = new_queue()
        ended, told = (self._loop.in_caller(hook, calls) for hook in (on_outcome, on_update))
        given = list(check_tasks(tasks))  # here, since a generator may call the client
        wait = functools.partial(
            self._client.wait_for_tasks, given, poll_interval, timeout,
            result_type=result_type, operation=cast("Any", operation), on_outcome=ended, on_update=told,
        )  # fmt: skip
        return self._loop.run(wait, calls)

    def as_completed(
        self,
        tasks: Iterable[str | UUID | StartedTask[T] | Polled[T]],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        max_waiting: int | None = None,
        result_type: type[R] | None = None,
        operation: Starting[R] | OperationName[R] | None = None,
        on_update: OnUpdate | None = None,
    ) -> Iterator[TaskOutcome[R]]:
        """Wait for many tasks: an iterator over their outcomes, in the order of completion.

        Leaving the loop stops all other waits. If `tasks` raises, or yields what is no task, no more is
        pulled from it; the waits that have begun go on, and the error is raised after their outcomes.
        `tasks` is pulled and `on_update` is called in this thread; both may call the client.

        Args:
            tasks: Ids, and what starting operations returned; any iterable. It is pulled as there is
                room: with `max_waiting` it may be endless.
            poll_interval: The least time between two looks at a task, in seconds, or a `Backoff`.
            timeout: The limit of each wait, from when its task was pulled, in seconds; None for no
                limit, 0 for one look.
            max_waiting: Tasks outstanding at a time; None for no limit.
            result_type: What to decode the results to, in place of what the tasks were started with.
            operation: What started the tasks of which only ids are known: the method of this client or its
                name, such as ``delete_users``. Their results then are of the operation's own type.
            on_update: Called with each new snapshot of any of the tasks, while the next outcome is
                waited for.

        Returns:
            An iterator; nothing about one task is raised.

        Raises:
            TypeError: An argument, or one of `tasks`, has a wrong type.
            ValueError: An argument, or one of `tasks`, is out of range.
            Exception: Whatever `tasks` raises, as it is; an interrupt comes at once.

        Example:
            >>> for outcome in client.as_completed(ids, timeout=600, max_waiting=1_000):
            ...     print(outcome.task_id, outcome.status, outcome.polls)
        """
        calls: Calls = new_queue()
        rest = iter(check_tasks(tasks))
        pull = self._loop.pull_in_caller(lambda: next(rest, _END), calls)

        async def source() -> AsyncGenerator[Any]:
            while (task := await pull()) is not _END:
                yield task

        outcomes = self._client.as_completed(
            source(),
            poll_interval,
            timeout,
            max_waiting=max_waiting,
            result_type=result_type,
            operation=cast("Any", operation),
            on_update=self._loop.in_caller(on_update, calls),
        )
        return remember(self._iterate(outcomes, calls), self, timeout, max_waiting)

    def start_in_batches(
        self,
        operation: Callable[Concatenate[Iterable[I], P], StartedTask[T]],
        items: Iterable[I],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Iterator[StartedTask[T]]:
        """Start an operation for any number of items: an iterator over the tasks, one for each batch.

        ``start_in_batches(client.delete_users, user_ids, user="soft")`` starts a task for each 100 users,
        the most that the API takes at once. `items` is pulled, in this thread, and a batch is sent as the
        next task is asked for: leaving the loop starts no more of them. A 429 is waited out for up to five
        minutes and then tried again, as it refuses a batch before anything is done. No other failure is
        tried again.

        Args:
            operation: A method of this client that takes a list of items: `delete_channels`,
                `export_channels`, `delete_users`, `deactivate_users`, `reactivate_users`, `export_users`
                or `delete_feeds_batch`.
            items: Any iterable of what it takes a list of; it may be endless, and may call the client.
            args: Further arguments of `operation`.
            kwargs: Further arguments of `operation`, by name.

        Returns:
            An iterator over started tasks, ready to be waited for.

        Raises:
            TypeError: `operation`, `items`, another argument or an item has a wrong type.
            ValueError: An argument or an item is out of range; a note says where.
            StreamBatchException: A batch could not be started. It says which, what was started before
                it, and whether the server may have started it all the same.
            Exception: Whatever `items` raises, as it is; a note says where, and which were taken already.

        Example:
            >>> tasks = client.start_in_batches(client.delete_users, user_ids, user="soft")
            >>> for outcome in client.as_completed(tasks, timeout=600):
            ...     print(outcome.items, outcome.status)
        """
        name = batched_operation(self, operation)
        check_items("items", items, Iterable)
        calls: Calls = new_queue()
        rest = iter(items)
        batch: list[I] = []

        def take() -> bool:
            batch.clear()
            for item in islice(rest, MOST_ITEMS[name]):
                batch.append(item)  # noqa: PERF402 - what came before an error is to stay there
            return bool(batch)

        pull = self._loop.pull_in_caller(take, calls)

        async def source() -> AsyncGenerator[I]:
            error: Exception | None = None
            while error is None:
                try:
                    if not await pull():
                        return
                except Exception as exc:  # noqa: BLE001 - it is raised when its turn comes
                    error = exc
                for item in batch:
                    yield item
            raise error

        same = getattr(self._client, name)
        return self._iterate(self._client.start_in_batches(same, source(), *args, **kwargs), calls)

    def download(
        self,
        result_or_url: Any,
        path: str | os.PathLike[str],
        *,
        task: str | UUID | StartedTask[Any] | None = None,
        overwrite: bool = False,
        link_timeout: float | None = 120.0,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Download an export to a file, which is whole or does not exist.

        Stream's credentials are not sent there. A download that breaks off goes on where it stopped, if the
        server can do that; bad moments, such as a 503 or a reset, are waited out. A link that has expired is
        renewed by asking for its task again: what a wait returned knows its task, of a bare address `task`
        tells it.

        Args:
            result_or_url: What waiting for an export returned, its `TaskOutcome`, its `StartedTask` (which is
                waited for), the webhook that tells of it, or the address itself.
            path: The file to write. Until it is whole, what came is beside it, under its name with
                ``.stream-tasks.part``.
            task: The task that exported it, which renews the link, if `result_or_url` does not tell that.
            overwrite: Whether a file of that name is replaced. The new one has its mode; if it is a link,
                that is kept and what it leads to is replaced.
            link_timeout: How long the task is waited for when it is asked for a link, in seconds; None for no
                limit. The download itself has none: Ctrl-C ends it.
            on_progress: Called with the number of bytes so far, and the size of the whole or None.
                It is called in this thread, and may call the client.

        Returns:
            The size of the file, in bytes.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range, or there is no http(s) address in `result_or_url`.
            OSError: The file cannot be written: `FileExistsError`, say.
            StreamDownloadException: The download failed for good.
            StreamException: Asking for the link failed, or the export itself.

        Example:
            >>> export = client.wait_for_task(client.export_users(["jane"]))
            >>> client.download(export, "jane.json")
        """
        calls: Calls = new_queue()
        told = self._loop.in_caller(on_progress, calls)
        download = functools.partial(
            self._client.download, result_or_url, path,
            task=task, overwrite=overwrite, link_timeout=link_timeout, on_progress=told,
        )  # fmt: skip
        return self._loop.run(download, calls)

    def open_export(
        self,
        result_or_url: Any,
        *,
        task: str | UUID | StartedTask[Any] | None = None,
        link_timeout: float | None = 120.0,
        on_progress: OnProgress | None = None,
    ) -> BlockingChunks:
        """Download an export piece by piece, to be stored elsewhere.

        Stream's credentials are not sent there. A download that breaks off goes on where it stopped, if the
        server can do that; bad moments, such as a 503 or a reset, are waited out. A link that has expired is
        renewed by asking for its task again: what a wait returned knows its task, of a bare address `task`
        tells it.
        What had to be sent again is compared with what came before, so that no file is a mixture of two.

        Args:
            result_or_url: The export, as for `download`.
            task: The task that exported it, as for `download`.
            link_timeout: How long the task is waited for when it is asked for a link, in seconds.
            on_progress: Called with the number of bytes so far, and the size of the whole or None.
                It is called in this thread, and may call the client.

        Returns:
            An iterator over chunks of bytes, which is also a context: its end ends the download.
            Nothing is sent before the first chunk is asked for. Only its regular end says that all has come.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range, or there is no http(s) address in `result_or_url`.
            StreamDownloadException: The download failed for good.
            StreamException: Asking for the link failed, or the export itself.

        Example:
            >>> export = client.wait_for_task(client.export_users(["jane"]))
            >>> with client.open_export(export) as chunks:
            ...     for chunk in chunks:
            ...         upload(chunk)
        """
        calls: Calls = new_queue()
        told = self._loop.in_caller(on_progress, calls)

        async def begin() -> AsyncGenerator[bytes]:
            return self._client.open_export(
                result_or_url, task=task, link_timeout=link_timeout, on_progress=told
            ).source

        from stream_tasks._downloads import BlockingChunks  # noqa: PLC0415 - few programs need it

        return BlockingChunks(self._iterate(self._loop.run(begin, is_quick=True), calls, process=os.getpid()))

    delete_channels = _blocking(AsyncStream.delete_channels)
    export_channels = _blocking(AsyncStream.export_channels)
    update_channels_batch = _blocking(AsyncStream.update_channels_batch)
    delete_users = _blocking(AsyncStream.delete_users)
    deactivate_users = _blocking(AsyncStream.deactivate_users)
    reactivate_users = _blocking(AsyncStream.reactivate_users)
    export_users = _blocking(AsyncStream.export_users)
    import_block_list = _blocking(AsyncStream.import_block_list)
    delete_call = _blocking(AsyncStream.delete_call)
    delete_feed = _blocking(AsyncStream.delete_feed)
    delete_feeds_batch = _blocking(AsyncStream.delete_feeds_batch)
    delete_feed_user_data = _blocking(AsyncStream.delete_feed_user_data)
    export_feed_user_data = _blocking(AsyncStream.export_feed_user_data)
    bulk_image_moderation = _blocking(AsyncStream.bulk_image_moderation)
    create_import = _blocking(AsyncStream.create_import)
    create_import_v2_task = _blocking(AsyncStream.create_import_v2_task)
    start_policy_test_run = _blocking(AsyncStream.start_policy_test_run)
    check_moderation = _blocking(AsyncStream.check_moderation)

    def _iterate(
        self, source: AsyncGenerator[T], calls: Calls | None = None, process: int | None = None
    ) -> Iterator[T]:
        """Iterate over `source`, which belongs to the loop of `process`, or of whoever begins."""
        home = process or os.getpid()

        async def step() -> Any:
            if os.getpid() != home:
                raise RuntimeError("this iterator belongs to the parent process, not to its forked child")
            return await anext(source, _END)

        try:
            while (item := self._loop.run(step, calls)) is not _END:
                yield item
        finally:
            # An iterator dropped half-way may be collected anywhere, even in the loop's own thread.
            if os.getpid() == home:
                self._loop.schedule(source.aclose)
