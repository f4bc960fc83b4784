"""Under a quota, the task is looked at whose look is worth most; none starves, and nothing else changes."""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from attrs import define
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_quota import Job, jobs_of, simulate, unknown

from stream_tasks import RateLimit, Task
from stream_tasks._engine.durations import Durations, OperationDurations
from stream_tasks._engine.lineup import Lineup
from stream_tasks._engine.sighting import Origin, Sighting
from stream_tasks._engine.tuning import MAX_SKIPPED, MAX_STALE, MIN_ENDS, MOVED_AT_ONCE, STARVES_AFTER
from stream_tasks._engine.worth import WorthQueue

NOW = 1000.0


@define(eq=False)
class Tracked:
    sighting: Sighting
    name: str = ""
    latest: float = math.inf

    def pays_at(self, due: float) -> float:
        return due

    def latest_look(self) -> float:
        return self.latest


def learned_of(draw: Callable[[random.Random], float]) -> OperationDurations:
    rng, learned = random.Random(1), OperationDurations()
    for _ in range(1000):
        learned.ended(0, draw(rng))
    return learned


EXPORTS = learned_of(lambda rng: rng.uniform(4, 15))
DELETIONS = learned_of(lambda rng: rng.uniform(300, 1200))


def tracked(
    learned: OperationDurations, age: float = 0.0, name: str = "", latest: float = math.inf
) -> Tracked:
    """A task that this client began so many seconds ago, and did not look at."""
    return Tracked(Sighting(learned, NOW, age), name, latest)


def informed(ends: int = MIN_ENDS) -> Durations:
    """What is known after so many ends."""
    durations = Durations()
    for _ in range(ends):
        durations.of("x").ended(0, 5)
    return durations


def names(queue: Lineup[Tracked] | WorthQueue[Tracked], now: float = NOW) -> list[str]:
    return [queue.pop(now)[0].name for _ in range(len(queue))]


def crowd(durations: Durations | None) -> Lineup[Tracked]:
    """A queue that is late: an export that has probably ended is due for less long than deletions."""
    queue: Lineup[Tracked] = Lineup(durations)
    for _ in range(5):
        queue.push(tracked(DELETIONS, 60, "deletion"), NOW - 50)
    queue.push(tracked(EXPORTS, 30, "export"), NOW - 20)
    queue.push(tracked(EXPORTS, 0, "later"), NOW + 20)
    return queue


def test_while_the_quota_bears_all_the_order_is_that_of_becoming_due() -> None:
    """Tasks that are looked at as soon as they are due come in that order, whatever their looks are worth."""
    queue: Lineup[Tracked] = Lineup(informed())
    queue.push(tracked(DELETIONS, name="first"), NOW - 0.03)
    queue.push(tracked(EXPORTS, 60, name="third"), NOW)
    queue.push(tracked(DELETIONS, name="second"), NOW - 0.01)
    queue.push(tracked(DELETIONS, name="never"), math.inf)
    assert (len(queue), queue.next_due()) == (3, NOW - 0.03)
    assert names(queue) == ["first", "second", "third"]
    assert (len(queue), queue.next_due()) == (0, math.inf)


def test_under_a_quota_the_look_that_is_worth_most_comes_first() -> None:
    """An export that has probably ended comes before deletions that are due for longer."""
    queue = crowd(informed())
    assert queue.pop(NOW)[0].name == "export"
    assert queue.next_due() < NOW
    assert [queue.pop(NOW)[0].name for _ in range(5)] == 5 * ["deletion"]
    assert queue.next_due() == NOW + 20


@pytest.mark.parametrize("durations", [None, Durations(), informed(MIN_ENDS - 1)])
def test_as_long_as_too_little_is_known_the_order_is_that_of_becoming_due(
    durations: Durations | None,
) -> None:
    """However late looks are, without learning and before some ends were seen nobody is preferred."""
    queue = crowd(durations)
    assert [queue.pop(NOW)[0].name for _ in range(6)] == [*5 * ["deletion"], "export"]


def test_tasks_by_the_thousand_that_are_due_together_are_placed_some_at_a_time() -> None:
    """One look never has to place them all, and all are looked at."""
    queue: Lineup[Tracked] = Lineup(informed())
    for number in range(4 * MOVED_AT_ONCE):
        queue.push(tracked(EXPORTS, 30, str(number)), NOW - 20)
    seen = [queue.pop(NOW)[0].name]
    assert len(queue._scarce) <= MOVED_AT_ONCE
    seen += names(queue)
    assert sorted(seen, key=int) == [str(number) for number in range(4 * MOVED_AT_ONCE)]


