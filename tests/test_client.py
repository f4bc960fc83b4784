"""The asynchronous client: what it takes, sends, returns and never shows."""

import asyncio
import enum
import inspect
import json
import logging
import pickle
import re
import ssl
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import aiohttp
import jwt
import pytest
from aioresponses import aioresponses
from attrs import field, frozen

import stream_tasks
import stream_tasks.exceptions
import stream_tasks.models
from stream_tasks import (
    AsyncStream,
    Backoff,
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    StartedTask,
    Stream,
    StreamApiException,
    StreamDecodeException,
    StreamException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
    TaskOutcome,
    TaskResult,
)
from stream_tasks.testing import FakeStream, Fault, TaskFailure

KEY = "the-key"
SECRET = "a-secret-of-64-characters-as-long-as-those-that-stream-gives-out"
TOKEN = "a.ready.token"


def make(**arguments: Any) -> AsyncStream:
    return AsyncStream(**{"api_key": KEY, "api_secret": SECRET} | arguments)


def claims(client: AsyncStream) -> Any:
    return jwt.decode(client._headers["Authorization"], options={"verify_signature": False})


# Making one


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"api_key": None}, ValueError, "api_key.*STREAM_API_KEY", id="no key"),
        pytest.param({"api_key": ""}, ValueError, "api_key.*empty.*STREAM_API_KEY", id="an empty key"),
        pytest.param({"api_key": " "}, ValueError, "api_key.*empty", id="a blank key"),
        pytest.param({"api_key": 1}, TypeError, "api_key must be a str, not int", id="a key that is no text"),
        pytest.param(
            {"api_secret": None}, ValueError, "api_secret.*STREAM_API_SECRET.*token", id="no secret"
        ),
        pytest.param(
            {"api_secret": ""}, ValueError, "api_secret.*empty.*STREAM_API_SECRET", id="an empty secret"
        ),
        pytest.param(
            {"api_secret": b"x"}, TypeError, "api_secret must be a str, not bytes", id="a secret of bytes"
        ),
        pytest.param(
            {"api_secret": "a\nb"}, ValueError, "api_secret must be printable ASCII", id="a broken secret"
        ),
        pytest.param({"token": TOKEN}, ValueError, "api_secret or token, not both", id="secret and token"),
        pytest.param({"api_secret": None, "token": ""}, ValueError, "token.*empty", id="an empty token"),
        pytest.param(
            {"api_secret": None, "token": 1}, TypeError, "token must be a str, not int", id="no text token"
        ),
        pytest.param({"base_url": ""}, ValueError, "base_url.*STREAM_BASE_URL.*https://", id="an empty URL"),
        pytest.param(
            {"base_url": "ftp://a"},
            ValueError,
            "base_url.*http.s. URL such as",
            id="a URL that is not http",
        ),
        pytest.param({"base_url": "example.com"}, ValueError, "base_url.*http", id="a URL without a scheme"),
        pytest.param({"base_url": "http://a?b=c"}, ValueError, "base_url.*no query", id="a URL with a query"),
        pytest.param(
            {"base_url": 1}, TypeError, "base_url must be a str, not int", id="a URL that is no text"
        ),
        pytest.param(
            {"request_timeout": 0}, ValueError, "request_timeout.*greater than 0, not 0", id="no time"
        ),
        pytest.param({"request_timeout": -1}, ValueError, "request_timeout.*not -1", id="negative time"),
        pytest.param(
            {"request_timeout": float("nan")}, ValueError, "request_timeout.*not nan", id="not a number"
        ),
        pytest.param({"request_timeout": float("inf")}, ValueError, "request_timeout.*not inf", id="endless"),
        pytest.param(
            {"request_timeout": "5"}, TypeError, "request_timeout.*number.*'5'", id="time as a text"
        ),
        pytest.param({"request_timeout": None}, TypeError, "request_timeout.*None", id="time as None"),
        pytest.param(
            {"connect_timeout": 0}, ValueError, "connect_timeout.*greater than 0, not 0", id="no set-up time"
        ),
        pytest.param(
            {"connect_timeout": True}, TypeError, "connect_timeout.*True", id="set-up time as a bool"
        ),
        pytest.param(
            {"max_connections": 0}, ValueError, "max_connections must be 1 or more, not 0", id="no pool"
        ),
        pytest.param(
            {"max_connections": 1.5}, TypeError, "max_connections must be an int, not float", id="half a pool"
        ),
        pytest.param(
            {"max_connections": True}, TypeError, "max_connections must be an int", id="a pool as a bool"
        ),
        pytest.param(
            {"not_found_grace": -1}, ValueError, "not_found_grace.*0 or more, not -1", id="negative grace"
        ),
        pytest.param({"not_found_grace": "1"}, TypeError, "not_found_grace.*'1'", id="grace as a text"),
        pytest.param(
            {"session": object()},
            (TypeError, ValueError),
            "session must be (an aiohttp.*ClientSession, not obj|None: .* AsyncStream takes one)",
            id="session",
        ),
        pytest.param(
            {"ssl_context": True},
            TypeError,
            "ssl_context must be an ssl.SSLContext, not bool",
            id="no context",
        ),
    ],
)
def test_a_wrong_argument_is_named(kind: type, arguments: dict[str, Any], error: Any, message: str) -> None:
    """A wrong argument is refused when the client is made: the message names it, and what is allowed."""
    with pytest.raises(error, match=f"(?s){message}") as info:
        kind(**{"api_key": KEY, "api_secret": SECRET} | arguments)
    assert SECRET not in str(info.value)


def test_a_misspelt_argument_is_refused() -> None:
    """An argument that there is not is a TypeError, as with any function."""
    with pytest.raises(TypeError, match="timeout_"):
        make(timeout_=1)


def test_the_environment_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, secret, base URL and request time-out come from the environment when they are not given."""
    monkeypatch.setenv("STREAM_API_KEY", "env-key")
    monkeypatch.setenv("STREAM_API_SECRET", SECRET)
    monkeypatch.setenv("STREAM_BASE_URL", "https://env.example/")
    monkeypatch.setenv("STREAM_REQUEST_TIMEOUT", "7.5")
    client = AsyncStream()
    assert repr(client) == "AsyncStream(api_key='env-key', base_url='https://env.example')"
    assert client._connections.request_timeout == 7.5
    jwt.decode(client._headers["Authorization"], SECRET, algorithms=["HS256"])


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given in code wins; a token wins over a secret that happens to be in the environment."""
    for name in ("STREAM_API_KEY", "STREAM_API_SECRET", "STREAM_REQUEST_TIMEOUT", "STREAM_BASE_URL"):
        monkeypatch.setenv(name, "9")
    client = AsyncStream(KEY, token=TOKEN, base_url="https://mine.example", request_timeout=5)
    assert repr(client) == f"AsyncStream(api_key={KEY!r}, base_url='https://mine.example')"
    assert client._headers["Authorization"] == TOKEN
    assert client._connections.request_timeout == 5.0


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing is no value."""
    monkeypatch.setenv("STREAM_BASE_URL", "")
    monkeypatch.setenv("STREAM_REQUEST_TIMEOUT", "")
    monkeypatch.setenv("STREAM_API_KEY", "")
    assert make()._connections.request_timeout == 30.0
    with pytest.raises(ValueError, match="api_key is missing"):
        AsyncStream(api_secret=SECRET)


@pytest.mark.parametrize(("name", "value", "message"), [
    pytest.param("STREAM_REQUEST_TIMEOUT", "soon", "STREAM_REQUEST_TIMEOUT must.*'soon'", id="no number"),
    pytest.param("STREAM_REQUEST_TIMEOUT", "-1", "request_timeout.*-1", id="a negative number"),
    pytest.param("STREAM_BASE_URL", "nowhere", "STREAM_BASE_URL.*must be.*https://", id="no URL"),
])  # fmt: skip
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """A variable that makes no sense is refused as an argument would be."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults() -> None:
    """Without settings, a client talks to Stream as its own SDKs do."""
    client = make()
    limits = client._connections
    assert client._origin == "https://chat.stream-io-api.com"
    assert (limits.request_timeout, limits.connect_timeout, limits.max_connections) == (30.0, 10.0, 100)
    assert limits.ssl_context is not None
    assert (limits.ssl_context.verify_mode, limits.trust_env) == (ssl.CERT_REQUIRED, False)
    assert claims(client)["server"] is True
    assert 4 <= time.time() - claims(client)["iat"] < 10


