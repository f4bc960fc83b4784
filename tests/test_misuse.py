"""What is often mistaken ends with the sentence that says what to write instead, before any request."""

import asyncio
import dataclasses
import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypedDict, cast

import attrs
import numpy as np
import pydantic
import pytest

from stream_tasks import (
    AsyncStream,
    Backoff,
    DeleteUsersResult,
    ExportUsersResult,
    StartedTask,
    Stream,
    StreamDecodeException,
    TaskResult,
)
from stream_tasks.endpoints import Endpoint
from stream_tasks.models import ItemResult
from stream_tasks.testing import FakeStream, Fault, RateLimitRule

KEY = "a1b2c3d4e5f6"
SECRET = "0123456789abcdef" * 4
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzZXJ2ZXIiOnRydWV9.c2lnbmF0dXJl"

# Clients


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param({"api_key": SECRET, "api_secret": KEY}, "are they swapped?", id="swapped"),
        pytest.param(
            {"api_key": SECRET, "api_secret": SECRET}, "is a secret or a token", id="twice the secret"
        ),
        pytest.param(
            {"api_key": TOKEN, "api_secret": SECRET}, "is a secret or a token", id="a token as the key"
        ),
        pytest.param({"api_key": TOKEN, "token": TOKEN}, "is a secret or a token", id="twice the token"),
        pytest.param({"api_key": SECRET, "token": KEY}, "are they swapped?", id="swapped with a token"),
    ],
)
def test_a_secret_in_the_place_of_the_key_is_refused(kind: Any, arguments: dict[str, str], told: str) -> None:
    """The error names the arguments and the variables, and shows neither, with all frames' variables."""
    with pytest.raises(ValueError, match="STREAM_API_KEY") as info:
        kind(**arguments)
    assert told in str(info.value)
    shown = traceback.TracebackException.from_exception(info.value, capture_locals=True)
    library = [frame for frame in shown.stack if "stream_tasks/" in frame.filename.replace("\\", "/")]
    for text in (str(info.value), *(str(frame.locals) for frame in library if "tests" not in frame.filename)):
        assert not any(value in text for value in arguments.values())


def test_swapped_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As arguments are."""
    monkeypatch.setenv("STREAM_API_KEY", SECRET)
    monkeypatch.setenv("STREAM_API_SECRET", KEY)
    with pytest.raises(ValueError, match="are they swapped"):
        Stream()


@pytest.mark.parametrize("path", ["/api/v2", "/api/v2/", "/proxy/api/v1"])
def test_a_base_url_with_the_apis_path_is_refused(path: str) -> None:
    """The client adds it itself."""
    with pytest.raises(ValueError, match=r"STREAM_BASE_URL.* must end before /api/v2"):
        AsyncStream(KEY, SECRET, base_url=f"https://chat.stream-io-api.com{path}")
    AsyncStream(KEY, SECRET, base_url="https://proxy.example/api")


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_a_mistaken_argument_is_named(kind: Any) -> None:
    """What is meant is told; other unknown names are Python's to refuse, and the signature stays."""
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) has no argument 'timeout'.* request_timeout"):
        kind(KEY, SECRET, timeout=5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'tiemout'"):
        kind(KEY, SECRET, tiemout=5)
    assert list(inspect.signature(kind).parameters)[:4] == ["api_key", "api_secret", "token", "base_url"]

    class Own(kind):  # type: ignore[misc]
        def __init__(self, timeout: float) -> None:
            super().__init__(KEY, SECRET, request_timeout=timeout)

    Own(timeout=5)


async def test_the_other_kind_of_with_is_named(client: AsyncStream) -> None:
    """For each client, and for the chunks of an export."""
    with pytest.raises(TypeError, match="write 'async with' for AsyncStream"), client:  # type: ignore[attr-defined]
        pass
    with pytest.raises(TypeError, match="write 'with' for Stream, which blocks, or use AsyncStream"):
        async with Stream(KEY, SECRET):  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match="write 'async with'"), client.open_export("https://x.example"):  # type: ignore[attr-defined]
        pass


