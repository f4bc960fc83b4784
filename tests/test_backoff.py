"""Back-off turns settings into delays: clamped, never below the floor, never overflowing."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks._arguments import check_seconds
from stream_tasks._backoff import FLOOR, Backoff, as_backoff

ROUNDING = 1e-9

seconds = st.floats(0, 1e9, allow_nan=False)
factors = st.floats(1, 1e6)
shares = st.floats(0, 1)
attempts = st.integers(1, 10_000)


@st.composite
def backoffs(draw: st.DrawFn, jitters: st.SearchStrategy[float] = shares) -> Backoff:
    initial, maximum = sorted((draw(seconds), draw(seconds)))
    return Backoff(initial, maximum, draw(factors), draw(jitters))


EXTREMES = [
    Backoff(0, 0),
    Backoff(0, 30),
    Backoff(5e-324, 1.7e308, 1.7e308, 0),
    Backoff(1.7e308, 1.7e308, 1.7e308, 1),
    Backoff(1, 60, 1),
    Backoff(0.01, 0.02, 2, 1),
]


def test_delays_grow_to_the_maximum() -> None:
    """Each delay is `factor` times the one before, until the maximum."""
    backoff = Backoff(1, 60, jitter=0)
    delays = [backoff.delay(attempt) for attempt in range(1, 9)]
    assert delays == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


def test_the_defaults_double_with_a_little_jitter() -> None:
    """Without more said, a delay doubles and a tenth of it is left to chance."""
    assert (Backoff(1, 2).factor, Backoff(1, 2).jitter) == (2.0, 0.1)


@given(backoffs(), attempts)
@example(EXTREMES[0], 10_000)
@example(EXTREMES[1], 10_000)
@example(EXTREMES[2], 10_000)
@example(EXTREMES[3], 10_000)
@example(EXTREMES[4], 10_000)
@example(EXTREMES[5], 1)
def test_a_delay_lies_between_the_floor_and_the_maximum(backoff: Backoff, attempt: int) -> None:
    """Whatever the settings and however late the attempt, a delay is a finite number in range."""
    delay = backoff.delay(attempt)
    assert type(delay) is float
    assert math.isfinite(delay)
    assert delay >= FLOOR
    assert delay <= max(backoff.maximum * (1 + ROUNDING), FLOOR)


@given(backoffs(jitters=st.just(0.0)), attempts, attempts)
@example(EXTREMES[2], 1, 2)
def test_without_jitter_delays_never_shrink(backoff: Backoff, one: int, other: int) -> None:
    """A later attempt waits at least as long as an earlier one."""
    earlier, later = sorted((one, other))
    assert backoff.delay(later) >= backoff.delay(earlier) * (1 - ROUNDING)


@given(backoffs(jitters=st.just(0.0)))
def test_the_first_delay_is_the_initial_one(backoff: Backoff) -> None:
    """Growth begins after the first delay."""
    assert backoff.delay(1) == pytest.approx(max(backoff.initial, FLOOR), rel=ROUNDING)


@given(st.floats(1e-6, 1e9), factors, attempts)
@example(0.03125, 2.0, 2)
def test_a_delay_follows_the_formula(initial: float, factor: float, attempt: int) -> None:
    """The way around the overflow changes no delay."""
    try:
        grown = max(initial, FLOOR) * factor ** (attempt - 1)
    except OverflowError:
        grown = math.inf
    delay = Backoff(initial, 1e9, factor, 0).delay(attempt)
    assert delay == pytest.approx(max(min(grown, 1e9), FLOOR), rel=1e-6)


@given(backoffs(), attempts)
def test_jitter_only_shortens_a_delay_and_by_no_more_than_its_share(backoff: Backoff, attempt: int) -> None:
    """A delay with jitter lies between the share that is not left to chance and the whole."""
    whole = attrs.evolve(backoff, jitter=0.0).delay(attempt)
    delay = backoff.delay(attempt)
    assert delay <= whole * (1 + ROUNDING)
    assert delay >= max(whole * (1 - backoff.jitter) * (1 - ROUNDING), FLOOR)


def test_jitter_differs_from_delay_to_delay() -> None:
    """Many clients that start together do not stay together."""
    backoff = Backoff(10, 10, 1, 0.5)
    delays = [backoff.delay(1) for _ in range(200)]
    assert len(set(delays)) > 100
    assert min(delays) < 6.5
    assert max(delays) > 8.5


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param(
            {"initial": -1}, ValueError, "initial .* 0 or more, not -1", id="a negative initial delay"
        ),
        pytest.param({"initial": math.nan}, ValueError, "initial must be a finite .* not nan", id="a NaN"),
        pytest.param({"initial": "1"}, TypeError, "initial must be a number.* not '1'", id="a text"),
        pytest.param({"initial": None}, TypeError, "initial must be a number.* not None", id="None"),
        pytest.param(
            {"maximum": math.inf}, ValueError, "maximum must be a finite .* not inf", id="an infinite maximum"
        ),
        pytest.param(
            {"maximum": 10**400}, ValueError, "maximum must be a finite", id="an overflowing maximum"
        ),
        pytest.param(
            {"maximum": True}, TypeError, "maximum must be a number.* not True", id="a boolean maximum"
        ),
        pytest.param(
            {"maximum": 0.5},
            ValueError,
            r"maximum must be at least initial \(1\), not 0\.5",
            id="a maximum too small",
        ),
        pytest.param(
            {"factor": 0.5}, ValueError, r"factor must be .*1 or more, not 0\.5", id="a shrinking factor"
        ),
        pytest.param({"factor": -1}, ValueError, "factor must .*, not -1", id="a negative factor"),
        pytest.param(
            {"factor": math.inf}, ValueError, "factor must be a finite .* not inf", id="an infinite factor"
        ),
        pytest.param({"factor": []}, TypeError, r"factor must be a number.* not \[\]", id="a list as factor"),
        pytest.param(
            {"jitter": 1.1},
            ValueError,
            r"jitter must be .*between 0 and 1, not 1\.1",
            id="more than all to chance",
        ),
        pytest.param({"jitter": -0.1}, ValueError, r"jitter must .*, not -0\.1", id="a negative jitter"),
        pytest.param(
            {"jitter": math.nan}, ValueError, "jitter must be a finite .* not nan", id="a NaN jitter"
        ),
        pytest.param(
            {"jitter": True}, TypeError, "jitter must be a number.* not True", id="a boolean jitter"
        ),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The message names the parameter, what was given and what is allowed."""
    with pytest.raises(kind, match=message):
        Backoff(**({"initial": 1, "maximum": 60} | arguments))


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        pytest.param({"factor": -1}, "1 or more", id="a negative factor"),
        pytest.param({"jitter": -1}, "between 0 and 1", id="a negative jitter"),
    ],
)
def test_the_message_tells_the_range_that_is_allowed(arguments: dict[str, Any], allowed: str) -> None:
    """A caller who follows the message gets it right at once."""
    with pytest.raises(ValueError, match=allowed):
        Backoff(1, 60, **arguments)


