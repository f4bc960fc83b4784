"""The pacer keeps all waits of a client within one quota, whatever the server says."""

import asyncio
import itertools
import math
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import (
    EPOCH,
    ByTime,
    Hang,
    QuotaServer,
    Script,
    ScriptedStream,
    assert_rests,
    in_virtual_time,
    most_within,
)
from travel import Asker, Travel

from stream_tasks import (
    RateLimit,
    StreamApiException,
    StreamRateLimitException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
)
from stream_tasks._engine.pacing import Unpaced
from stream_tasks._engine.tuning import (
    INITIAL_GAP,
    INITIAL_IN_FLIGHT,
    MAX_HOLD,
    MAX_WINDOW,
    MIN_RATE,
    OUTAGE_AFTER,
    RATE_RECOVERY,
    SILENT_AFTER,
)

PLACES = 100


def quota(limit: int = 600, remaining: int = 599, reset_in: float | None = 60.0) -> RateLimit:
    reset = datetime.fromtimestamp(time.time() + (reset_in or 0.0), UTC)
    return RateLimit(limit, remaining, reset, reset_in)


def new(*, known: RateLimit | None = None, now: float = 0.0) -> Asker:
    """A pacer that has had its first answer."""
    pacer = Asker(PLACES)
    pacer.sent(now)
    pacer.answered(now, known)
    return pacer


def fill(pacer: Asker, now: float, most: int = 10_000) -> int:
    """Send what may go out now; return how many polls that were."""
    for sent in range(most):
        if pacer.next_at(now) > now:
            return sent
        pacer.sent(now)
    return most


def send_until(pacer: Asker, now: float, end: float) -> int:
    """Send what may go out until then; return how many polls that were."""
    sent = 0
    while (now := pacer.next_at(now)) <= end:
        pacer.sent(now)
        sent += 1
    return sent


# One moment after the other


def test_few_polls_go_out_before_the_first_answer() -> None:
    """One after the other; then as many as there are places, when no quota was told."""
    pacer = Asker(PLACES)
    assert fill(pacer, 0.0) == 1
    assert pacer.next_at(0.0) == INITIAL_GAP
    assert send_until(pacer, 0.0, 1.0) == INITIAL_IN_FLIGHT - 1
    assert pacer.next_at(1.0) == SILENT_AFTER
    pacer.answered(1.0, None)
    assert fill(pacer, 1.0) == PLACES - INITIAL_IN_FLIGHT + 1
    assert pacer.next_at(1.0) == math.inf
    assert Asker(2).next_at(5.0) == 5.0
    assert send_until(Asker(2), 0.0, 1.0) == 2


def test_polls_that_hang_give_their_places_to_others() -> None:
    """Ever more go out while none is answered; an answer shows that the server is there."""
    pacer = Asker(PLACES)
    for number in range(4):
        begun = number * SILENT_AFTER
        assert send_until(pacer, begun, begun + SILENT_AFTER - 0.01) == INITIAL_IN_FLIGHT * 2**number
        assert pacer.next_at(begun + SILENT_AFTER - 0.01) == begun + SILENT_AFTER
    assert pacer.obstacle(4 * SILENT_AFTER) == "unreachable"
    pacer.answered(4 * SILENT_AFTER, None)
    assert pacer.obstacle(4 * SILENT_AFTER) is None
    assert fill(pacer, 4 * SILENT_AFTER) == PLACES - 15 * INITIAL_IN_FLIGHT + 1


def test_one_that_hangs_after_a_refusal_holds_up_nobody_for_long() -> None:
    """The only place of a careful beginning is given away, too."""
    pacer = new()
    pacer.sent(0.0)
    pacer.refused(0.0, quota(), 1.0)
    begun = pacer.next_at(0.0)
    pacer.sent(begun)
    again = pacer.next_at(begun)
    assert again == begun + SILENT_AFTER
    assert pacer.obstacle(again) == "unreachable"
    for _ in range(10):
        again = pacer.next_at(again)
        pacer.sent(again)
        pacer.answered(again, quota())
    assert pacer.obstacle(again + 1) is None
    assert fill(pacer, again + 1) >= 1


def test_where_no_quota_is_told_polls_go_out_as_often_as_was_borne() -> None:
    """A refusal makes a rate of the last second's answers, which comes back slowly and then rises fast."""
    pacer = Asker(PLACES)
    for _ in range(30):
        pacer.sent(0.0)
    for _ in range(10):
        pacer.answered(0.1, None)
    for _ in range(10):
        pacer.refused(0.1, None, 1.0)
    for _ in range(10):  # they show that more is borne than had been seen
        pacer.answered(0.2, None)
    begun = pacer.next_at(0.2)
    sent = answer_until(pacer, begun, begun + 4 * RATE_RECOVERY)
    for seconds, often in ((0, 14), (RATE_RECOVERY, 20), (2 * RATE_RECOVERY, 26), (3 * RATE_RECOVERY, 68)):
        assert sum(begun + seconds <= at < begun + seconds + 1 for at in sent) == pytest.approx(often, abs=3)
    assert pacer.obstacle(sent[-1]) == "rate_limited"


def test_a_rate_that_bore_more_for_a_while_begins_where_it_was() -> None:
    """What was allowed at last, but not asked for, is no measure; what was refused again is too much."""
    pacer = Asker(PLACES)
    for _ in range(21):
        pacer.sent(0.0)
    for _ in range(20):
        pacer.answered(0.0, None)
    pacer.refused(0.0, None, 1.0)
    now = pacer.next_at(1000.0)
    pacer.sent(now)
    pacer.refused(now, None, 1.0)
    begun = pacer.next_at(now)
    assert len(answer_until(pacer, begun, begun + 1.0)) == pytest.approx(14, abs=2)
    for round_ in range(30):
        now = pacer.next_at(begun + 1.0)
        pacer.sent(now)
        pacer.refused(now, None, 1.0)
        begun = pacer.next_at(now)
        assert answer_until(pacer, begun, begun + 1 / MIN_RATE), round_


