"""Clients learn how long tasks take, tell it, hand it on, and look where ends are likely."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from statistics import median
from typing import Any

import pytest
from scripted import EPOCH, ScriptedStream, assert_rests, in_virtual_time

from stream_tasks import (
    AsyncStream,
    Durations,
    OperationDurations,
    RateLimit,
    StartedTask,
    Stream,
    Task,
    TaskResult,
)
from stream_tasks._engine.poll import Look
from stream_tasks._engine.tuning import MIN_ENDS_TO_SKIP, RATIO
from stream_tasks.testing import FakeStream

LATENCY = 0.02


@pytest.fixture
def server() -> Iterator[FakeStream]:
    with FakeStream() as fake:
        yield fake


def client_of(server: FakeStream, **options: Any) -> AsyncStream:
    return AsyncStream(server.api_key, server.api_secret, base_url=server.url, **options)


async def test_what_tasks_took_is_learned_by_operation(server: FakeStream) -> None:
    """Of each end the server's own duration counts, for the operation that started the task."""
    async with client_of(server) as client:
        assert len(client.durations) == 0
        server.script_operation("delete_users", after=0.8)
        started = await client.delete_users(["amy"])
        await client.wait_for_task(started, 0.05)
        await client.wait_for_task(server.add_task(after=0.1), 0.05)
        await client.wait_for_task(server.add_task(after=0.1), 0.05, operation=client.deactivate_users)
        seen = {operation: durations.count for operation, durations in client.durations.items()}
        assert seen == {"delete_users": 1, None: 1, "deactivate_users": 1}
        assert 0.8 / RATIO < client.durations["delete_users"].quantile(0.5) < RATIO
        rest, most = client.durations["delete_users"].remaining(0.1)
        assert 0 < rest < most


async def test_without_learning_nothing_is_learned(server: FakeStream) -> None:
    """What the client was given stays as it is."""
    async with client_of(server, learning=False) as client:
        await client.wait_for_task(server.add_task(after=0.1), 0.05)
        assert not client.durations


def test_a_new_process_begins_informed(server: FakeStream) -> None:
    """What one client has learned goes as text into the next one; the blocking client has it, too."""
    with Stream(server.api_key, server.api_secret, base_url=server.url) as client:
        client.wait_for_task(server.add_task(after=0.1), 0.05, operation="delete_users")
        text = client.durations.to_json()
    for kept in (text, text.encode(), Durations.from_json(text)):
        with Stream(server.api_key, server.api_secret, base_url=server.url, durations=kept) as client:
            assert client.durations["delete_users"].count == 1
            assert client.durations.to_json() == text
    assert json.loads(text)["version"] == 1


async def test_clients_may_share_what_they_learn(server: FakeStream) -> None:
    """One that was given another's durations learns in the same place, also if nothing is there yet."""
    async with client_of(server) as one, client_of(server, durations=one.durations) as other:
        assert other.durations is one.durations
        await other.wait_for_task(server.add_task(after=0.1), 0.05)
        assert one.durations[None].count == 1


@pytest.mark.parametrize(
    ("durations", "error", "complaint"),
    [
        (3, TypeError, "durations must be a Durations or what its to_json returned, not int"),
        ({}, TypeError, "durations must be a Durations or what its to_json returned, not dict"),
        ("", ValueError, r"durations must be what Durations.to_json returned: \$ must be JSON"),
        ("[" * 100_000, ValueError, r"durations must be what Durations.to_json returned: \$ must be JSON"),
        ("[]", ValueError, r"durations must be what Durations.to_json returned: \$ must be an object"),
    ],
)
def test_other_durations_are_refused(durations: Any, error: type[Exception], complaint: str) -> None:
    """The error names the parameter, and what is wrong."""
    for kind in (AsyncStream, Stream):
        with pytest.raises(error, match=f"^{complaint}"):
            kind("key", token="a.ready.token", durations=durations)


def test_durations_are_read_from_text_only() -> None:
    """What was decoded already is not taken."""
    with pytest.raises(TypeError, match=r"^text must be a str or bytes, not dict"):
        Durations.from_json({})  # type: ignore[arg-type]


