"""One exchange over real sockets: what goes out, what comes back, and what each failure is called."""

import asyncio
import builtins
import errno
import gzip
import inspect
import json
import math
import os
import re
import socket
import ssl
import time
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import jwt
import pytest
from aiohttp import client_exceptions, http_exceptions
from forking import AT_ONCE, PIPES, Forked, fork_server
from hostile import listening

from stream_tasks import AsyncStream, StreamDecodeException, StreamTransportException, __version__
from stream_tasks._http import transport as module
from stream_tasks._http.body import MAX_BODY
from stream_tasks._http.transport import Answer, Connections, Transport, error_type
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_CONNECTION_RESET as RESET,
)
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_DNS_FAILURE as DNS,
)
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TIMEOUT as TIMEOUT,
)
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED as TLS,
)
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_UNKNOWN as UNKNOWN,
)
from stream_tasks.exceptions import (
    StreamApiException,
)
from stream_tasks.testing import FakeStream, Fault

HEADERS = {"Authorization": "a-token", "X-Stream-Client": "tests"}

# Signed by itself, for 127.0.0.1, good until 2120, trusted by nobody.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUWgAwIBAgIBATAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJzdHJlYW1f
dGFza3MgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMB0x
GzAZBgNVBAMMEnN0cmVhbV90YXNrcyB0ZXN0czBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABJDEcHWfZc2flKALAOiEvmU9zTGYL6Vl7Koe8RqeJP9N3wB7MagrIYHI
ZgUjG52HRUOpM+nprjy15J1JfEPMzGmjdDByMA8GA1UdEQQIMAaHBH8AAAEwDwYD
VR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUuQE7XRNV678Xktr3ieW7BsN1jKUwHwYD
VR0jBBgwFoAUuQE7XRNV678Xktr3ieW7BsN1jKUwDgYDVR0PAQH/BAQDAgGGMAoG
CCqGSM49BAMCA0cAMEQCIAN6TQ47jrEhuPdY9GTwiGCkscq64HKxsPR5xVMLHRpc
AiBBXhEWvDIFaQ2op8+f1Ha1SvTMtyVSxQUzGDZaaNWmCA==
-----END CERTIFICATE-----
"""
PRIVATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguDCW/GrjhxSSIEFM
YKjnBT+1w1UFHtkVnu7GJEHPauGhRANCAASQxHB1n2XNn5SgCwDohL5lPc0xmC+l
ZeyqHvEaniT/Td8AezGoKyGByGYFIxudh0VDqTPp6a48teSdSXxDzMxp
-----END PRIVATE KEY-----
"""

