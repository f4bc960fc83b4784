"""How tasks go on."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import Attribute, asdict, field, frozen

from stream_tasks.testing._checks import (
    check_count,
    check_json,
    check_kind,
    flag,
    pause,
    pause_or_none,
    text,
    text_or_none,
)

if TYPE_CHECKING:
    from stream_tasks.testing._clock import ServerTime

__all__ = ["STEPS", "FakeTask", "Kind", "Result", "Status", "TaskFailure", "TaskScript", "check_status"]

Status: TypeAlias = str | int
Result: TypeAlias = Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None

STEPS: Final = ("pending", "running")
"""What a task is before it is final, unless a test says otherwise."""

_NANOSECONDS: Final = 1_000_000_000
_ROUNDING: Final = 1e-6  # seconds by which a sum of floats may fall short


@frozen
class TaskFailure:
    """Why a task failed.

    Attributes:
        type: The kind of error.
        description: What happened, for people.
        stacktrace: Where it happened; left out of the wire when None.
        version: The version of the server; left out of the wire when None.

    Raises:
        TypeError: One is not a text.
    """

    type: str = field(validator=text)
    description: str = field(default="", validator=text)
    stacktrace: str | None = field(default=None, validator=text_or_none)
    version: str | None = field(default=None, validator=text_or_none)


def _wire_error(error: Mapping[str, Any] | TaskFailure | None) -> Mapping[str, Any] | None:
    if isinstance(error, TaskFailure):
        return asdict(error, filter=lambda _, value: value is not None)
    if error is not None:
        check_kind("error", error, Mapping, "a TaskFailure or a mapping")
        check_json("error", error)
    return error


def _statuses(statuses: Iterable[Status]) -> tuple[Status, ...]:
    if isinstance(statuses, str | bytes) or not isinstance(statuses, Iterable):
        raise TypeError(f"statuses must be an iterable of statuses, not {statuses!r}")
    return tuple(statuses)


def check_status(name: str, status: object, example: Status, other: str = "") -> None:
    """Check that a status is of the same kind as another.

    Raises:
        TypeError: It is not.
        ValueError: It is a negative number.
    """
    if isinstance(example, str):
        check_kind(name, status, str, f"a text{other}")
    else:
        check_count(name, status)


def _sendable(_: object, attribute: "Attribute[Any]", value: Result) -> None:
    if not callable(value):
        _check_result(attribute.name, value, "a mapping, a function that makes one, or None")


def _check_result(name: str, result: Mapping[str, Any] | None, allowed: str) -> None:
    if result is not None:
        check_kind(name, result, Mapping, allowed)
        check_json(name, result)


@frozen(kw_only=True)
class TaskScript:
    """The life of one task, or of other work.

    Attributes:
        statuses: What the task is before it is final. By poll count each poll sees the next one; by time they
            share `after` evenly. Final and unknown statuses are fine.
        ends: The last statuses, unless `final` is another: of what completed and of what failed.
        after: Seconds until the task is final; None to go by poll count, `math.inf` for never.
        never: Whether the task is never final, which sets `after`.
        result: The result of the completed task: a mapping, a function of the poll's number (from 1) that
            makes one, or None for none.
        error: The error of the failed task, or None.
        final: The last status; None for one of `ends`.
        visible_after: Seconds in which the task is not found, as with Stream's eventual consistency.
    """

    statuses: tuple[Status, ...] = field(default=STEPS, converter=_statuses)
    ends: tuple[Status, Status] = ("completed", "failed")
    after: float | None = field(default=None, validator=pause_or_none)
    never: bool = field(default=False, validator=flag)
    result: Result = field(default=None, validator=_sendable)
    error: Mapping[str, Any] | None = field(default=None, converter=_wire_error)
    final: Status | None = None
    visible_after: float = field(default=0.0, validator=pause)

    def __attrs_post_init__(self) -> None:
        for each in self.statuses:
            check_status("each of statuses", each, self.ends[0])
        if self.final is not None:
            check_status("final", self.final, self.ends[0], " or None")
        if self.never and self.after not in (None, math.inf):
            raise ValueError(f"after must not be given for a task that never ends, and is {self.after!r}")
        if self.never:
            object.__setattr__(self, "after", math.inf)

    @property
    def last(self) -> Status:
        """The status that stands for ever."""
        return self.ends[self.error is not None] if self.final is None else self.final

    def steps(self) -> list[tuple[float, Status]]:
        """Return what the task becomes, each with the seconds after which it does; [] without such times."""
        if self.after is None or math.isinf(self.after):
            return []
        statuses = self.statuses or (STEPS[-1],)
        share = self.after / len(statuses)
        return [*((index * share, status) for index, status in enumerate(statuses)), (self.after, self.last)]

    def status(self, polls: int, elapsed: float) -> tuple[float | None, Status]:
        """Return the status that a poll sees, and since when it stands if that is known.

        Args:
            polls: How many polls there were before this one.
            elapsed: Seconds since the task began; the answer's moment counts from there, too.
        """
        steps = self.steps()
        if steps:
            return [step for step in steps if step[0] <= elapsed][-1]
        if polls < len(self.statuses):
            return None, self.statuses[polls]
        if self.after is None:
            return None, self.last
        return None, (self.statuses or STEPS)[-1]


@frozen
class Kind:
    """A kind of work that clients poll.

    Attributes:
        name: What the server's messages call it.
        path: Where it is polled, with ``{id}`` for its id.
        endpoint: What Stream's rate limits call that.
        show: Returns the answer to a poll.
        steps: What it is before it is final, unless a test says otherwise.
        ends: What it is when it has completed, and when it has failed.
    """

    name: str
    path: str
    endpoint: str
    show: "Callable[[FakeTask], dict[str, Any]]" = field(repr=False)
    steps: tuple[Status, ...] = STEPS
    ends: tuple[Status, Status] = ("completed", "failed")

    def script(
        self, *, statuses: Iterable[Status] | None = None, final: Status | None = None, **more: Any
    ) -> TaskScript:
        """Return a script for such work; see `TaskScript`.

        A task has ended only if it is ``completed`` or ``failed``. Other work has ended in whatever is its
        last status.
        """
        ends = self.ends
        if final is not None and self.name != "task":
            check_status("final", final, ends[0], " or None")
            ends, final = (final, ends[1]), None
        return TaskScript(
            statuses=self.steps if statuses is None else statuses, ends=ends, final=final, **more
        )


class FakeTask:
    """A task on the server, or other work that clients poll.

    Args:
        kind: What it is.
        ids: Its id, and others by which it can be asked for.
        script: How it goes on.
        time: The server's time; the task begins now.
        origin: The operation that started it, or None.
        details: What else answers show of it.

    Attributes:
        status: Its status, as the last poll saw it.
        history: When its status changed, from what and to what.
        earlier: How many polls of its id there were before it came.
        is_seen: Whether its end was seen.
    """

    def __init__(
        self,
        kind: Kind,
        ids: tuple[str, ...],
        script: TaskScript,
        time: "ServerTime",
        *,
        origin: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.ids = ids
        self.script = script
        self.origin = origin
        self.details = details or {}
        self.earlier = 0
        self.is_seen = False
        self._time = time
        self._encoded: dict[Kind, bytes] = {}
        self.rewind()

    @property
    def task_id(self) -> str:
        """Its id."""
        return self.ids[0]

    @property
    def created_at(self) -> int:
        """When it began, as answers show it."""
        return self.shown(self._created)

    @property
    def updated_at(self) -> int:
        """When its status last changed, as answers show it."""
        return self.shown(self.history[-1][0] if self.history else self._created)

    def shown(self, moment: float) -> int:
        """Return a moment of the server's clock as answers show it."""
        return int((self._time.epoch + moment) * _NANOSECONDS)

    def rewrite(self, script: TaskScript) -> None:
        """Go on by another script; it counts its own polls, and its time from the task's beginning."""
        self.script = script
        self._polls = 0
        self._encoded.clear()

    def rewind(self) -> None:
        """Begin anew, by the same script."""
        self._created = self._time.now()
        self.status = self.script.status(0, 0.0)[1]
        self.history: list[tuple[float, Status, Status]] = []
        self.rewrite(self.script)

    def was_shown(self) -> None:
        """Note that an answer that shows the task has gone out."""
        self.is_seen |= self.status in self.script.ends

    def body(self, kind: Kind) -> bytes | None:
        """Count a poll and return the body of its answer, or None while the task cannot be found."""
        now = self._time.now()
        elapsed = now - self._created + _ROUNDING
        if elapsed < self.script.visible_after:
            return None
        since, status = self.script.status(self._polls, elapsed)
        self._polls += 1
        if status != self.status:
            self._move(now if since is None else self._created + since, status)
        if kind not in self._encoded:
            body = json.dumps({**kind.show(self), "duration": "0.10ms"}).encode()
            if callable(self.script.result):
                return body
            self._encoded[kind] = body  # the same until the status changes
        return self._encoded[kind]

    def _move(self, moment: float, status: Status) -> None:
        """Note a new status, and those that nobody has seen since the last poll."""
        begun = self.history[-1][0] if self.history else self._created
        steps = [(self._created + since, each) for since, each in self.script.steps()]
        for at, each in [*(step for step in steps if begun < step[0] < moment), (moment, status)]:
            if each != self.status:
                self.history.append((at, self.status, each))
                self.status = each
        self._encoded.clear()

    def result(self, poll: int | None = None) -> Mapping[str, Any] | None:
        """Return the result, made anew for this poll if it is a function; None for the last poll."""
        result = self.script.result
        if callable(result):
            result = result(self._polls if poll is None else poll)
            _check_result("what result returns", result, "a mapping or None")
        return result
