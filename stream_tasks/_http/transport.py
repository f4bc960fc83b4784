"""The only aiohttp client code: one exchange at a time, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
import sys
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
from aiohttp import http_exceptions
from attrs import frozen
from yarl import URL

from stream_tasks._http.body import MAX_BODY, read
from stream_tasks._http.limits import Limit
from stream_tasks._http.masking import MASK, mask_error, mask_escaped, mask_headers
from stream_tasks._http.pool import Connector
from stream_tasks._http.protocol import FIRST_ERROR, FIRST_SERVER_ERROR, without_zone
from stream_tasks._http.session import BrokenError, Requests, open_session
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_CONNECTION_RESET,
    TRANSPORT_ERROR_DNS_FAILURE,
    TRANSPORT_ERROR_TIMEOUT,
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    TRANSPORT_ERROR_UNKNOWN,
    StreamTransportException,
)
from stream_tasks.instrumentation._naming import OPERATION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from aiohttp.client_proto import ResponseHandler

__all__ = ["Answer", "Connections", "Transport", "drop", "error_type"]

logger = logging.getLogger("stream_tasks")

_BEGINNING: Final = 2**16
"""What is kept of an error's body that is too large, in bytes."""

_SHORTEST: Final = 0.001  # aiohttp takes a limit of zero or less for none

_RECEIVED: Final = 2**18
"""As much is received at a time, in bytes, by asyncio."""

# Most specific first.
_ERROR_TYPES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ClientSSLError, TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED),
    (aiohttp.ServerFingerprintMismatch, TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED),
    (ssl.SSLError, TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED),
    (aiohttp.ClientConnectorDNSError, TRANSPORT_ERROR_DNS_FAILURE),
    (socket.gaierror, TRANSPORT_ERROR_DNS_FAILURE),
    (UnicodeError, TRANSPORT_ERROR_DNS_FAILURE),  # a host that can be no name
    (TimeoutError, TRANSPORT_ERROR_TIMEOUT),
    (aiohttp.ClientConnectionError, TRANSPORT_ERROR_CONNECTION_RESET),
    (aiohttp.ClientPayloadError, TRANSPORT_ERROR_CONNECTION_RESET),
    (ConnectionError, TRANSPORT_ERROR_CONNECTION_RESET),
    (OSError, TRANSPORT_ERROR_CONNECTION_RESET),
    (aiohttp.ClientError, TRANSPORT_ERROR_UNKNOWN),
    (http_exceptions.HttpProcessingError, TRANSPORT_ERROR_UNKNOWN),
    (asyncio.IncompleteReadError, TRANSPORT_ERROR_CONNECTION_RESET),
)
_ERRORS: Final = tuple(kind for kind, _ in _ERROR_TYPES)


def error_type(exc: BaseException) -> str:
    """Classify a lower library's error."""
    return next((name for kind, name in _ERROR_TYPES if isinstance(exc, kind)), TRANSPORT_ERROR_UNKNOWN)


