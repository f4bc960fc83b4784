"""Downloads: a file is whole, or not there at all."""

import asyncio
import errno
import gzip
import os
import random
import re
import ssl
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import click
import pytest
from aiohttp import web
from aioresponses import aioresponses
from files import Answer, FileServer, part, redirect, reset, unavailable
from test_transport import CERTIFICATE, PRIVATE_KEY

from stream_tasks._backoff import Backoff
from stream_tasks._downloads import Source, save
from stream_tasks._downloads import fetching as downloads
from stream_tasks._http.transport import Connections
from stream_tasks.cli.files.target import Target
from stream_tasks.exceptions import StreamDownloadException

resource = pytest.importorskip("resource", reason="full disks are tested where files can be limited")

CONTENT = random.Random(0).randbytes(300_000)
CUT = 100_000

Fetch: TypeAlias = Callable[..., Awaitable[int]]


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer(CONTENT) as server:
        yield server


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "RETRIES", Backoff(0.05, 0.05, jitter=0))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "export.json"


def nothing(*_: object) -> None:
    """Do nothing."""


async def no_renewal() -> str:
    pytest.fail("a fresh link was asked for")


@pytest.fixture
def fetch(files: FileServer, target: Path) -> Fetch:
    async def fetch(
        url: str | None = None,
        *,
        renew: Callable[[], Awaitable[str]] = no_renewal,
        on_trouble: Callable[[str], object] = nothing,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], object] | None = None,
        **connections: Any,
    ) -> int:
        source = Source(
            files.url() if url is None else url,
            "t-1",
            renew,
            lambda why, _: on_trouble(why),
            Connections(**connections),
        )
        return await save(source, target, overwrite=overwrite, on_progress=on_progress)

    return fetch


def ranges(files: FileServer) -> list[tuple[str | None, str | None]]:
    return list(zip(files.asked("Range"), files.asked("If-Range"), strict=True))


def names(target: Path) -> list[str]:
    """What is in the directory."""
    return [path.name for path in target.parent.iterdir()]


def nothing_is_left(target: Path) -> bool:
    return not names(target)


async def test_a_file_is_saved(files: FileServer, fetch: Fetch, target: Path) -> None:
    """What the link leads to is under its name, and nothing beside it; the link is used as it stands."""
    assert await fetch(files.url("/a%2Fb/c%20d.json?X-Amz-Signature=a%2Bb+c%3D&z=%7E~")) == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert names(target) == ["export.json"]
    (request,) = files.requests
    assert request.raw_path == "/a%2Fb/c%20d.json?X-Amz-Signature=a%2Bb+c%3D&z=%7E~"


async def test_nothing_of_the_api_is_sent_there(files: FileServer, fetch: Fetch) -> None:
    """The request holds no credentials, no cookies, and asks for the file's own bytes."""
    await fetch()
    (request,) = files.requests
    assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent"}
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("stream_tasks/")


async def test_progress_is_told(fetch: Fetch) -> None:
    """Sizes grow to the whole, which is known from the start."""
    seen: list[tuple[int, int | None]] = []
    await fetch(on_progress=lambda size, total: seen.append((size, total)))
    assert seen[0] == (0, len(CONTENT))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


async def test_the_file_has_its_name_only_when_it_is_whole(fetch: Fetch, target: Path) -> None:
    """Until then, what came is beside it."""

    def seen(size: int, _: int | None) -> None:
        assert not target.exists()
        assert target.with_name("export.json.stream-tasks.part").stat().st_size == size

    await fetch(on_progress=seen)
    assert target.exists()


# Going on


async def test_a_cut_download_goes_on_where_it_stopped(files: FileServer, fetch: Fetch, target: Path) -> None:
    """Only what is missing is asked for, and only of the same version."""
    files.cuts.extend([CUT, CUT])
    await fetch()
    assert target.read_bytes() == CONTENT
    assert ranges(files) == [
        (None, None),
        (f"bytes={CUT}-", '"v1"'),
        (f"bytes={2 * CUT}-", '"v1"'),
    ]