@pytest.mark.parametrize("is_too_often", [True, False])
def test_a_refusal_that_tells_no_rate_holds_and_no_more(is_too_often: bool) -> None:
    """Where nothing had been answered before, or the server was overloaded."""
    pacer = Asker(PLACES)
    pacer.sent(0.0)
    if not is_too_often:
        pacer.sent(0.0)
        pacer.answered(0.0, None)
    pacer.refused(0.0, None, 1.0, is_too_often=is_too_often)
    begun = pacer.next_at(0.0)
    assert 1.0 <= begun <= 1.2
    assert len(answer_until(pacer, begun, begun + 1.0, most=1000)) == 1000


def answer_until(pacer: Asker, now: float, end: float, most: int = 100_000) -> list[float]:
    """Send as often as the pacer lets, and answer at once; return when that was."""
    sent: list[float] = []
    while now < end and len(sent) < most:
        pacer.sent(now)
        sent.append(now)
        pacer.answered(now, None)
        now = pacer.next_at(now)
    return sent


def test_the_poll_that_ended_is_the_one_that_is_named() -> None:
    """Of two polls in flight, the older one may be answered last; it counts as silent by its own age."""
    pacer = Asker(2)
    old, young = pacer.sent(0.0), pacer.sent(1.0)
    pacer.answered(1.5, None, young)
    pacer.sent(1.5)
    assert pacer.obstacle(SILENT_AFTER) == "unreachable"
    pacer.answered(SILENT_AFTER, None, old)
    assert pacer.obstacle(SILENT_AFTER) is None


def test_each_failed_probe_counts_although_an_older_poll_hangs() -> None:
    """Probes get further apart with each of them."""
    pacer = new()
    polls = [pacer.sent(0.0) for _ in range(OUTAGE_AFTER + 1)]
    for poll in polls[1:]:
        pacer.failed(0.1, poll)
    now, gaps = 0.1, []
    for _ in range(4):
        at = pacer.next_at(now)
        gaps.append(at - now)
        now = at
        pacer.failed(now, pacer.sent(now))
    assert 0.125 <= gaps[0] <= 0.25
    assert 0.25 <= gaps[1] <= 0.5
    assert 0.5 <= gaps[2] <= 1.0
    assert 1.0 <= gaps[3] <= 2.0


def test_a_late_answer_to_a_poll_from_before_a_refusal_says_nothing_about_it() -> None:
    """It may arrive after the hold."""
    pacer = new()
    late, refused = pacer.sent(0.0), pacer.sent(0.0)
    pacer.refused(0.1, None, 1.0, refused)
    now = pacer.next_at(0.1)
    pacer.answered(now, None, late)
    assert pacer.obstacle(now) == "rate_limited"
    assert fill(pacer, now) == 1


@pytest.mark.parametrize("asks", ["next_at", "obstacle"])
def test_asking_what_would_be_later_changes_nothing(asks: str) -> None:
    """The window's end stays where it was told."""
    asked, left_alone = (new(known=quota(600, 0, 5.0)) for _ in range(2))
    getattr(asked, asks)(50.0)
    moments = [0.0, 3.0, 6.0, 7.0, 60.0]
    assert [asked.next_at(now) for now in moments] == [left_alone.next_at(now) for now in moments]
    assert asked.next_at(0.0) == pytest.approx(6.0)


def test_a_poll_that_was_given_up_frees_its_place_and_says_nothing() -> None:
    """It is no answer and no failure."""
    pacer = Asker(PLACES)
    send_until(pacer, 0.0, 1.0)
    pacer.dropped(1.0)
    assert fill(pacer, 1.0) == 1
    assert pacer.in_flight == INITIAL_IN_FLIGHT


def test_without_pacing_only_the_places_count() -> None:
    """Refusals and failures hold nothing."""
    pacer = Asker(3, Unpaced)
    assert fill(pacer, 0.0) == 3
    assert pacer.next_at(0.0) == math.inf
    pacer.answered(0.0, quota(remaining=0))
    pacer.refused(0.0, None, 60.0)
    pacer.failed(0.0)
    assert pacer.in_flight == 0
    assert pacer.obstacle(0.0) is None
    assert fill(pacer, 0.0) == 3
    pacer.dropped()
    assert pacer.in_flight == 2


@pytest.mark.parametrize(
    ("told", "retry_after", "least", "most"),
    [
        pytest.param(None, 20.0, 20, 22, id="Retry-After"),
        pytest.param(quota(remaining=0, reset_in=40.0), 20.0, 40, 41, id="both, and the quota is spent"),
        pytest.param(quota(remaining=0, reset_in=40.0), None, 40, 45, id="X-RateLimit-Reset"),
        pytest.param(quota(remaining=400, reset_in=40.0), None, 0.5, 1.2, id="quota is left"),
        pytest.param(None, None, 0.5, 1.2, id="nothing: a back-off"),
        pytest.param(None, 0.0, 0.5, 1.2, id="to come at once: a back-off"),
        pytest.param(None, 0.001, 0.5, 1.2, id="to come almost at once: a back-off"),
        pytest.param(quota(remaining=0, reset_in=40.0), 0.0, 40, 45, id="to come at once, without quota"),
        pytest.param(None, 3_000.0, MAX_HOLD, MAX_HOLD * 1.1, id="an hour: two minutes"),
        pytest.param(None, 31_536_000.0, 0.5, 1.2, id="a year: a back-off"),
        pytest.param(quota(remaining=0, reset_in=-5.0), None, 0.5, 1.2, id="a reset in the past"),
        pytest.param(quota(remaining=0, reset_in=86_400.0), None, 0.5, 1.2, id="a reset tomorrow"),
        pytest.param(quota(limit=0, remaining=0), None, 0.5, 1.2, id="a limit of zero"),
    ],
)
def test_a_refusal_holds_all_polls(
    told: RateLimit | None, retry_after: float | None, least: float, most: float
) -> None:
    """Until the time that was told; what makes no sense is not slept on."""
    for _ in range(20):
        pacer = new()
        pacer.sent(0.0)
        pacer.refused(0.0, told, retry_after)
        assert least <= pacer.next_at(0.0) <= most
        assert pacer.obstacle(0.0) == "rate_limited"


