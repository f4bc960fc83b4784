"""From what a caller has of an export to its link."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stream_tasks._arguments import awaiting, check_segment, text_value
from stream_tasks._downloads.fetching import Source, is_http
from stream_tasks.exceptions import StreamDownloadException, one_line
from stream_tasks.models import StartedTask, StreamResponse, Task, TaskOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stream_tasks._http.transport import Connections

__all__ = ["Export", "export_of"]

logger = logging.getLogger("stream_tasks")


@frozen
class Export:
    """An export that can be fetched.

    Attributes:
        url: Its link; None if the task must be asked for it first.
        task: The task that exports, or its id: asking for it renews the link. None if it is not known.
    """

    url: str | None
    task: StartedTask[Any] | str | None

    @property
    def task_id(self) -> str | None:
        """The id of the task that exports, if it is known."""
        return self.task.task_id if isinstance(self.task, StartedTask) else self.task

    def source(self, wait: Callable[[Any], Awaitable[Any]], connections: Connections) -> Source:
        """Return how to fetch it.

        Args:
            wait: Waits for a task, and returns its result.
            connections: How connections are made.
        """

        async def renew() -> str:
            url = _url_in(await wait(self.task))
            if url is None:
                raise StreamDownloadException(
                    f"the result of task {one_line(self.task_id)} has no url: is it an export?",
                    task_id=self.task_id,
                )
            return url

        return Source(self.url, self.task_id, renew, _log_trouble, connections)


def export_of(given: Any, task: Any = None) -> Export:
    """Return the export that a caller means.

    Args:
        given: An address, the result of an export, or what has or will have one.
        task: What renews the link, if `given` does not tell it.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: It has no link, or the link is not an address.
        StreamException: The export failed: what its outcome holds is raised.
    """
    if task is not None and not isinstance(task, StartedTask):
        task = check_segment("task", task)
    if isinstance(task, StartedTask) and task.task_id is None:
        raise ValueError("task must have a task_id: the server did this work at once")
    found = _found(given)
    export = found if task is None else Export(found.url, task)
    if export.url is None and export.task is None:
        raise ValueError(f"result_or_url has no url: {one_line(repr(given))}")
    if isinstance(given, str) and not is_http(given):
        raise ValueError(
            "result_or_url must be an http(s) address, or the result of an export; of a task whose id alone"
            " is known, give what client.wait_for_task(task_id) returns"
        )
    return export


def _found(given: Any) -> Export:
    if isinstance(given, str):
        return Export(text_value(given), None)
    if isinstance(given, StreamResponse):
        given = given.data
    if isinstance(given, StartedTask) and given.task_id is not None:
        return Export(None, given)
    result = given
    if isinstance(given, StartedTask | Task):
        result = given.result
    elif isinstance(given, TaskOutcome):
        result = given.result()
    if not isinstance(given, Task) and not isinstance(result, Mapping) and not hasattr(result, "url"):
        raise TypeError(
            "result_or_url must be the result of an export, its StartedTask or TaskOutcome, or an address"
            f" (str), not {type(given).__name__}{awaiting(given)}"
        )
    task_id = getattr(given, "task_id", None) or getattr(getattr(given, "task", None), "task_id", None)
    return Export(_url_in(result), task_id if isinstance(task_id, str) else None)


def _url_in(result: Any) -> str | None:
    url = result.get("url") if isinstance(result, Mapping) else getattr(result, "url", None)
    return text_value(url) if isinstance(url, str) and url else None


def _log_trouble(why: str, task_id: str | None) -> None:
    logger.warning(
        "download: %s; trying again",
        why,
        extra={"stream_event": "download_retrying", "stream_task_id": task_id, "stream_reason": why},
    )
