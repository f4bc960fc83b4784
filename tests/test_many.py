"""Many tasks at once: `wait_for_tasks` and `as_completed`, in virtual time."""

import asyncio
import gc
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import anyio
import pytest
from scripted import (
    ById,
    ByTime,
    Hang,
    QuotaServer,
    Script,
    ScriptedStream,
    assert_rests,
    in_virtual_time,
    tasks_left,
)

from stream_tasks import (
    ExportUsersResult,
    StartedTask,
    Stream,
    StreamApiException,
    StreamDecodeException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
    TaskOutcome,
    TaskResult,
)
from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.tracked import TrackedTask, Wait
from stream_tasks._engine.tuning import INITIAL_IN_FLIGHT, WAITS_A_TURN
from stream_tasks.testing import FakeStream

pytestmark = pytest.mark.looptime

DENIED = StreamApiException(status_code=401)
AT_ONCE = StartedTask(None, {"duration": "1ms"}, TaskResult, TaskResult({"ok": 1}))


def seconds(task_id: str) -> float:
    """A task that is named for how long it takes."""
    return float(task_id)


def ids(outcomes: list[TaskOutcome[Any]]) -> list[str | None]:
    return [outcome.task_id for outcome in outcomes]


# wait_for_tasks


async def test_every_task_gets_an_outcome_whatever_becomes_of_the_others() -> None:
    """Completed, failed, refused, undecodable or late: nothing about one task is raised."""
    server = ById(
        {
            "late": ["running"],
            "good": ["running", "completed"],
            "bad": ["running", "failed"],
            "denied": [DENIED],
            "odd": [StreamDecodeException("no status", path="$.status")],
            "stuck": [Hang(3600)],
        }
    )
    client = ScriptedStream(server)
    outcomes = await client.wait_for_tasks(list(server.scripts), timeout=5)
    assert list(outcomes) == list(server.scripts)
    errors = {task_id: type(outcome.exception()) for task_id, outcome in outcomes.items()}
    assert errors == {
        "late": StreamWaitTimeoutException,
        "good": type(None),
        "bad": StreamTaskException,
        "denied": StreamApiException,
        "odd": StreamDecodeException,
        "stuck": StreamWaitTimeoutException,
    }
    assert outcomes["good"].ok
    assert outcomes["good"].result() == {}
    assert [outcome.polls for outcome in outcomes.values()] == [6, 2, 2, 1, 1, 1]
    assert outcomes["late"].elapsed == pytest.approx(5, abs=0.05)
    assert_rests(client.engine)


async def test_a_result_that_does_not_fit_is_that_tasks_own_trouble() -> None:
    """A typed result that cannot be decoded is an outcome, like any other error."""
    client = ScriptedStream(Script("completed"))
    tasks: list[str | StartedTask[Any]] = [StartedTask("a", {}, ExportUsersResult), "b"]
    outcomes = await client.wait_for_tasks(tasks)
    assert isinstance(outcomes["a"].exception(), StreamDecodeException)
    assert outcomes["b"].ok
    assert_rests(client.engine)


async def test_one_deadline_is_for_the_whole_call() -> None:
    """Tasks that had to queue have no more time than the others."""
    client = ScriptedStream(ByTime(lambda _: 3600, latency=1.0), max_connections=2)
    begun = client.engine.now()
    outcomes = await client.wait_for_tasks(map(str, range(100)), timeout=10)
    assert client.engine.now() - begun == pytest.approx(10, abs=0.05)
    errors = [outcome.exception() for outcome in outcomes.values()]
    assert len(errors) == 100
    assert all(isinstance(error, StreamWaitTimeoutException) for error in errors)
    assert_rests(client.engine)


@pytest.mark.parametrize("timeout", [0, 7.5])
async def test_a_late_outcome_tells_the_time_it_took(timeout: float) -> None:
    """Outcome and error agree, also after a single look."""
    await asyncio.sleep(100)
    client = ScriptedStream(Script("running", latency=0.5))
    outcome = (await client.wait_for_tasks(["a"], timeout=timeout))["a"]
    error = outcome.exception()
    assert isinstance(error, StreamWaitTimeoutException)
    assert error.elapsed == pytest.approx(outcome.elapsed) == pytest.approx(timeout or 0.5, abs=0.05)
    assert error.task == outcome.task
    assert_rests(client.engine)


async def test_a_timeout_of_zero_is_one_look_at_each() -> None:
    """Finished tasks are returned, the others are not waited for."""
    server = ById({"a": ["completed"], "b": ["running"]})
    client = ScriptedStream(server)
    outcomes = await client.wait_for_tasks(["a", "b", "a"], timeout=0)
    assert [outcome.ok for outcome in outcomes.values()] == [True, False]
    assert server.polls == 2
    assert_rests(client.engine)


