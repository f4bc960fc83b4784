"""How the wait for one task ended."""

import json
import math
from typing import Any, Final, Self

import attrs
from attrs import field, frozen

from stream_tasks._view.text import note_of
from stream_tasks.cli import codes
from stream_tasks.cli.ui.output import printable, to_json
from stream_tasks.exceptions import (
    StreamApiException,
    StreamException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import TaskOutcome

__all__ = ["Ending", "concerns_all", "exit_code_of"]

_EXIT_CODES: Final = {
    "completed": 0,
    "failed": codes.FAILED,
    "timed_out": codes.TIMED_OUT,
    "error": codes.ERROR,
}
_DENIED: Final = (401, 403)

# The most specific first.
_EXIT_CODES_OF_ERRORS: Final = (
    (StreamTaskException, codes.FAILED),
    (StreamWaitTimeoutException, codes.TIMED_OUT),
    (StreamException, codes.ERROR),
)


@frozen
class Ending:
    """How the wait for one task ended. The command line prints it as one JSON object.

    Attributes:
        task_id: The task, or None if the server did the work at once.
        operation: The operation that started the task, or None if that is not known.
        items: The items that the operation is for, if they are known.
        saved: The file that the export was saved to, or None.
        status: ``completed`` or ``failed``; ``timed_out`` if the task did not end in time; ``error`` if it
            could not be polled, or its answer does not fit.
        last_status: The last status from the server, or None without one.
        result: The payload of a completed task, or None.
        error: What went wrong, or None: ``type``, ``description``, ``stacktrace``, ``version``.
        polls: How often the task was polled.
        elapsed: How long the wait lasted, in seconds.
        held: For how long of that the quota held back polls, in seconds; a line without it means 0.
    """

    task_id: str | None
    status: str
    last_status: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    polls: int = 0
    elapsed: float = 0.0
    operation: str | None = None
    items: list[str] = field(factory=list)
    saved: str | None = None
    held: float = 0.0

    @classmethod
    def of(cls, outcome: TaskOutcome[Any]) -> Self:
        """Convert an outcome."""
        return cls(**outcome.to_dict())

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read a line that `to_json` wrote, perhaps in another version.

        Raises:
            ValueError: The line is something else.
        """
        try:
            fields = json.loads(line)
        except ValueError:
            raise ValueError("it is not JSON") from None
        if not isinstance(fields, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - a line
        fields = {"elapsed": 0.0, "items": [], "held": 0.0, **fields}
        for name, (kind, what) in _KINDS.items():
            if not isinstance(fields.get(name), kind):
                raise ValueError(f"{name!r} must be {what}")  # noqa: TRY004 - a line
        if not 0 <= fields["elapsed"] < math.inf:
            raise ValueError("'elapsed' must be a number of seconds")
        known = attrs.fields_dict(cls)
        return cls(**{name: value for name, value in fields.items() if name in known})

    def to_json(self) -> str:
        """Return a line of JSON, without its end."""
        fields = attrs.asdict(self, recurse=False)
        if not self.held:
            del fields["held"]
        return to_json(fields)

    @property
    def is_final(self) -> bool:
        """Whether the task itself has ended."""
        return self.status in ("completed", "failed")

    @property
    def exit_code(self) -> int:
        """The exit code of a command in which nothing worse happened."""
        return _EXIT_CODES[self.status]

    @property
    def trouble(self) -> str:
        """What went wrong, in a sentence for people."""
        kind, description = self._error
        if self.status == "failed":
            return printable(f"task {self.task_id} failed ({kind}): {description}".removesuffix(": "))
        # The message of a time-out names the task already.
        prefix = "" if self.status == "timed_out" else f"task {self.task_id}: "
        return printable(f"{prefix}{description}")

    @property
    def note(self) -> str:
        """The result or the error in a few words, for a row that names the task already."""
        kind, description = self._error
        if self.status == "completed":
            return printable(to_json(self.result, ensure_ascii=False)) if self.result else ""
        return note_of(self.status, kind, description)

    @property
    def _error(self) -> tuple[str, str]:
        error = self.error or {}
        return str(error.get("type", "unknown")), str(error.get("description", ""))


_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "task_id": (str, "a text"),
    "status": (str, "a text"),
    "error": (dict | None, "an object"),
    "elapsed": (int | float, "a number of seconds"),
    "held": (int | float, "a number of seconds"),
    "items": (list, "a list"),
    "saved": (str | None, "a text"),
}
"""What a line must have."""


def concerns_all(failure: BaseException | None) -> bool:
    """Whether all other requests would fail too: the credentials are refused, or nothing can be reached."""
    if isinstance(failure, StreamApiException):
        return failure.status_code in _DENIED
    # A wait ends with a transport error only if no other try would help.
    return isinstance(failure, StreamTransportException) and not isinstance(
        failure, StreamWaitTimeoutException
    )


def exit_code_of(error: StreamException) -> int:
    """Return the exit code for an error of the client."""
    return next(code for kind, code in _EXIT_CODES_OF_ERRORS if isinstance(error, kind))