def test_settings_are_handed_down() -> None:
    """What is set reaches the connections."""
    context = ssl.create_default_context()
    limits = make(
        request_timeout=3, connect_timeout=2, max_connections=5, ssl_context=context, trust_env=True
    )._connections
    assert (limits.request_timeout, limits.connect_timeout, limits.max_connections) == (3.0, 2.0, 5)
    assert limits.ssl_context is context
    assert limits.trust_env


def test_plain_http_beyond_this_machine_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A token that would cross a network unencrypted is worth a warning, on loopback it is not."""
    make(base_url="http://127.0.0.1:1")
    assert not caplog.records
    make(base_url="http://stream.example")
    [record] = caplog.records
    assert (record.levelno, record.stream_event) == (logging.WARNING, "plain_http")  # type: ignore[attr-defined]
    assert "http://stream.example" in record.message


def test_a_client_is_made_without_a_loop() -> None:
    """A client can be a module's global: it needs no event loop before its first call."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert make()._engines == {}


# The official client


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_client_is_made_of_an_official_one(kind: type[AsyncStream]) -> None:
    """Key, token and base URL are taken over; other arguments can be added."""
    official = SimpleNamespace(api_key=KEY, token=TOKEN, base_url="https://their.example/")
    client = kind.from_getstream(official, request_timeout=3)
    assert repr(client) == f"{kind.__name__}(api_key={KEY!r}, base_url='https://their.example')"
    engine = getattr(client, "_client", client)
    assert engine._headers["Authorization"] == TOKEN
    assert engine._connections.request_timeout == 3.0


@pytest.mark.parametrize("missing", ["api_key", "token", "base_url"])
def test_what_is_no_official_client_is_refused(missing: str) -> None:
    """An object that lacks a setting is named as what it is not."""
    official = SimpleNamespace(api_key=KEY, token=TOKEN, base_url="https://a.example")
    setattr(official, missing, None)
    with pytest.raises(TypeError, match=f"must be a getstream client.*'{missing}'"):
        AsyncStream.from_getstream(official)


def test_a_subclass_stays_one() -> None:
    """The class method makes what it is called on."""

    class Mine(AsyncStream):
        pass

    official = SimpleNamespace(api_key=KEY, token=TOKEN, base_url="https://a.example")
    assert repr(Mine.from_getstream(official)).startswith("Mine(")


@pytest.mark.parametrize("name", ["Stream", "AsyncStream"])
@pytest.mark.slow
async def test_a_real_official_client_hands_over(server: FakeStream, name: str) -> None:
    """The settings of a real getstream client open the same server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import getstream

        official = getattr(getstream, name)(server.api_key, server.api_secret, base_url=server.url)
    server.add_task("t")
    async with AsyncStream.from_getstream(official) as client:
        response = await client.get_task("t")
    assert response.data.task_id == "t"
    assert server.requests[-1].headers["Authorization"] == official.token
    await close(official)


async def close(official: Any) -> None:
    ends = official.aclose() if hasattr(official, "aclose") else official.close()
    if inspect.isawaitable(ends):
        await ends


# Secrets


def dump(error: BaseException) -> str:
    """Everything that an error collector with local variables would show."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    seen = [*told.format()]
    # What a chain hides from print is there for a collector.
    queue: list[BaseException | None] = [error.__cause__, error.__context__]
    known = {id(error)}
    while queue:
        further = queue.pop()
        if further is not None and id(further) not in known:
            known.add(id(further))
            queue += [further.__cause__, further.__context__]
            told = traceback.TracebackException.from_exception(further, capture_locals=True)
            seen += told.format(chain=False)
    return "".join([*seen, repr(error), str(error), repr(vars(error))])


def secrets_of(server: FakeStream) -> Iterator[str]:
    yield server.api_secret
    yield SECRET
    yield TOKEN
    for request in server.requests:
        yield request.headers["Authorization"]


def assert_discreet(error: BaseException, *secrets: str) -> None:
    text = dump(error)
    for secret in secrets:
        assert secret not in text


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_no_repr_shows_a_secret(kind: Callable[..., Any]) -> None:
    """The client, and all that it is made of, keeps its secrets to itself."""
    for client in (kind(KEY, SECRET), kind(KEY, token=TOKEN)):
        engine = getattr(client, "_client", client)
        text = repr(client) + str(client) + repr(vars(client)) + repr(vars(engine))
        assert SECRET not in text
        assert str.__str__(engine._headers["Authorization"]) not in text


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_client_is_not_pickled(kind: Callable[..., Any]) -> None:
    """A client would take its token along, and its connections could not follow."""
    with pytest.raises(TypeError, match=r"Stream holds a token and connections, and cannot be pickled"):
        pickle.dumps(kind(KEY, SECRET))


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize(
    ("credentials", "settings"),
    [
        pytest.param({"api_secret": SECRET}, {"base_url": "nowhere"}, id="a bad base URL beside a secret"),
        pytest.param({"token": TOKEN}, {"base_url": "nowhere"}, id="a bad base URL beside a token"),
        pytest.param({"api_secret": SECRET, "token": TOKEN}, {}, id="both"),
        pytest.param({"api_secret": SECRET}, {"api_key": ""}, id="a secret without a key"),
        pytest.param({"api_secret": SECRET + "\n"}, {}, id="a secret with a line's end"),
        pytest.param({"token": TOKEN + "\n"}, {}, id="a token with a line's end"),
        pytest.param({"api_secret": SECRET}, {"request_timeout": -1}, id="a bad time-out"),
    ],
)
def test_a_constructor_that_fails_shows_no_secret(
    kind: Callable[..., Any], credentials: dict[str, str], settings: dict[str, Any]
) -> None:
    """A dump of the variables of all frames of the constructor holds neither secret nor token."""
    error: Exception | None = None
    try:
        kind(**{"api_key": KEY} | credentials | settings)
    except ValueError as exc:
        error = exc
    assert error is not None
    # This frame is the caller's own; it is not the library's to hide what stands in it.
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    assert_discreet(error, SECRET, TOKEN)


@pytest.mark.parametrize(
    ("secret", "settings"),
    [
        pytest.param(SECRET, {}, id="a secret without a key"),
        pytest.param(SECRET, {"api_key": KEY, "base_url": "nowhere"}, id="a bad base URL"),
        pytest.param(SECRET + "\n", {"api_key": KEY}, id="a secret with a line's end"),
        pytest.param(SECRET, {"api_key": KEY, "request_timeout": -1}, id="a bad time-out"),
    ],
)
def test_a_constructor_that_fails_shows_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, secret: str, settings: dict[str, Any]
) -> None:
    """The same holds for a secret that came from the environment."""
    monkeypatch.setenv("STREAM_API_SECRET", secret)
    with pytest.raises(ValueError) as info:  # noqa: PT011 - any of them
        AsyncStream(**settings)
    info.value.__traceback__ = info.tb.tb_next
    assert_discreet(info.value, SECRET)