def test_refusals_that_follow_each_other_space_polls_out() -> None:
    """A server that says nothing else is asked ever less often, whether it says 'at once' or nothing."""
    for retry_after in (None, 0.0):
        pacer, now, sent = new(), 0.0, 0
        while now < 3600:
            now = pacer.next_at(now)
            pacer.sent(now)
            pacer.refused(now, None, retry_after)
            sent += 1
        assert 60 <= sent <= 200


def test_refusals_of_one_burst_count_once() -> None:
    """A hundred of them tell what one tells."""
    pacer = new()
    fill(pacer, 0.0)
    for _ in range(PLACES):
        pacer.refused(0.1, None, None)
    assert 0.5 <= pacer.next_at(0.1) <= 1.3


def test_after_a_hold_polls_come_back_gradually() -> None:
    """One, and with each good answer one more: they double with each round."""
    pacer = new()
    pacer.sent(0.0)
    pacer.refused(0.0, quota(100_000, 99_999), 10.0)
    now = pacer.next_at(0.0)
    rounds = []
    for _ in range(6):
        sent = fill(pacer, now)
        rounds.append(sent)
        now += 0.1
        for _ in range(sent):
            pacer.answered(now, quota(100_000, 99_000))
    assert rounds == [1, 2, 4, 8, 16, 32]
    assert pacer.obstacle(now) is None


def test_answers_to_what_was_sent_before_a_refusal_do_not_lift_the_hold() -> None:
    """They say nothing of it: neither is it shorter, nor the re-entry less gradual."""
    pacer = new()
    fill(pacer, 0.0)
    pacer.refused(0.1, None, 10.0)
    for _ in range(PLACES - 1):
        pacer.answered(0.2, None)
    assert pacer.next_at(0.2) >= 10.1
    assert pacer.obstacle(0.2) == "rate_limited"
    assert fill(pacer, pacer.next_at(0.2)) == 1
    assert pacer.in_flight == 1


def test_an_outage_is_probed_ever_less_often_and_ramps_up_afterwards() -> None:
    """With few polls in flight, from whichever tasks."""
    pacer = new()
    fill(pacer, 0.0)
    for _ in range(PLACES):
        pacer.failed(0.1)
    assert pacer.obstacle(0.1) == "unreachable"
    now, probes = 0.1, []
    while now < 120:
        now = pacer.next_at(now)
        probes.append(now)
        pacer.sent(now)
        pacer.failed(now)
    assert 60 <= len(probes) <= 120
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    assert max(gaps[:2]) <= 1
    assert max(gaps) <= 2
    now = pacer.next_at(now)
    pacer.sent(now)
    pacer.answered(now, None)
    assert pacer.obstacle(now) is None
    assert fill(pacer, now) == INITIAL_IN_FLIGHT + 1
    assert pacer.in_flight == INITIAL_IN_FLIGHT + 1


def test_probes_that_hang_are_few() -> None:
    """No more than a few wait for a server that says nothing, for as long as requests may take."""
    pacer = new()
    for _ in range(OUTAGE_AFTER):
        pacer.sent(0.0)
        pacer.failed(0.0)
    now = 0.0
    while pacer.next_at(now) < 30:
        now = pacer.next_at(now)
        pacer.sent(now)
    assert INITIAL_IN_FLIGHT < pacer.in_flight <= 8 * INITIAL_IN_FLIGHT
    pacer.failed(30.0)
    assert 30 <= pacer.next_at(30.0) <= 32


def test_a_few_failures_are_no_outage() -> None:
    """A good answer, or a refusal, in between shows that the server is there."""
    pacer = new()
    for number in range(100):
        pacer.sent(0.0)
        pacer.failed(0.0)
        if number % (OUTAGE_AFTER - 1) == 0:
            pacer.sent(0.0)
            pacer.answered(0.0, None)
    assert pacer.obstacle(0.0) is None
    for _ in range(OUTAGE_AFTER):
        pacer.sent(0.0)
        pacer.failed(0.0)
    assert pacer.obstacle(0.0) == "unreachable"
    pacer.sent(0.0)
    pacer.refused(0.0, None, 1.0)
    assert pacer.obstacle(0.0) == "rate_limited"


def test_no_free_place_is_no_lack_of_quota() -> None:
    """Polls that hang are not the quota's fault, but the server's."""
    pacer = Asker(1)
    pacer.sent(0.0)
    pacer.answered(0.0, quota())
    pacer.sent(10.0)
    assert pacer.next_at(12.0) == math.inf
    assert pacer.obstacle(11.0) is None
    assert pacer.obstacle(12.0) == "unreachable"


def test_a_window_without_quota_is_waited_out() -> None:
    """No further than its end is told, and after it the count begins anew."""
    pacer = new(known=quota(remaining=0, reset_in=100.0))
    assert pacer.obstacle(0.0) == "rate_limited"
    assert pacer.next_at(0.0) == pytest.approx(100, abs=1)
    assert fill(pacer, 99.0) == 0
    assert fill(pacer, 101.0) == 1
    assert pacer.next_at(101.0) < 102


