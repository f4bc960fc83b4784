"""How tasks go on."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import Attribute, asdict, field, frozen

from stream_tasks.testing._checks import (
    check_each_text,
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

__all__ = ["STEPS", "FakeTask", "Result", "TaskFailure", "TaskScript"]

Result: TypeAlias = Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None

STEPS: Final = ("pending", "running")
"""What a task is before it is final, unless a test says otherwise."""

_FINAL: Final = ("completed", "failed")
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
        TypeError: One is no text.
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


def _texts(statuses: Iterable[str]) -> tuple[str, ...]:
    return check_each_text("statuses", statuses)


def _sendable(_: object, attribute: "Attribute[Any]", value: Result) -> None:
    if not callable(value):
        _check_result(attribute.name, value, "a mapping, a function that makes one, or None")


def _check_result(name: str, result: Mapping[str, Any] | None, allowed: str) -> None:
    if result is not None:
        check_kind(name, result, Mapping, allowed)
        check_json(name, result)


@frozen
class TaskScript:
    """The life of one task.

    Attributes:
        statuses: What the task is before it is final. By poll count each poll sees the next one; by time they
            share `after` evenly. Final and unknown statuses are fine.
        after: Seconds until the task is final; None to go by poll count, `math.inf` for never.
        never: Whether the task is never final, which sets `after`.
        result: The result of the completed task: a mapping, a function of the poll's number (from 1) that
            makes one, or None for none.
        error: The error of the failed task, or None.
        final: The last status; None for ``failed`` if there is an error, else ``completed``.
        visible_after: Seconds in which the task is not found, as with Stream's eventual consistency.
    """

    statuses: tuple[str, ...] = field(default=STEPS, converter=_texts)
    after: float | None = field(default=None, validator=pause_or_none)
    never: bool = field(default=False, validator=flag)
    result: Result = field(default=None, validator=_sendable)
    error: Mapping[str, Any] | None = field(default=None, converter=_wire_error)
    final: str | None = field(default=None, validator=text_or_none)
    visible_after: float = field(default=0.0, validator=pause)

    def __attrs_post_init__(self) -> None:
        if self.never and self.after not in (None, math.inf):
            raise ValueError(f"after must not be given for a task that never ends, and is {self.after!r}")
        if self.never:
            object.__setattr__(self, "after", math.inf)

    @property
    def last(self) -> str:
        """The status that stands for ever."""
        return self.final or ("completed" if self.error is None else "failed")

    def status(self, polls: int, elapsed: float) -> tuple[str, float | None]:
        """Return the status that a poll sees, and since when it stands if that is known.

        Args:
            polls: How many polls there were before this one.
            elapsed: Seconds since the task began; the answer's moment counts from there, too.
        """
        if self.after is None:
            return (self.statuses[polls] if polls < len(self.statuses) else self.last), None
        if elapsed >= self.after:
            return self.last, self.after
        statuses = self.statuses or ("running",)
        last = len(statuses) - 1
        if math.isinf(self.after):
            return statuses[min(polls, last)], None
        share = self.after / len(statuses)
        index = min(int(elapsed / share), last)
        return statuses[index], index * share


class FakeTask:
    """A task on the server.

    Args:
        task_id: Its id.
        script: How it goes on.
        time: The server's time; the task begins now.
        origin: The operation that started it, or None.

    Attributes:
        status: Its status, as the last poll saw it.
        earlier: How many polls of its id there were before it came.
        is_seen: Whether its end was seen.
    """

    def __init__(
        self, task_id: str, script: TaskScript, time: "ServerTime", origin: str | None = None
    ) -> None:
        self.task_id = task_id
        self.script = script
        self.origin = origin
        self.status = script.status(0, 0.0)[0]
        self.earlier = 0
        self.is_seen = False
        self._time = time
        self._created = self._updated = time.now()
        self._polls = 0
        self._encoded: bytes | None = None

    def rewrite(self, script: TaskScript) -> None:
        """Go on by another script; it counts its own polls, and its time from the task's beginning."""
        self.script = script
        self._polls = 0
        self._encoded = None

    def was_shown(self) -> None:
        """Note that an answer that shows the task has gone out."""
        self.is_seen |= self.status in _FINAL

    def body(self) -> bytes | None:
        """Count a poll and return the body of its answer, or None while the task cannot be found."""
        now = self._time.now()
        elapsed = now - self._created + _ROUNDING
        if elapsed < self.script.visible_after:
            return None
        status, since = self.script.status(self._polls, elapsed)
        self._polls += 1
        if status != self.status:
            self.status = status
            self._updated = now if since is None else self._created + since
            self._encoded = None
        if self._encoded is not None:
            return self._encoded
        body = json.dumps(self._fields()).encode()
        if not callable(self.script.result):
            self._encoded = body  # the same until the status changes
        return body

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "task_id": self.task_id,
            "status": self.status,
            "created_at": int((self._time.epoch + self._created) * _NANOSECONDS),
            "updated_at": int((self._time.epoch + self._updated) * _NANOSECONDS),
            "duration": "0.10ms",
        }
        result = self.script.result if self.status == "completed" else None
        if callable(result):
            result = result(self._polls)
            _check_result("what result returns", result, "a mapping or None")
        if result is not None:
            fields["result"] = result
        if self.status == "failed" and self.script.error is not None:
            fields["error"] = self.script.error
        return fields