def test_a_task_can_be_hastened_and_taken_out_in_either_order() -> None:
    """Who joins later may want a look earlier: of a task that is due already, nothing is planned anew."""
    queue = crowd(informed())
    queue.pop(NOW)
    task = tracked(DELETIONS, 10, "mine")
    assert (task in queue, queue.due(task)) == (False, math.inf)
    assert queue.hasten(task, NOW + 5)
    assert not queue.hasten(task, NOW + 6)
    assert (task in queue, queue.due(task)) == (True, NOW + 5)
    assert queue.hasten(task, NOW - 1)
    assert queue.pop(NOW)[0].name == "deletion"
    assert not queue.hasten(task, NOW - 2)
    assert queue.due(task) == NOW - 1
    task.latest = -math.inf
    assert not queue.hasten(task, NOW)
    assert queue.pop(NOW) == (task, NOW - 1)
    other = tracked(DELETIONS, 10)
    for due in (NOW - 1, NOW + 5):
        queue.push(other, due)
        queue.pop(NOW)
        queue.discard(other)
        queue.discard(other)
        assert other not in queue


def pressed(*, price: float = 1.0) -> WorthQueue[Tracked]:
    """A queue with a price, and one deletion that began just now."""
    queue: WorthQueue[Tracked] = WorthQueue()
    queue.open(price)
    queue.push(tracked(DELETIONS, name="young"), NOW)
    return queue


def test_the_last_look_is_not_put_off() -> None:
    """A task whose last look is due is looked at, though that is worth nothing yet."""
    queue = pressed()
    queue.push(tracked(DELETIONS, 60, name="other"), NOW - 50)
    queue.push(tracked(DELETIONS, name="last look", latest=NOW), NOW - 1)
    assert queue.pop(NOW)[0].name == "last look"


def test_a_last_look_can_be_wanted_earlier() -> None:
    """A waiter who joins with an earlier deadline brings the task forward; one with a later one does not."""
    queue = pressed()
    late, early = (
        tracked(DELETIONS, name="late", latest=NOW + 100),
        tracked(DELETIONS, name="early", latest=NOW + 100),
    )
    queue.push(late, NOW - 1)
    queue.push(early, NOW - 1)
    late.latest, early.latest = NOW + 200, NOW - 0.5
    queue.hasten(late)
    queue.hasten(early)
    assert queue.pop(NOW)[0].name == "early"
    assert len(queue) == 2


def test_what_is_taken_out_is_not_kept() -> None:
    """Places of tasks that were taken out or moved do not add up."""
    queue = pressed()
    task = tracked(DELETIONS)
    for _ in range(2 * MAX_STALE):
        queue.push(task, NOW)
        queue.discard(task)
    queue.push(task, NOW)
    for i in range(2 * MAX_STALE):
        task.latest = NOW + MAX_STALE - i
        queue.hasten(task)
    assert len(queue._heap) + len(queue._ring) <= MAX_STALE + 4 * 2
    assert len(names(queue)) == 2


def test_tasks_of_unknown_age_are_looked_at_first() -> None:
    """A task that may have ended before its wait began is worth more than one that this client began."""
    queue = pressed()
    queue.push(tracked(DELETIONS, 20), NOW - 20)
    queue.push(Tracked(Sighting(OperationDurations(), NOW - 20), "unknown"), NOW - 20)
    assert queue.pop(NOW)[0].name == "unknown"


def test_first_looks_at_tasks_of_unknown_age_are_told_apart() -> None:
    """An end before the wait began counts as one, an end during the wait and a look alive do not."""
    learned = OperationDurations()
    before = Sighting(learned, NOW)
    before.ended(NOW + 10, age=500, duration=480)
    assert learned.odds_ended_before == 2
    during = Sighting(learned, NOW)
    during.ended(NOW + 10, age=500, duration=495)
    assert learned.odds_ended_before == 1
    alive = Sighting(learned, NOW)
    alive.alive(NOW + 10, age=500)
    assert learned.odds_ended_before == pytest.approx(2 / 3)
    assert alive.born == NOW - 490
    alive.ended(NOW + 20, age=510, duration=505)
    new = Sighting(learned, NOW, 0.0)
    new.ended(NOW + 10, age=10, duration=5)
    assert learned.odds_ended_before == pytest.approx(2 / 3)
    assert learned.count == 4


