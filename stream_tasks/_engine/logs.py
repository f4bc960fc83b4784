"""What becomes of waits, told to the logger ``stream_tasks``: each record has an ``event`` and its facts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from stream_tasks._engine.tuning import WARNING_INTERVAL
from stream_tasks.exceptions import StreamWaitTimeoutException, one_line

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
        self.is_heard = False
        self._warned_at = -WARNING_INTERVAL
        self._unknown_statuses: set[str] = set()

    def started(self, wait: Wait) -> None:
        """Tell that a wait begins."""
        self.is_heard = logger.isEnabledFor(logging.INFO)
        if self.is_heard:
            limit = (
                "without a limit" if wait.terms.timeout is None else f"for at most {wait.terms.timeout:g} s"
            )
            extra = {"event": "wait_started", "task_id": wait.task_id, "timeout": wait.terms.timeout}
            logger.info("waiting for task %s %s", one_line(wait.task_id), limit, extra=extra)

    def ended(self, wait: Wait, now: float) -> None:
        """Tell how a wait ended."""
        event, how = "wait_finished", "has ended"
        if wait.ended_at is None:
            event, how = "wait_cancelled", "was cancelled"
        elif isinstance(wait.error, StreamWaitTimeoutException):
            event, how = "wait_timed_out", "timed out"
        logger.info(
            "the wait for task %s %s",
            one_line(wait.task_id),
            how,
            extra={
                "event": event,
                "task_id": wait.task_id,
                "status": None if wait.task is None else wait.task.status,
                "attempt": wait.polls,
                "duration": now - wait.terms.started,
                **_facts(wait.error),
            },
        )

    def answered(self, task: Task, now: float) -> None:
        """Tell that a trouble is over, and of a status that is new."""
        if self.trouble_since is not None:
            logger.info(
                "task %s was looked at again",
                one_line(task.task_id),
                extra={
                    "event": "resumed",
                    "task_id": task.task_id,
                    "status": task.status,
                    "duration": now - self.trouble_since,
                },
            )
            self.trouble_since = None
        status = task.status
        if status not in KNOWN_STATUSES and status not in self._unknown_statuses:
            self._unknown_statuses.add(status)
            logger.warning(
                "task %s has the unknown status %r: it counts as unfinished",
                one_line(task.task_id),
                one_line(status),
                extra={"event": "status_unknown", "task_id": task.task_id, "status": status},
            )

    def failed(self, tracked: TrackedTask, failure: Exception, now: float) -> None:
        """Tell of a trouble that begins."""
        if self.trouble_since is not None:
            return
        self.trouble_since = now
        level = logging.WARNING if now - self._warned_at >= WARNING_INTERVAL else logging.INFO
        if level == logging.WARNING:
            self._warned_at = now
        logger.log(
            level,
            "looking at task %s failed (%s): retrying until it is answered or the wait elapses",
            one_line(tracked.task_id),
            failure,
            extra={
                "event": "retrying",
                "task_id": tracked.task_id,
                "status": None if tracked.task is None else tracked.task.status,
                "attempt": max((wait.polls for wait in tracked.waits), default=0),
                "delay": max(tracked.retry_at - now, 0.0),
                **_facts(failure),
            },
        )


def _facts(error: Exception | None) -> dict[str, object]:
    if error is None:
        return {}
    return {
        "error_type": getattr(error, "error_type", type(error).__name__),
        "status_code": getattr(error, "status_code", None),
    }
