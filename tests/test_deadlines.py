"""Deadlines that come together, that are noticed late, and what is said of them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scripted import (
    EPOCH,
    ByTime,
    Hang,
    QuotaServer,
    Script,
    ScriptedStream,
    VirtualLoop,
    assert_rests,
    snapshot,
)

from stream_tasks import StreamWaitTimeoutException, Task
from stream_tasks._engine.poll import Look
from stream_tasks._engine.tracked import Wait
from stream_tasks._engine.tuning import LATE_LOOK, WAITS_A_TURN


def run(main: Callable[[VirtualLoop], Any]) -> Any:
    """Run a coroutine function in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


async def reasons(client: ScriptedStream, way: str, count: int, timeout: float) -> Counter[str]:
    """Wait for many tasks in one of the ways, and count why they timed out."""
    ids = [str(number) for number in range(count)]
    errors: list[Any]
    if way == "wait_for_task":
        waits = [client.wait_for_task(task_id, timeout=timeout) for task_id in ids]
        errors = await asyncio.gather(*waits, return_exceptions=True)
    elif way == "wait_for_tasks":
        outcomes = await client.wait_for_tasks(ids, timeout=timeout)
        errors = [outcome.exception() for outcome in outcomes.values()]
    else:
        errors = [outcome.exception() async for outcome in client.as_completed(ids, timeout=timeout)]
    assert all(isinstance(error, StreamWaitTimeoutException) for error in errors)
    return Counter(error.reason for error in errors)


WAYS = ["wait_for_task", "wait_for_tasks", "as_completed"]
MANY = 4 * WAITS_A_TURN