Say: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """A loopback server that says whatever it is told to, to each request."""

    def __init__(self, say: Say) -> None:
        self.heads: list[bytes] = []
        self.url = ""
        self._say = say

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self._say(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(say: Say, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    raw = RawServer(say)
    async with listening(raw.talk, ssl_context) as raw.url:
        yield raw


def says(content: bytes, *, then_closes: bool = False) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        if then_closes:
            writer.close()

    return say


async def says_nothing(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def transport(
    url: str, session: aiohttp.ClientSession | None = None, **settings: Any
) -> AsyncIterator[Transport]:
    made = Transport(Connections(**settings), url, HEADERS, session)
    try:
        yield made
    finally:
        await made.aclose()


async def failure(url: str, session: aiohttp.ClientSession | None = None, **settings: Any) -> Any:
    async with transport(url, session, **settings) as made:
        with pytest.raises(StreamTransportException) as info:
            await made.exchange("GET", "/tasks")
    return info.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    path.write_text(CERTIFICATE + PRIVATE_KEY)
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# What failures are called


EXPECTED = {
    # aiohttp.client_exceptions
    "ClientConnectionError": RESET,
    "ClientConnectionResetError": RESET,
    "ClientConnectorCertificateError": TLS,
    "ClientConnectorDNSError": DNS,
    "ClientConnectorError": RESET,
    "ClientConnectorSSLError": TLS,
    "ClientError": UNKNOWN,
    "ClientHttpProxyError": UNKNOWN,
    "ClientOSError": RESET,
    "ClientPayloadError": RESET,
    "ClientProxyConnectionError": RESET,
    "ClientResponseError": UNKNOWN,
    "ClientSSLError": TLS,
    "ConnectionTimeoutError": TIMEOUT,
    "ContentTypeError": UNKNOWN,
    "InvalidURL": UNKNOWN,
    "InvalidUrlClientError": UNKNOWN,
    "InvalidUrlRedirectClientError": UNKNOWN,
    "NonHttpUrlClientError": UNKNOWN,
    "NonHttpUrlRedirectClientError": UNKNOWN,
    "RedirectClientError": UNKNOWN,
    "ServerConnectionError": RESET,
    "ServerDisconnectedError": RESET,
    "ServerFingerprintMismatch": TLS,
    "ServerTimeoutError": TIMEOUT,
    "SocketTimeoutError": TIMEOUT,
    "TooManyRedirects": UNKNOWN,
    "UnixClientConnectorError": RESET,
    "UploadAbortedError": UNKNOWN,
    "WSServerHandshakeError": UNKNOWN,
    # aiohttp.http_exceptions
    "BadHttpMessage": UNKNOWN,
    "BadHttpMethod": UNKNOWN,
    "BadStatusLine": UNKNOWN,
    "ContentEncodingError": UNKNOWN,
    "ContentLengthError": UNKNOWN,
    "DecompressSizeError": UNKNOWN,
    "HttpBadRequest": UNKNOWN,
    "HttpProcessingError": UNKNOWN,
    "InvalidHeader": UNKNOWN,
    "InvalidURLError": UNKNOWN,
    "LineTooLong": UNKNOWN,
    "PayloadEncodingError": UNKNOWN,
    "TransferEncodingError": UNKNOWN,
    # the system
    "BlockingIOError": RESET,
    "BrokenPipeError": RESET,
    "ChildProcessError": RESET,
    "ConnectionAbortedError": RESET,
    "ConnectionError": RESET,
    "ConnectionRefusedError": RESET,
    "ConnectionResetError": RESET,
    "FileExistsError": RESET,
    "FileNotFoundError": RESET,
    "InterruptedError": RESET,
    "IsADirectoryError": RESET,
    "NotADirectoryError": RESET,
    "OSError": RESET,
    "PermissionError": RESET,
    "ProcessLookupError": RESET,
    "TimeoutError": TIMEOUT,
    "gaierror": DNS,
    "herror": RESET,
    # ssl
    "SSLCertVerificationError": TLS,
    "SSLEOFError": TLS,
    "SSLError": TLS,
    "SSLSyscallError": TLS,
    "SSLWantReadError": TLS,
    "SSLWantWriteError": TLS,
    "SSLZeroReturnError": TLS,
    # asyncio
    "IncompleteReadError": RESET,
}
NEVER_RAISED_HERE = {
    "WSMessageTypeError",  # websockets are not used, and it is no ClientError
}


def lower_exceptions() -> Iterator[type[BaseException]]:
    for library in (client_exceptions, http_exceptions):
        for _, kind in inspect.getmembers(library, inspect.isclass):
            if issubclass(kind, BaseException) and kind.__module__ == library.__name__:
                yield kind
    for library in (ssl, socket, builtins):
        for _, kind in inspect.getmembers(library, inspect.isclass):
            if issubclass(kind, OSError):
                yield kind
    yield asyncio.IncompleteReadError


LOWER = sorted({kind for kind in lower_exceptions() if kind.__name__ not in NEVER_RAISED_HERE}, key=repr)


@pytest.mark.parametrize("kind", LOWER, ids=lambda kind: kind.__name__)
def test_each_exception_of_the_lower_libraries_has_a_row(kind: type[BaseException]) -> None:
    """No exception of aiohttp, the system or ssl is left to chance: a row names it or a base of it."""
    assert issubclass(kind, module._ERRORS)
    exc = kind.__new__(kind)
    assert error_type(exc) == EXPECTED[kind.__name__]


def test_no_row_is_hidden_by_one_before_it() -> None:
    """The most specific rows come first, so that each row can be reached."""
    kinds = [kind for kind, _ in module._ERROR_TYPES]
    for place, kind in enumerate(kinds):
        assert not issubclass(kind, tuple(kinds[:place])), kind


def test_anything_else_is_unknown() -> None:
    """A stranger has no row and is called unknown."""
    assert error_type(ZeroDivisionError()) == UNKNOWN


def test_a_cancellation_has_no_row() -> None:
    """A cancellation is never turned into an error of this library."""
    assert not issubclass(asyncio.CancelledError, module._ERRORS)


# Failures of real connections


async def test_a_refused_connection() -> None:
    """A port that nobody listens on is a connection that was reset."""
    error = await failure(f"http://127.0.0.1:{free_port()}")
    assert error.error_type == RESET
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)
    assert error.__cause__.errno == errno.ECONNREFUSED
    assert re.match(r"Cannot connect to host 127\.0\.0\.1:\d+ \[", str(error))


async def test_a_reset_connection(server: FakeStream) -> None:
    """A server that crashes under a request is a connection that was reset."""
    server.inject(Fault.reset(), times=2)  # aiohttp sends a GET again
    error = await failure(server.url)
    assert error.error_type == RESET
    assert isinstance(error.__cause__, aiohttp.ClientOSError)


async def test_a_connection_that_ends_without_an_answer() -> None:
    """A server that hangs up politely is a connection that was reset, too."""
    async with raw_server(says(b"", then_closes=True)) as raw:
        error = await failure(raw.url)
    assert error.error_type == RESET
    assert isinstance(error.__cause__, aiohttp.ServerDisconnectedError)


async def test_a_body_that_is_cut(server: FakeStream) -> None:
    """A body that ends before its length is a connection that was reset."""
    server.inject(Fault.cut())
    error = await failure(server.url)
    assert error.error_type == RESET
    assert isinstance(error.__cause__, aiohttp.ClientPayloadError)


async def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that the resolver does not know is a DNS failure."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = await failure("http://nope.invalid")
    assert error.error_type == DNS
    assert isinstance(error.__cause__, aiohttp.ClientConnectorDNSError)
    assert "nope.invalid" in str(error)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("a..b", id="a label of the name is empty"),
        pytest.param(f"{'a' * 64}.invalid", id="a label of the name is too long"),
    ],
)
async def test_a_name_that_can_be_none(host: str) -> None:
    """A host that no resolver could know is a DNS failure."""
    assert (await failure(f"http://{host}")).error_type == DNS


