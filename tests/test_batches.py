"""Operations for more items than the API takes at once."""

import asyncio
import itertools
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from aioresponses import CallbackResult, aioresponses

from stream_tasks import (
    AsyncStream,
    StartedTask,
    Stream,
    StreamApiException,
    StreamBatchException,
    StreamDecodeException,
    StreamRateLimitException,
    StreamTransportException,
    _batches,
)
from stream_tasks._backoff import Backoff
from stream_tasks._operations import MOST_ITEMS
from stream_tasks.testing import FakeStream, Fault

FIELDS = {
    "delete_channels": "cids",
    "export_channels": "channels",
    "delete_users": "user_ids",
    "deactivate_users": "user_ids",
    "reactivate_users": "user_ids",
    "export_users": "user_ids",
    "delete_feeds_batch": "feeds",
}


def users(count: int) -> list[str]:
    return [f"u-{number}" for number in range(count)]


def sent(server: FakeStream, field: str = "user_ids") -> list[list[str]]:
    """The items of each start that the server was asked for."""
    return [request.json[field] for request in server.requests if request.method == "POST"]


async def collected(source: AsyncIterator[Any]) -> tuple[list[Any], StreamBatchException]:
    """What an iterator yields before it breaks, and what it breaks with."""
    found = []
    with pytest.raises(StreamBatchException) as info:  # noqa: PT012 - what came before it is looked at too
        async for item in source:
            found.append(item)  # noqa: PERF401 - kept when it breaks
    return found, info.value


# Splitting


@pytest.mark.parametrize("name", FIELDS)
async def test_each_operation_is_split_by_its_own_limit(
    name: str, server: FakeStream, client: AsyncStream
) -> None:
    """One item more than two batches hold makes three tasks, and no item is lost, doubled or moved."""
    items = [f"messaging:{number}" for number in range(2 * MOST_ITEMS[name] + 1)]
    given: list[Any] = [{"cid": cid} for cid in items] if name == "export_channels" else items
    tasks = [task async for task in client.start_in_batches(getattr(client, name), given)]
    bodies = sent(server, FIELDS[name])
    assert [len(body) for body in bodies] == [MOST_ITEMS[name], MOST_ITEMS[name], 1]
    assert list(itertools.chain(*bodies)) == given
    assert len(tasks) == 3


def test_the_limits_are_those_of_the_api() -> None:
    """Exports of users are of 25 at the most, all else of 100."""
    assert {name: 25 if name == "export_users" else 100 for name in FIELDS} == MOST_ITEMS


@pytest.mark.parametrize("name", FIELDS)
async def test_more_than_the_limit_at_once_names_the_way(
    name: str, server: FakeStream, client: AsyncStream
) -> None:
    """The error says what was given, what is allowed and what to call instead; nothing is sent."""
    most, field = MOST_ITEMS[name], FIELDS[name]
    told = (
        f"{field} must hold 1 to {most} items, not {most + 1};"
        f" client.start_in_batches(client.{name}, {field}) takes any number"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        await getattr(client, name)([f"x:{number}" for number in range(most + 1)])
    assert not server.requests


async def test_the_options_go_with_each_batch(server: FakeStream, client: AsyncStream) -> None:
    """What the operation takes besides is in every request."""
    tasks = client.start_in_batches(client.delete_users, users(101), user="pruning", files=True)
    assert len([task async for task in tasks]) == 2
    for request in server.requests:
        assert (request.json["user"], request.json["files"]) == ("pruning", True)


async def test_each_task_knows_its_items(server: FakeStream, client: AsyncStream) -> None:
    """A task and its outcome tell the operation and what the batch is for."""
    server.script_operation("export_users", statuses=[], times=2)
    starting = client.start_in_batches(client.export_users, users(26))
    outcomes = [outcome async for outcome in client.as_completed(starting)]
    assert {outcome.operation for outcome in outcomes} == {"export_users"}
    assert {outcome.items for outcome in outcomes} == {tuple(users(25)), ("u-25",)}


async def _each(items: Iterable[str]) -> AsyncIterator[str]:
    for item in items:
        yield item


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(tuple, id="a tuple"),
        pytest.param(iter, id="an iterator"),
        pytest.param(lambda items: dict.fromkeys(items).keys(), id="the keys of a dict"),
        pytest.param(_each, id="an asynchronous generator"),
    ],
)
async def test_any_iterable_is_split(
    make: Callable[[list[str]], Any], server: FakeStream, client: AsyncStream
) -> None:
    """Items come from any iterable or asynchronous iterable."""
    assert len([task async for task in client.start_in_batches(client.export_users, make(users(30)))]) == 2
    assert [len(body) for body in sent(server)] == [25, 5]


