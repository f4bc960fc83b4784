"""Many waiters, one task: it is polled as often as the most eager of them needs, in virtual time."""

import asyncio
import itertools
import math
import random
import sys
import traceback
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from scripted import (
    ByTime,
    Hang,
    Script,
    ScriptedStream,
    assert_rests,
    engine_over,
    in_virtual_time,
    tasks_left,
    times,
    wait,
)

from stream_tasks import (
    Backoff,
    StreamApiException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.tracked import TrackedTask, Wait

pytestmark = pytest.mark.looptime


def client_of(script: Any, **options: Any) -> ScriptedStream:
    return ScriptedStream(script, **options)


async def outcome_of(wait: Any) -> Any:
    """What a wait comes to, an error too."""
    try:
        return await wait
    except Exception as exc:  # noqa: BLE001 - whatever it is
        return exc


async def call(client: ScriptedStream, kind: str, interval: Any = 1.0, timeout: float | None = 60.0) -> None:
    """Wait for the task ``t`` in one of the four ways."""
    if kind == "wait_for_task":
        await client.wait_for_task("t", interval, timeout)
    elif kind == "wait_for_tasks":
        assert (await client.wait_for_tasks(["t"], interval, timeout))["t"].ok
    elif kind == "as_completed":
        assert [o.ok async for o in client.as_completed(["t"], interval, timeout)] == [True]
    else:
        assert [task.status async for task in client.watch_task("t", interval, timeout)][-1] == "completed"


KINDS = ["wait_for_task", "wait_for_tasks", "as_completed", "watch_task"]


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.37, 1.0], ids=lambda gap: f"{gap} s apart")
@pytest.mark.parametrize("latency", [0.0, 0.3])
async def test_ten_waiters_cost_what_one_costs(gap: float, latency: float) -> None:
    """In whichever way and at whatever moment they come."""
    alone = Script(*["running"] * 20, "completed", latency=latency)
    await client_of(alone).wait_for_task("t")
    shared = Script(*["running"] * 20, "completed", latency=latency)
    client = client_of(shared)
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(call(client, KINDS[number % 4]))
            await asyncio.sleep(gap)
    assert times(shared.polls) == times(alone.polls)
    assert shared.most_in_flight == 1
    assert_rests(client.engine)


async def test_a_task_twice_in_one_call_costs_one_poll() -> None:
    """Also as the duplicates of an iterator."""
    script = Script("running", "running", "completed")
    client = client_of(script)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.wait_for_tasks(["t"] * 10))
        for _ in range(3):
            group.create_task(call(client, "as_completed"))
        outcomes = [outcome async for outcome in client.as_completed(["t"] * 10)]
    assert len(outcomes) == 10
    assert script.gaps == [1, 1]
    assert_rests(client.engine)


async def test_who_joins_late_has_a_first_look_all_the_same() -> None:
    """What others saw long ago is no answer, what they saw a moment ago is."""
    script = Script("running", "completed")
    client = client_of(script)
    slow = asyncio.create_task(client.wait_for_task("t", 600, None))
    await asyncio.sleep(0.5)
    quick = asyncio.create_task(client.wait_for_task("t", 30, 60))
    await asyncio.sleep(1)
    assert len(script.polls) == 1
    await client.wait_for_task("t", 30, 60)
    assert times(script.polls) == [0, 1.5]
    await asyncio.gather(slow, quick)
    assert_rests(client.engine)


async def test_an_eager_waiter_quickens_the_polls_and_its_leaving_slows_them() -> None:
    """While it is there, its interval counts; afterwards that of the others."""
    script = Script("running")
    client = client_of(script)
    slow = asyncio.create_task(client.wait_for_task("t", 10, None))
    await asyncio.sleep(5)
    with anyio.move_on_after(3.5):
        await client.wait_for_task("t", 1, None)
    await asyncio.sleep(30)
    assert times(script.polls) == [0, 5, 6, 7, 8, 18, 28, 38]
    slow.cancel()
    await asyncio.wait([slow])
    assert_rests(client.engine)


