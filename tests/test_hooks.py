"""Hooks: who is told what, in which order, and what a hook cannot do to a wait."""

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from scripted import ById, QuotaServer, Script, ScriptedStream, assert_rests

from stream_tasks import (
    AsyncStream,
    RateLimit,
    Stats,
    Stream,
    StreamApiException,
    StreamRateLimitException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
    instrumentation,
)
from stream_tasks._engine.tuning import WAITS_A_TURN
from stream_tasks.endpoints import CAMPAIGN
from stream_tasks.instrumentation import (
    Event,
    Held,
    PollEnded,
    PollStarted,
    Resumed,
    WaitEnded,
    WaitStarted,
    add_hook,
    remove_hook,
)
from stream_tasks.testing import FakeStream

AWAY = StreamTransportException("connection_reset")
SPENT = RateLimit(600, 0, datetime.now(UTC) + timedelta(seconds=30), 30.0)


class Heard(list[Event]):
    """A hook that keeps what it is told."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def note(self, event: Event) -> None:
        self(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What all clients of the process tell."""
    heard = Heard()
    add_hook(heard)
    yield heard
    remove_hook(heard)


@pytest.mark.looptime
async def test_a_wait_is_told_from_its_beginning_to_its_end(heard: Heard) -> None:
    """Each poll is told, and that polls are held back and go on again, with the numbers."""
    client = ScriptedStream(Script("running", AWAY, AWAY, "running", "completed"))
    await client.wait_for_task("t", timeout=30, operation="delete_users")
    assert heard.kinds == [
        "WaitStarted",
        "PollEnded",
        "PollEnded",
        "Held",
        "PollEnded",
        "Resumed",
        "PollEnded",
        "PollEnded",
        "WaitEnded",
    ]
    assert {(event.task_id, event.operation) for event in heard} == {("t", "delete_users")}
    [started], [ended] = heard.of(WaitStarted), heard.of(WaitEnded)
    assert started.timeout == 30
    assert started.wait_id == ended.wait_id
    assert (ended.outcome, ended.status, ended.polls) == ("completed", "completed", 5)
    assert ended.reason is ended.error is None
    assert ended.task.is_completed
    assert 3 < ended.seconds < 10
    polls = heard.of(PollEnded)
    assert [poll.reason for poll in polls] == [None, "unreachable", "unreachable", None, None]
    assert [poll.status for poll in polls] == ["running", None, None, "running", "completed"]
    assert [poll.error for poll in polls] == [None, AWAY, AWAY, None, None]
    assert {poll.wait_ids for poll in polls} == {(started.wait_id,)}
    assert {poll.route for poll in polls} == {"/api/v2/tasks/{id}"}
    [held], [resumed] = heard.of(Held), heard.of(Resumed)
    assert (held.reason, held.status, held.polls, held.error) == ("unreachable", "running", 2, AWAY)
    assert 0.1 < held.seconds <= 0.25
    assert (resumed.reason, resumed.status) == ("unreachable", "running")
    assert 0.3 < resumed.seconds < 3


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("steps", "outcome", "reason"),
    [
        pytest.param(["failed"], "failed", "unknown", id="the task failed"),
        pytest.param(["running"], "timed_out", "still_running", id="the task takes longer"),
        pytest.param([AWAY], "timed_out", "unreachable", id="the server is not there"),
        pytest.param([StreamRateLimitException()], "timed_out", "rate_limited", id="the quota is spent"),
        pytest.param([StreamApiException(status_code=404)], "timed_out", "not_found", id="no such task"),
        pytest.param([StreamApiException(status_code=403)], "error", "StreamApiException", id="refused"),
    ],
)
async def test_every_end_is_told(steps: list[Any], outcome: str, reason: str, heard: Heard) -> None:
    """How the wait ended, and why, is the same as the caller gets."""
    client = ScriptedStream(Script(*steps))
    with pytest.raises((StreamTaskException, StreamApiException, StreamTransportException)) as caught:
        await client.wait_for_task("t", timeout=2)
    [ended] = heard.of(WaitEnded)
    assert (ended.outcome, ended.reason) == (outcome, reason)
    assert len(heard.of(Held)) == len(heard.of(Resumed)) == (reason in ("unreachable", "rate_limited"))
    if not isinstance(caught.value, StreamTaskException):
        assert ended.error is caught.value


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (StreamRateLimitException(), "rate_limited"),
        (StreamApiException(status_code=404), "not_found"),
        (StreamApiException(status_code=503), "unreachable"),
        (StreamApiException(status_code=401), "refused"),
    ],
)
async def test_why_a_poll_brought_nothing(step: Exception, reason: str, heard: Heard) -> None:
    """A refusal for the rate, an unknown task, an outage and a refusal for good are told apart."""
    with contextlib.suppress(StreamApiException):
        await ScriptedStream(Script(step, "completed")).wait_for_task("t")
    assert heard.of(PollEnded)[0].reason == reason
    assert heard.of(PollEnded)[0].error is step


