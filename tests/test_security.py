"""Hostile callers, servers and bystanders: no secret shows, nothing leaves its place, data stays data."""

import asyncio
import contextlib
import copy
import gc
import inspect
import json
import logging
import math
import os
import pickle
import pprint
import reprlib
import socket
import socketserver
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import aiohttp
import attrs
import jwt
import pytest
from click.testing import CliRunner
from hostile import front
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict
from rich.traceback import Traceback
from tls import AUTHORITY, server_context, trusting_context

from stream_tasks import (
    AsyncStream,
    ExportChannelsResult,
    Stream,
    StreamApiException,
    StreamDecodeException,
    StreamException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
    TaskResult,
    webhooks,
)
from stream_tasks._secret import Secret
from stream_tasks.testing import FakeStream, Fault, TaskFailure

KEY = "the-key"
SECRET = "s3cr3t-which-is-as-long-as-those-that-stream-gives-out-0123456789"
TOKEN = jwt.encode({"ready-made": "x" * 100, "server": True}, SECRET)
HERE = str(Path(__file__))


class Wire(socketserver.ThreadingTCPServer):
    """A server that keeps the head of each request as it came, and gives one answer to all."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.heads: list[list[bytes]] = []
        self.connections = 0
        self.answer = b""
        self.says({"task_id": "t", "status": "running", "created_at": 1, "updated_at": 1})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, body: Any, status: str = "200 OK", *headers: str) -> None:
        """Answer with this body, as JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", "")
        self.answer = "\r\n".join(lines).encode() + content

    def segments(self) -> list[str]:
        """Return the last request's path as it was sent, in its parts."""
        return self.heads[-1][0].split()[1].decode().partition("?")[0].split("/")[1:]

    def query(self) -> dict[str, list[str]]:
        """Return the last request's query, decoded."""
        return parse_qs(self.heads[-1][0].split()[1].decode().partition("?")[2], keep_blank_values=True)

    def header_names(self) -> set[str]:
        """Return the names of the last request's headers."""
        return {line.partition(b":")[0].decode() for line in self.heads[-1][1:]}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: Wire

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(ConnectionError):
            while head := self._head():
                length = [line for line in head if line.lower().startswith(b"content-length:")]
                self.rfile.read(int(length[0].split(b":")[1]) if length else 0)
                self.server.heads.append(head)
                self.wfile.write(self.server.answer)
                if b"\r\n\r\n" not in self.server.answer:
                    break  # it is cut

    def _head(self) -> list[bytes]:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return lines


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


@pytest.fixture
def server() -> Iterator[FakeStream]:
    # In a thread of its own: what hangs together with its loop would hang together with its log.
    with FakeStream(api_key=KEY, api_secret=SECRET) as made:
        yield made


# What crash reporters show


def bare(text: str) -> str:
    """Return the text itself, also of one that does not show itself."""
    return str.__str__(text)


def needles(token: str) -> list[str]:
    """Return what must not show: beginnings of the secret, of a ready token's claims, of the signature."""
    _, claims, signature = bare(token).split(".")
    return [SECRET[:10], signature[:10], *([claims[:10]] if bare(token) == TOKEN else [])]


def token_of(client: Any) -> str:
    return bare(getattr(client, "_client", client)._headers["Authorization"])


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and all that it came of, hidden contexts too."""
    found: list[BaseException] = []
    rest: list[BaseException | None] = [error]
    while rest:
        exc = rest.pop()
        if exc is not None and exc not in found:
            found.append(exc)
            rest += [exc.__cause__, exc.__context__]
            rest += getattr(exc, "exceptions", ())
    return found


def theirs(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this file, whose own variables hold what is secret."""
    while trace is not None and trace.tb_frame.f_code.co_filename == HERE:
        trace = trace.tb_next
    return trace


def frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != HERE:
            yield trace.tb_frame
        trace = trace.tb_next


