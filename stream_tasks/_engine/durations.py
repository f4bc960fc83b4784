"""How long tasks take, learned from the ones that ended and the ones that still run.

Pure: ages and durations are seconds and come as arguments.

`Hazard` divides age into bins, each longer than the one before by a constant ratio. It counts the ends in
each bin, and the time that tasks were seen to live in it. Ends divided by time is the hazard: the probability
per second that a task of this age ends now. A task that still runs is evidence too: it lived through all bins
up to the age at which it was last seen alive.

Three rules:

- Without evidence the hazard is 1 / age: a task is as likely to end before its age doubles, whatever the
  unit of time. This prior weighs as much as a tenth of an end in each bin.
- Evidence fades: what was counted weighs half after `HALF_LIFE` more ends.
- The first bin and the last one have no ratio: the first begins at 0, the last has no end.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from stream_tasks._engine.tuning import (
    BINS,
    FADE_EVERY,
    FIRST_EDGE,
    HALF_LIFE,
    MIN_ENDS,
    PRIOR,
    PRIOR_OF_QUANTILES,
    RATIO,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Durations", "OperationDurations", "as_durations"]

MOST_COUNTED: Final = 1e15
"""More than this in a bin of a stored value is a mistake."""

VERSION: Final = 1
"""The version of the JSON form. Change it with the bins and what is kept."""

_EDGES: Final = (0.0, *(FIRST_EDGE * RATIO**i for i in range(BINS - 1)), math.inf)
_PRIOR_TIME: Final = (
    PRIOR * FIRST_EDGE,
    *(PRIOR * edge * math.sqrt(RATIO) for edge in _EDGES[1:-1]),
)
_FADE: Final = 0.5 ** (FADE_EVERY / HALF_LIFE)


class Hazard:
    """The probability per second that a task ends now, by its age: learned, and what follows from it.

    Attributes:
        count: The number of ends that were seen.
    """

    __slots__ = ("_ends", "_first_looks", "_had_ended", "_hazard", "_time", "count")

    def __init__(self) -> None:
        self.count = 0
        self._ends = [0.0] * BINS
        self._time = [0.0] * BINS
        # Always (ends + prior) / (time + prior time).
        self._hazard = [PRIOR / time for time in _PRIOR_TIME]
        # Of tasks of unknown age. One of two, until something is known.
        self._had_ended, self._first_looks = 1.0, 2.0

    def alive(self, age_from: float, age_to: float) -> None:
        """Note that a task lived from one age to another. Each part of a life counts once.

        Args:
            age_from: The age up to which its life was noted, in seconds.
            age_to: The age at which it was seen alive, in seconds.
        """
        if age_to <= age_from:
            return
        ends, time, hazard = self._ends, self._time, self._hazard
        i = bisect_right(_EDGES, age_from) - 1
        while True:
            edge = _EDGES[i + 1]
            time[i] += (edge if edge < age_to else age_to) - age_from
            hazard[i] = (ends[i] + PRIOR) / (time[i] + _PRIOR_TIME[i])
            if edge >= age_to:
                return
            age_from = edge
            i += 1

    def ended(self, age_alive: float, duration: float) -> None:
        """Note that a task ended.

        Args:
            age_alive: The age up to which its life was noted, in seconds; 0 if it was not.
            duration: The age at which it ended, by the server's clock, in seconds.
        """
        duration = max(duration, 0.0)
        self.alive(age_alive, duration)
        i = bisect_right(_EDGES, duration) - 1
        self._ends[i] += 1
        self._hazard[i] = (self._ends[i] + PRIOR) / (self._time[i] + _PRIOR_TIME[i])
        self.count += 1
        if self.count % FADE_EVERY == 0:
            self._ends = [_FADE * ends for ends in self._ends]
            self._time = [_FADE * time for time in self._time]
            self._refresh()

    def first_look(self, *, had_ended: bool) -> None:
        """Note what the first look at a task of unknown age saw.

        Args:
            had_ended: Whether the task had ended before the wait for it began.
        """
        self._first_looks += 1
        self._had_ended += had_ended
        if self._first_looks > HALF_LIFE:
            self._first_looks /= 2
            self._had_ended /= 2

    @property
    def odds_ended_before(self) -> float:
        """The odds that a task of unknown age had ended before the wait for it began."""
        return self._had_ended / (self._first_looks - self._had_ended)

    def accrued(self, age_alive: float, age: float, hazard_before: float = 0.0) -> float:
        """Return the expected delay that has accrued: what a poll now is worth.

        If the task ended at age u, its end has been unnoticed for (age - u) seconds. So this is the
        integral of (age - u) h(u) du from `age_alive` to `age`, with h the hazard.

        Args:
            age_alive: The age at which the task was last seen alive, in seconds.
            age: Its age now, in seconds.
            hazard_before: The odds that it had ended already at `age_alive`.

        Returns:
            Seconds.
        """
        if age <= age_alive:
            return 0.0
        hazard = self._hazard
        i = bisect_right(_EDGES, age_alive) - 1
        total = 0.0
        while True:
            edge = _EDGES[i + 1]
            width = (edge if edge < age else age) - age_alive
            more = hazard[i] * width
            total += (hazard_before + more / 2) * width
            if edge >= age:
                return total
            hazard_before += more
            age_alive = edge
            i += 1

    def age_at(self, age_alive: float, worth: float, hazard_before: float = 0.0) -> float:
        """Return the age at which a poll will be worth so much: the inverse of `accrued`.

        Args:
            age_alive: The age at which the task was last seen alive, in seconds.
            worth: The expected delay, in seconds; greater than 0.
            hazard_before: The odds that it had ended already at `age_alive`.

        Returns:
            Seconds.
        """
        hazard = self._hazard
        i = bisect_right(_EDGES, age_alive) - 1
        while True:
            width = _EDGES[i + 1] - age_alive
            more = hazard[i] * width
            brings = (hazard_before + more / 2) * width
            if brings >= worth:
                # The root of hazard_before * x + hazard * x**2 / 2 = worth, in its stable form.
                root = math.sqrt(hazard_before * hazard_before + 2 * hazard[i] * worth)
                return age_alive + 2 * worth / (hazard_before + root)
            worth -= brings
            hazard_before += more
            age_alive += width
            i += 1

    def _refresh(self) -> None:
        self._hazard = [
            (ends + PRIOR) / (time + prior_time)
            for ends, time, prior_time in zip(self._ends, self._time, _PRIOR_TIME, strict=True)
        ]


class OperationDurations(Hazard):
    """How long the tasks of one operation take: see `Durations`.

    Attributes:
        count: The number of ends that were seen.

    Example::

        deletions = client.durations["delete_users"]
        deletions.count, deletions.quantile(0.5), deletions.quantile(0.9)
        median, most = deletions.remaining(30)  # of a task that is 30 s old
    """

    __slots__ = ()

    def quantile(self, q: float, age: float = 0.0) -> float:
        """Return the duration that a share `q` of the tasks does not exceed.

        Args:
            q: The share, between 0 and 1, both excluded.
            age: Count only tasks that are alive at this age, in seconds.

        Returns:
            Seconds.

        Raises:
            ValueError: An argument is out of range.

        Example::

            median = client.durations["export_channels"].quantile(0.5)
        """
        if not 0 < q < 1:
            raise ValueError(f"q must be between 0 and 1, both excluded, not {q!r}")
        if not 0 <= age < math.inf:
            raise ValueError(f"age must be a finite number of seconds, 0 or more, not {age!r}")
        left = -math.log1p(-q)
        i = bisect_right(_EDGES, age) - 1
        while True:
            # The prior weighs less here: otherwise a few ends would not outweigh it in many bins.
            weight = PRIOR_OF_QUANTILES / PRIOR
            hazard = (self._ends[i] + PRIOR_OF_QUANTILES) / (self._time[i] + weight * _PRIOR_TIME[i])
            brings = hazard * (_EDGES[i + 1] - age)
            if brings >= left:
                return age + left / hazard
            left -= brings
            age = _EDGES[i + 1]
            i += 1

    def remaining(self, age: float) -> tuple[float, float]:
        """Return how long a task of this age still takes: the median and the 90 % quantile.

        Args:
            age: The age, in seconds.

        Returns:
            Two numbers of seconds.

        Raises:
            ValueError: The age is negative or not finite.

        Example::

            median, most = client.durations["delete_users"].remaining(30)
        """
        return self.quantile(0.5, age) - age, self.quantile(0.9, age) - age

    def stored(self) -> dict[str, Any]:
        """Return what was learned, as JSON-safe values."""
        return {
            "count": self.count,
            "first_looks": [self._had_ended, self._first_looks],
            "ends": list(self._ends),
            "time": list(self._time),
        }

    @classmethod
    def from_stored(cls, value: Any, path: str = "$") -> Self:
        """Return what `stored` was called on.

        Args:
            value: The decoded JSON.
            path: Where it stands, for error messages.

        Raises:
            ValueError: It has another form; the message says where.
        """
        value = _mapping(value, path)
        self = cls()
        self.count = _whole(value, "count", path)
        self._had_ended, self._first_looks = _numbers(value, "first_looks", 2, path)
        if not 0 < self._had_ended < self._first_looks:
            raise ValueError(f"{path}.first_looks must be two rising numbers, greater than 0")
        self._ends = _numbers(value, "ends", BINS, path)
        self._time = _numbers(value, "time", BINS, path)
        self._refresh()
        return self

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return what several ones know together, as a copy."""
        self = cls()
        for part in parts:
            its = part.stored()
            self.count += its["count"]
            # Each begins with one of two.
            self._had_ended += its["first_looks"][0] - 1
            self._first_looks += its["first_looks"][1] - 2
            self._ends = [a + b for a, b in zip(self._ends, its["ends"], strict=True)]
            self._time = [a + b for a, b in zip(self._time, its["time"], strict=True)]
        self._refresh()
        return self

    def __repr__(self) -> str:
        if not self.count:
            return "<OperationDurations: nothing seen>"
        median, most = self.quantile(0.5), self.quantile(0.9)
        return f"<OperationDurations of {self.count} tasks: median {median:.3g} s, 90 % within {most:.3g} s>"