async def test_no_items_start_nothing(server: FakeStream, client: AsyncStream) -> None:
    """An empty iterable is no error and no request."""
    assert [task async for task in client.start_in_batches(client.delete_users, [])] == []
    assert not server.requests


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(map(str, itertools.count()), id="an endless iterator"),
        pytest.param(_each(map(str, itertools.count())), id="an endless asynchronous iterator"),
    ],
)
async def test_a_batch_is_pulled_and_sent_when_it_is_asked_for(
    endless: Any, server: FakeStream, client: AsyncStream
) -> None:
    """Nothing is pulled ahead, so that leaving the loop starts no more."""
    async for _ in client.start_in_batches(client.delete_users, endless):
        if len(server.requests) == 3:
            break
        await asyncio.sleep(0)
    assert len(server.requests) == 3
    following = next(endless) if isinstance(endless, Iterator) else await anext(endless)
    assert following == "300"


async def test_what_was_done_at_once_is_yielded_too(client: AsyncStream) -> None:
    """A soft delete needs no task; its results stand for it."""
    cids = [f"messaging:{number}" for number in range(101)]
    tasks = [task async for task in client.start_in_batches(client.delete_channels, cids)]
    assert [task.task_id for task in tasks] == [None, None]
    assert [len(task.result.items or {}) for task in tasks if task.result] == [100, 1]


async def test_batches_start_as_there_is_room_to_wait(server: FakeStream, client: AsyncStream) -> None:
    """The tasks can be waited for while the rest is still to be started."""
    server.script_operation("export_users", statuses=[], times=8)
    starting = client.start_in_batches(client.export_users, users(200))
    outcomes = [outcome async for outcome in client.as_completed(starting, max_waiting=1)]
    assert [outcome.result().url for outcome in outcomes]
    assert [request.method for request in server.requests] == ["POST", "GET"] * 8


async def test_a_refused_batch_hides_no_task_that_was_started(
    server: FakeStream, client: AsyncStream
) -> None:
    """All outcomes come first, then the error, and no task runs on unseen."""
    server.script_operation("export_users", after=0.3, times=9)
    server.inject(Fault.delay(0), 5, path="/export/users")
    server.inject(Fault.status(400), path="/export/users")
    found = []
    with pytest.raises(StreamBatchException) as caught:  # noqa: PT012 - the loop is what is tested
        async for outcome in client.as_completed(
            client.start_in_batches(client.export_users, users(200)), 0.05
        ):
            assert outcome.ok
            found.append(outcome.task_id)
    assert len(found) == 5
    assert sorted(map(str, found)) == sorted(caught.value.task_ids)
    assert caught.value.position == 125


# Arguments


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda client: client.import_block_list, id="takes any number of items"),
        pytest.param(lambda client: client.delete_call, id="takes no items"),
        pytest.param(lambda _: AsyncStream.delete_users, id="is no method of a client"),
        pytest.param(lambda _: AsyncStream("k", token="t").delete_users, id="is a method of another client"),
        pytest.param(lambda _: "delete_users", id="is a name"),
        pytest.param(lambda _: None, id="is None"),
    ],
)
def test_an_operation_that_is_none_is_refused(operation: Callable[[Any], Any]) -> None:
    """The error comes at the call, says what is allowed, and shows no secret."""
    client = AsyncStream("key", token="a-very-secret-token")
    with pytest.raises(TypeError, match="operation must be one of this client's methods delete_chan") as info:
        client.start_in_batches(operation(client), ["a"])
    assert "a-very-secret-token" not in str(info.value)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param("jane", id="a text, which would be its letters"),
        pytest.param(b"jane", id="bytes"),
        pytest.param({"type": "messaging", "id": "a"}, id="a single channel"),
        pytest.param(None, id="None"),
    ],
)
@pytest.mark.parametrize("kind", [AsyncStream, Stream])
def test_items_that_are_none_are_refused(items: Any, kind: Any) -> None:
    """The error comes at the call and names the type."""
    client = kind("key", token="token")
    with pytest.raises(
        TypeError, match=f"^items must be a list or another iterable, not {type(items).__name__}$"
    ):
        client.start_in_batches(client.delete_users, items)


def test_a_blocking_caller_has_no_asynchronous_items() -> None:
    """They belong to a loop that the blocking client does not run on."""
    client = Stream("key", token="token")
    items: Any = _each(["a"])
    with pytest.raises(TypeError, match="items must be a list or another iterable, not async_generator"):
        client.start_in_batches(client.delete_users, items)