async def test_outcomes_stand_in_the_order_of_the_input_duplicates_once() -> None:
    """Whoever comes first, ids, operations and those done at once alike."""
    server = ByTime(lambda task_id: {"a": 3, "b": 1, "c": 2}[task_id])
    client = ScriptedStream(server)
    typed = StartedTask("c", {}, dict)
    tasks: list[str | StartedTask[Any]] = ["a", AT_ONCE, "c", "b", "a", typed, "c"]
    outcomes = await client.wait_for_tasks(tasks)
    assert list(outcomes) == ["a", "#2", "c", "b"]
    assert outcomes["#2"].result() == {"ok": 1}
    assert (outcomes["#2"].task_id, outcomes["#2"].polls) == (None, 0)
    assert type(outcomes["a"].result()) is TaskResult
    assert type(outcomes["c"].result()) is dict, "an operation knows more than a bare id"
    assert len([task_id for _, task_id in server.polls if task_id == "a"]) == 4
    assert_rests(client.engine)


async def test_no_outcome_is_lost_to_an_id_that_looks_like_a_place() -> None:
    """What was done at once gets another key, wherever the id stands."""
    client = ScriptedStream(ById({"#1": ["completed"], "##1": ["completed"], "#4": ["completed"]}))
    outcomes = await client.wait_for_tasks([AT_ONCE, "#1", "#4", AT_ONCE, "##1", AT_ONCE])
    assert list(outcomes) == ["###1", "#1", "#4", "##4", "##1", "#6"]
    assert [outcome.task_id for outcome in outcomes.values()] == [None, "#1", "#4", None, "##1", None]


async def test_nothing_to_wait_for_is_no_request() -> None:
    """An empty input gives an empty dict."""
    script = Script("running")
    assert await ScriptedStream(script).wait_for_tasks([]) == {}
    assert await ScriptedStream(script).wait_for_tasks(iter(())) == {}
    assert list(await ScriptedStream(script).wait_for_tasks([AT_ONCE])) == ["#1"]
    assert not script.polls


@pytest.mark.parametrize(
    ("tasks", "error", "message"),
    [
        pytest.param("abc", TypeError, "tasks must be an iterable .* not str", id="one id"),
        pytest.param(AT_ONCE, TypeError, "not StartedTask", id="one operation"),
        pytest.param(7, TypeError, "not int", id="a number"),
        pytest.param([AT_ONCE, 7], TypeError, "tasks, at place 2, must be .* not int", id="a bad item"),
        pytest.param(["a", ""], ValueError, "tasks, at place 2, must be a non-empty", id="an empty id"),
    ],
)
async def test_bad_input_is_told_before_any_request(tasks: Any, error: type[Exception], message: str) -> None:
    """The message says which one it was, and no callback has run."""
    script = Script("running")
    told: list[Any] = []
    with pytest.raises(error, match=message):
        await ScriptedStream(script).wait_for_tasks(tasks, on_outcome=told.append)
    assert not script.polls
    assert not told


async def test_a_callback_hears_of_outcomes_as_they_come() -> None:
    """In the order of completion, a plain function or a coroutine function."""
    client = ScriptedStream(ByTime(seconds))
    heard: list[Any] = []
    slowly: list[Any] = []

    async def on_outcome(outcome: TaskOutcome[Any]) -> None:
        await asyncio.sleep(0.25)
        slowly.append(outcome.task_id)

    await client.wait_for_tasks(["3", AT_ONCE, "1", "2"], on_outcome=lambda o: heard.append(o.task_id))
    assert_rests(client.engine)
    client = ScriptedStream(ByTime(seconds))
    await client.wait_for_tasks(["3", AT_ONCE, "1", "2"], on_outcome=on_outcome)
    assert heard == slowly == [None, "1", "2", "3"]
    assert_rests(client.engine)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "coroutine"])
async def test_an_error_in_a_callback_reaches_the_caller_and_stops_the_rest(*, is_async: bool) -> None:
    """Nothing of the other waits is left."""
    server = ByTime(seconds, latency=0.3)
    client = ScriptedStream(server)

    def plain(outcome: TaskOutcome[Any]) -> None:
        raise LookupError(outcome.task_id)

    async def coroutine(outcome: TaskOutcome[Any]) -> None:
        plain(outcome)

    with pytest.raises(LookupError, match="2"):
        await client.wait_for_tasks(["100", "2", "3"], on_outcome=coroutine if is_async else plain)
    assert_rests(client.engine)
    polls = len(server.polls)
    await asyncio.sleep(100)
    assert len(server.polls) == polls


@pytest.mark.parametrize("after", [0.0, 0.1, 0.2, 0.5, 1.3])
async def test_cancelling_the_call_cancels_all_and_leaves_nothing(after: float) -> None:
    """Asleep, queued or in flight: no task, no timer, no poll."""
    server = ByTime(lambda _: 3600, latency=0.4)
    client = ScriptedStream(server, max_connections=20)
    call = asyncio.create_task(client.wait_for_tasks(map(str, range(50))))
    await asyncio.sleep(after)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not server.in_flight
    assert_rests(client.engine)