async def test_a_request_that_takes_too_long(server: FakeStream) -> None:
    """A server that keeps silent is left when the request's time is over."""
    server.inject(Fault.hang())
    started = time.monotonic()
    error = await failure(server.url, request_timeout=0.1)
    assert error.error_type == TIMEOUT
    assert isinstance(error.__cause__, TimeoutError)
    assert 0.09 < time.monotonic() - started < AT_ONCE


async def test_a_body_that_takes_too_long() -> None:
    """The request's time covers the body."""
    async with raw_server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")) as raw:
        error = await failure(raw.url, request_timeout=0.1)
    assert error.error_type == TIMEOUT


async def test_an_exchange_with_less_time_than_a_request_has(server: FakeStream) -> None:
    """A caller with less time left than the request's own limit gets that."""
    server.inject(Fault.hang())
    async with transport(server.url, request_timeout=30.0) as made:
        started = time.monotonic()
        with pytest.raises(StreamTransportException) as info:
            await made.exchange("GET", "/tasks", limit=0.1)
    assert info.value.error_type == TIMEOUT
    assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize("limit", [1e-9, 0.0, -1.0])
async def test_an_exchange_whose_time_is_up(server: FakeStream, limit: float) -> None:
    """It ends at once: time may run out between the look at the clock and the request."""
    server.inject(Fault.hang())
    async with transport(server.url, request_timeout=30.0) as made:
        started = time.monotonic()
        with pytest.raises(StreamTransportException) as info:
            await made.exchange("GET", "/tasks", limit=limit)
    assert info.value.error_type == TIMEOUT
    assert time.monotonic() - started < AT_ONCE


async def test_a_connection_that_takes_too_long() -> None:
    """The set-up of a connection, TLS included, has its own limit."""
    async with raw_server(says_nothing) as raw:
        started = time.monotonic()
        error = await failure(raw.url.replace("http:", "https:"), connect_timeout=0.1)
    assert error.error_type == TIMEOUT
    assert isinstance(error.__cause__, aiohttp.ConnectionTimeoutError)
    assert time.monotonic() - started < AT_ONCE


def test_limits_are_not_rounded() -> None:
    """Aiohttp would round limits above five seconds up to whole ones."""
    limits = Connections(connect_timeout=7.25).timeout(9.75)
    assert (limits.total, limits.sock_connect, limits.ceil_threshold) == (9.75, 7.25, math.inf)


async def test_tls_to_a_plain_port(server: FakeStream) -> None:
    """A server that does not speak TLS is a failed handshake."""
    error = await failure(server.url.replace("http:", "https:"))
    assert error.error_type == TLS
    assert isinstance(error.__cause__, aiohttp.ClientConnectorSSLError)


async def test_a_certificate_that_nobody_signed(server_tls: ssl.SSLContext) -> None:
    """A certificate that is not trusted is a failed handshake, and nothing is sent."""
    async with raw_server(says(answer(b"{}")), server_tls) as raw:
        error = await failure(raw.url)
        assert raw.heads == []
    assert error.error_type == TLS
    assert isinstance(error.__cause__, aiohttp.ClientConnectorCertificateError)


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_certificate_that_the_caller_trusts(
    server_tls: ssl.SSLContext, certificate: Path, *, is_injected: bool
) -> None:
    """The caller's authorities take the place of the system's, also over a session of the caller."""
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        raw_server(says(answer(b"{}")), server_tls) as raw,
        aiohttp.ClientSession() as session,
        transport(raw.url, session if is_injected else None, ssl_context=trust) as made,
    ):
        assert (await made.exchange("GET", "/")).body == b"{}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"SMTP ready\r\n\r\n", UNKNOWN, id="no HTTP at all"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", UNKNOWN, id="an endless header"
        ),
        pytest.param(answer(b"no gzip", "Content-Encoding: gzip"), RESET, id="a body that is not gzip"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            UNKNOWN,
            id="a chunk without a length",
        ),
    ],
)
async def test_an_answer_that_is_broken(content: bytes, expected: str) -> None:
    """Broken HTTP is a transport error, its cause aiohttp's own."""
    async with raw_server(says(content, then_closes=True)) as raw:
        error = await failure(raw.url)
    assert error.error_type == expected
    assert isinstance(error.__cause__, aiohttp.ClientError)