class Durations(Mapping[str | None, OperationDurations]):
    """How long tasks take, by operation: a mapping that clients fill as they see tasks end.

    Tasks of which only the id is known, so that their operation is not, are under None. What an operation is
    mapped to is a copy of what is known of it now. Batches of about the same size are learned together: of 1,
    of 2 or 3, of 4 to 7 items, and so on; the copy is of all sizes.

    Clients may share one: what one of them learns, all know.

    Example::

        for operation, durations in client.durations.items():
            print(operation, durations.count, durations.quantile(0.5), durations.quantile(0.9))

        path.write_text(client.durations.to_json())
        ...
        client = AsyncStream(durations=path.read_text())
    """

    __slots__ = ("_durations",)

    def __init__(self) -> None:
        # By operation and size: the number of bits of the number of items, 0 if that is unknown.
        self._durations: dict[tuple[str | None, int], OperationDurations] = {}

    def of(self, operation: str | None, items: int = 0) -> OperationDurations:
        """Return what is known of tasks like this one, to go on learning.

        Args:
            operation: The operation; None if it is unknown.
            items: For how many items the task works; 0 if that is unknown.
        """
        key = (operation, items.bit_length())
        durations = self._durations.get(key)
        if durations is None:
            durations = self._durations[key] = OperationDurations()
        return durations

    def likeliest(self, operation: str | None, items: int = 0) -> OperationDurations:
        """Return what tells most of tasks like this one: while little is known, batches of other sizes.

        Args:
            operation: The operation, None if it is not known.
            items: How many items the task is for, 0 if that is not known.
        """
        own = self.of(operation, items)
        if own.count >= MIN_ENDS:
            return own
        others = (durations for (name, _), durations in self._parts() if name == operation)
        return max(own, *others, key=lambda durations: durations.count)

    @property
    def is_of_use(self) -> bool:
        """Whether enough ends of any operation were seen to prefer some tasks to others."""
        return any(durations.count >= MIN_ENDS for _, durations in self._parts())

    def __getitem__(self, operation: str | None) -> OperationDurations:
        """Return a copy of what is known of an operation's tasks, of all sizes."""
        found = [durations for (name, _), durations in self._parts() if name == operation]
        if not any(durations.count for durations in found):
            raise KeyError(operation)
        return OperationDurations.merged(found)

    def __iter__(self) -> Iterator[str | None]:
        """Iterate over the operations of which an end was seen."""
        return iter(dict.fromkeys(name for (name, _), durations in self._parts() if durations.count))

    def __len__(self) -> int:
        return len(list(iter(self)))

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def to_json(self) -> str:
        """Write down what was learned as JSON, in one line."""
        durations = [
            {"operation": operation, "size": size, **durations.stored()}
            for (operation, size), durations in self._parts()
        ]
        return json.dumps({"version": VERSION, "durations": durations}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON.

        Returns:
            What was learned.

        Raises:
            TypeError: `text` is neither text nor bytes.
            ValueError: It is not what `to_json` wrote, or another version wrote it; the message says where.
        """
        if not isinstance(text, str | bytes):
            raise TypeError(f"text must be a str or bytes, not {type(text).__name__}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"$ must be JSON: {exc}") from exc
        version = _mapping(value, "$").get("version")
        if version != VERSION or isinstance(version, bool):
            raise ValueError(f"$.version must be {VERSION}, not {version!r}")
        parts = value.get("durations")
        if not isinstance(parts, list):
            raise ValueError(f"$.durations must be a list, not {parts!r}")  # noqa: TRY004 - a bad value
        self = cls()
        for i, part in enumerate(parts):
            path = f"$.durations[{i}]"
            operation = _mapping(part, path).get("operation")
            if operation is not None and not isinstance(operation, str):
                raise ValueError(f"{path}.operation must be a string or null, not {operation!r}")
            key = (operation, _whole(part, "size", path))
            if key in self._durations:
                raise ValueError(f"{path} has the operation and size of another one")
            self._durations[key] = OperationDurations.from_stored(part, path)
        return self

    def _parts(self) -> list[tuple[tuple[str | None, int], OperationDurations]]:
        """Return what there is now: event loops in other threads may add to it meanwhile."""
        return list(self._durations.items())

    def __repr__(self) -> str:
        return f"<Durations of {len(self)} operations>"


def as_durations(durations: Durations | str | bytes | None) -> Durations:
    """Return what a caller gave as `durations`.

    Raises:
        TypeError: It has a wrong type.
        ValueError: It is text that `Durations.to_json` did not write.
    """
    if durations is None:
        return Durations()
    if isinstance(durations, Durations):
        return durations
    if not isinstance(durations, str | bytes):
        raise TypeError(
            f"durations must be a Durations or what its to_json returned, not {type(durations).__name__}"
        )
    try:
        return Durations.from_json(durations)
    except ValueError as exc:
        raise ValueError(f"durations must be what Durations.to_json returned: {exc}") from exc


def _mapping(value: Any, path: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path} must be an object, not {value!r}")  # noqa: TRY004 - bad JSON is a bad value
    return value


def _whole(value: dict[Any, Any], name: str, path: str) -> int:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{path}.{name} must be an integer, 0 or more, not {number!r}")
    return number


def _numbers(value: dict[Any, Any], name: str, length: int, path: str) -> list[float]:
    numbers = value.get(name)
    if not isinstance(numbers, list) or len(numbers) != length:
        raise ValueError(f"{path}.{name} must be a list of {length} numbers")
    for i, number in enumerate(numbers):
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= MOST_COUNTED:
            raise ValueError(f"{path}.{name}[{i}] must be a number, 0 to {MOST_COUNTED:g}, not {number!r}")
    return [float(number) for number in numbers]