@pytest.mark.looptime
async def test_a_wait_that_is_given_up(heard: Heard) -> None:
    """Its poll, which nobody wants any more, is told as dropped before the wait's end or after it."""
    client = ScriptedStream(Script("running", latency=1.0))
    waiting = asyncio.create_task(client.wait_for_task("t", timeout=None))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.wait([waiting])
    [poll], [ended] = heard.of(PollEnded), heard.of(WaitEnded)
    assert (poll.reason, poll.status, poll.error) == ("dropped", None, None)
    assert poll.seconds == pytest.approx(0.5)
    assert (ended.outcome, ended.reason, ended.error) == ("cancelled", None, None)


@pytest.mark.looptime
async def test_a_poll_that_the_deadline_cut(heard: Heard) -> None:
    """It says nothing about the server: it is told as dropped."""
    with pytest.raises(StreamWaitTimeoutException):
        await ScriptedStream(Script("running", latency=9.0)).wait_for_task("t", timeout=1)
    assert [poll.reason for poll in heard.of(PollEnded)] == ["dropped"]
    assert heard.of(WaitEnded)[0].outcome == "timed_out"


@pytest.mark.looptime
async def test_waits_for_one_task_are_told_apart(heard: Heard) -> None:
    """Each has an id of its own, and polls name all that have a part in them, the oldest first."""
    client = ScriptedStream(Script("running", "completed"))
    first = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.sleep(0.5)
    await asyncio.gather(first, client.wait_for_task("t", operation="delete_users"))
    one, other = (event.wait_id for event in heard.of(WaitStarted))
    assert one != other
    assert {event.wait_id for event in heard.of(WaitEnded)} == {one, other}
    polls = heard.of(PollEnded)
    assert [poll.wait_ids for poll in polls] == [(one,), (one, other)]
    assert [poll.operation for poll in polls] == [None, "delete_users"]


@pytest.mark.looptime
async def test_what_is_polled_elsewhere_has_its_route(heard: Heard) -> None:
    """The route holds no id: it tells kinds of requests, not single ones."""
    client = ScriptedStream(Script("completed"))
    await client.wait_for_tasks([CAMPAIGN.of("spring")])
    assert heard.of(PollEnded)[0].route == "/api/v2/chat/campaigns/{id}"
    assert heard.of(WaitStarted)[0].task_id == "spring"


async def test_waits_whose_deadline_comes_before_their_turn(heard: Heard) -> None:
    """They are told, too: each wait has a beginning and an end."""
    client = ScriptedStream(Script("running"))
    count = 4 * WAITS_A_TURN
    waits = [client.wait_for_task(f"t{number}", timeout=1e-6) for number in range(count)]
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(error) for error in ended} == {StreamWaitTimeoutException}
    started, over = heard.of(WaitStarted), heard.of(WaitEnded)
    assert (
        {event.task_id for event in started}
        == {event.task_id for event in over}
        == {f"t{number}" for number in range(count)}
    )
    assert len(started) == len(over) == count
    assert {event.outcome for event in over} == {"timed_out"}
    assert client.stats().waiting == 0


@pytest.mark.looptime
async def test_the_quota_holds_polls_back(heard: Heard) -> None:
    """Polls that wait for their share of the quota are told as held, once, and that they resumed."""
    server = QuotaServer(600, duration=lambda _: 2.0)
    client = ScriptedStream(server)
    outcomes = await client.wait_for_tasks([f"t{number}" for number in range(100)])
    [held], [resumed] = heard.of(Held)[:1], heard.of(Resumed)[:1]
    assert (held.reason, held.error) == ("rate_limited", None)
    assert (resumed.reason, resumed.status) == ("rate_limited", None)
    assert 1 < resumed.seconds < 60
    assert len(heard.of(Held)) == len(heard.of(Resumed))
    told = {event.task_id: event.held for event in heard.of(WaitEnded)}
    assert told == {task_id: outcome.held for task_id, outcome in outcomes.items()}
    assert max(told.values()) > 1
    late = [poll.late for poll in heard.of(PollEnded)]
    assert max(late) > 1
    assert min(late) >= 0
    quotas = [poll.rate_limit for poll in heard.of(PollEnded)]
    assert {quota.limit for quota in quotas if quota is not None} == {600}