@pytest.mark.parametrize("cost", [0.0, 0.01], ids=["on a quick machine", "when the ends take ten seconds"])
@pytest.mark.parametrize("way", WAYS)
def test_a_burst_of_deadlines_under_a_quota_says_so(
    way: str, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quota held the waits back, however long it takes to tell all of them."""

    async def main(loop: VirtualLoop) -> None:
        time_out = Wait.time_out

        def slowly(self: Wait, *args: Any) -> None:
            loop.block(cost)
            time_out(self, *args)

        monkeypatch.setattr(Wait, "time_out", slowly)
        client = ScriptedStream(QuotaServer(60))
        found = await reasons(client, way, MANY, 8.0)
        # Those that were looked at just before the deadline can only say that the task was running then.
        assert found["still_running"] <= 10
        assert set(found) <= {"rate_limited", "still_running"}
        assert_rests(client.engine)

    run(main)


@pytest.mark.parametrize("way", WAYS)
def test_a_burst_of_deadlines_of_a_silent_server_says_so(way: str) -> None:
    """Nobody was answered: no wait says anything else."""

    async def main(_: VirtualLoop) -> None:
        client = ScriptedStream(Script(Hang(3600)))
        assert await reasons(client, way, MANY, 5.0) == {"unreachable": MANY}
        assert_rests(client.engine)

    run(main)


@pytest.mark.parametrize("way", ["wait_for_task", "wait_for_tasks"])
def test_a_burst_of_deadlines_lets_others_have_their_turn(way: str) -> None:
    """Between so many ends, the loop goes round."""

    async def main(_: VirtualLoop) -> None:
        client = ScriptedStream(Script(Hang(3600)))
        ended: list[int] = [0]
        turns: list[int] = []

        async def bystander() -> None:
            while ended[0] < MANY:
                turns.append(ended[0])
                await asyncio.sleep(0)

        def end(*_: Any) -> None:
            if not ended[0]:
                others.append(asyncio.create_task(bystander()))
            ended[0] += 1

        others: list[asyncio.Task[None]] = []
        ids = [str(number) for number in range(MANY)]
        if way == "wait_for_task":
            waits = [asyncio.create_task(client.wait_for_task(task_id, timeout=5)) for task_id in ids]
            for wait in waits:
                wait.add_done_callback(end)
            await asyncio.gather(*waits, return_exceptions=True)
        else:
            await client.wait_for_tasks(ids, timeout=5, on_outcome=end)
        await others[0]
        assert max(b - a for a, b in itertools.pairwise(turns)) <= 2 * WAITS_A_TURN
        assert_rests(client.engine)

    run(main)


def test_a_wait_for_a_turn_lies_within_the_deadline() -> None:
    """A short wait behind thousands of long ones ends in time, and so do thousands that never began."""

    async def main(loop: VirtualLoop) -> None:
        begun: list[str] = []

        async def fetch(task_id: str, limit: float) -> Look:
            begun.append(task_id)
            await asyncio.sleep(limit)
            raise TimeoutError

        client = ScriptedStream(fetch)
        engine = client.engine
        joined = engine.join

        def slowly(*args: Any, **options: Any) -> Any:
            loop.block(0.01)
            return joined(*args, **options)

        engine.join = slowly  # type: ignore[method-assign]
        long = [asyncio.create_task(client.wait_for_task(str(n), timeout=600)) for n in range(MANY)]

        async def short(number: int) -> float:
            started = loop.time()
            with pytest.raises(StreamWaitTimeoutException):
                await client.wait_for_task(f"short-{number}", timeout=3)
            return loop.time() - started

        took = await asyncio.gather(*map(short, range(20)))
        # One turn of those that begin may be in the way.
        assert max(took) <= 3 + 0.01 * WAITS_A_TURN + 0.1
        for wait in long:
            wait.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        assert_rests(client.engine)

    run(main)


def test_nothing_is_begun_after_the_deadline() -> None:
    """If beginning takes longer than there is time, the rest is told so, and is not asked for."""

    async def main(loop: VirtualLoop) -> None:
        server = ByTime(lambda _: 3600.0)
        client = ScriptedStream(server)
        engine = client.engine
        joined = engine.join

        def slowly(*args: Any, **options: Any) -> Any:
            loop.block(0.001)
            return joined(*args, **options)

        engine.join = slowly  # type: ignore[method-assign]
        outcomes = await client.wait_for_tasks(map(str, range(MANY)), timeout=0.6)
        assert loop.time() <= 0.6 + 0.001 * WAITS_A_TURN + 0.1
        errors = [outcome.exception() for outcome in outcomes.values()]
        assert all(isinstance(error, StreamWaitTimeoutException) for error in errors)
        assert len(errors) == MANY
        assert len(server.polls) < MANY
        assert max(at for at, _ in server.polls) <= 0.6 + 0.001 * WAITS_A_TURN
        assert_rests(engine)

    run(main)


@pytest.mark.parametrize("way", [*WAYS, "watch_task"])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.25, 2.9])
def test_a_deadline_noticed_late_is_followed_by_a_look(way: str, at: float) -> None:
    """The loop was blocked over it: a task that ended meanwhile has ended."""

    async def main(loop: VirtualLoop) -> None:
        async def fetch(task_id: str, limit: float) -> Look:
            del limit
            status = "completed" if loop.time() >= 2.95 else "running"
            await asyncio.sleep(0.02)
            return Task(task_id, status, EPOCH, EPOCH), None

        client = ScriptedStream(fetch)
        loop.call_at(at, loop.block, 5.0)
        found: Any
        if way == "wait_for_task":
            found = await client.wait_for_task("t", timeout=3)
            assert found.task.is_completed
        elif way == "watch_task":
            found = [task async for task in client.watch_task("t", timeout=3)]
            assert found[-1].is_completed
        elif way == "wait_for_tasks":
            found = await client.wait_for_tasks(["t", "u"], timeout=3)
            assert all(outcome.ok for outcome in found.values())
        else:
            found = [outcome async for outcome in client.as_completed(["t", "u"], timeout=3)]
            assert all(outcome.ok for outcome in found)
        assert loop.time() <= at + 5 + LATE_LOOK
        assert_rests(client.engine)

    run(main)


def test_the_look_after_a_late_deadline_is_bounded() -> None:
    """A server that does not answer then costs no more than that look, and the reason is its silence."""

    async def main(loop: VirtualLoop) -> None:
        client = ScriptedStream(Script("running", "running", Hang(3600)))
        loop.call_at(1.5, loop.block, 5.0)
        with pytest.raises(StreamWaitTimeoutException) as caught:
            await client.wait_for_task("t", timeout=3)
        assert loop.time() == pytest.approx(6.5 + LATE_LOOK, abs=0.05)
        assert caught.value.reason == "unreachable"
        assert caught.value.timeout == 3
        assert_rests(client.engine)

    run(main)


def test_the_look_after_a_late_deadline_is_one() -> None:
    """A task that still runs then is timed out at once."""

    async def main(loop: VirtualLoop) -> None:
        script = Script("running", latency=0.02)
        client = ScriptedStream(script)
        loop.call_at(1.5, loop.block, 5.0)
        with pytest.raises(StreamWaitTimeoutException) as caught:
            await client.wait_for_task("t", timeout=3)
        assert loop.time() == pytest.approx(6.52, abs=0.05)
        assert caught.value.reason == "still_running"
        assert len(script.polls) == 3

    run(main)


def test_a_slow_loops_body_is_no_blocked_loop() -> None:
    """While the caller's own code awaits, looks go on: a wait that elapsed then has no other look."""

    async def main(loop: VirtualLoop) -> None:
        script = Script("moving")
        client = ScriptedStream(script)
        seen: list[Task] = []
        with pytest.raises(StreamWaitTimeoutException):  # noqa: PT012 - the loop is what is tested
            async for task in client.watch_task("t", timeout=3):
                seen.append(task)
                await asyncio.sleep(10)
        assert max(script.polls) <= 3
        assert loop.time() <= 50

    run(main)


def test_a_stopped_process_looks_again() -> None:
    """For the loop, SIGSTOP is a clock that jumps; an answer that lay in the socket is not the last word."""

    async def main(loop: VirtualLoop) -> None:
        ended = 2.0

        async def fetch(task_id: str, limit: float) -> Look:
            del task_id, limit
            status = "completed" if loop.time() >= ended else "running"
            await asyncio.sleep(0.4)
            return snapshot(status), None

        client = ScriptedStream(fetch)
        loop.call_at(1.5, loop.block, 60.0)
        assert (await client.wait_for_task("t", 1.0, timeout=3)).task.is_completed

    run(main)
