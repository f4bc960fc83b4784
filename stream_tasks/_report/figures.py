"""What is counted and measured in a report."""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from statistics import median
from typing import Final, NamedTuple

from stream_tasks._report.record import STATUSES, FailedItem, Record

__all__ = ["Figures", "Group", "bins", "quantile"]

_SLOWEST: Final = 10
_MOST_BINS: Final = 24


class Group(NamedTuple):
    """Waits that ended alike.

    Attributes:
        status: How they ended.
        kind: The type of the failure.
        records: The waits.
    """

    status: str
    kind: str
    records: list[Record]


class Figures:
    """What is counted and measured.

    Args:
        records: The waits.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many waits ended in which way."""
        found = dict.fromkeys(STATUSES, 0)
        for record in self.records:
            found[record.status] += 1
        return found

    @cached_property
    def durations(self) -> list[float]:
        """How long the waits lasted, in seconds, in rising order."""
        return sorted(record.elapsed for record in self.records)

    @cached_property
    def slowest(self) -> list[Record]:
        """The ten waits that lasted longest."""
        return sorted(self.records, key=lambda record: -record.elapsed)[:_SLOWEST]

    @cached_property
    def failures(self) -> list[Group]:
        """What did not complete, by type; the most frequent first."""
        groups: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            if record.status != "completed":
                groups.setdefault((record.status, record.kind), []).append(record)
        found = [Group(status, kind, records) for (status, kind), records in groups.items()]
        return sorted(found, key=lambda group: -len(group.records))

    @cached_property
    def failed_items(self) -> list[FailedItem]:
        """The items that failed in tasks that completed."""
        return list(chain.from_iterable(record.failed_items for record in self.records))

    @cached_property
    def polls(self) -> list[int]:
        """How often the tasks were polled, in rising order."""
        return sorted(record.polls for record in self.records)

    @cached_property
    def held(self) -> list[float]:
        """For how long the quota held back polls of those tasks of which it did, in seconds."""
        return [record.held for record in self.records if record.held]

    @cached_property
    def held_to_the_end(self) -> int:
        """How many waits timed out since the quota held their polls back."""
        return sum(record.kind == "rate_limited" for record in self.records if record.status == "timed_out")

    @cached_property
    def spans(self) -> list[tuple[Record, float, float]]:
        """Each wait with the times of its beginning and its end, in seconds from the first beginning.

        They are those of the tasks on the server if they are known of all of them; otherwise, all waits begin
        at 0.
        """
        if not self.has_server_times:
            return sorted(
                ((record, 0.0, record.elapsed) for record in self.records), key=lambda span: span[2]
            )
        known = [(record, *record.span) for record in self.records if record.span is not None]
        first = min((begun for _, begun, _ in known), default=0.0)
        last = max((ended for _, _, ended in known), default=0.0)
        spans = [
            # A task that has not ended goes on.
            (record, begun - first, (ended if record.status in ("completed", "failed") else last) - first)
            for record, begun, ended in known
        ]
        return sorted(spans, key=lambda span: span[1:])

    @cached_property
    def has_server_times(self) -> bool:
        """Whether the times of all tasks on the server are known."""
        return bool(self.records) and all(record.span is not None for record in self.records)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all values is below; between two values, in proportion.

    Args:
        values: Numbers in rising order; 0 is returned if there are none.
        share: Which share, from 0 to 1.
    """
    if share == 0.5:  # noqa: PLR2004
        return median(values) if values else 0.0
    at = (len(values) - 1) * share
    if at < 0:
        return 0.0
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def bins(durations: Iterable[float], multiple: int) -> tuple[float, int]:
    """Return the width of a histogram's columns, in seconds, and how many there are.

    Args:
        durations: What is to fit in.
        multiple: The number of columns is a multiple of this.
    """
    longest = max(durations, default=0.0)
    least = max(longest / _MOST_BINS, 0.01)
    power = 10.0 ** math.floor(math.log10(least))
    width = next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))
    return width, math.ceil((longest // width + 1) / multiple) * multiple