async def test_each_try_that_brings_something_is_a_new_beginning(
    files: FileServer, fetch: Fetch, target: Path
) -> None:
    """More cuts than failures are allowed in a row end no download that advances."""
    files.cuts.extend([len(CONTENT) // 20] * (downloads.MAX_FAILURES + 3))
    await fetch()
    assert target.read_bytes() == CONTENT


async def test_a_date_vouches_for_a_version_too(files: FileServer, fetch: Fetch, target: Path) -> None:
    """A weak tag does not, and the date takes its place."""
    files.headers = {"ETag": 'W/"v1"', "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"}
    files.cuts.append(CUT)
    await fetch()
    assert target.read_bytes() == CONTENT
    assert ranges(files)[1] == (f"bytes={CUT}-", "Tue, 24 Nov 2026 12:00:00 GMT")


def _no_validator(files: FileServer) -> None:
    files.headers = {}


def _no_ranges(files: FileServer) -> None:
    files.ranges = False


def _another_part(files: FileServer) -> None:
    files.answers.extend([None, part(b"x" * 10, "bytes 7-16/300000")])


def _another_size(files: FileServer) -> None:
    files.answers.extend([None, part(b"x" * 10, f"bytes {CUT}-{CUT + 9}/{CUT + 10}")])


def _no_range_told(files: FileServer) -> None:
    files.answers.extend([None, part(b"x" * 10, "")])


def _no_such_range(files: FileServer) -> None:
    files.answers.extend([None, 416])


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(_no_validator, id="the server does not tell versions apart"),
        pytest.param(_no_ranges, id="the server ignores ranges"),
        pytest.param(_another_part, id="the server sends another part"),
        pytest.param(_another_size, id="the server sends a part of another file"),
        pytest.param(_no_range_told, id="the server does not say which part it sends"),
        pytest.param(_no_such_range, id="the server knows no such part"),
    ],
)
async def test_a_cut_download_that_cannot_go_on_begins_anew(
    arrange: Callable[[FileServer], None], files: FileServer, fetch: Fetch, target: Path
) -> None:
    """The file is whole all the same."""
    arrange(files)
    files.cuts.append(CUT)
    seen: list[int] = []
    await fetch(on_progress=lambda size, _: seen.append(size))
    assert target.read_bytes() == CONTENT
    assert seen.count(0) == 2


async def test_a_file_that_changed_meanwhile_is_not_mixed(
    files: FileServer, fetch: Fetch, target: Path
) -> None:
    """The rest of another version is not taken."""
    files.cuts.append(CUT)
    other = CONTENT[::-1] + b"more"

    def seen(size: int, _: int | None) -> None:
        if size == CUT:
            files.headers, files.content = {"ETag": '"v2"'}, other

    await fetch(on_progress=seen)
    assert target.read_bytes() == other


async def test_a_part_of_what_was_asked_for_is_taken(files: FileServer, fetch: Fetch, target: Path) -> None:
    """A server may send less of the rest than it was asked for."""
    files.cuts.append(CUT)
    some = part(CONTENT[CUT : CUT + 9], f"bytes {CUT}-{CUT + 8}/{len(CONTENT)}")
    files.answers.extend([None, some])
    await fetch()
    assert target.read_bytes() == CONTENT
    assert files.asked("Range")[2] == f"bytes={CUT + 9}-"


async def test_a_file_of_unknown_size_is_saved(files: FileServer, fetch: Fetch, target: Path) -> None:
    """Without a length, its end is where the server says so; a part may then be of any size."""
    files.headers["Transfer-Encoding"] = "chunked"
    files.cuts.append(CUT)
    totals = set()
    await fetch(on_progress=lambda _, total: totals.add(total))
    assert target.read_bytes() == CONTENT
    assert totals == {None}
    assert len(files.requests) == 2


