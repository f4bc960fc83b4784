"""Clients that share a quota, and know nothing of each other, each find their part of it."""

import asyncio
import random
from typing import Any

import pytest
from scripted import EPOCH, QuotaServer, ScriptedStream, in_virtual_time, most_within
from travel import Asker, Travel

from stream_tasks import RateLimit
from stream_tasks._engine.tuning import ALONE_AFTER, FRONT_LOADING, SHARE_SAMPLE


def ratio(numbers: Any) -> float:
    """How many times as large as the smallest the largest is."""
    found = list(numbers)
    return float(max(found) / min(found))


@pytest.mark.parametrize("begins_within", [0.0, 1.0, 5.0])
@pytest.mark.parametrize(("clients", "limit"), [(2, 600), (4, 600), (8, 600), (8, 3000), (32, 3000)])
def test_clients_of_one_quota_get_the_same_of_it(clients: int, limit: int, begins_within: float) -> None:
    """They use it up, hardly any poll is refused, and in no second too many arrive.

    Those that begin first have more at first, while they are alone.
    """
    chance = random.Random(clients)
    server = QuotaServer(limit, latency=(0.002, 0.02))
    travel = Travel(server, clients, lambda _: chance.uniform(0, begins_within))
    travel.run(240.0)
    assert len(travel.refused) <= 0.02 * len(travel.arrived)
    assert ratio(sum(at >= 30.0 for at in sent) for sent in travel.sent) <= 1.3
    assert most_within(travel.arrived, 1.0) <= 1.2 * limit / 30
    assert len(travel.arrived) >= 0.9 * 4 * limit


def test_many_clients_of_a_small_quota_get_about_the_same_of_it() -> None:
    """The polls of each are seconds apart."""
    chance = random.Random(0)
    server = QuotaServer(600, latency=(0.002, 0.02))
    travel = Travel(server, 32, lambda _: chance.uniform(0, 3))
    travel.run(600.0)
    assert len(travel.refused) <= 0.03 * len(travel.arrived)
    assert ratio(map(len, travel.sent)) <= 1.5


def test_windows_begin_without_a_burst() -> None:
    """Also if they begin with the clock's minute, at which all clients wait for the quota."""
    server = QuotaServer(600, aligned="clock", latency=(0.002, 0.02), phase=30.0)
    travel = Travel(server, 8)
    travel.run(240.0)
    for begin in (30.0, 90.0, 150.0, 210.0):
        those = [at for at in travel.arrived if begin - 1 <= at < begin + 5]
        assert most_within(those, 1.0) <= 24


def test_a_client_that_comes_later_gets_its_part() -> None:
    """Within a minute it has as much as the one that was there before."""
    server = QuotaServer(600, latency=(0.01, 0.05))
    travel = Travel(server, 2, lambda number: 100.0 * number)
    travel.run(300.0)
    last = [sum(at >= 180.0 for at in sent) for sent in travel.sent]
    assert ratio(last) <= 1.3


def test_a_client_that_is_alone_again_gets_all() -> None:
    """When the other one has left."""
    server = QuotaServer(600, latency=(0.01, 0.05))
    travel = Travel(server, 2)
    travel.run(120.0)
    alone = Travel(server)
    alone.askers = [travel.askers[0]]
    alone.begins = [150.0]
    alone.run(270.0)
    assert len(alone.sent[0]) >= 0.9 * 600


def told(limit: int, remaining: int, now: float) -> RateLimit:
    """What the headers say in a window that begins at 0."""
    return RateLimit(limit, remaining, EPOCH, 60.0 - now)


def rate(asker: Asker, now: float) -> float:
    """Polls a second that may go out."""
    begun = asker.next_at(now)
    asker.dropped(begun, asker.sent(begun))
    return 1 / (asker.next_at(begun) - begun)


def test_a_client_takes_part_of_the_rate_by_what_others_spend() -> None:
    """A half of it where others spend as much as it does."""
    asker, now, remaining = Asker(100), 0.0, 600
    while now < 20.0:
        poll = asker.sent(now)
        remaining -= 2
        asker.answered(now, told(600, remaining, now), poll)
        now = asker.next_at(now)
    assert rate(asker, now) * (60 - now) == pytest.approx(remaining / 2, rel=0.25)


def test_a_client_that_needs_less_keeps_its_share() -> None:
    """What it did not ask for does not count as what it may not have."""
    rates = []
    for gap in (0.0, 3.0):
        asker, now, own, remaining = Asker(100), 0.0, 0, 600
        while now < 30.0:
            poll = asker.sent(now)
            own += 1
            remaining = 600 - own - round(4 * now)
            asker.answered(now, told(600, remaining, now), poll)
            now = max(asker.next_at(now), now + gap)
        rates.append(rate(asker, now) * (60 - now) / remaining)
    assert rates[1] >= 0.7 * rates[0]


def test_a_client_that_is_held_keeps_its_share() -> None:
    """What others spend meanwhile does not count against it."""
    rates = []
    for is_held in (False, True):
        asker, now, remaining = Asker(100), 0.0, 3000
        while now < 10.0:
            poll = asker.sent(now)
            remaining -= 2
            asker.answered(now, told(3000, remaining, now), poll)
            now = asker.next_at(now)
        if is_held:
            asker.refused(now, told(3000, remaining, now), 15.0, asker.sent(now))
            remaining -= 15 * 40
            now = asker.next_at(now)
            for _ in range(20):
                asker.answered(now, told(3000, remaining, now), asker.sent(now))
        rates.append(rate(asker, now) * (60 - now) / remaining)
    assert rates[1] >= 0.6 * rates[0]


def test_a_client_that_is_alone_spends_faster_at_first() -> None:
    """From when nobody else has called for some seconds, until somebody does."""
    asker, now, remaining = Asker(100), 0.0, 600
    factors = []
    for others_spend in (0, 0, 2):
        end = now + ALONE_AFTER + 2 * SHARE_SAMPLE
        while now < end:
            poll = asker.sent(now)
            remaining -= 1 + others_spend
            asker.answered(now, told(600, remaining, now), poll)
            now = asker.next_at(now)
        factors.append(rate(asker, now) * (61 - now) / remaining)
    assert factors[1] == pytest.approx(FRONT_LOADING, rel=0.1)
    assert factors[2] < 0.6


@pytest.mark.slow
def test_clients_of_the_engine_end_about_together() -> None:
    """Eight clients of thirty waits each: none is lost, and none has to wait much longer than another."""
    server = QuotaServer(600, latency=(0.002, 0.02), duration=lambda _: 20.0)

    async def main() -> list[float]:
        async def work(number: int) -> float:
            await asyncio.sleep(number / 4)
            client = ScriptedStream(server)
            begun = client.engine.now()
            outcomes = await client.wait_for_tasks([f"{number}-{n}" for n in range(30)], 1.0, None)
            assert all(outcome.ok for outcome in outcomes.values())
            assert not len(client.engine._in_flight)
            return client.engine.now() - begun

        return list(await asyncio.gather(*map(work, range(8))))

    took = in_virtual_time(main())
    assert ratio(took) <= 1.3
    assert server.refused <= 0.02 * len(server.arrivals)
    assert most_within([at for at, _ in server.arrivals], 1.0) <= 24
