"""How a wait for one task ended, as the command line writes it down."""

import json
import math
from typing import Any, Final, Self

import attrs
from attrs import frozen

from stream_tasks.cli import _codes
from stream_tasks.cli._output import printable
from stream_tasks.exceptions import (
    StreamApiException,
    StreamException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import TaskError, TaskOutcome

__all__ = ["Ending", "concerns_all"]

_EXIT_CODES: Final = {
    "completed": 0,
    "failed": _codes.FAILED,
    "timed_out": _codes.TIMED_OUT,
    "error": _codes.ERROR,
}
_DENIED: Final = (401, 403)


@frozen
class Ending:
    """How a wait for one task ended: one JSON object of the command line's.

    Attributes:
        task_id: The task, or None when the server had done its work at once.
        status: ``completed`` or ``failed``; ``timed_out`` when the task was not seen to end; ``error``
            when it could not be asked for, or its answer does not fit.
        last_status: The status that the server told last, or None when it told none.
        result: The payload of a completed task, or None.
        error: What went wrong, or None: ``type``, ``description``, ``stacktrace``, ``version``.
        polls: How often the task was asked for.
        elapsed: How long the wait lasted, in seconds.
    """

    task_id: str | None
    status: str
    last_status: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    polls: int = 0
    elapsed: float = 0.0

    @classmethod
    def of(cls, outcome: TaskOutcome[Any]) -> Self:
        """Write down an outcome."""
        failure = outcome.exception()
        task = outcome.task
        return cls(
            outcome.task_id,
            _status(failure),
            None if task is None else task.status,
            _payload(outcome) if failure is None else None,
            None if failure is None else attrs.asdict(_error(failure)),
            outcome.polls,
            round(outcome.elapsed, 3),
        )

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read what `to_json` wrote, perhaps by another version.

        Raises:
            ValueError: It is nothing of the kind.
        """
        try:
            fields = json.loads(line)
        except ValueError:
            raise ValueError("it is not JSON") from None
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004 - a line is a text
        if not isinstance(fields.get("task_id"), str) or not isinstance(fields.get("status"), str):
            raise ValueError("'task_id' and 'status' must be texts")  # noqa: TRY004
        if not isinstance(fields.get("error"), dict | None):
            raise ValueError("'error' must be an object")  # noqa: TRY004
        elapsed = fields.get("elapsed", 0.0)
        if not isinstance(elapsed, int | float) or not 0 <= elapsed < math.inf:
            raise ValueError("'elapsed' must be a number of seconds")
        known = attrs.fields_dict(cls)
        return cls(**{name: value for name, value in fields.items() if name in known})

    def to_json(self) -> str:
        """Write one line, without its end."""
        return json.dumps(attrs.asdict(self, recurse=False))

    @property
    def is_final(self) -> bool:
        """Whether the task itself has ended, so that there is nothing left to ask."""
        return self.status in ("completed", "failed")

    @property
    def exit_code(self) -> int:
        """What the command exits with when this is the worst that happened."""
        return _EXIT_CODES[self.status]

    @property
    def trouble(self) -> str:
        """What went wrong, as a sentence for people."""
        kind, description = self._error
        if self.status == "failed":
            return printable(f"task {self.task_id} failed ({kind}): {description}".removesuffix(": "))
        # A time-out names its task by itself.
        prefix = "" if self.status == "timed_out" else f"task {self.task_id}: "
        return printable(f"{prefix}{description}")

    @property
    def note(self) -> str:
        """What came of it in a few words, for a row that names the task already."""
        kind, description = self._error
        if self.status == "completed":
            return printable(json.dumps(self.result, ensure_ascii=False)) if self.result else ""
        if self.status == "timed_out":
            return kind.replace("_", " ")
        return printable(
            description if self.status == "error" else f"{kind}: {description}".removesuffix(": ")
        )

    @property
    def _error(self) -> tuple[str, str]:
        error = self.error or {}
        return str(error.get("type", "unknown")), str(error.get("description", ""))


def concerns_all(failure: BaseException | None) -> bool:
    """Whether nothing else can be asked for either: the credentials are refused, or nobody is there."""
    if isinstance(failure, StreamApiException):
        return failure.status_code in _DENIED
    # Only what no other try would mend ends a wait.
    return isinstance(failure, StreamTransportException) and not isinstance(
        failure, StreamWaitTimeoutException
    )


def _status(failure: Exception | None) -> str:
    if failure is None:
        return "completed"
    if isinstance(failure, StreamTaskException):
        return "failed"
    return "timed_out" if isinstance(failure, StreamWaitTimeoutException) else "error"


def _payload(outcome: TaskOutcome[Any]) -> Any:
    if outcome.task is not None:
        return outcome.task.result or {}
    value = outcome.result()
    return attrs.asdict(value) if attrs.has(type(value)) else value


def _error(failure: Exception) -> TaskError:
    if isinstance(failure, StreamTaskException):
        return TaskError(failure.error_type, failure.description, failure.stack_trace, failure.version)
    description = str(failure)
    if isinstance(failure.__cause__, StreamException):
        description += f"; the last failure: {failure.__cause__}"
    return TaskError(_kind(failure), description)


def _kind(failure: Exception) -> str:
    if isinstance(failure, StreamWaitTimeoutException):
        return failure.reason
    if isinstance(failure, StreamApiException):
        return f"http_{failure.status_code}"
    if isinstance(failure, StreamTransportException):
        return failure.error_type
    return "undecodable"