async def test_a_file_that_is_sent_compressed_is_unpacked(
    files: FileServer, fetch: Fetch, target: Path
) -> None:
    """It cannot go on in the middle, as its bytes are others than those that are sent."""
    files.content = gzip.compress(CONTENT)
    files.headers["Content-Encoding"] = "gzip"
    files.cuts.append(CUT)
    await fetch()
    assert target.read_bytes() == CONTENT
    assert ranges(files) == [(None, None)] * 2


PACKED = gzip.compress(CONTENT)


def packed(content: bytes, coding: str = "gzip") -> Answer:
    """Send content with a coding, with framing that ends well."""
    return lambda _: web.Response(body=content, headers={"Content-Encoding": coding, "ETag": '"v1"'})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(packed(PACKED, "x-gzip"), id="gzip under its old name"),
        pytest.param(packed(gzip.compress(CONTENT[:CUT]) + gzip.compress(CONTENT[CUT:])), id="two members"),
        pytest.param(packed(zlib.compress(CONTENT), "deflate"), id="deflate"),
    ],
)
async def test_whatever_undoes_the_coding_is_known(
    files: FileServer, fetch: Fetch, target: Path, answer: Answer
) -> None:
    """The file is what was packed."""
    files.answers.append(answer)
    await fetch()
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(packed(PACKED[:CUT]), id="cut in the middle"),
        pytest.param(packed(PACKED[:-1]), id="cut before the last byte"),
        pytest.param(packed(PACKED[:-8] + bytes(8)), id="a wrong checksum"),
        pytest.param(packed(PACKED + b"garbage"), id="garbage behind it"),
        pytest.param(packed(CONTENT), id="no gzip"),
        pytest.param(packed(CONTENT, "br"), id="a coding that was not asked for"),
    ],
)
async def test_a_file_that_is_not_whole_is_fetched_again(
    files: FileServer, fetch: Fetch, target: Path, answer: Answer
) -> None:
    """Its framing alone does not tell: its coding must have ended, too."""
    files.answers.extend([answer] * 2)
    await fetch()
    assert target.read_bytes() == CONTENT
    assert ranges(files) == [(None, None)] * 3


async def test_a_file_that_is_never_whole_is_no_file(files: FileServer, fetch: Fetch, target: Path) -> None:
    """It may be like that where it is kept: it is not tried for long."""
    files.answers.extend([packed(PACKED[:CUT])] * 9)
    with pytest.raises(
        StreamDownloadException, match="sent no whole file: the gzip content ends in the middle"
    ):
        await fetch()
    assert not target.exists()
    assert len(files.requests) == 3


async def test_an_empty_file_may_have_a_coding(files: FileServer, fetch: Fetch, target: Path) -> None:
    """A server that says that nothing comes has packed nothing."""
    files.answers.append(packed(b""))
    assert await fetch() == 0
    assert target.read_bytes() == b""


async def test_an_empty_file_is_a_file(files: FileServer, fetch: Fetch, target: Path) -> None:
    """An export of nothing has no bytes."""
    files.content = b""
    assert await fetch() == 0
    assert target.read_bytes() == b""


# Bad moments


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reset, id="a reset"),
        pytest.param(408, id="a time-out of the server"),
        pytest.param(429, id="too many requests"),
        pytest.param(500, id="an error of the server"),
        pytest.param(503, id="a server that is busy"),
    ],
)
async def test_a_bad_moment_is_waited_out(answer: Any, files: FileServer, fetch: Fetch, target: Path) -> None:
    """It is tried again and told of once, and nothing that is no file gets into the file."""
    files.answers.extend([answer, answer])
    told: list[str] = []
    await fetch(on_trouble=told.append)
    assert len(told) == 1
    assert told[0].startswith("127.0.0.1 ")
    assert target.read_bytes() == CONTENT
    assert len(files.requests) == 3