FAULTS = {
    "a reset": (Fault.reset(), StreamTransportException),
    "a hanging server": (Fault.hang(), StreamTransportException),
    "a cut body": (Fault.cut(), StreamTransportException),
    "a refusal": (Fault.status(401), StreamApiException),
    "a server error": (Fault.status(500), StreamApiException),
    "a body that is not JSON": (Fault.malformed(), StreamDecodeException),
    "a body that is no task": (Fault.body(b'{"task_id": 1}'), StreamDecodeException),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("is_injected", [False, True], ids=["own session", "the caller's session"])
async def test_a_failure_shows_no_secret(
    server: FakeStream, fault: tuple[Fault, type[Exception]], *, is_injected: bool
) -> None:
    """A dump of the variables of all frames of a failed request holds neither secret nor token."""
    server.add_task("t")
    server.inject(fault[0], times=2)
    async with aiohttp.ClientSession() as session:
        client = AsyncStream(
            server.api_key,
            server.api_secret,
            base_url=server.url,
            request_timeout=0.3,
            session=session if is_injected else None,
        )
        async with client:
            with pytest.raises(fault[1]) as info:
                await client.get_task("t")
            assert_discreet(info.value, *secrets_of(server))
            server.inject(fault[0], times=4)
            for call in (client.delete_users(["a"]), client.update_channels_batch("hide", {"cid": "a:b"})):
                with pytest.raises(fault[1]) as info:
                    await call
                assert_discreet(info.value, *secrets_of(server))


async def test_a_refused_connection_shows_no_secret(server: FakeStream, client: AsyncStream) -> None:
    """A server that is gone is told of without a secret."""
    await client.request("GET", "/rate_limits")
    await server.stop()
    with pytest.raises(StreamTransportException) as info:
        await client.get_task("t")
    assert_discreet(info.value, *secrets_of(server))


@pytest.mark.parametrize("fault", [*FAULTS.values(), None], ids=[*FAULTS, "a task that never ends"])
async def test_a_wait_that_fails_shows_no_secret(
    server: FakeStream, client: AsyncStream, fault: tuple[Fault, type[Exception]] | None
) -> None:
    """Neither does a wait, whether it elapses or ends with what the server said."""
    server.add_task("t", never=True)
    if fault is not None:
        server.inject(fault[0], times=float("inf"))
    with pytest.raises(StreamException) as info:
        await client.wait_for_task("t", 0.05, 0.15)
    assert_discreet(info.value, *secrets_of(server))


async def test_a_scope_of_the_caller_shows_no_secret(server: FakeStream, client: AsyncStream) -> None:
    """The caller's own time-out passes untouched; the token is in none of the frames that it went through."""
    server.inject(Fault.hang(), times=2)
    with pytest.raises(TimeoutError) as info:
        async with asyncio.timeout(0.1):
            await client.get_task("t")
    assert not isinstance(info.value, StreamException)
    assert_discreet(info.value, *secrets_of(server))


async def test_no_log_line_shows_a_secret(
    server: FakeStream, client: AsyncStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, the log does not tell the token."""
    caplog.set_level(logging.DEBUG, "stream_tasks")
    server.add_task("t", statuses=["odd"], after=0.2)
    server.inject(Fault.reset(), times=2)
    await client.wait_for_task("t", 0.05, 5)
    assert caplog.records
    text = "".join(f"{record.getMessage()}{vars(record)}" for record in caplog.records)
    for secret in secrets_of(server):
        assert secret not in text


# Looking and asking


async def test_a_look_at_a_task(server: FakeStream, client: AsyncStream) -> None:
    """One look returns the snapshot, the status, the headers and the quota."""
    server.limit("GetTask", 60)
    server.add_task("t", statuses=["waiting"])
    response = await client.get_task("t")
    assert (response.status_code, response.data.status, response.data.is_final) == (200, "waiting", False)
    assert response.data.created_at.tzinfo is UTC
    assert abs((datetime.now(UTC) - response.data.created_at).total_seconds()) < 10
    assert response.headers["x-ratelimit-limit"] == "60"
    assert response.rate_limit is not None
    assert (response.rate_limit.limit, response.rate_limit.remaining) == (60, 59)
    assert len(server.requests) == 1


async def test_a_look_at_a_task_that_is_not_there(client: AsyncStream) -> None:
    """A look at nothing is told at once, with all that the server said."""
    with pytest.raises(
        StreamApiException, match="HTTP 404, code 16: Can't find task with id nothing"
    ) as info:
        await client.get_task("nothing")
    error = pickle.loads(pickle.dumps(info.value))
    assert (error.status_code, error.code, error.unrecoverable) == (404, 16, False)


async def test_a_wrong_secret_is_refused(server: FakeStream) -> None:
    """The server's refusal of a token reaches the caller."""
    async with AsyncStream(server.api_key, SECRET, base_url=server.url) as client:
        with pytest.raises(StreamApiException) as info:
            await client.get_task("t")
    assert info.value.status_code == 401


AWKWARD = {
    "a/b": "a%2Fb",
    "%2e%2e": "%252e%252e",
    "ü": "%C3%BC",
    "a?b#c": "a%3Fb%23c",
    "a b+c": "a%20b%2Bc",
    "...": "...",
    "a:b@c;d=e&f": "a%3Ab%40c%3Bd%3De%26f",
}


@pytest.mark.parametrize(("task_id", "segment"), AWKWARD.items())
async def test_an_id_is_one_segment_of_the_path(
    server: FakeStream, client: AsyncStream, task_id: str, segment: str
) -> None:
    """Whatever an id holds, it stays one encoded segment, and the server finds its task."""
    server.add_task(task_id, statuses=[])
    assert (await client.get_task(task_id)).data.task_id == task_id
    assert (await client.wait_for_task(task_id)).data.task_id == task_id
    assert {request.path for request in server.requests} == {f"/api/v2/tasks/{segment}"}
    assert {tuple(request.query) for request in server.requests} == {("api_key",)}


@pytest.mark.parametrize(
    ("task_id", "error"),
    [
        pytest.param("", ValueError, id="an empty id"),
        pytest.param(".", ValueError, id="a dot"),
        pytest.param("..", ValueError, id="two dots"),
        pytest.param("\ud800", ValueError, id="no Unicode text"),
        pytest.param(None, TypeError, id="None"),
        pytest.param(1, TypeError, id="a number"),
        pytest.param(b"t", TypeError, id="bytes"),
    ],
)
async def test_an_id_that_can_be_none(
    server: FakeStream, client: AsyncStream, task_id: Any, error: type[Exception]
) -> None:
    """An id that no task can have is refused before any request."""
    with pytest.raises(error, match="task"):
        await client.get_task(task_id)
    with pytest.raises(error, match="task"):
        await client.wait_for_task(task_id)
    with pytest.raises(error, match="task"):
        client.watch_task(task_id)
    if task_id != "" and error is ValueError:
        with pytest.raises(error, match="task"):
            await client.wait_for_task(StartedTask(task_id, {}, TaskResult))
    assert not server.requests


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"poll_interval": -1}, ValueError, "poll_interval.*-1", id="a negative interval"),
        pytest.param({"poll_interval": float("nan")}, ValueError, "poll_interval.*nan", id="no number"),
        pytest.param(
            {"poll_interval": float("inf")}, ValueError, "poll_interval.*inf", id="an endless interval"
        ),
        pytest.param({"poll_interval": "1"}, TypeError, "poll_interval.*'1'", id="an interval as a text"),
        pytest.param({"poll_interval": None}, TypeError, "poll_interval.*None", id="an interval of None"),
        pytest.param({"timeout": -1}, ValueError, "timeout.*-1", id="a negative time-out"),
        pytest.param({"timeout": float("inf")}, ValueError, "timeout.*inf", id="an endless time-out"),
        pytest.param({"timeout": "60"}, TypeError, "timeout.*'60'", id="a time-out as a text"),
    ],
)
async def test_times_that_make_no_sense(
    server: FakeStream, client: AsyncStream, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Intervals and time-outs are checked before any request."""
    with pytest.raises(error, match=message):
        await client.wait_for_task("t", **arguments)
    with pytest.raises(error, match=message):
        client.watch_task("t", **arguments)
    assert not server.requests


async def test_any_endpoint_can_be_called(server: FakeStream, client: AsyncStream) -> None:
    """A request reaches any path, with parameters, and returns the body as a dict."""
    response = await client.request(
        "get", "/rate_limits", params={"server_side": True, "endpoints": "GetTask", "none": None}
    )
    request = server.requests[-1]
    assert (request.method, request.path, request.json) == ("GET", "/api/v2/rate_limits", None)
    assert request.query == {"server_side": "true", "endpoints": "GetTask", "api_key": server.api_key}
    assert response.status_code == 200
    assert response.data["server_side"] == {}


async def test_a_full_path_stays_as_it_is(server: FakeStream, client: AsyncStream) -> None:
    """A path that names its API is not put under another."""
    with pytest.raises(StreamApiException):
        await client.request("DELETE", "/api/v1/app", json={"a": [1, "ü", None]})
    request = server.requests[-1]
    assert (request.method, request.path, request.json) == ("DELETE", "/api/v1/app", {"a": [1, "ü", None]})


async def test_an_answer_without_a_body(server: FakeStream, client: AsyncStream) -> None:
    """No body is no data."""
    server.inject(Fault.body(b""))
    assert (await client.request("DELETE", "/things/1")).data == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"[1]", r"expected an object, not list at \$", id="a list"),
        pytest.param(b"null", r"expected an object, not NoneType at \$", id="null"),
        pytest.param(b"<html>", "not JSON", id="a page"),
    ],
)
async def test_an_answer_that_is_no_object(
    server: FakeStream, client: AsyncStream, body: bytes, message: str
) -> None:
    """A good answer that is no JSON object is told of as such."""
    server.inject(Fault.body(body))
    with pytest.raises(StreamDecodeException, match=message):
        await client.request("GET", "/things")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"method": "BREW"}, ValueError, "method must be one of GET, .*'BREW'", id="no method"),
        pytest.param(
            {"method": 1}, TypeError, "method must be a str, not int", id="a method that is no text"
        ),
        pytest.param({"path": "things"}, ValueError, "path must start with one /", id="a relative path"),
        pytest.param(
            {"path": "/a/../b"}, ValueError, r"path must not hold \. or \.\.", id="a path that climbs"
        ),
        pytest.param({"path": None}, TypeError, "path must be a str", id="no path"),
        pytest.param({"json": [1]}, TypeError, "json must be a mapping, not list", id="a list for a body"),
        pytest.param({"json": {"a": object()}}, TypeError, "object is not JSON", id="a body that is no JSON"),
        pytest.param(
            {"params": "a=b"}, TypeError, "params must be a mapping, not str", id="a text for parameters"
        ),
    ],
)
async def test_a_request_that_makes_no_sense(
    server: FakeStream, client: AsyncStream, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Method, path, body and parameters are checked before anything is sent."""
    given = {"method": "POST", "path": "/things"} | arguments
    with pytest.raises(error, match=message):
        await client.request(**given)
    with pytest.raises(error, match=message):
        await client.start_task(**given)
    assert not server.requests


# Operations


@frozen
class Case:
    start: Callable[[Any], Any]
    method: str
    path: str
    sent: dict[str, Any] | None
    kind: type[Any]
    look: Callable[[Any], Any] = len
    expected: Any = 0
    query: dict[str, str] = field(factory=dict)


def failing(result: Any) -> Any:
    return {name: item.error for name, item in result.failed.items()}


OPERATIONS = {
    "delete_channels": Case(
        lambda c: c.delete_channels(["a:1", "a:bad"], hard_delete=True),
        "POST",
        "/chat/channels/delete",
        {"cids": ["a:1", "a:bad"], "hard_delete": True},
        DeleteChannelsResult,
        failing,
        {"a:bad": "broken"},
    ),
    "export_channels": Case(
        lambda c: c.export_channels(
            [{"type": "messaging", "id": "g", "messages_since": datetime(2024, 1, 2, tzinfo=UTC)}],
            format="csv",
            version="v2",
        ),
        "POST",
        "/chat/export_channels",
        {
            "channels": [{"type": "messaging", "id": "g", "messages_since": "2024-01-02T00:00:00+00:00"}],
            "format": "csv",
            "version": "v2",
        },
        ExportChannelsResult,
        lambda result: result.url.split("?")[0].rpartition("/")[2],
        "channels.json",
    ),
    "update_channels_batch": Case(
        lambda c: c.update_channels_batch("addMembers", {"cid": ["a:1", "a:bad"]}, members=["u"]),
        "PUT",
        "/chat/channels/batch",
        {"operation": "addMembers", "filter": {"cid": ["a:1", "a:bad"]}, "members": [{"user_id": "u"}]},
        ChannelBatchResult,
        lambda result: [(failure.reason, failure.cids) for failure in result.failed],
        [("broken", ["a:bad"])],
    ),
    "delete_users": Case(
        lambda c: c.delete_users(("u1", "bad"), user="pruning", messages="pruning", files=True),
        "POST",
        "/users/delete",
        {"user_ids": ["u1", "bad"], "user": "pruning", "messages": "pruning", "files": True},
        DeleteUsersResult,
        failing,
        {"bad": "broken"},
    ),
    "deactivate_users": Case(
        lambda c: c.deactivate_users(["u1"], created_by_id="me", mark_messages_deleted=False),
        "POST",
        "/users/deactivate",
        {"user_ids": ["u1"], "created_by_id": "me", "mark_messages_deleted": False},
        DeactivateUsersResult,
        lambda result: [user["id"] for user in result.users],
        ["u1"],
    ),
    "reactivate_users": Case(
        lambda c: c.reactivate_users(["u1"], restore_channels=True),
        "POST",
        "/users/reactivate",
        {"user_ids": ["u1"], "restore_channels": True},
        TaskResult,
    ),
    "export_users": Case(
        lambda c: c.export_users(user for user in ["u1"]),
        "POST",
        "/export/users",
        {"user_ids": ["u1"]},
        ExportUsersResult,
        lambda result: result.url.split("?")[0].rpartition("/")[2],
        "users.json",
    ),
    "import_block_list": Case(
        lambda c: c.import_block_list("a/b", ["word"], chunk_size=10),
        "POST",
        "/blocklists/a%2Fb/import",
        {"items": ["word"], "chunk_size": 10},
        TaskResult,
    ),
    "delete_call": Case(
        lambda c: c.delete_call("default", "bad", hard=True),
        "POST",
        "/video/call/default/bad/delete",
        {"hard": True},
        DeleteCallResult,
        failing,
        {"default:bad": "broken"},
    ),
    "delete_feed": Case(
        lambda c: c.delete_feed("user", "ü", hard_delete=True),
        "DELETE",
        "/feeds/feed_groups/user/feeds/%C3%BC",
        None,
        TaskResult,
        query={"hard_delete": "true"},
    ),
    "delete_feeds_batch": Case(
        lambda c: c.delete_feeds_batch(["user:1"], hard_delete=False),
        "POST",
        "/feeds/feeds/delete",
        {"feeds": ["user:1"], "hard_delete": False},
        TaskResult,
    ),
    "delete_feed_user_data": Case(
        lambda c: c.delete_feed_user_data("u1"), "POST", "/feeds/users/u1/delete", {}, TaskResult
    ),
    "export_feed_user_data": Case(
        lambda c: c.export_feed_user_data("u1"), "POST", "/feeds/users/u1/export", None, TaskResult
    ),
    "bulk_image_moderation": Case(
        lambda c: c.bulk_image_moderation("https://a.example/images.csv"),
        "POST",
        "/moderation/bulk_image_moderation",
        {"csv_file": "https://a.example/images.csv"},
        TaskResult,
    ),
    "check_moderation": Case(
        lambda c: c.check_moderation("chat", "m", "amy", moderation_payload={"texts": ["drat"]}),
        "POST",
        "/moderation/check",
        {
            "entity_type": "chat",
            "entity_id": "m",
            "entity_creator_id": "amy",
            "moderation_payload": {"texts": ["drat"]},
        },
        TaskResult,
    ),
}


@pytest.mark.parametrize(("name", "case"), OPERATIONS.items(), ids=OPERATIONS)
async def test_an_operation_is_started_and_waited_for(
    server: FakeStream, client: AsyncStream, name: str, case: Case
) -> None:
    """An operation sends what it should, and waiting for it returns its typed result, failed items named."""
    server.fail_items("a:bad", "bad", "default:bad", error="broken")
    server.script_operation(name, statuses=["running"])
    started = await case.start(client)
    request = server.requests[-1]
    assert (request.method, request.path, request.json) == (case.method, f"/api/v2{case.path}", case.sent)
    assert request.query == {"api_key": server.api_key} | case.query
    assert isinstance(started, StartedTask)
    assert started.task_id == started.data["task_id"]
    assert started.result_type is case.kind
    result = await client.wait_for_task(started, 0)
    assert type(result) is case.kind
    assert case.look(result) == case.expected
    assert len(server.polls(started.data["task_id"])) == 2


def test_every_operation_has_a_case() -> None:
    """None lacks a method, and none a test; those that start no task have theirs in test_endpoints.py."""
    from stream_tasks._operations import OPERATIONS as KNOWN

    assert set(OPERATIONS) == {name for name, each in KNOWN.items() if each.find_endpoint is None}
    assert all(inspect.iscoroutinefunction(getattr(AsyncStream, name)) for name in KNOWN)


async def test_an_operation_with_wrong_arguments_sends_nothing(
    server: FakeStream, client: AsyncStream
) -> None:
    """What the API would refuse is refused before it is sent."""
    with pytest.raises(ValueError, match="user_ids must hold 1 to 25 items, not 26"):
        await client.export_users(map(str, range(26)))
    with pytest.raises(TypeError, match="user_ids must be a list"):
        await client.delete_users("one")
    assert not server.requests


def test_the_methods_of_operations_look_like_methods() -> None:
    """Signatures, names and documentation of the operations are those of real methods."""
    method = AsyncStream.export_users
    assert (method.__name__, method.__doc__ is not None) == ("export_users", True)
    assert str(inspect.signature(method)) in (
        "(self, user_ids: 'Iterable[str | UUID]') -> 'StartedTask[ExportUsersResult]'",
        "(self, user_ids: Iterable[str | UUID]) -> StartedTask[ExportUsersResult]",
    )


async def test_work_that_was_done_at_once_is_not_waited_for(server: FakeStream, client: AsyncStream) -> None:
    """A start that names no task has its result already: waiting for it asks the server nothing."""
    server.fail_items("a:bad", error="broken")
    started = await client.delete_channels(["a:1", "a:bad"])
    assert started.task_id is None
    asked = len(server.requests)
    result = await client.wait_for_task(started)
    assert failing(result) == {"a:bad": "broken"}
    assert await client.wait_for_task(started, result_type=dict) == {
        "a:1": {"status": "ok"},
        "a:bad": {"status": "error", "error": "broken"},
    }
    assert [task async for task in client.watch_task(started)] == []
    assert len(server.requests) == asked


async def test_work_that_was_done_at_once_without_a_result(server: FakeStream, client: AsyncStream) -> None:
    """A start that names neither task nor result has an empty one."""
    started = await client.delete_call("default", "c")
    assert (started.task_id, started.result) == (None, DeleteCallResult(None))
    assert (await client.wait_for_task(started)).failed == {}
    assert await client.wait_for_task(started, result_type=dict) == {}


async def test_work_that_was_done_at_once_is_not_made_up(server: FakeStream, client: AsyncStream) -> None:
    """What the server did not say is not known: no count, and no items."""
    server.inject(Fault.body(b'{"duration": "1ms"}'), times=2)
    updated = await client.update_channels_batch("hide", {"type": "messaging"})
    assert (await client.wait_for_task(updated)).success_channels_count is None
    deleted = await client.delete_channels(["a:1"])
    assert (await client.wait_for_task(deleted)).items is None


async def test_a_result_without_a_task_says_so(server: FakeStream, client: AsyncStream) -> None:
    """A plain result of work that was done at once has no task to show."""
    server.inject(Fault.body(b'{"result": {"a": 1}}'))
    started = await client.start_task("POST", "/things", may_finish_at_once=True)
    result = await client.wait_for_task(started)
    assert result == {"a": 1}
    with pytest.raises(AttributeError, match="at once"):
        _ = result.task


async def test_a_start_that_names_no_task_though_it_must(server: FakeStream, client: AsyncStream) -> None:
    """An operation that always makes a task is not believed to have made none."""
    server.inject(Fault.body(b"{}"))
    with pytest.raises(StreamDecodeException, match=r"'task_id' is missing at \$\.task_id"):
        await client.export_users(["u"])


async def test_a_start_that_names_a_task_by_a_number(server: FakeStream, client: AsyncStream) -> None:
    """A task's id is a text."""
    server.inject(Fault.body(b'{"task_id": 7}'))
    with pytest.raises(StreamDecodeException, match=r"must be a str, not int at \$\.task_id"):
        await client.export_users(["u"])


async def test_an_operation_without_a_method_can_be_started(server: FakeStream, client: AsyncStream) -> None:
    """Any path can start a task, and its result be of any type."""
    server.script_operation("export_users", statuses=[], result={"url": "u", "size": 3})
    started = await client.start_task(
        "POST", "/export/users", json={"user_ids": ["a"]}, params={"q": [1, 2]}, result_type=ExportUsersResult
    )
    assert server.requests[-1].query["q"] == "1,2"
    result = await client.wait_for_task(started)
    assert (result.url, result.extra) == ("u", {"size": 3})


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        pytest.param({"membership_deletion_task_id": "t"}, "membership_deletion_task_id", id="another name"),
        pytest.param({"run": {"task_id": "t"}}, "run.task_id", id="inside an object"),
        pytest.param({"task_id": "other", "a": {"b": {"c": "t"}}}, "a.b.c", id="deep inside"),
    ],
)
async def test_a_task_s_id_may_be_elsewhere(
    server: FakeStream, client: AsyncStream, answer: dict[str, Any], place: str
) -> None:
    """The caller says where, and the task is waited for like any other."""
    server.add_task("t", statuses=[], result={"a": 1})
    server.inject(Fault.body(json.dumps(answer).encode()))
    started = await client.start_task("POST", "/users", task_id_at=place)
    assert (started.task_id, started.data, started.operation, started.items) == ("t", answer, None, ())
    assert await client.wait_for_task(started) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "given", "message"),
    [
        pytest.param(
            {"users": {"amy": {}}, "duration": "1ms", "membership_deletion_task_id": "t"},
            {},
            "keys membership_deletion_task_id, users, duration: .*'task_id' is missing at \\$.task_id",
            id="an id by another name",
        ),
        pytest.param(
            {"duration": "1ms", "run": {"id": "r", "task_id": "t"}},
            {},
            "keys run.task_id, duration, run: .*'task_id' is missing",
            id="an id inside an object",
        ),
        pytest.param(
            {"import_task": {"id": "i"}}, {}, "keys import_task: .*'task_id' is missing", id="no id at all"
        ),
        pytest.param({}, {}, "keys none: .*'task_id' is missing", id="nothing"),
        pytest.param({"task_id": None}, {}, "keys task_id: .*'task_id' is missing", id="null for the id"),
        pytest.param(
            {"task_id": "t"},
            {"task_id_at": "run.task_id"},
            "keys task_id: .*'run.task_id' is missing at \\$.run.task_id",
            id="an id elsewhere than the caller says",
        ),
        pytest.param(
            {"run": "x"}, {"task_id_at": "run.task_id"}, "'run.task_id' is missing", id="a text in the way"
        ),
    ],
)
async def test_an_answer_that_names_no_task_is_no_success(
    server: FakeStream, client: AsyncStream, answer: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    """The error shows the keys that came, those that may be meant first, and what to do."""
    server.inject(Fault.body(json.dumps(answer).encode()))
    with pytest.raises(StreamDecodeException, match=message) as caught:
        await client.start_task("POST", "/users", **given)
    assert "name its place with task_id_at, or give may_finish_at_once" in str(caught.value)


async def test_many_keys_leave_the_error_its_end(server: FakeStream, client: AsyncStream) -> None:
    """However much an answer holds, the error says what is missing."""
    answer = {f"key-{number}": {"\x1b[31m": 1} for number in range(1000)}
    server.inject(Fault.body(json.dumps(answer).encode()))
    with pytest.raises(StreamDecodeException, match=r"key-0, key-1, .*…: .*'task_id' is missing at"):
        await client.start_task("POST", "/things")


async def test_a_started_task_goes_on_in_another_program(server: FakeStream, client: AsyncStream) -> None:
    """What was started is kept as JSON, with its operation, its items and its type."""
    server.script_operation("export_users", statuses=["running"])
    kept = (await client.export_users(["amy", "bob"])).to_json()
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as another:
        started = StartedTask.from_json(kept)
        assert (started.operation, started.items) == ("export_users", ("amy", "bob"))
        assert (await another.wait_for_task(started, 0.05)).url
        outcomes = await another.wait_for_tasks([started])
    outcome = outcomes[str(started.task_id)]
    assert (outcome.operation, outcome.items) == ("export_users", ("amy", "bob"))
    assert isinstance(outcome.result(), ExportUsersResult)


# Bare ids of a known operation or type


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda _: {"operation": "export_users"}, id="an operation's name"),
        pytest.param(lambda c: {"operation": c.export_users}, id="a method of the client"),
        pytest.param(lambda _: {"operation": Operation.EXPORT}, id="a name of an enum"),
        pytest.param(lambda _: {"result_type": ExportUsersResult}, id="a type"),
        pytest.param(
            lambda c: {"operation": c.delete_users, "result_type": ExportUsersResult}, id="a type goes first"
        ),
    ],
)
async def test_bare_ids_get_typed_results(
    server: FakeStream, client: AsyncStream, given: Callable[[AsyncStream], Any]
) -> None:
    """What is known of bare ids types their results in each kind of wait."""
    server.add_task("t", statuses=["running"], result={"url": "u"})
    options = given(client)
    assert await client.wait_for_task("t", 0, **options) == ExportUsersResult("u")
    outcomes = await client.wait_for_tasks(["t"], **options)
    assert outcomes["t"].result() == ExportUsersResult("u")
    assert [o.result() async for o in client.as_completed(["t"], **options)] == [ExportUsersResult("u")]
    server.add_task("w", statuses=["running"], result={"url": "u"})
    snapshots = [task async for task in client.watch_task("w", 0, **options)]
    assert [task.result for task in snapshots] == [None, ExportUsersResult("u")]
    name = getattr(options.get("operation"), "__name__", options.get("operation"))
    assert outcomes["t"].operation == name
    assert outcomes["t"].items == ()


