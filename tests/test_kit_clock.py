"""Under a virtual clock nobody waits, and everything else is as it would be."""

import asyncio
import functools
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import anyio
import jwt
import pytest
import scripts
from blockbuster import BlockBuster
from freezegun import freeze_time

from stream_tasks import AsyncStream, Stream, StreamApiException, StreamWaitTimeoutException, Task
from stream_tasks._loop_thread import new_loop
from stream_tasks.testing import FakeStream, Fault, RateLimitRule, VirtualClock
from stream_tasks.testing._clock import _Sleeper
from stream_tasks.testing._threads import _runs

HOUR = 3600.0


def spin(seconds: float = 0.02) -> None:
    """Be at work."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_an_hour_of_a_blocking_client(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A time-out of an hour is exact, and over at once."""
    task_id = fake_stream.add_task(never=True)
    with pytest.raises(StreamWaitTimeoutException) as caught:
        stream_client.wait_for_task(task_id, 60, HOUR)
    assert caught.value.elapsed == pytest.approx(HOUR, abs=0.05)
    assert caught.value.reason == "still_running"
    assert virtual_clock.elapsed == pytest.approx(HOUR, abs=0.05)
    fake_stream.assert_polled(task_id, 61)
    fake_stream.assert_never_faster_than(59)


async def test_an_hour_of_an_asynchronous_client(
    fake_stream: FakeStream, async_stream_client: AsyncStream, virtual_clock: VirtualClock
) -> None:
    """The loop of the test goes by the clock, too."""
    task_id = fake_stream.add_task(never=True)
    with pytest.raises(StreamWaitTimeoutException) as caught:
        await async_stream_client.wait_for_task(task_id, 60, HOUR)
    assert caught.value.elapsed == pytest.approx(HOUR, abs=0.05)
    assert virtual_clock.elapsed == pytest.approx(HOUR, abs=0.05)
    fake_stream.assert_polled(task_id, 61)


async def test_nothing_blocks_a_loop(
    blockbuster: BlockBuster,
    fake_stream: FakeStream,
    async_stream_client: AsyncStream,
    virtual_clock: VirtualClock,
) -> None:
    """A tool that looks for calls that block event loops reports none of the clock's."""
    await async_stream_client.wait_for_task(fake_stream.add_task(after=90), timeout=HOUR)
    assert virtual_clock.elapsed == pytest.approx(90, abs=1)


async def test_client_and_server_on_one_loop() -> None:
    """A clock that begins inside a running loop moves what is on it."""
    with VirtualClock() as clock:
        async with (
            FakeStream() as server,
            AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client,
        ):
            task = (await client.wait_for_task(server.add_task(after=90), timeout=HOUR)).task
        assert task.updated_at - task.created_at == timedelta(seconds=90)
        assert clock.elapsed == pytest.approx(90)


def test_waits_in_many_threads(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """Time passes for all threads alike, and only as far as the first of them waits."""
    ends = range(10, 60, 10)

    def wait(after: int) -> float:
        stream_client.wait_for_task(fake_stream.add_task(after=after), 2, HOUR)
        return virtual_clock.elapsed

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(wait, ends)) == pytest.approx(ends, abs=4)


async def test_pacing_goes_by_the_clock(
    fake_stream: FakeStream, async_stream_client: AsyncStream, virtual_clock: VirtualClock
) -> None:
    """Windows end by virtual time, and the client knows when."""
    fake_stream.rate_limit = 30
    ids = [fake_stream.add_task(statuses=()) for _ in range(75)]
    outcomes = await async_stream_client.wait_for_tasks(ids, timeout=HOUR)
    assert all(outcome.ok for outcome in outcomes.values())
    assert 60 < virtual_clock.elapsed < 240
    assert {request.status for request in fake_stream.requests} == {200}


async def test_dates_agree(
    fake_stream: FakeStream, async_stream_client: AsyncStream, virtual_clock: VirtualClock
) -> None:
    """The dates in headers and payloads are those of the clock."""
    fake_stream.rate_limit = RateLimitRule(30, window=60)
    begin = time.time()
    await asyncio.sleep(HOUR)
    response = await async_stream_client.get_task(fake_stream.add_task())
    now = begin + HOUR
    assert parsedate_to_datetime(response.headers["Date"]).timestamp() == pytest.approx(now, abs=60)
    assert response.data.created_at.timestamp() == pytest.approx(now, abs=60)
    assert response.rate_limit is not None
    assert response.rate_limit.reset.timestamp() == pytest.approx(now + 60, abs=60)
    assert response.rate_limit.reset_in == pytest.approx(60, abs=2)


