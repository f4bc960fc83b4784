"""Durations are learned as hazards: what a poll is worth, when it is, and how long a task still takes."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stream_tasks._engine.durations import Durations, OperationDurations
from stream_tasks._engine.tuning import BINS, FIRST_EDGE, HALF_LIFE, RATIO

ages = st.floats(0, 1e6)
gaps = st.floats(0, 1e6)
odds = st.floats(0, 1e3)
shares = st.floats(0.001, 0.999)
lives = st.lists(st.tuples(ages, ages, st.booleans()), max_size=40)


def learned_from(noted: list[tuple[float, float, bool]]) -> OperationDurations:
    durations = OperationDurations()
    for age, gap, has_ended in noted:
        if has_ended:
            durations.ended(age, age + gap)
        else:
            durations.alive(age, age + gap)
    return durations


def ended(*samples: float) -> OperationDurations:
    durations = OperationDurations()
    for sample in samples:
        durations.ended(0, sample)
    return durations


def drawn(draw: Callable[[random.Random], float], number: int = 2000, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [draw(rng) for _ in range(number)]


EVIDENCE = HALF_LIFE / math.log(2)  # so many ends weigh in, however many were seen


@given(lives, ages, gaps, gaps, odds)
@example([(0, 1, True)], 1e6, 1e6, 0, 0)
def test_what_a_poll_is_worth_grows_with_the_gap(
    noted: list[tuple[float, float, bool]], alive: float, gap: float, more: float, before: float
) -> None:
    """A poll is never worth less than nothing, and never less than it was a moment ago."""
    durations = learned_from(noted)
    worth = durations.accrued(alive, alive + gap, before)
    assert 0 <= worth <= durations.accrued(alive, alive + gap + more, before) * (1 + 1e-9)


@given(lives, ages, gaps, odds)
def test_an_end_before_the_last_look_makes_a_poll_worth_more(
    noted: list[tuple[float, float, bool]], alive: float, gap: float, before: float
) -> None:
    """A task that may have ended before its first look delays somebody for the whole gap with those odds."""
    durations = learned_from(noted)
    gap = alive + gap - alive
    expected = durations.accrued(alive, alive + gap) + before * gap
    assert durations.accrued(alive, alive + gap, before) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(lives, ages, st.floats(1e-6, 1e6), odds)
@example([], 0, 1e-6, 0)
@example([], 0, FIRST_EDGE, 0)
def test_the_age_at_which_a_poll_is_worth_so_much_is_the_inverse(
    noted: list[tuple[float, float, bool]], alive: float, worth: float, before: float
) -> None:
    """At the age that is told for a price, a poll is worth that price."""
    durations = learned_from(noted)
    age = durations.age_at(alive, worth, before)
    assert age >= alive
    # Ages are floats: near a million seconds they are a ten-billionth apart.
    apart = 4 * math.ulp(age)
    assert durations.accrued(alive, age - apart, before) <= worth * (1 + 1e-6)
    assert durations.accrued(alive, age + apart, before) >= worth * (1 - 1e-6)


@given(lives, st.floats(FIRST_EDGE, 100), st.floats(0, 100), st.integers(1, 20))
def test_the_unit_of_time_does_not_matter(
    noted: list[tuple[float, float, bool]], alive: float, gap: float, power: int
) -> None:
    """If all durations, ages and gaps are longer by a factor, a poll is worth more by that factor."""
    factor = RATIO**power
    scale = [(age % 100, gap % 100, has_ended) for age, gap, has_ended in noted]
    # An end on the edge of a bin may fall to either side of it.
    edges = [math.log(max(age + gap, 1e-9) / FIRST_EDGE, RATIO) % 1 for age, gap, _ in scale]
    assume(all(1e-6 < edge < 1 - 1e-6 for edge in edges))
    assume(all(age + gap >= FIRST_EDGE for age, gap, _ in scale))
    once = learned_from(scale)
    longer = learned_from([(factor * age, factor * gap, has_ended) for age, gap, has_ended in scale])
    worth = longer.accrued(factor * alive, factor * (alive + gap))
    assert worth == pytest.approx(factor * once.accrued(alive, alive + gap), rel=1e-6, abs=1e-9)


def test_nothing_is_known_of_tasks_at_first() -> None:
    """Without evidence, a task of any age is as likely as not to end before its age doubles."""
    durations = OperationDurations()
    for age in (FIRST_EDGE * RATIO**i for i in range(0, 50, 7)):
        assert durations.quantile(0.5, age) == pytest.approx(2 * age, rel=0.01)
        assert durations.accrued(age, 1.01 * age) == pytest.approx(0.01**2 * age / 2, rel=0.2)


def test_a_constant_hazard_is_learned() -> None:
    """For exponential durations of mean m, a poll after a gap g is worth g² / 2 m, at any age."""
    mean = 200.0
    durations = ended(*drawn(lambda rng: rng.expovariate(1 / mean)))
    for age in (10, 50, 150, 300):
        gap = 0.8 * age
        # In that gap about this many of the ends that weigh in were seen: four standard deviations.
        seen = EVIDENCE * (math.exp(-age / mean) - math.exp(-(age + gap) / mean))
        worth = durations.accrued(age, age + gap)
        assert worth == pytest.approx(gap**2 / (2 * mean), rel=4 / math.sqrt(seen) + 0.05)


def test_equal_durations_are_learned() -> None:
    """Where all tasks take 180 s to 220 s, a poll is worth nearly nothing before, and seconds soon after."""
    durations = ended(*drawn(lambda rng: rng.uniform(180, 220)))
    assert durations.accrued(0, 120) < 1
    assert durations.accrued(0, 230) > 10
    assert 180 / RATIO < durations.quantile(0.02) < durations.quantile(0.98) < 220 * RATIO


def test_a_mixture_is_learned() -> None:
    """Where tasks take 10 s or 10 minutes, a poll is worth little between."""
    durations = ended(
        *drawn(lambda rng: rng.uniform(4, 15) if rng.random() < 0.6 else rng.uniform(300, 1200))
    )
    assert durations.accrued(5, 12) > durations.accrued(25, 125)
    assert durations.quantile(0.5) < 15 * RATIO
    median, most = durations.remaining(25)
    assert 500 < median < 900
    assert 950 < most < 1400


@pytest.mark.parametrize(
    ("draw", "cumulative"),
    [
        (lambda rng: rng.expovariate(1 / 200), lambda x: 1 - math.exp(-x / 200)),
        (lambda rng: rng.lognormvariate(math.log(120), 1), lambda x: _normal(math.log(x / 120))),
        (lambda rng: rng.uniform(10, 400), lambda x: min(max((x - 10) / 390, 0), 1)),
    ],
    ids=["exponential", "log-normal", "uniform"],
)
def test_quantiles_are_those_of_the_durations(
    draw: Callable[[random.Random], float], cumulative: Callable[[float], float]
) -> None:
    """A quantile is right but for the width of a bin and the chance of the evidence that weighs in."""
    durations = ended(*drawn(draw))
    chance = 1.95 / math.sqrt(EVIDENCE)  # by Dvoretzky, Kiefer and Wolfowitz, once in a thousand
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        found = durations.quantile(share)
        assert cumulative(found / RATIO) - chance <= share <= cumulative(found * RATIO) + chance


def _normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def test_a_single_end_tells_where_about_the_quantiles_are() -> None:
    """However little was seen, what is told fits it."""
    assert 42 / RATIO < ended(42).quantile(0.5) < 42 * RATIO


def test_tasks_that_still_run_count() -> None:
    """A task that was seen alive lowers the hazard of the ages that it lived through."""
    few = ended(*range(10, 60))
    many = ended(*range(10, 60))
    for _ in range(50):
        many.alive(0, 500)
    assert many.accrued(10, 50) < 0.7 * few.accrued(10, 50)
    assert few.quantile(0.9) < 60 * RATIO
    assert many.quantile(0.4) < 60 * RATIO < 400 < many.quantile(0.9)


def test_each_part_of_a_life_counts_once() -> None:
    """A life that was noted in parts tells what it tells as a whole; a clock that runs back tells nothing."""
    whole, parts = ended(40), OperationDurations()
    for age_from, age_to in ((0, 7), (7, 7), (7, 25), (30, 20)):
        parts.alive(age_from, age_to)
    parts.ended(25, 40)
    assert parts.stored()["time"] == pytest.approx(whole.stored()["time"])
    assert parts.stored()["ends"] == whole.stored()["ends"]


def test_an_end_before_the_last_look_counts() -> None:
    """Where clocks differ, a task may have ended at an age below that of the last look, or below 0."""
    assert ended(-3).stored()["ends"][0] == 1
    durations = OperationDurations()
    durations.alive(0, 10)
    durations.ended(10, 9)
    assert durations.count == 1
    assert sum(durations.stored()["time"]) == 10


def test_a_server_that_becomes_slower_is_followed() -> None:
    """Where durations double, the quantiles do so within a few half-lives."""
    before, after = (
        ended(*drawn(lambda rng: rng.uniform(90, 110), number=2000)),
        ended(*drawn(lambda rng: rng.uniform(90, 110), number=2000)),
    )
    for sample in drawn(lambda rng: rng.uniform(180, 220), number=4 * HALF_LIFE, seed=2):
        after.ended(0, sample)
    assert after.quantile(0.5) > 1.7 * before.quantile(0.5)
    assert after.count == 2000 + 4 * HALF_LIFE


def test_a_server_that_ends_nothing_any_more_is_followed() -> None:
    """Where tasks live on past the ages at which they used to end, a poll at those ages is worth less."""
    durations = ended(*drawn(lambda rng: rng.uniform(90, 110)))
    before = durations.accrued(80, 120)
    for _ in range(2000):
        durations.alive(0, 200)
    assert durations.accrued(80, 120) < before / 4


def test_first_looks_tell_whether_tasks_of_unknown_age_have_ended() -> None:
    """The odds that a task had ended before its wait are even at first, and then follow the first looks."""
    durations = OperationDurations()
    assert durations.odds_ended_before == 1
    for _ in range(3 * HALF_LIFE):
        durations.first_look(had_ended=False)
    assert durations.odds_ended_before < 0.01
    for _ in range(3 * HALF_LIFE):
        durations.first_look(had_ended=True)
    assert durations.odds_ended_before > 4


@given(lives, shares, ages)
def test_what_was_learned_survives_json(
    noted: list[tuple[float, float, bool]], share: float, age: float
) -> None:
    """What is read back tells the same, and goes on to learn the same."""
    learned = Durations()
    learned.of("export_channels").first_look(had_ended=True)
    for operation, part in ((None, noted[::2]), ("delete_users", noted[1::2])):
        for age_from, gap, has_ended in part:
            if has_ended:
                learned.of(operation).ended(age_from, age_from + gap)
            else:
                learned.of(operation).alive(age_from, age_from + gap)
    read = Durations.from_json(learned.to_json())
    assert read.to_json() == learned.to_json()
    assert list(read) == list(learned)
    for operation in read:
        again, first = read.of(operation), learned.of(operation)
        assert again.quantile(share, age) == first.quantile(share, age)
        assert again.odds_ended_before == first.odds_ended_before
        again.ended(0, age)
        first.ended(0, age)
        assert again.quantile(share) == first.quantile(share)


NUMBERS = [0.0] * BINS


def _stored(**changes: Any) -> dict[str, Any]:
    part = {"operation": "x", "size": 0, **OperationDurations().stored(), **changes}
    return {"version": 1, "durations": [part]}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], r"\$ must be an object, not \[\]"),
        ({}, r"\$.version must be 1, not None"),
        ({"version": 2}, r"\$.version must be 1, not 2"),
        ({"version": True}, r"\$.version must be 1, not True"),
        ({"version": 1}, r"\$.durations must be a list, not None"),
        ({"version": 1, "durations": [3]}, r"\$.durations\[0\] must be an object, not 3"),
        (
            {"version": 1, "durations": _stored()["durations"] * 2},
            r"\$.durations\[1\] has the operation and size",
        ),
        (_stored(operation=3), r"\$.durations\[0\].operation must be a string or null, not 3"),
        (_stored(size=None), r"\$.durations\[0\].size must be an integer, 0 or more, not None"),
        (_stored(count=None), r"\$.durations\[0\].count must be an integer, 0 or more, not None"),
        (_stored(count=True), r".*\.count must be an integer, 0 or more, not True"),
        (_stored(count=-1), r".*\.count must be an integer, 0 or more, not -1"),
        (_stored(first_looks=[1]), r".*\.first_looks must be a list of 2 numbers"),
        (_stored(first_looks=[2, 2]), r".*\.first_looks must be two rising numbers, greater than 0"),
        (_stored(first_looks=[0, 2]), r".*\.first_looks must be two rising numbers, greater than 0"),
        (_stored(ends=None), rf".*\.ends must be a list of {BINS} numbers"),
        (_stored(ends=NUMBERS[1:]), rf".*\.ends must be a list of {BINS} numbers"),
        (_stored(time=["1", *NUMBERS[1:]]), r".*\.time\[0\] must be a number, 0 to 1e\+15, not '1'"),
        (_stored(time=[*NUMBERS[1:], True]), rf".*\.time\[{BINS - 1}\] must be a number"),
        (_stored(time=[-1, *NUMBERS[1:]]), r".*\.time\[0\] must be a number, 0 to 1e\+15, not -1"),
        (_stored(time=[math.nan, *NUMBERS[1:]]), r".*\.time\[0\] must be a number, 0 to 1e\+15, not nan"),
        (_stored(time=[math.inf, *NUMBERS[1:]]), r".*\.time\[0\] must be a number, 0 to 1e\+15, not inf"),
    ],
)
def test_json_of_another_form_is_refused(value: object, complaint: str) -> None:
    """What `to_json` did not write is refused, with the place and what is wrong there."""
    with pytest.raises(ValueError, match=f"^{complaint}"):
        Durations.from_json(json.dumps(value))


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, math.nan])
def test_a_share_outside_of_0_and_1_has_no_quantile(share: float) -> None:
    """A share of nothing, of everything or of more has no quantile."""
    with pytest.raises(ValueError, match=r"^q must be between 0 and 1, both excluded, not "):
        OperationDurations().quantile(share)


@pytest.mark.parametrize("age", [-1, math.nan, math.inf])
def test_an_age_must_be_a_number_of_seconds(age: float) -> None:
    """What remains at an age below 0, or at none, cannot be told."""
    with pytest.raises(ValueError, match=r"^age must be a finite number of seconds, 0 or more, not "):
        OperationDurations().remaining(age)


@given(lives, ages)
def test_what_remains_is_positive(noted: list[tuple[float, float, bool]], age: float) -> None:
    """However old a task is, it still takes a time, and 90 % of tasks end later than half of them."""
    median, most = learned_from(noted).remaining(age)
    assert 0 < median < most


def test_each_operation_has_durations_of_its_own() -> None:
    """Tasks of one operation tell nothing of another one's; those of unknown operation share theirs."""
    learned = Durations()
    assert (len(learned), repr(learned)) == (0, "<Durations of 0 operations>")
    assert learned.of("a") is learned.of("a")
    assert learned.of(None) is learned.of(None) is not learned.of("a")
    assert list(learned) == []
    learned.of("a").ended(0, 5)
    learned.of(None).ended(0, 50)
    assert (list(learned), len(learned)) == (["a", None], 2)
    assert {name: durations.count for name, durations in learned.items()} == {"a": 1, None: 1}
    assert "b" not in learned
    assert learned == learned != Durations()  # noqa: PLR0124 - what is known changes: it is itself
    with pytest.raises(KeyError):
        learned["b"]


def test_batches_of_about_the_same_size_are_learned_together() -> None:
    """A batch of 100 tells nothing of one of 1; the operation's durations are those of all sizes."""
    learned = Durations()
    assert learned.of("a", 64) is learned.of("a", 100) is learned.of("a", 127)
    assert len({id(learned.of("a", items)) for items in (0, 1, 2, 4, 64, 128)}) == 6
    for _ in range(100):
        learned.of("a", 1).ended(0, 5)
        learned.of("a", 100).ended(0, 500)
        learned.of("b").ended(0, 50)
    learned.of("a").first_look(had_ended=True)
    assert learned["a"].count == 200
    assert learned["a"].odds_ended_before == 2
    assert 5 / RATIO < learned["a"].quantile(0.4) < 5 * RATIO
    assert 500 / RATIO < learned["a"].quantile(0.6) < 500 * RATIO
    assert list(learned) == ["a", "b"]


def test_a_repr_tells_the_quantiles() -> None:
    """The representation says how many ends were seen, and how long the tasks took."""
    assert repr(OperationDurations()) == "<OperationDurations: nothing seen>"
    assert repr(ended(*[20.0] * 100)).startswith("<OperationDurations of 100 tasks: median ")