async def test_an_operation_types_bare_ids_only(server: FakeStream, client: AsyncStream) -> None:
    """A started task knows its own; a result type is meant for all."""
    server.script_operation("export_users", statuses=[])
    server.add_task("t", statuses=[], result={"amy": {"status": "ok"}})
    started = await client.export_users(["amy"])
    at_once = await client.delete_channels(["a:b"])
    tasks: list[str | StartedTask[Any]] = ["t", started, at_once]
    outcomes = list((await client.wait_for_tasks(tasks, operation="delete_users")).values())
    assert [type(outcome.result()) for outcome in outcomes] == [
        DeleteUsersResult, ExportUsersResult, DeleteChannelsResult
    ]  # fmt: skip
    assert [outcome.operation for outcome in outcomes] == ["delete_users", "export_users", "delete_channels"]
    assert [outcome.items for outcome in outcomes] == [(), ("amy",), ("a:b",)]
    outcomes = list((await client.wait_for_tasks(tasks, result_type=dict)).values())
    assert [type(outcome.result()) for outcome in outcomes] == [dict, dict, dict]


async def test_a_result_that_does_not_fit_ends_a_typed_watch(server: FakeStream, client: AsyncStream) -> None:
    """The final snapshot cannot be given, and the error says why; a failed task has no result to decode."""
    server.add_task("t", statuses=[], result={"path": 1})
    with pytest.raises(StreamDecodeException, match=r"'url' is missing at \$.result"):
        _ = [task async for task in client.watch_task("t", operation="export_users")]
    server.add_task("bad", statuses=[], error=TaskFailure("Kind"))
    [failed] = [task async for task in client.watch_task("bad", operation="export_users")]
    assert (failed.is_failed, failed.result) == (True, None)


