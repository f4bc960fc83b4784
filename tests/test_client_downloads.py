"""Downloads with the clients: from whatever a caller has of an export, to a file or as chunks."""

import asyncio
import gzip
import inspect
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from files import FileServer, part, redirect, reset

from stream_tasks import (
    AsyncStream,
    ExportChannelsResult,
    ExportUsersResult,
    Stream,
    StreamApiException,
    StreamDownloadException,
    StreamTaskException,
    StreamWaitTimeoutException,
)
from stream_tasks._backoff import Backoff
from stream_tasks._downloads import fetching
from stream_tasks.models import StartedTask, TaskResult
from stream_tasks.testing import FakeStream, Fault, TaskFailure
from stream_tasks.webhooks import TaskEvent

CONTENT = random.Random(0).randbytes(300_000)
CUT = 100_000
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "RETRIES", Backoff(0.05, 0.05, jitter=0))


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "export.json"


def add_export(server: FakeStream, files: FileServer, **options: Any) -> str:
    """Add a task whose link is ``/1``, then ``/2``, and so on, each time it is asked for."""
    numbers = iter(range(1, 99))
    return server.add_task(
        statuses=(), result=lambda _: {"url": files.url(f"/{next(numbers)}?signature=s3cret")}, **options
    )


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def paths(files: FileServer) -> list[str]:
    return [request.path for request in files.requests]


# What an export is known by


Given = Callable[[AsyncStream, str], Any]


async def _outcome(client: AsyncStream, task_id: str) -> Any:
    return (await client.wait_for_tasks([task_id]))[task_id]


async def _started(_: AsyncStream, task_id: str) -> Any:
    return StartedTask(task_id, {}, ExportUsersResult, None, "export_users")


async def _result(client: AsyncStream, task_id: str) -> Any:
    return await client.wait_for_task(task_id, result_type=ExportChannelsResult)


async def _result_of_users(client: AsyncStream, task_id: str) -> Any:
    return await client.wait_for_task(task_id, operation="export_users")


async def _payload(client: AsyncStream, task_id: str) -> Any:
    return await client.wait_for_task(task_id)


async def _snapshot(client: AsyncStream, task_id: str) -> Any:
    return (await client.get_task(task_id)).data


async def _response(client: AsyncStream, task_id: str) -> Any:
    return await client.get_task(task_id)


async def _event(client: AsyncStream, task_id: str) -> Any:
    return TaskEvent("export.users.success", task_id, (await client.wait_for_task(task_id))["url"])


async def _event_without_link(_: AsyncStream, task_id: str) -> Any:
    return TaskEvent("export.users.success", task_id)