# Calls

Wrong = Callable[[AsyncStream], Any]


@pytest.mark.parametrize(
    ("made", "name"),
    [
        pytest.param(lambda client: client.as_completed(["t"]), "as_completed", id="as_completed"),
        pytest.param(lambda client: client.watch_task("t"), "watch_task", id="watch_task"),
        pytest.param(
            lambda client: client.watch_task("t", result_type=dict), "watch_task", id="a typed watch_task"
        ),
        pytest.param(
            lambda client: client.start_in_batches(client.export_users, ["amy"]),
            "start_in_batches",
            id="start_in_batches",
        ),
        pytest.param(lambda client: client.open_export("https://x.example"), "open_export", id="open_export"),
    ],
)
async def test_an_async_iterator_says_that_it_is_one(
    made: Wrong, name: str, client: AsyncStream, server: FakeStream
) -> None:
    """To `for`, `list` and `await`; nothing was sent, and nothing is left running."""
    items = made(client)
    with pytest.raises(TypeError, match=rf"^{name}\(…\) is an async iterator: write 'async for'"):
        list(items)
    if name != "open_export":
        with pytest.raises(
            TypeError, match=rf"^{name}\(…\) is an async iterator: write 'async for', without"
        ):
            await items
    await items.aclose()
    assert not server.requests


async def test_async_iterators_are_generators(client: AsyncStream, server: FakeStream) -> None:
    """They can be sent to, thrown into and closed, as others can."""
    outcomes = client.as_completed([server.add_task(statuses=()), server.add_task(statuses=())], 0)
    assert aiter(outcomes) is outcomes
    assert (await outcomes.asend(None)).ok
    with pytest.raises(KeyError):
        await outcomes.athrow(KeyError("mine"))
    with pytest.raises(StopAsyncIteration):
        await anext(outcomes)
    other = client.as_completed([server.add_task(statuses=())], 0)
    assert (await anext(other)).ok
    with pytest.raises(KeyError):
        await other.athrow(KeyError, KeyError("mine"))
    started = client.start_in_batches(client.export_users, cast("Any", client.as_completed([])))
    assert [each async for each in started] == []


async def _wait(client: AsyncStream, started: Any) -> object:
    return await client.wait_for_task(started)


async def _wait_for_all(client: AsyncStream, started: Any) -> object:
    return await client.wait_for_tasks([started])


async def _wait_for_one_of_all(client: AsyncStream, started: Any) -> object:
    return await client.wait_for_tasks(started)


async def _complete(client: AsyncStream, started: Any) -> object:
    return [each async for each in client.as_completed([started])]


async def _download(client: AsyncStream, started: Any) -> object:
    return await client.download(started, "no-file")


@pytest.mark.parametrize("call", [_wait, _wait_for_all, _wait_for_one_of_all, _complete, _download])
async def test_a_start_that_was_not_awaited_is_named(
    call: Callable[[AsyncStream, Any], Awaitable[object]], client: AsyncStream, server: FakeStream
) -> None:
    """The error says to await it, and Python does not warn as well."""
    with pytest.raises(
        TypeError, match=r"not coroutine: await it first, as in wait_for_task\(await client\."
    ):
        await call(client, client.export_users(["amy"]))
    assert not server.requests


async def test_a_start_that_nobody_awaits_is_named_by_python(client: AsyncStream) -> None:
    """By the operation's own name."""
    started = client.delete_users(["amy"])
    with pytest.warns(RuntimeWarning, match="coroutine 'delete_users' was never awaited"):
        del started


