"""A server that bears some polls and fails others tells a rate; one that fails some at random does not."""

import asyncio
import math
import random
from datetime import timedelta
from typing import Any

import pytest
from nginx import NGINX, nginx
from scripted import EPOCH, ScriptedStream, assert_rests, in_virtual_time
from travel import Asker

from stream_tasks import (
    AsyncStream,
    StreamApiException,
    StreamRateLimitException,
    StreamTransportException,
    Task,
)
from stream_tasks._engine.tuning import LOSS_ROUND, LOSS_SAMPLE, OUTAGE_AFTER, RATE_CUT
from stream_tasks.testing import FakeStream

pytestmark = pytest.mark.slow  # simulations

FAILURES: dict[str, Exception] = {
    "429": StreamRateLimitException(),
    "503": StreamApiException(status_code=503),
    "502": StreamApiException(status_code=502),
    "reset": StreamTransportException("connection_reset"),
    "503 with a time": StreamApiException(status_code=503, _hold=timedelta(seconds=1)),
}


class Bucket:
    """A server that bears so many polls a second, and a burst, as nginx's `limit_req`; it fails the others.

    Args:
        rate: The polls a second that are borne; infinity for all.
        burst: How many more may come at once.
        ways: The names of the failures, of which each is as likely.
        chance: The part of polls that fails for no reason.
        duration: How long tasks take from their first look, in seconds.
    """

    def __init__(
        self,
        *ways: str,
        rate: float = math.inf,
        burst: int = 20,
        chance: float = 0.0,
        duration: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.ways = ways
        self.rate = rate
        self.burst = burst
        self.chance = chance
        self.duration = duration
        self.random = random.Random(seed)
        self.answers: list[tuple[float, bool]] = []
        self._begun: dict[str, float] = {}
        self._excess = self._last = 0.0

    async def __call__(self, task_id: Any, limit: float) -> Any:
        del limit
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.random.uniform(0.01, 0.05))
        now = loop.time()
        is_borne = self.random.random() >= self.chance and self._admit(now)
        self.answers.append((now, is_borne))
        await asyncio.sleep(self.random.uniform(0.01, 0.05))
        if not is_borne:
            raise FAILURES[self.random.choice(self.ways)]
        done = now - self._begun.setdefault(task_id, now) >= self.duration
        return Task(task_id, "completed" if done else "running", EPOCH, EPOCH), None

    def _admit(self, now: float) -> bool:
        if self.rate == math.inf:
            return True
        excess = max(0.0, self._excess - (now - self._last) * self.rate) + 1
        if excess > self.burst + 1:
            return False
        self._excess, self._last = excess, now
        return True

    def failed(self, begin: float, end: float) -> float:
        """The part of polls that failed in a span of time."""
        those = [is_borne for at, is_borne in self.answers if begin <= at < end]
        return those.count(False) / len(those)


def wait_for(server: Bucket, count: int, timeout: float | None) -> tuple[int, float]:
    """Wait for many tasks; return how many were done, and when."""

    async def main() -> tuple[int, float]:
        client = ScriptedStream(server)
        outcomes = await client.wait_for_tasks(map(str, range(count)), 1.0, timeout)
        assert_rests(client.engine)
        return sum(outcome.ok for outcome in outcomes.values()), client.engine.now()

    return in_virtual_time(main())


@pytest.mark.parametrize(
    "ways",
    [("503",), ("502",), ("reset",), ("429", "503", "502", "reset")],
    ids=["503", "502", "reset", "all of them"],
)
@pytest.mark.parametrize(("rate", "burst"), [(20, 20), (20, 0), (4, 8)], ids=str)
def test_a_rate_is_found_whatever_the_server_fails_with(ways: tuple[str, ...], rate: int, burst: int) -> None:
    """In the last third of 30 s, few polls fail, and the server answers about as many as it bears."""
    server = Bucket(*ways, rate=rate, burst=burst, duration=40.0)
    wait_for(server, 100, 30.0)
    assert server.failed(20.0, 30.0) < 0.1
    good = sum(is_borne for at, is_borne in server.answers if 10.0 <= at < 30.0)
    # If no two polls may come close to each other, a first burst shows a low rate.
    assert good > (0.35 if burst else 0.2) * 20 * rate


def test_as_many_waits_are_done_as_where_the_server_says_why() -> None:
    """A 503 without a word costs hardly more than a 429."""
    done = [wait_for(Bucket(way, rate=20, duration=5.0), 200, 30.0)[0] for way in ("429", "503")]
    assert done[1] >= 0.95 * done[0] > 150


def test_a_server_that_names_a_time_is_asked_less_often_too() -> None:
    """A 503 with Retry-After does not only hold the client again and again."""
    server = Bucket("503 with a time", rate=20, duration=40.0)
    wait_for(server, 100, 30.0)
    assert server.failed(20.0, 30.0) < 0.15