class Answer(NamedTuple):
    """What came back: everything that the protocol needs, and what it came over."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    connection: ResponseHandler | None = None


def drop(connection: ResponseHandler | None) -> None:
    """Close a connection on which an answer came that belongs to another request."""
    if connection is not None:
        connection.close()


@frozen
class Connections:
    """How connections are made.

    Attributes:
        request_timeout: The limit of one exchange, in seconds, the wait for a connection included.
        connect_timeout: The limit of TCP and TLS set-up, in seconds.
        max_connections: Open connections at the most.
        ssl_context: What to trust, or None for the system's authorities.
        trust_env: Whether HTTP_PROXY and its kin are heeded.
    """

    request_timeout: float = 30.0
    connect_timeout: float = 10.0
    max_connections: int = 100
    ssl_context: ssl.SSLContext | None = None
    trust_env: bool = False

    def timeout(self, total: float | None) -> aiohttp.ClientTimeout:
        """Limit an exchange; aiohttp would round times over five seconds up to whole ones."""
        return aiohttp.ClientTimeout(total=total, sock_connect=self.connect_timeout, ceil_threshold=math.inf)


class Transport:
    """One client's connections on one event loop."""

    def __init__(
        self,
        connections: Connections,
        origin: str,
        headers: Mapping[str, str],
        session: aiohttp.ClientSession | None,
    ) -> None:
        # glibc maps and unmaps memory of this size anew for each answer, which takes a tenth of the time,
        # until something larger has been freed once.
        bytes(2 * _RECEIVED)
        self._connections = connections
        origin, host = without_zone(origin)
        self._headers = headers if host is None else MappingProxyType({**headers, "Host": host})
        self._limit = Limit(connections.request_timeout)
        self._timeout = connections.timeout(None)
        self._prefix = URL(origin, encoded=True).raw_path.rstrip("/")

        # Parsing a URL takes long, and giving one another path does not.
        @functools.lru_cache(maxsize=8)
        def base(query: str) -> URL:
            return URL(f"{origin}?{query}", encoded=True)

        self._base = base
        self._requests = Requests(self._headers, session, connections.ssl_context)
        self._loop = asyncio.get_running_loop()
        self._lifetime: AsyncGenerator[aiohttp.ClientSession] | None = None
        self._session = session
        self._has_own_session = session is None
        self._is_closed = False
        self.on_end: weakref.WeakMethod[Callable[[], None]] | None = None
        # Whether the server may have closed a connection since it last answered.
        self._may_be_stale = False

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        limit: float = math.inf,
        shows_headers: bool = True,
    ) -> Answer:
        """Send one request and read its whole answer; of an error over 16 MiB, the beginning.

        Args:
            method: The HTTP method.
            target: Path and query, encoded.
            body: JSON, or None.
            limit: The time that is left, in seconds, when that is less than the request time-out.
            shows_headers: Whether somebody may see the headers of a good answer: then the token is
                taken out of them, which takes polls too long.

        Raises:
            StreamTransportException: No usable answer came.
            StreamDecodeException: The body is over 16 MiB, and the status is a good one.
        """
        session = self._session or await self._open()
        if session.closed:
            raise RuntimeError("the session is closed")
        options = self._requests.options(method, body, may_be_stale=self._may_be_stale)
        begun = self._loop.time()
        timeout = (
            self._timeout
            if limit >= self._limit.seconds
            else self._connections.timeout(max(limit, _SHORTEST))
        )
        token = self._headers["Authorization"]  # another one may take its place meanwhile
        path, _, query = target.partition("?")
        url = self._base(query).with_path(self._prefix + path, encoded=True, keep_query=True)
        handled = sys.exception()
        try:
            with self._limit:
                response = session.request(method, url, timeout=timeout, **options)
                answer = await self._receive(await response, token, shows_headers=shows_headers)
        except _ERRORS as exc:
            if (refusal := _refusal(exc)) is not None:
                return refusal
            raise self._failed(exc, handled, method, url, begun) from exc
        except BrokenError as broken:
            broken.__traceback__ = None  # as below
            raise self._failed(broken.cause, handled, method, url, begun) from broken.cause
        except BaseException as exc:
            exc.__traceback__ = None  # the variables of aiohttp's frames hold the token
            raise
        self._may_be_stale = True
        if logger.isEnabledFor(logging.DEBUG):
            self._log(method, url, begun, status_code=answer.status)
        return answer

    def _use_headers(self, headers: Mapping[str, str]) -> None:
        """Send other headers from now on."""
        self._headers = headers
        if not self._has_own_session:
            self._requests = Requests(headers, self._session, self._connections.ssl_context)
        elif self._session is not None and isinstance(self._session.connector, Connector):
            self._session.connector.authorize(headers["Authorization"])

    async def _receive(self, response: aiohttp.ClientResponse, token: str, *, shows_headers: bool) -> Answer:
        """Read an answer, and take the token out of it, since gateways print what they were sent."""
        try:
            # A middleware has read what came over a caller's session.
            content = await (read(response) if self._has_own_session else response.read())
        except BaseException:
            response.close()
            del response  # a dump of this frame would show its headers
            raise
        headers: Mapping[str, str] = response.headers
        current = self._headers["Authorization"]
        for secret in (token,) if token is current else (token, current):
            content = content.replace(secret.encode(), MASK)
            if b"\\" in content:
                content = mask_escaped(content, secret)
            if shows_headers or response.status >= FIRST_ERROR:
                headers = mask_headers(headers, secret)
        if len(content) > MAX_BODY:
            content = content[:_BEGINNING]
        # aiohttp has put the connection back into its pool, and only here still knows which it was.
        return Answer(response.status, headers, content, getattr(response, "_protocol", None))

    def _failed(
        self, exc: BaseException, handled: BaseException | None, method: str, url: URL, begun: float
    ) -> StreamTransportException:
        mask_error(exc, self._headers["Authorization"], handled)
        self._may_be_stale = False
        error = _transport_error(exc)
        self._log(method, url, begun, error_type=error.error_type)
        return error

    def _log(self, method: str, url: URL, begun: float, **facts: str | int) -> None:
        duration = self._loop.time() - begun
        logger.debug(
            "%s %s: %s in %.3f s",
            method,
            url.raw_path,
            *facts.values(),
            duration,
            extra={
                "stream_event": "request",
                "stream_method": method,
                "stream_path": url.raw_path,
                "stream_operation": OPERATION.get(),
                "stream_duration": duration,
                **{f"stream_{name}": fact for name, fact in facts.items()},
            },
        )

    async def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            # A poll may have been on its way here: nobody would close what it opened.
            raise RuntimeError("this client is closed")
        self._lifetime = _lifetime(self._connections, self._headers, self.on_end)
        self._session = await anext(self._lifetime)
        # Not __del__: in a cycle of garbage the session's own could come first.
        weakref.finalize(self, _drop, self._loop, self._session).atexit = False
        return self._session

    async def aclose(self) -> None:
        """Close what was opened here; a caller's session stays open."""
        self._is_closed = True
        self._limit.close()
        if self._lifetime is not None:
            await self._lifetime.aclose()