async def test_each_waiter_keeps_its_own_pace() -> None:
    """A back-off goes by the polls that its own waiter has seen."""
    script = Script("running")
    client = client_of(script)
    steady = asyncio.create_task(client.wait_for_task("t", 7, None))
    await asyncio.sleep(20)
    growing = asyncio.create_task(client.wait_for_task("t", Backoff(1, 4, jitter=0), None))
    await asyncio.sleep(20)
    for one in (steady, growing):
        one.cancel()
    await asyncio.wait([steady, growing])
    assert times(script.polls) == [0, 7, 14, 20, 21, 23, 27, 31, 35, 39]
    assert_rests(client.engine)


async def test_each_waiter_has_its_own_deadline() -> None:
    """One that times out tells its own polls and time; the others wait on."""
    script = Script(*["running"] * 10, "completed")
    client = client_of(script)
    patient = asyncio.create_task(client.wait_for_task("t", 1))
    await asyncio.sleep(3.5)
    with pytest.raises(StreamWaitTimeoutException) as info:
        await client.wait_for_task("t", 1, 4)
    assert info.value.elapsed == pytest.approx(4, abs=0.05)
    assert info.value.polls == 5, "four at the pace of the other, and its own last look"
    assert info.value.task is not None
    assert await patient == {}
    assert_rests(client.engine)


FIRST = [
    pytest.param([Hang(5), "running", "completed"], 0.0, id="as it takes the first look"),
    pytest.param(["running", Hang(5), "running", "completed"], 1.5, id="while its later poll is in flight"),
    pytest.param(["running", "running", "completed"], 0.5, id="asleep"),
]


async def test_a_thousand_waiters_cost_no_more_than_a_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coming and going, each is asked a few times, and does not ask all the others."""
    asked = 0
    next_look = Wait.next_look

    def counted(self: Wait, tracked: TrackedTask) -> float:
        nonlocal asked
        asked += 1
        return next_look(self, tracked)

    monkeypatch.setattr(Wait, "next_look", counted)
    client = client_of(Script("running", "running", "completed"))
    async with asyncio.TaskGroup() as group:
        for number in range(1000):
            group.create_task(outcome_of(client.wait_for_task("t", timeout=1.5 if number % 2 else 60)))
    assert asked <= 10_000
    assert_rests(client.engine)


async def test_an_early_look_that_nobody_wants_any_more_is_not_taken() -> None:
    """The eager waiter's leaving is seen when its look is due; the others' looks are not moved."""
    script = Script("running")
    client = client_of(script)
    slow = asyncio.create_task(client.wait_for_task("t", 10, None))
    ended = asyncio.create_task(client.wait_for_task("t", 4, None))
    await asyncio.sleep(1)
    ended.cancel()
    await asyncio.sleep(20)
    assert times(script.polls) == [0, 10, 20]
    slow.cancel()
    await asyncio.wait([slow])
    assert_rests(client.engine)


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize("others", KINDS)
@pytest.mark.parametrize(("steps", "joined"), FIRST)
async def test_the_leader_may_go_at_any_moment(
    steps: list[Any], joined: float, others: str, how: str
) -> None:
    """Those who came after it are served as if it had never been."""
    script = Script(*steps)
    client = client_of(script)
    leader = asyncio.create_task(outcome_of(client.wait_for_task("t", 1, None if how == "cancelled" else 3)))
    await asyncio.sleep(joined)
    followers = [asyncio.create_task(call(client, others)) for _ in range(3)]
    await asyncio.sleep(0.25)
    if how == "cancelled":
        leader.cancel()
    await asyncio.gather(*followers)
    assert script.most_in_flight == 1
    assert leader.cancelled() or leader.done()
    assert_rests(client.engine)


@pytest.mark.parametrize("early", [0, 0.001])
async def test_the_leaders_deadline_is_not_the_others_trouble(
    early: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A first look that is cut by one caller's deadline counts as no failure of the server."""

    class Cut(Script):
        async def __call__(self, task_id: str, limit: float) -> Any:
            return await super().__call__(task_id, limit - early)

    script = Cut(Hang(3600), "running", "completed")
    client = client_of(script)
    hasty = [asyncio.create_task(outcome_of(client.wait_for_task("t", timeout=2)))]
    await asyncio.sleep(0)
    hasty += [asyncio.create_task(outcome_of(client.wait_for_task("t", timeout=2))) for _ in range(3)]
    batch = asyncio.create_task(client.wait_for_tasks(["t"], timeout=2))
    twice = asyncio.create_task(_all(client.as_completed(["t", "t"], timeout=2)))
    patient = asyncio.create_task(client.wait_for_task("t"))
    for outcome in await asyncio.gather(*hasty):
        assert isinstance(outcome, StreamWaitTimeoutException)
        assert outcome.elapsed == pytest.approx(2, abs=0.05)
    assert isinstance((await batch)["t"].exception(), StreamWaitTimeoutException)
    assert len(await twice) == 2
    assert await patient == {}
    assert not caplog.records
    assert_rests(client.engine)