def nested(value: Any, depth: int = 5) -> Any:
    """Take values apart as sentry-sdk does: mappings and sequences by item, all else by repr."""
    if depth and isinstance(value, Mapping):
        return {str(k): nested(v, depth - 1) for k, v in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [nested(v, depth - 1) for v in value]
    return repr(value)


def rich_text(error: BaseException) -> str:
    """Show the variables of each frame as rich does, which cuts long texts."""
    told = Traceback.extract(
        type(error), error, theirs(error.__traceback__), show_locals=True, locals_max_string=80
    )
    shown = [frame.locals or {} for stack in told.stacks for frame in stack.frames]
    return "\n".join(node.render() for variables in shown for node in variables.values())


def variables(value: Any) -> dict[str, Any]:
    """Return an object's attributes: of its dict, its slots, and attrs."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                found[name] = getattr(value, name)
    if attrs.has(type(value)):
        found |= attrs.asdict(value, recurse=False)
    return found


def dump(value: Any) -> str:
    """Show an object and its attributes in every way that is common."""
    inside = variables(value)
    shown = [repr(value), str(value), f"{value}", pprint.pformat(value), reprlib.repr(value)]
    shown += [repr(inside), pprint.pformat(inside)]
    with contextlib.suppress(ValueError):  # a circle
        shown.append(json.dumps(inside, default=str, skipkeys=True))
    shown += [f"{name}={inner}" for name, inner in inside.items()]
    return "\n".join(shown)


def dump_error(error: BaseException) -> str:
    """Show an error as crash reporters do, with its chain and the variables of the frames."""
    shown = []
    for exc in chain(error):
        trace = theirs(exc.__traceback__)
        told = traceback.TracebackException(type(exc), exc, trace, capture_locals=True)
        shown += [*told.format(chain=False), dump(exc), repr(exc.args), rich_text(exc)]
        for frame in frames(exc):
            shown += [str(nested(frame.f_locals)), pprint.pformat(frame.f_locals)]
            shown += [reprlib.repr(value) for value in frame.f_locals.values()]
            shown += [repr(variables(value)) for value in frame.f_locals.values() if _is_ours(value)]
    for again in (copy.copy(error), copy.deepcopy(error)) if isinstance(error, StreamException) else ():
        shown.append(dump(again))
    if isinstance(error, StreamException):
        shown.append(pickle.dumps(error, protocol=0).decode("latin-1"))
    return "\n".join(shown)


def _is_ours(value: Any) -> bool:
    return type(value).__module__.startswith("stream_tasks")


def reachable(*roots: Any) -> tuple[list[str], int]:
    """Follow references as far as they lead; return all plain texts and bytes, and how many secrets hide."""
    texts, hidden, known = [], 0, set()
    keep, rest = [], [*roots]
    # A task leads to the tests themselves.
    loops = (asyncio.AbstractEventLoop, asyncio.Handle, asyncio.Task)
    beyond = (ModuleType, CodeType, type, FakeStream, FrameType, *loops)
    while rest:
        value = rest.pop()
        if id(value) in known or isinstance(value, beyond):
            continue
        known.add(id(value))
        keep.append(value)  # or its id could be another's
        if type(value) is str:
            texts.append(value)
        elif isinstance(value, bytes | bytearray):
            texts.append(value.decode("latin-1"))
        elif isinstance(value, Secret):
            hidden += 1
        elif isinstance(value, BaseException):
            rest += [value.args, variables(value), value.__cause__, value.__context__]
            rest += [dict(frame.f_locals) for frame in frames(value)]
        elif inspect.isfunction(value):
            rest += value.__closure__ or ()
        else:
            rest += gc.get_referents(value)
    return texts, hidden


def assert_discreet(client: AsyncStream, *errors: BaseException) -> None:
    """Check that no way to show an error, and nothing that hangs on it, tells what is secret."""
    for error in errors:
        for text in (dump_error(error), *reachable(error)[0]):
            for needle in needles(token_of(client)):
                assert needle not in text


class Official:
    """A client of getstream, as far as it matters here."""

    def __init__(self, base_url: str = "http://127.0.0.1:1") -> None:
        self.api_key, self.token, self.base_url = KEY, TOKEN, base_url


def _make(how: str, monkeypatch: pytest.MonkeyPatch, kind: Any, **options: Any) -> Any:
    if how == "from an official client":
        return kind.from_getstream(Official(options.pop("base_url")), **options)
    if how == "a token":
        return kind(KEY, token=TOKEN, **options)
    if how == "a secret":
        return kind(KEY, SECRET, **options)
    monkeypatch.setenv("STREAM_API_KEY", KEY)
    monkeypatch.setenv("STREAM_API_SECRET", SECRET)
    monkeypatch.setenv("STREAM_BASE_URL", options.pop("base_url"))
    return kind(**options)


CREDENTIALS = ["a secret", "a token", "the environment", "from an official client"]
Make = Callable[..., Any]


@pytest.fixture(params=CREDENTIALS)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make clients, given their credentials in each of the ways there are."""

    def made(kind: Any = AsyncStream, **options: Any) -> Any:
        return _make(request.param, monkeypatch, kind, **options)

    return made


async def failure(call: Awaitable[Any]) -> Exception:
    """Return what a call raises."""
    try:
        await call
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is looked at
        return exc
    pytest.fail("it did not fail")


STATUSES = (
    300,
    304,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    418,
    422,
    425,
    429,
    451,
    500,
    502,
    503,
    504,
    599,
)
FAULTS: dict[str, Fault] = {
    **{f"status {code}": Fault.status(code, headers={"Retry-After": "1"}) for code in STATUSES},
    **{
        f"a redirect with {code}": Fault.redirect("http://127.0.0.1:9/", code)
        for code in (301, 303, 307, 308)
    },
    "a page of a gateway": Fault.html(503),
    "a reset": Fault.reset(),
    "a cut body": Fault.cut(),
    "silence": Fault.hang(),
    "no JSON": Fault.malformed(),
    "no task": Fault.body(b'{"task_id": 1}'),
    "no UTF-8": Fault.body(b'{"task_id": "\xff"}'),
    "broken gzip": Fault.body(b"{}", headers={"Content-Encoding": "gzip"}),
    "too large a body": Fault.body(b" " * 5_000),
}


@pytest.fixture
def _small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_tasks._http.body.MAX_BODY", 4_096)


@pytest.mark.usefixtures("_small_bodies")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_failed_request_shows_a_secret(server: FakeStream, fault: Fault) -> None:
    """Whatever a server does, no reporter finds secret, token or header in the error or behind it."""
    async with AsyncStream(KEY, SECRET, base_url=server.url, request_timeout=0.1) as client:
        server.inject(fault, times=math.inf)
        looked = await failure(client.get_task("t"))
        assert isinstance(looked, StreamException)
        assert_discreet(client, looked, await failure(client.delete_feed("user", "jane")))


async def test_no_failed_request_shows_credentials_of_any_kind(server: FakeStream, make: Make) -> None:
    """The same holds for a ready token, for the environment, and for what came from an official client."""
    async with make(base_url=server.url, request_timeout=0.1) as client:
        for name in ("status 401", "status 503", "a reset", "a cut body", "silence", "no JSON", "no task"):
            server.inject(FAULTS[name], times=2)
            assert_discreet(client, await failure(client.get_task("t")))
            server.heal()


@pytest.mark.usefixtures("_small_bodies")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_failed_wait_shows_a_secret(server: FakeStream, fault: Fault) -> None:
    """The same holds for waits, alone and many at once, whether they end at once or at the deadline."""
    async with AsyncStream(KEY, SECRET, base_url=server.url, request_timeout=0.1) as client:
        server.inject(fault, times=math.inf)
        alone, outcomes = await asyncio.gather(
            failure(client.wait_for_task("t", 0.05, 0.2)), client.wait_for_tasks(["t", "u"], 0.05, 0.2)
        )
        assert_discreet(client, alone, *filter(None, (outcome.exception() for outcome in outcomes.values())))
        for outcome in outcomes.values():
            text = dump(outcome) + "".join(reachable(outcome)[0])
            assert not [needle for needle in needles(token_of(client)) if needle in text]


ANSWERS = {
    "no HTTP": b"HELLO\r\n\r\n",
    "a header that is none": b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_no_answer_that_is_none_shows_a_secret(wire: Wire, make: Make, answer: bytes) -> None:
    """What cannot be parsed is told of without the request that it answers."""
    wire.answer = answer
    async with make(base_url=wire.url, request_timeout=0.3) as client:
        looked = await failure(client.get_task("t"))
        assert isinstance(looked, StreamTransportException)
        assert_discreet(client, looked, await failure(client.update_channels_batch("hide", {"a": 1})))


@pytest.mark.parametrize(
    ("base_url", "error_type"),
    [
        pytest.param("https://127.0.0.1:{port}", "tls_handshake_failed", id="no TLS"),
        pytest.param(f"http://{'x' * 64}.example", "dns_failure", id="no host"),
        pytest.param("http://127.0.0.1:{unheard}", "connection_reset", id="nobody listens"),
    ],
)
async def test_no_failed_connection_shows_a_secret(
    server: FakeStream, make: Make, base_url: str, error_type: str
) -> None:
    """A connection that does not come about tells no more than why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody else can listen there
        ports = {"port": server.url.rpartition(":")[2], "unheard": taken.getsockname()[1]}
        async with make(base_url=base_url.format(**ports)) as client:
            error = await failure(client.get_task("t"))
            assert isinstance(error, StreamTransportException)
            assert error.error_type == error_type
            assert_discreet(client, error)


@pytest.mark.filterwarnings("ignore:Sending a large body")
@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
@pytest.mark.parametrize("size", [1, 2**22], ids=["a small body", "a body that is not read to its end"])
async def test_no_cancelled_request_shows_a_secret(make: Make, size: int, *, is_injected: bool) -> None:
    """The caller's own scope passes; the frames that it passes hold nothing secret."""
    # The system takes connections and the beginning of what is sent; nobody reads it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with aiohttp.ClientSession() as session:
            client = make(base_url=f"http://127.0.0.1:{port}", session=session if is_injected else None)

            async def cut() -> None:
                async with asyncio.timeout(0.1):
                    await client.request("POST", "/x", json={"a": "b" * size})

            async with client:
                error = await failure(cut())
                assert type(error) is TimeoutError
                told = [
                    traceback.TracebackException(type(e), e, theirs(e.__traceback__), capture_locals=True)
                    for e in chain(error)
                ]
                for text in (*("".join(one.format()) for one in told), *reachable(error)[0]):
                    assert not [needle for needle in needles(token_of(client)) if needle in text]


async def test_a_failed_task_shows_no_secret(server: FakeStream, make: Make) -> None:
    """Neither does what the server says of a task that failed, nor a result that does not fit."""
    failed = server.add_task(statuses=(), error=TaskFailure("disk_full", "no room", "a.go:1", "v1"))
    odd = server.add_task(statuses=(), result={"url": 5})
    async with make(base_url=server.url) as client:
        assert_discreet(
            client,
            await failure(client.wait_for_task(failed)),
            await failure(client.wait_for_task(odd, result_type=ExportChannelsResult)),
        )


def wrong_calls(client: Any, bad: Any) -> Iterator[tuple[str, Callable[[], Any]]]:  # noqa: PLR0915 - one each
    """Yield each public method with one argument that is wrong, or might be."""
    yield "request", lambda: client.request(bad, "/x")
    yield "request", lambda: client.request("GET", bad)
    yield "request", lambda: client.request("POST", "/x", json={"a": bad})
    yield "request", lambda: client.request("GET", "/x", params={"a": bad})
    yield "start_task", lambda: client.start_task("POST", bad)
    yield "start_task", lambda: client.start_task("POST", "/x", json=bad)
    yield "start_task", lambda: client.start_task("POST", "/x", result_type=bad)
    yield "start_task", lambda: client.start_task("POST", "/x", task_id_at=bad)
    yield "start_task", lambda: client.start_task("POST", "/x", may_finish_at_once=bad)
    yield "get_task", lambda: client.get_task(bad)
    yield "wait_for_task", lambda: client.wait_for_task(bad, 0.05, 0.05)
    yield "wait_for_task", lambda: client.wait_for_task("t", bad, 0.05)
    yield "wait_for_task", lambda: client.wait_for_task("t", 0.05, bad)
    yield "wait_for_task", lambda: client.wait_for_task("t", 0.05, 0.05, on_update=bad)
    yield "wait_for_task", lambda: client.wait_for_task("t", 0.05, 0.05, operation=bad)
    yield "wait_for_tasks", lambda: client.wait_for_tasks([bad], 0.05, 0.05)
    yield "wait_for_tasks", lambda: client.wait_for_tasks(["t"], 0.05, 0.05, operation=bad)
    yield "wait_for_tasks", lambda: client.wait_for_tasks(bad, 0.05, 0.05)
    yield "as_completed", lambda: client.as_completed([bad], 0.05, 0.05)
    yield "as_completed", lambda: client.as_completed(["t"], 0.05, 0.05, max_waiting=bad)
    yield "watch_task", lambda: client.watch_task(bad, 0.05, 0.05)
    yield "watch_task", lambda: client.watch_task("t", 0.05, 0.05, result_type=bad)
    yield "delete_channels", lambda: client.delete_channels([bad])
    yield "delete_channels", lambda: client.delete_channels(["a:b"], hard_delete=bad)
    yield "export_channels", lambda: client.export_channels([bad])
    yield "export_channels", lambda: client.export_channels([{"type": bad, "id": bad}])
    yield "update_channels_batch", lambda: client.update_channels_batch(bad, {"a": 1})
    yield "update_channels_batch", lambda: client.update_channels_batch("hide", {"a": bad})
    yield "delete_users", lambda: client.delete_users([bad])
    yield "delete_users", lambda: client.delete_users(["a"], user=bad)
    yield "deactivate_users", lambda: client.deactivate_users([bad])
    yield "reactivate_users", lambda: client.reactivate_users([bad])
    yield "export_users", lambda: client.export_users([bad])
    yield "import_block_list", lambda: client.import_block_list(bad, ["a"])
    yield "import_block_list", lambda: client.import_block_list("b", ["a"], chunk_size=bad)
    yield "delete_call", lambda: client.delete_call(bad, "a")
    yield "delete_call", lambda: client.delete_call("a", bad)
    yield "delete_feed", lambda: client.delete_feed(bad, "a")
    yield "delete_feed", lambda: client.delete_feed("a", bad)
    yield "delete_feeds_batch", lambda: client.delete_feeds_batch([bad])
    yield "delete_feed_user_data", lambda: client.delete_feed_user_data(bad)
    yield "export_feed_user_data", lambda: client.export_feed_user_data(bad)
    yield "check_moderation", lambda: client.check_moderation(bad, "id", "creator")
    yield "create_import", lambda: client.create_import(bad, "upsert")
    yield "create_import_v2_task", lambda: client.create_import_v2_task("chat", bad)
    yield "start_policy_test_run", lambda: client.start_policy_test_run(bad)
    yield "wait_for", lambda: client.wait_for(bad, timeout=0)
    yield "hint", lambda: client.hint(bad)
    yield "bulk_image_moderation", lambda: client.bulk_image_moderation(bad)
    yield "check_moderation", lambda: client.check_moderation(bad, "a", "b")
    yield "check_moderation", lambda: client.check_moderation("a", "b", "c", options={"a": bad})
    yield "download", lambda: client.download(bad, "no-file")
    yield "download", lambda: client.download({"url": bad}, "no-file")
    yield "download", lambda: client.download(f"{client._origin}/none", bad)
    yield "download", lambda: client.download(f"{client._origin}/none", "no-file", task=bad, overwrite=bad)
    yield "open_export", lambda: client.open_export(bad)
    yield (
        "open_export",
        lambda: client.open_export(f"{client._origin}/none", link_timeout=bad, on_progress=bad),
    )
    yield "start_in_batches", lambda: client.start_in_batches(bad, ["u"])
    yield "start_in_batches", lambda: client.start_in_batches(client.delete_users, bad)
    yield "start_in_batches", lambda: client.start_in_batches(client.delete_users, ["u"], user=bad)
    yield "start_in_batches", lambda: client.start_in_batches(client.delete_users, [bad])


def _itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


BAD = {
    "nothing": None,
    "bytes": b"a\r\nb",
    "an empty text": "",
    "two dots": "..",
    "half a character": "\ud800",
    "a header": "a\r\nX-Evil: 1",
    "NaN": math.nan,
    "a negative number": -1,
    "an object": object(),
    "a list": ["a"],
    "a mapping in itself": _itself(),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_no_wrong_argument_shows_a_secret(
    server: FakeStream, bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong argument of any public method is a clear error or the server's to refuse, and tells nothing."""
    monkeypatch.chdir(tmp_path)
    async with AsyncStream(KEY, SECRET, base_url=server.url, not_found_grace=0) as client:
        tried = set()
        for name, call in wrong_calls(client, bad):
            tried.add(name)
            try:
                made = call()
                if hasattr(made, "__anext__"):
                    async for _ in made:
                        pass
                else:
                    await made
            except (TypeError, ValueError, OSError, StreamException) as exc:
                assert_discreet(client, exc)
        assert tried == {
            name
            for name, method in inspect.getmembers(AsyncStream, callable)
            if not name.startswith("_") and name not in ("aclose", "from_getstream", "stats")
        }


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_client_shows_no_secret(make: Make, kind: Any) -> None:
    """All that hangs on a client hides it, its engine before the first call included."""
    client = make(kind, base_url="http://127.0.0.1:1")
    engine: Any = getattr(client, "_client", client)
    texts, hidden = reachable(client)
    assert hidden > 0
    for text in (dump(client), dump(engine), dump(engine._connections), *texts):
        assert not [needle for needle in needles(token_of(engine)) if needle in text]
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copied(client)


async def test_a_client_in_use_shows_no_secret(server: FakeStream, make: Make) -> None:
    """Neither do its session, its open connections and what it returned."""
    server.add_task("t", never=True)
    async with make(base_url=server.url) as client:
        response = await client.get_task("t")
        started = await client.delete_users(["jane"])
        texts, hidden = reachable(client)
        assert hidden > 0
        [found] = client._engines.values()
        texts += [dump(client), dump(found), dump(found.transport), dump(found.transport._session)]
        for value in (response, started, response.data):
            texts += [dump(value), pickle.dumps(value, 0).decode("latin-1"), *reachable(value)[0]]
        assert not [text for text in texts for needle in needles(token_of(client)) if needle in text]


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"api_secret": SECRET}, id="a secret beside the token"),
        pytest.param({"token": TOKEN}, id="a second token"),
        pytest.param({"request_timeout": -1}, id="a bad time-out"),
    ],
)
def test_options_beside_an_official_client_show_no_secret(kind: Any, options: dict[str, Any]) -> None:
    """What is wrong with them is told without them."""
    with pytest.raises((TypeError, ValueError)) as info:
        kind.from_getstream(Official(), **options)
    assert not [needle for needle in needles(TOKEN) if needle in dump_error(info.value)]


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_text_is_not_shown_by_cutting_it(kind: Any) -> None:
    """Reporters cut long texts before they take the repr; what is cut off a secret is one."""
    with pytest.raises(ValueError, match="base_url") as info:
        kind(KEY, token=TOKEN, base_url="nowhere")
    assert "***" in rich_text(info.value)
    assert not [needle for needle in needles(TOKEN) if needle in rich_text(info.value)]