async def test_a_bad_option_is_refused_before_any_request(server: FakeStream, client: AsyncStream) -> None:
    """An option is checked with the first batch."""
    bad: Any = "harder"
    with pytest.raises(ValueError, match="user must be one of"):
        await anext(client.start_in_batches(client.delete_users, users(200), user=bad))
    assert not server.requests


async def test_a_bad_item_far_down_says_where(server: FakeStream, client: AsyncStream) -> None:
    """What came before its batch was started, and a note tells from where on nothing was."""
    items = [*users(150), "", *users(100)]
    with pytest.raises(ValueError, match="each of user_ids must not be empty") as info:
        _ = [task async for task in client.start_in_batches(client.delete_users, items)]
    assert info.value.__notes__ == ["delete_users: no item from number 101 on was started"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", [iter, _each], ids=["an iterator", "an asynchronous generator"])
@pytest.mark.parametrize(
    ("count", "taken"), [(100, ""), (102, "; taken already: 'u-100', 'u-101'")], ids=["none", "two"]
)
async def test_what_the_items_raise_is_passed_on(
    count: int, taken: str, kind: Callable[[Any], Any], server: FakeStream, client: AsyncStream
) -> None:
    """The caller's own error comes as it is, with a note on what was not started and cannot be had again."""

    def items() -> Iterator[str]:
        yield from users(count)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as info:
        _ = [task async for task in client.start_in_batches(client.delete_users, kind(items()))]
    assert info.value.__notes__ == [f"delete_users: no item from number 101 on was started{taken}"]
    assert [len(body) for body in sent(server)] == [100]


# Failures in the middle


async def test_a_refused_batch_says_what_was_started_and_what_was_not(
    server: FakeStream, client: AsyncStream
) -> None:
    """The tasks before it have been yielded; the error has their ids, its items, its place and its cause."""
    starting = client.start_in_batches(client.delete_users, users(250))
    first = await anext(starting)
    server.inject(Fault.status(400))
    tasks, error = await collected(starting)
    assert tasks == []
    assert isinstance(error.__cause__, StreamApiException)
    assert error.operation == "delete_users"
    assert error.batch == users(250)[100:200]
    assert error.position == 100
    assert error.task_ids == [first.task_id]
    assert not error.may_have_started
    assert str(error).startswith(
        "delete_users: the batch of 100 from item 101 on was not started: HTTP 400, code 4: "
    )
    assert users(250)[error.position :][: len(error.batch)] == error.batch
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        pytest.param(Fault.status(500), StreamApiException, id="an internal error"),
        pytest.param(
            Fault.status(503, headers={"Retry-After": "0"}), StreamApiException, id="unavailable for now"
        ),
        pytest.param(Fault.html(504), StreamApiException, id="a gateway's time-out"),
        pytest.param(Fault.status(408), StreamApiException, id="a time-out of the server"),
        pytest.param(Fault.reset(), StreamTransportException, id="a reset"),
        pytest.param(Fault.cut(), StreamTransportException, id="half an answer"),
        pytest.param(Fault.hang(), StreamTransportException, id="no answer in time"),
        pytest.param(Fault.malformed(), StreamDecodeException, id="an answer that is no JSON"),
        pytest.param(Fault.body(b"{}"), StreamDecodeException, id="an answer without a task"),
    ],
)
async def test_what_may_have_begun_is_not_sent_again(
    fault: Fault, cause: type[Exception], server: FakeStream
) -> None:
    """Starting twice is not starting once: the batch is sent once, and the error says so."""
    server.inject(fault, times=math.inf)
    async with AsyncStream(
        server.api_key, server.api_secret, base_url=server.url, request_timeout=0.3
    ) as client:
        tasks, error = await collected(client.start_in_batches(client.delete_users, users(3)))
    assert tasks == []
    assert type(error.__cause__) is cause
    assert error.may_have_started
    assert "the batch of 3 from item 1 on may or may not have been started: " in str(error)
    assert error.task_ids == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.status(401), id="a token that is not accepted"),
        pytest.param(Fault.status(403), id="an app that is suspended"),
        pytest.param(Fault.status(413), id="a body that is too large"),
        pytest.param(Fault.redirect("https://example.com"), id="a redirect"),
    ],
)
async def test_a_refusal_started_nothing(fault: Fault, server: FakeStream, client: AsyncStream) -> None:
    """The error is sure of it."""
    server.inject(fault)
    _, error = await collected(client.start_in_batches(client.delete_users, users(3)))
    assert not error.may_have_started


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_without_a_connection_nothing_was_started(host: str, closed_port: int) -> None:
    """A server that cannot be reached has begun nothing."""
    async with AsyncStream("key", token="token", base_url=f"http://{host}:{closed_port}") as client:
        _, error = await collected(client.start_in_batches(client.delete_users, users(3)))
    assert isinstance(error.__cause__, StreamTransportException)
    assert not error.may_have_started


