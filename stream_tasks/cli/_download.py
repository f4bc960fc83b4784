"""From an export's link to a file, which is whole or not there."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, Self

import aiohttp
import anyio
import click
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
from stream_tasks.cli._output import printable
from stream_tasks.exceptions import TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED

__all__ = ["DownloadError", "check_target", "download"]

RETRIES: Final = Backoff(1.0, 30.0)
MOST_FAILURES: Final = 8
"""So many tries in a row may bring nothing new, which with `RETRIES` is a minute and a half."""

MOST_BROKEN: Final = 2
"""So many times in a row the content may be broken, though all of it came."""

TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)

_MOST_REDIRECTS: Final = 5
_LONGEST_HOLD: Final = 60.0
_OK: Final = 200
_PARTIAL: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_REDIRECTS: Final = (301, 302, 303, 307, 308)

Seen = Callable[[int, int | None], object]
Tell = Callable[[str], object]


class DownloadError(click.ClickException):
    """Raised when an export cannot be downloaded; says why in plain words."""

    exit_code = 4


class _BadMomentError(Exception):
    """Raised when it is worth to try again, after `hold` seconds if the server said so."""

    def __init__(self, why: str, hold: float = 0.0) -> None:
        super().__init__(why)
        self.hold = hold


class _BrokenContentError(_BadMomentError):
    """Raised when what came is not whole, or not what its coding says: the file itself may be like that."""


class _StaleLinkError(Exception):
    """Raised when the server does not accept the link."""


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be put there, before there is anything to put.

    Raises:
        click.BadParameter: It cannot.
    """
    try:
        wrong = _what_is_wrong(path, overwrite=overwrite)
    except OSError as error:
        wrong = f"{path} cannot be written: {error.strerror}"
    if wrong is not None:
        raise click.BadParameter(printable(wrong), param_hint="'--output'")


def _what_is_wrong(path: Path, *, overwrite: bool) -> str | None:
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no directory {path.parent}"
    TemporaryFile(dir=path.parent).close()  # permissions do not tell all
    for file in (path, _part_of(path)):
        if file.is_dir():
            return f"{file} is a directory"
        if file.exists() and not file.is_file():
            return f"{file} is no regular file"
    if _is_there(path) and not overwrite:
        return f"{path} exists already; --overwrite replaces it"
    return None


