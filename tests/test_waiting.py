"""The rules of waiting for one task, in virtual time."""

import asyncio
import logging
import math
import ssl
from contextlib import aclosing, suppress

import anyio
import pytest
from scripted import (
    Hang,
    Script,
    ScriptedStream,
    Step,
    assert_rests,
    engine_over,
    snapshot,
    tasks_left,
    timers_left,
    times,
    wait,
    watch,
)

from stream_tasks import (
    Backoff,
    StreamApiException,
    StreamDecodeException,
    StreamRateLimitException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
    TaskResult,
)
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.engine import Engine
from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.poll import Look
from stream_tasks._engine.tracked import Wait
from stream_tasks._engine.tuning import WAITS_A_TURN

pytestmark = pytest.mark.looptime

UNAVAILABLE = StreamApiException(status_code=503)


async def test_it_looks_first_and_then_sleeps() -> None:
    """A finished task is returned at once, with one poll."""
    script = Script("completed")
    engine = engine_over(script)
    begun = engine.now()
    task = await wait(engine)
    assert task.is_completed
    assert len(script.polls) == 1
    assert engine.now() == begun
    assert timers_left() == 0


async def test_polls_are_the_interval_apart() -> None:
    """The time between two polls is the interval, counted from the answer."""
    script = Script("pending", "running", "running", "completed", latency=0.25)
    engine = engine_over(script)
    await wait(engine, 2.0)
    assert script.gaps == [2.25, 2.25, 2.25]


async def test_an_interval_of_zero_means_the_floor() -> None:
    """No task is asked for more often than every 50 ms."""
    script = Script("pending", "running", "completed")
    engine = engine_over(script)
    await wait(engine, 0)
    assert script.gaps == [0.05, 0.05]


async def test_a_backoff_spaces_polls_out() -> None:
    """Each delay is the factor longer, up to the maximum."""
    script = Script("pending", "running", "running", "running", "completed")
    engine = engine_over(script)
    await wait(engine, Backoff(1, 5, jitter=0))
    assert script.gaps == [1, 2, 4, 5]


@pytest.mark.parametrize(("timeout", "polls"), [(0.2, 1), (1.0, 1), (5.0, 1), (30.0, 2), (60.0, 1)])
async def test_the_deadline_bounds_a_first_look_that_hangs(timeout: float, polls: int) -> None:
    """A server that says nothing does not hold the caller longer than asked."""
    script = Script(Hang(3600))
    engine = engine_over(script)
    begun = engine.now()
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine, timeout=timeout)
    assert engine.now() - begun == pytest.approx(timeout, abs=0.05)
    error = info.value
    assert (error.reason, error.task, error.polls) == ("unreachable", None, polls)
    assert len(script.polls) == polls
    assert not tasks_left()


async def test_the_deadline_bounds_a_later_look_that_hangs() -> None:
    """A poll in flight is cancelled at the deadline, and has ended when the wait has."""
    script = Script("running", Hang(3600))
    engine = engine_over(script)
    begun = engine.now()
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine, timeout=5)
    assert engine.now() - begun == pytest.approx(5, abs=0.05)
    assert info.value.polls == 2
    assert info.value.task is not None
    assert info.value.task.status == "running"
    assert script.cancelled == 1
    assert not tasks_left()
    assert timers_left() == 0


async def test_a_last_look_is_taken_just_before_the_deadline() -> None:
    """A task that ended a quarter of a second before the deadline is returned."""
    script = Script("running", "completed")
    engine = engine_over(script)
    begun = engine.now()
    assert (await wait(engine, 50, 10)).is_completed
    assert 9.75 <= engine.now() - begun < 10


async def test_no_look_is_wasted_after_the_last_one() -> None:
    """After the last look the wait just ends."""
    script = Script("running")
    engine = engine_over(script)
    with pytest.raises(StreamWaitTimeoutException, match="still running"):
        await wait(engine, 1, 3)
    assert times(script.polls) == [0, 1, 2, 2.8]


async def test_without_a_timeout_it_waits_for_hours() -> None:
    """``timeout=None`` is no deadline."""
    script = Script(*["running"] * 100, "completed")
    engine = engine_over(script)
    begun = engine.now()
    await wait(engine, 600, None)
    assert engine.now() - begun == pytest.approx(60_000)