def test_a_clock_that_is_behind_does_not_make_a_task_younger_than_its_wait() -> None:
    """The task was there when the wait began, whatever the clocks say."""
    sighting = Sighting(OperationDurations(), NOW)
    sighting.alive(NOW + 10, age=-3600)
    assert sighting.born == NOW


def test_times_that_rounding_makes_equal_do_no_harm() -> None:
    """On a clock so large that a small gap vanishes in it, tasks are still looked at."""
    at = 2.0**60
    queue: WorthQueue[Tracked] = WorthQueue()
    for _ in range(3):
        queue.push(Tracked(Sighting(EXPORTS, at, 0.0)), at)
    assert len(names(queue, at)) == 3


CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def snapshot(status: str, *, lasted: float, created: datetime = CREATED) -> Task:
    return Task("t", status, created, created + timedelta(seconds=lasted))


def quota_at(moment: datetime) -> RateLimit:
    """A quota whose headers say that it is this moment."""
    return RateLimit(600, 599, moment + timedelta(seconds=60), 60.0)


def test_the_age_of_a_task_is_told_by_the_servers_clock() -> None:
    """If an answer tells the server's time, a wrong clock of this machine does no harm."""
    durations = Durations()
    sighting = Sighting.first(durations, Origin("x"), NOW)
    sighting.take_in(snapshot("running", lasted=0), NOW + 1, quota_at(CREATED + timedelta(seconds=40)))
    assert sighting.born == pytest.approx(NOW - 39)
    sighting.take_in(snapshot("running", lasted=0), NOW + 5, None)
    assert sighting.born == pytest.approx(NOW - 39)
    assert sighting.alive_at == NOW + 5
    sighting.take_in(snapshot("completed", lasted=42), NOW + 9, None)
    assert durations["x"].count == 1
    assert 40 / 1.25 < durations["x"].quantile(0.5) < 44 * 1.25


@pytest.mark.parametrize(
    ("created", "lasted"),
    [(datetime(1970, 1, 1, tzinfo=UTC), 5.0), (CREATED, 0.0), (CREATED, -3.0)],
    ids=["the start of 1970", "no duration", "a negative duration"],
)
def test_times_that_a_server_cannot_mean_tell_nothing(created: datetime, lasted: float) -> None:
    """Other endpoints may tell no times; of those, no duration is learned."""
    durations = Durations()
    sighting = Sighting.first(durations, Origin("x"), NOW)
    sighting.take_in(snapshot("running", lasted=0, created=created), NOW + 1, None)
    assert sighting.alive_at == NOW + 1
    sighting.take_in(snapshot("failed", lasted=lasted, created=created), NOW + 2, None)
    assert not durations


def test_batches_of_other_sizes_tell_something_of_one_of_which_nothing_is_known() -> None:
    """Until some batches of its size have ended, those of which most is known stand for it."""
    durations = Durations()
    for _ in range(MIN_ENDS):
        durations.of("x", 100).ended(0, 300)
    young = Sighting.first(durations, Origin("x", 1), NOW)
    assert young.expected is durations.of("x", 100)
    assert Sighting.first(durations, Origin("x"), NOW).expected is durations.of("x", 100)
    assert Sighting.first(durations, Origin("y"), NOW).expected is durations.of("y")
    assert young.pays_at(NOW + 1, 1) == NOW + 1
    for _ in range(MIN_ENDS):
        durations.of("x", 1).ended(0, 3)
    assert Sighting.first(durations, Origin("x", 1), NOW).expected is durations.of("x", 1)


def test_an_operation_that_is_told_later_learns_the_whole_life() -> None:
    """What was taken for a task of unknown operation counts for the operation that somebody names."""
    durations = Durations()
    sighting = Sighting.first(durations, Origin(), NOW)
    sighting.alive(NOW + 10, 10)
    sighting.belongs_to(durations, Origin("x", 3))
    sighting.ended(NOW + 20, 20, 15)
    assert durations["x"].count == 1
    assert sum(durations.of("x", 2).stored()["time"]) == 15


