"""Fetches what a link leads to, however often that breaks off."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, Protocol

import aiohttp
import anyio
from aiohttp import ClientResponse, ClientSession, http_exceptions
from attrs import frozen
from yarl import URL

from stream_tasks._backoff import Backoff
from stream_tasks._content_coding import CodingError, inflater
from stream_tasks._engine.finality import is_passing, is_unverified
from stream_tasks._http import protocol
from stream_tasks._http.pool import Connector
from stream_tasks._http.proxies import check_proxies
from stream_tasks._http.session import MAX_HEADER
from stream_tasks._http.transport import Connections, error_type
from stream_tasks._version import __version__
from stream_tasks.exceptions import TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED, StreamDownloadException

__all__ = ["Sink", "Source", "fetch", "is_http"]

RETRIES: Final = Backoff(1.0, 30.0)
MAX_FAILURES: Final = 8
"""How many tries in a row may bring nothing new. With `RETRIES`, they take a minute and a half."""

MAX_BROKEN: Final = 2
"""How many times in a row the content may be broken although all of it came."""

_MAX_REDIRECTS: Final = 5
_MAX_HOLD: Final = 60.0  # seconds
_OK: Final = 200
_PARTIAL: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class Sink(Protocol):
    """Where what comes goes.

    Attributes:
        size: How much of this version of the file has come, in bytes.
        total: How large the whole will be, in bytes; None if that is not known.
        validator: What the server calls this version of the file; None if the server cannot send the rest.
    """

    size: int
    total: int | None
    validator: str | None

    async def begin(self, total: int | None, validator: str | None) -> None:
        """Begin with the first byte, again perhaps."""
        ...


@frozen
class Source:
    """What to fetch, and how.

    Attributes:
        url: The link, or None if `renew` must be asked for it first.
        task_id: The task that exports, if it is known.
        renew: Returns a fresh link when this one has expired; not called if no task is known.
        on_trouble: Called with what is wrong when a bad moment begins.
        connections: How connections are made. Silence for the request time-out is a bad moment.
    """

    url: str | None
    task_id: str | None
    renew: Callable[[], Awaitable[str]]
    on_trouble: Callable[[str, str | None], object]
    connections: Connections


class _TryError(Exception):
    """Raised when a try fails: another one would fail, too.

    Attributes:
        status: The HTTP status that was answered, if any was.
    """

    def __init__(self, why: str, *, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class _BadMomentError(_TryError):
    """Raised when another try may succeed, after `hold` seconds if the server said so."""

    def __init__(self, why: str, *, status: int | None = None, hold: float = 0.0) -> None:
        super().__init__(why, status=status)
        self.hold = hold


class _BrokenContentError(_BadMomentError):
    """Raised when what came is not whole, or not what its coding says: the file itself may be like that."""


class _StaleLinkError(_TryError):
    """Raised when the server does not accept the link."""


async def fetch(source: Source, sink: Sink) -> AsyncGenerator[bytes]:
    """Yield what a link leads to, piece by piece, with an empty piece at each beginning.

    A download that breaks off goes on where it stopped, if the server supports that and says that the file
    is still the same; otherwise it begins anew. Stream's credentials are not sent there.

    Args:
        source: What to fetch.
        sink: Where it goes: the caller puts each piece there before asking for the next.

    Raises:
        StreamDownloadException: The download failed for good.
        StreamException: The link could not be renewed.
    """
    connections = source.connections
    session = ClientSession(
        connector=Connector(ssl=connections.ssl_context or True),
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=connections.connect_timeout,
            sock_read=connections.request_timeout,
            ceil_threshold=math.inf,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": f"stream_tasks/{__version__}"},
        trust_env=connections.trust_env,
        auto_decompress=False,  # aiohttp takes content for whole that ends in the middle of its coding
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
    )
    async with session, aclosing(_fetch(session, source, sink)) as pieces:
        async for piece in pieces:
            yield piece


async def _fetch(session: ClientSession, source: Source, sink: Sink) -> AsyncGenerator[bytes]:
    """Try until the file is whole."""
    failures = _Failures()
    is_fresh = source.url is None  # whether the link has just been renewed
    url = await source.renew() if source.url is None else source.url
    while True:
        try:
            async with aclosing(_try(session, url, sink, trust_env=source.connections.trust_env)) as pieces:
                async for piece in pieces:
                    yield piece
        except _StaleLinkError as error:
            if is_fresh:
                raise _failed(source, f"{error}; a fresh link was refused, too", error) from None
            if source.task_id is None:
                why = f"{error}; give the task too, which renews the link: task=task_id"
                raise _failed(source, why, error) from None
            url, is_fresh = await source.renew(), True
        except _BadMomentError as error:
            is_fresh = False
            await anyio.sleep(failures.pause(error, source, sink.size))
        except _TryError as error:
            raise _failed(source, str(error), error) from None
        else:
            return


class _Failures:
    """Counts the tries in a row that brought nothing new."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._most = 0  # bytes that came in the best try

    def pause(self, error: _BadMomentError, source: Source, size: int) -> float:
        """Count a try that ended with so many bytes, and return how long to wait, in seconds.

        Raises:
            StreamDownloadException: There were too many.
        """
        self._in_a_row = 1 if size > self._most else self._in_a_row + 1
        self._most = max(self._most, size)
        if self._in_a_row > (MAX_BROKEN if isinstance(error, _BrokenContentError) else MAX_FAILURES):
            why = f"the download failed {self._in_a_row} times in a row: {error}"
            raise _failed(source, why, error) from None
        if self._in_a_row == 1:
            source.on_trouble(str(error), source.task_id)
        return max(RETRIES.delay(self._in_a_row), error.hold)