@pytest.mark.parametrize(("count", "seeds"), [(5, 3), (20, 3), (60, 1)])
def test_failures_at_random_hardly_slow_a_client_down(count: int, seeds: int) -> None:
    """One in ten, whatever the rate is."""
    usual = wait_for(Bucket(duration=20.0), count, None)[1]
    for seed in range(seeds):
        took = wait_for(Bucket("503", chance=0.1, duration=20.0, seed=seed), count, None)[1]
        assert took <= 4 / 3 * usual


def test_many_failures_at_random_end_no_wait() -> None:
    """A third of the polls fail at any rate: that does not become a rate which falls for ever."""
    done, took = wait_for(Bucket("503", "reset", chance=1 / 3, duration=20.0), 50, None)
    assert done == 50
    assert took <= 60.0


def test_a_load_that_grows_slowly_is_noticed() -> None:
    """The share of failures that counts as usual does not follow it for ever."""

    async def main() -> None:
        server = Bucket("503", rate=20, burst=0, duration=math.inf)
        client = ScriptedStream(server)
        calls = []
        for number in range(120):
            calls.append(asyncio.create_task(client.wait_for_tasks([str(number)], 1.0, 300.0)))
            await asyncio.sleep(1.0)
        assert server.failed(60.0, 120.0) < 0.3
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert_rests(client.engine)

    in_virtual_time(main())


# One moment after the other


def play(asker: Asker, begin: float, seconds: float, fails: Any) -> list[float]:
    """Send as often as the pacer lets, at most 100 a second; `fails(n)` tells whether the n-th poll does."""
    sent: list[float] = []
    now = begin
    while (now := max(asker.next_at(now), now)) < begin + seconds:
        poll = asker.sent(now)
        if fails(len(sent)):
            asker.failed(now, poll)
        else:
            asker.answered(now, None, poll)
        sent.append(now)
        now += 0.01
    return sent


def often(sent: list[float]) -> float:
    """Polls a second in the last second."""
    return sum(at >= sent[-1] - 1 for at in sent)


def test_the_rate_falls_below_what_was_answered_well() -> None:
    """Of a hundred polls a second half fail; then about thirty-five go out."""
    asker = Asker(100)
    now = play(asker, 0.0, LOSS_ROUND + 0.05, lambda n: n % 2)[-1]
    assert asker.obstacle(now) == "rate_limited"
    sent = play(asker, now, 1.0, lambda _: False)
    assert len(sent) == pytest.approx(RATE_CUT * 50, abs=6)


def test_a_lower_rate_that_does_not_help_is_given_up() -> None:
    """Half of the polls fail at any rate, so that is usual."""
    asker = Asker(100)
    sent = play(asker, 0.0, 20.0, lambda n: n % 2)
    assert often(sent) > 90
    assert asker.obstacle(20.0) is None


def test_a_lower_rate_that_helps_too_little_falls_again() -> None:
    """What the server bore in the first round was a burst."""
    asker = Asker(100)
    now = play(asker, 0.0, LOSS_ROUND + 0.05, lambda n: n % 5 > 1)[-1]
    now = play(asker, now, 1.5 * LOSS_ROUND, lambda n: n % 4 == 0)[-1]
    assert often(play(asker, now, 1.0, lambda _: False)) < RATE_CUT * 25


def test_an_outage_tells_no_rate() -> None:
    """Nor do the polls that failed before it was known to be one."""
    asker = Asker(100)
    play(asker, 0.0, 1.5, lambda _: False)
    sent = play(asker, 1.5, 3.0, lambda _: True)
    assert len(sent) > OUTAGE_AFTER
    now = asker.next_at(4.5)
    sent = play(asker, now, 3.0, lambda _: False)
    assert often(sent) > 90


def test_a_poll_from_before_a_round_does_not_count_in_it() -> None:
    """It was sent at another rate."""
    asker = Asker(100)
    late = [asker.sent(0.0) for _ in range(LOSS_SAMPLE)]
    asker.answered(0.0, None, late.pop())
    play(asker, 0.0, 1.5, lambda _: False)
    for poll in late[: OUTAGE_AFTER - 1]:
        asker.failed(1.5, poll)
    for poll in late[OUTAGE_AFTER - 1 :]:
        asker.answered(1.5, None, poll)
    assert often(play(asker, 1.5, 3.0, lambda _: False)) > 90


# Over sockets


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("status", [429, 502, 503])
async def test_behind_nginx_few_polls_are_refused_after_some_seconds(status: int) -> None:
    """It bears four polls a second of twenty, and refuses the others by a page that names no time."""
    settings = f"limit_req zone=polls burst=1 nodelay; limit_req_status {status};"
    with FakeStream() as server, nginx(int(server.url.rpartition(":")[2]), settings) as proxy:
        async with AsyncStream(server.api_key, server.api_secret, base_url=proxy.url) as client:
            ids = [server.add_task(after=30) for _ in range(20)]
            call = asyncio.create_task(client.wait_for_tasks(ids, 1.0, 20))
            await asyncio.sleep(10)
            before = len(proxy.log)
            await call
            late = [line.startswith(f"{status} ") for line in proxy.log[before:]]
    assert len(late) > 10
    assert late.count(True) < 0.2 * len(late)