async def test_a_failure_without_words_is_named(server: FakeStream) -> None:
    """A lower error that says nothing is called by its class."""
    server.inject(Fault.hang())
    assert "TimeoutError" in str(await failure(server.url, request_timeout=0.05))


async def test_a_failure_keeps_no_frames_of_aiohttp() -> None:
    """Aiohttp's frames hold the token in their variables, so the causes are told without them."""
    error: BaseException | None = await failure(f"http://127.0.0.1:{free_port()}")
    assert error is not None
    while (error := error.__cause__ or error.__context__) is not None:
        assert error.__traceback__ is None


async def test_a_cancelled_exchange_gives_its_connection_up(server: FakeStream) -> None:
    """A cancellation passes untouched, also amid a body, and leaves no connection out of the pool."""
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"
    async with raw_server(says(content)) as raw, transport(raw.url) as made:
        task = asyncio.create_task(made.exchange("GET", "/"))
        while not raw.heads:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made._session is not None
        connector = made._session.connector
        assert connector is not None
        assert not connector._acquired
        assert not connector._conns


# Bodies


PACKED = gzip.compress(b'{"task_id": "t"}')


async def exchange(content: bytes, session: aiohttp.ClientSession | None = None) -> Answer:
    async with raw_server(says(content)) as raw, transport(raw.url, session) as made:
        return await made.exchange("GET", "/")


def chunked(*chunks: bytes) -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(answer(b'{"a": 1}'), b'{"a": 1}', id="a plain body"),
        pytest.param(answer(b""), b"", id="an empty body"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="no body"),
        pytest.param(chunked(b'{"a"', b": 1}"), b'{"a": 1}', id="chunks"),
        pytest.param(
            answer(gzip.compress(b'{"a": 1}'), "Content-Encoding: gzip"), b'{"a": 1}', id="a body in gzip"
        ),
        pytest.param(
            answer(gzip.compress(b'{"a": 1}'), "Content-Encoding: x-gzip"),
            b'{"a": 1}',
            id="a body in gzip under its old name",
        ),
        pytest.param(
            answer(gzip.compress(b'{"a"') + gzip.compress(b": 1}"), "Content-Encoding: gzip"),
            b'{"a": 1}',
            id="a body of two members",
        ),
        pytest.param(
            answer(zlib.compress(b'{"a": 1}'), "Content-Encoding: deflate"), b'{"a": 1}', id="deflate"
        ),
        pytest.param(answer(b"{}", "Content-Encoding: identity"), b"{}", id="no coding, and it is said"),
        pytest.param(answer(b"", "Content-Encoding: gzip"), b"", id="nothing, though compressed"),
        pytest.param(answer(b"x" * 300_000), b"x" * 300_000, id="a body of many reads"),
        pytest.param(answer(b"x" * MAX_BODY), b"x" * MAX_BODY, id="the largest body"),
    ],
)
async def test_a_whole_body_is_read(content: bytes, expected: bytes) -> None:
    """However the body comes, the answer holds all of it; over a caller's session, too."""
    assert (await exchange(content)).body == expected
    async with aiohttp.ClientSession() as session:
        assert (await exchange(content, session)).body == expected


NOT_WHOLE = {
    "cut in the middle of its coding": (answer(PACKED[:-9], "Content-Encoding: gzip"), RESET),
    "cut before the last byte": (answer(PACKED[:-1], "Content-Encoding: gzip"), RESET),
    "cut before the first byte": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        RESET,
    ),
    "with garbage behind it": (answer(PACKED + b"{}", "Content-Encoding: gzip"), RESET),
    "in a coding that was not asked for": (answer(PACKED, "Content-Encoding: br"), UNKNOWN),
}


@pytest.mark.parametrize(("content", "expected"), NOT_WHOLE.values(), ids=NOT_WHOLE)
@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_body_that_is_not_whole_is_no_answer(
    content: bytes, expected: str, *, is_injected: bool
) -> None:
    """The framing alone does not tell: the coding must have ended, too. Of an error, the status counts."""
    async with aiohttp.ClientSession() as injected:
        session = injected if is_injected else None
        with pytest.raises(StreamTransportException, match=r"gzip content|content coding") as info:
            await exchange(content, session)
        assert info.value.error_type == expected
        assert (await exchange(content.replace(b"200", b"503", 1), session)).status == 503


@pytest.mark.parametrize("size", [9_000, 60_000])
@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_large_header_is_taken(size: int, *, is_injected: bool) -> None:
    """Gateways add such, and the answer is good all the same."""
    async with aiohttp.ClientSession() as injected:
        found = await exchange(answer(b"{}", f"X-Policy: {'x' * size}"), injected if is_injected else None)
    assert (found.body, len(found.headers["X-Policy"])) == (b"{}", size)