async def test_the_callers_own_time_limits_pass_untouched() -> None:
    """Around the call they behave as around a sleep."""
    client = ScriptedStream(Script("running", Hang(3600)))
    with anyio.move_on_after(5) as scope:
        await client.wait_for_tasks(["a", "b"])
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError) as info:
        await asyncio.wait_for(client.wait_for_tasks(["a", "b"]), 5)
    assert type(info.value) is TimeoutError
    assert_rests(client.engine)


async def test_closing_the_client_ends_the_waits() -> None:
    """Each outcome says that the client was closed."""
    client = ScriptedStream(Script("running", Hang(3600)))
    engine = client.engine
    call = asyncio.create_task(client.wait_for_tasks(["a", "b"]))
    await asyncio.sleep(2)
    await client.aclose()
    outcomes = await call
    assert all("was closed" in str(outcome.exception()) for outcome in outcomes.values())
    assert all(isinstance(outcome.exception(), StreamTransportException) for outcome in outcomes.values())
    assert_rests(engine)


# as_completed


@pytest.mark.parametrize("way", ["wait_for_task", "wait_for_tasks"])
async def test_closing_the_client_ends_waits_that_have_hardly_begun(way: str) -> None:
    """Thousands begin some at a time; those whose turn has not come end like the others, at once."""
    script = Script("running", latency=0.1)
    client = ScriptedStream(script)
    engine = client.engine
    ids = [str(number) for number in range(1_000)]
    waits: list[Any]
    if way == "wait_for_task":
        waits = [asyncio.create_task(client.wait_for_task(task_id, timeout=3600)) for task_id in ids * 2]
    else:
        waits = [asyncio.create_task(client.wait_for_tasks(ids, timeout=3600))] * 2
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await client.aclose()
    begun = engine.now()
    results: list[Any] = await asyncio.gather(*waits, return_exceptions=True)
    if way == "wait_for_tasks":
        results = [outcome.exception() for outcomes in results for outcome in outcomes.values()]
    assert {type(result) for result in results} == {StreamTransportException}
    assert len(results) == 2_000
    assert engine.now() <= begun + 0.1
    assert len(script.polls) <= INITIAL_IN_FLIGHT
    assert_rests(engine)


async def test_closing_the_client_ends_an_endless_source() -> None:
    """What was under way is told, and then that the client is closed; nothing more is pulled."""
    source = Pulled()
    client = ScriptedStream(Script("running"))
    engine = client.engine
    found: list[Any] = []

    async def consume() -> None:
        async for outcome in client.as_completed(source, max_waiting=3):
            found.append(outcome.exception())  # noqa: PERF401 - what came before the error counts

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(2)
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await consumer
    assert source.count <= 4
    assert all(isinstance(error, StreamTransportException) for error in found)
    assert_rests(engine)


async def generator(*tasks: Any) -> AsyncIterator[Any]:
    for task in tasks:
        yield task


class Pulled:
    """An endless source that counts."""

    def __init__(self, name: Callable[[int], str] = str) -> None:
        self.count = 0
        self.name = name

    def __iter__(self) -> Iterator[str]:
        for number in itertools.count():
            self.count += 1
            yield self.name(number)

    async def slowly(self, gap: float) -> AsyncIterator[str]:
        for task_id in self:
            yield task_id
            await asyncio.sleep(gap)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda: ["3", "1", "2"], id="a list"),
        pytest.param(lambda: iter(["3", "1", "2"]), id="an iterator"),
        pytest.param(lambda: (task for task in ["3", "1", "2"]), id="a generator"),
        pytest.param(lambda: generator("3", "1", "2"), id="an async generator"),
        pytest.param(lambda: {"3": 0, "1": 0, "2": 0}, id="a dict"),
    ],
)
async def test_outcomes_come_in_the_order_of_completion(source: Callable[[], Any]) -> None:
    """From whatever the tasks are given in."""
    client = ScriptedStream(ByTime(seconds))
    outcomes = [outcome async for outcome in client.as_completed(source())]
    assert ids(outcomes) == ["1", "2", "3"]
    assert all(outcome.ok for outcome in outcomes)
    assert_rests(client.engine)


async def test_operations_are_typed_and_those_done_at_once_come_at_once() -> None:
    """An operation that needs no waiting needs no request."""
    server = ByTime(seconds)
    client = ScriptedStream(server)
    tasks: list[str | StartedTask[Any]] = ["2", AT_ONCE, StartedTask("1", {}, dict)]
    outcomes = [o async for o in client.as_completed(tasks)]
    assert ids(outcomes) == [None, "1", "2"]
    assert [type(outcome.result()) for outcome in outcomes] == [TaskResult, dict, TaskResult]
    assert_rests(client.engine)


