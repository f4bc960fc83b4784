"""What has broken other clients, though servers and gateways do it every day."""

import asyncio
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio.to_thread
import hostile
import pytest
from differential import BOM, Play, Player, good, split
from tls import server_context, trusting_context

from stream_tasks import (
    AsyncStream,
    Backoff,
    StreamDecodeException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
)

KEY, TOKEN = "key", "a-token-of-some-length"


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_tasks._engine.tracked.RETRY_BACKOFF", Backoff(0.05, 0.05))


def client(player: Player, **options: Any) -> AsyncStream:
    return AsyncStream(KEY, token=TOKEN, base_url=player.url, pacing=False, request_timeout=5, **options)


def task(task_id: str, **fields: Any) -> bytes:
    told = {
        "task_id": task_id,
        "status": "completed",
        "created_at": 1,
        "updated_at": 1,
        "result": {"for": task_id},
    }
    return json.dumps(told | fields).encode()


def done(asked: str) -> Play:
    return good(task(asked))


def says(*segments: bytes, end: str = "keep", pause: float = 0.0) -> Callable[[str], Play]:
    return lambda _: Play(list(segments), pause, end)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body])


TASK = task("t")
WHOLE = {
    "early hints, twice, and a note that it takes long": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2
    + b"HTTP/1.1 102 Processing\r\n\r\n"
    + answer(TASK),
    "cookies that are none": answer(
        TASK, b"Set-Cookie: Secure", b"Set-Cookie: ;;=/;; a b", b"Set-Cookie: {x}: \xff=1"
    ),
    "a byte-order mark": answer(BOM + TASK),
    "a header that is not UTF-8": answer(TASK, b"X-Name: \xe9\xff"),
    "no reason": answer(TASK, status=b"200 "),
    "no reason, and no space": answer(TASK, status=b"200"),
    "header names in small letters": answer(TASK, b"content-type:application/json", b"x-empty:"),
    "an empty line behind the answer": answer(TASK) + b"\r\n",
    "zeros behind gzip": answer(gzip.compress(TASK) + b"\0", b"Content-Encoding: gzip"),
    "gzip in two members": answer(
        gzip.compress(TASK[:9]) + gzip.compress(TASK[9:]), b"Content-Encoding: gzip"
    ),
    "another content type": answer(TASK, b"Content-Type: text/html; charset=iso-8859-1"),
    "a body that lasts to the end of the connection": b"HTTP/1.0 200 OK\r\n\r\n" + TASK,
    "chunks with extensions and trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%X;a=b\r\n%b\r\n0\r\nX-Trailer: y\r\n\r\n" % (len(TASK), TASK),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("step", [0, 7], ids=["at once", "in small pieces"])
async def test_an_odd_answer_is_taken(content: bytes, step: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost of it, nothing is asked again, and nothing is complained of."""
    end = "close" if content.startswith(b"HTTP/1.0") else "keep"
    with Player([says(*split(content, step), end=end)], done) as player:
        async with client(player) as asking:
            assert await asking.wait_for_task("t", 0.05, 20) == {"for": "t"}
            assert await asking.wait_for_task("u", 0.05, 20) == {"for": "u"}
    assert len(player.asked) == 2
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


SPOILT = {
    "something behind an answer that is to be the last": answer(TASK, b"Connection: close") + b"more",
    "a redirect whose head does not end": b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n",
    "not modified, in gzip": b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n",
    "gzip that is cut": answer(gzip.compress(TASK)[:-9], b"Content-Encoding: gzip"),
    "JSON in UTF-16": answer(TASK.decode().encode("utf-16")),
    "a length twice": answer(TASK, b"Content-Length: %d" % len(TASK)),
    "two lengths": answer(TASK, b"Content-Length: 1"),
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +9\r\n\r\n" + TASK,
    "a page of a captive portal": answer(b"<html>Log in</html>", b"Content-Type: text/html"),
    "nothing at all": answer(b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "null": answer(b"null", b"Retry-After: 0", status=b"503 Soon"),
    "a refusal that says when in the past": answer(
        b"", b"Retry-After: Thu, 01 Jan 2015 00:00:00 GMT", status=b"503 Soon"
    ),
    "a refusal that says when without a zone": answer(
        b"", b"Retry-After: Thu, 01 Jan 2015 00:00:00 -0000", status=b"503 Soon"
    ),
    "a refusal that says when below zero": answer(b"", b"Retry-After: -5", status=b"503 Soon"),
    "a task that cannot be found yet": answer(b'{"code": 16, "message": "x"}', status=b"404 Not Found"),
}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
async def test_a_spoilt_answer_is_a_bad_moment(content: bytes) -> None:
    """The wait goes on, and ends as its task does; a look tells of it with an error of this library."""
    for _ in range(2):
        with Player([says(content, end="close")], done) as player:
            async with client(player) as asking:
                assert await asking.wait_for_task("t", 0.05, 20) == {"for": "t"}
        with Player([says(content, end="close")], done) as player:
            async with client(player) as asking:
                with pytest.raises(StreamException):
                    await asking.get_task("t")


async def test_a_status_that_is_not_known_is_not_the_end() -> None:
    """Whatever it is called."""

    def says_it_is(status: str) -> Callable[[str], Play]:
        return lambda asked: good(task(asked, status=status))

    with Player([*map(says_it_is, ("done", "SUCCESS", "Completed", ""))], done) as player:
        async with client(player) as asking:
            assert await asking.wait_for_task("t", 0.05, 20) == {"for": "t"}
    assert len(player.asked) == 5


@pytest.mark.parametrize("fields", [{"result": None}, {"result": {}, "error": None}], ids=repr)
async def test_a_task_that_ends_with_nothing_has_ended(fields: dict[str, Any]) -> None:
    """There is neither a result nor an error to wait for."""
    with Player([], lambda asked: good(task(asked, **fields))) as player:
        async with client(player) as asking:
            assert await asking.wait_for_task("t", 0.05, 20) == {}
    assert len(player.asked) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content"])
async def test_a_server_that_promises_to_stay_and_leaves(method: str, status: bytes) -> None:
    """The next request is not lost with the connection, and is sent once."""
    content = b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"
    if status.startswith(b"200"):
        content = answer(b"{}", b"Connection: keep-alive", b"Keep-Alive: timeout=60")
    with Player([says(content, end="close")] * 3, says(answer(b'{"a": 1}'))) as player:
        async with client(player) as asking:
            for _ in range(3):
                await asking.request("GET", "/before")
                await anyio.to_thread.run_sync(player.settle)
            assert (await asking.request(method, "/after")).data == {"a": 1}
    assert player.asked.count("/api/v2/after") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_may_have_been_done_is_not_done_again(method: str) -> None:
    """A connection that is reset under a request is an error, and the caller's to deal with."""
    with Player([says(end="reset")], says(answer(b"{}"))) as player:
        async with client(player) as asking:
            with pytest.raises(StreamTransportException):
                await asking.request(method, "/things")
    assert len(player.asked) == 1


async def test_a_server_that_answers_before_it_has_read_the_request() -> None:
    """What it has not read does not get into the way of the next request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b'{"a": 1}'))
        with suppress(OSError):
            await reader.read(2**24)
        writer.transport.abort()

    async with hostile.listening(talk) as url, AsyncStream(KEY, token=TOKEN, base_url=url) as asking:
        for _ in range(3):
            found = await asking.request("POST", "/things", json={"text": "x" * 200_000})
            assert found.data == {"a": 1}


async def test_answers_are_not_swapped_when_requests_are_cancelled() -> None:
    """Each of many at once gets its own, whatever became of those before it."""
    with Player([], lambda asked: Play(good(task(asked)).segments, 0.01)) as player:
        async with client(player, max_connections=8) as asking:
            for turn in range(10):
                names = [f"t{turn}-{number}" for number in range(16)]
                calls = [asyncio.create_task(asking.request("GET", f"/tasks/{name}")) for name in names]
                await asyncio.sleep(0.003 * turn)
                for call in calls[::3]:
                    call.cancel()
                found = await asyncio.gather(*calls, return_exceptions=True)
                for name, one in zip(names, found, strict=True):
                    assert isinstance(one, asyncio.CancelledError) or one.data["task_id"] == name  # type: ignore[union-attr]


async def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_one_s() -> None:
    """A request that was given up amid its answer takes its connection with it."""
    slow = answer(task("slow", result={"text": "x" * 50_000}))
    with Player([says(slow[:40_000], slow[40_000:], pause=2.0)], done) as player:
        async with client(player) as asking:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await asking.get_task("slow")
            assert (await asking.get_task("next")).data.task_id == "next"


async def test_a_body_that_is_too_large_is_refused_and_not_cut() -> None:
    """The beginning of it would be another answer."""
    content = answer(TASK + b" " * 2**24)
    with Player([says(content)], done) as player:
        async with client(player) as asking:
            with pytest.raises(StreamDecodeException, match="larger than 16 MiB"):
                await asking.request("GET", "/things")


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_server_that_ends_tls_without_a_word(*, is_whole: bool) -> None:
    """Only the length of the answer tells whether it is whole."""
    content = answer(TASK)[: None if is_whole else -1]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with server_context().wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(9_999)
                wrapped.sendall(content)
                time.sleep(0.05)
                socket.socket(fileno=wrapped.detach()).close()  # no close_notify

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    async with AsyncStream(KEY, token=TOKEN, base_url=url, ssl_context=trusting_context()) as asking:
        if is_whole:
            assert (await asking.get_task("t")).data.task_id == "t"
        else:
            with pytest.raises(StreamTransportException) as info:
                await asking.get_task("t")
            assert info.value.error_type == "connection_reset"
    listener.close()
    await anyio.to_thread.run_sync(thread.join)


@pytest.mark.parametrize("bypass", ["127.0.0.1", "::1,127.0.0.1", "localhost,.internal,127.0.0.1", "*"])
async def test_hosts_that_need_no_proxy(monkeypatch: pytest.MonkeyPatch, bypass: str) -> None:
    """They are asked themselves, whatever else is in that list."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", bypass)
    with Player([], done) as player:
        async with client(player, trust_env=True) as asking:
            assert (await asking.get_task("t")).data.task_id == "t"


@pytest.mark.parametrize("header", [b"Retry-After: -5", b"Retry-After: 120, 120", b"Retry-After: soon"])
async def test_a_refusal_that_makes_no_sense_says_nothing(header: bytes) -> None:
    """It is not slept on, and breaks nothing."""
    with Player([says(answer(b"", header, status=b"429 Slow down"))], done) as player:
        async with client(player) as asking:
            with pytest.raises(StreamRateLimitException) as info:
                await asking.get_task("t")
    assert info.value.retry_after is None