async def test_an_async_iterable_is_for_as_completed(client: AsyncStream) -> None:
    """The other method says so."""
    with pytest.raises(TypeError, match="as_completed of AsyncStream takes an async iterable"):
        await client.wait_for_tasks(client.start_in_batches(client.export_users, ["amy"]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda c: c.delete_channels(["general"]),
            "each of cids must be type:id, such as 'messaging:general'",
        ),
        (lambda c: c.delete_channels(["messaging:a", ":b"]), "not ':b'"),
        (lambda c: c.delete_channels(["messaging:"]), "not 'messaging:'"),
        (lambda c: c.export_channels([{"cid": "general"}]), "the cid of a channel must be type:id"),
        (lambda c: c.delete_feeds_batch(["amy"]), "each of feeds must be group:id, such as 'user:amy'"),
    ],
)
async def test_an_id_that_lacks_its_type_is_named(
    call: Wrong, told: str, client: AsyncStream, server: FakeStream
) -> None:
    """It would name nothing."""
    with pytest.raises(ValueError, match=told):
        await call(client)
    assert not server.requests


# Results


def test_a_plain_payload_says_how_to_read_it() -> None:
    """An attribute that is a key is named as such; others are only not there."""
    payload = TaskResult({"url": "https://x.example"})
    with pytest.raises(
        AttributeError, match=r"plain payload, so write result\['url'\].*operation= or result_type="
    ):
        payload.url  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'TaskResult' object has no attribute 'path'$"):
        payload.path  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"^no task: the server did this work at once$"):
        payload.data  # noqa: B018
    assert not hasattr(payload, "url")


@pytest.mark.parametrize(
    ("result", "key", "told"),
    [
        (ExportUsersResult("u"), "url", r"write \.url in place of \['url'\]"),
        (ExportUsersResult("u", {"x": 1}), "x", r"write \.extra\['x'\] in place of \['x'\]"),
        (
            DeleteUsersResult({"amy": ItemResult("ok")}),
            "amy",
            r"write \.items\['amy'\] in place of \['amy'\]",
        ),
        (StartedTask("t", {}, TaskResult), "task_id", r"write \.task_id in place"),
        (ExportUsersResult("u"), "y", "as its fields are attributes$"),
        (ExportUsersResult("u"), 0, "as its fields are attributes$"),
    ],
)
def test_a_typed_result_says_how_to_read_it(result: Any, key: Any, told: str) -> None:
    """A key that is an attribute is named as such."""
    with pytest.raises(TypeError, match=told):
        result[key]


# Numbers


class Whole:
    """A whole number that is no int."""

    def __index__(self) -> int:
        return 2


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2), Whole()])
async def test_whole_numbers_of_any_kind_are_taken(two: Any, server: FakeStream) -> None:
    """By all that takes a number: settings, intervals, counts, bodies and queries."""
    options = {"request_timeout": two, "connect_timeout": two, "max_connections": two, "not_found_grace": two}
    task_id = server.add_task(statuses=())
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url, **options) as client:
        await client.wait_for_task(task_id, two, two)
        await client.wait_for_task(task_id, Backoff(two, two, two))
        assert [each async for each in client.as_completed([task_id], two, two, max_waiting=two)]
        await client.import_block_list("b", ["x"], chunk_size=two)
        await client.request("GET", "/rate_limits", json={"n": two}, params={"n": two, "m": [two]})
    chunked, request = server.requests[-2:]
    assert chunked.json["chunk_size"] == 2
    assert (request.json, request.query["n"], request.query["m"]) == ({"n": 2}, "2", "2")
    assert Endpoint("/x/{id}", completed=(two,)).ending("2") == "completed"


@pytest.mark.parametrize("two", [2, np.int64(2), np.uint8(2)])
def test_whole_numbers_of_numpy_are_taken_by_the_fake_server(two: Any) -> None:
    """Where plain ones are."""
    server = FakeStream(port=two, rate_limit=two)
    server.inject(Fault.delay(two), times=two)
    server.script_operation("export_users", times=two, after=two)
    assert RateLimitRule(two, two).limit == 2