@pytest.mark.looptime
async def test_the_quota_no_longer_holds_polls_back() -> None:
    """That is told while others still wait, when a poll goes out in time again."""
    waiting: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, Resumed):
            waiting.append(client.stats().waiting)

    server = QuotaServer(600, duration=lambda task_id: 100.0 if task_id == "long" else 2.0)
    client = ScriptedStream(server, hooks=[note])
    await client.wait_for_tasks(["long", *(f"t{number}" for number in range(60))], timeout=None)
    assert waiting == [1]


@pytest.mark.looptime
async def test_trouble_while_the_quota_holds_polls_back() -> None:
    """The one ends before the other begins: nothing is held twice, and the log tells the trouble alone."""
    heard = Heard()
    server = QuotaServer(600)

    async def fetch(key: Any, limit: float) -> Any:
        if heard.of(Held) and not heard.of(Resumed):
            raise AWAY
        return await server(key, limit)

    client = ScriptedStream(fetch, hooks=[heard])
    await client.wait_for_tasks([f"t{number}" for number in range(50)], timeout=10)
    told = [(type(event).__name__, event.reason) for event in heard if isinstance(event, Held | Resumed)]
    assert told[:4] == [
        ("Held", "rate_limited"),
        ("Resumed", "rate_limited"),
        ("Held", "unreachable"),
        ("Resumed", "unreachable"),
    ]


@pytest.mark.looptime
async def test_nothing_is_held_when_nobody_waits(heard: Heard) -> None:
    """The time in which nobody waits does not count: the next wait's trouble is new."""
    client = ScriptedStream(Script(AWAY))
    for _ in range(2):
        with pytest.raises(StreamWaitTimeoutException):
            await client.wait_for_task("t", timeout=3)
        await asyncio.sleep(100)
    assert [event.reason for event in heard.of(Held)] == ["unreachable", "unreachable"]
    assert [event.status for event in heard.of(Resumed)] == [None, None]
    assert all(event.seconds <= 3 for event in heard.of(Resumed))


@pytest.mark.looptime
async def test_hooks_of_a_client_and_of_the_process(heard: Heard) -> None:
    """A client's are told of its waits alone, the process's of all; nobody is told twice."""
    own, other = Heard(), Heard()
    client = ScriptedStream(Script("completed"), hooks=[own, heard, own])
    await client.wait_for_task("a")
    await ScriptedStream(Script("completed"), hooks=iter([other])).wait_for_task("b")
    assert [event.task_id for event in own.of(WaitEnded)] == ["a"]
    assert [event.task_id for event in other.of(WaitEnded)] == ["b"]
    assert [event.task_id for event in heard.of(WaitEnded)] == ["a", "b"]
    remove_hook(heard)
    remove_hook(heard)
    await ScriptedStream(Script("completed")).wait_for_task("c")
    assert len(heard.of(WaitEnded)) == 2


async def test_a_hook_is_added_once() -> None:
    """Adding one that is there changes nothing, and a bound method is the same each time it is named."""
    heard, like_it = Heard(), Heard()
    for _ in range(2):
        add_hook(heard.note)
    add_hook(like_it)
    await ScriptedStream(Script("completed"), hooks=[heard.note]).wait_for_task("t")
    remove_hook(heard.note)
    remove_hook(like_it)
    await ScriptedStream(Script("completed")).wait_for_task("t")
    assert heard.kinds == like_it.kinds == ["WaitStarted", "PollEnded", "WaitEnded"]


