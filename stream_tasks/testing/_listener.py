"""The server's sockets, on the caller's loop or in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web
from attrs import frozen

from stream_tasks.testing._clock import ServerLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Listener"]

_STOP_GRACE: Final = 0.05  # seconds that answers under way get
_BACKLOG: Final = 4096  # thousands of waits may connect at once

Respond: TypeAlias = "Callable[[asyncio.Future[None], web.BaseRequest], Awaitable[web.StreamResponse]]"


@frozen
class _Running:
    listener: asyncio.Server
    connections: web.Server
    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Future[None]  # frees the requests that hang


class Listener:
    """Listens on a port, which it keeps when it is started again.

    Args:
        host: The address to listen on.
        port: The port; 0 for any free one.
        respond: Responds to a request; its first argument is done when the server stops.
    """

    def __init__(self, host: str, port: int, respond: Respond) -> None:
        self._host = host
        self._port = port
        self._respond = respond
        self._running: _Running | None = None
        self._leave_thread: Callable[[], None] = lambda: None

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._running is not None

    @property
    def url(self) -> str:
        """The base URL.

        Raises:
            RuntimeError: It has never been started.
        """
        if not self._port:
            raise RuntimeError("the server has no address before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            RuntimeError: The server runs already, or no asyncio event loop does.
            OSError: The port is taken.
        """
        if self._running is not None:
            raise RuntimeError("the server runs already")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "no asyncio event loop is running here; use a plain `with FakeStream()`, also under trio"
            ) from None
        stopping = loop.create_future()
        connections = web.Server(partial(self._respond, stopping), access_log=None, handler_cancellation=True)
        listener = await loop.create_server(connections, self._host, self._port, backlog=_BACKLOG)
        self._port = listener.sockets[0].getsockname()[1]
        self._running = _Running(listener, connections, loop, stopping)

    async def stop(self) -> None:
        """Stop listening and end all connections, hanging ones too; may be called again.

        Raises:
            RuntimeError: The server runs on another loop.
        """
        running = self._running
        if running is None:
            return
        if running.loop is not asyncio.get_running_loop():
            raise RuntimeError("the server runs on another loop; leave its `with` block, or stop it there")
        self._running = None
        with suppress(NotImplementedError):  # Windows' default loop
            for listening in running.listener.sockets:
                running.loop.remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(
                0
            )  # a connection that was just accepted is among the connections after 3 turns
        running.listener.close()
        running.stopping.set_result(None)
        connections = running.connections.connections
        transports = [connection.transport for connection in connections if connection.transport is not None]
        await running.connections.shutdown(_STOP_GRACE)
        for transport in transports:
            transport.abort()  # a client that does not read would keep it open
        await running.listener.wait_closed()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    def start_thread(self) -> None:
        """Begin to listen on a loop in a daemon thread.

        Raises:
            RuntimeError: The server runs already.
            OSError: The port is taken.
        """
        started: Future[Callable[[], object]] = Future()
        thread = threading.Thread(target=self._run, args=(started,), name="FakeStream", daemon=True)
        thread.start()
        end = started.result()

        def leave() -> None:
            end()
            thread.join()

        self._leave_thread = leave

    def stop_thread(self) -> None:
        """Stop listening in the thread, and wait for its end; may be called again."""
        leave, self._leave_thread = self._leave_thread, lambda: None
        leave()

    def _run(self, started: Future[Callable[[], object]]) -> None:
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