@pytest.mark.parametrize("value", [True, np.bool_(True), "2", None, 2j])
def test_what_is_no_number_is_refused_everywhere(value: Any) -> None:
    """Also what is only a truth value."""
    with pytest.raises((TypeError, ValueError)):
        Backoff(value, 5)
    with pytest.raises((TypeError, ValueError)):
        AsyncStream(KEY, SECRET, connect_timeout=value)
    with pytest.raises((TypeError, ValueError)):
        AsyncStream(KEY, SECRET, max_connections=value)


# Types of results


class Plain:
    """Nothing says how it is made."""


class User(pydantic.BaseModel):
    name: str


class Export(pydantic.BaseModel):
    url: str
    users: list[User] = []


@pydantic.dataclasses.dataclass
class Validated:
    url: str
    users: list[User]


@dataclasses.dataclass
class Data:
    url: str
    users: list[User]


class Dictionary(TypedDict):
    url: str
    users: list[User]


@attrs.frozen
class Frozen:
    url: str
    users: list[Plain]


@dataclasses.dataclass
class Unknown:
    url: Plain


class Pair(NamedTuple):
    url: Plain


USERS = {"url": "u", "users": [{"name": "amy"}]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(Export, Export(url="u", users=[User(name="amy")]), id="a model"),
        pytest.param(Validated, Validated("u", [User(name="amy")]), id="a dataclass of pydantic"),
        pytest.param(Data, Data("u", [User(name="amy")]), id="models in a dataclass"),
        pytest.param(Dictionary, {"url": "u", "users": [User(name="amy")]}, id="models in a TypedDict"),
        pytest.param(dict[str, Any], USERS, id="a mapping"),
    ],
)
async def test_results_are_decoded_to_types_of_pydantic(
    kind: Any, expected: Any, client: AsyncStream, server: FakeStream
) -> None:
    """By whatever way the type is told; such a result goes through JSON."""
    task_id = server.add_task(statuses=(), result=USERS)
    assert await client.wait_for_task(task_id, result_type=kind) == expected
    assert (await client.wait_for_tasks([task_id], result_type=kind))[task_id].result() == expected
    assert await client.wait_for_task(StartedTask(task_id, {}, kind)) == expected
    done = StartedTask(None, {"result": USERS}, kind, expected)
    assert StartedTask.from_json(done.to_json(), kind).result == expected


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Export, "$.result.users[1].name"),
        (Validated, "$.result.users[1].name"),
        (Data, "$.result.users[1].name"),
    ],
)
async def test_what_does_not_fit_a_model_is_named(
    kind: Any, path: str, client: AsyncStream, server: FakeStream
) -> None:
    """With its whole path."""
    task_id = server.add_task(statuses=(), result={"url": "u", "users": [{"name": "amy"}, {"name": 1}]})
    with pytest.raises(StreamDecodeException, match="valid string") as info:
        await client.wait_for_task(task_id, result_type=kind)
    assert info.value.path == path


@pytest.mark.parametrize(
    "kind", [Plain, Frozen, Unknown, Pair, list[Plain], dict[str, Plain], Plain | None, object, Exception]
)
async def test_a_type_that_nothing_can_be_decoded_to_is_refused(
    kind: Any, client: AsyncStream, server: FakeStream
) -> None:
    """Before any request, however deep in it the fault is."""
    calls: list[Callable[[], Any]] = [
        lambda: client.wait_for_task("t", result_type=kind),
        lambda: client.wait_for_task(StartedTask("t", {}, kind)),
        lambda: client.wait_for_tasks(["t"], result_type=kind),
        lambda: client.start_task("POST", "/x", result_type=kind),
        lambda: anext(client.watch_task("t", result_type=kind)),
        lambda: anext(client.as_completed(["t"], result_type=kind)),
        lambda: client.wait_for(Endpoint("/x/{id}", result_type=kind).of("1")),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="result_type must be a "):
            await call()
    await asyncio.sleep(0)
    assert not server.requests
