"""What becomes of waits, told to the logger ``stream_tasks``: each record has an event and its facts.

They are attributes whose names begin with ``stream_``. Handlers that copy all attributes of a record, as
structlog's do, then overwrite nothing of their own, such as ``event``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from stream_tasks._engine.tuning import WARNING_INTERVAL
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_UNKNOWN,
    StreamTransportException,
    StreamWaitTimeoutException,
    one_line,
)

if TYPE_CHECKING:
    from stream_tasks._engine.tracked import TrackedTask, Wait
    from stream_tasks.models import Task

__all__ = ["KNOWN_STATUSES", "WaitLog"]

logger = logging.getLogger("stream_tasks")

KNOWN_STATUSES: Final = frozenset({"pending", "waiting", "running", "completed", "failed"})


class WaitLog:
    """The records of one client on one event loop."""

    def __init__(self) -> None:
        self.trouble_since: float | None = None
        self._is_heard = False
        self._warned_at = -WARNING_INTERVAL
        self._unknown_statuses: set[str] = set()

    def started(self, wait: Wait) -> None:
        """Tell that a wait begins."""
        self._is_heard = logger.isEnabledFor(logging.INFO)
        if self._is_heard:
            limit = (
                "without a limit" if wait.terms.timeout is None else f"for at most {wait.terms.timeout:g} s"
            )
            _tell(
                logging.INFO, "wait_started", wait.task_id, wait.operation,
                "waiting for %s %s", limit, timeout=wait.terms.timeout,
            )  # fmt: skip

    def left(self, wait: Wait, now: float) -> None:
        """Tell how a wait ended: the failure of a task and an error are warnings."""
        if not self._is_heard and not _is_failed(wait):
            return
        level, event, how, facts = _ending(wait)
        _tell(
            level, event, wait.task_id, wait.operation, "the wait for %s %s", how,
            status=None if wait.task is None else wait.task.status,
            attempt=wait.polls,
            duration=now - wait.terms.started,
            **facts,
        )  # fmt: skip

    def answered(self, tracked: TrackedTask, task: Task, now: float) -> None:
        """Tell that a trouble is over, and of a status that is new."""
        status = task.status
        if self.trouble_since is not None:
            duration = now - self.trouble_since
            self.trouble_since = None
            _tell(
                logging.INFO, "resumed", tracked.task_id, tracked.operation,
                "%s was looked at again", status=status, duration=duration,
            )  # fmt: skip
        if not isinstance(tracked.key, str):
            return  # its statuses are its own
        if status not in KNOWN_STATUSES and status not in self._unknown_statuses:
            self._unknown_statuses.add(status)
            _tell(
                logging.WARNING, "status_unknown", tracked.task_id, tracked.operation,
                "%s has the unknown status '%s': it counts as unfinished", one_line(status), status=status,
            )  # fmt: skip

    def failed(self, tracked: TrackedTask, failure: Exception, now: float) -> None:
        """Tell of a trouble that begins."""
        if self.trouble_since is not None:
            return
        self.trouble_since = now
        level = logging.WARNING if now - self._warned_at >= WARNING_INTERVAL else logging.INFO
        if level == logging.WARNING:
            self._warned_at = now
        _tell(
            level, "retrying", tracked.task_id, tracked.operation,
            "looking at %s failed (%s): retrying until it is answered or the wait elapses", failure,
            status=None if tracked.task is None else tracked.task.status,
            attempt=max((wait.polls for wait in tracked.waits), default=0),
            delay=max(tracked.retry_at - now, 0.0),
            **_facts(failure),
        )  # fmt: skip


def _tell(
    level: int,
    event: str,
    task_id: str,
    operation: str | None,
    message: str,
    *values: object,
    **facts: object,
) -> None:
    """Log a record of a task, which is the first value of the message."""
    named = f"task {one_line(task_id)}" if operation is None else f"task {one_line(task_id)} ({operation})"
    facts = {"event": event, "task_id": task_id, "operation": operation, **facts}
    extra = {f"stream_{name}": fact for name, fact in facts.items()}
    logger.log(level, message, named, *values, extra=extra)


def _is_failed(wait: Wait) -> bool:
    """Whether a wait ended with a failed task or an error, other than its time-out or the client's end."""
    if wait.error is not None:
        return not isinstance(wait.error, StreamWaitTimeoutException) and not _is_closed(wait.error)
    return wait.ended_at is not None and wait.task is not None and wait.task.is_failed


def _ending(wait: Wait) -> tuple[int, str, str, dict[str, Any]]:
    """Return how a wait ended: the level, the event, what is said of it, and its facts."""
    if wait.ended_at is None:
        return logging.INFO, "wait_cancelled", "was cancelled", {}
    error = wait.error
    if isinstance(error, StreamWaitTimeoutException):
        how = f"timed out ({error.reason.replace('_', ' ')})"
        return logging.INFO, "wait_timed_out", how, {**_facts(error), "reason": error.reason}
    if error is not None:
        level = logging.INFO if _is_closed(error) else logging.WARNING
        return level, "wait_finished", f"ended with an error: {error}", _facts(error)
    if wait.task is None or not wait.task.is_failed:
        return logging.INFO, "wait_finished", "has ended", {}
    told = wait.task.error
    kind = "unknown" if told is None else told.type
    how = f"has ended: it failed ({one_line(kind)})"
    return logging.WARNING, "wait_finished", how, {"error_type": kind, "status_code": None}


def _is_closed(error: Exception) -> bool:
    """Whether a wait ended since its client was closed: only that transport error has no cause."""
    return (
        isinstance(error, StreamTransportException)
        and error.error_type == TRANSPORT_ERROR_UNKNOWN
        and error.__cause__ is None
    )


def _facts(error: Exception) -> dict[str, Any]:
    return {
        "error_type": getattr(error, "error_type", type(error).__name__),
        "status_code": getattr(error, "status_code", None),
    }
