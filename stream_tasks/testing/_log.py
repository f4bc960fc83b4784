"""What the server was asked, and what a test may demand of it."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import evolve

from stream_tasks.testing._checks import check_count, check_pause, id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._answers import Answer
    from stream_tasks.testing._requests import Request
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["RequestLog"]

T = TypeVar("T")

_FINAL: Final = frozenset({"completed", "failed"})
_SHOWN: Final = 5  # lines at each end of a long list
_TOLERANCE: Final = 0.01  # seconds that the travel of two requests may differ


class RequestLog:
    """The remembering half of `FakeStream`.

    Attributes:
        requests: What was asked, in order of arrival.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def polls(self, task_id: str | StartedTask[Any]) -> list[Request]:
        """Return the requests that looked at a task, in order of arrival.

        Args:
            task_id: The task's id, or what its start returned.
        """
        task_id = id_of(task_id)
        return [request for request in self.requests if request.task_id == task_id]

    def assert_polled(
        self, task_id: str | StartedTask[Any], times: int | None = None, *, at_most: int | None = None
    ) -> None:
        """Demand that a task was looked at.

        Args:
            task_id: The task's id, or what its start returned.
            times: How often exactly; None for at least once.
            at_most: How often at the most.

        Raises:
            AssertionError: It was not; the message lists the polls.
            TypeError: A number is none, or not whole.
            ValueError: A number is negative, or both are given.
        """
        __tracebackhide__ = True
        for name, number in (("times", times), ("at_most", at_most)):
            if number is not None:
                check_count(name, number)
        if times is not None and at_most is not None:
            raise ValueError(f"at_most must not be given beside times, and is {at_most!r}")
        task_id = id_of(task_id)
        polls = self.polls(task_id)
        if times is not None and len(polls) != times:
            wrong = f", not {_times(times)}"
        elif at_most is not None and len(polls) > at_most:
            wrong = f", more than {_times(at_most)}"
        elif times is None and at_most is None and not polls:
            wrong = ""
        else:
            return
        raise AssertionError(f"task {task_id!r} was {_polled(len(polls))}{wrong}{_listed(polls, self._line)}")

    def assert_never_faster_than(
        self, seconds: float, *, task_id: str | StartedTask[Any] | None = None
    ) -> None:
        """Demand that no task was looked at twice within less than so many seconds.

        The last look that a client takes just before its deadline may come sooner, and counts, too. One
        whose connection broke may be sent again at once, and does not.

        Args:
            seconds: The least time between two polls of one task.
            task_id: The task's id, or what its start returned; None for each of them.

        Raises:
            AssertionError: One was; the message shows when.
            TypeError: `seconds` is no number.
            ValueError: It is negative or NaN.
        """
        __tracebackhide__ = True
        check_pause("seconds", seconds)
        asked = dict.fromkeys(request.task_id for request in self.requests if request.task_id is not None)
        for each in asked if task_id is None else [id_of(task_id)]:
            for earlier, later in pairwise(self.polls(each)):
                gap = later.at - earlier.at
                if gap < seconds - _TOLERANCE and earlier.status is not None:
                    raise AssertionError(
                        f"task {each!r} was polled again after {gap:.3f} s, sooner than {seconds:g} s"
                        f"{_listed([earlier, later], self._line)}"
                    )

    def _assert_waited(self, tasks: Iterable[FakeTask]) -> None:
        __tracebackhide__ = True
        ended = {request.task_id for request in self.requests if request.task_status in _FINAL}
        every = list(tasks)
        left = [task for task in every if task.task_id not in ended]
        if left:
            lines = _listed(left, self._story)
            raise AssertionError(f"{len(left)} of {len(every)} tasks were not waited for{lines}")

    def _story(self, task: FakeTask) -> str:
        origin = f", started by {task.origin}" if task.origin else ""
        polls = self.polls(task.task_id)
        last = f", the last time {self._line(polls[-1])}" if polls else ""
        return f"{task.task_id!r}{origin}: {_polled(len(polls))}{last}"

    def _line(self, poll: Request) -> str:
        answer = "no answer" if poll.status is None else f"{poll.status} {poll.task_status or ''}".rstrip()
        return f"at {poll.at - self.requests[0].at:.3f} s: {answer}"

    def _note(self, place: int, request: Request, answer: Answer) -> None:
        # The log may have been cleared since, even by another thread just now.
        with suppress(IndexError):
            if self.requests[place] is request:
                self.requests[place] = evolve(request, status=answer.status, task_status=answer.task_status)


def _listed(items: Sequence[T], line: Callable[[T], str]) -> str:
    """Return a line for each item; of many, for the first and the last ones."""
    left_out = len(items) - 2 * _SHOWN
    if left_out <= 0:
        lines = [line(item) for item in items]
    else:
        first, last = map(line, items[:_SHOWN]), map(line, items[-_SHOWN:])
        lines = [*first, f"… {left_out} more", *last]
    return "".join([":" if lines else "", *(f"\n  {each}" for each in lines)])


def _polled(number: int) -> str:
    return f"polled {_times(number)}" if number else "never polled"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