async def test_a_session_that_takes_larger_headers_still_does() -> None:
    """Its own limits hold where they are wider."""
    async with aiohttp.ClientSession(max_field_size=200_000) as session:
        found = await exchange(answer(b"{}", f"X-Policy: {'x' * 150_000}"), session)
    assert len(found.headers["X-Policy"]) == 150_000


async def test_status_and_headers_are_told() -> None:
    """The answer holds the status, and the headers in any case."""
    found = await exchange(b"HTTP/1.1 418 Teapot\r\nX-Some: Thing\r\nContent-Length: 0\r\n\r\n")
    assert (found.status, found.headers["x-some"]) == (418, "Thing")


def bomb(size: int) -> bytes:
    """The beginning of a body in gzip, which is so large without its coding."""
    packer = zlib.compressobj(9, wbits=31)
    first, other = (
        packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )  # what comes after a full flush can be repeated
    return first + other * ((size >> 20) - 1)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(answer(b"x" * (MAX_BODY + 1)), id="it says so"),
        pytest.param(chunked(*[b"x" * 2**20] * 17), id="in chunks"),
        pytest.param(
            answer(bomb(17 * 2**20), "Content-Encoding: gzip"), id="a small gzip bomb, in one packet"
        ),
        pytest.param(answer(bomb(2**28), "Content-Encoding: gzip"), id="a large gzip bomb"),
    ],
)
async def test_a_body_that_is_too_large(content: bytes) -> None:
    """A body over 16 MiB is refused as soon as that is seen."""
    async with raw_server(says(content)) as raw, transport(raw.url) as made:
        with pytest.raises(StreamDecodeException, match=r"larger than 16 MiB at \$"):
            await made.exchange("GET", "/")


@pytest.mark.parametrize("code", [302, 400, 429, 503])
async def test_an_error_with_a_body_that_is_too_large(code: int) -> None:
    """The status and the headers count all the same; of the body, only the beginning is kept."""
    content = answer(b"x" * (MAX_BODY + 1), "Retry-After: 7").replace(b"200", str(code).encode(), 1)
    async with raw_server(says(content)) as raw, transport(raw.url) as made:
        found = await made.exchange("GET", "/")
    assert (found.status, found.headers["Retry-After"]) == (code, "7")
    assert found.body == b"x" * len(found.body)
    assert 200 < len(found.body) < MAX_BODY / 100


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: FakeStream, code: int) -> None:
    """A redirect is an answer like any other: the token is shown to no other host."""
    server.inject(Fault.redirect(f"{server.url}/elsewhere", code))
    async with transport(server.url) as made:
        found = await made.exchange("GET", "/here")
    assert (found.status, found.headers["Location"]) == (code, f"{server.url}/elsewhere")
    assert [request.path for request in server.requests] == ["/here"]


async def test_a_connection_is_used_again() -> None:
    """One exchange after another shares one connection."""
    ports = set()

    async def say(writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        writer.write(answer(b"{}"))

    async with raw_server(say) as raw, transport(raw.url) as made:
        for _ in range(3):
            await made.exchange("GET", "/")
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("method", "requests"),
    [
        pytest.param("GET", 1, id="a look over a new connection is not taken again at once"),
        pytest.param("POST", 1, id="what starts a task is sent once"),
        pytest.param("PUT", 1, id="though aiohttp would send PUT again"),
        pytest.param("DELETE", 1, id="and DELETE"),
    ],
)
async def test_what_is_sent_again_when_its_connection_breaks(
    server: FakeStream, method: str, requests: int
) -> None:
    """Nothing is before the server has answered: what the client does not know of would be too much."""
    server.inject(Fault.reset(), times=2)
    async with transport(server.url) as made:
        with pytest.raises(StreamTransportException):
            await made.exchange(method, "/things")
    assert len(server.requests) == requests


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_connection_that_was_closed_while_idle(server: FakeStream, *, is_injected: bool) -> None:
    """A look over it is taken again at once; in the outage that this may turn out to be, no other is."""
    async with (
        aiohttp.ClientSession() as session,
        transport(server.url, session if is_injected else None) as made,
    ):
        for _ in range(2):
            await made.exchange("GET", "/")
            server.inject(Fault.reset())
        await made.exchange("GET", "/")
        assert len(server.requests) == 5
        server.inject(Fault.reset(), times=math.inf)
        for count in (7, 8, 9):
            with pytest.raises(StreamTransportException):
                await made.exchange("GET", "/")
            assert len(server.requests) == count


async def ask_amid_trouble(made: Transport) -> None:
    nothing: dict[str, str] = {}
    try:
        nothing["a-token and more"]
    except KeyError:
        await made.exchange("GET", "/")


async def test_what_the_caller_was_handling_stays_as_it_was(server: FakeStream) -> None:
    """A failure within an except clause leaves the error of that clause alone."""
    server.inject(Fault.reset(), times=2)
    async with transport(server.url) as made:
        with pytest.raises(StreamTransportException) as info:
            await ask_amid_trouble(made)
    handled: BaseException | None = info.value
    while handled is not None and not isinstance(handled, KeyError):
        handled = handled.__context__
    assert handled is not None
    assert handled.args == ("a-token and more",)
    assert handled.__traceback__ is not None


