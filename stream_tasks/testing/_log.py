"""What the server was asked, and what a test may demand of it."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from stream_tasks.testing._checks import check_count, check_pause, id_of
from stream_tasks.testing._operations import check_operation
from stream_tasks.testing._texts import counted, few, listed, times_word

if TYPE_CHECKING:
    from stream_tasks.models import StartedTask
    from stream_tasks.testing._answers import Answer
    from stream_tasks.testing._requests import Request
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["RequestLog"]

_FINAL: Final = frozenset({"completed", "failed"})
_TOLERANCE: Final = 0.01  # seconds that the travel of two requests may differ


class RequestLog:
    """The remembering half of `FakeStream`.

    Attributes:
        requests: What was asked, in order of arrival.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._tasks: dict[str, FakeTask] = {}
        self._replaced: list[tuple[FakeTask, str]] = []  # with what was known of each then
        self._forgotten: set[str] = set()
        self._failure: Exception | None = None  # of the server itself

    def polls(self, task_id: str | StartedTask[Any]) -> list[Request]:
        """Return the requests that looked at a task, in order of arrival.

        Args:
            task_id: The task's id, or what its start returned.
        """
        task_id = id_of(task_id)
        return [request for request in self.requests if request.task_id == task_id]

    def started(self, operation: str | None = None) -> list[str]:
        """Return the ids of the tasks on the server that requests have started, in their order.

        Args:
            operation: The operation that started them, for instance ``export_channels``; None for any.

        Raises:
            ValueError: For an unknown operation.
        """
        if operation is not None:
            check_operation(operation)
        tasks = list(self._tasks.values())
        return [task.task_id for task in tasks if task.origin and operation in (None, task.origin)]

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
            ValueError: A number is negative, both are given, or the server knows no such task.
        """
        __tracebackhide__ = True
        for name, number in (("times", times), ("at_most", at_most)):
            if number is not None:
                check_count(name, number)
        self._own_up()
        if times is not None and at_most is not None:
            raise ValueError(f"at_most must not be given beside times, and is {at_most!r}")
        task_id = self._known_id(task_id)
        polls = self.polls(task_id)
        if times is not None and len(polls) != times:
            wrong = f", not {times_word(times)}"
        elif at_most is not None and len(polls) > at_most:
            wrong = f", more than {times_word(at_most)}"
        elif times is None and at_most is None and not polls:
            wrong = ""
        else:
            return
        raise AssertionError(f"task {task_id!r} was {_polled(len(polls))}{wrong}{listed(polls, self._line)}")

    def assert_never_faster_than(
        self, seconds: float, *, task_id: str | StartedTask[Any] | None = None
    ) -> None:
        """Demand that no task was looked at twice within less than so many seconds.

        The last look that a client takes just before its deadline may come sooner, and counts, too; and a
        `Backoff` with jitter makes pauses that are shorter than it says. A look whose connection broke may
        be sent again at once, and does not count.

        Args:
            seconds: The least time between two polls of one task.
            task_id: The task's id, or what its start returned; None for each of them.

        Raises:
            AssertionError: One was; the message shows when.
            TypeError: `seconds` is no number.
            ValueError: It is negative or NaN, or the server knows no such task.
        """
        __tracebackhide__ = True
        check_pause("seconds", seconds)
        self._own_up()
        asked = dict.fromkeys(request.task_id for request in self.requests if request.task_id is not None)
        for each in asked if task_id is None else [self._known_id(task_id)]:
            for earlier, later in pairwise(self.polls(each)):
                gap = later.at - earlier.at
                if gap < seconds - _TOLERANCE and earlier.status is not None:
                    raise AssertionError(
                        f"task {each!r} was polled again after {gap:.3f} s, sooner than {seconds:g} s"
                        f"{listed([earlier, later], self._line)}"
                    )

    def assert_all_waited(self) -> None:
        """Demand that the end of each task that the server has was seen, by whoever looked.

        A task that was replaced by another of its id counts, too; one that was forgotten does not.

        Raises:
            AssertionError: There are others; the message names them, of many the first and the last.
        """
        __tracebackhide__ = True
        self._own_up()
        tasks = list(self._tasks.values())
        left = [f"{story}; then replaced" for task, story in self._replaced if not task.is_seen]
        left += [self._story(task) for task in tasks if not task.is_seen]
        if left:
            number = counted(len(left), "task", of=len(tasks) + len(self._replaced))
            verb = "was" if len(left) == 1 else "were"
            raise AssertionError(f"{number} {verb} not waited for{listed(left, str)}")

    def _own_up(self) -> None:
        """Raise what went wrong in the server itself, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _place(self, task: FakeTask) -> None:
        """Put a task on the server, in place of another of its id."""
        former = self._tasks.get(task.task_id)
        if former is not None:
            self._replaced.append((former, self._story(former)))
        if former is not None or task.task_id in self._forgotten:
            task.earlier = len(self.polls(task.task_id))
        self._tasks[task.task_id] = task

    def _task(self, task_id: str | StartedTask[Any]) -> FakeTask:
        task_id = id_of(task_id)
        if task_id not in self._tasks:
            raise self._unknown(task_id)
        return self._tasks[task_id]

    def _known_id(self, task_id: str | StartedTask[Any]) -> str:
        """Return the id of a task that is or was there, or was asked for: any other is a slip of the pen."""
        __tracebackhide__ = True
        task_id = id_of(task_id)
        if task_id not in self._tasks and task_id not in self._forgotten and not self.polls(task_id):
            raise self._unknown(task_id)
        return task_id

    def _unknown(self, task_id: str) -> ValueError:
        known = few([repr(each) for each in self._tasks]) or "no task"
        return ValueError(f"no task has the id {task_id!r}; the server has {known}")

    def _story(self, task: FakeTask) -> str:
        origin = f", started by {task.origin}" if task.origin else ""
        polls = self.polls(task.task_id)[task.earlier :]
        last = f", the last time {self._line(polls[-1])}" if polls else ""
        return f"{task.task_id!r}{origin}: {_polled(len(polls))}{last}"

    def _line(self, poll: Request) -> str:
        answer = "no answer" if poll.status is None else f"{poll.status} {poll.task_status or ''}".rstrip()
        return f"at {poll.at - self.requests[0].at:.3f} s: {answer}"

    def _note(self, place: int, request: Request, answer: Answer) -> None:
        # The log may have been cleared since, even by another thread just now.
        with suppress(IndexError):
            if self.requests[place] is request:
                task_status = None if answer.task is None else answer.task.status
                self.requests[place] = evolve(request, status=answer.status, task_status=task_status)
        if answer.task is not None and answer.task.status in _FINAL:
            answer.task.is_seen = True


def _polled(number: int) -> str:
    return f"polled {times_word(number)}" if number else "never polled"
