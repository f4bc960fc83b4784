"""The server: sockets, faults and the log."""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from attrs import frozen

from stream_tasks._arguments import check_callback
from stream_tasks.testing._answers import error_answer
from stream_tasks.testing._app import FakeApp
from stream_tasks.testing._checks import check_count
from stream_tasks.testing._clock import ServerLoop, now
from stream_tasks.testing._quota import RateLimitRule
from stream_tasks.testing._requests import read_request
from stream_tasks.testing._sockets import cut, reset, respond
from stream_tasks.testing._texts import counted

__all__ = ["FakeStream"]

_SECRET: Final = "fake-secret-of-64-characters-as-long-as-those-that-stream-issues"  # noqa: S105 - it opens nothing
_STOP_GRACE: Final = 0.05  # seconds that answers under way get
_BACKLOG: Final = 4096  # thousands of waits may connect at once


@frozen
class _Running:
    listener: asyncio.Server
    connections: web.Server
    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Future[None]  # frees the requests that hang


class FakeStream(FakeApp):
    """A Stream server on a loopback port.

    Used with ``async with`` it runs on the caller's loop, with plain ``with`` on a loop of its own in a
    daemon thread. It can be stopped and started again; it keeps its port.

    If a function given by a test fails, as a `result` may, the client gets a 500 that it does not try
    again, and the next assertion raises the exception, or the end of the ``with`` block.

    Args:
        api_key: The key that requests must name.
        api_secret: The secret that their tokens must be signed with.
        host: The address to listen on.
        port: The port to listen on; 0 for any free one.
        rate_limit: The rule for looking at tasks, or a number of calls a minute; None for no limit.
        clock: The time in seconds for tasks, windows and the log; by default that of a `VirtualClock` while
            one runs, else the real one.

    Attributes:
        api_key: The key that requests must name.
        api_secret: The secret that their tokens must be signed with.
        requests: What was asked, in order of arrival.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        api_key: str = "fake-key",
        api_secret: str = _SECRET,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_limit: RateLimitRule | int | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        for name, value in (("api_key", api_key), ("api_secret", api_secret), ("host", host)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a text, not {type(value).__name__}")
        check_count("port", port, most=65535)
        check_callback("clock", clock)
        super().__init__(api_key, api_secret, rate_limit, clock)
        self._host = host
        self._port = port
        self._running: _Running | None = None
        self._leave_thread: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        state = "stopped" if self._running is None else self.url
        tasks, requests = counted(len(self._tasks), "task"), counted(len(self.requests), "request")
        return f"<{type(self).__name__} {state}, {tasks}, {requests}{self._plans()}>"

    @property
    def url(self) -> str:
        """The base URL for clients.

        Raises:
            RuntimeError: If the server has never been started.
        """
        if not self._port:
            raise RuntimeError("the server has no address before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which clients that are given nothing find this server."""
        return {
            "STREAM_API_KEY": self.api_key,
            "STREAM_API_SECRET": self.api_secret,
            "STREAM_BASE_URL": self.url,
        }

    def clear(self) -> None:
        """Forget all but the rules: tasks, scripts, files, failing items, faults, the log, what was spent."""
        super().clear()
        self.requests.clear()

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            RuntimeError: If the server runs already, or no asyncio event loop does.
            OSError: If the port is taken.
        """
        if self._running is not None:
            raise RuntimeError("the server runs already")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "no asyncio event loop is running here; use a plain `with FakeStream()`, under trio, too"
            ) from None
        stopping = loop.create_future()
        connections = web.Server(partial(self._handle, stopping), access_log=None, handler_cancellation=True)
        listener = await loop.create_server(connections, self._host, self._port, backlog=_BACKLOG)
        self._port = listener.sockets[0].getsockname()[1]
        self._running = _Running(listener, connections, loop, stopping)

    async def stop(self) -> None:
        """Stop listening and end all connections, hanging ones too; may be called again.

        Raises:
            RuntimeError: If the server runs on another loop.
        """
        running = self._running
        if running is None:
            return
        if running.loop is not asyncio.get_running_loop():
            raise RuntimeError("the server runs on another loop; leave its `with` block, or stop it there")
        self._running = None
        with suppress(NotImplementedError):  # Windows' default loop
            for listening in running.listener.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)  # so many turns until one that was just accepted is among the connections
        running.listener.close()
        running.stopping.set_result(None)
        connections = running.connections.connections
        transports = [connection.transport for connection in connections if connection.transport is not None]
        await running.connections.shutdown(_STOP_GRACE)
        for transport in transports:
            transport.abort()  # a client that does not read would keep it open
        await running.listener.wait_closed()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._own_up_after(error)

    def __enter__(self) -> Self:
        started: Future[Callable[[], object]] = Future()
        thread = threading.Thread(target=self._run, args=(started,), name="FakeStream", daemon=True)
        thread.start()
        end = started.result()

        def leave() -> None:
            end()
            thread.join()

        self._leave_thread = leave
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave, self._leave_thread = self._leave_thread, lambda: None  # it may be left twice
        leave()
        self._own_up_after(error)

    def _own_up_after(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, Exception):  # no cancellation or Ctrl-C is replaced
            self._own_up()

    def _run(self, started: "Future[Callable[[], object]]") -> None:
        loop = ServerLoop()

        async def serve() -> None:
            ended = asyncio.Event()
            await self.start()
            started.set_result(partial(loop.call_soon_threadsafe, ended.set))
            await ended.wait()
            loop.is_awaited = True  # what a stop waits for must come
            await self.stop()

        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except Exception as error:  # noqa: BLE001 - the thread that waits raises it
            started.set_exception(error)

    async def _handle(self, stopping: asyncio.Future[None], http: web.BaseRequest) -> web.StreamResponse:
        too_large = None
        try:
            body = await http.read() if http.body_exists else b""
        except web.HTTPRequestEntityTooLarge:
            body, too_large = b"", error_answer(413, "the body is too large")
        request = read_request(http, body, self._clock())
        place = len(self.requests)
        self.requests.append(request)
        fault = self._next_fault(request)
        if fault is None:
            answer = too_large or self._answer(request)
            self._note(place, request, answer)
            return respond(http, answer, self._wall_time())
        if fault.pause and not await _pause(fault.pause, stopping):
            return reset(http)
        if fault.breaks == "reset":
            return reset(http)
        answer = fault.answer if fault.answer and not fault.metered else self._answer(request, fault.answer)
        answer = answer.under(fault.overrides)
        if fault.breaks == "cut":
            return await cut(http, answer, self._wall_time())
        self._note(place, request, answer)
        return respond(http, answer, self._wall_time())


async def _pause(seconds: float, stopping: asyncio.Future[None]) -> bool:
    """Wait; return False if the server was stopped meanwhile."""
    await asyncio.wait([stopping], timeout=None if math.isinf(seconds) else seconds)
    return not stopping.done()