def _is_there(path: Path) -> bool:
    """Whether there is a file, or a link that leads nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.stream-tasks.part")  # nobody else's


async def download(
    url: str,
    path: Path,
    *,
    overwrite: bool,
    renew: Callable[[], Awaitable[str]],
    seen: Seen,
    tell: Tell,
) -> int:
    """Download what is behind a link.

    What has come is in a file beside it, with ``.stream-tasks.part`` after its name, until all has. A
    download that breaks off goes on where it stopped, if the server can do that and says that the file is
    still the same. The server is sent nothing of Stream's credentials.

    Args:
        url: The link.
        path: The file to make.
        overwrite: Whether a file may be there already.
        renew: Makes a fresh link, for when this one has expired.
        seen: Called with the bytes that have come, and how many there are in all if that is known.
        tell: Called with what is wrong when a bad moment begins.

    Returns:
        The size of the file, in bytes.

    Raises:
        DownloadError: It failed for good; nothing is left of it.
    """
    with _Part(path, overwrite=overwrite) as part:
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
            await _fetch(session, url, part, renew=renew, seen=seen, tell=tell)
        part.finish()
        return part.size


class _Part:
    """The file that a download goes to.

    Attributes:
        size: How much of it is there, in bytes.
        total: How large it will be, if that is known.
        validator: What the server calls this version of it, if it can send the rest of one.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._final = path
        self._path = _part_of(path)
        self._overwrite = overwrite
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None

    def __enter__(self) -> Self:
        with _in_plain_words(self._path):
            self._path.unlink(missing_ok=True)  # what a killed process left
            self._file = self._path.open("xb", buffering=0)
            self._identity = os.fstat(self._file.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with suppress(OSError):
            if self._is_ours():
                self._path.unlink()

    def begin(self, total: int | None, validator: str | None) -> None:
        """Forget what came so far."""
        with _in_plain_words(self._path):
            self._file.seek(0)
            self._file.truncate()
        self.size, self.total, self.validator = 0, total, validator

    def write(self, chunk: bytes) -> None:
        """Add what came."""
        with _in_plain_words(self._path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        self.size += len(chunk)

    def finish(self) -> None:
        """Give the file its name."""
        with _in_plain_words(self._final):
            os.fsync(self._file.fileno())
            if not self._is_ours() or (_is_there(self._final) and not self._overwrite):
                raise DownloadError(f"another process makes {self._final} too, and this one leaves it be")
            self._file.close()
            self._path.replace(self._final)

    def _is_ours(self) -> bool:
        """Whether what is there is what was opened here."""
        try:
            return os.path.samestat(self._identity, self._path.lstat())
        except FileNotFoundError:
            return False


async def _fetch(
    session: ClientSession,
    url: str,
    part: _Part,
    *,
    renew: Callable[[], Awaitable[str]],
    seen: Seen,
    tell: Tell,
) -> None:
    """Try until all is there."""
    most = failures = 0
    is_renewed = False
    while True:
        try:
            await _try(session, url, part, seen)
        except _StaleLinkError as error:
            if is_renewed:
                raise DownloadError(f"{error}; a fresh link fares no better") from None
            url, is_renewed = await renew(), True
            continue
        except _BadMomentError as error:
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            most_failures = MOST_BROKEN if isinstance(error, _BrokenContentError) else MOST_FAILURES
            if failures > most_failures:
                raise DownloadError(f"the download was tried again and again, but {error}") from None
            if failures == 1:
                tell(str(error))
            await anyio.sleep(max(RETRIES.delay(failures), error.hold))
            continue
        return


async def _try(session: ClientSession, url: str, part: _Part, seen: Seen) -> None:
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
            part.validator = None  # from the beginning, then
            raise _BadMomentError(f"{response.url.host} did not send the part of the file that is missing")
        seen(part.size, part.total)
        async for piece in _pieces(response):
            part.write(piece)
            seen(part.size, part.total)
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
        return None, None  # what is sent is not what is written
    tag = response.headers.get("ETag", "")
    # A weak tag does not vouch for each byte.
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return response.content_length, validator


def _is_the_rest(response: ClientResponse, part: _Part) -> bool:
    # A 416 has no such range either.
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != part.size:
        return False
    return part.total is None or found[2] in ("*", str(part.total))


@asynccontextmanager
async def _answer(session: ClientSession, url: str, headers: dict[str, str]) -> AsyncIterator[ClientResponse]:
    """Ask for a link, and for where that leads to.

    Raises:
        DownloadError: It is refused for good.
        _BadMomentError: It broke off.
        _StaleLinkError: The link is not accepted.
    """
    address = _address(url)
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            async with session.get(address, headers=headers, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    _check_status(response)
                    yield response
                    return
                address = _redirected(response)
    except (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError) as error:
        kind = error_type(error)
        if kind == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED:
            raise DownloadError(f"{address.host} does not prove who it is: {error}") from None
        raise _BadMomentError(f"{address.host} gave no usable answer ({kind.replace('_', ' ')})") from None
    raise DownloadError(f"{address.host} redirects from one address to the next without end")


def _address(url: str) -> URL:
    try:
        # A signature covers the address as it stands.
        address = URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)
    except ValueError:
        address = URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise DownloadError("the export's link is no http(s) address")
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
        raise _BadMomentError(told, 0.0 if hold is None else min(hold.total_seconds(), _LONGEST_HOLD))
    raise _StaleLinkError(f"{told}: the link may have expired")


@contextmanager
def _in_plain_words(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into an error for people."""
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{path} cannot be written: {error.strerror or error}") from None