async def test_an_empty_source_ends_at_once() -> None:
    """It makes no request."""
    script = Script("running")
    nothing: list[str] = []
    assert [o async for o in ScriptedStream(script).as_completed(nothing)] == []
    assert [o async for o in ScriptedStream(script).as_completed(generator())] == []
    assert not script.polls


async def test_duplicates_come_as_often_as_they_were_given_but_cost_one_poll() -> None:
    """Each has its outcome."""
    server = ByTime(seconds)
    client = ScriptedStream(server)
    outcomes = [outcome async for outcome in client.as_completed(["2"] * 50)]
    assert len(outcomes) == 50
    assert len(server.polls) == 3
    assert_rests(client.engine)


async def test_an_endless_source_is_pulled_as_there_is_room() -> None:
    """No more than `max_waiting` are outstanding, those not yet handed out included."""
    source = Pulled()
    server = ByTime(lambda task_id: int(task_id) % 3)
    client = ScriptedStream(server)
    done = 0
    async with aclosing(client.as_completed(source, max_waiting=5)) as outcomes:
        async for _ in outcomes:
            done += 1
            await asyncio.sleep(0.5)
            assert source.count <= done + 5
            if done == 100:
                break
    assert server.most_in_flight <= 5
    assert_rests(client.engine)


@pytest.mark.parametrize("max_waiting", [0, -1, 1.5, True, "3"])
async def test_room_must_be_a_count(max_waiting: Any) -> None:
    """It is checked when the call is made."""
    client = ScriptedStream(Script("running"))
    with pytest.raises((TypeError, ValueError), match="max_waiting"):
        client.as_completed(["a"], max_waiting=max_waiting)


@pytest.mark.slow
def test_twenty_thousand_tasks_take_bounded_memory() -> None:
    """What has been handed out is forgotten; tasks that take equally long come in order."""

    def kept() -> int:
        return sum(isinstance(item, (Wait, TrackedTask, TaskOutcome)) for item in gc.get_objects())

    async def main() -> tuple[int, int]:
        client = ScriptedStream(Script("completed"))
        client._fetch.polls = client._fetch.ids = deque(maxlen=1)
        gc.collect()
        others = kept()  # what other tests have left
        seen = most = 0
        async for outcome in client.as_completed(map(str, range(20_000)), max_waiting=100):
            assert outcome.task_id == str(seen)
            seen += 1
            if seen % 20_000 == 0:
                most = max(most, kept() - others, len(client.engine._due._due._heap))
        assert_rests(client.engine)
        return seen, most

    seen, most = in_virtual_time(main())
    assert seen == 20_000
    assert most < 1000


@pytest.mark.parametrize("kind", ["iterable", "async iterable"])
async def test_the_deadline_ends_waits_while_the_source_is_pulled(kind: str) -> None:
    """Each wait has its own time-out from when it was pulled, however long the source goes on."""
    source = Pulled()
    client = ScriptedStream(Script("running", Hang(3600)))
    tasks: Any = source if kind == "iterable" else source.slowly(3600)
    begun = client.engine.now()
    async with aclosing(client.as_completed(tasks, timeout=5, max_waiting=2)) as outcomes:
        first = await anext(outcomes)
    assert isinstance(first.exception(), StreamWaitTimeoutException)
    assert client.engine.now() - begun == pytest.approx(5, abs=0.05)
    await tasks.aclose() if kind != "iterable" else None
    assert_rests(client.engine)


async def test_each_wait_has_its_own_deadline() -> None:
    """It counts from when the task was pulled."""
    client = ScriptedStream(Script("running"))
    begun = client.engine.now()
    ended = []
    async with aclosing(client.as_completed(Pulled().slowly(2), timeout=5)) as outcomes:
        async for outcome in outcomes:
            ended.append(round(client.engine.now() - begun, 1))
            assert outcome.elapsed == pytest.approx(5, abs=0.05)
            if len(ended) == 4:
                break
    assert ended == [5, 7, 9, 11]
    assert not client.engine._tasks


async def leave_by_break(outcomes: Any) -> None:
    async for _ in outcomes:
        break
    await outcomes.aclose()


async def leave_by_error(outcomes: Any) -> None:
    with pytest.raises(LookupError):  # noqa: PT012 - the loop is what is tested
        async with aclosing(outcomes) as found:
            async for outcome in found:
                raise LookupError(outcome.task_id)


async def leave_by_dropping(outcomes: Any) -> None:
    async for _ in outcomes:
        break
    del outcomes


async def leave_by_timeout(outcomes: Any) -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012 - the loop is what is tested
        async with asyncio.timeout(1.25):
            async for _ in outcomes:
                pass


async def leave_by_fail_after(outcomes: Any) -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012 - the loop is what is tested
        with anyio.fail_after(1.25):
            async for _ in outcomes:
                pass


async def leave_in_another_task(outcomes: Any) -> None:
    assert await asyncio.create_task(anext(outcomes))
    await asyncio.create_task(outcomes.aclose())