class Timed:
    """A server whose tasks take so long from their start, and which may tell a quota.

    Attributes:
        begun: When each task was started, on the loop's clock.
        looks: When each task was looked at.
    """

    def __init__(self, takes: Callable[[str], float], limit: int = 0) -> None:
        self.takes = takes
        self.limit = limit
        self.begun: dict[str, float] = {}
        self.looks: dict[str, list[float]] = {}
        self.delays: dict[str, float] = {}
        self._window = 0.0, 0

    async def __call__(self, task_id: str, _: float) -> Look:
        now = asyncio.get_running_loop().time()
        begun = self.begun.setdefault(task_id, now)
        self.looks.setdefault(task_id, []).append(now)
        created, takes = EPOCH + timedelta(seconds=begun), self.takes(task_id)
        quota = self._quota(now)
        await asyncio.sleep(LATENCY)
        if now < begun + takes:
            return Task(task_id, "running", created, created), quota
        self.delays[task_id] = now - begun - takes
        return Task(task_id, "completed", created, created + timedelta(seconds=takes)), quota

    def _quota(self, now: float) -> RateLimit | None:
        if not self.limit:
            return None
        ends, used = self._window
        if now >= ends:
            ends, used = now + 60, 0
        self._window = ends, used + 1
        assert used < self.limit
        reset = EPOCH + timedelta(seconds=ends)
        return RateLimit(self.limit, self.limit - used - 1, reset, ends - now)

    def start(self, task_id: str, operation: str) -> StartedTask[TaskResult]:
        """Start a task now."""
        self.begun[task_id] = asyncio.get_running_loop().time()
        return StartedTask(task_id, {}, TaskResult, None, operation, ("item",), started=time.time())


def deletions(count: int = 10 * MIN_ENDS_TO_SKIP) -> Durations:
    """What is known after so many deletions of five to twenty minutes."""
    durations, chance = Durations(), random.Random(1)
    for _ in range(count):
        durations.of("delete_users", 1).ended(0, chance.uniform(300, 1200))
    return durations


def looks_of(durations: Durations, task: Any = None, **options: Any) -> list[float]:
    """When a deletion of 400 s is looked at, counted from its start."""
    server = Timed(lambda _: 400.0)

    async def main() -> None:
        client = ScriptedStream(server, durations=durations)
        begun = server.start("t", "delete_users")
        await client.wait_for_task(task or begun, 1.0, None, **options)
        assert_rests(client.engine)

    in_virtual_time(main())
    return [look - server.begun["t"] for look in server.looks["t"]]


def test_looks_that_cannot_pay_are_left_out() -> None:
    """A deletion is hardly looked at in its first minutes, and its end is noticed about as early."""
    looks = looks_of(deletions())
    assert looks[0] == 0
    assert sum(20 < look < 250 for look in looks) < 230 / 3.5
    assert 400 <= looks[-1] < 402
    assert all(1 <= b - a < 4.1 for a, b in itertools.pairwise(looks))


@pytest.mark.parametrize(
    ("durations", "task", "options"),
    [
        (deletions(MIN_ENDS_TO_SKIP - 1), None, {}),
        (deletions(), "t", {}),
        (deletions(), None, {"on_update": lambda _: None}),
    ],
    ids=["too few ends were seen", "the operation is unknown", "snapshots are followed"],
)
def test_otherwise_each_look_is_taken(durations: Durations, task: Any, options: Any) -> None:
    """Who knows little, or wants to see snapshots, looks each second."""
    looks = looks_of(durations, task, **options)
    assert all(b - a == pytest.approx(1 + LATENCY) for a, b in itertools.pairwise(looks))


def test_a_look_is_left_out_only_if_all_who_wait_allow_it() -> None:
    """Who follows the snapshots of a task is not kept from them by others who wait for its end."""
    server = Timed(lambda _: 100.0)

    async def main() -> None:
        client = ScriptedStream(server, durations=deletions())
        begun = server.start("t", "delete_users")
        other = asyncio.create_task(client.wait_for_task(begun, 1.0, None))
        await asyncio.sleep(10.5)
        few = len(server.looks["t"])
        assert few < 9
        assert len([task async for task in client.watch_task(begun, 1.0, None)]) == 2
        assert len(server.looks["t"]) - few > 80
        await other

    in_virtual_time(main())