async def test_an_at_once_result_that_does_not_fit_is_an_outcome(client: AsyncStream) -> None:
    """Nothing about one of many is raised."""
    started = await client.delete_channels(["a:b"])
    outcomes = await client.wait_for_tasks([started], result_type=ExportUsersResult)
    assert isinstance(outcomes["#1"].exception(), StreamDecodeException)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        pytest.param(
            {"operation": "deleteUsers"}, ValueError, "operation must be one of .*'deleteUsers'", id="a word"
        ),
        pytest.param(
            {"operation": len}, ValueError, "operation must be one of .*, not 'len'", id="a function"
        ),
        pytest.param(
            {"operation": 5}, TypeError, "operation must be a str or a method .*, not int", id="a number"
        ),
        pytest.param({"result_type": 5}, TypeError, "result_type must be a class, not 5", id="no class"),
    ],
)
async def test_an_operation_that_is_unknown_is_refused_before_any_request(
    server: FakeStream, client: AsyncStream, given: Any, error: type[Exception], message: str
) -> None:
    """Each kind of wait checks it first."""
    with pytest.raises(error, match=message):
        await client.wait_for_task("t", **given)
    with pytest.raises(error, match=message):
        await client.wait_for_tasks(["t"], **given)
    with pytest.raises(error, match=message):
        client.as_completed(["t"], **given)
    with pytest.raises(error, match=message):
        client.watch_task("t", **given)
    assert not server.requests


