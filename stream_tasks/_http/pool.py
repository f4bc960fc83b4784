"""Connections that carry only answers to what was asked on them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import aiohttp

if sys.platform != "win32":
    import fcntl
    import termios

from stream_tasks._secret import plain

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.http_parser import HttpParser
    from aiohttp.tracing import Trace

__all__ = ["Connector", "Request", "send_on_silent_connections"]

_TURNS: Final = 3
"""In so many turns an event loop has read what its sockets held before."""

_MOST_TRIES: Final = 10
"""So many connections of a caller's session are tried for one request."""


class _SpokeFirstError(Exception):
    """Raised in place of sending a request on a connection on which the server spoke first."""


class Request(aiohttp.ClientRequest):
    """A request that has a connection of its own, unless it is a GET.

    An answer of HTTP/1.1 does not say which request it belongs to. That of a look at a task holds the task's
    id, but nothing tells that the answer to a start is not a late one to what was asked before. Nor can a
    start be sent again if the server closes an idle connection just then.
    """

    @property
    def connection_key(self) -> ConnectionKey:
        """What connections must have in common to carry this request."""
        key = super().connection_key
        return key if self.method == "GET" else key._replace(proxy_headers_hash=id(self))


class Connector(aiohttp.TCPConnector):
    """A pool that gives out no connection on which the server spoke while no request was out.

    What it said would be taken for the answer to the next request.

    Args:
        authorization: What each request has in its header of that name, or None. It is added last: aiohttp
            would refuse it beside a password from .netrc, and recorders of requests would keep it.
        options: Further arguments of aiohttp's connector.
    """

    def __init__(self, authorization: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._authorization = authorization

    def authorize(self, authorization: str) -> None:
        """Give requests from now on another header ``Authorization``."""
        self._authorization = authorization

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Take a connection from the pool, or make one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if _is_silent(connection) or await _is_silent_but_for_tls(connection):
                if connection.protocol is not None and req.method != "GET":
                    connection.protocol.force_close()  # when it has been answered
                if self._authorization is not None:
                    req.headers["Authorization"] = plain(self._authorization)
                return connection
            is_new = _parser(connection.protocol) is None
            connection.close()
            if is_new:
                raise aiohttp.ClientConnectionError("the server spoke or left before it was asked")


async def send_on_silent_connections(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Do for one request what `Connector` does: a middleware for sessions that have another connector."""
    send = request.send

    async def send_if_silent(conn: Connection) -> aiohttp.ClientResponse:
        if _is_silent(conn) or await _is_silent_but_for_tls(conn):
            return await send(conn)
        raise _SpokeFirstError

    request.send = send_if_silent  # type: ignore[method-assign]
    for _ in range(_MOST_TRIES):
        try:
            return await handler(request)
        except _SpokeFirstError:
            await _let_the_loop_read()  # then those that have ended leave the pool, as this one did
    raise aiohttp.ClientConnectionError("the server speaks or leaves before it is asked")


def _is_silent(connection: Connection) -> bool:
    """Whether nothing came for which nobody asked, also not into the socket."""
    protocol, transport = connection.protocol, connection.transport
    return (
        protocol is not None
        and transport is not None
        and not _holds_bytes(protocol)
        and not _is_readable(transport)
    )


async def _is_silent_but_for_tls(connection: Connection) -> bool:
    """Whether what is in the socket is of TLS alone, such as the tickets that follow a handshake."""
    transport = connection.transport
    if transport is None or transport.get_extra_info("sslcontext") is None:
        return False
    try:
        await _let_the_loop_read()
    except BaseException:
        connection.close()
        raise
    return not connection.closed and _is_silent(connection)


async def _let_the_loop_read() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _is_readable(transport: asyncio.Transport) -> bool:
    """Whether the socket holds bytes that the loop has not read yet."""
    socket = transport.get_extra_info("socket")
    if socket is None or sys.platform == "win32":  # whose loop has asked for the bytes beforehand
        return False
    # Not by `select` or `socket`: gevent and eventlet replace these, and would switch greenlets here.
    try:
        return any(fcntl.ioctl(socket.fileno(), termios.FIONREAD, bytes(4)))
    except OSError:
        return True  # it is broken


def _holds_bytes(protocol: ResponseHandler) -> bool:
    """Whether the loop has read bytes that belong to no answer, also when they are a part of a head only."""
    if protocol.should_close:
        return True
    parser = _parser(protocol)
    if parser is None:
        return False
    try:
        # aiohttp's parser in Python keeps the lines of a head that it cannot make sense of.
        return parser.feed_eof() is not None or bool(getattr(parser, "_lines", ()))
    except Exception:  # noqa: BLE001 - what it has read is no head
        return True


def _parser(protocol: ResponseHandler | None) -> HttpParser[Any] | None:
    """Return what reads the answers on a connection, None before the first request."""
    return getattr(protocol, "_parser", None)
