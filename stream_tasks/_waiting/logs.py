"""What becomes of waits, told to the logger ``stream_tasks``: each record has an ``event`` and its facts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from stream_tasks.exceptions import StreamWaitTimeoutException, one_line

if TYPE_CHECKING:
    from stream_tasks._waiting.polling import Waiter, Watch
    from stream_tasks.models import Task

__all__ = ["KNOWN_STATUSES", "WaitLog"]

logger = logging.getLogger("stream_tasks")

KNOWN_STATUSES: Final = frozenset({"pending", "waiting", "running", "completed", "failed"})

QUIET: Final = 1.0
"""Where bad moments alternate with good ones, there is one warning in so many seconds."""


class WaitLog:
    """The records of one client on one event loop."""

    def __init__(self) -> None:
        self.trouble_since: float | None = None
        self.is_heard = False
        self._warned_at = -QUIET
        self._unknown_statuses: set[str] = set()

    def started(self, waiter: Waiter) -> None:
        """Tell that a wait begins."""
        self.is_heard = logger.isEnabledFor(logging.INFO)
        if self.is_heard:
            limit = "without a limit" if waiter.timeout is None else f"for at most {waiter.timeout:g} s"
            extra = {"event": "wait_started", "task_id": waiter.task_id, "timeout": waiter.timeout}
            logger.info("waiting for task %s %s", one_line(waiter.task_id), limit, extra=extra)

    def ended(self, waiter: Waiter, now: float) -> None:
        """Tell how a wait ended."""
        event, how = "wait_finished", "has ended"
        if not waiter.is_done:
            event, how = "wait_cancelled", "was cancelled"
        elif isinstance(waiter.error, StreamWaitTimeoutException):
            event, how = "wait_timed_out", "timed out"
        logger.info(
            "the wait for task %s %s",
            one_line(waiter.task_id),
            how,
            extra={
                "event": event,
                "task_id": waiter.task_id,
                "status": None if waiter.task is None else waiter.task.status,
                "attempt": waiter.polls,
                "duration": now - waiter.started,
                **_facts(waiter.error),
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

    def failed(self, watch: Watch, failure: Exception, now: float) -> None:
        """Tell of a trouble that begins."""
        if self.trouble_since is not None:
            return
        self.trouble_since = now
        level = logging.WARNING if now - self._warned_at >= QUIET else logging.INFO
        if level == logging.WARNING:
            self._warned_at = now
        logger.log(
            level,
            "looking at task %s failed (%s): retrying until it is answered or the wait elapses",
            one_line(watch.task_id),
            failure,
            extra={
                "event": "retrying",
                "task_id": watch.task_id,
                "status": None if watch.task is None else watch.task.status,
                "attempt": max((waiter.polls for waiter in watch.waiters), default=0),
                "delay": max(watch.retry_at - now, 0.0),
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
