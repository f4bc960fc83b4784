"""A hint that a task has ended: one look at once, and no more than the floor and the quota allow."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from scripted import ById, QuotaServer, Script, ScriptedStream, assert_rests

from stream_tasks import AsyncStream, StartedTask, Stream, StreamTransportException, TaskResult
from stream_tasks.testing import FakeStream
from stream_tasks.webhooks import TaskEvent

AWAY = StreamTransportException("connection_reset")


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
@pytest.mark.parametrize(
    "about",
    [
        pytest.param("t", id="an id"),
        pytest.param(TaskEvent("export.users.success", "t"), id="an event"),
        pytest.param(StartedTask("t", {}, TaskResult), id="a started task"),
    ],
)
async def test_a_hint_wakes_the_wait(about: Any) -> None:
    """The task is looked at at once, not when its interval is over."""
    script = Script("running", "completed")
    client = ScriptedStream(script)
    begun = now()
    waiting = asyncio.create_task(client.wait_for_task("t", 30, 300))
    await asyncio.sleep(3)
    client.hint(about)
    await waiting
    assert now() - begun == pytest.approx(3, abs=0.01)
    assert len(script.polls) == 2
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_the_poll_stays_the_truth() -> None:
    """After a hint that was wrong the wait goes on as before."""
    script = Script("running", "running", "completed")
    client = ScriptedStream(script)
    waiting = asyncio.create_task(client.wait_for_task("t", 30, 300))
    await asyncio.sleep(3)
    client.hint("t")
    await waiting
    assert script.gaps == [pytest.approx(3, abs=0.01), pytest.approx(30, abs=0.01)]


@pytest.mark.looptime
async def test_a_hint_during_a_poll_asks_once_more() -> None:
    """That poll may have been sent too early to tell."""
    script = Script("running", "completed", latency=0.5)
    client = ScriptedStream(script)
    waiting = asyncio.create_task(client.wait_for_task("t", 30, 300))
    await asyncio.sleep(0.2)
    client.hint("t")
    client.hint("t")
    await waiting
    assert script.gaps == [pytest.approx(0.55, abs=0.01)]
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_a_flood_of_hints_keeps_the_floor() -> None:
    """However many come, looks are at least 50 ms apart."""
    script = Script("running")
    client = ScriptedStream(script)
    waiting = asyncio.create_task(client.wait_for_task("t", 30, 300))
    for _ in range(2_000):
        await asyncio.sleep(0.001)
        client.hint("t")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert 30 < len(script.polls) <= 42
    assert min(script.gaps) >= 0.049
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_a_hint_does_not_hurry_a_retry() -> None:
    """While looks fail, the back-off holds."""
    script = Script("running", *[AWAY] * 5, "completed")
    client = ScriptedStream(script)
    waiting = asyncio.create_task(client.wait_for_task("t", 0.05, 300))
    while not waiting.done():
        await asyncio.sleep(0.01)
        client.hint("t")
    assert script.gaps[-1] > 0.2


@pytest.mark.looptime
async def test_hints_for_all_tasks_keep_within_the_quota() -> None:
    """The looks that hints ask for wait for their turn like all others."""
    server = QuotaServer(60)
    client = ScriptedStream(server)
    waiting = asyncio.create_task(client.wait_for_tasks(map(str, range(40)), 300, 50))
    while not waiting.done():
        await asyncio.sleep(0.5)
        for number in range(40):
            client.hint(str(number))
    assert server.refused <= len(server.sent) / 20
    assert len(server.sent) > 40
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_a_hint_that_concerns_nobody_is_nothing() -> None:
    """It makes no poll, also before and after a wait, for another task, or for what was done at once."""
    script = Script("completed")
    client = ScriptedStream(script)
    client.hint("t")
    await client.wait_for_task("t")
    client.hint("t")
    client.hint(StartedTask(None, {}, TaskResult))
    await asyncio.sleep(5)
    assert len(script.polls) == 1
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_a_hint_is_for_one_task() -> None:
    """Others are not looked at."""
    fetch = ById({"a": ["running", "completed"], "b": ["running"]})
    client = ScriptedStream(fetch)
    waiting = asyncio.create_task(client.wait_for_tasks(["a", "b"], 300, 20))
    await asyncio.sleep(3)
    client.hint("a")
    await asyncio.sleep(3)
    assert [len(fetch.scripts[name].polls) for name in "ab"] == [2, 1]
    await waiting


@pytest.mark.looptime
async def test_a_late_hint_asks_again_after_the_last_look() -> None:
    """Even if no other look is planned before the deadline."""
    script = Script("running", "running", "completed")
    client = ScriptedStream(script)
    waiting = asyncio.create_task(client.wait_for_task("t", 30, 10))
    await asyncio.sleep(9.9)
    client.hint("t")
    await waiting
    assert len(script.polls) == 3


@pytest.mark.parametrize("about", [None, 5, {}, ""])
async def test_a_hint_about_no_task_is_refused(about: Any) -> None:
    """At the call, whether or not anybody waits."""
    async with AsyncStream("key", "secret") as client:
        with pytest.raises((TypeError, ValueError), match="about"):
            client.hint(about)


def _until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_another_thread_may_hint(threaded_server: FakeStream, blocking: Stream) -> None:
    """A view that is told by a webhook wakes whoever waits, in any thread."""
    threaded_server.add_task("t", statuses=["running"])
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(blocking.wait_for_task("t", 300, 600)))
    waiting.start()
    _until(lambda: threaded_server.polls("t"))
    blocking.hint(TaskEvent("export.users.success", "t"))
    waiting.join(30)
    assert len(found) == 1
    assert len(threaded_server.polls("t")) == 2


def test_a_hint_reaches_the_waits_of_another_loop(threaded_server: FakeStream) -> None:
    """An asynchronous client may be told by a thread without a loop; loops that are closed do not matter."""
    server = threaded_server
    server.add_task("t", statuses=["running"])
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)

    async def look() -> None:
        await client.wait_for_task(server.add_task("u", statuses=[]))

    asyncio.run(look())
    waiting = threading.Thread(target=lambda: asyncio.run(client.wait_for_task("t", 300, 600)))
    waiting.start()
    _until(lambda: server.polls("t"))
    client.hint("t")
    waiting.join(30)
    assert len(server.polls("t")) == 2