async def leave_by_cancelling(outcomes: Any) -> None:
    async def consume() -> None:
        async for _ in outcomes:
            pass

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(1.25)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer


@pytest.mark.parametrize("source", ["a list", "a source at rest", "a source that is being pulled", "no room"])
@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_error,
        leave_by_dropping,
        leave_by_timeout,
        leave_by_fail_after,
        leave_in_another_task,
        leave_by_cancelling,
    ],
    ids=lambda leave: leave.__name__.replace("_", " "),
)
async def test_leaving_the_loop_stops_the_rest_at_once(leave: Any, source: str) -> None:
    """No poll, no timer and no task is left, however the loop is left."""
    server = ByTime(lambda task_id: 0 if task_id == "0" else 3600, latency=0.2)
    client = ScriptedStream(server)
    tasks: Any = {
        "a list": ["0", "1", "2"],
        "a source at rest": generator("0", "1", "2"),
        "a source that is being pulled": Pulled().slowly(0.9),
        "no room": Pulled(),
    }[source]
    outcomes = client.as_completed(tasks, max_waiting=3 if source == "no room" else None)
    await leave(outcomes)
    del outcomes
    await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0.01)
    assert not server.in_flight
    assert_rests(client.engine)
    polls = len(server.polls)
    await asyncio.sleep(100)
    assert len(server.polls) == polls


async def test_an_iterator_that_was_never_begun_costs_nothing() -> None:
    """It pulls nothing and polls nothing."""
    source, script = Pulled(), Script("running")
    outcomes = ScriptedStream(script).as_completed(source)
    await asyncio.sleep(1)
    await outcomes.aclose()
    assert not source.count
    assert not script.polls
    assert not tasks_left()


async def test_no_scope_is_open_while_the_callers_code_runs() -> None:
    """A time limit begun within the loop's body ends only what the body does (PEP 789)."""
    client = ScriptedStream(ByTime(seconds))
    limited = []
    async for outcome in client.as_completed(["1", "2", "3"], timeout=4):
        with anyio.move_on_after(0.25) as scope:
            await asyncio.sleep(0.5)
        limited.append((outcome.task_id, outcome.ok, scope.cancelled_caught))
    assert limited == [("1", True, True), ("2", True, True), ("3", True, True)]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert_rests(client.engine)


async def test_a_body_slower_than_the_waits_loses_nothing() -> None:
    """Outcomes queue up while the caller works, and tell the time that the wait took."""
    client = ScriptedStream(ByTime(seconds))
    found = []
    async for outcome in client.as_completed(["1", "2", "3", "1000"], timeout=5):
        found.append((outcome.task_id, round(outcome.elapsed)))
        await asyncio.sleep(50)
    assert found[:3] == [("1", 1), ("2", 2), ("3", 3)]
    assert found[3][0] == "1000"
    assert_rests(client.engine)


class Broken:
    """A source that breaks after a while."""

    def __init__(self, *tasks: Any, error: Exception) -> None:
        self.tasks = tasks
        self.error = error

    def __iter__(self) -> Iterator[Any]:
        yield from self.tasks
        raise self.error

    async def after(self, gap: float) -> AsyncIterator[Any]:
        for task in self.tasks:
            yield task
        await asyncio.sleep(gap)
        raise self.error


@pytest.mark.parametrize("body", [0.0, 0.5, 5.0], ids=lambda body: f"a body of {body} s")
@pytest.mark.parametrize("max_waiting", [None, 1, 2])
@pytest.mark.parametrize("gap", [None, 0.0, 0.25, 1.0, 2.5, 50.0], ids=lambda gap: f"after {gap} s")
async def test_an_error_of_the_source_comes_after_all_outcomes(
    gap: float | None, max_waiting: int | None, body: float
) -> None:
    """Whenever it comes, also while the caller's own code runs: what was pulled before is waited for."""
    broken = Broken("0", "1", error=LookupError("no more"))
    client = ScriptedStream(ByTime(seconds))
    source: Any = broken if gap is None else broken.after(gap)
    found = []
    with pytest.raises(LookupError, match="no more"):  # noqa: PT012 - the loop is what is tested
        async for outcome in client.as_completed(source, max_waiting=max_waiting):
            found.append(outcome.task_id)
            await asyncio.sleep(body)
    assert found == ["0", "1"]
    assert_rests(client.engine)


@pytest.mark.parametrize("body", [0.0, 5.0])
@pytest.mark.parametrize(
    ("item", "error"), [(7, TypeError), (None, TypeError), ("", ValueError), ("..", ValueError)]
)
async def test_a_bad_item_in_the_source_reaches_the_caller(
    item: Any, error: type[Exception], body: float
) -> None:
    """After the outcomes of what came before it; what comes after it is not pulled."""
    client = ScriptedStream(ByTime(seconds))
    found = []
    with pytest.raises(error):  # noqa: PT012 - the loop is what is tested
        async for outcome in client.as_completed(["0", "1", item, "5"], max_waiting=2):
            found.append(outcome.task_id)
            await asyncio.sleep(body)
    assert found == ["0", "1"]
    assert_rests(client.engine)