class Operation(str, enum.Enum):  # noqa: UP042 - the kind that shows its name
    """Texts that show themselves otherwise."""

    EXPORT = "export_users"
    JOB = "job"


@pytest.mark.parametrize("job", [Operation.JOB, uuid.UUID(int=5)], ids=["an enum's member", "a UUID"])
async def test_an_id_is_taken_by_its_value(server: FakeStream, client: AsyncStream, job: Any) -> None:
    """Whatever stands for an id is that id everywhere, and once among many."""
    task_id = job.value if isinstance(job, Operation) else str(job)
    server.add_task(task_id, statuses=[], result={"a": 1})
    assert (await client.get_task(job)).data.task_id == task_id
    assert await client.wait_for_task(job) == {"a": 1}
    outcomes = await client.wait_for_tasks([job, task_id])
    assert list(outcomes) == [task_id]
    assert type(next(iter(outcomes))) is str
    assert [outcome.task_id async for outcome in client.as_completed([job])] == [task_id]
    assert [task.task_id async for task in client.watch_task(job)] == [task_id]
    assert await client.wait_for_task(StartedTask(job, {}, TaskResult)) == {"a": 1}
    assert {request.path for request in server.requests} == {f"/api/v2/tasks/{task_id}"}


async def test_credentials_are_taken_by_their_value(server: FakeStream) -> None:
    """Settings that are members of an enum are the texts that they stand for."""

    class Settings(str, enum.Enum):  # noqa: UP042 - as above
        KEY = server.api_key
        SECRET = server.api_secret
        URL = server.url

    async with AsyncStream(Settings.KEY, Settings.SECRET, base_url=Settings.URL) as client:
        assert (await client.request("GET", "/rate_limits")).status_code == 200
        token = str(client._headers["Authorization"])
        assert "Settings" not in repr(client)
    async with AsyncStream(Settings.KEY, token=token, base_url=Settings.URL) as client:
        assert (await client.request("GET", "/rate_limits")).status_code == 200


# Results


@frozen
class Mine:
    url: str
    size: int = 0


async def test_a_plain_result_is_the_payload(server: FakeStream, client: AsyncStream) -> None:
    """Without a type, a wait returns the payload, which remembers its task."""
    server.add_task("t", statuses=[], result={"a": {"b": [1]}})
    result = await client.wait_for_task("t")
    assert result == {"a": {"b": [1]}}
    assert isinstance(result, TaskResult)
    assert (result.task.task_id, result.data.status) == ("t", "completed")


