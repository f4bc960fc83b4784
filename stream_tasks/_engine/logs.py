"""What becomes of waits, told to the logger ``stream_tasks``: each record has an event and its facts.

They are attributes whose names begin with ``stream_``. Handlers that copy all attributes of a record, as
structlog's do, then overwrite nothing of their own, such as ``event``.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final

from stream_tasks._arguments import API_PREFIX
from stream_tasks._engine.tuning import FAILURES_INTERVAL, FAILURES_SHOWN, WARNING_INTERVAL
from stream_tasks.endpoints import TASK
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_UNKNOWN,
    StreamTransportException,
    StreamWaitTimeoutException,
    one_line,
)
from stream_tasks.instrumentation._events import Held, PollEnded, WaitEnded, WaitStarted

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_tasks.instrumentation._events import Event, Resumed

__all__ = ["KNOWN_STATUSES", "TASK_ROUTE", "WaitLog"]

logger = logging.getLogger("stream_tasks")

KNOWN_STATUSES: Final = frozenset({"pending", "waiting", "running", "completed", "failed"})

TASK_ROUTE: Final = f"{API_PREFIX}{TASK.path}"
"""Where tasks are polled."""


class WaitLog:
    """The hook that writes the records of one client on one event loop.

    Of many waits that fail at about the same time, the first few are warnings. The others are told at INFO,
    and one more warning counts them.

    Args:
        now: Returns the event loop's time.

    Attributes:
        is_heard: Whether anybody wants to hear of waits that begin and end well.
        withheld: The failed waits that no warning has told or counted yet.
    """

    __slots__ = (
        "_counted_at",
        "_is_in_trouble",
        "_now",
        "_shown",
        "_shown_since",
        "_unknown_statuses",
        "_warned_at",
        "is_heard",
        "withheld",
    )

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._is_in_trouble = False
        self._warned_at = -math.inf
        self._shown = 0
        self._shown_since = -math.inf
        self._counted_at = -math.inf
        self._unknown_statuses: set[str] = set()
        self.is_heard = False
        self.withheld = 0

    def __call__(self, event: Event) -> None:
        """Write the record of an event, if it has one."""
        match event:
            case WaitStarted():
                if self.is_heard:
                    _log_start(event)
            case WaitEnded():
                self._log_end(event)
            case PollEnded():
                self._log_unknown_status(event)
            case Held():
                self._log_trouble(event)
            case _:
                self._log_recovery(event)

    def listens(self) -> bool:
        """Note, and return, whether anybody wants to hear of waits that begin and end well."""
        self.is_heard = logger.isEnabledFor(logging.INFO)
        return self.is_heard

    @staticmethod
    def hears_requests() -> bool:
        """Return whether anybody wants to hear of requests."""
        return logger.isEnabledFor(logging.DEBUG)

    def count_withheld(self, *, is_last: bool = False) -> None:
        """Warn of failed waits that were no warnings, now and then.

        Args:
            is_last: Whether no wait is under way any more, so that the next event may come late.
        """
        now = self._now()
        since = self._counted_at if is_last else max(self._counted_at, self._shown_since)
        if self.withheld and now - since >= FAILURES_INTERVAL:
            count, self.withheld = self.withheld, 0
            self._counted_at = now
            logger.warning(
                "%d more waits have failed in the last %.0f s: each has a record at INFO",
                count,
                max(now - self._shown_since, 1.0),
                extra={"stream_event": "waits_failed", "stream_count": count},
            )

    def close(self) -> None:
        """Warn of all failed waits that were no warnings yet."""
        self._counted_at = -math.inf
        self.count_withheld(is_last=True)

    def _log_end(self, event: WaitEnded) -> None:
        """Tell how a wait ended: the failure of a task and an error are warnings."""
        level = self._failure_level() if is_failure(event) else logging.INFO
        if level == logging.WARNING or self.is_heard:
            name, how, facts = _ending(event)
            _tell(
                level, name, event.task_id, event.operation, "the wait for %s %s", how,
                status=event.status, attempt=event.polls, duration=event.seconds, **facts,
            )  # fmt: skip

    def _failure_level(self) -> int:
        now = self._now()
        if now - self._shown_since >= FAILURES_INTERVAL:
            self.count_withheld()
            self._shown, self._shown_since = 0, now
        if self._shown < FAILURES_SHOWN:
            self._shown += 1
            return logging.WARNING
        self.withheld += 1
        return logging.INFO

    def _log_unknown_status(self, event: PollEnded) -> None:
        status = event.status
        if status is None or event.route != TASK_ROUTE:
            return  # the statuses of other endpoints are their own
        if status not in KNOWN_STATUSES and status not in self._unknown_statuses:
            self._unknown_statuses.add(status)
            _tell(
                logging.WARNING, "status_unknown", event.task_id, event.operation,
                "%s has the unknown status '%s': it counts as unfinished", one_line(status), status=status,
            )  # fmt: skip

    def _log_trouble(self, event: Held) -> None:
        if event.error is None:
            return  # polls wait for their share of the quota, which is no trouble
        self._is_in_trouble = True
        now = self._now()
        level = logging.WARNING if now - self._warned_at >= WARNING_INTERVAL else logging.INFO
        if level == logging.WARNING:
            self._warned_at = now
        _tell(
            level, "retrying", event.task_id, event.operation,
            "looking at %s failed (%s): retrying until it is answered or the wait elapses", event.error,
            status=event.status, attempt=event.polls, delay=event.seconds, **_facts(event.error),
        )  # fmt: skip

    def _log_recovery(self, event: Resumed) -> None:
        was_in_trouble, self._is_in_trouble = self._is_in_trouble, False
        if was_in_trouble and event.status is not None:
            _tell(
                logging.INFO, "resumed", event.task_id, event.operation,
                "%s was looked at again", status=event.status, duration=event.seconds,
            )  # fmt: skip


def is_failure(event: WaitEnded) -> bool:
    """Whether a wait ended with a failed task or an error, other than its time-out or the client's end."""
    return event.outcome == "failed" or (event.outcome == "error" and not _is_closed(event.error))


def _log_start(event: WaitStarted) -> None:
    limit = "without a limit" if event.timeout is None else f"for at most {event.timeout:g} s"
    _tell(
        logging.INFO, "wait_started", event.task_id, event.operation,
        "waiting for %s %s", limit, timeout=event.timeout,
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


def _ending(event: WaitEnded) -> tuple[str, str, dict[str, Any]]:
    """Return how a wait ended: the name of that, what is said of it, and its facts."""
    error = event.error
    if event.outcome == "cancelled":
        return "wait_cancelled", "was cancelled", {}
    if isinstance(error, StreamWaitTimeoutException):
        how = f"timed out ({error.reason.replace('_', ' ')})"
        return "wait_timed_out", how, {**_facts(error), "reason": error.reason}
    if error is not None:
        return "wait_finished", f"ended with an error: {error}", _facts(error)
    if event.outcome != "failed":
        return "wait_finished", "has ended", {}
    how = f"has ended: it failed ({one_line(str(event.reason))})"
    return "wait_finished", how, {"error_type": event.reason, "status_code": None}


def _is_closed(error: Exception | None) -> bool:
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