# What goes over the wire


async def test_what_a_client_sends(server: FakeStream, client: AsyncStream) -> None:
    """A request carries the raw token, how it authenticates, who asks, and the key; nothing of aiohttp's."""
    server.add_task("t")
    await client.get_task("t")
    request = server.requests[-1]
    claims = jwt.decode(request.headers["Authorization"], server.api_secret, algorithms=["HS256"])
    assert claims["server"] is True
    assert request.query == {"api_key": server.api_key}
    assert {name.lower(): value for name, value in request.headers.items() if name != "Authorization"} == {
        "host": server.url.removeprefix("http://"),
        "stream-auth-type": "jwt",
        "x-stream-client": f"stream_tasks-{__version__}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "user-agent": f"stream_tasks/{__version__}",
    }


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_body_goes_out_as_json(server: FakeStream, *, is_injected: bool) -> None:
    """A body is announced as JSON, and the other headers stay."""
    async with (
        aiohttp.ClientSession() as session,
        transport(server.url, session if is_injected else None) as made,
    ):
        await made.exchange("POST", "/things", body=b'{"a":1}')
    request = server.requests[-1]
    assert (request.method, request.json) == ("POST", {"a": 1})
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "a-token"


def link_local() -> str | None:
    """Return an IPv6 address of this machine that needs a zone, if it has one."""
    with suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            address, *_, name = line.split()
            if address.startswith("fe80"):
                return f"{':'.join(re.findall('....', address))}%25{name}"
    return None


@pytest.mark.skipif(link_local() is None, reason="this machine has no IPv6 address with a zone")
@pytest.mark.parametrize("percent", ["%25", "%"])
async def test_an_address_with_a_zone(percent: str) -> None:
    """The zone says which way to go, and is not sent; it may be written as in a URL or as elsewhere."""
    raw = RawServer(says(answer(b"{}")))
    listener = await asyncio.start_server(raw.talk, "::", 0)
    port = listener.sockets[0].getsockname()[1]
    host = str(link_local())
    async with transport(f"http://[{host.replace('%25', percent)}]:{port}/base") as made:
        assert (await made.exchange("GET", "/x?y=z")).body == b"{}"
    listener.close()
    assert raw.heads[0].startswith(b"GET /base/x?y=z HTTP/1.1\r\n")
    assert f"Host: [{host.partition('%')[0]}]:{port}\r\n".encode() in raw.heads[0]


class Recorder:
    """Stands in aiohttp's way as recorders of HTTP do, and keeps the types of what passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.types: list[type] = []
        request = aiohttp.ClientSession._request

        async def recorded(session: Any, method: str, url: Any, **options: Any) -> aiohttp.ClientResponse:
            headers = session._prepare_headers(options.get("headers"))
            self.types += [type(method), *map(type, headers.values())]
            self.types += [type(options.get("data"))] if options.get("data") else []
            return await request(session, method, url, **options)

        monkeypatch.setattr(aiohttp.ClientSession, "_request", recorded)


@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
@pytest.mark.parametrize("trust_env", [False, True])
async def test_recorders_see_plain_texts(
    server: FakeStream, monkeypatch: pytest.MonkeyPatch, *, is_injected: bool, trust_env: bool
) -> None:
    """They write down what is sent, and know nothing of a text that hides itself."""
    recorder = Recorder(monkeypatch)
    sent: list[type] = []

    async def look(_: Any, __: Any, params: aiohttp.TraceRequestHeadersSentParams) -> None:
        sent.extend(map(type, params.headers.values()))

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(look)
    async with aiohttp.ClientSession(trace_configs=[trace], trust_env=trust_env) as session:
        client = AsyncStream(
            server.api_key,
            server.api_secret,
            base_url=server.url,
            session=session if is_injected else None,
            trust_env=trust_env,
        )
        async with client:
            server.add_task("t")
            await client.get_task("t")
            await client.delete_users(["jane"])
    assert set(recorder.types) == {str, bytes}
    assert set(sent) == ({str} if is_injected else set())
    assert server.requests[-1].headers["Authorization"]


async def test_the_path_is_sent_as_it_is_given(server: FakeStream) -> None:
    """What is encoded stays encoded: nothing is decoded or resolved on the way."""
    async with transport(server.url) as made:
        await made.exchange("GET", "/a%2Fb/%252e%252e/%C3%BC?q=%2B")
    assert server.requests[-1].path == "/a%2Fb/%252e%252e/%C3%BC"
    assert server.requests[-1].query == {"q": "+"}


# The caller's session


async def test_an_injected_session_is_used_and_left_open(server: FakeStream) -> None:
    """A session of the caller carries the requests and outlives the client."""
    server.add_task("t")
    async with aiohttp.ClientSession(headers={"X-Mine": "yes"}) as session:
        async with AsyncStream(
            server.api_key, server.api_secret, base_url=server.url, session=session
        ) as client:
            assert (await client.get_task("t")).data.task_id == "t"
        assert not session.closed
    headers = server.requests[-1].headers
    assert headers["X-Mine"] == "yes"
    assert headers["Accept-Encoding"] == "gzip"


async def test_a_session_with_a_password_of_its_own(server: FakeStream) -> None:
    """The token takes its place: aiohttp would refuse to send both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("amy", "hush"))
    async with (
        session,
        AsyncStream(server.api_key, server.api_secret, base_url=server.url, session=session) as client,
    ):
        server.add_task("t")
        assert (await client.get_task("t")).status_code == 200
        with pytest.raises(StreamApiException, match="not an endpoint"):
            await client.request("PUT", "/app", json={})