async def test_a_server_that_hangs_is_tried_again(
    files: FileServer, fetch: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is a bad moment too."""
    monkeypatch.setattr(files, "_send", _first_hanging(files._send))
    await fetch(request_timeout=0.2)
    assert target.read_bytes() == CONTENT


def _first_hanging(send: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    hanging = iter([60])

    async def wrapped(request: Any) -> Any:
        await asyncio.sleep(next(hanging, 0))
        return await send(request)

    return wrapped


async def test_the_server_says_how_long_a_bad_moment_lasts(
    files: FileServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its word counts if it is longer than our own pause, up to a minute."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    files.answers.extend(unavailable(["7", "0", "3600", "soon"]))
    await fetch()
    assert slept == [7, 0.05, 60, 0.05]


async def test_bad_moments_without_end_are_given_up(files: FileServer, fetch: Fetch, target: Path) -> None:
    """The error says what was wrong last, without the link's signature, and nothing is left."""
    files.answers.extend([503] * 99)
    with pytest.raises(StreamDownloadException) as info:
        await fetch()
    assert str(info.value) == (
        "the download failed 9 times in a row: 127.0.0.1 answered HTTP 503 Service Unavailable"
    )
    assert len(files.requests) == downloads.MAX_FAILURES + 1
    assert nothing_is_left(target)


async def test_a_server_that_is_gone_is_given_up(fetch: Fetch, target: Path) -> None:
    """Its name is told, and what was wrong."""
    with pytest.raises(
        StreamDownloadException, match=r"in a row: nowhere\.invalid gave no usable answer \(dns failure\)$"
    ):
        await fetch("https://nowhere.invalid/export?signature=secret-signature")
    assert nothing_is_left(target)


async def test_parts_that_nobody_asked_for_are_given_up(
    files: FileServer, fetch: Fetch, target: Path
) -> None:
    """A part alone is no file."""
    files.answers.extend([part(CONTENT[:9], f"bytes 0-8/{len(CONTENT)}")] * 99)
    with pytest.raises(StreamDownloadException, match=r"did not send the part of the file that is missing$"):
        await fetch()
    assert nothing_is_left(target)


# Links


async def test_an_expired_link_is_renewed(files: FileServer, fetch: Fetch, target: Path) -> None:
    """A fresh one is used in its place, in the middle of the file, too."""
    files.cuts.append(CUT)
    files.answers.extend([None, 403])

    async def renew() -> str:
        return files.url("/fresh")

    await fetch(renew=renew)
    assert target.read_bytes() == CONTENT
    assert [request.path for request in files.requests] == ["/export.json", "/export.json", "/fresh"]
    assert files.asked("Range")[2] == f"bytes={CUT}-"


async def test_what_came_before_a_reset_counts(fetch: Fetch, target: Path) -> None:
    """A server that resets each connection right after some bytes is overcome, a bit at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        found = re.search(r"Range: bytes=(\d+)-", asked)
        at = 0 if found is None else int(found[1])
        head = f'HTTP/1.1 {206 if at else 200} OK\r\nETag: "1"\r\nContent-Length: {6000 - at}\r\n'
        head += f"Content-Range: bytes {at}-5999/6000\r\n\r\n"
        writer.write(head.encode() + CONTENT[at:6000][:600])
        await writer.drain()
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        assert await fetch(f"http://127.0.0.1:{port}/") == 6000
    assert target.read_bytes() == CONTENT[:6000]


async def test_a_link_that_expires_again_and_again_is_renewed(
    files: FileServer, fetch: Fetch, target: Path
) -> None:
    """As long as the download advances, or the server is in trouble in between."""
    files.cuts.extend([len(CONTENT) // 4] * 3)
    files.answers.extend([None, 403, None, 403, None, 403, 503, 403])
    fresh: list[str] = []

    async def renew() -> str:
        fresh.append(files.url(f"/{len(fresh)}"))
        return fresh[-1]

    await fetch(renew=renew)
    assert target.read_bytes() == CONTENT
    assert len(fresh) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 410])
async def test_a_link_that_is_refused_is_said_in_plain_words(
    status: int, files: FileServer, fetch: Fetch, target: Path
) -> None:
    """A fresh link is tried once; nothing is left, and no signature is shown."""
    files.answers.extend([status] * 9)

    async def renew() -> str:
        return files.url()

    with pytest.raises(StreamDownloadException) as info:
        await fetch(renew=renew)
    assert re.fullmatch(
        rf"127\.0\.0\.1 answered HTTP {status} [\w ]+: the link may have expired; a fresh link was .+",
        str(info.value),
    )
    assert len(files.requests) == 2
    assert nothing_is_left(target)


async def test_redirects_are_followed(files: FileServer, fetch: Fetch, target: Path) -> None:
    """Absolute and relative ones, with the range that is asked for."""
    files.cuts.append(CUT)
    files.answers.extend([redirect("/elsewhere?a=%2B"), redirect(files.url("/third")), None])
    await fetch()
    assert target.read_bytes() == CONTENT
    assert [request.raw_path for request in files.requests[:3]] == [
        "/export.json?signature=secret-signature",
        "/elsewhere?a=%2B",
        "/third",
    ]


async def test_redirects_without_end_are_given_up(files: FileServer, fetch: Fetch) -> None:
    """Five are followed."""
    files.answers.extend([redirect("")] * 99)
    with pytest.raises(StreamDownloadException, match="redirects too often"):
        await fetch()
    assert len(files.requests) == 6


@pytest.mark.parametrize(
    "location", ["http://plain.example/export", "//plain.example:80/x", "ftp://x.example/"]
)
async def test_no_redirect_leads_out_of_encryption(
    location: str, fetch: Fetch, target: Path, mocked: aioresponses
) -> None:
    """From https, only https is followed."""
    mocked.get(re.compile("https://"), status=302, headers={"Location": location}, repeat=True)
    mocked.get(re.compile("http://"), body=b"no")
    with pytest.raises(StreamDownloadException):
        await fetch("https://files.example/export")
    assert all(url.scheme == "https" for _, url in mocked.requests)
    assert nothing_is_left(target)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="none"),
        pytest.param("None", id="a word"),
        pytest.param("file:///etc/passwd", id="a file of this machine"),
        pytest.param("ftp://example.com/x", id="another protocol"),
        pytest.param("http://[half", id="half an address"),
        pytest.param("https:///x", id="no host"),
    ],
)
async def test_a_link_that_is_none_is_refused(url: str, fetch: Fetch, target: Path) -> None:
    """Only http(s) addresses are asked for."""
    with pytest.raises(StreamDownloadException, match=r"^the export's link is not an http\(s\) address$"):
        await fetch(url)
    assert nothing_is_left(target)


@pytest.mark.parametrize("location", ["http://[half", "ftp://127.0.0.1/"])
async def test_a_redirect_to_nowhere_is_refused(location: str, files: FileServer, fetch: Fetch) -> None:
    """Where it leads to is checked like the link itself."""
    files.answers.extend([redirect(location)] * 9)
    with pytest.raises(StreamDownloadException):
        await fetch()


async def test_a_link_with_spaces_is_quoted(files: FileServer, fetch: Fetch) -> None:
    """What cannot stand in an address is not sent as it is."""
    await fetch(files.url("/a b\r\nX-Evil: 1"))
    (request,) = files.requests
    assert "X-Evil" not in request.headers


async def test_a_server_that_does_not_prove_who_it_is(tmp_path: Path, fetch: Fetch, target: Path) -> None:
    """Certificates are verified, and trying again is of no use."""
    pem = tmp_path / "self-signed.pem"
    pem.write_text(CERTIFICATE + PRIVATE_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    pem.unlink()
    with FileServer(CONTENT, tls=context) as server:
        with pytest.raises(
            StreamDownloadException, match=r"the certificate of 127\.0\.0\.1 is not trusted: "
        ):
            await fetch(server.url())
        assert not server.requests
    assert nothing_is_left(target)


# The file


async def test_a_full_disk_is_said_in_plain_words(fetch: Fetch, target: Path) -> None:
    """The error is the system's own, at once, and what came is taken away."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be written: File too large") as info:
            await fetch()
        assert (info.value.errno, info.value.filename) == (errno.EFBIG, f"{target}.stream-tasks.part")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert nothing_is_left(target)


async def test_a_directory_that_is_gone_is_said_in_plain_words(fetch: Fetch, target: Path) -> None:
    """The file that cannot be made is named."""
    target.parent.rmdir()
    with pytest.raises(FileNotFoundError, match=r"there is no directory .*: '.*export\.json'$"):
        await fetch()


async def test_a_file_made_meanwhile_is_left_as_it_is(fetch: Fetch, target: Path) -> None:
    """It is not written over, unless that was asked for."""

    def seen(*_: object) -> None:
        target.write_text("mine")

    with pytest.raises(FileExistsError, match="is written by another process, too"):
        await fetch(on_progress=seen)
    assert target.read_text() == "mine"
    assert names(target) == ["export.json"]
    await fetch(on_progress=seen, overwrite=True)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
async def test_a_file_that_is_replaced_keeps_its_mode(fetch: Fetch, target: Path, mode: int) -> None:
    """Nobody else can read what replaces a private file, not even before it is whole."""
    target.write_text("old")
    target.chmod(mode)
    part = target.with_name("export.json.stream-tasks.part")
    modes = set()
    await fetch(overwrite=True, on_progress=lambda *_: modes.add(part.stat().st_mode & 0o777))
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o777 == mode
    assert modes == {0o600}


async def test_a_new_file_has_the_usual_mode(fetch: Fetch, target: Path) -> None:
    """With --overwrite as without."""
    before = os.umask(0o027)
    try:
        await fetch(overwrite=True)
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("has_target", [True, False], ids=["to a file", "to nothing"])
async def test_a_link_is_kept(fetch: Fetch, target: Path, tmp_path: Path, *, has_target: bool) -> None:
    """The file that it leads to is replaced or made, with what came beside that."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real = folder / "real.json"
    if has_target:
        real.write_text("old")
        real.chmod(0o600)
    target.symlink_to("link.json")
    (tmp_path / "link.json").symlink_to("elsewhere/real.json")
    check(target, overwrite=True)
    await fetch(overwrite=True)
    assert target.readlink() == Path("link.json")
    assert real.read_bytes() == CONTENT
    assert not real.is_symlink()
    assert sorted(names(real)) == ["real.json"]
    if has_target:
        assert real.stat().st_mode & 0o777 == 0o600


async def test_the_owner_is_kept(fetch: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system allows it: others cannot give files away."""
    target.write_text("old")
    owner = (target.stat().st_uid, target.stat().st_gid)
    given: list[tuple[int, int]] = []

    def chown(_: Path, user: int, group: int) -> None:
        given.append((user, group))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    await fetch(overwrite=True)
    assert given == [owner]
    assert target.read_bytes() == CONTENT


async def test_what_a_killed_download_left_is_replaced(fetch: Fetch, target: Path, tmp_path: Path) -> None:
    """Not even a link that was put there is followed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    target.with_name("export.json.stream-tasks.part").symlink_to(victim)
    await fetch()
    assert target.read_bytes() == CONTENT
    assert not target.is_symlink()
    assert victim.read_text() == "precious"


async def test_a_link_that_leads_nowhere_is_left_as_it_is(fetch: Fetch, target: Path) -> None:
    """It is a file of somebody's, too."""

    def seen(*_: object) -> None:
        if not target.is_symlink():
            target.symlink_to("nowhere")

    with pytest.raises(FileExistsError, match="is written by another process, too"):
        await fetch(on_progress=seen)
    assert target.readlink() == Path("nowhere")


async def test_two_downloads_of_one_name_do_not_mix(files: FileServer, fetch: Fetch, target: Path) -> None:
    """The later one has the name; the earlier one is told, and takes nothing away."""
    files.cuts.append(CUT)
    other: list[asyncio.Task[int]] = []

    def seen(size: int, _: int | None) -> None:
        if size == CUT and not other:
            other.append(asyncio.ensure_future(fetch()))

    with pytest.raises(FileExistsError, match="is written by another process, too"):
        await fetch(on_progress=seen)
    await other[0]
    assert target.read_bytes() == CONTENT
    assert names(target) == ["export.json"]


async def test_a_cancelled_download_leaves_nothing(
    files: FileServer, fetch: Fetch, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancellation passes as it is, also while a bad moment is waited out."""
    monkeypatch.setattr(downloads, "RETRIES", Backoff(60, 60))
    files.cuts.append(CUT)
    came = asyncio.Event()

    def seen(size: int, _: int | None) -> None:
        if size == CUT:
            came.set()

    task = asyncio.ensure_future(fetch(on_progress=seen))
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_is_left(target)


# What is checked before anything is started


def check(path: Path, *, overwrite: bool = False) -> None:
    """Check as the command line does."""
    Target.of(path, 1, overwrite=overwrite)


def test_a_new_file_and_one_that_may_be_replaced_are_fine(target: Path) -> None:
    """Nothing is made by looking."""
    check(target, overwrite=False)
    assert nothing_is_left(target)
    part = target.with_name("export.json.stream-tasks.part")
    part.write_text("old")
    check(target, overwrite=False)
    target.write_text("old")
    check(target, overwrite=True)
    assert target.read_text() == part.read_text() == "old"


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        pytest.param("old.json", r"old\.json exists already; --overwrite replaces it", id="a file"),
        pytest.param(".", "is a directory", id="a directory"),
        pytest.param("pipe", "pipe is not a regular file", id="a pipe"),
        pytest.param(
            "no/where.json", "no/where.json cannot be written: there is no directory .*/no", id="no dir"
        ),
        pytest.param("old.json/x", "cannot be written: there is no directory .*", id="a file as directory"),
        pytest.param("x" * 300, "cannot be written: File name too long", id="a name that is too long"),
        pytest.param("x" * 251, "cannot be written: File name too long", id="too long as a part"),
        pytest.param("loose", "loose exists already; --overwrite replaces it", id="a link to nowhere"),
        pytest.param("a", r"a\.stream-tasks\.part is a directory", id="a directory where the part goes"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(path: str, wrong: str, tmp_path: Path) -> None:
    """The error says what is wrong, and names the option."""
    (tmp_path / "old.json").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loose").symlink_to("nowhere")
    (tmp_path / "a.stream-tasks.part").mkdir()
    with pytest.raises(click.BadParameter, match=f"{wrong}$") as info:
        check(tmp_path / path)
    assert info.value.param_hint == "'--output'"


def test_a_link_that_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    """One to a directory, to a place that is not there, and one to itself."""
    (tmp_path / "directory").symlink_to(".")
    (tmp_path / "nowhere").symlink_to("no/where")
    (tmp_path / "itself").symlink_to("itself")
    for name, wrong in (
        ("directory", "is a directory"),
        ("nowhere", "cannot be written: No such file or directory"),
        ("itself", "cannot be written: Too many levels of symbolic links"),
    ):
        with pytest.raises(click.BadParameter, match=wrong):
            check(tmp_path / name, overwrite=True)


def test_an_odd_name_is_escaped(tmp_path: Path) -> None:
    """The message steers no terminal."""
    with pytest.raises(click.BadParameter, match=r"/\\u001bc\\udcff cannot be written") as info:
        check(tmp_path / "no\x1b" / "\x1bc\udcff")
    assert "\x1b" not in info.value.message


def test_a_directory_of_others_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, and so the refusal is made up."""

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(click.BadParameter, match=r"export\.json cannot be written: Permission denied$"):
        check(target, overwrite=True)


def test_a_directory_that_takes_no_files_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its permissions say, as those of one that is no more."""
    monkeypatch.chdir(target.parent)
    target.parent.rmdir()
    with pytest.raises(click.BadParameter, match=r"^export\.json cannot be written: "):
        check(Path("export.json"), overwrite=True)