@pytest.mark.parametrize(
    "know",
    [
        _outcome, _started, _result, _result_of_users, _payload, _snapshot, _response, _event,
        _event_without_link,
    ],
)  # fmt: skip
async def test_an_export_is_downloaded_and_its_link_renewed(
    know: Any, client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """Whatever tells of its task is enough to ask for a fresh link, and the rest comes from that."""
    task_id = add_export(server, files)
    export = await know(client, task_id)
    files.cuts.append(CUT)
    files.answers.extend([None, 403])
    assert await client.download(export, target) == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert paths(files) == ["/1", "/1", "/2"]
    assert files.asked("Range")[2] == f"bytes={CUT}-"
    files.cuts.append(CUT)
    files.answers.extend([None, 403])
    assert await collect(client.open_export(export)) == CONTENT


@attrs.frozen
class _Own:
    url: str


@pytest.mark.parametrize(
    "export",
    [
        pytest.param(lambda url: url, id="an address"),
        pytest.param(lambda url: {"url": url}, id="a mapping"),
        pytest.param(TaskResult, id="a payload of no task", marks=pytest.mark.filterwarnings("default")),
        pytest.param(_Own, id="a type of the caller's own"),
        pytest.param(ExportUsersResult, id="a result made by hand"),
        pytest.param(
            lambda url: StartedTask(None, {}, ExportUsersResult, ExportUsersResult(url)), id="done at once"
        ),
    ],
)
async def test_the_link_alone_is_enough(
    export: Callable[[Any], Any], client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """Without a task it is not renewed, and the error says what would help; with one it is."""
    url = files.url("/0?signature=s3cret")
    given = export({"url": url} if export is TaskResult else url)
    await client.download(given, target)
    assert target.read_bytes() == CONTENT
    files.answers.append(403)
    with pytest.raises(StreamDownloadException, match="the link may have expired; give the task") as info:
        await client.download(given, target, overwrite=True)
    assert (info.value.task_id, info.value.status_code) == (None, 403)
    assert "s3cret" not in str(info.value)
    task_id = add_export(server, files)
    for task in (task_id, UUID(task_id), StartedTask(task_id, {}, TaskResult)):
        files.answers.append(403)
        await client.download(given, target, task=task, overwrite=True)
    assert paths(files)[-1] == "/3"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        pytest.param("", ValueError, "must be an http", id="nothing"),
        pytest.param("5ed0cf9c-0000-4000-8000-000000000000", ValueError, "wait_for_task", id="an id"),
        pytest.param("ftp://example.com/x", ValueError, "must be an http", id="another protocol"),
        pytest.param(None, TypeError, "not NoneType", id="None"),
        pytest.param(7, TypeError, "not int", id="a number"),
        pytest.param({}, ValueError, "has no url", id="a mapping without"),
        pytest.param({"url": 7}, ValueError, "has no url", id="no text"),
    ],
)
async def test_what_is_no_export_is_refused(
    given: Any, kind: type[Exception], told: str, client: AsyncStream, server: FakeStream
) -> None:
    """Before any request, by both methods."""
    with pytest.raises(kind, match=told):
        await client.download(given, "no-file")
    with pytest.raises(kind, match=told):
        client.open_export(given)
    assert not server.requests


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"task": 7}, TypeError, "task must be a str"),
        ({"task": ""}, ValueError, "task must be a non-empty text"),
        ({"task": StartedTask(None, {}, TaskResult)}, ValueError, "task must have a task_id"),
        ({"link_timeout": -1}, ValueError, "link_timeout must be a finite number"),
        ({"on_progress": 7}, TypeError, "on_progress must be callable"),
        ({"overwrite": 1}, TypeError, "overwrite must be a bool"),
        ({"path": 7}, TypeError, "path must be a str or an os.PathLike"),
        ({"path": ""}, ValueError, "path must be the path of a file"),
        ({"path": "a\0b"}, ValueError, "path must be the path of a file"),
    ],
)
async def test_wrong_arguments_are_refused(
    options: dict[str, Any], kind: type[Exception], told: str,
    client: AsyncStream, files: FileServer,
) -> None:  # fmt: skip
    """Before any request."""
    with pytest.raises(kind, match=told):
        await client.download(files.url(), **({"path": "no-file"} | options))
    if not {"path", "overwrite"} & options.keys():
        with pytest.raises(kind, match=told):
            client.open_export(files.url(), **options)
    assert not files.requests


@pytest.mark.parametrize(
    ("arrange", "kind"),
    [
        pytest.param(lambda path: path.write_text("mine"), FileExistsError, id="it is there"),
        pytest.param(lambda path: path.mkdir(), IsADirectoryError, id="it is a directory"),
        pytest.param(lambda path: path.parent.rmdir(), FileNotFoundError, id="no directory"),
    ],
)
async def test_a_file_that_cannot_be_written_is_an_os_error(
    arrange: Callable[[Path], object], kind: type[OSError],
    client: AsyncStream, files: FileServer, target: Path,
) -> None:  # fmt: skip
    """Of the kind that `open` raises, with the file's name, and before any request."""
    arrange(target)
    with pytest.raises(kind) as info:
        await client.download(files.url(), target)
    assert info.value.filename == str(target)
    assert not files.requests


