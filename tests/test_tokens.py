"""Tokens that a function gives: asked for at first, and again when the server says that one has expired."""

import asyncio
import contextvars
import functools
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from files import FileServer

from stream_tasks import (
    AsyncStream,
    Stream,
    StreamApiException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.testing import FakeStream, Fault

REFUSAL = Fault.status(401, body={"code": 40, "message": "the token has expired", "StatusCode": 401})


class Source:
    """Gives tokens, each of which has expired if `expired` says so."""

    def __init__(self, server: FakeStream, expired: int = 0) -> None:
        self.given: list[str] = []
        self.threads: list[threading.Thread] = []
        self._server = server
        self._expired = expired

    def __call__(self) -> str:
        self.threads.append(threading.current_thread())
        has_expired = len(self.given) < self._expired
        claims = {
            "server": True,
            "exp": int(time.time()) + (-3600 if has_expired else 3600),
            "n": len(self.given),
        }
        self.given.append(jwt.encode(claims, self._server.api_secret, "HS256"))
        return self.given[-1]

    async def later(self) -> str:
        await asyncio.sleep(0.01)
        return self()


def make(server: FakeStream, token: Any, **options: Any) -> AsyncStream:
    return AsyncStream(server.api_key, token=token, base_url=server.url, **options)


@pytest.fixture(params=["sync", "async", "a lambda that returns a coroutine", "a partial", "an object"])
def source(request: pytest.FixtureRequest, server: FakeStream) -> tuple[Source, Any]:
    made = Source(server, expired=1)
    ways: dict[str, Any] = {
        "sync": lambda: made(),  # noqa: PLW0108 - a function
        "async": made.later,
        "a lambda that returns a coroutine": lambda: made.later(),  # noqa: PLW0108 - as it says
        "a partial": functools.partial(made.later),
        "an object": made,
    }
    return made, ways[request.param]


def sent(server: FakeStream) -> list[str]:
    return [request.headers["Authorization"] for request in server.requests]


Call = Callable[[AsyncStream, str], Awaitable[object]]


async def _get(client: AsyncStream, task_id: str) -> object:
    return await client.get_task(task_id)


async def _wait(client: AsyncStream, task_id: str) -> object:
    return await client.wait_for_task(task_id)


async def _start(client: AsyncStream, _: str) -> object:
    return await client.export_users(["amy"])


async def _request(client: AsyncStream, _: str) -> object:
    return await client.request("GET", "/rate_limits")


async def test_an_expired_token_is_replaced(source: tuple[Source, Any], server: FakeStream) -> None:
    """By all kinds of functions, in a wait; the function is asked at first and once more."""
    made, function = source
    async with make(server, function) as client:
        assert made.given == []
        await client.wait_for_task(server.add_task(statuses=["pending"]), 0)
    assert len(made.given) == 2
    assert sent(server) == [made.given[0], made.given[1], made.given[1]]


@pytest.mark.parametrize("call", [_get, _wait, _start, _request])
async def test_all_that_is_sent_has_the_new_token(call: Call, server: FakeStream) -> None:
    """What was refused with the old one is sent again, starts too, as nothing was done."""
    made = Source(server, expired=1)
    async with make(server, made) as client:
        await call(client, server.add_task(statuses=()))
        await call(client, server.add_task(statuses=()))
    assert sent(server) == [made.given[0], made.given[1], made.given[1]]


@pytest.mark.parametrize("call", [_get, _wait, _start, _request])
async def test_a_function_without_a_good_token_is_asked_once_more(call: Call, server: FakeStream) -> None:
    """Then the refusal comes out."""
    made = Source(server, expired=9)
    async with make(server, made) as client:
        with pytest.raises(StreamApiException, match="HTTP 401, code 40"):
            await call(client, server.add_task(statuses=()))
    assert len(made.given) == 2


async def test_another_refusal_is_none_of_its_business(server: FakeStream) -> None:
    """A 401 of another code ends the call."""
    made = Source(server)
    server.inject(Fault.status(401), times=1)
    async with make(server, made) as client:
        with pytest.raises(StreamApiException, match="HTTP 401"):
            await client.get_task("t")
    assert len(made.given) == 1


async def test_a_ready_token_that_expires_ends_a_wait(server: FakeStream) -> None:
    """As there is nobody to ask."""
    async with make(server, Source(server, expired=1)()) as client:
        with pytest.raises(StreamApiException, match="HTTP 401, code 40"):
            await client.wait_for_task(server.add_task(statuses=()))


async def test_many_waits_ask_once(server: FakeStream) -> None:
    """At first, and when the token of all of them has expired."""
    made = Source(server, expired=1)
    ids = [server.add_task(statuses=["pending"]) for _ in range(200)]
    async with make(server, made.later) as client:
        await asyncio.gather(*(client.get_task(task_id) for task_id in ids))
        assert len(made.given) == 2
        refused = sent(server).count(made.given[0])
        assert refused > 50
        assert len(server.requests) == 200 + refused
        assert all(outcome.ok for outcome in (await client.wait_for_tasks(ids, 0)).values())
    assert len(made.given) == 2


async def test_a_token_that_expires_during_waits_is_replaced(server: FakeStream) -> None:
    """No wait ends with it."""
    made = Source(server)
    ids = [server.add_task(never=True) for _ in range(20)]
    async with make(server, made) as client:
        waiting = asyncio.create_task(client.wait_for_tasks(ids, 0, 60))
        while len(server.requests) < 40:
            await asyncio.sleep(0.01)
        server.inject(REFUSAL, times=1, path="/tasks/")
        while len(made.given) < 2:
            await asyncio.sleep(0.01)
        for task_id in ids:
            server.finish(task_id)
        assert all(outcome.ok for outcome in (await waiting).values())


class Mine(Exception):
    """An error of the caller's."""


@pytest.mark.parametrize("call", [_get, _wait, _start, _request])
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_the_function_raises_comes_out(call: Call, is_async: bool, server: FakeStream) -> None:
    """At once, as it is, with a note; the next call asks again."""
    made = Source(server)
    errors = [Mine("no network")]

    def function() -> str:
        if errors:
            raise errors.pop()
        return made()

    async def later() -> str:
        return function()

    async with make(server, later if is_async else function) as client:
        with pytest.raises(Mine, match="no network") as info:
            await call(client, server.add_task(statuses=()))
        assert info.value.__notes__ == ["raised by the function that the client was given as token"]
        await call(client, server.add_task(statuses=()))
    assert len(made.given) == 1


async def test_an_error_is_the_outcome_of_each_wait(server: FakeStream) -> None:
    """Nothing about one task is raised."""

    def function() -> str:
        raise Mine("no network")

    async with make(server, function) as client:
        outcomes = await client.wait_for_tasks(["a", "b"])
    assert [type(outcome.exception()) for outcome in outcomes.values()] == [Mine, Mine]


@pytest.mark.parametrize(
    ("given", "kind"), [(None, ValueError), (7, TypeError), ("", ValueError), ("a\nb", ValueError)]
)
async def test_what_is_no_token_is_refused(given: Any, kind: type[Exception], server: FakeStream) -> None:
    """The error says where it comes from, and nothing is sent."""
    async with make(server, lambda: given) as client:
        with pytest.raises(kind, match="what the token function returns"):
            await client.get_task("t")
    assert not server.requests


async def test_a_function_that_hangs_is_a_time_out(server: FakeStream) -> None:
    """Of a request, and of a wait as soon as its own limit has come."""

    async def function() -> str:
        await asyncio.sleep(60)
        return ""

    async with make(server, function, request_timeout=0.2) as client:
        with pytest.raises(StreamTransportException, match=r"did not return within 0\.2 s"):
            await client.get_task("t")
        with pytest.raises(StreamWaitTimeoutException):
            await client.wait_for_task("t", timeout=0.3)
    assert not server.requests


async def test_who_leaves_does_not_end_the_asking_for_others(server: FakeStream) -> None:
    """A cancelled call leaves the function's call to the others."""
    made, begun = Source(server), asyncio.Event()

    async def function() -> str:
        begun.set()
        return await made.later()

    async with make(server, function) as client:
        first = asyncio.create_task(client.get_task("t"))
        await begun.wait()
        second = asyncio.create_task(client.get_task(server.add_task(statuses=())))
        await asyncio.sleep(0)
        first.cancel()
        await second
    assert first.cancelled()
    assert len(made.given) == 1


async def test_a_closed_client_asks_no_more(server: FakeStream) -> None:
    """The function's call is cancelled."""
    ended = asyncio.Event()

    async def function() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    client = make(server, function)
    call = asyncio.create_task(client.get_task("t"))
    await asyncio.sleep(0.05)
    await client.aclose()
    with pytest.raises(RuntimeError, match="this client is closed"):
        await call
    assert ended.is_set()


async def test_a_function_that_blocks_does_not_block_the_loop(server: FakeStream) -> None:
    """It runs in a thread, with the caller's context variables."""
    made, variable = Source(server), contextvars.ContextVar("variable", default="")
    seen: list[str] = []

    def function() -> str:
        seen.append(variable.get())
        time.sleep(0.3)
        return made()

    variable.set("mine")
    turns = 0
    async with make(server, function) as client:
        call = asyncio.create_task(client.get_task(server.add_task(statuses=())))
        while not call.done():
            turns += 1
            await asyncio.sleep(0.01)
        await call
    assert turns > 5
    assert seen == ["mine"]
    assert made.threads != [threading.current_thread()]


async def test_a_download_renews_its_link_with_a_new_token(server: FakeStream, tmp_path: Path) -> None:
    """Asking for the task again is a wait like others."""
    made = Source(server)
    with FileServer(b"x" * 1000) as files:
        async with make(server, made) as client:
            task_id = server.add_task(statuses=(), result={"url": files.url()})
            export = await client.wait_for_task(task_id)
            files.answers.append(403)
            server.inject(REFUSAL, path="/tasks/")
            await client.download(export, tmp_path / "x")
    assert len(made.given) == 2
    assert (tmp_path / "x").stat().st_size == 1000


async def test_a_callers_session_has_the_new_token(server: FakeStream) -> None:
    """Each request is given it."""
    made = Source(server, expired=1)
    async with aiohttp.ClientSession() as session, make(server, made, session=session) as client:
        await client.get_task(server.add_task(statuses=()))
    assert sent(server) == made.given


async def test_neither_token_nor_arguments_are_shown(server: FakeStream) -> None:
    """Not by reprs, nor by a dump of all frames' variables, nor by an answer that repeats the token."""

    def function(password: str) -> str:
        raise StreamTaskException(task_id="t", description=f"{len(password)}")

    client = make(server, functools.partial(function, "hush-hush-hush"))
    with pytest.raises(StreamTaskException) as info:
        await client.get_task("t")
    shown = traceback.TracebackException.from_exception(info.value, capture_locals=True)
    ours = [frame.locals for frame in shown.stack if frame.filename != __file__]
    assert len(ours) > 3
    assert "hush" not in f"{client!r} {ours}"
    with pytest.raises(TypeError):
        AsyncStream("k", functools.partial(function, "hush-hush-hush"))  # type: ignore[arg-type]
    made = Source(server)
    async with make(server, made) as other:
        await other.get_task(server.add_task(statuses=()))
        server.inject(Fault.status(400, body=f"you sent {made.given[0]}"))
        with pytest.raises(StreamApiException) as refused:
            await other.get_task("t")
    assert refused.value.raw_response_body == "you sent ***"


# The blocking client


@pytest.mark.parametrize("is_async", [False, True])
def test_the_blocking_client_asks(is_async: bool, threaded_server: FakeStream) -> None:
    """Coroutine functions on its own loop, others in a thread of their own; errors come out of the call."""
    made = Source(threaded_server, expired=1)
    with Stream(
        threaded_server.api_key, token=made.later if is_async else made, base_url=threaded_server.url
    ) as client:
        client.wait_for_task(threaded_server.add_task(statuses=["pending"]), 0)
    assert len(made.given) == 2
    assert threading.current_thread() not in made.threads

    def broken() -> str:
        raise Mine("no network")

    with (
        Stream(threaded_server.api_key, token=broken, base_url=threaded_server.url) as client,
        pytest.raises(Mine, match="no network"),
    ):
        client.wait_for_task("t")


def test_a_client_may_ask_on_several_loops(threaded_server: FakeStream) -> None:
    """The token is kept from one to the next."""
    made = Source(threaded_server)
    client = AsyncStream(threaded_server.api_key, token=made.later, base_url=threaded_server.url)
    for _ in range(2):
        asyncio.run(client.get_task(threaded_server.add_task(statuses=())))
    assert len(made.given) == 1


def test_a_secret_beside_a_function_is_refused() -> None:
    """As beside a token."""
    with pytest.raises(ValueError, match="give api_secret or token, not both"):
        AsyncStream("k", "s", token=lambda: "t")