async def test_a_task_without_a_result(server: FakeStream, client: AsyncStream) -> None:
    """A completed task without a payload has an empty one."""
    server.add_task("t", statuses=[])
    assert await client.wait_for_task("t") == {}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(Mine, Mine("u", 3), id="an attrs class of the caller"),
        pytest.param(dict, {"url": "u", "size": 3, "more": None}, id="a dict"),
        pytest.param(TaskResult, {"url": "u", "size": 3, "more": None}, id="a TaskResult"),
        pytest.param(
            ExportUsersResult, ExportUsersResult("u", {"size": 3, "more": None}), id="a class of this library"
        ),
    ],
)
async def test_a_result_is_of_the_type_asked_for(
    server: FakeStream, client: AsyncStream, kind: type[Any], expected: Any
) -> None:
    """The caller says what the payload is decoded to, also over what the task was started with."""
    server.add_task("t", statuses=[], result={"url": "u", "size": 3, "more": None})
    for task in ("t", StartedTask("t", {}, DeleteUsersResult)):
        result = await client.wait_for_task(task, result_type=kind)
        assert type(result) is kind
        assert result == expected


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        pytest.param({"url": 1}, r"expected str, not int at \$\.result\.url", id="a wrong type"),
        pytest.param({}, r"required key 'url' is missing at \$\.result", id="a missing key"),
        pytest.param(
            {"url": "u", "size": "3"}, r"expected int, not str at \$\.result\.size", id="a number as text"
        ),
    ],
)
async def test_a_result_that_does_not_fit(
    server: FakeStream, client: AsyncStream, payload: dict[str, Any], where: str
) -> None:
    """A payload of another shape is told of with the place."""
    server.add_task("t", statuses=[], result=payload)
    with pytest.raises(StreamDecodeException, match=where):
        await client.wait_for_task("t", result_type=Mine)


async def test_items_that_do_not_fit(server: FakeStream, client: AsyncStream) -> None:
    """So is one item of many."""
    server.script_operation("delete_users", statuses=[], result={"u1": {"status": "ok"}, "u2": {"status": 5}})
    with pytest.raises(StreamDecodeException, match=r"expected str, not int at \$\.result.*u2"):
        await client.wait_for_task(await client.delete_users(["u1", "u2"]))


async def test_a_failed_task_is_raised_whatever_was_asked_for(
    server: FakeStream, client: AsyncStream
) -> None:
    """The failure of a task comes before the type of its result."""
    server.add_task("t", statuses=[], error=TaskFailure("Kind", "words"))
    with pytest.raises(StreamTaskException, match=r"task t failed \(Kind\): words"):
        await client.wait_for_task("t", result_type=Mine)


# Waiting and watching; the rules themselves are tested where they are


async def test_a_wait_takes_a_backoff_by_position(server: FakeStream, client: AsyncStream) -> None:
    """Interval and time-out go by position or by name, and the interval may be a Backoff."""
    server.add_task("t", statuses=["running"])
    assert await client.wait_for_task("t", Backoff(0, 0), 5) == {}
    assert len(server.polls("t")) == 2


@pytest.mark.parametrize("is_async", [False, True], ids=["a function", "a coroutine function"])
async def test_updates_are_told(server: FakeStream, client: AsyncStream, *, is_async: bool) -> None:
    """Each new snapshot is told once, the final one last, by a function of either kind."""
    server.add_task("t", statuses=["pending", "pending", "running"])
    seen: list[str] = []

    def note(task: Task) -> None:
        seen.append(task.status)

    async def note_later(task: Task) -> None:
        await asyncio.sleep(0)
        note(task)

    await client.wait_for_task("t", 0, on_update=note_later if is_async else note)
    assert seen == ["pending", "running", "completed"]


async def test_an_error_of_the_callback_reaches_the_caller(server: FakeStream, client: AsyncStream) -> None:
    """What `on_update` raises ends the wait, and is raised as it is."""
    server.add_task("t", never=True)

    def fail(_: Task) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await client.wait_for_task("t", 0, on_update=fail)


async def test_a_task_is_watched(server: FakeStream, client: AsyncStream) -> None:
    """Each new snapshot is yielded once; a failed task is yielded like any other."""
    server.add_task("t", statuses=["pending", "pending", "running"], error=TaskFailure("Kind"))
    assert [task.status async for task in client.watch_task("t", 0)] == ["pending", "running", "failed"]


async def test_a_watch_times_out(server: FakeStream, client: AsyncStream) -> None:
    """A watch of a task that never ends elapses as a wait does."""
    server.add_task("t", never=True)
    with pytest.raises(StreamWaitTimeoutException, match="task t"):
        [task async for task in client.watch_task("t", 0.05, 0.15)]


async def test_two_waits_share_their_looks(server: FakeStream, client: AsyncStream) -> None:
    """Waits for one task cost no more than the most eager of them."""
    server.add_task("t", statuses=["running"] * 2)
    results = await asyncio.gather(*(client.wait_for_task("t", 0) for _ in range(5)))
    assert results == [{}] * 5
    assert len(server.polls("t")) == 3


# Many tasks; the rules of racing are tested where they are


@pytest.mark.parametrize("is_async", [False, True], ids=["a function", "a coroutine function"])
async def test_many_tasks_have_an_outcome_each(
    server: FakeStream, client: AsyncStream, *, is_async: bool
) -> None:
    """Every task has its outcome, in the order given, duplicates once; nothing is raised."""
    server.add_task("good", statuses=["running"], result={"url": "u"})
    server.add_task("bad", statuses=[], error=TaskFailure("Kind"))
    server.add_task("odd", statuses=[], result={})
    server.add_task("never", never=True)
    at_once = await client.delete_channels(["a:1"])
    told: list[str | None] = []

    async def note_later(outcome: TaskOutcome[Any]) -> None:
        told.append(outcome.task_id)

    odd = StartedTask("odd", {}, ExportUsersResult)
    tasks: list[str | StartedTask[Any]] = ["good", at_once, "bad", odd, "never", "good", "odd"]
    outcomes = await client.wait_for_tasks(
        tasks,
        0.05,
        2,
        on_outcome=note_later if is_async else lambda outcome: told.append(outcome.task_id),
    )
    assert list(outcomes) == ["good", "#2", "bad", "odd", "never"]
    assert outcomes["good"].result() == {"url": "u"}
    assert outcomes["#2"].result() == at_once.result
    errors = [type(outcome.exception()) for outcome in outcomes.values() if not outcome.ok]
    assert errors == [StreamTaskException, StreamDecodeException, StreamWaitTimeoutException]
    assert list(await client.wait_for_tasks(["bad"])) == ["bad"]
    assert sorted(told, key=str) == [None, "bad", "good", "never", "odd"]


@pytest.mark.parametrize("is_async", [False, True], ids=["an iterable", "an async iterable"])
async def test_many_tasks_are_raced(server: FakeStream, client: AsyncStream, *, is_async: bool) -> None:
    """Outcomes come in the order in which tasks end; no more tasks are pulled than may be waited for."""
    for name, looks in (("slow", 5), ("fast", 1), ("last", 0)):
        server.add_task(name, statuses=["running"] * looks)
    at_once = await client.delete_channels(["a:1"])
    tasks = ["slow", "fast", at_once, "last"]

    async def each() -> AsyncIterator[Any]:
        for task in tasks:
            yield task

    source: Any = each() if is_async else iter(tasks)
    found = [outcome.task_id async for outcome in client.as_completed(source, 0, max_waiting=2)]
    assert found == ["fast", None, "last", "slow"]


async def test_more_tasks_than_a_loop_takes_in_one_turn(client: AsyncStream) -> None:
    """A long list of tasks does not hold the loop up."""
    started = StartedTask(None, {}, TaskResult, TaskResult())
    outcomes = [outcome async for outcome in client.as_completed(started for _ in range(3000))]
    assert len(outcomes) == 3000


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param(("t",), TypeError, id="one text"),
        pytest.param((None,), TypeError, id="nothing"),
        pytest.param((["t"], -1), ValueError, id="a negative interval"),
        pytest.param((["t"], 1, -1), ValueError, id="a negative time-out"),
    ],
)
async def test_many_tasks_that_make_no_sense(
    server: FakeStream, client: AsyncStream, arguments: Any, error: type[Exception]
) -> None:
    """Arguments are checked before any request."""
    with pytest.raises(error):
        client.as_completed(*arguments)
    with pytest.raises(error):
        await client.wait_for_tasks(*arguments)
    with pytest.raises(ValueError, match="max_waiting must be 1 or more, not 0"):
        client.as_completed(["t"], max_waiting=0)
    with pytest.raises(ValueError, match="must be a non-empty text"):
        await client.wait_for_tasks(["t", ""])
    assert not server.requests