async def test_tokens_grow_old(fake_stream: FakeStream, virtual_clock: VirtualClock) -> None:
    """A token that expires in ten minutes has expired an hour later."""
    token = jwt.encode({"exp": int(time.time()) + 600}, fake_stream.api_secret)
    async with AsyncStream(fake_stream.api_key, token=token, base_url=fake_stream.url) as client:
        task_id = fake_stream.add_task()
        await client.get_task(task_id)
        await asyncio.sleep(HOUR)
        with pytest.raises(StreamApiException, match="expired"):
            await client.get_task(task_id)


def test_hanging_requests_take_their_time(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A late answer takes the time that the server says, a hanging request takes the client's time-out."""
    task_id = fake_stream.add_task()
    fake_stream.inject(Fault.delay(20))
    stream_client.get_task(task_id)
    assert virtual_clock.elapsed == pytest.approx(20)
    fake_stream.inject(Fault.hang())
    stream_client.wait_for_task(task_id, timeout=HOUR)
    assert virtual_clock.elapsed == pytest.approx(20 + 30, abs=5)


def test_outages_end_by_the_clock(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A fault can last for a time, during which it strikes everything."""
    fake_stream.inject(Fault.html(503), seconds=300)
    task_id = fake_stream.add_task(statuses=())
    stream_client.wait_for_task(task_id, timeout=HOUR)
    *struck, last = fake_stream.polls(task_id)
    assert {poll.status for poll in struck} == {503}
    assert last.status == 200
    assert 300 <= virtual_clock.elapsed < 330


def test_time_stands_still_during_callbacks(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """What a caller's thread does for a client takes no time; what it waits for there does."""
    took = []

    def look(task: Task) -> None:
        begin = virtual_clock.elapsed
        spin()
        took.append(virtual_clock.elapsed - begin)
        if task.is_final:
            stream_client.wait_for_task(fake_stream.add_task(after=50), timeout=HOUR)
            took.append(virtual_clock.elapsed - begin)

    stream_client.wait_for_task(fake_stream.add_task(), timeout=HOUR, on_update=look)
    assert took == pytest.approx([0, 0, 0, 50], abs=1)


@pytest.mark.parametrize("call", ["on_update", "on_outcome", "tasks"])
def test_time_waits_for_slow_callbacks(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock, call: str
) -> None:
    """A callback that waits for the world takes no time, though its thread does not move."""
    task_id = fake_stream.add_task(after=90)
    took = []

    def look(_: object = None) -> None:
        begin = virtual_clock.elapsed
        time.sleep(0.4)
        took.append(virtual_clock.elapsed - begin)

    def tasks() -> Iterator[str]:
        yield task_id
        look()

    if call == "tasks":
        assert all(outcome.ok for outcome in stream_client.as_completed(tasks(), timeout=100))
    else:
        calls: Any = {call: look}
        assert stream_client.wait_for_tasks([task_id], timeout=100, **calls)[task_id].ok
    assert set(took) == {0}
    assert virtual_clock.elapsed == pytest.approx(90, abs=1)


def test_callbacks_that_wait_for_each_other_do_not_stop_time(
    fake_stream: FakeStream,
    stream_client: Stream,
    virtual_clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A callback that waits for another wait, where Python cannot see it, counts as idle in the end."""
    monkeypatch.setattr("stream_tasks.testing._threads._STILL_CALLED", 0.4)
    ended: SimpleQueue[float] = SimpleQueue()

    def other() -> None:
        stream_client.wait_for_task(fake_stream.add_task(after=90), timeout=HOUR)
        ended.put(virtual_clock.elapsed)

    thread = threading.Thread(target=other)
    thread.start()
    stream_client.wait_for_task(
        fake_stream.add_task(statuses=()), timeout=HOUR, on_update=lambda _: ended.put(ended.get())
    )
    thread.join()
    assert ended.get() == pytest.approx(90, abs=2)


async def test_time_stands_still_while_threads_are_at_work(virtual_clock: VirtualClock) -> None:
    """A timer does not overtake a thread that computes, whichever library started it."""
    async with asyncio.timeout(1):
        await asyncio.to_thread(spin)
        await anyio.to_thread.run_sync(spin)
    assert virtual_clock.elapsed == 0


async def test_time_stands_still_during_long_work(virtual_clock: VirtualClock) -> None:
    """A thread that computes in one place, for longer than an idle one needs, is at work."""
    async with asyncio.timeout(1):
        await asyncio.to_thread(spin, 0.6)
    assert virtual_clock.elapsed == 0


async def test_time_stands_still_while_a_loop_is_at_work(virtual_clock: VirtualClock) -> None:
    """A callback of one loop holds up the timers of all, even if its thread only sleeps."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.sleep(100),))
    thread.start()
    time.sleep(0.4)
    assert virtual_clock.elapsed == 0
    await asyncio.sleep(100)
    thread.join()
    loop.close()


def test_time_stands_still_between_calls(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """While nobody waits, no timer moves time, such as that of an idle connection."""
    stream_client.get_task(fake_stream.add_task())
    pause = threading.Event()
    pause.wait(0.05)
    assert virtual_clock.elapsed == 0


def test_threads_that_wait_for_the_world_do_not_stop_time(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A thread in a system call counts as idle after it has kept still for a while."""
    read, write = os.pipe()
    thread = threading.Thread(target=os.read, args=(read, 1))
    thread.start()
    stream_client.wait_for_task(fake_stream.add_task(after=90), timeout=HOUR)
    assert virtual_clock.elapsed == pytest.approx(90, abs=1)
    os.write(write, b"x")
    thread.join()
    os.close(read)
    os.close(write)


def test_threads_that_are_not_there_do_not_run() -> None:
    """A thread that has not begun, or has ended, is not at work."""
    assert not _runs(threading.Thread())


def test_loops_that_have_just_been_closed_are_at_work() -> None:
    """A loop that ends while it is looked at does not end the clock."""
    loop = asyncio.SelectorEventLoop()
    sleeper = _Sleeper(loop, loop._selector.select, 0.0)  # type: ignore[attr-defined]
    assert not sleeper.is_ready
    loop.close()
    assert sleeper.is_ready


async def test_blocking_calls_inside_a_loop(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A loop that waits in a blocking call does not hold up the others."""
    task_id = fake_stream.add_task(after=90)
    timer = asyncio.get_running_loop().call_later(5, lambda: None)
    stream_client.wait_for_task(task_id, timeout=HOUR)
    assert virtual_clock.elapsed == pytest.approx(90, abs=1)
    timer.cancel()


async def test_clients_outlive_the_clock(fake_stream: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of clients that live before, under and after a clock never goes back."""
    monkeypatch.delenv("STREAM_UVLOOP", raising=False)  # its loops keep the real time
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    with Stream() as blocking:
        async with AsyncStream() as client:
            for _ in range(2):
                await client.wait_for_task(fake_stream.add_task(), 0.05)
                blocking.wait_for_task(fake_stream.add_task(), 0.05)
                times.append(loop.time())
                with VirtualClock() as clock:
                    await client.wait_for_task(fake_stream.add_task(after=90), timeout=HOUR)
                    wait = functools.partial(blocking.wait_for_task, fake_stream.add_task(after=90), 1, HOUR)
                    await asyncio.to_thread(wait)
                    polls = [(poll.task_id, poll.at, poll.status) for poll in fake_stream.requests]
                    assert clock.elapsed == pytest.approx(180, abs=2), polls
                assert repr(clock).endswith(" s, stopped>")
                times.append(loop.time())
            await client.wait_for_task(fake_stream.add_task(after=0.1), 0.05, 5)
            blocking.wait_for_task(fake_stream.add_task(after=0.1), 0.05, 5)
    assert times == sorted(times)
    assert times[-1] - times[0] > 360
    assert fake_stream.requests == sorted(fake_stream.requests, key=lambda request: request.at)


def test_code_with_a_loop_of_its_own(
    fake_stream: FakeStream,
    stream_client: Stream,
    virtual_clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test can move time by hand, for code that sleeps without an event loop."""
    monkeypatch.setattr(time, "sleep", virtual_clock.advance)
    task_id = fake_stream.add_task(after=HOUR)
    while not stream_client.get_task(task_id).data.is_final:
        time.sleep(100)
    fake_stream.assert_polled(task_id, 37)
    assert repr(virtual_clock) == "<VirtualClock 3600 s>"


async def test_whole_seconds_add_up(virtual_clock: VirtualClock) -> None:
    """Whole seconds add up exactly, wherever the real clock stood."""
    begin = asyncio.get_running_loop().time()
    for _ in range(100):
        await asyncio.sleep(36)
    assert virtual_clock.elapsed == HOUR
    assert asyncio.get_running_loop().time() - begin == HOUR


def test_a_machine_that_has_run_for_a_year() -> None:
    """Timers end although asyncio's clock is coarser there than the resolution that it adds."""

    class OldLoop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + 2.0**25

    with VirtualClock() as clock, asyncio.Runner(loop_factory=OldLoop) as runner:
        runner.run(asyncio.sleep(HOUR))
    assert clock.elapsed == pytest.approx(HOUR)


async def test_moving_time_wakes_those_who_slept(virtual_clock: VirtualClock) -> None:
    """Time that a thread moves by hand passes on all loops."""
    begin = asyncio.get_running_loop().time()
    hurrying = asyncio.create_task(asyncio.to_thread(virtual_clock.advance, HOUR))
    await asyncio.sleep(HOUR)
    await hurrying
    assert HOUR <= asyncio.get_running_loop().time() - begin <= 2 * HOUR


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_moves_forward_only(virtual_clock: VirtualClock, seconds: float) -> None:
    """A negative or infinite time is refused."""
    with pytest.raises(ValueError, match="seconds must be a finite number"):
        virtual_clock.advance(seconds)


def test_stopped_clocks_do_not_move() -> None:
    """A clock that was not started says how to start it."""
    with pytest.raises(RuntimeError, match="use it as `with VirtualClock"):
        VirtualClock().advance(1)


def test_stopping_a_clock_that_does_not_run(virtual_clock: VirtualClock) -> None:
    """Stopping a clock before it began, or after it ended, does nothing, also not to another clock."""
    begin = virtual_clock.elapsed
    VirtualClock().__exit__()
    virtual_clock.advance(1)
    assert virtual_clock.elapsed == begin + 1
    with pytest.raises(RuntimeError, match="another virtual clock runs already"):
        VirtualClock().__enter__()


def test_one_clock_at_a_time(virtual_clock: VirtualClock) -> None:
    """A second clock is refused while one runs."""
    with pytest.raises(RuntimeError, match="another virtual clock runs already"), VirtualClock():
        pytest.fail("there were two")


def test_late_loops_keep_the_real_time() -> None:
    """A loop that is about to sleep when a clock stops sleeps in real time."""
    with VirtualClock() as clock:

        async def sleep() -> float:
            select = asyncio.get_running_loop()._selector.select  # type: ignore[attr-defined]
            begin = time.perf_counter()
            clock.__exit__()
            assert select(0.02) == []
            return time.perf_counter() - begin

        assert asyncio.run(sleep()) >= 0.015


class OtherSelector:
    """What Windows' default loop sleeps by, as far as a clock can tell."""

    def select(self) -> None: ...


async def test_other_loops_are_refused() -> None:
    """A loop that cannot be moved is an error, and not a test that hangs."""
    loop: Any = asyncio.get_running_loop()
    own, loop._selector = loop._selector, OtherSelector()
    try:
        with pytest.raises(RuntimeError, match="needs a SelectorEventLoop, not "):
            VirtualClock().__enter__()
    finally:
        loop._selector = own
    with VirtualClock() as clock:
        await asyncio.sleep(HOUR)
    assert clock.elapsed == HOUR


def test_other_loops_are_refused_when_they_run(virtual_clock: VirtualClock) -> None:
    """A loop that cannot be moved is also an error when it begins to run under a clock."""
    loop: Any = asyncio.new_event_loop()
    own, loop._selector = loop._selector, OtherSelector()
    with pytest.raises(RuntimeError, match="needs a SelectorEventLoop"):
        loop.run_forever()
    loop._selector = own
    loop.close()


def test_blocking_clients_stay_on_asyncios_loop(
    virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New blocking clients do not use uvloop while a clock runs, since it cannot be moved."""
    import stream_tasks._loop_thread as module

    monkeypatch.setenv(module.UVLOOP_VARIABLE, "1")
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace())
    loop = module.new_loop()
    loop.close()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    assert module.new_loop is not new_loop


def test_servers_stop_in_virtual_time(virtual_clock: VirtualClock) -> None:
    """A stop waits a moment for requests under way, although nobody else waits."""
    with FakeStream() as server, socket.create_connection(("127.0.0.1", int(server.url[-5:]))) as sock:
        sock.sendall(b"POST /api/v2/users/delete HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        while not server._listener._running.connections.connections:  # type: ignore[union-attr]
            pass
    assert virtual_clock.elapsed < 1


# Others that change the time, or asyncio


FREEZES = [
    pytest.param({}, id="frozen"),
    pytest.param({"real_asyncio": True}, id="frozen but for asyncio"),
    pytest.param({"tick": True}, id="ticking"),
]
MOMENTS = ["2012-01-14", "2096-02-29"]


def wait_for_five_seconds() -> None:
    """Wait with each client, both on loops that are made for it."""

    async def wait(server: FakeStream) -> None:
        async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
            await client.wait_for_task(server.add_task(after=5), timeout=60)

    with FakeStream() as server, Stream(server.api_key, server.api_secret, base_url=server.url) as client:
        client.wait_for_task(server.add_task(after=5), timeout=60)
        asyncio.run(wait(server))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("arguments", FREEZES)
def test_a_clock_in_frozen_time(arguments: dict[str, Any], moment: str) -> None:
    """A clock that begins while freezegun holds the time of Python's functions moves loops."""
    with freeze_time(moment, **arguments), VirtualClock() as clock:
        wait_for_five_seconds()
    assert clock.elapsed == pytest.approx(10, abs=1)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("arguments", FREEZES)
def test_time_that_freezes_under_a_clock(
    virtual_clock: VirtualClock, arguments: dict[str, Any], moment: str
) -> None:
    """A clock that runs when freezegun begins moves the loops that are made from then on, too."""
    with freeze_time(moment, **arguments):
        wait_for_five_seconds()
    assert virtual_clock.elapsed == pytest.approx(10, abs=1)


async def test_time_that_freezes_under_a_running_loop(
    fake_stream: FakeStream, async_stream_client: AsyncStream, virtual_clock: VirtualClock
) -> None:
    """A loop that goes by a clock goes on when freezegun begins, and when it ends."""
    for _ in range(2):
        with freeze_time("2012-01-14"):
            await async_stream_client.wait_for_task(fake_stream.add_task(after=90), timeout=HOUR)
        await asyncio.sleep(10)
    assert virtual_clock.elapsed == pytest.approx(200, abs=1)


def test_servers_keep_the_real_time() -> None:
    """A server in a thread of its own answers late, and stops, while freezegun holds the time."""
    with freeze_time("2012-01-14"), FakeStream() as server:
        server.inject(Fault.delay(0.02))
        with socket.create_connection(("127.0.0.1", int(server.url[-5:]))) as sock:
            sock.settimeout(20)
            sock.sendall(b"GET /api/v2/tasks/x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 401"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after"])
def test_nested_loops(fake_stream: FakeStream, order: str) -> None:
    """A clock moves loops that nest_asyncio has patched, and what runs inside their callbacks."""
    code = f"""
    import nest_asyncio
    from stream_tasks.testing import FakeStream, VirtualClock

    async def wait():
        async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
            await client.wait_for_task(server.add_task(after=3600), 60, timeout=7200)

    async def nest():
        await wait()
        loop.run_until_complete(wait())
        asyncio.run(wait())
        blocking.wait_for_task(server.add_task(after=3600), 60, timeout=7200)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if "{order}" == "before":
        nest_asyncio.apply()
    with FakeStream() as server, VirtualClock() as clock:
        blocking = Stream(server.api_key, server.api_secret, base_url=server.url)
        if "{order}" == "after":
            nest_asyncio.apply()
        loop.run_until_complete(nest())
        print(clock.elapsed)
    loop.close()
    """
    ended = scripts.run(fake_stream, code, "-W", "ignore")
    assert ended.returncode == 0
    assert re.fullmatch(
        "(a blocking Stream is called on the thread of a running event loop.*\n)?", ended.stderr
    )
    assert float(ended.stdout) == pytest.approx(4 * HOUR, abs=4)