async def test_an_error_of_the_source_comes_after_a_time_out() -> None:
    """A task that does not end in time has its outcome before the error, too."""
    client = ScriptedStream(ByTime(seconds))
    found = []
    with pytest.raises(LookupError):  # noqa: PT012 - the loop is what is tested
        async for outcome in client.as_completed(Broken("1", "1000", error=LookupError()), timeout=5):
            found.append((outcome.task_id, outcome.status))  # noqa: PERF401 - what came before the error counts
    assert found == [("1", "completed"), ("1000", "timed_out")]
    assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
    assert_rests(client.engine)


async def test_what_is_no_error_stops_the_rest_at_once() -> None:
    """A source that is cancelled waits for no outcome."""

    async def source() -> AsyncIterator[str]:
        yield "1000"
        raise asyncio.CancelledError

    client = ScriptedStream(ByTime(seconds))
    with pytest.raises(asyncio.CancelledError):
        await anext(client.as_completed(source()))
    assert asyncio.get_running_loop().time() < 1
    assert_rests(client.engine)


async def test_an_error_of_the_source_that_nobody_waits_for_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who has left the loop does not hear of it, and neither does asyncio's log."""
    client = ScriptedStream(ByTime(seconds))
    async with aclosing(client.as_completed(Broken("0", "1", error=LookupError()).after(0.5))) as outcomes:
        await anext(outcomes)
        await asyncio.sleep(1)
    gc.collect()
    assert not caplog.records
    assert_rests(client.engine)


async def test_the_sources_own_trouble_while_it_is_stopped_is_not_in_the_way() -> None:
    """A source is cancelled where it waits, and may clean up."""
    cleaned = []

    async def source() -> AsyncIterator[str]:
        yield "0"
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)
            cleaned.append(True)

    client = ScriptedStream(ByTime(seconds))
    async with aclosing(client.as_completed(source())) as outcomes:
        await anext(outcomes)
    assert cleaned
    assert_rests(client.engine)


@pytest.mark.parametrize(
    "tasks", [Pulled(), generator(*map(str, range(3 * WAITS_A_TURN)))], ids=["sync", "async"]
)
async def test_joining_lets_others_have_their_turn(tasks: Any) -> None:
    """Beginning waits by the thousand gives way to other coroutines now and then."""
    client = ScriptedStream(Script("running"))
    begun: list[int] = []

    async def bystander() -> None:
        while len(begun) < 3:
            await asyncio.sleep(0)
            begun.append(len(client.engine._tasks))

    other = asyncio.create_task(bystander())
    async with aclosing(client.as_completed(tasks, max_waiting=10 * WAITS_A_TURN)) as outcomes:
        step = asyncio.create_task(anext(outcomes))
        await other
        step.cancel()
        await asyncio.wait([step])
    assert begun[-1] <= 3 * WAITS_A_TURN
    assert not client.engine._tasks


async def test_thousands_that_end_at_once_let_others_have_their_turn() -> None:
    """Between their outcomes, the loop goes round now and then."""
    client = ScriptedStream(Script("running"))
    turns: list[int] = []

    async def bystander() -> None:
        while len(told) < 3 * WAITS_A_TURN:
            turns.append(len(told))
            await asyncio.sleep(0)

    told: list[Any] = []
    others: list[asyncio.Task[None]] = []

    def tell(outcome: Any) -> None:
        told.append(outcome)
        if not others:
            others.append(asyncio.create_task(bystander()))

    ended = await client.wait_for_tasks(map(str, range(3 * WAITS_A_TURN)), 10, 1.0, on_outcome=tell)
    await others[0]
    assert not any(outcome.ok for outcome in ended.values())
    assert len(set(turns)) >= 2
    assert_rests(client.engine)


# Inbox


async def test_waits_that_end_as_they_begin_are_handed_out() -> None:
    """One that finds its task finished has ended before it was added."""
    client = ScriptedStream(Script("completed"))
    seen: list[Any] = []

    async def on_update(_: Any) -> None:
        # The first wait has not left yet: the others join it, and have ended at once.
        outcomes = await client.wait_for_tasks(["a"])
        seen.extend(outcomes.values())
        seen.extend([outcome async for outcome in client.as_completed(["a"] * 3)])

    await client.wait_for_task("a", on_update=on_update)
    assert len(seen) == 4
    assert all(outcome.ok for outcome in seen)
    assert_rests(client.engine)


async def test_an_inbox_that_is_empty_can_be_woken() -> None:
    """`next` returns None, and so it does if it was woken before."""
    client = ScriptedStream(Script("running"))
    inbox = Inbox(client.engine)
    inbox.wake()
    assert await inbox.next() is None
    asyncio.get_running_loop().call_later(5, inbox.wake)
    assert await inbox.next() is None
    assert not inbox
    await inbox.close()


