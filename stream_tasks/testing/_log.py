"""The requests that the server got, and what a test may demand of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from stream_tasks.testing._checks import check_count, check_pause, id_of
from stream_tasks.testing._faultplan import FaultPlan
from stream_tasks.testing._kinds import find_polled
from stream_tasks.testing._tasks import Tasks
from stream_tasks.testing._texts import counted, listed, times_word

if TYPE_CHECKING:
    from uuid import UUID

    from aiohttp import web

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._answers import Answer
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["Demands", "Request", "RequestLog", "read_request"]

_TOLERANCE: Final = 0.01  # seconds by which the travel times of two requests may differ


@frozen
class Request:
    """One request, as it arrived.

    Attributes:
        method: The HTTP method.
        path: The path as it was sent: still percent-encoded, without the query.
        query: The decoded query; of a name that came twice, the last value.
        headers: The headers; names are looked up in any case.
        json: The parsed body, or None when there was none or it was not JSON.
        task_id: The id of the task, or of the import, campaign or policy-test run, that this looks at.
        status: The HTTP status answered, or None while there is no answer and when the connection was cut.
        at: When it arrived, in seconds of the server's clock.
        has_bad_json: Whether there was a body that was not JSON.
        task_status: The status that the answer showed, if it did.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: Any
    task_id: str | None
    status: int | None
    at: float
    has_bad_json: bool = field(default=False, repr=False)
    task_status: str | int | None = None


def read_request(request: web.BaseRequest, body: bytes, at: float) -> Request:
    """Return the log entry of a request that has no answer yet."""
    # aiohttp's own path is decoded, and could no longer tell an id with a slash from two segments.
    path = request.raw_path.partition("?")[0]
    polled = find_polled(request.method, path)
    parsed, bad = None, False
    if body:
        try:
            parsed = json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            bad = True
    query = dict(request.query)
    return Request(request.method, path, query, request.headers, parsed, polled and polled[1], None, at, bad)


def _refuse(constant: str) -> None:
    """Refuse NaN and the infinities, which Python takes for JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(constant)


class RequestLog:
    """All requests, in order of arrival.

    Attributes:
        requests: The requests. A request has no status until it is answered.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def polls(self, task_id: str | UUID | StartedTask[Any]) -> list[Request]:
        """Return the requests that looked at a task, in order of arrival.

        Args:
            task_id: The task's id, or what its start returned.
        """
        task_id = id_of(task_id)
        return [request for request in self.requests if request.task_id == task_id]

    def add(self, request: Request) -> int:
        """Add a request and return its place."""
        self.requests.append(request)
        return len(self.requests) - 1

    def note(self, place: int, request: Request, answer: Answer) -> None:
        """Note the answer to the request that `add` put there."""
        # The log may have been cleared since, even by another thread just now.
        with suppress(IndexError):
            if self.requests[place] is request:
                task_status = None if answer.task is None else answer.task.status
                self.requests[place] = evolve(request, status=answer.status, task_status=task_status)
        if answer.task is not None:
            answer.task.was_shown()

    def line(self, poll: Request) -> str:
        """Return when a poll came, and what it got."""
        shown = "" if poll.task_status is None else f" {poll.task_status}"
        answer = "no answer" if poll.status is None else f"{poll.status}{shown}"
        return f"at {poll.at - self.requests[0].at:.3f} s: {answer}"

    def story(self, task: FakeTask) -> str:
        """Return what is known of a task in one line."""
        origin = f", started by {task.origin}" if task.origin else ""
        polls = [poll for poll in self.requests if poll.task_id in task.ids][task.earlier :]
        last = f", the last time {self.line(polls[-1])}" if polls else ""
        return f"{task.task_id!r}{origin}: {_polled(len(polls))}{last}"