def test_the_last_look_before_the_deadline_is_not_left_out() -> None:
    """A task that ends long before its kind does is found ended at the deadline."""
    server = Timed(lambda _: 29.7)

    async def main() -> None:
        client = ScriptedStream(server, durations=deletions())
        await client.wait_for_task(server.start("t", "delete_users"), 1.0, 30.0)

    in_virtual_time(main())
    assert server.looks["t"][-1] - server.begun["t"] == pytest.approx(29.8, abs=0.1)


def test_a_hint_is_followed_at_once_although_a_look_would_not_pay() -> None:
    """Who says that a task has ended knows better than what was learned."""
    server = Timed(lambda _: 20.3)

    async def main() -> None:
        client = ScriptedStream(server, durations=deletions())
        waiting = asyncio.create_task(client.wait_for_task(server.start("t", "delete_users"), 1.0, None))
        await asyncio.sleep(20.5)
        client.hint("t")
        await waiting

    in_virtual_time(main())
    assert server.delays["t"] < 0.3


def takes(task_id: str) -> float:
    """200 exports of 5 to 15 s and 200 deletions of 60 to 120 s."""
    chance = random.Random(task_id)
    return chance.uniform(5, 15) if task_id.startswith("export") else chance.uniform(60, 120)


def delay_of_exports(
    *, learning: bool, count: int = 200, over: float = 0.0, durations: str | None = None
) -> tuple[float, float, str]:
    """Return the median delay of exports, and the longest gap between looks: three polls a minute for each.

    They are started over so many seconds, and as many deletions.
    """
    server = Timed(takes, 3 * count)

    async def main() -> str:
        client = ScriptedStream(server, learning=learning, durations=durations)
        names = [f"{kind} {n}" for n in range(count) for kind in ("export_channels", "delete_users")]

        async def started() -> AsyncIterator[StartedTask[TaskResult]]:
            for name in names:
                yield server.start(name, name.partition(" ")[0])
                await asyncio.sleep(over / len(names))

        assert all([outcome.ok async for outcome in client.as_completed(started(), 1.0, None)])
        assert_rests(client.engine)
        return client.durations.to_json()

    learned = in_virtual_time(main())
    gaps = [b - a for looks in server.looks.values() for a, b in itertools.pairwise(looks)]
    return (
        median(delay for name, delay in server.delays.items() if name.startswith("export")),
        max(gaps, default=0.0),
        learned,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_under_a_quota_exports_are_noticed_long_before_deletions_are_looked_at_again() -> None:
    """In a third of due order's delay, in a quarter if something is known; nobody waits for four rounds."""
    due_order, even, _ = delay_of_exports(learning=False, over=60)
    fresh, longest, learned = delay_of_exports(learning=True, over=60)
    informed, *_ = delay_of_exports(learning=True, over=60, durations=learned)
    assert fresh <= due_order / 3
    assert informed <= due_order / 4
    assert longest < 4 * even


def test_tasks_that_begin_together_are_told_apart_too() -> None:
    """If all begin at once, exports are noticed earlier than in due order."""
    due_order, even, _ = delay_of_exports(learning=False, count=60)
    fresh, longest, _ = delay_of_exports(learning=True, count=60)
    assert fresh <= 0.8 * due_order
    assert longest < 4 * even


def test_an_operation_that_is_told_while_a_task_runs_learns_its_end() -> None:
    """What another waiter names in time is what the end counts for."""
    server = Timed(lambda _: 30.0)

    async def main() -> Durations:
        client = ScriptedStream(server)
        first = asyncio.create_task(client.wait_for_task("t", 1.0, None))
        await asyncio.sleep(5)
        await client.wait_for_task("t", 1.0, None, operation="deactivate_users")
        await first
        return client.durations

    durations = in_virtual_time(main())
    assert set(durations) == {"deactivate_users"}
    assert isinstance(durations["deactivate_users"], OperationDurations)
    assert durations["deactivate_users"].quantile(0.5) == pytest.approx(30, rel=RATIO - 1)