async def test_a_client_that_was_closed_says_where_it_stopped(client: AsyncStream) -> None:
    """A client closed between two batches is the caller's error, with a note."""
    starting = client.start_in_batches(client.delete_users, users(200))
    await anext(starting)
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed") as info:
        await anext(starting)
    assert info.value.__notes__ == ["delete_users: no item from number 101 on was started"]


async def test_the_ids_kept_for_an_error_are_bounded(
    server: FakeStream, client: AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of endless batches, an error names the latest tasks, and counts all items."""
    monkeypatch.setattr(_batches, "KEPT", 2)
    starting = client.start_in_batches(client.delete_users, map(str, itertools.count()))
    tasks = [await anext(starting) for _ in range(4)]
    server.inject(Fault.status(403))
    _, error = await collected(starting)
    assert error.task_ids == [task.task_id for task in tasks[2:]]
    assert error.position == 400


async def test_cancelling_a_start_sends_no_more(server: FakeStream, client: AsyncStream) -> None:
    """Cancellation passes as it is."""
    server.inject(Fault.hang())
    starting = client.start_in_batches(client.delete_users, users(200))
    start = asyncio.ensure_future(anext(starting))
    while not server.requests:
        await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert len(server.requests) == 1


# Rate limits, in virtual time

URL = re.compile(r".*/api/v2/users/delete\?.*")


class Server:
    """What a mock of aiohttp answers to each start, and when it was asked, in virtual seconds."""

    def __init__(self, *answers: CallbackResult) -> None:
        self._answers = iter(answers)
        self.asked: list[float] = []

    def __call__(self, *_: object, **__: object) -> CallbackResult:
        self.asked.append(asyncio.get_running_loop().time())
        started = CallbackResult(status=201, payload={"task_id": f"t-{len(self.asked)}"})
        return next(self._answers, started)

    @property
    def pauses(self) -> list[float]:
        return [later - sooner for sooner, later in itertools.pairwise(self.asked)]


def refusal(headers: dict[str, str] | None = None, *, unrecoverable: bool = False) -> CallbackResult:
    envelope = {"code": 9, "message": "Too many requests", "unrecoverable": unrecoverable}
    return CallbackResult(status=429, payload=envelope, headers=headers)


async def started(mocked: aioresponses, server: Server) -> list[StartedTask[Any]]:
    mocked.post(URL, callback=server, repeat=True)
    async with AsyncStream("key", token="token") as client:
        return [task async for task in client.start_in_batches(client.delete_users, users(150), user="soft")]


@pytest.mark.looptime
async def test_a_429_is_waited_out(mocked: aioresponses, caplog: pytest.LogCaptureFixture) -> None:
    """The batch is sent again when the server says, with one warning, and each batch is started once."""
    server = Server(refusal({"Retry-After": "20"}), refusal({"Retry-After": "7"}))
    tasks = await started(mocked, server)
    assert [task.task_id for task in tasks] == ["t-3", "t-4"]
    assert 20 <= server.pauses[0] <= 21
    assert 7 <= server.pauses[1] <= 8
    assert server.pauses[2] == 0
    ((name, level, message),) = caplog.record_tuples
    assert (name, level) == ("stream_tasks", logging.WARNING)
    assert re.fullmatch(
        r"delete_users was refused for the rate limit, and is tried again in 2[01]\.\d s", message
    )


@pytest.mark.looptime
async def test_a_429_without_retry_after_waits_for_the_window(mocked: aioresponses) -> None:
    """The quota's end is read from the headers, by the server's own clock."""
    quota = {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1750000042",
        "Date": "Sun, 15 Jun 2025 15:06:40 GMT",
    }
    server = Server(refusal(quota))
    assert len(await started(mocked, server)) == 2
    assert 42 <= server.pauses[0] <= 43


@pytest.mark.looptime
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no headers"),
        pytest.param({"Retry-After": "0"}, id="no time at all"),
        pytest.param({"Retry-After": "soon"}, id="garbage"),
        pytest.param(
            {"X-RateLimit-Limit": "9", "X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1"},
            id="a quota that is not spent",
        ),
    ],
)
async def test_a_429_that_says_nothing_is_waited_out_longer_each_time(
    headers: dict[str, str], mocked: aioresponses
) -> None:
    """Pauses of a second and more, that grow, so that a refusal does not earn the next."""
    server = Server(*[refusal(headers)] * 4)
    assert len(await started(mocked, server)) == 2
    for pause, least in zip(server.pauses, [0.9, 1.8, 3.6, 7.2, 0], strict=True):
        assert least <= pause <= least / 0.9 * 1.1


@pytest.mark.looptime
async def test_patience_ends(mocked: aioresponses) -> None:
    """A batch that is refused for five minutes is given up, certainly not started."""
    server = Server(*[refusal()] * 99)
    with pytest.raises(StreamBatchException) as info:
        await started(mocked, server)
    assert 200 < server.asked[-1] - server.asked[0] <= 300
    assert isinstance(info.value.__cause__, StreamRateLimitException)
    assert not info.value.may_have_started


@pytest.mark.looptime
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refusal({"Retry-After": "3600"}), id="an hour is too long to wait"),
        pytest.param(refusal(unrecoverable=True), id="the server says that it is of no use"),
    ],
)
async def test_a_429_that_is_not_worth_waiting_for(answer: CallbackResult, mocked: aioresponses) -> None:
    """The error comes at once, and its cause holds what the server said."""
    server = Server(answer)
    with pytest.raises(StreamBatchException) as info:
        await started(mocked, server)
    assert len(server.asked) == 1
    assert isinstance(info.value.__cause__, StreamRateLimitException)
    assert info.value.__cause__.retry_after in (None, timedelta(hours=1))


# The blocking client


def test_the_blocking_client_splits_too(blocking: Stream, threaded_server: FakeStream) -> None:
    """A plain generator starts a batch as the next task is asked for, options included."""
    starting = blocking.start_in_batches(
        blocking.deactivate_users, map(str, itertools.count()), created_by_id="admin"
    )
    assert not threaded_server.requests
    assert [next(starting).task_id for _ in range(3)]
    assert [len(body) for body in sent(threaded_server)] == [100, 100, 100]
    assert sent(threaded_server)[2][-1] == "299"
    assert threaded_server.requests[2].json["created_by_id"] == "admin"


def test_the_blocking_client_waits_for_what_it_starts(blocking: Stream, threaded_server: FakeStream) -> None:
    """`wait_for_tasks` and `as_completed` take the generator as it is, and items may come from the client."""
    threaded_server.script_operation("export_users", statuses=[], times=9)

    def ids() -> Iterator[str]:
        for user_id in users(60):
            blocking.request("GET", "/app") if user_id == "u-30" else None
            yield user_id

    threaded_server.inject(Fault.body(b"{}"), path="/app", times=math.inf)
    outcomes = blocking.wait_for_tasks(blocking.start_in_batches(blocking.export_users, ids()))
    assert [outcome.result().url for outcome in outcomes.values()]
    assert len(outcomes) == 3
    ended = blocking.as_completed(blocking.start_in_batches(blocking.export_users, ids()), max_waiting=1)
    assert all(outcome.ok for outcome in ended)
    assert [len(body) for body in sent(threaded_server)] == [25, 25, 10] * 2


def test_the_blocking_client_tells_of_a_refused_batch(blocking: Stream, threaded_server: FakeStream) -> None:
    """The same error, for the same reasons; a 429 is waited out first."""
    starting = blocking.start_in_batches(blocking.delete_users, users(250))
    first = next(starting)
    threaded_server.inject(Fault.status(502))
    with pytest.raises(StreamBatchException, match="from item 101 on may or may not have been") as info:
        next(starting)
    assert info.value.task_ids == [first.task_id]


def test_the_blocking_client_passes_on_what_the_items_raise(
    blocking: Stream, threaded_server: FakeStream
) -> None:
    """With the same note."""

    def items() -> Iterator[str]:
        yield "jane"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as info:
        next(blocking.start_in_batches(blocking.delete_users, items()))
    assert info.value.__notes__ == [
        "delete_users: no item from number 1 on was started; taken already: 'jane'"
    ]
    assert not threaded_server.requests


def test_the_blocking_client_waits_out_a_429(
    blocking: Stream, threaded_server: FakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over real sockets, the same batch is sent again and nothing else."""
    monkeypatch.setattr(_batches, "HOLDS", Backoff(0.05, 0.05, jitter=0))
    threaded_server.inject(Fault.status(429), times=2)
    assert len(list(blocking.start_in_batches(blocking.delete_users, users(101)))) == 2
    assert [len(body) for body in sent(threaded_server)] == [100, 100, 100, 1]