async def test_a_poll_that_ends_at_the_deadline_is_lost_to_nobody() -> None:
    """An answer and a deadline in the same turn of the loop: one outcome for each task, and no more."""
    for latency in (4.9, 5.0, 5.1):
        client = ScriptedStream(ByTime(lambda _: 1, latency=latency))
        outcomes = [o async for o in client.as_completed(["a", "b", "a"], timeout=5)]
        assert sorted(map(str, ids(outcomes))) == ["a", "a", "b"]
        assert_rests(client.engine)


# The blocking facade


def test_blocking_outcomes_come_in_the_order_of_completion() -> None:
    """A plain iterator, with plain iterables."""
    with FakeStream() as server, _blocking(server) as client:
        slow, quick = server.add_task(after=0.3), server.add_task(statuses=())
        outcomes = list(client.as_completed((t for t in (slow, AT_ONCE, quick)), 0.05))
        assert ids(outcomes)[-1] == slow
        assert set(ids(outcomes)) == {None, quick, slow}
        assert set(client.wait_for_tasks([quick, slow], 0.05)) == {quick, slow}


def test_a_blocking_source_and_the_loops_body_may_call_the_client() -> None:
    """Both run in the caller's thread; the source is pulled as there is room."""
    with FakeStream() as server, _blocking(server) as client:
        pulled = done = 0

        def source() -> Iterator[Any]:
            nonlocal pulled
            for _ in range(8):
                pulled += 1
                assert pulled <= done + 3
                yield client.delete_users([f"user-{pulled}"])

        for outcome in client.as_completed(source(), 0.05, max_waiting=2):
            done += 1
            assert client.get_task(str(outcome.task_id)).data.is_completed
            assert outcome.ok
        assert done == pulled == 8


@pytest.mark.parametrize("how", ["break", "drop", "error", "close"])
def test_a_blocking_loop_left_half_way_stops_the_rest(how: str) -> None:
    """Soon after, the server is asked no more."""
    with FakeStream() as server, _blocking(server) as client:
        tasks = [server.add_task(statuses=()), *(server.add_task(never=True) for _ in range(20))]
        outcomes: Any = client.as_completed(tasks, 0.05)
        if how == "error":
            with pytest.raises(LookupError):  # noqa: PT012 - the loop is what is tested
                for _ in outcomes:
                    raise LookupError
        elif how == "break":
            for _ in outcomes:
                break
        else:
            next(outcomes)
        if how == "close":
            outcomes.close()
        del outcomes
        gc.collect()
        _until_it_rests(client)
        time.sleep(0.05)  # what was under way when the loop was left arrives
        polls = len(server.requests)
        time.sleep(0.15)
        assert len(server.requests) == polls
        assert client.get_task(tasks[0]).data.is_completed


def test_an_error_of_a_blocking_source_reaches_the_caller() -> None:
    """As it was raised, after the outcomes of what was pulled before."""
    with FakeStream() as server, _blocking(server) as client:
        task_id = server.add_task(after=0.3)
        broken = client.as_completed(Broken(task_id, error=LookupError("no more")), 0.05)
        assert next(broken).ok
        with pytest.raises(LookupError, match="no more"):
            next(broken)
        odd = client.as_completed([task_id, 7], 0.05)  # type: ignore[list-item]
        assert next(odd).ok
        with pytest.raises(TypeError, match="must be a task id"):
            next(odd)
        _until_it_rests(client)


def _blocking(server: FakeStream) -> Stream:
    return Stream(server.api_key, server.api_secret, base_url=server.url)


def _until_it_rests(client: Stream) -> None:
    """Wait until nothing but the question itself runs on the client's loop."""

    async def rests() -> None:
        engine = client._client._here().engine
        with anyio.fail_after(5):
            while engine._tasks or len(engine._in_flight):
                await anyio.sleep(0.01)

    client._loop.run(rests)


def test_the_stride_is_what_the_documentation_of_load_assumes() -> None:
    """So many waits take a few milliseconds to begin."""
    assert WAITS_A_TURN <= 1000


# on_update, and what holds polls back


async def test_every_snapshot_of_every_task_is_shown_before_its_outcome() -> None:
    """`on_update` sees what is new of any of the tasks, the last snapshot before the outcome."""
    told: list[tuple[str, str]] = []
    client = ScriptedStream(
        ById({"a": ["pending", "running", "running", "completed"], "b": ["running", "failed"], "c": [DENIED]})
    )
    await client.wait_for_tasks(
        ["a", "b", "c"],
        on_update=lambda task: told.append((task.task_id, task.status)),
        on_outcome=lambda outcome: told.append((str(outcome.task_id), "outcome")),
    )
    assert told[:4] == [("a", "pending"), ("b", "running"), ("c", "outcome"), ("a", "running")]
    assert told[4:] == [("b", "failed"), ("b", "outcome"), ("a", "completed"), ("a", "outcome")]