async def test_a_timeout_of_zero_is_one_look() -> None:
    """It returns a finished task, and times out on any other."""
    engine = engine_over(Script("completed"))
    assert (await wait(engine, timeout=0)).is_completed
    script = Script("running")
    engine = engine_over(script)
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine, timeout=0)
    assert len(script.polls) == 1
    assert info.value.task is not None


async def test_a_timeout_of_zero_says_what_the_one_look_met() -> None:
    """A look that failed is the cause."""
    engine = engine_over(Script(UNAVAILABLE))
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine, timeout=0)
    assert info.value.__cause__ is UNAVAILABLE
    assert info.value.reason == "unreachable"


CUT_OFF = StreamTransportException("tls_handshake_failed")
CUT_OFF.__cause__ = ssl.SSLEOFError()


@pytest.mark.parametrize(
    "moment",
    [
        CUT_OFF,
        StreamTransportException("connection_reset"),
        StreamTransportException("timeout"),
        StreamTransportException("dns_failure"),
        StreamTransportException("unknown"),
        StreamDecodeException("not JSON"),
        *(StreamApiException(status_code=status) for status in (408, 425, 500, 502, 503, 504, 599)),
        StreamRateLimitException(),
    ],
    ids=repr,
)
async def test_a_bad_moment_never_ends_a_wait(moment: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """It is retried inside the deadline, with one warning and growing gaps."""
    script = Script("running", *[moment] * 5, "completed")
    engine = engine_over(script)
    assert (await wait(engine, 0.05)).is_completed
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.stream_event for record in warnings] == ["retrying"]  # type: ignore[attr-defined]
    assert script.gaps[-1] > script.gaps[1]


async def test_each_trouble_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """When the server has been well in between, the next failure is news again."""
    script = Script(UNAVAILABLE, UNAVAILABLE, "running", UNAVAILABLE, "completed")
    engine = engine_over(script)
    await wait(engine)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "failure",
    [
        *(StreamApiException(status_code=status) for status in (302, 400, 401, 403, 405, 413, 422)),
        StreamApiException(status_code=503, unrecoverable=True),
        StreamRateLimitException(unrecoverable=True),
        StreamTransportException("tls_handshake_failed"),
        StreamDecodeException("wrong", path="$.status"),
        ZeroDivisionError(),
    ],
    ids=repr,
)
async def test_what_trying_again_cannot_mend_is_raised_at_once(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """One poll, and one warning: of the end, not of a retry."""
    script = Script(failure)
    engine = engine_over(script)
    with pytest.raises(type(failure)) as info:
        await wait(engine)
    assert info.value is failure
    assert len(script.polls) == 1
    assert [record.stream_event for record in caplog.records] == ["wait_finished"]  # type: ignore[attr-defined]


async def test_a_404_is_not_final_while_the_task_may_not_be_visible_yet() -> None:
    """Within the grace it is retried."""
    missing = StreamApiException(status_code=404, code=16)
    script = Script(missing, missing, missing, "completed")
    engine = engine_over(script)
    assert (await wait(engine)).is_completed


async def test_a_404_is_final_after_the_grace() -> None:
    """The grace counts from the wait's start."""
    missing = StreamApiException(status_code=404, code=16)
    engine = engine_over(Script(missing), not_found_grace=2.5)
    begun = engine.now()
    with pytest.raises(StreamApiException) as info:
        await wait(engine)
    assert info.value is missing
    assert 2.5 <= engine.now() - begun < 10


async def test_an_unknown_status_is_unfinished_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only ``completed`` and ``failed`` are final."""
    script = Script("archiving", "archiving", "Completed", "completed")
    engine = engine_over(script)
    assert (await wait(engine)).status == "completed"
    assert [record.stream_status for record in caplog.records] == ["archiving", "Completed"]  # type: ignore[attr-defined]


async def test_a_failed_task_is_returned_as_it_is() -> None:
    """What a failed task means is the client's to say."""
    engine = engine_over(Script("running", "failed"))
    assert (await wait(engine)).is_failed


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        pytest.param(["running"], "still_running", id="the task just runs on"),
        pytest.param(["running", UNAVAILABLE], "unreachable", id="the server is away"),
        pytest.param(["running", StreamRateLimitException()], "rate_limited", id="the quota is spent"),
        pytest.param([Hang(99)], "unreachable", id="nothing was ever heard"),
    ],
)
async def test_a_timeout_says_why(steps: list[str | Exception], reason: str) -> None:
    """The reason, the last snapshot and the last failure are on the exception."""
    script = Script(*steps)
    engine = engine_over(script)
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine, timeout=5)
    error = info.value
    assert error.reason == reason
    assert error.timeout == 5
    assert error.elapsed == pytest.approx(5, abs=0.05)
    assert error.polls == len(script.polls)
    assert error.__cause__ is (script.steps[-1] if isinstance(script.steps[-1], Exception) else None)


