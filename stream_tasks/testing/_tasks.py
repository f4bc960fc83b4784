"""The tasks on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream_tasks.testing._checks import id_of
from stream_tasks.testing._kinds import TASK
from stream_tasks.testing._operations import check_operation
from stream_tasks.testing._scripts import FakeTask, Kind, TaskFailure, TaskScript
from stream_tasks.testing._texts import few

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import EllipsisType
    from uuid import UUID

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
        return len(self._all())

    def begin(
        self,
        script: TaskScript,
        *ids: str,
        kind: Kind = TASK,
        origin: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> FakeTask:
        """Put work on the server, in place of what has one of its ids; see `FakeTask`."""
        task = FakeTask(kind, ids, script, self._time, origin=origin, details=details)
        for each in ids:
            former = self._tasks.get(each)
            if former is not None:
                self._replaced.append((former, self._log.story(former)))
            if former is not None or each in self._forgotten:
                task.earlier = len(self._log.polls(each))
            self._tasks[each] = task
        return task

    def finish(
        self,
        task_id: str | UUID | StartedTask[Any],
        *,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
    ) -> None:
        """Make a task final now: ``failed`` if there is an error, else ``completed``.

        Other work that clients poll ends likewise, in the last of its statuses.

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
        result = task.script.result if result is ... else result
        task.rewrite(TaskScript(statuses=(), result=result, error=error, ends=task.script.ends))

    def forget(self, task_id: str | UUID | StartedTask[Any]) -> None:
        """Take a task off the server, which then answers with a 404.

        Args:
            task_id: The task's id, or what its start returned.

        Raises:
            ValueError: There is no such task.
        """
        for each in self.known(task_id).ids:
            self._forgotten.add(each)
            self._tasks.pop(each, None)

    def started(self, operation: str | None = None) -> list[str]:
        """Return the ids of the tasks on the server that requests have started, in order.

        Args:
            operation: The operation that started them, for instance ``export_channels``; None for any.

        Raises:
            ValueError: The operation is not known.
        """
        if operation is not None:
            check_operation(operation)
        return [task.task_id for task in self._all() if task.origin and operation in (None, task.origin)]

    def find(self, kind: Kind, task_id: str) -> FakeTask | None:
        """Return what can be polled there as such, or None."""
        task = self._tasks.get(task_id)
        # Work of another kind may be done by a task, which is polled like any by the first of the ids.
        known_as = (
            ()
            if task is None
            else [(task.kind, task.ids[-1]), *([(TASK, task.ids[0])] if task.ids[1:] else [])]
        )
        return task if (kind, task_id) in known_as else None

    def _all(self) -> list[FakeTask]:
        return list(dict.fromkeys(list(self._tasks.values())))

    def known(self, task_id: str | UUID | StartedTask[Any]) -> FakeTask:
        """Return a task that a test names.

        Raises:
            ValueError: There is no such task.
        """
        task_id = id_of(task_id)
        if task_id not in self._tasks:
            raise self._unknown(task_id)
        return self._tasks[task_id]

    def known_id(self, task_id: str | UUID | StartedTask[Any]) -> str:
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
        tasks, replaced = self._all(), list(self._replaced)
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
