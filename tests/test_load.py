"""Load, over real sockets: many waits at once, and a server that dies in their midst."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

from stream_tasks import AsyncStream
from stream_tasks._engine.engine import Engine
from stream_tasks._engine.tuning import WAITS_A_TURN
from stream_tasks.testing import FakeStream, Fault, RateLimitRule


@pytest.fixture
def server() -> Iterator[FakeStream]:
    with FakeStream() as fake:
        yield fake


@pytest.fixture(autouse=True)
async def _at_speed() -> None:
    """Asyncio's debug mode would be most of the load."""
    asyncio.get_running_loop().set_debug(False)


def client_of(server: FakeStream, **options: Any) -> AsyncStream:
    return AsyncStream(server.api_key, server.api_secret, base_url=server.url, **options)


def engine_of(client: AsyncStream) -> Engine:
    return client._here().engine


def assert_idle(client: AsyncStream) -> None:
    engine = engine_of(client)
    assert len(engine._in_flight) == 0
    assert not engine._tasks
    assert not engine._alarm.is_running


@pytest.mark.parametrize(("way", "count"), [("wait_for_task", 2_000), ("wait_for_tasks", 500)])
async def test_waits_by_the_thousand_open_few_connections(server: FakeStream, way: str, count: int) -> None:
    """Never more than `max_connections`, and none of the waits is lost."""
    most = 0
    async with client_of(server, max_connections=25) as client:
        ids = [server.add_task(statuses=()) for _ in range(count)]
        engine_of(client)

        async def observe() -> None:
            nonlocal most
            while True:
                await asyncio.sleep(0.005)
                session = client._here().transport._session
                if session is not None:
                    connector: Any = session.connector
                    pooled = sum(map(len, connector._conns.values()))
                    most = max(most, pooled + len(connector._acquired))

        observer = asyncio.create_task(observe())
        if way == "wait_for_task":
            results = await asyncio.gather(*(client.wait_for_task(task_id) for task_id in ids))
            assert len(results) == count
        else:
            outcomes = await client.wait_for_tasks(ids)
            assert list(outcomes) == ids
            assert all(outcome.ok for outcome in outcomes.values())
        observer.cancel()
        await asyncio.wait([observer])
        assert_idle(client)
    assert 0 < most <= 25
    assert len(server.requests) == count


async def test_beginning_many_waits_gives_way_to_others(server: FakeStream) -> None:
    """Another coroutine has its turn after every so many waits, however many there are."""
    async with client_of(server) as client:
        turns: list[int] = []
        ids = [f"task-{number}" for number in range(4 * WAITS_A_TURN)]
        call = asyncio.create_task(client.wait_for_tasks(ids))
        while not turns or turns[-1] < len(ids):
            await asyncio.sleep(0)
            turns.append(len(engine_of(client)._tasks))
        call.cancel()
        await asyncio.wait([call])
        assert max(b - a for a, b in zip([0, *turns], turns, strict=False)) <= WAITS_A_TURN
        assert_idle(client)


async def test_a_server_that_dies_for_a_moment_loses_no_wait(server: FakeStream) -> None:
    """Two hundred waits outlive it, and ask seldom while it is away."""
    async with client_of(server, max_connections=40) as client:
        ids = [server.add_task(after=0.6) for _ in range(200)]
        call = asyncio.create_task(client.wait_for_tasks(ids, 0.1, 30))
        await asyncio.sleep(0.3)
        before = len(server.requests)
        server.inject(Fault.reset(), math.inf)
        await asyncio.sleep(0.4)
        server.heal()
        during = len(server.requests) - before
        outcomes = await call
        assert all(outcome.ok for outcome in outcomes.values())
        # What was in flight, which aiohttp sends twice, and a few probes; every 0.1 s there were 200 due.
        assert during <= 160
        assert_idle(client)


async def test_waits_under_streams_rule_are_hardly_refused() -> None:
    """Headers on a real wire, too, keep polls below 20 a second."""
    with FakeStream(rate_limit=RateLimitRule(600, per_second=20)) as server:
        async with client_of(server) as client:
            ids = [server.add_task(after=0.5) for _ in range(20)]
            outcomes = await client.wait_for_tasks(ids, 0.1, 30)
            assert all(outcome.ok for outcome in outcomes.values())
            refused = sum(request.status == 429 for request in server.requests)
            assert refused <= 2
            assert_idle(client)