async def test_updates_are_the_snapshots_that_differ() -> None:
    """A callback sees each change once, the final one too."""
    seen: list[str] = []
    engine = engine_over(Script("pending", "pending", "running", "running", "completed"))
    await wait(engine, on_update=lambda task: seen.append(task.status))
    assert seen == ["pending", "running", "completed"]


async def test_a_callback_may_be_a_coroutine_function() -> None:
    """It is awaited, also when it takes longer than the interval."""
    seen: list[str] = []

    async def on_update(task: Task) -> None:
        await anyio.sleep(10)
        seen.append(task.status)

    engine = engine_over(Script("pending", "running", "completed"))
    await wait(engine, on_update=on_update)
    assert seen == ["pending", "running", "completed"]


async def test_an_error_in_a_callback_reaches_the_caller() -> None:
    """It ends the wait and leaves nothing."""

    def on_update(task: Task) -> None:
        raise LookupError(task.status)

    engine = engine_over(Script("running"))
    with pytest.raises(LookupError, match="running"):
        await wait(engine, on_update=on_update)
    assert timers_left() == 0


async def test_watching_yields_each_new_snapshot_and_ends() -> None:
    """The final snapshot is the last."""
    engine = engine_over(Script("pending", "moving", "moving", "failed"))
    found = [task.status async for task in watch(engine)]
    assert found == ["pending", "running", "running", "failed"]
    assert timers_left() == 0


async def test_watching_has_the_same_deadline() -> None:
    """It raises when the deadline comes first."""
    engine = engine_over(Script("running"))
    with pytest.raises(StreamWaitTimeoutException):
        async for _ in watch(engine, timeout=5):
            pass


async def test_a_watch_left_half_way_leaves_nothing() -> None:
    """Closing the iterator ends the polls."""
    script = Script("moving")
    engine = engine_over(script)
    async with aclosing(watch(engine)) as snapshots:
        async for _ in snapshots:
            if len(script.polls) == 3:
                break
    assert timers_left() == 0
    await anyio.sleep(100)
    assert len(script.polls) == 3


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 1.5], ids=lambda after: f"after {after} s")
async def test_a_cancelled_wait_leaves_nothing(after: float) -> None:
    """No task, no timer, no poll: at whatever moment, in flight or asleep."""
    script = Script("running", latency=1.0)
    engine = engine_over(script)
    task = asyncio.create_task(wait(engine))
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not tasks_left()
    assert timers_left() == 0
    assert script.in_flight == 0
    polls = len(script.polls)
    await asyncio.sleep(100)
    assert len(script.polls) == polls


async def test_the_callers_own_time_limits_pass_untouched() -> None:
    """Around a wait they behave as around a sleep."""
    script = Script("running", Hang(3600))
    engine = engine_over(script)

    async def limited() -> None:
        async with asyncio.timeout(5):
            await wait(engine)

    with pytest.raises(TimeoutError) as info:
        await limited()
    assert type(info.value) is TimeoutError
    with pytest.raises(TimeoutError) as info:
        with anyio.fail_after(5):
            await wait(engine)
    assert type(info.value) is TimeoutError
    with pytest.raises(TimeoutError) as info:
        await asyncio.wait_for(wait(engine), 5)
    assert type(info.value) is TimeoutError
    with anyio.move_on_after(5) as scope:
        await wait(engine)
    assert scope.cancelled_caught
    assert not tasks_left()
    assert timers_left() == 0


async def test_polls_in_flight_stay_below_the_limit() -> None:
    """A hundred waits on ten places are all served."""
    script = Script("running", latency=0.1)
    engine = engine_over(script, max_in_flight=10)

    async def run(number: int) -> None:
        with suppress(StreamWaitTimeoutException):
            await wait(engine, 1, 5, task_id=str(number))

    await asyncio.gather(*(run(number) for number in range(100)))
    assert script.most_in_flight == 10
    assert {script.ids.count(str(number)) for number in range(100)} <= {3, 4, 5}