async def test_the_token_in_an_answer_is_taken_out(wire: Wire, make: Make) -> None:
    """A gateway that prints what it was sent does not bring the token into an error."""
    async with make(base_url=wire.url) as client:
        token = token_of(client)
        for body in (f"<pre>Authorization: {token}</pre>".encode(), {"code": 4, "message": f"not {token}"}):
            for status in ("200 OK", "400 Bad Request"):
                wire.says(body, status)
                error = await failure(client.get_task("t"))
                assert_discreet(client, error)
                assert "***" in repr(vars(error)) or isinstance(body, dict)


ECHOES = {
    "in place of a status": b"%s\r\n\r\n",
    "as the reason of a status": b"HTTP/1.1 400 %s\r\nContent-Length: 0\r\n\r\n",
    "in a header that is none": b"HTTP/1.1 200 OK\r\nX Y %s\r\n\r\n",
    "in a head that is cut": b"HTTP/1.1 200 OK\r\nX: %s\r\nY: ",
    "as a size of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    "as the length": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
    "in too long a header": b"HTTP/1.1 200 OK\r\nX: %s" + b"a" * 70_000 + b"\r\n\r\n",
    "in a header of an error": b"HTTP/1.1 429 No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
    "in a header of what is no task": b"HTTP/1.1 200 OK\r\nX: Bearer %s\r\nContent-Length: 2\r\n\r\n{}",
    "in a header of a redirect": b"HTTP/1.1 302 Go\r\nLocation: /?%s\r\nContent-Length: 0\r\n\r\n",
    "in a header of no gzip": (
        b"HTTP/1.1 200 OK\r\nX: %s\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "in a header of too large a body": b"HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: 4097\r\n\r\n"
    + b" " * 4_097,
}


@pytest.mark.usefixtures("_small_bodies")
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
async def test_the_token_in_an_answer_that_is_none_is_taken_out(
    wire: Wire, make: Make, caplog: pytest.LogCaptureFixture, echo: bytes
) -> None:
    """Nor does it come into an error or a log by the parser's words or by a header, whole or in part."""
    caplog.set_level(logging.DEBUG)
    async with make(base_url=wire.url, request_timeout=0.3, not_found_grace=0) as client:
        token = token_of(client)
        for shown in (token, token[-60:]) if b" Y " in echo else (token,):
            wire.answer = echo % shown.encode()
            for call in (
                client.get_task("t"),
                client.wait_for_task("t", 0.05, 0.1),
                client.delete_feed("user", "jane"),
            ):
                # Not what is reachable: an idle connection's parser keeps the last headers.
                told = dump_error(await failure(call)) + caplog.text
                assert not [needle for needle in needles(token) if needle in told]


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_an_escaped_token_is_taken_out(wire: Wire, make: Make, status: str) -> None:
    """The same holds where JSON writes its characters as escapes, and what else is escaped stays."""
    async with make(base_url=wire.url) as client:
        token = token_of(client)
        for code in ("{:04x}", "{:04X}"):
            escaped = "".join(f"\\u{code.format(ord(c))}" if c in ".-_nMzZ0o" else c for c in token)
            text = rf"\u0026 \"\\\\\u0065\\u002e{escaped}\u00e9"
            task = '"task_id": "t", "status": "running", "created_at": 1, "updated_at": 1'
            task += f', "result": {{"a": "{text}"}}'
            wire.says(f'{{"code": 4, "message": "{text}", {task}}}'.encode(), status)
            told = r'& "\\e\u002e***é'
            if status == "200 OK":
                response = await client.get_task("t")
                assert response.data.result == {"a": told}
            else:
                error = await failure(client.get_task("t"))
                assert isinstance(error, StreamApiException)
                assert error.message == told
                assert_discreet(client, error)


async def test_the_token_in_a_header_is_taken_out(wire: Wire, make: Make) -> None:
    """What the headers of a good answer tell of the request is masked, and all else is as it came."""
    async with make(base_url=wire.url) as client:
        wire.says({}, "200 OK", f"X-Echo: [{token_of(client)}]", "X-Other: a", "x-other: b")
        response = await client.request("GET", "/app")
        assert response.headers["x-echo"] == "[***]"
        assert CIMultiDict(response.headers).getall("X-Other") == ["a", "b"]
        shown = "".join(reachable(response)[0])
        assert not [needle for needle in needles(token_of(client)) if needle in shown]


SCRIPT = """
import asyncio, logging, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from stream_tasks import AsyncStream, Stream
import aiohttp

async def main(url):
    asyncio.get_running_loop().slow_callback_duration = 0
    client = AsyncStream(base_url=url, request_timeout=0.3)
    for call in (client.get_task("hang"), client.get_task("gone"), client.request("PUT", "/x")):
        try:
            await call
        except Exception:
            logging.exception("failed")
    print(await client.wait_for_tasks(["gone", "odd", "late"], 0.05, 0.4))
    left = asyncio.create_task(client.wait_for_task("late"))
    await asyncio.sleep(0.05)

asyncio.run(main(sys.argv[1]))
blocking = Stream(base_url=sys.argv[1])
try:
    blocking.wait_for_task("late", 0.05, 0.2)
except Exception as exc:
    logging.exception("failed")
blocking.wait_for_task("fails")
"""


@pytest.mark.slow
@pytest.mark.parametrize("variant", CREDENTIALS[:3])
def test_no_log_and_no_warning_shows_a_secret(server: FakeStream, variant: str) -> None:
    """All loggers at DEBUG, asyncio's debug mode, all warnings on, nothing closed, an error uncaught."""
    server.add_task("odd", statuses=["odd"], never=True)
    server.add_task("late", never=True)
    server.add_task("fails", statuses=(), error=TaskFailure("odd", "it broke"))
    server.inject(Fault.hang(), task_id="hang")
    script = SCRIPT
    if variant == "a token":
        script = script.replace("Stream(base", f"Stream({KEY!r}, token={TOKEN!r}, base")
    elif variant == "a secret":
        script = script.replace("Stream(base", f"Stream({KEY!r}, {SECRET!r}, base")
    credentials = {"STREAM_API_KEY": KEY, "STREAM_API_SECRET": SECRET} if variant == "the environment" else {}
    asked = [sys.executable, "-X", "dev", "-W", "always", "-c", script, server.url]
    ended = subprocess.run(
        asked, capture_output=True, text=True, env=os.environ | credentials, check=False, timeout=50
    )
    shown = ended.stdout + ended.stderr
    assert "DEBUG:asyncio:" in shown
    assert "WARNING:asyncio:Executing" in shown
    assert "StreamTaskException: task fails failed (odd): it broke" in ended.stderr
    tokens = {bare(request.headers["Authorization"]) for request in server.requests}
    assert tokens
    assert not [needle for token in tokens for needle in needles(token) if needle in shown]


# Ids, paths and parameters stay in their place

HEADERS = {"Host", "Authorization", "stream-auth-type", "X-Stream-Client", "Accept-Encoding"}
HEADERS |= {"Accept", "User-Agent"}


def look(client: Stream, task_id: str) -> None:
    """Look at a task: whichever it is, the answer is about another."""
    with contextlib.suppress(StreamDecodeException):
        client.get_task(task_id)


WITH_ID: dict[str, tuple[Callable[[Any, str], Any], list[str]]] = {
    "get_task": (look, ["tasks", "*"]),
    "wait_for_task": (lambda c, i: c.wait_for_tasks([i], 0.05, 0), ["tasks", "*"]),
    "import_block_list": (lambda c, i: c.import_block_list(i, ["x"]), ["blocklists", "*", "import"]),
    "delete_call, type": (lambda c, i: c.delete_call(i, "x"), ["video", "call", "*", "x", "delete"]),
    "delete_call, id": (lambda c, i: c.delete_call("x", i), ["video", "call", "x", "*", "delete"]),
    "delete_feed, group": (lambda c, i: c.delete_feed(i, "x"), ["feeds", "feed_groups", "*", "feeds", "x"]),
    "delete_feed, id": (lambda c, i: c.delete_feed("x", i), ["feeds", "feed_groups", "x", "feeds", "*"]),
    "delete_feed_user_data": (lambda c, i: c.delete_feed_user_data(i), ["feeds", "users", "*", "delete"]),
    "export_feed_user_data": (lambda c, i: c.export_feed_user_data(i), ["feeds", "users", "*", "export"]),
}
PIECES = [
    "/",
    "..",
    ".",
    "%2F",
    "%2e%2e",
    "?",
    "#",
    "\\",
    "\r\nX-Evil: 1",
    "\0",
    " ",
    "é",
    "💥",
    "\ud800",
    ";",
    "a",
]
HOSTILE = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=20),
)