class Raises:
    """A hook that fails wherever it is called."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, _: Event) -> None:
        raise self.error

    def around_poll(self, _: PollStarted) -> Any:
        raise self.error


class RaisesAtTheEnd(Raises):
    @contextlib.contextmanager
    def around_poll(self, _: PollStarted) -> Iterator[None]:
        yield
        raise self.error


@pytest.mark.looptime
@pytest.mark.parametrize("kind", [Raises, RaisesAtTheEnd])
@pytest.mark.parametrize(
    "error", [LookupError("no"), asyncio.CancelledError(), StreamTransportException("timeout")]
)
async def test_a_hook_that_raises_touches_no_wait(
    kind: type[Raises], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first failure is logged with its traceback; all other hooks are told all the same."""
    before, after = Heard(), Heard()
    client = ScriptedStream(
        ById({"a": ["running", AWAY, "completed"], "b": ["failed"]}), hooks=[before, kind(error), after]
    )
    outcomes = await client.wait_for_tasks(["a", "b"])
    assert [outcome.status for outcome in outcomes.values()] == ["completed", "failed"]
    assert list(before) == list(after)
    assert len(after.of(WaitEnded)) == 2
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.stream_event == "hook_failed"  # type: ignore[attr-defined]
    assert kind.__name__ in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_a_hook_fails_where_the_log_fails() -> None:
    """A filter of the log that raises does not bring the hook's failure back to the wait."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError

    logger = logging.getLogger("stream_tasks")
    logger.addFilter(refuse)
    try:
        client = ScriptedStream(Script("completed"), hooks=[Raises(LookupError())])
        assert await client.wait_for_task("t") == {}
    finally:
        logger.removeFilter(refuse)


async def _no_hook(event: Event) -> None:
    """A coroutine function."""


class _NoHook:
    async def __call__(self, event: Event) -> None:
        """A coroutine function."""


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        pytest.param(print, "hooks must be a list of functions, not builtin_function", id="no list"),
        pytest.param(["no"], "each of hooks must be a function of one event, not str", id="no function"),
        pytest.param([_no_hook], "nobody would await", id="a coroutine function"),
        pytest.param([_NoHook()], "nobody would await", id="an object that is called as one"),
    ],
)
@pytest.mark.parametrize("make", [AsyncStream, Stream])
def test_what_is_no_hook(make: Callable[..., Any], hooks: Any, message: str) -> None:
    """It is an error where it is given."""
    with pytest.raises(TypeError, match=message):
        make("key", "secret", hooks=hooks)


def test_what_is_no_hook_of_the_process() -> None:
    """It is an error, too."""
    with pytest.raises(TypeError, match="hook must be a function of one event, not int"):
        add_hook(1)  # type: ignore[arg-type]


class Around(Heard):
    """A hook that is put around polls."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[PollStarted] = []
        self.seen: list[PollStarted] = []

    @contextlib.contextmanager
    def around_poll(self, poll: PollStarted) -> Iterator[None]:
        self.open.append(poll)
        self.seen.append(poll)
        try:
            yield
        finally:
            self.open.remove(poll)


@pytest.mark.looptime
async def test_a_hook_around_polls() -> None:
    """It is open while the request is made, whether that brings something, fails or is cancelled."""
    hook = Around()
    script = Script("running", AWAY, "running", latency=0.2)
    opened = []

    async def fetch(key: Any, limit: float) -> Any:
        opened.append(len(hook.open))
        return await script(key, limit)

    client = ScriptedStream(fetch, hooks=[hook])
    waiting = asyncio.create_task(client.wait_for_task("t", operation="delete_users"))
    await asyncio.sleep(1.8)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert opened == [1] * len(hook.seen)
    assert hook.open == []
    assert len(opened) == len(hook.of(PollEnded))
    [started] = hook.of(WaitStarted)
    assert [poll.wait_ids for poll in hook.seen] == [(started.wait_id,)] * len(opened)
    assert [poll.poll_id for poll in hook.seen] == [poll.poll_id for poll in hook.of(PollEnded)]
    assert {(poll.task_id, poll.operation, poll.route) for poll in hook.seen} == {
        ("t", "delete_users", "/api/v2/tasks/{id}")
    }


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def test_a_wait_begins_in_the_context_of_its_caller(threaded_server: FakeStream) -> None:
    """Also in the blocking client, whose loop runs in another thread, and however one waits."""
    server = threaded_server
    server.add_task("t", statuses=[])
    told = []

    def note(event: Event) -> None:
        if isinstance(event, WaitStarted | WaitEnded):
            told.append((type(event).__name__, who.get()))

    with Stream(server.api_key, server.api_secret, base_url=server.url, hooks=[note]) as client:
        who.set("one")
        client.wait_for_task("t")
        who.set("many")
        client.wait_for_tasks(["t"])
        who.set("as completed")
        list(client.as_completed(["t"]))
        who.set("watched")
        list(client.watch_task("t"))
    whose = ("one", "many", "as completed", "watched")
    assert told == [(kind, name) for name in whose for kind in ("WaitStarted", "WaitEnded")]