async def test_a_body_that_is_large(server: FakeStream, client: AsyncStream) -> None:
    """A megabyte is sent like anything else, without aiohttp's warning."""
    with pytest.raises(StreamApiException, match="the body is too large"):
        await client.request("POST", "/app", json={"text": "x" * 2**20})


async def test_an_injected_session_that_is_closed() -> None:
    """A session that the caller has closed is told of as such."""
    async with aiohttp.ClientSession() as session:
        pass
    async with transport("http://127.0.0.1:1", session) as made:
        with pytest.raises((RuntimeError, StreamTransportException), match="session is closed"):
            await made.exchange("GET", "/")


@pytest.mark.parametrize("way", ["get_task", "wait_for_task", "wait_for_tasks", "watch_task"])
async def test_closing_the_client_of_an_injected_session(server: FakeStream, way: str) -> None:
    """What is under way ends at once, though the session, and so its connections, stay open."""
    server.inject(Fault.hang(), times=math.inf)
    async with aiohttp.ClientSession() as session:
        client = AsyncStream(server.api_key, server.api_secret, base_url=server.url, session=session)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "get_task": lambda: client.get_task("t"),
            "wait_for_task": lambda: client.wait_for_task("t"),
            "wait_for_tasks": lambda: client.wait_for_tasks(["t"]),
            "watch_task": lambda: anext(client.watch_task("t")),
        }
        call = asyncio.ensure_future(calls[way]())
        while not server.requests:
            await asyncio.sleep(0.01)
        await client.aclose()
        came: Any
        [came] = await asyncio.wait_for(asyncio.gather(call, return_exceptions=True), 5)
        assert not session.closed
    error = came["t"].exception() if way == "wait_for_tasks" else came
    assert type(error) is StreamTransportException
    assert "closed" in str(error)


async def test_a_middleware_that_reads_bodies(server: FakeStream) -> None:
    """A body that was read on its way, to be logged for example, is there all the same."""
    seen: list[str] = []

    async def log(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        seen.append(await response.text())
        return response

    server.add_task("t", result={"url": "there"})
    async with (
        aiohttp.ClientSession(middlewares=(log,)) as session,
        AsyncStream(server.api_key, server.api_secret, base_url=server.url, session=session) as client,
    ):
        assert await client.wait_for_task("t") == {"url": "there"}
        with pytest.raises(StreamApiException, match="Can't find task"):
            await client.get_task("u")
    assert [json.loads(body).get("status") for body in seen][-2:] == ["completed", None]


async def test_a_middleware_that_calls_the_client(server: FakeStream) -> None:
    """One exchange within another shares its time limit."""
    inner: list[int] = []

    async def look_first(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if not inner:
            inner.append(0)
            inner.append((await client.get_task("t")).status_code)
        return await handler(request)

    server.add_task("t", result={"url": "there"})
    async with (
        aiohttp.ClientSession(middlewares=(look_first,)) as session,
        AsyncStream(server.api_key, server.api_secret, base_url=server.url, session=session) as client,
    ):
        assert await client.wait_for_task("t") == {"url": "there"}
    assert inner == [0, 200]


async def test_an_injected_session_that_raises_for_status(server: FakeStream) -> None:
    """A session that would raise for an error status is told not to."""
    server.inject(Fault.status(503))
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        transport(server.url, session) as made,
    ):
        assert (await made.exchange("GET", "/")).status == 503


async def test_an_injected_session_that_does_not_decompress() -> None:
    """A session that would leave gzip alone is told not to."""
    content = answer(gzip.compress(b"{}"), "Content-Encoding: gzip")
    async with (
        raw_server(says(content)) as raw,
        aiohttp.ClientSession(auto_decompress=False) as session,
        transport(raw.url, session) as made,
    ):
        assert (await made.exchange("GET", "/")).body == b"{}"


async def test_an_injected_session_trusts_whom_its_connector_trusts(
    server_tls: ssl.SSLContext, certificate: Path
) -> None:
    """Without authorities of the client's, the session's own count."""
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        raw_server(says(answer(b"{}")), server_tls) as raw,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
        transport(raw.url, session) as made,
    ):
        assert (await made.exchange("GET", "/")).body == b"{}"


