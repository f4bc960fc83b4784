"""What events say in numbers: the same for all back ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from stream_tasks.instrumentation._events import Event, PollEnded, Resumed, WaitEnded, WaitStarted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["METRICS", "SECONDS", "Instrument", "Instruments", "Metric", "measure"]

Instrument = Literal["active", "polls", "duration", "delay", "limit", "remaining", "held"]


class Metric(NamedTuple):
    """A metric as back ends make it.

    Attributes:
        kind: What becomes of its numbers. A level goes up and down, a gauge is set.
        name: Its name after ``stream_tasks.``, as OpenTelemetry writes names.
        unit: The unit, as UCUM writes it.
        labels: The names of its labels.
        description: What it says.
    """

    kind: Literal["level", "counter", "histogram", "gauge"]
    name: str
    unit: str
    labels: tuple[str, ...]
    description: str


METRICS: Final[Mapping[Instrument, Metric]] = {
    "active": Metric("level", "waits.active", "{wait}", ("operation",), "Waits under way."),
    "polls": Metric("counter", "polls", "{poll}", ("operation", "outcome"), "Polls by what became of them."),
    "duration": Metric(
        "histogram", "wait.duration", "s", ("operation", "outcome"), "How long waits took, by how they ended."
    ),
    "delay": Metric(
        "histogram", "notice.delay", "s", ("operation",),
        "From when the server says that a task ended until its wait ended.",
    ),
    "limit": Metric("gauge", "quota.limit", "{call}", (), "Calls that the quota allows in its window."),
    "remaining": Metric("gauge", "quota.remaining", "{call}", (), "Calls that were left of the quota."),
    "held": Metric("counter", "held.time", "s", ("reason",), "For how long polls were held back."),
}  # fmt: skip
"""All metrics. Their labels have few values: no ids."""


SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""The bounds of histograms' buckets, in seconds. Tasks take from a moment to an hour."""

UNKNOWN: Final = "unknown"
"""The operation of tasks of which only the id is known."""


class Instruments(Protocol):
    """What a back end does with a number."""

    def record(self, instrument: Instrument, number: float, /, **labels: str) -> None:
        """Add a number to a level or a counter, observe it, or set a gauge to it."""
        ...


def measure(event: Event, instruments: Instruments) -> None:
    """Record the numbers of an event."""
    record = instruments.record
    match event:
        case WaitStarted():
            record("active", 1, operation=event.operation or UNKNOWN)
        case PollEnded():
            record("polls", 1, operation=event.operation or UNKNOWN, outcome=event.reason or "answered")
            if event.rate_limit is not None:
                record("limit", event.rate_limit.limit)
                record("remaining", event.rate_limit.remaining)
        case Resumed():
            record("held", event.seconds, reason=event.reason)
        case WaitEnded():
            operation = event.operation or UNKNOWN
            record("active", -1, operation=operation)
            record("duration", event.seconds, operation=operation, outcome=event.outcome)
            delay = _delay(event)
            if delay is not None:
                record("delay", delay, operation=operation)


def _delay(event: WaitEnded) -> float | None:
    """Return how long after a task's end its wait ended, in seconds.

    Returns:
        None if the task has not ended, or had ended before the wait began.
    """
    if event.outcome not in ("completed", "failed") or event.task is None:
        return None
    delay = (datetime.now(UTC) - event.task.updated_at).total_seconds()
    # The server's clock may be a little ahead.
    return max(delay, 0.0) if delay <= event.seconds else None