async def test_a_path_may_be_text_or_bytes_like(client: AsyncStream, files: FileServer, target: Path) -> None:
    """Anything that `open` takes as a name."""
    await client.download(files.url(), str(target))
    await client.download(files.url(), target, overwrite=True)
    assert target.read_bytes() == CONTENT


async def test_a_failed_export_raises_its_error(
    client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """Whether its outcome is given or its task."""
    task_id = server.add_task(statuses=(), error=TaskFailure("disk_full", "no room"))
    outcome = (await client.wait_for_tasks([task_id]))[task_id]
    for given in (outcome, StartedTask(task_id, {}, ExportUsersResult), outcome.task):
        with pytest.raises(StreamTaskException, match="disk_full"):
            await client.download(given, target)
    assert not list(target.parent.iterdir())


async def test_a_task_that_exports_nothing(client: AsyncStream, server: FakeStream, target: Path) -> None:
    """Its result has no link, and the error says so."""
    task_id = server.add_task(statuses=(), result={"jane": {"status": "ok"}})
    with pytest.raises(StreamDownloadException, match=f"task {task_id} has no url: is it an export") as info:
        await client.download(StartedTask(task_id, {}, TaskResult), target)
    assert info.value.task_id == task_id


async def test_a_started_task_is_waited_for(
    client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """As long as `link_timeout` says."""
    task_id = server.add_task(statuses=["pending"], result={"url": files.url()})
    started = StartedTask(task_id, {}, ExportUsersResult)
    with pytest.raises(StreamWaitTimeoutException):
        await client.download(started, target, link_timeout=0)
    await client.download(started, target, link_timeout=None)
    assert target.read_bytes() == CONTENT


async def test_a_renewal_bears_bad_moments(
    client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """As a wait does."""
    export = await client.wait_for_task(add_export(server, files))
    files.answers.append(403)
    server.inject(Fault.status(503), path="/tasks/")
    server.inject(Fault.reset(), path="/tasks/")
    await client.download(export, target)
    assert target.read_bytes() == CONTENT


async def test_a_renewal_that_is_refused_ends_the_download(
    client: AsyncStream, server: FakeStream, files: FileServer, target: Path
) -> None:
    """With what the server said, and no file."""
    export = await client.wait_for_task(add_export(server, files))
    files.answers.append(403)
    server.inject(Fault.status(403), path="/tasks/")
    with pytest.raises(StreamApiException, match="403"):
        await client.download(export, target)
    assert not list(target.parent.iterdir())


def test_a_result_knows_its_task_without_telling_the_wire(
    blocking: Stream, threaded_server: FakeStream
) -> None:
    """It is no part of what the server sent, does not count in comparisons, and is kept by outcomes."""
    result = {"url": "https://x.example", "task_id": "theirs"}
    task_id = threaded_server.add_task(statuses=(), result=result)
    export = blocking.wait_for_task(task_id, result_type=ExportChannelsResult)
    assert (export.task_id, export.extra) == (task_id, {"task_id": "theirs"})
    assert export == ExportChannelsResult("https://x.example", extra={"task_id": "theirs"})
    assert "task_id=" not in repr(export)
    outcome = blocking.wait_for_tasks([task_id], operation="export_users")[task_id]
    assert outcome.result().task_id == task_id
    assert outcome.to_dict()["result"] == result


# How it goes


async def test_nothing_of_the_api_goes_to_the_storage(
    server: FakeStream, files: FileServer, target: Path
) -> None:
    """No credentials and no cookies, also after a redirect, whatever the caller's session holds."""
    files.answers.append(redirect(files.url("/elsewhere")))
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
        await client.download(files.url(), target)
    assert paths(files) == ["/export.json", "/elsewhere"]
    for request in files.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent"}
        assert "api_key" not in request.query


async def test_progress_may_be_a_coroutine(client: AsyncStream, files: FileServer, target: Path) -> None:
    """It is awaited, and counts also what is not written to a file."""
    seen: list[tuple[int, int | None]] = []

    async def on_progress(size: int, total: int | None) -> None:
        await asyncio.sleep(0)
        seen.append((size, total))

    await client.download(files.url(), target, on_progress=on_progress)
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    seen.clear()
    await collect(client.open_export(files.url(), on_progress=on_progress))
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


async def test_an_error_in_progress_ends_the_download(
    client: AsyncStream, files: FileServer, target: Path
) -> None:
    """It comes out as it is, and nothing is left, not even if it looks like one of the network."""

    def on_progress(size: int, _: int | None) -> None:
        if size:
            raise ConnectionResetError("mine")

    with pytest.raises(ConnectionResetError, match=r"^mine$"):
        await client.download(files.url(), target, on_progress=on_progress)
    assert not list(target.parent.iterdir())
    assert len(files.requests) == 1


async def test_trouble_is_logged_once(
    client: AsyncStream, files: FileServer, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a WARNING that names no signature."""
    files.answers.extend([503, 503, reset])
    with caplog.at_level(logging.WARNING, "stream_tasks"):
        await client.download(files.url(), target)
    (record,) = caplog.records
    assert record.getMessage() == ("download: 127.0.0.1 answered HTTP 503 Service Unavailable; trying again")
    assert vars(record)["stream_event"] == "download_retrying"


async def test_files_are_not_touched_on_the_loop(
    client: AsyncStream, files: FileServer, target: Path
) -> None:
    """A slow disk holds no other coroutine up: the client's fixture fails on calls that block."""
    target.write_text("old")
    await client.download(files.url(), target, overwrite=True)
    assert target.read_bytes() == CONTENT


async def test_many_downloads_at_a_time(client: AsyncStream, files: FileServer, tmp_path: Path) -> None:
    """Each is whole."""
    files.cuts.extend([CUT] * 3)
    targets = [tmp_path / f"{number}.json" for number in range(12)]
    await asyncio.gather(*(client.download(files.url(), each) for each in targets))
    assert all(each.read_bytes() == CONTENT for each in targets)
    assert len(list(tmp_path.iterdir())) == 12


async def test_a_cancelled_download_leaves_nothing(
    client: AsyncStream, files: FileServer, target: Path
) -> None:
    """At whichever moment, and also when it is cancelled twice."""
    for moment in range(40):
        task = asyncio.create_task(client.download(files.url(), target))
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result() == len(CONTENT)
        for _ in range(2000):  # a thread may still be at work
            if target.exists():
                assert target.read_bytes() == CONTENT
                target.unlink()
            if not list(target.parent.iterdir()):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail(f"{moment}: {list(target.parent.iterdir())}")


async def test_a_closed_client_downloads_nothing(server: FakeStream, files: FileServer, target: Path) -> None:
    """It says that it is closed."""
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
    await client.aclose()
    with pytest.raises(RuntimeError, match="this client is closed"):
        await client.download(files.url(), target)
    with pytest.raises(RuntimeError, match="this client is closed"):
        client.open_export(files.url())
    assert not files.requests


# Chunks


async def test_chunks_are_the_file(client: AsyncStream, files: FileServer) -> None:
    """One after another, without a file, also where the download broke off in between."""
    files.cuts.extend([CUT, CUT])
    async with client.open_export(files.url()) as chunks:
        assert await collect(chunks) == CONTENT
    assert files.asked("Range") == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda files: files.headers.clear(), id="versions cannot be told apart"),
        pytest.param(lambda files: setattr(files, "ranges", False), id="no ranges"),
        pytest.param(
            lambda files: files.answers.extend([None, part(b"x", "bytes 7-7/9")]), id="another part"
        ),
    ],
)
async def test_chunks_that_come_again_are_not_passed_on_again(
    arrange: Callable[[FileServer], object], client: AsyncStream, files: FileServer
) -> None:
    """The file is sent from its beginning, and the caller gets each byte once."""
    arrange(files)
    files.cuts.extend([CUT, CUT // 2, 2 * CUT])
    assert await collect(client.open_export(files.url())) == CONTENT


async def test_compressed_chunks_are_unpacked(client: AsyncStream, files: FileServer) -> None:
    """Also when they had to be sent again."""
    files.content = gzip.compress(CONTENT)
    files.headers["Content-Encoding"] = "gzip"
    files.cuts.append(CUT)
    assert await collect(client.open_export(files.url())) == CONTENT


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(b"y" + CONTENT[1:], id="other bytes"),
        pytest.param(CONTENT[: CUT // 2], id="a shorter file"),
    ],
)
async def test_chunks_of_two_files_are_not_mixed(
    other: bytes, client: AsyncStream, files: FileServer
) -> None:
    """If the file has changed when it is sent again, the download ends with an error."""
    files.cuts.append(CUT)
    came = b""

    async def receive() -> None:
        nonlocal came
        async for chunk in client.open_export(files.url()):
            came += chunk
            if len(came) == CUT:
                files.headers, files.content = {"ETag": '"v2"'}, other

    with pytest.raises(StreamDownloadException, match="the file changed while it was downloaded"):
        await receive()
    assert came == CONTENT[:CUT]


async def test_chunks_that_are_left_end_the_download(client: AsyncStream, files: FileServer) -> None:
    """The connection is closed with the context, and there are no more chunks."""
    files.content = bytes(50_000_000)
    async with client.open_export(files.url()) as chunks:
        await anext(chunks)
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    await chunks.aclose()
    (request,) = files.requests
    for _ in range(500):
        if request.transport is None or request.transport.is_closing():
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the connection is still open")


async def test_chunks_are_small(client: AsyncStream, files: FileServer) -> None:
    """However large the file is, and however much smaller it was sent."""
    files.content = gzip.compress(bytes(20_000_000))
    files.headers["Content-Encoding"] = "gzip"
    sizes = [len(chunk) async for chunk in client.open_export(files.url())]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 2**20


# The blocking client


def test_the_blocking_client_downloads(
    blocking: Stream, threaded_server: FakeStream, files: FileServer, target: Path
) -> None:
    """The same, with progress told in the caller's thread, which may call the client."""
    task_id = add_export(threaded_server, files)
    export = blocking.wait_for_task(task_id, result_type=ExportUsersResult)
    files.cuts.append(CUT)
    files.answers.extend([None, 403])
    seen: list[tuple[int, threading.Thread]] = []

    def on_progress(size: int, _: int | None) -> None:
        seen.append((size, threading.current_thread()))
        if not size:
            blocking.get_task(task_id)

    assert blocking.download(export, target, on_progress=on_progress) == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert {thread for _, thread in seen} == {threading.current_thread()}
    with pytest.raises(FileExistsError):
        blocking.download(export, target)
    assert blocking.download(export, target, overwrite=True) == len(CONTENT)


def test_the_blocking_client_has_chunks(blocking: Stream, files: FileServer) -> None:
    """In a context or without."""
    seen: list[int] = []
    with blocking.open_export(files.url(), on_progress=lambda size, _: seen.append(size)) as chunks:
        assert b"".join(chunks) == CONTENT
    assert seen[-1] == len(CONTENT)
    assert b"".join(blocking.open_export(files.url())) == CONTENT
    with blocking.open_export(files.url()) as chunks:
        next(chunks)
    assert list(chunks) == []
    with pytest.raises(ValueError, match="must be an http"):
        blocking.open_export("no-address")


async def test_chunks_of_a_dropped_iterator_are_no_warning(client: AsyncStream, files: FileServer) -> None:
    """An iterator that nobody finishes is closed by the event loop."""
    chunks = client.open_export(files.url())
    assert inspect.isasyncgen(chunks.source)
    await anext(chunks)
    del chunks
    await asyncio.sleep(0.05)
