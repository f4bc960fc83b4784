"""The asynchronous client: where talking and waiting meet."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import ssl
import time
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Container,
    Coroutine,
    Iterable,
    Mapping,
)
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    NamedTuple,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    cast,
)

import aiohttp
import anyio
import anyio.lowlevel

from stream_tasks import _json, _operations, _sharing
from stream_tasks._arguments import (
    API_PREFIX,
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    DEFAULT_REQUEST_TIMEOUT,
    check_base_url,
    check_callback,
    check_count,
    check_flag,
    check_instance,
    check_items,
    check_path,
    check_request_timeout,
    check_seconds,
    check_segment,
    check_tasks,
    check_timeout,
    path_segment,
    settings_of,
)
from stream_tasks._backoff import Backoff, as_backoff
from stream_tasks._batches import batched_operation, start_batches
from stream_tasks._clock import check_clock
from stream_tasks._engine.calls import follow, tell, wait_for_all, wait_for_end
from stream_tasks._engine.durations import Durations, as_durations
from stream_tasks._engine.engine import Engine, Limits
from stream_tasks._engine.inbox import Inbox, unwound
from stream_tasks._engine.pacing import Pacer, Unpaced
from stream_tasks._engine.tracked import Wait
from stream_tasks._engine.tuning import WAITS_A_TURN
from stream_tasks._http import auth, protocol
from stream_tasks._http.proxies import check_proxies
from stream_tasks._http.tokens import RenewingTransport, Tokens
from stream_tasks._http.transport import Connections, Transport, drop
from stream_tasks._http.trust import system_context
from stream_tasks._misuse import AsyncItems, check_options
from stream_tasks._origins import remember
from stream_tasks._requests import Request, custom
from stream_tasks._results import (
    Goal,
    OperationName,
    check_decodable,
    decode_answer,
    goal_of_ids,
    origin_of,
    outcome_at_once,
    outcome_of,
    resolve,
    result_at_once,
    result_of,
    snapshot_of,
    task_id_in,
)
from stream_tasks._secret import concealed, hidden
from stream_tasks.endpoints import Polled, check_polled
from stream_tasks.exceptions import StreamDecodeException, StreamException
from stream_tasks.instrumentation._hooks import guard
from stream_tasks.instrumentation._naming import naming
from stream_tasks.models import (
    Obstacle,
    R,
    S,
    StartedTask,
    Stats,
    StreamResponse,
    T,
    Task,
    TaskOutcome,
    TaskResult,
)
from stream_tasks.webhooks import TaskEvent

if TYPE_CHECKING:
    import os
    from uuid import UUID

    from stream_tasks._downloads import Chunks, Source
    from stream_tasks._engine.poll import Fetch, Key, Look
    from stream_tasks.instrumentation import Hook

__all__ = ["AsyncStream"]

P = ParamSpec("P")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 - an item of a batch
OnUpdate = Callable[[Task], object]
OnOutcome = Callable[[TaskOutcome[Any]], object]
OnProgress = Callable[[int, int | None], object]
Starting = Callable[..., Coroutine[Any, Any, StartedTask[V]]]

_TASKS = f"{API_PREFIX}/tasks/"

logger = logging.getLogger("stream_tasks")


def _operation(
    build: Callable[P, Request[T]],
) -> Callable[Concatenate[AsyncStream, P], Coroutine[Any, Any, StartedTask[T]]]:
    """Make a method that sends what `build` returns."""

    @functools.wraps(build)
    async def start(self: AsyncStream, *args: P.args, **kwargs: P.kwargs) -> StartedTask[T]:
        return await self._start(build(*args, **kwargs))

    described = _operations.OPERATIONS[build.__name__]
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    start.__signature__ = described.signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *described.signature.parameters.values()],
        return_annotation=f"StartedTask[{described.result_type.__name__}]",
    )
    return cast("Callable[Concatenate[AsyncStream, P], Coroutine[Any, Any, StartedTask[T]]]", start)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "AsyncStream needs asyncio, and no asyncio event loop is running here; use the blocking Stream,"
            " under trio in a thread: await trio.to_thread.run_sync(client.wait_for_task, task_id)"
        ) from None


class _Here(NamedTuple):
    """What a client has on one event loop: its connections, and the engine that polls over them.

    Invariant: neither refers to the client, so that a client that is dropped frees its connections at once.
    """

    transport: Transport
    engine: Engine


class AsyncStream:
    """A client for Stream's long-running tasks, for asyncio.

    It can be made anywhere, also before there is an event loop, and used with or without
    ``async with``. Waits on many tasks share its connections and its quota. So an app needs one client,
    which lives as long as the app does: two clients compete for the same quota.

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
        session: An `aiohttp.ClientSession` to use; it is not closed, and its own connector's limits hold.
        ssl_context: The authorities to trust, in place of the system's.
        trust_env: Whether to heed ``HTTPS_PROXY`` and the like, and passwords in .netrc.
        pacing: Whether all waits together keep within the quota; without it, only `max_connections` holds.
        durations: How long tasks take, as far as another client has learned it: its `durations`, in which
            both then go on learning, or what ``durations.to_json()`` returned.
        learning: Whether to learn how long tasks take, and to look when they are likely to end where the
            quota does not bear all looks; without it, the task comes next that is due for longest.
        hooks: Functions that are called with what happens to this client's waits; see
            `stream_tasks.instrumentation`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is missing, empty or out of range.

    Example:
        >>> async with AsyncStream() as client:
        ...     started = await client.export_channels([{"type": "messaging", "id": "general"}])
        ...     export = await client.wait_for_task(started, timeout=600)
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
        self._api_key = self._origin = ""  # for a repr of what was not made
        # From here on no dump of this frame shows them.
        api_key, api_secret, token, base_url = map(hidden, (api_key, api_secret, token, base_url))
        environment = auth.Environment()
        credentials = auth.credentials(api_key, api_secret, token, environment)
        url = hidden(auth.from_environment(base_url, BASE_URL_VARIABLE, environment))
        self._origin = check_base_url(DEFAULT_BASE_URL if url is None else url)
        self._api_key = credentials.api_key
        self._headers = protocol.request_headers(credentials)
        self._tokens: Tokens | None = None
        self._connections = Connections(
            request_timeout=check_request_timeout(request_timeout),
            connect_timeout=check_seconds("connect_timeout", connect_timeout, positive=True),
            max_connections=check_count("max_connections", max_connections),
            ssl_context=check_instance("ssl_context", ssl_context, ssl.SSLContext)
            or (system_context() if session is None else None),
            trust_env=bool(trust_env),
        )
        if credentials.ask is not None:
            self._tokens = Tokens(credentials.ask, self._connections.request_timeout)
        _json.prepare()  # here, rather than while the first answer waits
        self._not_found_grace = check_seconds("not_found_grace", not_found_grace)
        self._query = protocol.request_target("", self._api_key)
        self._pacer = Pacer if pacing else Unpaced
        self._durations = as_durations(durations)
        self._is_learning = bool(learning)
        self._hooks = guard(hooks)
        self._session = check_instance("session", session, aiohttp.ClientSession)
        if trust_env if session is None else session.trust_env:
            check_proxies(self._origin)
        self._engines: dict[asyncio.AbstractEventLoop, _Here] = {}
        self._is_closed = False
        if protocol.is_plain_http_beyond_loopback(self._origin):
            logger.warning(
                "the token is sent unencrypted: %s is plain http",
                self._origin,
                extra={"stream_event": "plain_http"},
            )
        _sharing.opened(self, self._origin, self._api_key)

    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **options: Any) -> Self:
            names = list(options)
            del args, options  # a dump of this frame would show them
            if cls.__init__ is AsyncStream.__init__:
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
            >>> client = AsyncStream.from_getstream(official)
        """
        options = concealed(options)  # from here on no dump of this frame shows them
        return cls(**settings_of(client), **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(api_key={self._api_key!r}, base_url={self._origin!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{type(self).__name__} holds a token and connections, and cannot be pickled")

    async def __aenter__(self) -> Self:
        self._here()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise TypeError(f"write 'async with' for {type(self).__name__}, or use the blocking Stream")

        def __exit__(self, *_: object) -> None:
            """Not reached: `__enter__` raises."""

    async def aclose(self) -> None:
        """End all waits and close the connections; a session given by the caller stays open.

        Waits still under way on this event loop raise `StreamTransportException`.

        Example:
            >>> await client.aclose()
        """
        self._is_closed = True
        _sharing.closed(self, self._origin, self._api_key)
        here = self._engines.pop(_running_loop(), None)
        if here is not None:
            here.engine.close()
            await here.transport.aclose()

    @property
    def obstacle(self) -> Obstacle | None:
        """What holds back the polls that are due on this event loop, None when nothing does.

        Example:
            >>> if client.obstacle:
            ...     print(client.obstacle.reason, client.obstacle.seconds)
        """
        here = self._engines.get(_running_loop())
        return None if here is None else here.engine.obstacle()

    @property
    def durations(self) -> Durations:
        """How long tasks take, by operation, as far as this client has seen: a mapping; see `Durations`.

        Example:
            >>> for operation, seen in client.durations.items():
            ...     median, most = seen.remaining(30)  # seconds that a task still takes when it is 30 s old
            ...     print(operation, seen.count, median, most)
        """
        return self._durations

    def stats(self) -> Stats:
        """Return a snapshot of what this client does on this event loop, for health pages and notebooks.

        Returns:
            The snapshot; all of it is zero or None before the first call and after the client was closed.

        Example:
            >>> stats = client.stats()
            >>> print(stats.waiting, stats.in_flight, stats.quota, stats.obstacle)
        """
        here = self._engines.get(_running_loop())
        return Stats() if here is None else here.engine.stats()

    def hint(self, about: TaskEvent | str | UUID | StartedTask[Any] | Polled[Any]) -> None:
        """Look at a task at once, since something says that it has ended: a webhook, say.

        Whoever waits for the task is woken by one look, within the quota; what that finds is the truth. If
        nobody waits for it, nothing happens. However many hints come, the looks are at least 50 ms apart. Any
        thread may call this; the waits may be on any event loop.

        Args:
            about: The event, or the task: its id, or what starting an operation returned.

        Raises:
            TypeError: It is none of these.
            ValueError: The id cannot be one.

        Example:
            >>> client.hint(webhooks.parse(body, signature, api_secret))
        """
        key, _ = resolve(
            about.task_id if isinstance(about, TaskEvent) else about, goal_of_ids(), name="about"
        )
        if key is None:
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for loop, found in list(self._engines.items()):
            if loop is here:
                found.engine.hint(key)
            else:
                with contextlib.suppress(RuntimeError):  # it is closed
                    loop.call_soon_threadsafe(found.engine.hint, key)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> StreamResponse[dict[str, Any]]:
        """Call any endpoint.

        Args:
            method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
            path: The path, such as ``/app``; ``/api/v2`` is put before it unless it begins with ``/api/``.
            json: The body.
            params: Query parameters; the key is added. A list is sent as one comma-separated value, a
                mapping as JSON, an aware datetime as RFC 3339; None is left out.

        Returns:
            The answer, its body as a ``dict``.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: The method or the path is not valid.
            StreamException: The request failed.

        Example:
            >>> response = await client.request("GET", "/rate_limits", params={"server_side": True})
            >>> print(response.data, response.rate_limit)
        """
        return await self._send(custom(method, path, TaskResult, json, params))

    async def start_task(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        result_type: type[T] | None = None,
        task_id_at: str = "task_id",
        may_finish_at_once: bool = False,
    ) -> StartedTask[T]:
        """Start an operation that this client has no method for.

        Some answers name their task elsewhere than in ``task_id``; then `task_id_at` says where.

        Args:
            method: The HTTP method.
            path: The path, as for `request`.
            json: The body.
            params: Query parameters, as for `request`.
            result_type: What waiting for the task returns, `TaskResult` without it.
            task_id_at: Where in the answer the task's id is: a key, or keys joined by dots, such as
                ``run.task_id``.
            may_finish_at_once: Whether an answer without the task's id means that the server has done the
                work; otherwise it is an error.

        Returns:
            The started task.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: The method, the path or `task_id_at` is not valid.
            StreamDecodeException: The answer names no task; it shows the keys that came.
            StreamException: The request failed.

        Example:
            >>> started = await client.start_task("POST", "/export/users", json={"user_ids": ["jane"]})
            >>> await client.wait_for_task(started, timeout=600)
        """
        kind = cast("type[T]", TaskResult if result_type is None else check_decodable(result_type))
        request = custom(
            method, path, kind, json, params,
            task_id_at=task_id_at, may_finish_at_once=may_finish_at_once,
        )  # fmt: skip
        return await self._start(request)

    async def get_task(self, task_id: str | UUID) -> StreamResponse[Task]:
        """Look at a task once.

        Args:
            task_id: The task's id.

        Returns:
            The answer; ``response.data.status`` is the task's status.

        Raises:
            TypeError: The id is neither a text nor a UUID.
            ValueError: The id is empty, ``.`` or ``..``.
            StreamException: The request failed.

        Example:
            >>> response = await client.get_task(task_id)
            >>> print(response.data.status, response.rate_limit)
        """
        target = _target(task_id, self._query)
        status, headers, body, connection = await self._here().transport.exchange("GET", target)
        protocol.check_status(status, headers, body)
        task = _task_in(body, connection, check_segment("task_id", task_id))
        return StreamResponse(task, status, headers, protocol.parse_rate_limit(headers))

    async def wait_for_task(
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
            on_update: Called with each new snapshot; may be a coroutine function.

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
            >>> started = await client.export_channels([{"type": "messaging", "id": "general"}])
            >>> export = await client.wait_for_task(started, timeout=600)
            >>> print(export.url)
        """
        engine = self._here().engine
        terms = engine.terms(as_backoff(poll_interval), check_timeout(timeout))
        key, goal = resolve(task, goal_of_ids(result_type, operation), result_type)
        if on_update is not None:
            check_callback("on_update", on_update)
        if key is None:
            return result_at_once(goal)
        final = await wait_for_end(engine, key, terms, on_update, origin_of(task, goal))
        return result_of(str(key), final, goal)

    async def wait_for(
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
            on_update: Called with each new snapshot, a `Snapshot`; may be a coroutine function.

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
            >>> campaign = await client.wait_for(CAMPAIGN.of("spring"), poll_interval=10, timeout=3600)
            >>> print(campaign["stats"])
        """
        check_polled(polled)
        return await self.wait_for_task(
            polled, poll_interval, timeout, result_type=result_type, on_update=on_update
        )

    def watch_task(
        self,
        task: str | UUID | StartedTask[Any] | Polled[Any],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        result_type: type[S] | None = None,
        operation: Starting[S] | OperationName[S] | None = None,
    ) -> AsyncGenerator[Task[S]]:
        """Follow a task: an async iterator over each new snapshot, the final one last.

        A failed task is yielded like any other.

        Args:
            task: A task's id, or what starting an operation returned.
            poll_interval: The least time between two looks, in seconds (the floor is 50 ms), or a `Backoff`.
            timeout: The limit of the whole wait, in seconds; None for no limit, 0 for one look.
            result_type: What to decode the final snapshot's ``result`` to; a ``dict`` without it.
            operation: What started the task: the method of this client or its name. The final snapshot's
                ``result`` then is of the operation's own type.

        Returns:
            An async iterator; each snapshot differs from the one before.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range.
            StreamException: As for `wait_for_task`, but for `StreamTaskException`.

        Example:
            >>> async for task in client.watch_task(task_id, timeout=600):
            ...     print(task.status, task.updated_at)
        """
        backoff, timeout = as_backoff(poll_interval), check_timeout(timeout)
        of_ids = goal_of_ids(result_type, operation)
        key, goal = resolve(task, of_ids)
        if key is None:
            return AsyncItems("watch_task(…)", _each(()))
        engine = self._here().engine
        snapshots = follow(engine, key, engine.terms(backoff, timeout), origin_of(task, goal))
        if result_type is None and operation is None:
            return AsyncItems("watch_task(…)", cast("AsyncGenerator[Task[S]]", snapshots))
        return AsyncItems("watch_task(…)", _typed(snapshots, of_ids))

    async def wait_for_tasks(
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

        Args:
            tasks: Ids, and what starting operations returned.
            poll_interval: The least time between two looks at a task, in seconds, or a `Backoff`. It
                stretches for all alike when the quota does not bear it.
            timeout: The limit of the whole call, in seconds; None for no limit, 0 for one look at each.
            result_type: What to decode the results to, in place of what the tasks were started with.
            operation: What started the tasks of which only ids are known: the method of this client or its
                name, such as ``delete_users``. Their results then are of the operation's own type.
            on_outcome: Called with each outcome as it comes; may be a coroutine function, which is
                awaited to its end, even beyond `timeout`.
            on_update: Called with each new snapshot of any of the tasks; may be a coroutine function.

        Returns:
            An outcome for each id, in the order given, duplicates once. An operation that the server
            did at once has no id: its place in `tasks`, such as ``#3``, stands for it (``##3`` should
            ``#3`` be the id of another).

        Raises:
            TypeError: An argument, or one of `tasks`, has a wrong type.
            ValueError: An argument, or one of `tasks`, is out of range.

        Example:
            >>> outcomes = await client.wait_for_tasks(ids, timeout=600)
            >>> for task_id, outcome in outcomes.items():
            ...     print(task_id, outcome.result() if outcome.ok else outcome.exception())
        """
        backoff, timeout = as_backoff(poll_interval), check_timeout(timeout)
        of_ids = goal_of_ids(result_type, operation)
        check_callback("on_outcome", on_outcome)
        check_callback("on_update", on_update)
        engine = self._here().engine
        terms = engine.terms(backoff, timeout)
        outcomes: dict[Key | int, TaskOutcome[Any] | None] = {}
        at_once: list[TaskOutcome[Any]] = []
        waiting: dict[Key, str | UUID | StartedTask[T] | Polled[T]] = {}
        for number, task in enumerate(check_tasks(tasks), 1):
            key, goal = resolve(task, of_ids, result_type, name=f"tasks, at place {number},")
            if key is None:
                at_once.append(outcome_at_once(goal))
                outcomes[number] = at_once[-1]
            elif not isinstance(waiting.get(key), StartedTask):
                waiting[key] = task
                outcomes[key] = None
        for outcome in at_once:
            await tell(on_outcome, outcome)
        inbox = Inbox(engine, wants_updates=on_update is not None)

        def end(wait: Wait) -> Coroutine[Any, Any, None] | None:
            goal = resolve(waiting[wait.key], of_ids, result_type)[1]
            outcome = outcomes[wait.key] = outcome_of(wait, goal)
            return None if on_outcome is None else tell(on_outcome, outcome)

        try:
            waits = (Wait(key, terms, inbox, origin_of(task, of_ids)) for key, task in list(waiting.items()))
            await wait_for_all(inbox, waits, terms.deadline, end, on_update)
        finally:
            await inbox.close()
        if not all(isinstance(place, str) for place in outcomes):
            outcomes = {_name(place, waiting): outcome for place, outcome in outcomes.items()}
        return cast("dict[str, TaskOutcome[R]]", outcomes)

    def as_completed(
        self,
        tasks: Iterable[str | UUID | StartedTask[T] | Polled[T]]
        | AsyncIterable[str | UUID | StartedTask[T] | Polled[T]],
        poll_interval: float | Backoff = 1.0,
        timeout: float | None = 60.0,
        *,
        max_waiting: int | None = None,
        result_type: type[R] | None = None,
        operation: Starting[R] | OperationName[R] | None = None,
        on_update: OnUpdate | None = None,
    ) -> AsyncGenerator[TaskOutcome[R]]:
        """Wait for many tasks: an async iterator over their outcomes, in the order of completion.

        Leaving the loop stops all other waits. If `tasks` raises, or yields what is no task, no more is
        pulled from it; the waits that have begun go on, and the error is raised after their outcomes.

        Args:
            tasks: Ids, and what starting operations returned; any iterable or async iterable. It is pulled
                as there is room: with `max_waiting` it may be endless.
            poll_interval: The least time between two looks at a task, in seconds, or a `Backoff`.
            timeout: The limit of each wait, from when its task was pulled, in seconds; None for no
                limit, 0 for one look.
            max_waiting: Tasks outstanding at a time; None for no limit.
            result_type: What to decode the results to, in place of what the tasks were started with.
            operation: What started the tasks of which only ids are known: the method of this client or its
                name, such as ``delete_users``. Their results then are of the operation's own type.
            on_update: Called with each new snapshot of any of the tasks, while the next outcome is
                waited for; may be a coroutine function.

        Returns:
            An async iterator; nothing about one task is raised.

        Raises:
            TypeError: An argument, or one of `tasks`, has a wrong type.
            ValueError: An argument, or one of `tasks`, is out of range.
            Exception: Whatever `tasks` raises, as it is.

        Example:
            >>> async for outcome in client.as_completed(ids, timeout=600, max_waiting=1_000):
            ...     print(outcome.task_id, outcome.status, outcome.polls)
        """
        backoff, timeout = as_backoff(poll_interval), check_timeout(timeout)
        if max_waiting is not None:
            max_waiting = check_count("max_waiting", max_waiting)
        check_callback("on_update", on_update)
        of_ids = goal_of_ids(result_type, operation)
        decide = functools.partial(resolve, of_ids=of_ids, result_type=result_type, name="each of tasks")
        source = tasks if isinstance(tasks, AsyncIterable) else _each(check_tasks(tasks))
        outcomes = self._race(source, decide, backoff, timeout, max_waiting=max_waiting, on_update=on_update)
        items = AsyncItems("as_completed(…)", outcomes)
        return remember(items, self, timeout, max_waiting)

    async def _race(
        self,
        source: AsyncIterable[str | UUID | StartedTask[Any] | Polled[Any]],
        decide: Callable[[Any], tuple[Key | None, Goal[Any]]],
        backoff: Backoff,
        timeout: float | None,
        *,
        max_waiting: int | None,
        on_update: OnUpdate | None,
    ) -> AsyncGenerator[TaskOutcome[Any]]:
        """Yield outcomes of what is pulled from `source` as waits end; `decide` says what each is for."""
        engine = self._here().engine
        inbox = Inbox(engine, wants_updates=on_update is not None)
        pulled: dict[Wait, Goal[Any]] = {}
        room = None if max_waiting is None else asyncio.Semaphore(max_waiting)

        def begin(task: str | UUID | StartedTask[Any] | Polled[Any]) -> None:
            self._here()  # or this client was closed in the meantime
            key, goal = decide(task)
            wait = Wait(key or "", engine.terms(backoff, timeout), inbox, origin_of(task, goal))
            pulled[wait] = goal
            if key is None:
                inbox.put(wait)
            else:
                inbox.add(wait)

        # No task group: one must not stay open while the caller's code runs.
        pulling = asyncio.create_task(_pull(source, room, begin))
        pulling.add_done_callback(lambda _: inbox.wake())
        try:
            while not pulling.done() or inbox:
                event = await inbox.next()
                if isinstance(event, Wait):
                    if room is not None:
                        room.release()
                    goal = pulled.pop(event)
                    yield outcome_at_once(goal) if goal.done is not None else outcome_of(event, goal)
                elif event is not None:
                    await tell(on_update, event)
                elif pulling.done():
                    pulling.result()
            if (error := pulling.result()) is not None:
                raise error
        finally:
            pulling.cancel()
            try:
                await unwound([pulling])
                _ = pulling.cancelled() or pulling.exception()  # else asyncio would say that nobody looked
            finally:
                await inbox.close()  # also if the caller is cancelled a second time

    def start_in_batches(
        self,
        operation: Callable[Concatenate[Iterable[I], P], Coroutine[Any, Any, StartedTask[T]]],
        items: Iterable[I] | AsyncIterable[I],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncGenerator[StartedTask[T]]:
        """Start an operation for any number of items: an async iterator over the tasks, one for each batch.

        ``start_in_batches(client.delete_users, user_ids, user="soft")`` starts a task for each 100 users,
        the most that the API takes at once. `items` is pulled and a batch is sent as the next task is asked
        for: leaving the loop starts no more of them. A 429 is waited out for up to five minutes and then
        tried again, as it refuses a batch before anything is done. No other failure is tried again.

        Args:
            operation: A method of this client that takes a list of items: `delete_channels`,
                `export_channels`, `delete_users`, `deactivate_users`, `reactivate_users`, `export_users`
                or `delete_feeds_batch`.
            items: Any iterable or async iterable of what it takes a list of; it may be endless.
            args: Further arguments of `operation`.
            kwargs: Further arguments of `operation`, by name.

        Returns:
            An async iterator of started tasks, ready to be waited for.

        Raises:
            TypeError: `operation`, `items`, another argument or an item has a wrong type.
            ValueError: An argument or an item is out of range; a note says where.
            StreamBatchException: A batch could not be started. It says which, what was started before
                it, and whether the server may have started it all the same.
            Exception: Whatever `items` raises, as it is; a note says where, and which were taken already.

        Example:
            >>> tasks = client.start_in_batches(client.delete_users, user_ids, user="soft")
            >>> async for outcome in client.as_completed(tasks, timeout=600):
            ...     print(outcome.items, outcome.status)
        """
        name = batched_operation(self, operation)
        check_items("items", items, Iterable, AsyncIterable)
        started = start_batches(name, lambda batch: operation(batch, *args, **kwargs), items)
        return AsyncItems("start_in_batches(…)", started)

    async def download(
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
                limit. The download itself has none: `asyncio.timeout` can give it one.
            on_progress: Called with the number of bytes so far, and the size of the whole or None; may be a
                coroutine function.

        Returns:
            The size of the file, in bytes.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range, or there is no http(s) address in `result_or_url`.
            OSError: The file cannot be written: `FileExistsError`, say.
            StreamDownloadException: The download failed for good.
            StreamException: Asking for the link failed, or the export itself.

        Example:
            >>> export = await client.wait_for_task(await client.export_users(["jane"]))
            >>> await client.download(export, "jane.json")
        """
        check_callback("on_progress", on_progress)
        target = check_path("path", path)
        source = self._source(result_or_url, task, link_timeout)
        replaces = check_flag("overwrite", overwrite)
        from stream_tasks import _downloads  # noqa: PLC0415 - few programs need it

        return await _downloads.save(source, target, overwrite=replaces, on_progress=on_progress)

    def open_export(
        self,
        result_or_url: Any,
        *,
        task: str | UUID | StartedTask[Any] | None = None,
        link_timeout: float | None = 120.0,
        on_progress: OnProgress | None = None,
    ) -> Chunks:
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
            on_progress: Called with the number of bytes so far, and the size of the whole or None; may be a
                coroutine function.

        Returns:
            An async iterator over chunks of bytes, which is also an async context: its end ends the download.
            Nothing is sent before the first chunk is asked for. Only its regular end says that all has come.

        Raises:
            TypeError: An argument has a wrong type.
            ValueError: An argument is out of range, or there is no http(s) address in `result_or_url`.
            StreamDownloadException: The download failed for good.
            StreamException: Asking for the link failed, or the export itself.

        Example:
            >>> export = await client.wait_for_task(await client.export_users(["jane"]))
            >>> async with client.open_export(export) as chunks:
            ...     async for chunk in chunks:
            ...         await upload(chunk)
        """
        check_callback("on_progress", on_progress)
        source = self._source(result_or_url, task, link_timeout)
        from stream_tasks import _downloads  # noqa: PLC0415 - as above

        return _downloads.Chunks(_downloads.chunks(source, on_progress))

    def _source(
        self, given: Any, task: str | UUID | StartedTask[Any] | None, link_timeout: float | None
    ) -> Source:
        from stream_tasks import _downloads  # noqa: PLC0415 - as above

        if link_timeout is not None:
            check_seconds("link_timeout", link_timeout)
        self._here()  # or this client is closed
        export = _downloads.export_of(given, task)
        return export.source(lambda task: self.wait_for_task(task, timeout=link_timeout), self._connections)

    delete_channels = _operation(_operations.delete_channels)
    export_channels = _operation(_operations.export_channels)
    update_channels_batch = _operation(_operations.update_channels_batch)
    delete_users = _operation(_operations.delete_users)
    deactivate_users = _operation(_operations.deactivate_users)
    reactivate_users = _operation(_operations.reactivate_users)
    export_users = _operation(_operations.export_users)
    import_block_list = _operation(_operations.import_block_list)
    delete_call = _operation(_operations.delete_call)
    delete_feed = _operation(_operations.delete_feed)
    delete_feeds_batch = _operation(_operations.delete_feeds_batch)
    delete_feed_user_data = _operation(_operations.delete_feed_user_data)
    export_feed_user_data = _operation(_operations.export_feed_user_data)
    bulk_image_moderation = _operation(_operations.bulk_image_moderation)
    create_import = _operation(_operations.create_import)
    create_import_v2_task = _operation(_operations.create_import_v2_task)
    start_policy_test_run = _operation(_operations.start_policy_test_run)
    check_moderation = _operation(_operations.check_moderation)

    @property
    def _is_left_open(self) -> bool:
        """Whether it may still be used: if all its event loops have been closed, it was only forgotten."""
        loops = list(self._engines)
        return not loops or not all(loop.is_closed() for loop in loops)

    def _here(self) -> _Here:
        loop = _running_loop()
        here = self._engines.get(loop)
        return self._begin(loop) if here is None else here

    def _begin(self, loop: asyncio.AbstractEventLoop) -> _Here:
        if self._is_closed:
            raise RuntimeError("this client is closed")
        if getattr(asyncio, "_nest_patched", False) and asyncio.current_task() is None:
            raise RuntimeError(
                "nest_asyncio breaks asyncio on this version of Python: no task is known to run; use"
                " nest_asyncio2 in its place"
            )
        # A client may outlive its loops: one for each asyncio.run, say. Other threads come here too.
        for other in list(self._engines):
            if other.is_closed():
                self._engines.pop(other, None)
        settings = (self._connections, self._origin, self._headers, self._session)
        transport = (
            Transport(*settings) if self._tokens is None else RenewingTransport(*settings, self._tokens)
        )
        limits = Limits(
            self._connections.max_connections, self._connections.request_timeout, self._not_found_grace
        )
        durations = self._durations if self._is_learning else None
        engine = Engine(self._look_over(transport), self._pacer, limits, durations, self._hooks)
        # The loop may end first. Weakly: the engine keeps the connections already.
        transport.on_end = weakref.WeakMethod(engine.close)
        here = self._engines[loop] = _Here(transport, engine)
        return here

    def _look_over(self, transport: Transport) -> Fetch:
        return functools.partial(_look, transport, self._query)

    async def _send(self, request: Request[Any]) -> StreamResponse[dict[str, Any]]:
        target = protocol.request_target(request.path, self._api_key, request.params)
        body = None if request.json is None else _json.dumps(request.json)
        with naming(request.operation):
            status, headers, content, _ = await self._here().transport.exchange(
                request.method, target, body=body
            )
        protocol.check_status(status, headers, content)
        data = _json.structure(_json.loads(content) if content else {}, dict[str, Any])
        return StreamResponse(data, status, headers, protocol.parse_rate_limit(headers))

    async def _start(self, request: Request[T]) -> StartedTask[T]:
        data = (await self._send(request)).data
        task_id = task_id_in(data, request)
        result = None if task_id is not None else decode_answer(data, request.result_type)
        return StartedTask(
            task_id, data, request.result_type, result, request.operation, request.items, started=time.time()
        )


def _target(key: str | UUID | Polled[Any], query: str) -> str:
    if isinstance(key, Polled):
        return f"{key.path}{query}"
    return f"{_TASKS}{path_segment('task_id', key)}{query}"


async def _look(transport: Transport, query: str, key: Key, limit: float) -> Look:
    """Look at a task for the engine, which has no use for the whole answer."""
    target = _target(key, query)
    try:
        status, headers, body, connection = await transport.exchange(
            "GET", target, limit=limit, shows_headers=False
        )
        protocol.check_status(status, headers, body)
        quota = protocol.parse_rate_limit(headers)
        del headers  # should the body not fit, a dump of this frame would show them
        task = _task_in(body, connection, key)
    except StreamException:
        check_clock(asyncio.get_running_loop())
        raise
    if not task.is_final:
        check_clock(asyncio.get_running_loop())
    return task, quota


def _task_in(body: bytes, connection: Any, key: Key) -> Task:
    """Read the answer about a task; one that is not gives its connection up."""
    try:
        if isinstance(key, str):
            return _json.structure_task(body, key)
        return _json.structure_snapshot(body, key)
    except StreamDecodeException:
        drop(connection)
        del connection  # a dump of this frame would show what it has read
        raise


def _name(place: Key | int, keys: Container[Key]) -> str:
    """Return what stands for a task in a mapping: its id, or a text for its place that is not another id.

    Of what is polled elsewhere it is the id, too, unless a task has the same one; then it is the path.
    """
    if isinstance(place, str):
        return place
    if not isinstance(place, int):
        return place.path if place.id in keys else place.id
    key = f"#{place}"
    while key in keys:
        key = f"#{key}"
    return key


async def _pull(
    source: AsyncIterable[T], room: asyncio.Semaphore | None, begin: Callable[[T], None]
) -> Exception | None:
    """Take from `source` as there is room, and give other coroutines their turn.

    Returns:
        What broke `source`, or None at its end. What was taken before is waited for in either case.
    """
    rest = aiter(source)
    taken = 0
    while True:
        taken += 1
        if taken % WAITS_A_TURN == 0:
            await anyio.lowlevel.checkpoint()
        if room is not None:
            await room.acquire()
        try:
            begin(await anext(rest))
        except StopAsyncIteration:
            return None
        except Exception as exc:  # noqa: BLE001 - it is raised when its turn comes
            return exc


async def _typed(snapshots: AsyncGenerator[Task], goal: Goal[S]) -> AsyncGenerator[Task[S]]:
    async with contextlib.aclosing(snapshots) as each:
        async for task in each:
            yield snapshot_of(task, goal)


async def _each(items: Iterable[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item