async def test_closing_ends_the_waits() -> None:
    """The error says which task, and what was last seen."""
    engine = engine_over(Script("running"))
    waits = [asyncio.create_task(wait(engine)) for _ in range(2)]
    await asyncio.sleep(0.5)
    engine.close()
    for one in waits:
        with pytest.raises(StreamTransportException, match=r"task t .*'running'"):
            await one


def joined(engine: Engine) -> Wait:
    """A wait for the task ``t`` that has just begun."""
    terms = engine.terms(as_backoff(1.0), 60.0)
    inbox = Inbox(engine)
    mine = Wait("t", terms, inbox)
    inbox.add(mine)
    return mine


async def test_a_poll_that_nobody_wants_any_more_is_not_sent() -> None:
    """Leaving between a poll's start and its first step sends nothing."""
    script = Script("running")
    engine = engine_over(script)
    mine = joined(engine)
    await asyncio.sleep(0)
    assert len(engine._in_flight) == 1
    await mine.inbox.close()
    assert not script.polls
    assert_rests(engine)


async def test_nobody_looks_for_a_wait_that_has_ended_and_not_left_yet() -> None:
    """What was planned for it is dropped when it is due."""
    script = Script("running")
    engine = engine_over(script)
    mine = joined(engine)
    mine.finish(engine.now())
    await asyncio.sleep(0)
    assert engine._due.next_due() == math.inf
    assert not len(engine._in_flight)
    await mine.inbox.close()
    assert not script.polls
    assert_rests(engine)


@pytest.mark.parametrize("is_watched", [False, True])
async def test_thousands_of_waits_begin_some_at_a_time(is_watched: bool) -> None:
    """Between them the loop has time for others; a wait that is cancelled meanwhile takes no turn."""
    client = ScriptedStream(Script("completed", latency=0.01))
    engine = client.engine

    async def wait(task_id: str) -> TaskResult:
        if not is_watched:
            return await client.wait_for_task(task_id)
        tasks = [task async for task in client.watch_task(task_id)]
        return TaskResult({}, tasks[-1])

    waits = [asyncio.create_task(wait(str(number))) for number in range(3 * WAITS_A_TURN)]
    await asyncio.sleep(0)
    assert len(engine._tasks) <= WAITS_A_TURN
    waits[-1].cancel()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(ended.pop(), asyncio.CancelledError)
    assert all(isinstance(result, TaskResult) for result in ended)
    assert not tasks_left()
    assert not engine.beginnings


class Loses:
    """Answers at once, but for one poll whose answer is lost."""

    def __init__(self, number: int, *steps: str) -> None:
        self.number = number
        self.script = Script(*steps)

    async def __call__(self, task_id: str, limit: float) -> Look:
        answer = await self.script(task_id, limit)
        if len(self.script.polls) == self.number:
            await asyncio.sleep(min(limit, 30.0))
            raise StreamTransportException("timeout")
        return answer


@pytest.mark.parametrize(
    ("number", "steps", "timeout"),
    [
        (1, ["running", "completed"], 60.0),
        (1, ["running", "completed"], 31.0),
        (2, ["running", "running", "completed"], 40.0),
        (3, ["running", "running", "running", "running", "completed"], 60.0),
    ],
)
async def test_an_answer_that_is_lost_is_asked_for_again(
    number: int, steps: list[str], timeout: float
) -> None:
    """However much of the time the lost one took."""
    engine = engine_over(Loses(number, *steps))
    begun = engine.now()
    task = await wait(engine, 1.0, timeout)
    assert task.is_completed
    assert engine.now() - begun < 30 + len(steps) + 1
    assert timers_left() == 0


async def test_a_request_that_hung_is_followed_by_looks_as_before() -> None:
    """That it took half a minute does not say that answers do."""
    server = Loses(1, "running", "running", "running", "completed")
    engine = engine_over(server)
    await wait(engine, 1.0, 100.0)
    assert server.script.gaps == [31.0, 1.0, 1.0]


