"""One timer for the time limits of many exchanges."""

import asyncio
from typing import Any

import anyio
import pytest
from scripted import tasks_left, timers_left

from stream_tasks._http.limits import Limit

pytestmark = pytest.mark.looptime


async def under(limit: Limit, seconds: float) -> str:
    with limit:
        await asyncio.sleep(seconds)
    return "done"


async def test_what_takes_too_long_ends_with_a_timeout() -> None:
    """Each at its own time, though there is one timer; what is in time is left alone."""
    limit = Limit(10)
    loop = asyncio.get_running_loop()
    ended: dict[str, float] = {}

    async def start(name: str, after: float, seconds: float) -> None:
        await asyncio.sleep(after)
        try:
            await under(limit, seconds)
        except TimeoutError:
            name += " timed out"
        ended[name] = round(loop.time(), 2)

    await asyncio.gather(
        start("slow", 0, 100), start("quick", 1, 1), start("later", 3, 100), start("last", 12, 9.9)
    )
    assert ended == {"quick": 2, "slow timed out": 10, "later timed out": 13, "last": 21.9}
    assert timers_left() <= 1
    limit.close()
    assert timers_left() == 0
    Limit(1).close()


async def test_the_timer_rests_when_nothing_is_under_way() -> None:
    """It fires once more, and is set again by whoever comes next."""
    limit = Limit(10)
    await under(limit, 1)
    await asyncio.sleep(60)
    assert timers_left() == 0
    with pytest.raises(TimeoutError):
        await under(limit, 11)


async def test_a_task_goes_on_after_its_limit() -> None:
    """The cancellation is used up: nothing after it is cancelled, and nothing counts as being so."""
    limit = Limit(1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await under(limit, 2)
        await asyncio.sleep(5)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("when", [0.5, 1.0, 1.5])
async def test_a_cancellation_from_outside_stays_one(when: float) -> None:
    """Before the limit, and in the same moment as it; afterwards there is nothing left to cancel."""
    limit = Limit(1)
    task = asyncio.create_task(under(limit, 5))
    asyncio.get_running_loop().call_later(when, task.cancel)
    with pytest.raises(asyncio.CancelledError if when <= 1 else TimeoutError):
        await task
    assert not tasks_left()


async def test_a_task_that_was_cancelled_before_can_still_time_out() -> None:
    """What cleans up after its own cancellation is bounded like anything else."""
    limit = Limit(1)
    seen: list[Any] = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            try:
                await under(limit, 50)
            except TimeoutError:
                seen.append("timed out")
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["timed out"]


@pytest.mark.parametrize("outer", [0.5, 1.0, 2.0])
async def test_scopes_around_it_keep_their_meaning(outer: float) -> None:
    """A deadline of anyio that comes first is the one that ends it."""
    limit = Limit(1)
    with anyio.move_on_after(outer) as scope:
        with pytest.raises(TimeoutError) if outer > 1 else anyio.CancelScope():
            await under(limit, 5)
        await asyncio.sleep(0)
    assert scope.cancelled_caught == (outer <= 1)
    await asyncio.sleep(1)


async def test_work_that_swallows_its_cancellation_is_not_failed() -> None:
    """It has ended all the same, and the task is not left as a cancelled one."""
    limit = Limit(1)
    with limit:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_task_may_enter_it_again() -> None:
    """What it does inside counts against the limit that it is under, which holds afterwards, too."""
    limit = Limit(3)
    loop = asyncio.get_running_loop()

    async def under_twice(*parts: float) -> None:
        with limit:
            for seconds in parts:
                await under(limit, seconds)
            await asyncio.sleep(5)

    for parts in ((), (1, 1), (2, 2)):
        begun = loop.time()
        with pytest.raises(TimeoutError):
            await under_twice(*parts)
        assert loop.time() - begun == pytest.approx(3)
        assert await under(limit, 1) == "done"


async def test_work_that_dawdles_after_its_limit_holds_nobody_up() -> None:
    """While it cleans up, the limits of others are kept, and it is not cancelled once more."""
    limit = Limit(1)
    loop = asyncio.get_running_loop()
    ended: dict[str, float] = {}

    async def dawdle() -> None:
        with limit:
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(5)
                ended["dawdler"] = loop.time()

    async def follow() -> None:
        await asyncio.sleep(0.5)
        try:
            await under(limit, 5)
        finally:
            ended["follower"] = loop.time()

    errors = await asyncio.gather(dawdle(), follow(), return_exceptions=True)
    assert [type(error) for error in errors] == [TimeoutError] * 2
    assert ended == pytest.approx({"follower": 1.5, "dawdler": 6})


async def test_closing_it_ends_what_is_under_way() -> None:
    """At once, as an error of the connection, what has just timed out included; nothing is left of it."""
    limit = Limit(5)

    async def dawdle() -> None:
        with limit:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(3)
                raise

    work: list[asyncio.Task[Any]] = [asyncio.create_task(dawdle())]
    await asyncio.sleep(6)
    work.append(asyncio.create_task(under(limit, 100)))
    await asyncio.sleep(1)
    limit.close()
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionAbortedError] * 2
    assert timers_left() == 0