def test_a_backoff_is_a_frozen_value() -> None:
    """It can be shared between waits, compared, and used as a key."""
    backoff: Any = Backoff(1, 60)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        backoff.initial = 2
    assert backoff == Backoff(1.0, 60.0)
    assert {backoff: 1}[Backoff(1, 60)] == 1


@given(seconds, attempts)
@example(0, 1)
@example(1, 10_000)
def test_a_number_is_a_constant_delay(interval: float, attempt: int) -> None:
    """A poll interval as a number stays what it is, without jitter, but for the floor."""
    assert as_backoff(interval).delay(attempt) == max(interval, FLOOR)


def test_a_backoff_is_taken_as_it_is() -> None:
    """What is a Backoff already is not copied."""
    backoff = Backoff(1, 60)
    assert as_backoff(backoff) is backoff


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param(-0.001, ValueError, id="negative"),
        pytest.param(math.nan, ValueError, id="NaN"),
        pytest.param(math.inf, ValueError, id="infinite"),
        pytest.param(-math.inf, ValueError, id="infinitely negative"),
        pytest.param(10**400, ValueError, id="too large for a float"),
        pytest.param("1", TypeError, id="a text"),
        pytest.param(None, TypeError, id="None"),
        pytest.param(False, TypeError, id="a boolean"),
        pytest.param(1j, TypeError, id="a complex number"),
        pytest.param(Decimal(1), TypeError, id="a Decimal, which is no Real"),
        pytest.param((1, 60), TypeError, id="a pair"),
    ],
)
def test_a_wrong_poll_interval_is_refused(value: Any, kind: type[Exception]) -> None:
    """Negative, NaN, infinite and non-numeric intervals are errors that name the parameter."""
    with pytest.raises(kind, match=r"^poll_interval must be a (finite )?number of seconds"):
        as_backoff(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, 0.0, id="zero"),
        pytest.param(5, 5.0, id="an integer"),
        pytest.param(0.25, 0.25, id="a float"),
        pytest.param(Fraction(1, 4), 0.25, id="a fraction"),
    ],
)
def test_seconds_are_any_real_number(value: Any, expected: float) -> None:
    """Whatever real number it was, it comes back as a float."""
    checked = check_seconds("timeout", value)
    assert type(checked) is float
    assert checked == expected


def test_zero_is_refused_where_it_makes_no_sense() -> None:
    """A request time-out of nothing is an error that says what is allowed."""
    with pytest.raises(ValueError, match=r"request_timeout must be a finite .* greater than 0, not 0"):
        check_seconds("request_timeout", 0, positive=True)
    assert check_seconds("request_timeout", 0.1, positive=True) == 0.1