def refusal(call: Callable[[], object]) -> str:
    """Return what a call says is wrong with its arguments, nothing when it went through."""
    try:
        call()
    except ValueError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(("call", "place"), WITH_ID.values(), ids=WITH_ID)
def test_an_id_is_one_segment_on_the_wire(
    wire: Wire, call: Callable[[Any, str], Any], place: list[str]
) -> None:
    """Whatever an id holds, the server sees one segment that decodes to it, or is not asked."""
    with Stream(KEY, SECRET, base_url=wire.url) as client:

        @given(HOSTILE)
        @example("../../app?api_key=x#y")
        @example("%2e%2e%2fapp")
        @example("..\\app")
        @example("a\r\nX-Evil: 1\r\n\r\n")
        @example("\ud800")
        @example("x" * 100_000)
        def check(value: str) -> None:
            asked = len(wire.heads)
            refused = refusal(lambda: call(client, value))
            if refused:
                assert "must be" in refused
                assert value in (".", "..") or any("\ud800" <= c <= "\udfff" for c in value)
                assert len(wire.heads) == asked
                return
            assert len(wire.heads) == asked + 1
            api, version, *segments = wire.segments()
            assert (api, version, len(segments)) == ("api", "v2", len(place))
            assert [unquote(s) for s in segments] == [value if p == "*" else p for p in place]
            assert wire.header_names() - {"Content-Length", "Content-Type"} == HEADERS

        check()


@pytest.mark.parametrize("method", ["request", "start_task"])
def test_parameters_stay_in_the_query(wire: Wire, method: str) -> None:
    """Whatever names and values hold, the server reads them as given, and the key cannot be replaced."""
    with Stream(KEY, SECRET, base_url=wire.url) as client:

        @given(st.dictionaries(HOSTILE, HOSTILE, max_size=3))
        @example({"api_key": "another"})
        @example({"a&api_key": "b&api_key=c#d"})
        def check(params: dict[str, str]) -> None:
            refused = refusal(lambda: getattr(client, method)("GET", "/app", params=params))
            if refused:
                assert refused.startswith("params must be valid Unicode text")
                return
            expected = {name: [value] for name, value in params.items()} | {"api_key": [KEY]}
            assert wire.query() == expected
            assert wire.segments() == ["api", "v2", "app"]
            assert wire.header_names() == HEADERS

        check()


@given(HOSTILE)
@example("//evil.example/x")
@example("/x\r\nX-Evil: 1")
@example("/../../x")
@example("/x?api_key=y")
def test_a_path_is_sent_as_it_is_or_refused(path: str) -> None:
    """A path that a caller gives leaves neither its host nor its prefix."""
    with Wire() as wire, Stream(KEY, SECRET, base_url=wire.url) as client:
        for call in (lambda: client.request("GET", path), lambda: client.start_task("GET", path)):
            refused = refusal(call)
            if refused:
                assert refused.startswith("path must")
                assert not wire.heads
                continue
            assert wire.segments() == ["api", "v2", *path.split("/")[1:]]


INJECTIONS = ["\r\nX-Evil: 1", "\n", "\r", "\0", "ü", "\u2028", "\x7f"]


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize("tail", INJECTIONS, ids=ascii)
@pytest.mark.parametrize("name", ["api_key", "api_secret", "token", "base_url"])
def test_what_would_be_another_header_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, tail: str
) -> None:
    """The error names the parameter, given or from the environment, and repeats no secret."""
    given = {"api_key": KEY, "api_secret": SECRET, "token": TOKEN, "base_url": "http://127.0.0.1:1"}
    del given["token" if name != "token" else "api_secret"]
    given[name] += tail
    with pytest.raises(ValueError, match=f"^{name} ") as info:
        kind(**given)
    assert not [needle for needle in needles(TOKEN) if needle in dump_error(info.value)]
    if name != "token" and tail != "\0":  # no variable holds these
        monkeypatch.setenv(f"STREAM_{name.upper()}", given.pop(name))
        with pytest.raises(ValueError, match=f"^{name} ") as info:
            kind(**given)
        assert not [needle for needle in needles(TOKEN) if needle in dump_error(info.value)]


def test_a_key_cannot_add_parameters(wire: Wire) -> None:
    """A key is one value of the query, whatever it holds."""
    with Stream("k&admin=1#?/..", SECRET, base_url=wire.url) as client:
        client.get_task("t")
    assert wire.query() == {"api_key": ["k&admin=1#?/.."]}


@pytest.mark.parametrize(
    "base_url",
    [
        "https://amy:hush@example.com",
        "https://amy:hush%40example.com",
        "https://amy:hush\uff20example.com",
        "https://amy:hush",
        "https://example.com:80:hush",
        "https://example.com?token=hush",
        "https://example.com#hush",
        "https://example.com/\r\nAuthorization: hush",
        "https:hush",
        "hush",
        "ftp://hush",
    ],
)
@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_base_url_that_may_hold_a_password_is_not_repeated(kind: Any, base_url: str) -> None:
    """It is refused, and what is wrong is said without it."""
    with pytest.raises(ValueError, match=r"^base_url ") as info:
        kind(KEY, SECRET, base_url=base_url)
    assert "hush" not in dump_error(info.value)
    with pytest.raises(ValueError, match=r"^base_url ") as info:
        kind.from_getstream(Official(base_url))
    assert "hush" not in dump_error(info.value)


@pytest.mark.parametrize(
    ("json", "message"),
    [
        pytest.param(_itself(), r"json .*Circular", id="in itself"),
        pytest.param({"a": math.nan}, r"json .*not JSON compliant", id="NaN"),
    ],
)
def test_a_body_that_cannot_be_sent_is_named(json: Any, message: str) -> None:
    """Nothing is sent."""
    with Wire() as wire, Stream(KEY, SECRET, base_url=wire.url) as client:
        with pytest.raises(ValueError, match=message):
            client.request("POST", "/x", json=json)
        assert not wire.heads


def test_a_body_nested_too_deeply_is_named(wire: Wire) -> None:
    """It is a ValueError like any other, not a RecursionError."""
    body: dict[str, Any] = {}
    inner = body
    for _ in range(100_000):
        inner["a"] = inner = {}
    with Stream(KEY, SECRET, base_url=wire.url) as client, pytest.raises(ValueError, match=r"json .* deeply"):
        client.request("POST", "/x", json=body)
    while body:  # or its own end would be a recursion
        body = body.pop("a", {})
    assert not wire.heads


# Where the token goes


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_far", [False, True], ids=["to the same host", "to another host"])
def test_a_redirect_leaks_nothing(wire: Wire, code: int, *, is_far: bool) -> None:
    """It is an error after one request, and where it points to is never asked."""
    with Wire() as other, Stream(KEY, SECRET, base_url=wire.url) as client:
        target = other.url.replace("127.0.0.1", "localhost") if is_far else wire.url
        wire.says(b"", f"{code} Elsewhere", f"Location: {target}/x")
        for call in (
            lambda: client.get_task("t"),
            lambda: client.delete_users(["jane"]),
            lambda: client.update_channels_batch("hide", {"a": 1}),
            lambda: client.delete_feed("user", "jane"),
        ):
            wire.heads.clear()
            with pytest.raises(StreamApiException, match="redirect") as info:
                call()
            assert info.value.status_code == code
            assert len(wire.heads) == 1
        assert other.connections == 0


def test_cookies_are_not_kept(wire: Wire) -> None:
    """A client that many tasks share has no state that a server set."""
    wire.says({"a": 1}, "200 OK", "Set-Cookie: session=1; Path=/")
    with Stream(KEY, SECRET, base_url=wire.url) as client:
        client.request("GET", "/app")
        client.request("GET", "/app")
    assert wire.header_names() == HEADERS


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_plain_http_is_warned_of_once(caplog: pytest.LogCaptureFixture, kind: Any) -> None:
    """A client warns when it is made, not with each request."""
    client = kind(KEY, SECRET, base_url="http://0.0.0.0:1", connect_timeout=0.1)
    for _ in range(3):
        with pytest.raises(StreamTransportException):
            asyncio.run(client.get_task("t")) if kind is AsyncStream else client.get_task("t")
    assert [getattr(record, "stream_event", "") for record in caplog.records].count("plain_http") == 1


# What belongs to the whole process


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_the_filters_of_warnings_are_not_touched(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """Not for a moment: what is swapped in one thread is swapped for all, and may not be swapped back."""

    def swap(*_: object, **__: object) -> None:
        raise AssertionError("the filters of all threads were swapped")

    with monkeypatch.context() as patched:
        patched.setattr(warnings, "catch_warnings", swap)
        patched.setattr(warnings, "simplefilter", swap)
        patched.setattr(warnings, "filterwarnings", swap)
        kind(KEY, "short", base_url="http://127.0.0.1:1")


@pytest.fixture
async def over_tls(server: FakeStream) -> AsyncIterator[str]:
    """The server's address over TLS, with a certificate that the system does not trust."""
    server.add_task("t", statuses=())
    port = int(server.url.rpartition(":")[2])
    async with front(port, tls=server_context()) as made:
        yield made.url.replace("http:", "https:")


async def test_authorities_are_read_as_a_client_is_made(
    over_tls: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever sets SSL_CERT_FILE after the import, as those do who read a .env file, is heeded."""
    authority = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    async with AsyncStream(KEY, SECRET, base_url=over_tls) as early:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        async with AsyncStream(KEY, SECRET, base_url=over_tls) as late:
            assert (await late.get_task("t")).data.is_completed
        with pytest.raises(StreamTransportException) as caught:
            await early.get_task("t")
        assert caught.value.error_type == "tls_handshake_failed"


def test_clients_share_what_they_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading the authorities takes long: it is done once for each environment."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    first, second = (AsyncStream(KEY, SECRET)._connections.ssl_context for _ in range(2))
    assert first is second is not None
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    assert AsyncStream(KEY, SECRET)._connections.ssl_context is not first
    own = trusting_context()
    assert AsyncStream(KEY, SECRET, ssl_context=own)._connections.ssl_context is own


async def test_a_given_session_keeps_what_it_trusts() -> None:
    """A caller's connector has a context of its own."""
    async with aiohttp.ClientSession() as session:
        assert AsyncStream(KEY, SECRET, session=session)._connections.ssl_context is None


# What a server says is data

ODD_KEYS = {
    "__class__": "os.system",
    "__dict__": {"url": "x"},
    "__proto__": {"admin": True},
    "__init__": 1,
    "_task": 2,
    "self": 3,
    "extra": {"url": "y"},
    "items": 4,
    "failed": 5,
    "py/object": "os.system",
}


def task_body(**fields: Any) -> bytes:
    fields = {"task_id": "t", "status": "completed", "created_at": 1, "updated_at": 1} | fields
    return json.dumps(fields).encode()


def test_odd_keys_are_data(wire: Wire) -> None:
    """Names that mean something to Python or to others are keys of a dict, and nothing else."""
    payload = ODD_KEYS | {"url": "https://x"}
    wire.says(task_body(result=payload, **ODD_KEYS))
    with Stream(KEY, SECRET, base_url=wire.url) as client:
        plain = client.wait_for_task("t")
        typed = client.wait_for_task("t", result_type=ExportChannelsResult)
    assert (type(plain), dict(plain)) == (TaskResult, payload)
    assert (type(plain.task), plain.task.task_id) == (Task, "t")
    assert (type(typed), typed.url) == (ExportChannelsResult, "https://x")
    assert {name: typed.extra[name] for name in ODD_KEYS if name != "extra"}.items() <= ODD_KEYS.items()
    assert not hasattr(typed, "py/object")


BODIES = {
    "an integer of 5,000 digits": b'{"task_id": ' + b"9" * 5_000 + b"}",
    "a timestamp of 4,000 digits": task_body().replace(b": 1,", b": " + b"9" * 4_000 + b",", 1),
    "a timestamp that is a long text": task_body(created_at="x" * 10**6),
    "a timestamp that is infinite": task_body().replace(b": 1,", b": 1e999,", 1),
    "a timestamp that is NaN": task_body().replace(b": 1,", b": NaN,", 1),
    "a list nested 100,000 times": b"[" * 100_000,
    "an object nested 100,000 times": b'{"a":' * 100_000,
    "a list": b"[]",
    "a number": b"3",
    "a text": b'"x"',
    "null": b"null",
    "nothing": b"",
    "a byte-order mark amid it": b"\xef\xbb\xbf" * 2 + task_body(),
    "invalid UTF-8": b'{"task_id": "\xff"}',
    "a result that is a list": task_body(result=[1]),
    "a result that is a text": task_body(result="x" * 10**6),
    "a result that is a number": task_body(result=5),
    "a status that is an object": task_body(status={}),
    "a key of a megabyte": json.dumps({"x" * 10**6: 1}).encode(),
    "control characters": b"\x1b]0;owned\x07\r\n" * 1_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_a_short_decode_error(wire: Wire, body: bytes) -> None:
    """Nothing else is raised, and what is shown of it is short and steers no terminal."""
    wire.says(body)
    with Stream(KEY, SECRET, base_url=wire.url) as client:
        for call in (lambda: client.get_task("t"), lambda: client.wait_for_task("t", 0.05, 0.0)):
            with pytest.raises((StreamDecodeException, StreamWaitTimeoutException)) as info:
                call()
            error = next(e for e in chain(info.value) if isinstance(e, StreamDecodeException))
            assert str(error).isprintable()
            assert len(str(error)) < 1_000
            assert len(error.reason) < 400
            assert len(error.body) <= 500
            for cause in chain(error):
                assert len(str(cause)) < 5_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(task_body(result={"a": "\ud800"}), {"a": "\ud800"}, id="half a character"),
        pytest.param(
            task_body().replace(b"}", b', "result": {"a": 1, "a": 2}}'), {"a": 2}, id="a key that comes twice"
        ),
        pytest.param(
            task_body().replace(b"}", b', "result": {"a": -Infinity}}'), {"a": -math.inf}, id="an infinity"
        ),
        pytest.param(task_body(result={"a": 10**4_000}), {"a": 10**4_000}, id="a long integer"),
    ],
)
def test_an_odd_payload_is_data(wire: Wire, body: bytes, expected: dict[str, Any]) -> None:
    """What JSON in Python can hold is handed on as it came."""
    wire.says(body)
    with Stream(KEY, SECRET, base_url=wire.url) as client:
        assert client.wait_for_task("t") == expected


@pytest.mark.parametrize("depth", range(900, 1_000, 7))
def test_a_payload_nested_as_deeply_as_can_be_is_no_trouble(wire: Wire, depth: int) -> None:
    """It is returned, or an error of this library: comparing and decoding it break nothing."""
    body = task_body(result={"a": 1}).replace(b"1}}", b"[" * depth + b"]" * depth + b"}}")
    wire.says(body)
    with Stream(KEY, SECRET, base_url=wire.url) as client:
        seen: list[Task] = []
        for kind in (None, ExportChannelsResult):
            with contextlib.suppress(StreamDecodeException, StreamWaitTimeoutException):
                client.wait_for_task("t", 0.05, 0, result_type=kind, on_update=seen.append)


# Terminals and logs

STEERING = "\x1b[2J\x1b]0;owned\x07\r\nError: forged \x9b31m\u202e\ud800"
LONG = STEERING * 10_000


@pytest.mark.parametrize(
    "error",
    [
        StreamApiException(status_code=400, message=LONG, exception_fields={LONG: LONG}),
        StreamTransportException("unknown", LONG),
        StreamDecodeException(LONG, path=LONG, body=LONG[:500]),
        StreamTaskException(task_id=LONG, error_type=LONG, description=LONG),
        StreamWaitTimeoutException(task_id=LONG, timeout=1, elapsed=1, polls=1),
        StreamException(LONG),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_message_is_one_short_line(error: StreamException) -> None:
    """Whatever a server says; the attributes keep it as it came."""
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(each).isprintable()
        assert len(str(each)) < 10_000
        assert "forged" in str(each)
    if isinstance(error, StreamTaskException | StreamApiException):
        assert LONG in vars(error).values()


async def test_a_wait_says_what_it_must_however_long_the_id(server: FakeStream) -> None:
    """The end of the message is not lost to what stands before it."""
    async with AsyncStream(KEY, SECRET, base_url=server.url) as client:
        error = await failure(client.wait_for_task(STEERING[:-1] * 50, 0.05, 0.1))
    assert str(error).endswith("it may still be running on the server")
    assert str(error).isprintable()


async def test_a_log_line_is_one_line(server: FakeStream, caplog: pytest.LogCaptureFixture) -> None:
    """What a server or a caller named forges no line of the log and steers no terminal that shows it."""
    caplog.set_level(logging.DEBUG, "stream_tasks")
    name = f"odd {STEERING[:-1]}"
    server.add_task(name, statuses=[name, LONG], never=True)
    server.inject(Fault.status(500, body={"code": -1, "message": LONG}))
    async with AsyncStream(KEY, SECRET, base_url=server.url) as client:
        await failure(client.wait_for_task(name, 0.05, 0.6))
    assert {record.levelname for record in caplog.records} >= {"WARNING"}
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 3_000


@pytest.fixture
def run(server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command line in this process."""
    for name, value in {"BASE_URL": server.url, "API_KEY": KEY, "API_SECRET": SECRET}.items():
        monkeypatch.setenv(f"STREAM_{name}", value)

    def run(*args: str) -> Any:
        from stream_tasks.cli.app import commands

        return CliRunner().invoke(commands, args)

    return run


def test_the_command_line_steers_no_terminal(server: FakeStream, run: Callable[..., Any]) -> None:
    """Neither what a task failed with, nor its stack trace, status or payload, nor a refusal, nor an id."""
    broken = TaskFailure(STEERING, STEERING, stacktrace=STEERING, version=STEERING)
    server.add_task("fails", statuses=(), error=broken)
    server.add_task("odd", statuses=[STEERING], never=True)
    server.add_task("ends", statuses=(), result={STEERING: STEERING})
    server.inject(Fault.status(400, body={"code": 4, "message": STEERING}), task_id="refused", times=2)
    shown = []
    for name in ("fails", "odd", "ends", "refused", f"no {STEERING[:-1]}", STEERING):
        shown.append(run("get", name).output)
        shown.append(run("wait", name, "--timeout", "0", "--verbose").output)
    assert sum("forged" in text for text in shown) >= 8
    for text in shown:
        assert all(c.isprintable() or c in "\n\t" for c in text), ascii(text)
        assert not [needle for needle in needles(token_of(AsyncStream())) if needle in text]


def test_the_command_line_shows_no_secret(
    server: FakeStream, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in help, in errors of each kind, or in the traceback of what nobody thought of."""
    from stream_tasks.cli.app import commands

    hidden = needles(token_of(AsyncStream()))
    for fault in (Fault.status(401), Fault.status(500), Fault.reset(), Fault.malformed(), Fault.cut()):
        server.inject(fault, times=2)
        ended = [run("get", "t"), run("wait", "t", "--timeout", "0"), run("wait", "t", "--base-url", "x?y")]
        assert not [needle for needle in hidden for one in ended if needle in one.output]
        server.heal()
    for name in commands.commands:
        assert not [needle for needle in hidden if needle in run(name, "--help").output]

    async def break_down(*_: Any, **__: Any) -> None:
        raise LookupError

    monkeypatch.setattr(AsyncStream, "get_task", break_down)
    ended = run("get", "t")
    assert isinstance(ended.exception, LookupError)
    assert not [needle for needle in hidden if needle in dump_error(ended.exception)]


# Webhooks


@pytest.mark.parametrize("verdict", [True, False])
def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, verdict: bool) -> None:
    """The comparison is hmac's, whole, and its verdict is the answer."""
    compared = []

    def compare(*texts: bytes) -> bool:
        compared.append(texts)
        return verdict

    signature = webhooks.sign(b"{}", SECRET)
    monkeypatch.setattr("hmac.compare_digest", compare)
    for claimed in (signature, signature[:-1] + "x", "x", ""):
        assert webhooks.verify(b"{}", claimed, SECRET) is verdict
        assert compared.pop() == (signature.encode(), claimed.encode())


def test_a_webhook_without_a_signature_is_forged() -> None:
    """A header that is missing is no error of the program."""
    assert not webhooks.verify(b"{}", None, SECRET)
    with pytest.raises(ValueError, match="signature"):
        webhooks.parse(b"{}", None, SECRET)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param((b"{}", "", ""), ValueError, "api_secret must not be empty", id="an empty secret"),
        pytest.param((b"{}", "", None), TypeError, "api_secret must be a str, not NoneType", id="no secret"),
        pytest.param(
            (b"{}", "", SECRET.encode()), TypeError, "api_secret must be a str, not bytes", id="bytes"
        ),
        pytest.param(
            (b"{}", b"", SECRET), TypeError, "signature must be a str, not bytes", id="a bytes signature"
        ),
        pytest.param(
            ("{}", "", SECRET), TypeError, "body must be the request's bytes, not str", id="a text body"
        ),
    ],
)
def test_a_wrong_argument_about_webhooks_is_named(
    arguments: Any, kind: type[Exception], message: str
) -> None:
    """An empty secret above all: with it anybody could sign."""
    for function in (webhooks.verify, webhooks.parse):
        with pytest.raises(kind, match=message) as info:
            function(*arguments)
        assert not [needle for needle in needles(TOKEN) if needle in dump_error(info.value)]