# Closing


async def test_a_closed_client_is_closed(server: FakeStream) -> None:
    """After aclose every call is a clear error, with no request; closing again is fine."""
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
    await client.aclose()
    await client.aclose()
    for call in (
        lambda: client.get_task("t"),
        lambda: client.request("GET", "/app"),
        lambda: client.wait_for_task("t"),
        lambda: client.delete_users(["u"]),
        lambda: anext(client.watch_task("t")),
        client.__aenter__,
    ):
        with pytest.raises(RuntimeError, match="this client is closed"):
            await call()
    assert not server.requests


async def test_an_async_with_block_closes(server: FakeStream) -> None:
    """The block's end closes the client, also after an error."""
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
    with pytest.raises(KeyError):
        async with client:
            raise KeyError
    with pytest.raises(RuntimeError, match="closed"):
        await client.get_task("t")


@pytest.mark.parametrize("fault", [None, Fault.hang()], ids=["between two looks", "during a look"])
async def test_closing_ends_waits(
    server: FakeStream, client: AsyncStream, fault: Fault | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing during a wait ends it with an error that names the task."""
    server.add_task("t-1", never=True)
    if fault is not None:
        server.inject(fault)
    wait = asyncio.create_task(client.wait_for_task("t-1", 30, None))
    watch = asyncio.create_task(anext(client.watch_task("t-2", 30, None)))
    while not server.polls("t-1") or (fault is None and not server.polls("t-1")[0].status):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    await client.aclose()
    for ended, name in ((wait, "t-1"), (watch, "t-2")):
        with pytest.raises(StreamTransportException, match=f"closed while it waited for task {name}") as info:
            await ended
        assert not isinstance(info.value, StreamWaitTimeoutException)
        assert info.value.error_type == "unknown"


async def test_closing_ends_requests(server: FakeStream, client: AsyncStream) -> None:
    """A request under way ends with a transport error, as its connection does."""
    server.inject(Fault.hang())
    request = asyncio.create_task(client.get_task("t"))
    while not server.requests:
        await asyncio.sleep(0.005)
    await client.aclose()
    with pytest.raises(StreamTransportException):
        await request


def test_a_client_outlives_its_loops(threaded_server: FakeStream) -> None:
    """One client serves one asyncio.run after another, and forgets the loops that are gone."""
    server = threaded_server
    server.add_task("t")
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)

    async def look() -> int:
        assert (await client.get_task("t")).data.task_id == "t"
        return len(client._engines)

    assert [asyncio.run(look()) for _ in range(3)] == [1, 1, 1]


def test_clients_may_serve_two_loops_at_once(threaded_server: FakeStream) -> None:
    """Each loop has connections of its own, as aiohttp demands."""
    server = threaded_server
    server.add_task("t")
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)

    async def outer() -> int:
        await client.get_task("t")
        await asyncio.to_thread(asyncio.run, client.get_task("t"))
        await client.get_task("t")
        count = len(client._engines)
        await client.aclose()
        return count

    assert asyncio.run(outer()) == 2


# With a mock of aiohttp, as users have it in their own tests


async def test_a_mock_of_aiohttp_is_enough_for_users(mocked: aioresponses) -> None:
    """Users who mock aiohttp can match the task's URL."""
    url = re.compile(r"https://chat\.stream-io-api\.com/api/v2/tasks/t-1\?api_key=the-key")
    body = {"task_id": "t-1", "duration": "1ms", "created_at": 1_700_000_000_000_000_000}
    body |= {"updated_at": 1_700_000_001_000_000_000}
    mocked.get(url, payload=body | {"status": "running"}, headers={"X-RateLimit-Limit": "9"})
    mocked.get(url, status=503, body="upstream connect error")
    mocked.get(url, payload=body | {"status": "completed", "result": {"a": 1}})
    async with make() as client:
        response = await client.get_task("t-1")
        assert response.data == Task(
            "t-1",
            "running",
            datetime.fromtimestamp(1_700_000_000, UTC),
            datetime.fromtimestamp(1_700_000_001, UTC),
        )
        assert response.rate_limit is None
        assert await client.wait_for_task("t-1", 0, 5) == {"a": 1}
    ((method, _),) = mocked.requests
    assert method == "GET"


async def test_a_mocked_failure_of_aiohttp(mocked: aioresponses) -> None:
    """An exception that aiohttp raises becomes ours, with the original as its cause."""
    cause = aiohttp.ServerDisconnectedError()
    mocked.get(re.compile(r".*/tasks/t-1\?.*"), exception=cause)
    async with make() as client:
        with pytest.raises(StreamTransportException) as info:
            await client.get_task("t-1")
    assert info.value.__cause__ is cause
    assert info.value.error_type == "connection_reset"


async def test_a_mocked_start(mocked: aioresponses) -> None:
    """The body of a start can be looked at through the mock."""
    mocked.post(re.compile(r".*/api/v2/export/users\?.*"), status=201, payload={"task_id": "t-1"})
    async with make() as client:
        assert (await client.export_users(["u"])).task_id == "t-1"
    ((call,),) = mocked.requests.values()
    assert call.kwargs["data"] == b'{"user_ids":["u"]}'


# The public names


def test_all_is_sorted_and_complete() -> None:
    """Every public name is at the root, in the order of the alphabet, and nothing else."""
    names = stream_tasks.__all__
    assert list(names) == sorted(names)
    found = {
        name
        for name in dir(stream_tasks)
        if not name.startswith("_") and not isinstance(getattr(stream_tasks, name), ModuleType)
    }
    assert set(names) == found | {"__version__"}
    values = {name for name in stream_tasks.models.__all__ if name != "ItemResults"}
    errors = {name for name in stream_tasks.exceptions.__all__ if not name.startswith("TRANSPORT_ERROR")}
    assert values | errors <= set(names)


@pytest.mark.parametrize("name", sorted(set(stream_tasks.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    """Each public name, method and property has words of its own."""
    kind = getattr(stream_tasks, name)
    if not inspect.isclass(kind):
        assert kind.__doc__
        return
    assert kind.__dict__.get("__doc__"), name
    for attribute, value in vars(kind).items():
        if not attribute.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
            public = getattr(kind, attribute) if callable(value) else value
            words = inspect.getdoc(public)
            assert words, attribute
            given = inspect.signature(public).parameters if callable(public) else {}
            assert [name for name in given if name != "self" and f"{name}: " not in words] == [], attribute


def test_the_version_is_the_packages_own() -> None:
    """The version is a text that names a release."""
    assert re.match(r"\d+\.\d+", stream_tasks.__version__)


def test_nothing_but_the_needed_is_imported() -> None:
    """Importing the library imports neither its extras nor its test tools."""
    import subprocess

    code = (
        "import sys, stream_tasks\n"
        "names = ('click', 'rich', 'getstream', 'pytest', 'stream_tasks.testing')\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_what_cannot_be_called_or_decoded_to_is_refused_before_any_request(
    server: FakeStream, client: AsyncStream
) -> None:
    """The parameter is named."""
    with pytest.raises(TypeError, match="on_update must be callable, not int"):
        await client.wait_for_task("t", on_update=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_outcome must be callable, not int"):
        await client.wait_for_tasks(["t"], on_outcome=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="result_type must be a class, not 'x'"):
        await client.wait_for_task("t", result_type="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="result_type must be a class, not 5"):
        await client.start_task("POST", "/x", result_type=5)  # type: ignore[arg-type]
    assert not server.requests