async def test_updates_come_while_the_next_outcome_is_waited_for() -> None:
    """`as_completed` shows snapshots too, also to a coroutine function."""
    told: list[str] = []

    async def note(task: Task) -> None:
        await asyncio.sleep(0)
        told.append(task.status)

    client = ScriptedStream(ById({"a": ["running", "completed"], "b": ["completed"]}))
    found = [outcome.task_id async for outcome in client.as_completed(["a", "b"], on_update=note)]
    assert found == ["b", "a"]
    assert told == ["running", "completed", "completed"]


@pytest.mark.parametrize(("timeout", "took"), [(5, 5), (0, 7)])
async def test_a_callback_that_hangs_ends_with_the_call(timeout: float, took: float) -> None:
    """The call's deadline holds for `on_update`, too; what is news by then is not shown."""
    begun: list[str] = []

    async def dawdle(task: Task) -> None:
        begun.append(task.task_id)
        await asyncio.sleep(3600)

    client = ScriptedStream(ById({"a": ["running"], "b": ["completed"]}), request_timeout=7)
    started = client.engine.now()
    outcomes = await client.wait_for_tasks(["a", "b"], timeout=timeout, on_update=dawdle)
    assert client.engine.now() - started == pytest.approx(took, abs=0.05)
    assert begun == ["a"]
    assert isinstance(outcomes["a"].exception(), StreamWaitTimeoutException)
    assert outcomes["b"].ok
    assert_rests(client.engine)


async def test_the_deadline_counts_from_the_call() -> None:
    """What `on_outcome` takes for operations done at once is of the call's time, though it is not cut."""
    client = ScriptedStream(ById({"a": ["running"]}))

    async def dawdle(outcome: TaskOutcome[Any]) -> None:
        if outcome.task_id is None:
            await asyncio.sleep(4)

    started = client.engine.now()
    outcomes = await client.wait_for_tasks([AT_ONCE, "a"], timeout=5, on_outcome=dawdle)
    assert client.engine.now() - started == pytest.approx(5, abs=0.05)
    assert outcomes["a"].elapsed == pytest.approx(5, abs=0.05)
    outcomes = await client.wait_for_tasks([AT_ONCE, "a"], timeout=3, on_outcome=dawdle)
    assert client.engine.now() - started == pytest.approx(9, abs=0.05)
    assert isinstance(outcomes["a"].exception(), StreamWaitTimeoutException)
    assert_rests(client.engine)


async def test_an_error_in_on_update_stops_all_waits() -> None:
    """What a callback raises reaches the caller, and leaves nothing running."""
    client = ScriptedStream(ById({"a": ["running"], "b": [Hang(5)]}))

    def complain(task: Task) -> None:
        raise LookupError(task.task_id)

    with pytest.raises(LookupError, match="a"):
        await client.wait_for_tasks(["a", "b"], on_update=complain)
    assert_rests(client.engine)


async def test_what_holds_polls_back_can_be_asked() -> None:
    """A refusal and an outage are told, with the time until the next poll; a quiet client has neither."""
    refusal = StreamApiException(status_code=503, _hold=timedelta(seconds=20))
    client = ScriptedStream(Script("running", refusal, StreamTransportException("dns_failure"), latency=0.1))

    def obstacle() -> Any:
        found = client.obstacle
        return None if found is None else (found.reason, found.seconds)

    assert obstacle() is None
    waiting = asyncio.create_task(client.wait_for_task("t", timeout=100))
    await asyncio.sleep(0.9)
    assert obstacle() is None
    await asyncio.sleep(1.8)
    assert obstacle() == ("rate_limited", pytest.approx(20, abs=2))
    await asyncio.sleep(80)
    seen = []
    for _ in range(200):
        await asyncio.sleep(0.05)
        seen.append(obstacle())
    assert {found and found[0] for found in seen} == {"unreachable"}
    assert {found and found[1] == 0 for found in seen} == {True, False}
    assert max(found[1] for found in seen if found) <= 10
    waiting.cancel()
    await asyncio.wait([waiting])
    assert obstacle() is None


async def test_a_client_within_its_quota_is_not_held_back() -> None:
    """Polls that are merely not due yet wait for nothing, those that the quota spreads do."""
    server = QuotaServer(60)
    client = ScriptedStream(server)
    one = asyncio.create_task(client.wait_for_task("a", poll_interval=10, timeout=None))
    await asyncio.sleep(5)
    before = client.obstacle
    assert before is None
    many = asyncio.create_task(client.wait_for_tasks([str(number) for number in range(50)], timeout=None))
    await asyncio.sleep(5)
    found: Any = client.obstacle
    assert found.reason == "rate_limited"
    assert 0 <= found.seconds < 1.2
    for task in (one, many):
        task.cancel()
    await asyncio.wait([one, many])