async def _all(outcomes: Any) -> list[Any]:
    return [outcome async for outcome in outcomes]


async def test_a_failure_for_good_is_told_to_all() -> None:
    """Each has an error of its own, to which it may add notes and a traceback."""
    denied = StreamApiException(status_code=403)
    denied.__cause__ = OSError()
    script = Script("running", denied)
    client = client_of(script)
    waits = [asyncio.create_task(client.wait_for_task("t")) for _ in range(20)]
    outcomes = await client.wait_for_tasks(["t"])
    errors = [await outcome_of(wait) for wait in waits] + [outcomes["t"].exception()]
    assert {str(error) for error in errors} == {str(denied)}
    assert len(set(map(id, errors))) == len(errors)
    assert all(error.__cause__ is denied.__cause__ for error in errors)
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in errors) < 10
    assert len(script.polls) == 2
    assert_rests(client.engine)


async def test_a_failure_of_another_kind_is_told_to_all_as_it_is() -> None:
    """What is not of this library may not bear to be copied."""
    broken = RuntimeError("broken")
    client = client_of(Script(broken))
    errors = await asyncio.gather(*[outcome_of(client.wait_for_task("t")) for _ in range(2)])
    assert errors == [broken, broken]


async def test_a_look_of_ones_own_is_fresh() -> None:
    """`timeout=0` does not take an old snapshot for its one look, and takes one that is under way."""
    script = Script("running", "running", Hang(2), "completed")
    client = client_of(script)
    other = asyncio.create_task(client.wait_for_task("t", 30, None))
    await asyncio.sleep(1)
    assert isinstance(await outcome_of(client.wait_for_task("t", timeout=0)), StreamWaitTimeoutException)
    assert times(script.polls) == [0, 1]
    await asyncio.sleep(30.5)
    late = await outcome_of(client.wait_for_task("t", timeout=0))
    assert isinstance(late, StreamWaitTimeoutException)
    assert late.polls == 1
    assert len(script.polls) == 3
    assert await other == {}
    assert_rests(client.engine)


async def test_a_second_watcher_sees_the_present_snapshot_at_once() -> None:
    """It need not wait for the next change."""
    client = client_of(Script(*["running"] * 10, "completed"))
    first = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.sleep(2.5)
    begun = client.engine.now()
    seen = [(task.status, client.engine.now() - begun) async for task in client.watch_task("t")]
    assert seen == [("running", 0.0), ("completed", pytest.approx(7.5))]
    await first
    assert_rests(client.engine)


@pytest.mark.parametrize("kind", ["watch_task", "on_update"])
async def test_who_comes_when_the_task_has_just_ended_sees_its_end(kind: str) -> None:
    """Although no poll is needed any more, the final snapshot is shown."""
    script = Script("running", "completed")
    client = client_of(script)
    seen: list[str] = []

    async def on_update(task: Any) -> None:
        if not task.is_final:
            return
        if kind == "watch_task":
            seen.extend([snapshot.status async for snapshot in client.watch_task("t")])
        else:
            await client.wait_for_task("t", on_update=lambda snapshot: seen.append(snapshot.status))

    await client.wait_for_task("t", on_update=on_update)
    assert seen == ["completed"]
    assert len(script.polls) == 2
    assert_rests(client.engine)


