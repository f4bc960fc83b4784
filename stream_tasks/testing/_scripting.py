"""What a test puts on the server: tasks, files, and what shall become of operations."""

from __future__ import annotations

import math
import time
import uuid
from abc import abstractmethod
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from stream_tasks._http.protocol import check_task_id
from stream_tasks.testing._checks import check_count, check_each_text, check_flag, check_kind, id_of
from stream_tasks.testing._log import RequestLog
from stream_tasks.testing._operations import check_operation, rfc3339
from stream_tasks.testing._scripts import FakeTask, TaskFailure, TaskScript
from stream_tasks.testing._webhooks import signed_webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import EllipsisType

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._scripts import Result

__all__ = ["Scripting"]

_STEPS: Final = ("pending", "running")


class Scripting(RequestLog):
    """The scripting half of `FakeStream`, which describes the arguments."""

    def __init__(self, api_secret: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self.api_secret = api_secret
        self._clock = clock
        self._epoch = time.time() - clock()
        self._scripts: dict[str, deque[tuple[TaskScript, bool]]] = {}
        self._failing: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._numbers = count(1)

    @property
    @abstractmethod
    def url(self) -> str:
        """The base URL for clients."""

    def add_task(
        self,
        task_id: str | None = None,
        *,
        statuses: Iterable[str] = _STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result = None,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> str:
        """Put a task on the server; one that has this id already is replaced.

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
            TypeError: An argument is not of its type, or nothing that JSON can hold.
            ValueError: For a negative number of seconds, `after` beside `never`, or an id that cannot be.
        """
        task_id = str(uuid.uuid4()) if task_id is None else check_task_id(id_of(task_id))
        script = TaskScript(statuses, _until(after, never=never), result, error, final, visible_after)
        self._place(FakeTask(task_id, script, self._clock(), self._epoch))
        return task_id

    def finish(
        self,
        task_id: str | StartedTask[Any],
        *,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
    ) -> None:
        """Make a task final now, as `failed` if there is an error, else as `completed`.

        Args:
            task_id: The task's id, or what its start returned.
            result: As in `add_task`; by default what it was to have, for an operation's task the documented
                result.
            error: As in `add_task`.

        Raises:
            TypeError: An argument is not of its type, or nothing that JSON can hold.
            ValueError: For a task that is not there.
        """
        task = self._task(task_id)
        task.rewrite(TaskScript((), result=task.script.result if result is ... else result, error=error))

    def forget(self, task_id: str | StartedTask[Any]) -> None:
        """Take a task off the server, which then cannot be found.

        Args:
            task_id: The task's id, or what its start returned.

        Raises:
            ValueError: For a task that is not there.
        """
        task_id = self._task(task_id).task_id
        self._forgotten.add(task_id)
        del self._tasks[task_id]

    def webhook(self, task_id: str | StartedTask[Any], *, attempt: int = 1) -> tuple[bytes, dict[str, str]]:
        """Return the signed webhook that tells of a task's end, for the code that takes such.

        It tells of the end that the task was scripted to have, whether that has come yet or not.

        Args:
            task_id: What an operation's start returned, or the id in it.
            attempt: The number of the try, from 1; all tries have the same ``X-Webhook-Id``.

        Returns:
            The body and the headers of the POST that Stream makes.

        Raises:
            TypeError: `attempt` is no whole number.
            ValueError: For a task that is not there, or of which Stream tells nothing, such as a deletion or
                one that never ends, or an `attempt` below 1.
        """
        check_count("attempt", attempt, least=1)
        return signed_webhook(self._task(task_id), self.api_secret, rfc3339(self._wall_time()), attempt)

    def script_operation(
        self,
        name: str,
        *,
        times: int = 1,
        statuses: Iterable[str] = _STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> None:
        """Script the tasks that the next starts of an operation make; scripts are used in the order given.

        Work that is done at once, such as `delete_channels` without ``hard_delete``, makes no task and uses
        no script.

        Args:
            name: The operation, for instance ``export_channels``.
            times: For how many starts.
            statuses: As in `add_task`.
            after: As in `add_task`, counted from the start.
            never: As in `add_task`.
            result: As in `add_task`; by default the documented result, made from the request.
            error: As in `add_task`.
            final: As in `add_task`.
            visible_after: As in `add_task`, counted from the start.

        Raises:
            TypeError: An argument is not of its type, or nothing that JSON can hold.
            ValueError: For an unknown operation, a negative number, or `after` beside `never`.
        """
        check_operation(name)
        check_count("times", times)
        documented = result is ...
        after = _until(after, never=never)
        script = TaskScript(statuses, after, None if result is ... else result, error, final, visible_after)
        self._scripts.setdefault(name, deque()).extend([(script, documented)] * times)

    def fail_items(self, *items: str, error: str = "the item could not be processed") -> None:
        """Make these ids or cids fail one by one in the documented results, while their tasks complete.

        Args:
            items: The ids or cids, one by one.
            error: What their error says.

        Raises:
            TypeError: One is no text.
        """
        check_each_text("items", items)
        check_kind("error", error, str, "a text")
        self._failing.update(dict.fromkeys(items, error))

    def add_file(self, name: str, content: bytes) -> str:
        """Put a file on the server, for instance for an export, that anyone may fetch, whole or in parts.

        Args:
            name: The last part of its address.
            content: What is in it.

        Returns:
            Its URL.

        Raises:
            RuntimeError: If the server has never been started.
            TypeError: `name` is no text, or `content` no bytes.
        """
        check_kind("name", name, str, "a text")
        check_kind("content", content, bytes, "bytes")
        path = f"/exports/{next(self._numbers)}/{quote(name, safe='')}"
        self._files[path] = content
        return self.url + path

    def clear(self) -> None:
        """Forget tasks, scripts, files and failing items."""
        self._tasks.clear()
        self._replaced.clear()
        self._forgotten.clear()
        self._scripts.clear()
        self._failing.clear()
        self._files.clear()

    def _wall_time(self) -> float:
        return self._epoch + self._clock()


def _until(after: float | None, *, never: bool) -> float | None:
    check_flag("never", never)
    if never and after is not None:
        raise ValueError(f"after must not be given for a task that never ends, and is {after!r}")
    return math.inf if never else after