@pytest.mark.parametrize("reset_in", [0.0, -0.9])
def test_a_first_answer_from_the_last_second_of_a_window_tells_the_limit(reset_in: float) -> None:
    """Its end has passed as it is read; the limit still keeps polls from going out all at once."""
    pacer = new(known=quota(600, 599, reset_in))
    assert fill(pacer, 0.0) == 1
    assert fill(pacer, 1.0) <= 2
    assert pacer.next_at(1.0) < 1.1


def test_a_limit_that_is_lowered_holds_from_then_on() -> None:
    """What was spent counts against the new one."""
    pacer = new(known=quota(600, 599))
    now = 0.0
    for _ in range(100):
        now = pacer.next_at(now)
        pacer.sent(now)
        pacer.answered(now, quota(600, 500, 60.0 - now))
    first, second = pacer.sent(now), pacer.sent(now)
    pacer.answered(now, quota(60, 0, 60.0 - now), first)
    assert pacer.next_at(now) == pytest.approx(60, abs=1)
    pacer.answered(now, quota(6000, 5000, 60.0 - now), second)
    assert pacer.next_at(now + 1) < now + 2


def test_others_who_spend_the_same_quota_slow_polls_down() -> None:
    """What the server says remains overrides the own count."""
    alone, shared = new(known=quota(600, 599)), new(known=quota(600, 60))
    gaps = []
    for pacer in (alone, shared):
        pacer.sent(0.0)
        gaps.append(pacer.next_at(0.0))
    assert gaps[1] > 5 * gaps[0] > 0


@pytest.mark.parametrize("known", [quota(), None])
def test_a_reset_without_the_servers_clock_is_read_by_our_own(known: RateLimit | None) -> None:
    """A rate limit that was made by hand has no `reset_in`."""
    pacer = new(known=known)
    in_half_a_minute = RateLimit(600, 0, datetime.now(UTC) + timedelta(seconds=30))
    pacer.sent(0.0)
    pacer.answered(0.0, in_half_a_minute)
    assert pacer.next_at(1.0) == pytest.approx(30, abs=1)