def _drop(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    """Let go of a session whose loop was closed without ceremony: aiohttp would complain."""
    connector = session.connector
    if loop.is_closed() and connector is not None:
        session.detach()
        # On a closed loop there is nothing to wait for: its one step is all of it.
        with contextlib.suppress(StopIteration):
            next(connector.close().__await__())


async def _lifetime(
    connections: Connections,
    headers: Mapping[str, str],
    on_end: weakref.WeakMethod[Callable[[], None]] | None,
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Hold a session open.

    An event loop closes its generators before it ends, and when they are collected: so a session
    that nobody closed is closed in time, and on its own loop.
    """
    session = open_session(
        headers,
        connections=connections.max_connections,
        trust_env=connections.trust_env,
        ssl_context=connections.ssl_context,
    )
    try:
        yield session
    finally:
        if on_end is not None and (end := on_end()) is not None:
            end()
        await session.close()


def _refusal(exc: BaseException) -> Answer | None:
    """Return as an answer, as it is one over plain http, that a proxy refuses to connect, and for good."""
    if not isinstance(exc, aiohttp.ClientHttpProxyError) or exc.status >= FIRST_SERVER_ERROR:
        return None
    return Answer(exc.status, exc.headers or {}, f"the proxy refuses: {exc.message}".encode())


def _transport_error(exc: BaseException) -> StreamTransportException:
    kind = error_type(exc)
    # What aiohttp says of its TLS settings tells a reader nothing.
    said = str(exc).replace(" ssl:default [", " [", 1)
    return StreamTransportException(kind, f"{said or type(exc).__name__} ({kind})")
