"""The only aiohttp client code: one exchange at a time, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import math
import socket
import ssl
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
from aiohttp import http_exceptions
from attrs import frozen
from yarl import URL

from stream_tasks._http.limits import Limit
from stream_tasks._http.masking import MASK, mask_error, mask_escaped, mask_headers
from stream_tasks._http.protocol import FIRST_ERROR
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_CONNECTION_RESET,
    TRANSPORT_ERROR_DNS_FAILURE,
    TRANSPORT_ERROR_TIMEOUT,
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    TRANSPORT_ERROR_UNKNOWN,
    StreamDecodeException,
    StreamTransportException,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

__all__ = ["Answer", "Connections", "Transport", "error_type"]

logger = logging.getLogger("stream_tasks")

MAX_BODY: Final = 16 * 2**20
"""The largest body that is taken, in bytes, after decompression."""

_KEEP_ALIVE: Final = 55.0  # Stream's load balancers cut idle connections at 60 s

_BEGINNING: Final = 2**16
"""What is kept of an error's body that is too large, in bytes."""

_SHORTEST: Final = 0.001  # aiohttp takes a limit of zero or less for none

_LARGE: Final = 2**20  # aiohttp warns of bytes as large as this

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
    """What came back: everything that the protocol needs."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
        self._headers = headers
        self._limit = Limit(connections.request_timeout)
        self._timeout = connections.timeout(None)
        self._prefix = URL(origin, encoded=True).raw_path.rstrip("/")

        # Parsing a URL takes long, and giving one another path does not.
        @functools.lru_cache(maxsize=8)
        def base(query: str) -> URL:
            return URL(f"{origin}?{query}", encoded=True)

        self._base = base
        self._options: dict[str, Any] = {"allow_redirects": False, "raise_for_status": False}
        self._loop = asyncio.get_running_loop()
        self._lifetime: AsyncGenerator[aiohttp.ClientSession] | None = None
        self._session = session
        self._is_closed = False
        self.on_end: weakref.WeakMethod[Callable[[], None]] | None = None
        # Whether the server may have closed a connection since it last answered: aiohttp, which cannot
        # tell that from an outage, then may send a GET again.
        self._may_be_stale = False
        if session is not None:
            self._options |= {"headers": headers, "auto_decompress": True}
            if session.auth is not None or session.trust_env:
                others, authorize = _split(headers)
                own = getattr(session, "_middlewares", ())
                self._options |= {"headers": others, "middlewares": (*own, authorize)}
            if connections.ssl_context is not None:
                self._options["ssl"] = connections.ssl_context

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
        is_plain = method == "GET" and body is None and self._may_be_stale
        options = self._options if is_plain else self._options_for(method, body)
        begun = self._loop.time()
        timeout = (
            self._timeout
            if limit >= self._limit.seconds
            else self._connections.timeout(max(limit, _SHORTEST))
        )
        path, _, query = target.partition("?")
        url = self._base(query).with_path(self._prefix + path, encoded=True, keep_query=True)
        try:
            with self._limit:
                response = await session.request(method, url, timeout=timeout, **options)
                try:
                    content = await _read(response)
                except BaseException:
                    response.close()
                    del response  # a dump of this frame would show its headers
                    raise
        except _ERRORS as exc:
            raise self._failed(exc, method, url, begun) from exc
        except _BrokenError as broken:
            raise self._failed(broken.cause, method, url, begun) from broken.cause
        self._may_be_stale = True
        if logger.isEnabledFor(logging.DEBUG):
            self._log(method, url, begun, status_code=response.status)
        status = response.status
        received: Mapping[str, str] = response.headers
        if token := self._headers.get("Authorization"):
            # Gateways print what they were sent.
            content = content.replace(token.encode(), MASK)
            if b"\\" in content:
                content = mask_escaped(content, token)
            if shows_headers or status >= FIRST_ERROR:
                received = mask_headers(received, token)
        if len(content) > MAX_BODY:
            content = content[:_BEGINNING]
        return Answer(status, received, content)

    def _options_for(self, method: str, body: bytes | None) -> dict[str, Any]:
        options = self._options.copy()
        if body is not None:
            # An explicit type, since aiohttp would guess octet-stream for bytes.
            options["headers"] = {**options.get("headers", {}), "Content-Type": "application/json"}
            options["data"] = body if len(body) < _LARGE else io.BytesIO(body)
        is_safe = method == "POST" or (method == "GET" and self._may_be_stale)
        if not is_safe:
            # What is given for one request takes the place of the session's own.
            own = getattr(self._session, "_middlewares", ())
            options["middlewares"] = (*options.get("middlewares", own), _send_once)
        return options

    def _failed(self, exc: BaseException, method: str, url: URL, begun: float) -> StreamTransportException:
        mask_error(exc, self._headers.get("Authorization"))
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
            extra={"event": "request", "method": method, "path": url.raw_path, "duration": duration, **facts},
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
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = ()
    if connections.trust_env:
        headers, authorize = _split(headers)
        middlewares = (authorize,)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections.max_connections,
            keepalive_timeout=_KEEP_ALIVE,
            ssl=True if connections.ssl_context is None else connections.ssl_context,
        ),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=connections.trust_env,
        middlewares=middlewares,
    )
    try:
        yield session
    finally:
        if on_end is not None and (end := on_end()) is not None:
            end()
        await session.close()


def _split(headers: Mapping[str, str]) -> tuple[Mapping[str, str], aiohttp.ClientMiddlewareType]:
    """Part the token from the other headers: it is put into each request last.

    aiohttp would refuse it beside a password, be that the session's or one in .netrc.
    """

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = headers["Authorization"]
        return await handler(request)

    return {name: value for name, value in headers.items() if name != "Authorization"}, authorize


class _BrokenError(Exception):
    """Carries an error past aiohttp, which sends all but a POST again when a connection breaks."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        broken = _BrokenError(exc)
    raise broken


async def _read(response: aiohttp.ClientResponse) -> bytes:
    stream = response.content
    body: bytes | bytearray = await stream.readany()
    if not stream.at_eof():
        body = bytearray(body)
        while not stream.at_eof() and len(body) <= MAX_BODY:
            body += await stream.readany()
    if not body:
        # A session's middleware may have read it.
        body = await response.read()
    if len(body) > MAX_BODY:
        if response.status < FIRST_ERROR:
            del body, response  # or the error's traceback would hold them
            raise StreamDecodeException(f"the body is larger than {MAX_BODY >> 20} MiB", path="$")
        response.close()
    return bytes(body)


def _transport_error(exc: BaseException) -> StreamTransportException:
    kind = error_type(exc)
    # What aiohttp says of its TLS settings tells a reader nothing.
    said = str(exc).replace(" ssl:default [", " [", 1)
    return StreamTransportException(kind, f"{said or type(exc).__name__} ({kind})")