def test_a_wall_clock_that_jumps_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls go on, within a minute or so, and none is hurried."""
    chance = random.Random(0)
    wall = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: wall)
    pacer, now = Asker(PLACES), 0.0
    moments = []
    for number in range(400):
        wall += chance.choice([0.1, 0.1, 0.1, 3600, -3600, 45, -45])
        upcoming = pacer.next_at(now)
        assert upcoming - now <= MAX_WINDOW + 1
        now = upcoming
        pacer.sent(now)
        moments.append(now)
        reset = datetime.fromtimestamp(1_800_000_000 + 60 * (now // 60 + 1), UTC)
        pacer.answered(now, RateLimit(600, max(0, 600 - number), reset))
    assert most_within(moments, 1.0) <= 20


numbers = st.one_of(
    st.sampled_from([0, 1, -1, 10**6, 10**30, -(10**30)]), st.integers(-10, 700), st.integers()
)
spans = st.one_of(
    st.none(),
    st.sampled_from([0.0, -1.0, 1e-9, 59.5, 120.0, 1e9, -1e9, math.inf, -math.inf, math.nan]),
    st.floats(-200, 200),
)
holds = st.one_of(st.none(), st.sampled_from([0.0, 1e-9, 1.0, 1e9]), st.floats(0, 1e6))
events = st.tuples(
    st.sampled_from(["answered", "refused", "failed", "dropped"]), numbers, numbers, spans, holds
)


@settings(deadline=None, max_examples=100)
@given(st.lists(events, max_size=60), st.integers(1, 200))
@example([("answered", 10**30, 10**30, 59.5, None)] * 10, 3)
@example([("refused", 600, 0, math.nan, 0.0)] * 30, 100)
@example([("answered", 1, 0, 120.0, None), ("refused", 1, 0, 120.0, 1e9)] * 5, 100)
@example([("answered", limit, 0, 1e-9, None) for limit in (0, 10**6, 1, 0)], 1)
def test_no_garbage_makes_it_sleep_for_ever_or_spin(what: list[Any], places: int) -> None:
    """Whatever headers say, a poll goes out again in time, and never into a stream of refusals."""
    pacer, now = Asker(places), 0.0
    bad: list[float] = []
    for name, limit, remaining, reset_in, retry_after in what:
        upcoming = pacer.next_at(now)
        assert now <= upcoming <= now + MAX_HOLD * 1.1 + MAX_WINDOW + 2
        now = upcoming
        pacer.sent(now)
        assert 0 < pacer.in_flight <= places
        told = RateLimit(limit, remaining, EPOCH, reset_in)
        if name == "answered":
            pacer.answered(now, told)
        elif name == "refused":
            pacer.refused(now, told, retry_after)
            bad.append(now)
        elif name == "failed":
            pacer.failed(now)
        else:
            pacer.dropped()
        pacer.obstacle(now)
        assert pacer.in_flight == 0
    assert most_within(bad, 0.4) <= 2


# A server's windows, by events


ALIGNED = st.sampled_from(["call", "clock"])
ROUNDED = st.sampled_from([math.floor, math.ceil])
LIMITS = st.one_of(st.sampled_from([30, 31, 60, 300, 600, 1000, 3000]), st.integers(30, 2000))


@settings(deadline=None, max_examples=10)
@given(
    LIMITS,
    st.sampled_from(["call", "clock"]),
    st.sampled_from([math.floor, math.ceil]),
    st.floats(0, 60),
    st.floats(0, 0.3),
)
@example(30, "call", math.ceil, 0.0, 0.0)
@example(30, "clock", math.floor, 28.0, 0.25)
@example(600, "clock", math.floor, 59.9, 0.05)
def test_alone_it_is_never_refused_when_all_polls_travel_alike(
    limit: int, aligned: Any, rounding: Any, phase: float, latency: float
) -> None:
    """No more than the limit in a window, and than a thirtieth of it in any second."""
    server = QuotaServer(limit, aligned=aligned, rounding=rounding, phase=phase, latency=(latency, latency))
    travel = Travel(server)
    travel.run(200.0)
    assert len(travel.refused) <= INITIAL_IN_FLIGHT + 0.02 * len(travel.sent[0]), (
        "but for the first, before anything was known"
    )
    assert most_within(travel.sent[0][INITIAL_IN_FLIGHT:], 1.0) <= limit // 30 + 1
    assert most_within(travel.sent[0][INITIAL_IN_FLIGHT:], 1.0) <= max(1, limit / 30)
    if aligned == "call" and rounding is math.ceil:
        # The last poll of one window may be the first of the next.
        assert most_within(travel.sent[0][INITIAL_IN_FLIGHT:], 59.0) <= 1.1 * limit + 1
    assert len(travel.sent[0]) >= limit, "it does use the quota"


@settings(deadline=None, max_examples=10)
@given(
    LIMITS, st.sampled_from(["call", "clock"]), st.sampled_from([math.floor, math.ceil]), st.integers(0, 99)
)
def test_alone_it_is_hardly_ever_refused_when_travel_times_waver(
    limit: int, aligned: Any, rounding: Any, seed: int
) -> None:
    """At most one in fifty, over some minutes."""
    server = QuotaServer(
        limit, aligned=aligned, rounding=rounding, latency=(0.01, 0.1), phase=seed / 2, seed=seed
    )
    travel = Travel(server)
    travel.run(300.0)
    assert len(travel.refused) <= INITIAL_IN_FLIGHT + 0.02 * len(travel.sent[0])
    assert len(travel.sent[0]) >= 2 * limit


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from([300, 600, 3000]),
    st.floats(0.1, 0.8),
    st.sampled_from(["call", "clock"]),
    st.integers(0, 99),
)
def test_beside_another_program_few_polls_are_refused(
    limit: int, share: float, aligned: Any, seed: int
) -> None:
    """It knows of the other only by what remains, and uses most of what the other leaves."""
    server = QuotaServer(limit, aligned=aligned, latency=(0.01, 0.1), phase=seed / 2, seed=seed)
    chance = random.Random(seed)
    travel = Travel(server)
    rate = share * limit / 60
    travel.run(600.0, others=lambda now: now + chance.expovariate(rate))
    assert len(travel.refused) <= INITIAL_IN_FLIGHT + 0.03 * len(travel.sent[0])
    assert len(travel.sent[0]) > 0.75 * (1 - share) * limit * 10


# Through the engine


def interval(pacer: Asker, now: float) -> float:
    """How far apart polls go out, whatever is in flight."""
    while (begun := pacer.next_at(now)) <= now:
        pacer.dropped(now, pacer.sent(now))
    pacer.dropped(begun, pacer.sent(begun))
    return pacer.next_at(begun) - begun


def test_refusals_in_spite_of_spreading_make_room_for_others() -> None:
    """The rate falls by a third with each hold, no further than to a tenth, and comes back with answers."""
    known = quota(600, 599, 10.0)  # the second's rule is tighter than what is left of the window
    pacer = new(known=known)
    at_first = interval(pacer, 0.0)
    now, shares = 1.0, []
    for _ in range(20):
        polls = [pacer.sent(now), pacer.sent(now)]
        for poll in polls:
            pacer.refused(now, known, 1.0, poll)
        now = pacer.next_at(now)
        shares.append(at_first / interval(pacer, now))
        now += 10.0
    assert shares[:3] == pytest.approx([0.7, 0.49, 0.343])
    assert shares[-1] == pytest.approx(0.1)
    for share in (0.7, 1.0):
        for _ in range(600):
            pacer.answered(now, known, pacer.sent(now))
        now += 100_000.0
        pacer.answered(now, known, pacer.sent(now))
        assert at_first / interval(pacer, now) == pytest.approx(share, rel=0.01)


def test_what_went_out_before_the_quota_was_known_makes_no_room() -> None:
    """A first burst that breaks the second's rule is the client's own doing."""
    intervals = []
    for is_refused in (True, False):
        pacer = Asker(PLACES)
        for _ in range(INITIAL_IN_FLIGHT):
            pacer.sent(0.0)
        pacer.answered(0.1, quota(limit=600, remaining=599))
        if is_refused:
            pacer.refused(0.1, quota(limit=600, remaining=598), None)
        while pacer.in_flight:
            pacer.answered(10.0, quota(limit=600, remaining=596, reset_in=50.0))
        intervals.append(interval(pacer, 10.0))
    assert intervals[0] == pytest.approx(intervals[1])


@pytest.mark.slow
def test_four_clients_of_one_quota_are_hardly_refused() -> None:
    """Each finds its part, though none knows of the others."""
    server = QuotaServer(600, latency=(0.01, 0.05))

    async def play() -> None:
        clients = [ScriptedStream(server) for _ in range(4)]
        waits = [
            asyncio.create_task(client.wait_for_tasks([f"{place}-{n}" for n in range(50)], timeout=300))
            for place, client in enumerate(clients)
        ]
        await asyncio.gather(*waits)

    in_virtual_time(play())
    assert server.refused <= 0.03 * len(server.arrivals)
    assert len(server.arrivals) >= 0.7 * 600 * 5, "they do use the quota"


def wait_for_all(server: Any, count: int, timeout: float | None = None, **options: Any) -> tuple[Any, float]:
    """Wait for many tasks in virtual time; return the outcomes and how long that took."""

    async def main() -> tuple[Any, float]:
        client = ScriptedStream(server, **options)
        begun = client.engine.now()
        outcomes = await client.wait_for_tasks(map(str, range(count)), 1.0, timeout)
        took = client.engine.now() - begun
        assert_rests(client.engine)
        return outcomes, took

    return in_virtual_time(main())


@pytest.mark.parametrize("rounding", [math.floor, math.ceil], ids=["rounded down", "rounded up"])
@pytest.mark.parametrize("aligned", ["call", "clock"])
@pytest.mark.parametrize("limit", [60, 600])
def test_waits_beyond_the_quota_stretch_evenly_and_all_end(limit: int, aligned: Any, rounding: Any) -> None:
    """Nothing is lost, hardly anything refused, and no wait starves."""
    count = limit // 6
    server = QuotaServer(
        limit, aligned=aligned, rounding=rounding, latency=(0.01, 0.05), phase=41.7, duration=lambda _: 5.0
    )
    outcomes, took = wait_for_all(server, count)
    assert all(outcome.ok for outcome in outcomes.values())
    assert server.refused <= INITIAL_IN_FLIGHT + 0.02 * len(server.sent)
    assert took <= 30
    polls = [outcome.polls for outcome in outcomes.values()]
    assert max(polls) <= 6 + server.refused


def test_a_hundred_waits_under_streams_own_rule() -> None:
    """600 polls a minute, 20 a second, tasks of 5 seconds: all complete within 20 s, hardly any refused."""
    server = QuotaServer(600, latency=(0.005, 0.02), duration=lambda _: 5.0)
    outcomes, took = wait_for_all(server, 100, 60.0)
    assert all(outcome.ok for outcome in outcomes.values())
    assert took <= 20
    assert server.refused <= 0.02 * len(server.sent)


@pytest.mark.slow
def test_who_has_waited_longest_for_a_poll_goes_first() -> None:
    """Under a tight quota each task gets its turn before any gets another."""
    server = QuotaServer(300, latency=(0.02, 0.02))
    order: list[str] = []

    async def fetch(task_id: str, limit: float) -> Any:
        order.append(task_id)
        return await server(task_id, limit)

    wait_for_all(fetch, 50, 200.0)
    turns = order[50 : 50 * (len(order) // 50 - 1)]
    rounds = [turns[at : at + 50] for at in range(0, len(turns), 50)]
    assert len(rounds) > 5
    for each in rounds[:-1]:
        assert len(set(each)) >= 48, "but for a refused one, which comes back a little later"


def test_without_pacing_polls_go_out_as_they_are_due() -> None:
    """`pacing=False` leaves only the number of places."""
    server = QuotaServer(60, duration=lambda _: 2.0)
    outcomes, _ = wait_for_all(server, 50, 5.0, pacing=False, max_connections=30)
    assert server.refused > 50
    assert server.most_in_flight == 30
    assert any(not outcome.ok for outcome in outcomes.values())


@pytest.mark.parametrize("says", [True, False], ids=["told", "not told"])
def test_a_second_program_on_the_same_quota_costs_few_refusals(*, says: bool) -> None:
    """And nothing is lost, also when answers tell nothing of the quota."""

    async def main() -> tuple[Any, QuotaServer]:
        server = QuotaServer(600, latency=(0.01, 0.05), duration=lambda _: 60.0, says=says)
        client = ScriptedStream(server)
        loop = asyncio.get_running_loop()

        async def other() -> None:
            while True:
                await asyncio.sleep(0.2)
                server.spend(loop.time())

        beside = asyncio.create_task(other())
        outcomes = await client.wait_for_tasks(map(str, range(30)), 1.0, None)
        beside.cancel()
        await asyncio.wait([beside])
        assert_rests(client.engine)
        return outcomes, server

    outcomes, server = in_virtual_time(main())
    assert all(outcome.ok for outcome in outcomes.values())
    assert server.refused < 0.05 * len(server.sent)


@pytest.mark.slow
def test_a_quota_that_is_not_told_is_found_out() -> None:
    """But for the first burst, few polls are refused, and all tasks end soon."""
    server = QuotaServer(600, latency=(0.005, 0.02), duration=lambda _: 90.0, says=False)
    outcomes, took = wait_for_all(server, 300, None)
    assert all(outcome.ok for outcome in outcomes.values())
    assert took <= 180
    assert server.refused <= PLACES + 0.05 * len(server.sent)


def test_a_few_polls_that_hang_hold_up_no_others() -> None:
    """Whoever is asked for after them is answered soon, and they themselves in the end."""
    hung: set[str] = set()

    async def fetch(task_id: str, limit: float) -> Any:
        if int(task_id) < INITIAL_IN_FLIGHT and task_id not in hung:
            hung.add(task_id)
            await asyncio.sleep(min(limit, 30.0))
            raise StreamTransportException("timeout")
        return Task(task_id, "completed", EPOCH, EPOCH), None

    outcomes, took = wait_for_all(fetch, 100)
    assert all(outcome.ok for outcome in outcomes.values())
    assert (
        sorted(outcome.elapsed for outcome in outcomes.values())[-INITIAL_IN_FLIGHT - 1] <= SILENT_AFTER + 0.1
    )
    assert took < 31.5


def test_polls_that_hang_in_all_places_hold_up_nobody_for_long() -> None:
    """A server swallows what it is asked for 5 s: the waits go on long before those polls would time out."""
    server = Away(Hang(30), 5.5, 10.5, duration=12.0)
    outcomes, took = wait_for_all(server, 1_000, 20.0)
    assert all(outcome.ok for outcome in outcomes.values())
    assert took < 13
    assert len(server.missed) <= PLACES + 5


def test_polls_that_were_lost_are_sent_again_soon() -> None:
    """Later ones were answered: nobody waits for the time-out of those that were not."""
    server = Away(Hang(30), 2.0, 8.0, duration=6.0)
    outcomes, took = wait_for_all(server, 1_000, 60.0)
    assert all(outcome.ok for outcome in outcomes.values())
    assert len(server.missed) >= PLACES
    assert took < 20


def test_a_task_that_is_told_of_slowly_is_asked_for_twice() -> None:
    """A second look is left alone for as long as a request may take, though others are answered soon."""
    polls: list[str] = []

    async def fetch(task_id: str, limit: float) -> Any:
        polls.append(task_id)
        await asyncio.sleep(min(12.0 if task_id == "0" else 0.1, limit))
        is_done = task_id == "0" or polls.count(task_id) > 30
        return Task(task_id, "completed" if is_done else "running", EPOCH, EPOCH), None

    outcomes, _ = wait_for_all(fetch, 10, 60.0)
    assert all(outcome.ok for outcome in outcomes.values())
    assert polls.count("0") == 2


@pytest.mark.parametrize("pacing", [True, False])
def test_a_server_that_is_only_slow_gets_to_answer(pacing: bool) -> None:
    """Though others wait for a place, half of the polls are left alone."""
    server = ByTime(lambda _: 0.0, latency=8.0)
    given_up: list[str] = []

    async def fetch(task_id: str, limit: float) -> Any:
        try:
            return await server(task_id, limit)
        except asyncio.CancelledError:
            given_up.append(task_id)
            raise

    async def main() -> None:
        client = ScriptedStream(fetch, max_connections=10, pacing=pacing)
        outcomes = await client.wait_for_tasks(map(str, range(100)), timeout=None)
        assert all(outcome.ok for outcome in outcomes.values())
        assert_rests(client.engine)

    in_virtual_time(main())
    assert len(given_up) <= 5
    assert server.most_in_flight == 10


def test_ten_thousand_waits_start_with_a_few_polls() -> None:
    """Never more in flight than there are places."""
    server = ByTime(lambda _: 3.0, latency=0.05)

    async def main() -> None:
        client = ScriptedStream(server, max_connections=20)
        call = asyncio.create_task(client.wait_for_tasks(map(str, range(2_000)), 1.0, None))
        await asyncio.sleep(0.04)
        assert 1 <= len(server.polls) <= INITIAL_IN_FLIGHT
        outcomes = await call
        assert all(outcome.ok for outcome in outcomes.values())
        assert_rests(client.engine)

    in_virtual_time(main())
    assert server.most_in_flight == 20


class Away:
    """A server that is away for a while: it resets, refuses or hangs."""

    def __init__(self, answer: Exception | Hang, begin: float, end: float, duration: float = 3600.0) -> None:
        self.answer = answer
        self.begin, self.end = begin, end
        self.server = ByTime(lambda _: duration, latency=0.02)
        self.missed: list[float] = []

    async def __call__(self, task_id: str, limit: float) -> Any:
        now = asyncio.get_running_loop().time()
        if not self.begin <= now < self.end:
            return await self.server(task_id, limit)
        self.missed.append(now)
        if isinstance(self.answer, Hang):
            await asyncio.sleep(min(limit, self.answer))
            raise StreamTransportException("timeout")
        raise self.answer


@pytest.mark.parametrize(
    ("answer", "most"),
    [
        pytest.param(StreamTransportException("connection_reset"), 150, id="it resets"),
        pytest.param(StreamApiException(status_code=503), 150, id="it is overloaded"),
        pytest.param(Hang(30), 220, id="it hangs"),
        pytest.param(StreamRateLimitException(retry_after=timedelta(seconds=20)), 130, id="it refuses"),
        pytest.param(
            StreamApiException(status_code=503, _hold=timedelta(seconds=20)), 130, id="503 with a time"
        ),
        pytest.param(StreamRateLimitException(retry_after=timedelta(0)), 140, id="it says to come at once"),
    ],
)
def test_an_outage_is_outlived_with_few_polls(answer: Any, most: int) -> None:
    """Two hundred waits outlive a minute of it, and ask seldom in the meantime."""
    server = Away(answer, 5.5, 65.5, duration=70.0)
    outcomes, took = wait_for_all(server, 200)
    assert all(outcome.ok for outcome in outcomes.values())
    assert took < 130  # a last hold may begin at the end of it, and be a minute long
    assert len(server.missed) <= most


def test_the_end_of_a_short_outage_is_seen_soon() -> None:
    """However many polls it met, a probe goes out within a second after the server is back."""
    server = Away(StreamTransportException("connection_reset"), 5.5, 6.5, duration=6.0)
    server.server.latency = 0.25
    outcomes, _ = wait_for_all(server, 300, 10.0)
    assert all(outcome.ok for outcome in outcomes.values())
    assert min(at for at, _ in server.server.polls if at >= server.end) <= server.end + 1


def test_those_that_hang_first_hold_up_those_behind_them_for_some_seconds_only() -> None:
    """Nearly all places may be theirs."""

    async def fetch(task_id: str, limit: float) -> Any:
        if int(task_id) < 90:
            await asyncio.sleep(min(limit, 30.0))
            raise StreamTransportException("timeout")
        return Task(task_id, "completed", EPOCH, EPOCH), None

    outcomes, _ = wait_for_all(fetch, 300, 20.0)
    healthy = [outcome for task_id, outcome in outcomes.items() if int(task_id) >= 90]
    assert all(outcome.ok for outcome in healthy)
    assert max(outcome.elapsed for outcome in healthy) < 5 * SILENT_AFTER


@pytest.mark.parametrize(("places", "hanging"), [(10, 30), (100, 150)])
def test_those_that_hang_first_may_be_more_than_there_are_places(places: int, hanging: int) -> None:
    """One after the other gives way."""

    async def fetch(task_id: str, limit: float) -> Any:
        if int(task_id) < hanging:
            await asyncio.sleep(min(limit, 30.0))
            raise StreamTransportException("timeout")
        return Task(task_id, "completed", EPOCH, EPOCH), None

    outcomes, _ = wait_for_all(fetch, hanging + 500, 60.0, max_connections=places)
    assert all(outcome.ok for task_id, outcome in outcomes.items() if int(task_id) >= hanging)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (StreamTransportException("connection_reset"), "unreachable"),
        (StreamApiException(status_code=502), "unreachable"),
        (StreamRateLimitException(), "rate_limited"),
        (StreamApiException(status_code=503, _hold=timedelta(seconds=100)), "rate_limited"),
    ],
    ids=["reset", "502", "429", "503 with a time"],
)
def test_a_timeout_tells_what_held_the_polls_back(answer: Any, reason: str) -> None:
    """Also on waits that were not polled themselves while it lasted."""
    outcomes, _ = wait_for_all(Away(answer, 5.5, math.inf), 200, 20.0)
    errors = [outcome.exception() for outcome in outcomes.values()]
    assert all(isinstance(error, StreamWaitTimeoutException) for error in errors)
    reasons = [error.reason for error in errors if isinstance(error, StreamWaitTimeoutException)]
    assert reasons == [reason] * 200


def test_a_timeout_soon_after_an_outage_tells_of_it() -> None:
    """Those that had no look since it began were held up by it, and no others."""
    server = Away(StreamTransportException("connection_reset"), 5.5, 16.5)
    server.server.latency = 0.5
    outcomes, _ = wait_for_all(server, 1000, 20.0, max_connections=10)
    errors: list[Any] = [outcome.exception() for outcome in outcomes.values()]
    seen = {task_id for at, task_id in server.server.polls if server.end < at < 19.4}
    asked = seen | {task_id for at, task_id in server.server.polls if at >= 19.4}
    assert 0 < len(asked) < 500
    assert {error.reason for error in errors if error.task_id not in asked} == {"unreachable"}
    assert {error.reason for error in errors if error.task_id in seen} == {"still_running"}


def test_a_timeout_of_a_wait_that_the_quota_did_not_reach_says_so() -> None:
    """The quota, not the task, ate the time; where it bears the polls, it is the task."""
    outcomes, _ = wait_for_all(QuotaServer(60), 200, 30.0)
    errors: list[Any] = [outcome.exception() for outcome in outcomes.values()]
    assert {error.reason for error in errors if not error.polls} == {"rate_limited"}
    outcomes, _ = wait_for_all(QuotaServer(6000), 10, 30.0)
    errors = [outcome.exception() for outcome in outcomes.values()]
    assert {error.reason for error in errors} == {"still_running"}


def test_a_hung_server_is_not_taken_for_a_lack_of_quota() -> None:
    """Waits that found no place while others hung say that the server was away."""

    async def main() -> None:
        script = Script("running", Hang(3600))
        known = quota()

        async def fetch(task_id: str, limit: float) -> Any:
            task, _ = await script(task_id, limit)
            return task, known

        client = ScriptedStream(fetch, max_connections=2)
        with pytest.raises(StreamWaitTimeoutException):
            await client.wait_for_task("first", timeout=0)
        outcomes = await client.wait_for_tasks(map(str, range(10)), timeout=5)
        errors: list[Any] = [outcome.exception() for outcome in outcomes.values()]
        assert {error.reason for error in errors} == {"unreachable"}
        assert_rests(client.engine)

    in_virtual_time(main())


@pytest.mark.slow
def test_a_limit_that_is_lowered_at_run_time_loses_nothing() -> None:
    """It costs a few refusals, and the polls are spread by the new one."""

    async def main() -> QuotaServer:
        server = QuotaServer(6000, latency=(0.02, 0.02), duration=lambda _: 90.0)
        client = ScriptedStream(server)
        asyncio.get_running_loop().call_later(20, setattr, server, "limit", 600)
        outcomes = await client.wait_for_tasks(map(str, range(60)), 1.0, None)
        assert all(outcome.ok for outcome in outcomes.values())
        assert_rests(client.engine)
        return server

    server = in_virtual_time(main())
    assert server.refused <= 0.02 * len(server.sent)


def test_cancelled_waits_give_back_what_they_held() -> None:
    """Places in flight are free again, whenever waits are cancelled."""

    async def main() -> None:
        chance = random.Random(1)
        server = QuotaServer(600, latency=(0.05, 0.5))
        client = ScriptedStream(server, max_connections=10)
        for _ in range(30):
            call = asyncio.create_task(client.wait_for_tasks(map(str, range(20)), 1.0, None))
            await asyncio.sleep(chance.uniform(0, 3))
            call.cancel()
            await asyncio.wait([call])
            assert_rests(client.engine)

    in_virtual_time(main())


@pytest.mark.looptime
async def test_one_look_waits_out_a_hold() -> None:
    """With `timeout=0` it takes its look as soon as the client may look again."""
    client = ScriptedStream(Script(StreamRateLimitException(retry_after=timedelta(seconds=20)), "completed"))
    begun = client.engine.now()
    with pytest.raises(StreamWaitTimeoutException) as info:
        await client.wait_for_task("a", timeout=0)
    assert info.value.reason == "rate_limited"
    assert await client.wait_for_task("b", timeout=0) == {}
    assert 20 <= client.engine.now() - begun <= 22
    assert_rests(client.engine)


@pytest.mark.looptime
async def test_one_look_waits_no_longer_than_a_request_may_take() -> None:
    """With `timeout=0` a longer hold ends it, by the limit of a request."""
    client = ScriptedStream(Script(StreamRateLimitException(retry_after=timedelta(seconds=90))))
    with pytest.raises(StreamWaitTimeoutException):
        await client.wait_for_task("a", timeout=0)
    begun = client.engine.now()
    with pytest.raises(StreamWaitTimeoutException) as info:
        await client.wait_for_task("b", timeout=0)
    assert client.engine.now() - begun == pytest.approx(30, abs=0.1)
    assert (info.value.reason, info.value.polls) == ("rate_limited", 0)
    outcomes = await client.wait_for_tasks(["c", "d"], timeout=0)
    assert client.engine.now() - begun == pytest.approx(60, abs=0.2)
    assert not any(outcome.ok for outcome in outcomes.values())
    assert_rests(client.engine)