async def test_an_injected_session_has_the_limits_of_the_client(server: FakeStream) -> None:
    """The request's limit is the client's, not the session's."""
    server.inject(Fault.hang())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        error = await failure(server.url, session, request_timeout=0.1)
    assert error.error_type == TIMEOUT


# The life of the own session


async def test_the_session_is_made_at_first_use(server: FakeStream) -> None:
    """Nothing is opened before the first exchange, and aclose closes it; twice is fine."""
    made = Transport(Connections(), server.url, HEADERS, None)
    assert vars(made)["_session"] is None
    await made.exchange("GET", "/")
    session = made._session
    assert session is not None
    assert not session.closed
    await made.aclose()
    await made.aclose()
    assert session.closed


async def test_the_session_is_one_for_all_exchanges(server: FakeStream) -> None:
    """Exchanges that begin at the same time share one session."""
    async with transport(server.url) as made:
        await asyncio.gather(*(made.exchange("GET", "/") for _ in range(10)))
        session = made._session
        await made.exchange("GET", "/")
        assert made._session is session
    assert len(server.requests) == 11


def test_settings_reach_the_session() -> None:
    """Pool size, proxies and keep-alive are as the client was told."""

    async def look() -> None:
        made = Transport(Connections(max_connections=7, trust_env=True), "", HEADERS, None)
        session = await made._open()
        assert session.connector is not None
        assert session.connector.limit == 7
        assert session.trust_env
        assert session.connector._keepalive_timeout == 55.0
        await made.aclose()

    asyncio.run(look())


async def test_nothing_is_opened_after_the_end(server: FakeStream) -> None:
    """An exchange that begins when all is closed is refused: nobody would close its connection."""
    made = Transport(Connections(), server.url, HEADERS, None)
    await made.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await made.exchange("GET", "/")
    assert made._session is None


async def test_cookies_are_not_kept() -> None:
    """A cookie that a gateway sets is not sent back."""
    async with raw_server(says(answer(b"{}", "Set-Cookie: a=b"))) as raw, transport(raw.url) as made:
        await made.exchange("GET", "/")
        await made.exchange("GET", "/")
        assert b"cookie" not in raw.heads[-1].lower()


SCRIPT = """
import asyncio, gc, json, logging, os, sys
from stream_tasks import AsyncStream

# That a busy machine is slow is no complaint.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
SETTINGS = json.loads(os.environ["SETTINGS"])

def make():
    return AsyncStream(SETTINGS["key"], SETTINGS["secret"], base_url=SETTINGS["url"])
"""


def run_script(server: FakeStream, code: str, *flags: str) -> str:
    """Run a script, which must print nothing on stderr."""
    settings = {"key": server.api_key, "secret": server.api_secret, "url": server.url}
    env = os.environ | {"SETTINGS": json.dumps(settings)}
    with Forked(fork_server(), SCRIPT + inspect.cleandoc(code), flags=flags, env=env, **PIPES) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out


RUNS = {
    "asyncio.run, and nobody closes the client": """
        client = make()
        async def main():
            return (await client.get_task("t")).data.task_id
        print(asyncio.run(main()))
    """,
    "asyncio.run, with a client that is gone before it ends": """
        async def main():
            return (await make().get_task("t")).data.task_id
        print(asyncio.run(main()))
    """,
    "one client in two runs": """
        client = make()
        async def main():
            return (await client.get_task("t")).data.task_id
        print(asyncio.run(main()))
        assert asyncio.run(main()) == "t"
    """,
}
LOOPS_WITHOUT_CEREMONY = {
    "and the client is dropped": """
        client = make()
        loop = asyncio.new_event_loop()
        async def main():
            return (await client.get_task("t")).data.task_id
        print(loop.run_until_complete(main()))
        loop.close()
        del client
        gc.collect()
    """,
    "and the client lives on": """
        client = make()
        async def main():
            return (await client.get_task("t")).data.task_id
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        print(asyncio.run(main()))
    """,
    "and the client did nothing": """
        async def main():
            client = make()
            await client.__aenter__()
            return client
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(main())
        loop.close()
        del client
        gc.collect()
        print("t")
    """,
}


@pytest.mark.parametrize("code", RUNS.values(), ids=RUNS)
def test_a_client_that_nobody_closes_is_closed_with_its_loop(threaded_server: FakeStream, code: str) -> None:
    """A loop that ends properly takes the session with it, and Python finds nothing to warn of."""
    threaded_server.add_task("t")
    assert run_script(threaded_server, code, "-X", "dev", "-W", "error") == "t\n"


@pytest.mark.parametrize("code", LOOPS_WITHOUT_CEREMONY.values(), ids=LOOPS_WITHOUT_CEREMONY)
def test_a_loop_that_is_closed_without_ceremony(threaded_server: FakeStream, code: str) -> None:
    """A session whose loop is gone is dropped in silence."""
    threaded_server.add_task("t")
    assert run_script(threaded_server, code) == "t\n"