@define(eq=False)
class Demands:
    """Assertions about what was asked.

    Args:
        log: What was asked.
        tasks: The tasks on the server.
        faults: The faults that were planned.
        own_up: Raises what went wrong in the server itself; called first, since that may explain the rest.
    """

    _log: RequestLog
    _tasks: Tasks
    _faults: FaultPlan
    _own_up: Callable[[], None]

    def assert_polled(
        self, task_id: str | UUID | StartedTask[Any], times: int | None = None, *, at_most: int | None = None
    ) -> None:
        """Demand that a task was looked at.

        Args:
            task_id: The task's id, or what its start returned.
            times: How often exactly; None for at least once.
            at_most: How often at the most.

        Raises:
            AssertionError: It was not; the message lists the polls.
            TypeError: A number is not a whole number.
            ValueError: A number is negative, both are given, or the server knows no such task.
        """
        __tracebackhide__ = True
        for name, number in (("times", times), ("at_most", at_most)):
            if number is not None:
                check_count(name, number)
        self._own_up()
        if times is not None and at_most is not None:
            raise ValueError(f"at_most must not be given beside times, and is {at_most!r}")
        task_id = self._tasks.known_id(task_id)
        polls = self._log.polls(task_id)
        if times is not None and len(polls) != times:
            wrong = f", not {times_word(times)}"
        elif at_most is not None and len(polls) > at_most:
            wrong = f", more than {times_word(at_most)}"
        elif times is None and at_most is None and not polls:
            wrong = ""
        else:
            return
        raise AssertionError(
            f"task {task_id!r} was {_polled(len(polls))}{wrong}{listed(polls, self._log.line)}"
        )

    def assert_never_faster_than(
        self, seconds: float, *, task_id: str | UUID | StartedTask[Any] | None = None
    ) -> None:
        """Demand that no task was looked at twice within less than so many seconds.

        The last look that a client takes just before its deadline may come sooner, and counts, too. A
        `Backoff` with jitter makes pauses that are shorter than it says. A look whose connection broke may be
        sent again at once, and does not count.

        Args:
            seconds: The least time between two polls of one task.
            task_id: The task's id, or what its start returned; None for each of them.

        Raises:
            AssertionError: A task was; the message shows when.
            TypeError: `seconds` is not a number.
            ValueError: It is negative or NaN, or the server knows no such task.
        """
        __tracebackhide__ = True
        check_pause("seconds", seconds)
        self._own_up()
        asked = dict.fromkeys(each.task_id for each in self._log.requests if each.task_id is not None)
        for each in asked if task_id is None else [self._tasks.known_id(task_id)]:
            for earlier, later in pairwise(self._log.polls(each)):
                gap = later.at - earlier.at
                if gap < seconds - _TOLERANCE and earlier.status is not None:
                    raise AssertionError(
                        f"task {each!r} was polled again after {gap:.3f} s, sooner than {seconds:g} s"
                        f"{listed([earlier, later], self._log.line)}"
                    )

    def assert_all_waited(self) -> None:
        """Demand that somebody saw the end of each task on the server.

        A task that was replaced by another of its id counts, too; one that was forgotten does not.

        Raises:
            AssertionError: There are others; the message names them, of many the first and the last.
        """
        __tracebackhide__ = True
        self._own_up()
        left, number = self._tasks.unseen()
        if left:
            share = counted(len(left), "task", of=number)
            verb = "was" if len(left) == 1 else "were"
            raise AssertionError(f"{share} {verb} not waited for{listed(left, str)}")

    def assert_all_struck(self) -> None:
        """Demand that each fault struck as often as it should; a fault for all requests, at least once.

        Raises:
            AssertionError: There are others, even if their time is over; the message names them.
        """
        __tracebackhide__ = True
        self._own_up()
        missed, number = self._faults.missed(), self._faults.number
        if missed:
            share = counted(len(missed), "fault", of=number)
            verb = "has" if len(missed) == 1 else "have"
            raise AssertionError(f"{share} {verb} not struck as planned{listed(missed, str)}")


def _polled(number: int) -> str:
    """Return how often something was polled."""
    return f"polled {times_word(number)}" if number else "never polled"