async def test_a_callback_that_dawdles_holds_nobody_up() -> None:
    """The others are told in time, and its own waiter hears of everything."""
    script = Script("moving", "moving", "moving", "completed")
    client = client_of(script)
    seen = []

    async def on_update(task: Any) -> None:
        await asyncio.sleep(10)
        seen.append(task.status)

    begun = client.engine.now()
    slow = asyncio.create_task(client.wait_for_task("t", on_update=on_update))
    await client.wait_for_task("t")
    assert client.engine.now() - begun == 3
    await slow
    assert seen == ["running", "running", "running", "completed"]
    assert_rests(client.engine)


async def test_a_new_wait_does_not_overtake_a_poll_that_is_being_cancelled() -> None:
    """Who comes in the very turn in which the last waiter left begins no second poll beside the first."""

    class Lingering(ByTime):
        async def __call__(self, task_id: str, limit: float) -> Any:
            try:
                return await super().__call__(task_id, limit)
            except asyncio.CancelledError:
                self.in_flight.add(task_id)
                await asyncio.sleep(0.1)
                self.in_flight.discard(task_id)
                raise

    server = Lingering(lambda _: 5, latency=0.5)
    client = client_of(server)
    first = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.sleep(1.75)
    assert server.in_flight
    first.cancel()
    await asyncio.sleep(0)
    second = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.sleep(0.05)
    assert server.in_flight
    second.cancel()
    third = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.wait([first, second])
    assert await third == {}
    assert_rests(client.engine)


async def test_a_poll_that_is_being_cancelled_is_nobodys_one_look() -> None:
    """A wait of one look that finds such a poll takes one of its own, at once."""
    script = Script("running", Hang(5), "completed")
    client = client_of(script)
    first = asyncio.create_task(client.wait_for_task("t", 50))
    await asyncio.sleep(52)
    assert script.in_flight
    first.cancel()
    await asyncio.sleep(0)
    assert await client.wait_for_task("t", 70, 0) == {}
    assert times(script.polls) == [0, 50, 52]
    await asyncio.wait([first])
    assert_rests(client.engine)


async def test_a_poll_that_was_wanted_and_then_not_is_not_sent() -> None:
    """Cancelling between a poll's start and its first step sends nothing, and counts nothing."""
    script = Script("running")
    engine = engine_over(script)
    terms = engine.terms(as_backoff(1.0), 60.0)
    inbox = Inbox(engine)
    inbox.add(Wait("t", terms, inbox))
    await asyncio.sleep(0)
    assert len(engine._in_flight) == 1
    another = asyncio.create_task(wait(engine))
    await inbox.close()
    await asyncio.sleep(0)
    assert len(script.polls) == 1
    another.cancel()
    await asyncio.wait([another])
    assert_rests(engine)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before")