@pytest.mark.parametrize(("timeout", "at_most"), [(20.0, 10.0), (12.0, 6.0), (8.0, 5.0)])
async def test_a_look_that_hangs_leaves_time_for_another(timeout: float, at_most: float) -> None:
    """Though the request may take longer: half of the wait's time, but five seconds at the least."""
    script = Script("running", Hang(3600), "completed")
    engine = engine_over(script)
    task = await wait(engine, 1.0, timeout)
    assert task.is_completed
    assert at_most < script.gaps[1] <= at_most + 1.3


async def test_a_server_that_is_slow_has_the_time_that_it_takes() -> None:
    """What its last answer took counts, and after a look that was given up, the next one is not."""
    script = Script(Hang(3.0), Hang(9.0), "completed")
    await wait(engine_over(script), 1.0, 16.0)
    assert script.polls == times([0.0, 4.0, 13.05])
    script = Script(Hang(3600), Hang(10.0))
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine_over(script), 1.0, 16.0)
    assert info.value.reason == "unreachable"
    script = Script(Hang(3600), Hang(10.0))
    with pytest.raises(StreamWaitTimeoutException) as info:
        await wait(engine_over(script), 1.0, 24.0)
    assert info.value.reason == "still_running"


@pytest.mark.parametrize(("timeout", "takes"), [(10.0, 5.5), (6.0, 3.0), (4.0, 2.9)])
async def test_a_slow_answer_is_not_the_last_one(timeout: float, takes: float) -> None:
    """What a look that began long before the deadline tells is old."""
    script = Script("running", Hang(takes), "completed")
    engine = engine_over(script)
    assert (await wait(engine, 1.0, timeout)).is_completed
    assert len(script.polls) == 3


@pytest.mark.parametrize("timeout", [3.0, 3.1, 3.2, 3.3, 3.5, 3.7, 3.9, 4.0])
@pytest.mark.parametrize("latency", [0.01, 0.05, 0.1, 0.15, 0.2])
async def test_what_ends_just_before_the_deadline_is_seen(latency: float, timeout: float) -> None:
    """A quarter of a second is enough, wherever the last regular look falls."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout - 0.25

    async def fetch(task_id: str, limit: float) -> Look:
        status = "completed" if loop.time() >= end else "running"
        await asyncio.sleep(min(latency, limit))
        return snapshot(status), None

    engine = engine_over(fetch)
    assert (await wait(engine, 1.0, timeout)).is_completed


@pytest.mark.parametrize(
    ("steps", "timeout", "reason"),
    [
        (["running", Hang(30)], 5.0, "unreachable"),
        (["running", Hang(0.9), "running"], 3.0, "still_running"),
        ([Hang(1.5), Hang(1.5), Hang(1.5)], 6.0, "still_running"),
    ],
    ids=["the server fell silent", "one answer was slow", "all are slow"],
)
async def test_a_server_that_falls_silent_is_out_of_reach(
    steps: list[Step], timeout: float, reason: str
) -> None:
    """Although what it said before was that the task runs."""
    engine = engine_over(Script(*steps))
    with pytest.raises(StreamWaitTimeoutException) as caught:
        await wait(engine, 1.0, timeout)
    assert caught.value.reason == reason
    assert caught.value.task is not None


async def test_a_wait_ends_once() -> None:
    """What comes after the end changes nothing."""
    engine = engine_over(Script("running"))
    mine = joined(engine)
    mine.finish(1.0, LookupError("first"))
    mine.finish(2.0, LookupError("second"))
    with pytest.raises(LookupError, match="first"):
        mine.final()
    await mine.inbox.close()


async def test_who_waits_for_a_turn_is_not_overtaken() -> None:
    """An answer that comes meanwhile makes room for those who queue, not for newcomers."""
    gate = asyncio.get_running_loop().create_future()
    script = Script("completed")

    async def fetch(task_id: str, limit: float) -> Look:
        answer = await script(task_id, limit)
        if task_id == "first":
            await gate
        return answer

    client = ScriptedStream(fetch)
    engine = client.engine

    def begin(task_id: str) -> asyncio.Task[TaskResult]:
        return asyncio.create_task(client.wait_for_task(task_id))

    waits = [begin("first")]
    await asyncio.sleep(0)
    engine.beginnings._begun = WAITS_A_TURN
    waits.append(begin("queued"))
    gate.set_result(None)
    waits.append(begin("newcomer"))
    await asyncio.gather(*waits)
    assert script.ids == ["first", "queued", "newcomer"]
    assert not engine.beginnings
