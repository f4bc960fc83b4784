"""Downloads an export from its link to a file, which is whole or does not exist."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import anyio
from aiohttp import ClientResponse, ClientSession, http_exceptions
from yarl import URL

from stream_tasks._backoff import Backoff
from stream_tasks._content_coding import CodingError, inflater
from stream_tasks._engine.finality import is_passing
from stream_tasks._http import protocol
from stream_tasks._http.pool import Connector
from stream_tasks._http.session import MAX_HEADER
from stream_tasks._http.transport import error_type
from stream_tasks._version import __version__
from stream_tasks.cli.files.target import DownloadError, PartFile
from stream_tasks.exceptions import TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED

__all__ = ["download"]

RETRIES: Final = Backoff(1.0, 30.0)
MAX_FAILURES: Final = 8
"""How many tries in a row may bring nothing new. With `RETRIES`, they take a minute and a half."""

MAX_BROKEN: Final = 2
"""How many times in a row the content may be broken although all of it came."""

TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)

_MAX_REDIRECTS: Final = 5
_MAX_HOLD: Final = 60.0  # seconds
_OK: Final = 200
_PARTIAL: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_REDIRECTS: Final = (301, 302, 303, 307, 308)

OnProgress = Callable[[int, int | None], object]
OnTrouble = Callable[[str], object]


class _BadMomentError(Exception):
    """Raised when another try may succeed, after `hold` seconds if the server said so."""

    def __init__(self, why: str, hold: float = 0.0) -> None:
        super().__init__(why)
        self.hold = hold


class _BrokenContentError(_BadMomentError):
    """Raised when what came is not whole, or not what its coding says: the file itself may be like that."""


class _StaleLinkError(Exception):
    """Raised when the server does not accept the link."""


async def download(
    url: str,
    path: Path,
    *,
    overwrite: bool,
    renew: Callable[[], Awaitable[str]],
    on_progress: OnProgress,
    on_trouble: OnTrouble,
) -> int:
    """Download what a link leads to.

    Until it is whole, it is in a file beside it, with ``.stream-tasks.part`` after its name. A download that
    breaks off goes on where it stopped, if the server supports that and says that the file is still the same.
    Stream's credentials are not sent there.

    Args:
        url: The link.
        path: The file to write.
        overwrite: Whether a file of that name is replaced.
        renew: Returns a fresh link when this one has expired.
        on_progress: Called with the number of bytes so far, and with the size of the whole if it is known.
        on_trouble: Called with what is wrong when a bad moment begins.

    Returns:
        The size of the file, in bytes.

    Raises:
        DownloadError: The download failed for good; nothing is left of it.
    """
    with PartFile(path, overwrite=overwrite) as part:
        session = ClientSession(
            connector=Connector(),
            timeout=TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": f"stream_tasks/{__version__}"},
            auto_decompress=False,  # aiohttp takes content for whole that ends in the middle of its coding
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        async with session:
            await _fetch(session, url, part, renew=renew, on_progress=on_progress, on_trouble=on_trouble)
        part.finish()
        return part.size


async def _fetch(
    session: ClientSession,
    url: str,
    part: PartFile,
    *,
    renew: Callable[[], Awaitable[str]],
    on_progress: OnProgress,
    on_trouble: OnTrouble,
) -> None:
    """Try until the file is whole."""
    most = failures = 0
    is_fresh = False  # whether the link has just been renewed
    while True:
        try:
            await _try(session, url, part, on_progress)
        except _StaleLinkError as error:
            if is_fresh:
                raise DownloadError(f"{error}; a fresh link was refused, too") from None
            url, is_fresh = await renew(), True
        except _BadMomentError as error:
            is_fresh = False
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures > (MAX_BROKEN if isinstance(error, _BrokenContentError) else MAX_FAILURES):
                raise DownloadError(f"the download failed {failures} times in a row: {error}") from None
            if failures == 1:
                on_trouble(str(error))
            await anyio.sleep(max(RETRIES.delay(failures), error.hold))
        else:
            return


async def _try(session: ClientSession, url: str, part: PartFile, on_progress: OnProgress) -> None:
    """Download what is missing.

    Raises:
        _BadMomentError: It broke off.
        _StaleLinkError: The link is not accepted.
    """
    headers = {}
    if part.size and part.validator is not None:
        headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    async with _answer(session, url, headers) as response:
        if response.status == _OK:
            part.begin(*_whole(response))
        elif not headers or not _is_the_rest(response, part):
            part.validator = None  # the next try starts from the beginning
            raise _BadMomentError(f"{response.url.host} did not send the part of the file that is missing")
        on_progress(part.size, part.total)
        async for piece in _pieces(response):
            part.write(piece)
            on_progress(part.size, part.total)
    if part.total is not None and part.size != part.total:
        raise _BadMomentError(f"only {part.size:,} of {part.total:,} bytes came")


async def _pieces(response: ClientResponse) -> AsyncIterator[bytes]:
    """Yield what is behind the link, its content coding undone.

    Raises:
        _BrokenContentError: The content is broken, or ends in the middle of its coding.
    """
    try:
        coding = inflater(response.headers.get("Content-Encoding", ""))
        async for chunk in response.content.iter_any():
            for piece in (chunk,) if coding is None else coding.feed(chunk):
                yield piece
        if coding is not None and response.content_length != 0:  # then the server says that it is empty
            coding.finish()
    except CodingError as error:
        raise _BrokenContentError(f"{response.url.host} sent no whole file: {error}") from None


def _whole(response: ClientResponse) -> tuple[int | None, str | None]:
    """Return how large the file is, and what the server calls this version of it."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None, None  # these bytes differ from those that are written
    tag = response.headers.get("ETag", "")
    # Two files with the same weak tag may differ in single bytes.
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return response.content_length, validator


def _is_the_rest(response: ClientResponse, part: PartFile) -> bool:
    # The Content-Range of a 416 does not match.
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != part.size:
        return False
    return part.total is None or found[2] in ("*", str(part.total))


@asynccontextmanager
async def _answer(session: ClientSession, url: str, headers: dict[str, str]) -> AsyncIterator[ClientResponse]:
    """Request a link, and follow its redirects.

    Raises:
        DownloadError: Another try would fail, too.
        _BadMomentError: The connection broke, or the server is in trouble.
        _StaleLinkError: The link is not accepted.
    """
    address = _address(url)
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            async with session.get(address, headers=headers, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    _check_status(response)
                    yield response
                    return
                address = _redirected(response)
    except (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError) as error:
        kind = error_type(error)
        if kind == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED:
            raise DownloadError(f"the certificate of {address.host} is not trusted: {error}") from None
        raise _BadMomentError(f"{address.host} gave no usable answer ({kind.replace('_', ' ')})") from None
    raise DownloadError(f"{address.host} redirects too often")


def _address(url: str) -> URL:
    try:
        # A signature covers the address as it is written.
        address = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
    except ValueError:
        address = URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise DownloadError("the export's link is not an http(s) address")
    return address


def _redirected(response: ClientResponse) -> URL:
    there = _address(str(response.url.join(_location(response))))
    if response.url.scheme == "https" and there.scheme != "https":
        raise DownloadError(f"{response.url.host} redirects to {there.host} without encryption")
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
        raise _BadMomentError(told, 0.0 if hold is None else min(hold.total_seconds(), _MAX_HOLD))
    raise _StaleLinkError(f"{told}: the link may have expired")