@settings(max_examples=15)
@given(
    st.sampled_from(["mix", "mix3", "const", "exponential"]),
    st.integers(0, 1000),
    st.integers(1, 150),
    st.booleans(),
    st.sampled_from([3.5, 5, 10, 1000]),
)
@example("mix", 0, 400, False, 3.5)
def test_no_task_starves(kind: str, seed: int, tasks: int, is_known: bool, rate: float) -> None:
    """Each task is polled at the latest when four times as many polls went out as tasks waited."""
    jobs = jobs_of(kind, seed, tasks)
    outcome = simulate(jobs if is_known else unknown(jobs), rate, learns=True)
    # How many wait changes within a round.
    assert outcome.most_rounds <= 1.05 * (STARVES_AFTER + 1)
    assert not any(math.isnan(delay) for delay in outcome.delays)


def test_looks_that_cannot_pay_are_told() -> None:
    """A deletion need not be looked at in its first minute, an export that may end now at once."""
    deletion = tracked(DELETIONS, 60).sighting
    deletion.alive(NOW, 60)
    assert deletion.pays_at(NOW + 1, 1) == NOW + 1 + MAX_SKIPPED
    assert NOW + 1 <= tracked(EXPORTS).sighting.pays_at(NOW + 1, 1) < NOW + 4
    export = tracked(EXPORTS, 10).sighting
    export.alive(NOW, 10)
    assert export.pays_at(NOW + 0.5, 1) == NOW + 0.5


def test_every_look_may_pay_while_little_is_known() -> None:
    """Before some ends were seen, or the age is known, no look is said not to pay."""
    assert tracked(OperationDurations()).sighting.pays_at(NOW, 1) == NOW
    assert Sighting(DELETIONS, NOW).pays_at(NOW + 1, 1) == NOW + 1


def test_where_the_quota_bears_all_nothing_changes() -> None:
    """With polls to spare, each task is polled as often, and noticed as early, as in due order."""
    jobs = jobs_of("mix3", 1, 200)
    learned, due_order = (simulate(jobs, 500, learns=learns) for learns in (True, False))
    assert learned.mean == pytest.approx(due_order.mean, rel=0.01)
    assert learned.polls == pytest.approx(due_order.polls, rel=0.01)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "mean", "median"),
    [
        ("mix", 0.30, 0.10),
        ("mix3", 0.40, 0.20),
        ("const", 0.35, 1.0),
        ("exponential", 1.03, 1.05),
        ("log-normal", 1.03, 1.05),
        ("uniform", 1.03, 1.05),
    ],
)
def test_known_operations_are_noticed_earlier(kind: str, mean: float, median: float) -> None:
    """With the same quota, ends are noticed in a part of due order's delay."""
    jobs = jobs_of(kind, 1)
    learned, due_order = (simulate(jobs, 10, learns=learns) for learns in (True, False))
    assert learned.mean <= mean * due_order.mean
    assert learned.quantile(0.5) <= median * due_order.quantile(0.5)
    assert learned.quantile(0.95) <= 1.1 * due_order.quantile(0.95)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize("kind", ["mix", "mix3", "const", "exponential", "log-normal", "uniform"])
def test_unknown_operations_are_noticed_no_later(kind: str, rate: float) -> None:
    """Tasks of which only the id is known are noticed no later than in due order by more than a twentieth."""
    jobs = unknown(jobs_of(kind, 1))
    learned, due_order = (simulate(jobs, rate, learns=learns) for learns in (True, False))
    assert learned.mean <= 1.05 * due_order.mean


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_burst_is_noticed_earlier() -> None:
    """If 2,000 exports and 2,000 deletions begin at once, ends are noticed earlier than in due order."""
    rng = random.Random(1)
    jobs = [Job(0.0, rng.uniform(4, 15), "export") for _ in range(2000)]
    jobs += [Job(0.0, rng.uniform(300, 1200), "delete") for _ in range(2000)]
    rng.shuffle(jobs)
    learned, due_order = (simulate(jobs, 10, learns=learns) for learns in (True, False))
    assert learned.mean <= 0.75 * due_order.mean


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_durations_that_double_are_followed() -> None:
    """If durations double, ends are still noticed in a part of due order's delay."""
    jobs = jobs_of("mix", 1)
    half = len(jobs) // 2
    jobs[half:] = [job._replace(takes=2 * job.takes) for job in jobs[half:]]
    learned, due_order = (simulate(jobs, 10, learns=learns) for learns in (True, False))
    assert learned.mean <= 0.40 * due_order.mean
    assert learned.quantile(0.95) <= 1.1 * due_order.quantile(0.95)
