"""The tasks on the server."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from stream_tasks._http.protocol import check_task_id
from stream_tasks.testing._checks import id_of
from stream_tasks.testing._operations import check_operation
from stream_tasks.testing._scripts import STEPS, FakeTask, TaskFailure, TaskScript
from stream_tasks.testing._texts import few

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import EllipsisType

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._clock import ServerTime
    from stream_tasks.testing._log import RequestLog
    from stream_tasks.testing._scripts import Result

__all__ = ["Tasks"]


class Tasks:
    """The tasks, by id.

    Args:
        log: What the server was asked.
        time: The server's time.
    """

    def __init__(self, log: RequestLog, time: ServerTime) -> None:
        self._log = log
        self._time = time
        self._tasks: dict[str, FakeTask] = {}
        self._replaced: list[tuple[FakeTask, str]] = []  # with their stories at that time
        self._forgotten: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def add_task(
        self,
        task_id: str | None = None,
        *,
        statuses: Iterable[str] = STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result = None,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> str:
        """Put a task on the server. It replaces a task that has the same id.

        To end a task while somebody waits for it, use `finish`.

        Args:
            task_id: Any text but ``""``, ``"."`` and ``".."``, for which nobody can ask; by default a new
                UUID.
            statuses: What the task is before it is final: one for each poll, or with `after` sharing that
                time evenly. Final and unknown statuses are fine.
            after: Seconds until the task is final; None to go by poll count, `math.inf` for never.
            never: Whether the task is never final.
            result: The result of the completed task; a function gets the poll's number, from 1.
            error: The error of the task, which then ends as ``failed``.
            final: The last status; by default ``failed`` if there is an error, else ``completed``.
            visible_after: Seconds in which the task is not found.

        Returns:
            The task's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number of seconds is negative, `after` is given beside `never`, or nobody can ask
                for the id.
        """
        task_id = str(uuid.uuid4()) if task_id is None else check_task_id(id_of(task_id))
        script = TaskScript(statuses, after, never, result, error, final, visible_after)
        self.begin(task_id, script)
        return task_id

    def begin(self, task_id: str, script: TaskScript, origin: str | None = None) -> None:
        """Put a task on the server that the operation `origin` started."""
        task = FakeTask(task_id, script, self._time, origin)
        former = self._tasks.get(task_id)
        if former is not None:
            self._replaced.append((former, self._log.story(former)))
        if former is not None or task_id in self._forgotten:
            task.earlier = len(self._log.polls(task_id))
        self._tasks[task_id] = task

    def finish(
        self,
        task_id: str | StartedTask[Any],
        *,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
    ) -> None:
        """Make a task final now: ``failed`` if there is an error, else ``completed``.

        Args:
            task_id: The task's id, or what its start returned.
            result: As in `add_task`; by default what its script says, for an operation's task the documented
                result.
            error: As in `add_task`.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: There is no such task.
        """
        task = self.known(task_id)
        task.rewrite(TaskScript((), result=task.script.result if result is ... else result, error=error))

    def forget(self, task_id: str | StartedTask[Any]) -> None:
        """Take a task off the server, which then answers with a 404.

        Args:
            task_id: The task's id, or what its start returned.

        Raises:
            ValueError: There is no such task.
        """
        task_id = self.known(task_id).task_id
        self._forgotten.add(task_id)
        del self._tasks[task_id]

    def started(self, operation: str | None = None) -> list[str]:
        """Return the ids of the tasks on the server that requests have started, in order.

        Args:
            operation: The operation that started them, for instance ``export_channels``; None for any.

        Raises:
            ValueError: The operation is not known.
        """
        if operation is not None:
            check_operation(operation)
        tasks = list(self._tasks.values())
        return [task.task_id for task in tasks if task.origin and operation in (None, task.origin)]

    def find(self, task_id: str) -> FakeTask | None:
        """Return a task, or None."""
        return self._tasks.get(task_id)

    def known(self, task_id: str | StartedTask[Any]) -> FakeTask:
        """Return a task that a test names.

        Raises:
            ValueError: There is no such task.
        """
        task_id = id_of(task_id)
        if task_id not in self._tasks:
            raise self._unknown(task_id)
        return self._tasks[task_id]

    def known_id(self, task_id: str | StartedTask[Any]) -> str:
        """Return the id of a task that is or was on the server, or that somebody asked for.

        Raises:
            ValueError: It is another, so the test must have it wrong.
        """
        __tracebackhide__ = True
        task_id = id_of(task_id)
        if task_id not in self._tasks and task_id not in self._forgotten and not self._log.polls(task_id):
            raise self._unknown(task_id)
        return task_id

    def unseen(self) -> tuple[list[str], int]:
        """Return the stories of the tasks whose end nobody saw, and of how many tasks these are."""
        tasks, replaced = list(self._tasks.values()), list(self._replaced)
        stories = [f"{story}; then replaced" for task, story in replaced if not task.is_seen]
        stories += [self._log.story(task) for task in tasks if not task.is_seen]
        return stories, len(tasks) + len(replaced)

    def clear(self) -> None:
        """Forget all tasks."""
        self._tasks.clear()
        self._replaced.clear()
        self._forgotten.clear()

    def _unknown(self, task_id: str) -> ValueError:
        known = few([repr(each) for each in self._tasks]) or "no task"
        return ValueError(f"no task has the id {task_id!r}; the server has {known}")