def test_events_are_frozen_and_can_be_unfolded() -> None:
    """Whoever writes JSON lines needs no more than `attrs.asdict`."""
    event = WaitStarted(task_id="t", operation=None, wait_id=1, timeout=None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.task_id = "u"  # type: ignore[misc]
    assert attrs.asdict(event) == {"task_id": "t", "operation": None, "wait_id": 1, "timeout": None}


@pytest.mark.looptime
async def test_without_hooks_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that ends well costs nothing more as long as nobody listens."""
    logging.getLogger("stream_tasks").setLevel(logging.WARNING)

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError

    for kind in ("WaitStarted", "PollStarted", "PollEnded", "WaitEnded"):
        monkeypatch.setattr(f"stream_tasks._engine.reporter.{kind}", fail)
    try:
        assert await ScriptedStream(Script("running", "completed")).wait_for_task("t") == {}
    finally:
        logging.getLogger("stream_tasks").setLevel(logging.NOTSET)


async def test_all_names_are_there() -> None:
    """What the module tells is what can be imported from it, and is documented."""
    assert sorted(instrumentation.__all__) == instrumentation.__all__
    values = [getattr(instrumentation, name) for name in instrumentation.__all__]
    assert all(value.__doc__ for value in values if inspect.isclass(value) or inspect.isfunction(value))


async def test_a_snapshot_of_a_client(server: FakeStream, client: AsyncStream) -> None:
    """It counts waits and polls, and knows the quota that the server told."""
    assert client.stats() == Stats()
    server.rate_limit = 600
    server.add_task("t", after=60)
    waits = [asyncio.create_task(client.wait_for_task("t")) for _ in range(3)]
    while client.stats().quota is None:
        await asyncio.sleep(0.01)
    stats = client.stats()
    assert (stats.waiting, stats.in_flight, stats.polls, stats.refused) == (3, 0, 1, 0)
    assert stats.quota is not None
    assert (stats.quota.limit, stats.quota.remaining) == (600, 599)
    assert (stats.held_until, stats.obstacle) == (None, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.waiting = 0  # type: ignore[misc]
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    assert client.stats().waiting == 0
    await client.aclose()
    assert client.stats().polls == 0


@pytest.mark.looptime
async def test_a_snapshot_of_a_client_that_is_held() -> None:
    """It tells until when, and what holds it back."""
    refusal = StreamRateLimitException(retry_after=timedelta(seconds=30), rate_limit=SPENT)
    client = ScriptedStream(Script("running", refusal, "running"))
    waiting = asyncio.create_task(client.wait_for_task("t", timeout=None))
    await asyncio.sleep(2)
    stats = client.stats()
    assert (stats.polls, stats.refused, stats.quota) == (2, 1, SPENT)
    assert stats.obstacle == client.obstacle
    assert stats.obstacle is not None
    assert stats.obstacle.reason == "rate_limited"
    assert stats.held_until is not None
    left = (stats.held_until - datetime.now(UTC)).total_seconds()
    assert 28 < left < 31
    assert left == pytest.approx(stats.obstacle.seconds, abs=1)
    await asyncio.sleep(40)
    assert (client.stats().held_until, client.stats().obstacle) == (None, None)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (client.stats().waiting, client.stats().in_flight) == (0, 0)


@pytest.mark.looptime
async def test_a_snapshot_without_pacing() -> None:
    """Nothing holds such a client."""
    client = ScriptedStream(Script(StreamRateLimitException(retry_after=timedelta(seconds=9))), pacing=False)
    with pytest.raises(StreamWaitTimeoutException):
        await client.wait_for_task("t", timeout=5)
    assert client.stats().held_until is None
    assert client.stats().refused == client.stats().polls > 1


def test_a_snapshot_of_a_blocking_client(threaded_server: FakeStream, blocking: Stream) -> None:
    """Any thread may ask while others wait."""
    assert blocking.stats() == Stats()
    threaded_server.add_task("t", after=60)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: blocking.wait_for_task("t", 0.05))
        while blocking.stats().polls < 2:
            time.sleep(0.01)
        assert blocking.stats().waiting == 1
        blocking.close()
        with pytest.raises(StreamTransportException, match="closed"):
            waiting.result()
    with pytest.raises(RuntimeError, match="closed"):
        blocking.stats()