def _failed(source: Source, why: str, error: _TryError) -> StreamDownloadException:
    return StreamDownloadException(why, task_id=source.task_id, status_code=error.status)


async def _try(session: ClientSession, url: str, sink: Sink, *, trust_env: bool) -> AsyncGenerator[bytes]:
    """Yield what is missing.

    Raises:
        _BadMomentError: It broke off.
        _StaleLinkError: The link is not accepted.
        _FinalError: Another try would fail, too.
    """
    headers = {}
    if sink.size and sink.validator is not None:
        headers = {"Range": f"bytes={sink.size}-", "If-Range": sink.validator}
    async with await _answer(session, _address(url), headers, trust_env=trust_env) as response:
        if response.status != _OK and not (headers and _is_the_rest(response, sink)):
            sink.validator = None  # the next try starts from the beginning
            raise _BadMomentError(f"{response.url.host} did not send the part of the file that is missing")
        async with aclosing(_pieces(response)) as pieces:
            # aiohttp drops what it has not handed out when the connection breaks. Nothing else is waited for
            # before the first piece, so that each try brings something.
            first = await anext(pieces, b"")
            if response.status == _OK:
                await sink.begin(*_whole(response))
            yield b""
            if first:
                yield first
            async for piece in pieces:
                yield piece
    if sink.total is not None and sink.size != sink.total:
        raise _BadMomentError(f"only {sink.size:,} of {sink.total:,} bytes came")


async def _pieces(response: ClientResponse) -> AsyncGenerator[bytes]:
    """Yield what is behind the link, its content coding undone.

    Raises:
        _BrokenContentError: The content is broken, or ends in the middle of its coding.
        _BadMomentError: The connection broke.
    """
    try:
        coding = inflater(response.headers.get("Content-Encoding", ""))
        with _network_errors(response.url):
            async for chunk in response.content.iter_any():
                for piece in (chunk,) if coding is None else coding.feed(chunk):
                    yield piece
        if coding is not None and response.content_length != 0:  # then the server says that it is empty
            coding.finish()
    except CodingError as error:
        raise _BrokenContentError(
            f"{response.url.host} sent no whole file: {error}", status=response.status
        ) from None


def _whole(response: ClientResponse) -> tuple[int | None, str | None]:
    """Return how large the file is, and what the server calls this version of it."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None, None  # these bytes differ from those that are written
    tag = response.headers.get("ETag", "")
    # Two files with the same weak tag may differ in single bytes.
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return response.content_length, validator


def _is_the_rest(response: ClientResponse, sink: Sink) -> bool:
    # The Content-Range of a 416 does not match.
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != sink.size:
        return False
    return sink.total is None or found[2] in ("*", str(sink.total))


async def _answer(
    session: ClientSession, address: URL, headers: dict[str, str], *, trust_env: bool
) -> ClientResponse:
    """Request a link, and follow its redirects.

    Raises:
        _BadMomentError: The connection broke, or the server is in trouble.
        _StaleLinkError: The link is not accepted.
        _TryError: Another try would fail, too.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        if trust_env:
            check_proxies(str(address))
        with _network_errors(address):
            response = await session.get(address, headers=headers, allow_redirects=False)
        try:
            if response.status not in _REDIRECTS:
                _check_status(response)
                return response
            address = _redirected(response)
        except BaseException:
            response.close()
            raise
        response.release()
    raise _TryError(f"{address.host} redirects too often")


@contextmanager
def _network_errors(address: URL) -> Iterator[None]:
    """Tell a bad moment from an error that another try would meet, too."""
    try:
        yield
    except (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError) as error:
        kind = error_type(error)
        if kind == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED and is_unverified(error):
            raise _TryError(f"the certificate of {address.host} is not trusted: {error}") from None
        raise _BadMomentError(f"{address.host} gave no usable answer ({kind.replace('_', ' ')})") from None


def is_http(url: str) -> bool:
    """Whether a text is an http(s) address."""
    try:
        _address(url)
    except _TryError:
        return False
    return True


def _address(url: str) -> URL:
    try:
        # A signature covers the address as it is written.
        address = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
    except ValueError:
        address = URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise _TryError("the export's link is not an http(s) address")
    return address


def _redirected(response: ClientResponse) -> URL:
    there = _address(str(response.url.join(_location(response))))
    if response.url.scheme == "https" and there.scheme != "https":
        raise _TryError(f"{response.url.host} redirects to {there.host} without encryption")
    return there


def _location(response: ClientResponse) -> URL:
    try:
        return URL(response.headers.get("Location", ""), encoded=True)
    except ValueError:
        return URL()


def _check_status(response: ClientResponse) -> None:
    status, host = response.status, response.url.host
    if status in (_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE):
        return
    told = f"{host} answered HTTP {status} {response.reason or ''}".rstrip()
    if is_passing(status):
        headers = response.headers
        hold = protocol.parse_retry_after(headers.get("Retry-After"), headers.get("Date"))
        seconds = 0.0 if hold is None else min(hold.total_seconds(), _MAX_HOLD)
        raise _BadMomentError(told, status=status, hold=seconds)
    raise _StaleLinkError(f"{told}: the link may have expired", status=status)