@pytest.mark.parametrize("latency", [0, 0.1])
async def test_polls_may_be_eager(latency: float) -> None:
    """Where tasks run as they are made, polls may end there and then: nothing of them is left."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined] # on 3.11
    script = Script(Hang(5), "running", "running", "completed", latency=latency)
    client = client_of(script)
    first = asyncio.create_task(client.wait_for_tasks(["t"]))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(0)
    assert await asyncio.gather(*(client.wait_for_task("t") for _ in range(3))) == [{}] * 3
    await asyncio.sleep(0)
    assert script.most_in_flight == 1
    assert_rests(client.engine)


async def test_a_wait_that_joins_in_time_of_trouble_does_not_hurry_the_polls() -> None:
    """Ten waits that come while the server is away cost what one costs."""
    script = Script("running", *[StreamTransportException("connection_reset")] * 1000)
    client = client_of(script)
    waits = []
    for _ in range(10):
        waits.append(asyncio.create_task(client.wait_for_task("t", 1, 100)))
        await asyncio.sleep(2)
    polls = len(script.polls)
    assert polls <= 20
    for one in waits:
        one.cancel()
    await asyncio.wait(waits)
    assert_rests(client.engine)


async def test_the_looks_of_others_do_not_lengthen_the_delays_of_one() -> None:
    """Once the eager one has left, the next look comes as if there had been none."""
    server = ByTime(lambda _: 4.0)
    client = client_of(server)
    patient = asyncio.create_task(client.wait_for_task("t", Backoff(0.5, 30.0, 2.0, 0.0), 60.0))
    with pytest.raises(StreamWaitTimeoutException):
        await client.wait_for_task("t", 0.05, 2.0)
    begun = client.engine.now()
    await patient
    assert client.engine.now() - begun < 4.5


async def _play(seed: int) -> None:
    """A random hour: waits come, leave, are cancelled and time out; the server hangs and fails."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()

    class Moody(ByTime):
        async def __call__(self, task_id: str, limit: float) -> Any:
            self.latency = chance.choice([0.0, 0.0, 0.1, 0.5, 1.0, 7.0])
            if self.latency > limit:
                await asyncio.sleep(limit)
                raise StreamTransportException("timeout")
            response = await super().__call__(task_id, limit)
            if chance.random() < 0.1:
                raise chance.choice(
                    [StreamTransportException("connection_reset"), StreamApiException(status_code=503)]
                )
            return response

    durations = {str(number): chance.choice([0.0, 0.3, 1.0, 4.0, 15.0, math.inf]) for number in range(4)}
    server = Moody(durations.__getitem__)
    client = client_of(server, max_connections=chance.choice([1, 2, 3, 100]))

    async def one() -> None:
        # Whole and half seconds, so that answers, deadlines and cancellations meet in the same turn.
        await asyncio.sleep(chance.randrange(20) / 2)
        task_id = str(chance.randrange(4))
        interval = chance.choice([0, 0.5, 1.0, 1.0, 2.5])
        timeout = chance.choice([0, 0.5, 1.0, 2.0, 5.0, 30.0])
        begun = loop.time()
        patience = chance.choice([0.0, 0.5, 1.0, 1.5, 3.0, math.inf, math.inf])
        with anyio.move_on_after(patience):
            kind = chance.choice(KINDS)
            if kind == "as_completed":
                source = [task_id, *(str(chance.randrange(4)) for _ in range(3))]
                room = chance.choice([None, 1, 2])
                async with aclosing(
                    client.as_completed(source, interval, timeout, max_waiting=room)
                ) as outcomes:
                    found = [outcome.task_id async for outcome in outcomes]
                assert sorted(map(str, found)) == sorted(source)
                return
            outcome = await outcome_of(call(client, kind, interval, timeout))
            is_late = isinstance(outcome, StreamWaitTimeoutException | AssertionError)
            if timeout:
                assert loop.time() - begun <= timeout + 0.05
            if is_late and timeout:
                assert loop.time() - begun >= timeout - 0.21 or kind == "wait_for_tasks"
            if outcome is None:
                # No lost wake-up: who waits for a finished task is served within a poll or two.
                assert durations[task_id] < math.inf

    waits = [asyncio.create_task(one()) for _ in range(30)]
    await asyncio.gather(*waits)
    assert server.most_in_flight <= client._connections.max_connections
    for task_id in durations:
        moments = [at for at, polled in server.polls if polled == task_id]
        assert all(b - a >= 0 for a, b in itertools.pairwise(moments))
    await asyncio.sleep(0)
    assert not tasks_left()
    assert_rests(client.engine)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(3))
def test_no_schedule_loses_a_wait_or_polls_a_task_twice_at_once(block: int) -> None:
    """Whoever comes and goes, whenever: random schedules, hundreds of them."""
    for seed in range(block * 40, block * 40 + 40):
        try:
            in_virtual_time(_play(seed))
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise
