"""An answer belongs to its question: no other answer is ever taken for it."""

import asyncio
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from hostile import listening
from tls import server_context, trusting_context

from stream_tasks import (
    AsyncStream,
    StreamDecodeException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks._http import pool

KEY, TOKEN = "key", "a-token-of-some-length"


def body(task_id: str) -> bytes:
    fields = {"task_id": task_id, "status": "completed", "created_at": 1, "updated_at": 1}
    return json.dumps(fields | {"result": {"for": task_id}}).encode()


def answer(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content


def asked_in(head: bytes) -> str:
    return head.split()[1].partition(b"?")[0].rpartition(b"/")[2].decode()


THEIRS = answer(body("theirs"))


class Server:
    """Answers each request with the task that it asks for; the pause is in seconds.

    Attributes:
        aside: What is said once, behind an answer and a pause.
        others: What is said in place of the next answers.
        requests: What was asked for on each connection, and by which method.
    """

    def __init__(self, aside: bytes = b"", greeting: bytes = b"", pause: float = 0.01) -> None:
        self.url = ""
        self.aside = aside
        self.greeting = greeting
        self.others: list[bytes] = []
        self.requests: list[list[tuple[str, str]]] = []
        self._pause = pause

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[tuple[str, str]] = []
        self.requests.append(heads)
        writer.write(self.greeting)
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append((asked_in(head), head.split()[0].decode()))
            _, _, length = head.lower().partition(b"content-length: ")
            await reader.readexactly(int(length.partition(b"\r")[0] or 0))
            writer.write(answer(self.others.pop() if self.others else body(asked_in(head))))
            aside, self.aside = self.aside, b""
            await asyncio.sleep(self._pause)
            writer.write(aside)


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    async with listening(server.talk, tls) as server.url:
        yield server


@pytest.fixture(params=["own session", "the caller's session"])
async def session(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession | None]:
    if request.param == "own session":
        yield None
        return
    async with aiohttp.ClientSession() as made:
        yield made


ASIDES = {
    "an answer": THEIRS,
    "the head of an answer": THEIRS.partition(b"{")[0],
    "no HTTP": b"bye\r\n",
    "a time-out, as load balancers tell it": b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n",
    "two answers": THEIRS * 2,
}
PARTS = {
    "the beginning of a head": b"HTTP/1.1 200 OK\r\nX-Cut",
    "a letter": b"H",
    "a head that is none": b"HTTP/1.1 200 OK\r\nSec-WebSocket-Key1: x\r\nX: y",
}


async def look(client: AsyncStream, name: str) -> Any:
    return (await client.get_task(name)).data.task_id


async def wait(client: AsyncStream, name: str) -> Any:
    return (await client.wait_for_task(name))["for"]


async def post(client: AsyncStream, name: str) -> Any:
    return (await client.request("POST", f"/{name}", json={})).data["task_id"]


async def start(client: AsyncStream, name: str) -> Any:
    return (await client.start_task("DELETE", f"/{name}")).task_id


async def meet(
    call: Callable[[AsyncStream, str], Awaitable[Any]],
    session: aiohttp.ClientSession | None,
    aside: bytes,
    pause: float,
) -> None:
    """Ask twice after the server has said something unasked."""
    server = Server(aside, pause=pause)
    async with (
        serving(server),
        AsyncStream(KEY, token=TOKEN, base_url=server.url, session=session) as client,
    ):
        assert await look(client, "a") == "a"
        await asyncio.sleep(0.05)
        assert await call(client, "b") == "b"
        assert await call(client, "c") == "c"
    asked = [[name for name, _ in heads] for heads in server.requests]
    assert asked[0] == ["a"]
    assert [name for names in asked[1:] for name in names] == ["b", "c"]


@pytest.mark.parametrize("aside", ASIDES.values(), ids=ASIDES)
async def test_what_a_server_says_unasked_is_no_answer(
    session: aiohttp.ClientSession | None, aside: bytes
) -> None:
    """What comes next is asked over another connection."""
    await meet(post, session, aside, pause=0.01)


@pytest.mark.parametrize("name", ["an answer", "the head of an answer", "two answers"])
async def test_what_a_server_says_behind_an_answer_is_none(
    session: aiohttp.ClientSession | None, name: str
) -> None:
    """It may come in the same packet."""
    await meet(post, session, ASIDES[name], pause=0)


async def test_what_changes_something_has_a_connection_of_its_own() -> None:
    """A late answer to what was asked before cannot come on it."""
    async with serving(Server()) as server, AsyncStream(KEY, token=TOKEN, base_url=server.url) as client:
        for name in "abc":
            assert await look(client, name) == name
            assert await post(client, name) == name
            assert await start(client, name) == name
        connector: Any = client._here().transport._session
        assert sum(map(len, connector.connector._conns.values())) == 1
    methods = [[method for _, method in heads] for heads in server.requests]
    assert methods[0] == ["GET"] * 3
    assert sorted(methods[1:]) == [["DELETE"]] * 3 + [["POST"]] * 3


@pytest.mark.parametrize("call", [look, wait, post, start])
async def test_whatever_comes_next_is_asked_over_another_connection(
    session: aiohttp.ClientSession | None, call: Callable[[AsyncStream, str], Awaitable[Any]]
) -> None:
    """Be it a look, a wait, a request or a start."""
    await meet(call, session, THEIRS, pause=0.01)


@pytest.mark.parametrize("aside", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("pause", [0.01, 0], ids=["later", "at once"])
async def test_a_part_of_an_answer_is_noticed(aside: bytes, pause: float) -> None:
    """A connection is not used again, even if what was said unasked is no answer yet."""
    server = Server(aside, pause=pause)
    async with serving(server), AsyncStream(KEY, token=TOKEN, base_url=server.url) as client:
        await client.get_task("a")
        await asyncio.sleep(0.05)
        assert (await client.get_task("b")).data.task_id == "b"
    assert [len(heads) for heads in server.requests] == [1, 1]


async def test_a_connection_on_which_nothing_is_said_unasked_is_used_again(
    session: aiohttp.ClientSession | None,
) -> None:
    """The check costs no connection."""
    async with (
        serving(Server()) as server,
        AsyncStream(KEY, token=TOKEN, base_url=server.url, session=session) as client,
    ):
        for number in range(5):
            await client.get_task(f"t{number}")
    assert [len(heads) for heads in server.requests] == [5]


class BlockingServer:
    """Answers on each connection one request, says something more, and tells when that has been said."""

    def __init__(self, then: bytes | None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.has_spoken = threading.Event()
        self._then = then
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError), ExitStack() as connections:
            while True:
                connection = connections.enter_context(self._listener.accept()[0])
                connection.sendall(answer(body(asked_in(connection.recv(9_999)))))
                if self.has_spoken.is_set():
                    continue
                time.sleep(0.1)
                if self._then is None:
                    connection.shutdown(socket.SHUT_WR)
                else:
                    connection.sendall(self._then)
                self.has_spoken.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture(params=[THEIRS, b"H"], ids=["an answer", "a letter"])
def blocking_server(request: pytest.FixtureRequest) -> Iterator[BlockingServer]:
    made = BlockingServer(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_the_loop_has_not_read_yet_is_noticed(
    session: aiohttp.ClientSession | None, blocking_server: BlockingServer, method: str
) -> None:
    """A program may have held up its loop while the server spoke, or left."""
    async with AsyncStream(KEY, token=TOKEN, base_url=blocking_server.url, session=session) as client:
        await client.get_task("a")
        blocking_server.has_spoken.wait(10)  # which holds up the loop
        time.sleep(0.05)
        found = await client.request(method, "/b", json={} if method == "POST" else None)
    assert found.data["task_id"] == "b"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_server_that_has_left_while_the_loop_was_held_up(method: str) -> None:
    """The request goes out over another connection."""
    server = BlockingServer(None)
    async with AsyncStream(KEY, token=TOKEN, base_url=server.url) as client:
        await client.get_task("a")
        server.has_spoken.wait(10)
        time.sleep(0.05)
        found = await client.request(method, "/b")
    server.close()
    assert found.data["task_id"] == "b"


async def dawdle(*_: object) -> None:
    await asyncio.sleep(0.03)


@pytest.mark.parametrize("is_own", [True, False], ids=["own session", "the caller's session"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("call", [look, post])
async def test_a_server_that_speaks_before_it_is_asked_is_not_asked(
    call: Callable[[AsyncStream, str], Awaitable[Any]], *, is_own: bool, is_tls: bool
) -> None:
    """What it says on a new connection is no answer, and no request is sent to it."""
    slow = aiohttp.TraceConfig()
    slow.on_connection_create_end.append(dawdle)
    trust = trusting_context()
    connector = pool.Connector(TOKEN, ssl=trust) if is_own else aiohttp.TCPConnector(ssl=trust)
    async with (
        serving(Server(greeting=THEIRS), server_context() if is_tls else None) as server,
        aiohttp.ClientSession(connector=connector, trace_configs=[slow]) as session,
        AsyncStream(KEY, token=TOKEN, base_url=server.url, session=session) as client,
    ):
        with pytest.raises(StreamTransportException, match="before it") as info:
            await call(client, "b")
    assert info.value.error_type == "connection_reset"
    assert not any(server.requests)


async def test_what_is_said_unasked_over_tls_is_no_answer(session: aiohttp.ClientSession | None) -> None:
    """The tickets of TLS are no such thing: without more, the connection is used again."""
    async with (
        serving(Server(), server_context()) as server,
        AsyncStream(
            KEY, token=TOKEN, base_url=server.url, session=session, ssl_context=trusting_context()
        ) as client,
    ):
        for name in "abc":
            assert await look(client, name) == name
        await asyncio.sleep(0.05)
        server.aside = THEIRS
        assert await look(client, "d") == "d"
        await asyncio.sleep(0.1)
        for name in "ef":
            assert await look(client, name) == name
    assert [len(heads) for heads in server.requests] == [4, 2]


class Unsettled:
    """A connection over TLS with something in its socket."""

    def __init__(self, socket: socket.socket) -> None:
        self.transport = self.protocol = self
        self.should_close = self.is_closed = False
        self._extra = {"socket": socket, "sslcontext": trusting_context()}

    def get_extra_info(self, name: str) -> Any:
        return self._extra.get(name)

    def close(self) -> None:
        self.is_closed = True


async def test_a_call_that_is_cancelled_while_tls_is_read_leaves_no_connection() -> None:
    """Nobody else knows of it yet."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"ticket")
        connection: Any = Unsettled(ours)
        asking = asyncio.create_task(pool._is_silent_but_for_tls(connection))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert connection.is_closed


def test_a_transport_without_a_socket_cannot_be_looked_into() -> None:
    """Event loops need not tell."""
    transport: Any = asyncio.Transport()
    assert not pool._is_readable(transport)


def test_a_socket_that_cannot_be_looked_into_is_not_used() -> None:
    """It may hold anything."""
    with Path(os.devnull).open("rb") as file:
        transport: Any = SimpleNamespace(get_extra_info=lambda _: file)
        assert pool._is_readable(transport)


async def test_an_answer_about_another_task_is_refused(session: aiohttp.ClientSession | None) -> None:
    """A look says so, and the connection on which it came is used no more."""
    server = Server()
    server.others = [body("theirs")]
    async with (
        serving(server),
        AsyncStream(KEY, token=TOKEN, base_url=server.url, session=session) as client,
    ):
        with pytest.raises(
            StreamDecodeException,
            match=r"^the answer is about another task: 'theirs', not 'mine' at \$\.task_id$",
        ) as info:
            await client.get_task("mine")
        assert info.value.path == "$.task_id"
        assert "theirs" in info.value.body
        assert await look(client, "mine") == "mine"
    assert [len(heads) for heads in server.requests] == [1, 1]


async def test_a_mock_has_no_connection_to_give_up(mocked: aioresponses) -> None:
    """What it answers about another task is refused all the same."""
    mocked.get(re.compile(".*"), body=body("theirs"))
    async with AsyncStream(KEY, token=TOKEN) as client:
        with pytest.raises(StreamDecodeException, match="about another task"):
            await client.get_task("mine")


async def test_a_wait_passes_over_answers_about_another_task(
    session: aiohttp.ClientSession | None, caplog: pytest.LogCaptureFixture
) -> None:
    """They are a bad moment, which the log tells of once, each over another connection."""
    server = Server()
    server.others = [body("theirs")] * 2
    async with (
        serving(server),
        AsyncStream(KEY, token=TOKEN, base_url=server.url, session=session) as client,
    ):
        assert await client.wait_for_task("mine", 0.05, 10) == {"for": "mine"}
    assert [len(heads) for heads in server.requests] == [1, 1, 1]
    assert [record.getMessage().count("another task") for record in caplog.records] == [1]


async def test_a_wait_that_sees_another_task_alone_times_out() -> None:
    """It says what came in place of its task."""
    server = Server()
    server.others = [body("theirs")] * 99
    async with serving(server), AsyncStream(KEY, token=TOKEN, base_url=server.url) as client:
        with pytest.raises(StreamWaitTimeoutException) as info:
            await client.wait_for_task("mine", 0.05, 0.4)
        outcomes = await client.wait_for_tasks(["mine"], 0.05, 0.4)
    assert info.value.reason == "unreachable"
    assert isinstance(info.value.__cause__, StreamDecodeException)
    assert "about another task" in str(info.value.__cause__)
    assert not outcomes["mine"].ok
