"""Starts an operation for many items, batch by batch."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import click
from attrs import define, field

from stream_tasks._batches import start_batches
from stream_tasks._client import AsyncStream
from stream_tasks.cli import codes
from stream_tasks.cli.endings import concerns_all
from stream_tasks.cli.job import Job
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.hints import go_on_with, suggest_doctor
from stream_tasks.cli.ui.log import ERROR, say, say_error
from stream_tasks.cli.ui.output import printable, to_json
from stream_tasks.exceptions import StreamBatchException, StreamRateLimitException
from stream_tasks.models import ItemResults, StartedTask

__all__ = ["Started", "show_failed_items", "show_started", "start"]

OnStarted = Callable[[StartedTask[Any], Sequence[str]], object]


@define
class Started:
    """What was started.

    Attributes:
        tasks: A task for each batch.
        items: How many items they are for.
        code: The exit code for what was not started.
    """

    tasks: list[StartedTask[Any]] = field(factory=list)
    items: int = 0
    code: int = 0


async def start(client: AsyncStream, job: Job, on_started: OnStarted, stop: Stop) -> Started:
    """Start a job batch by batch, and name on stderr what could not be started.

    Ctrl-C and SIGTERM end this like an error; they do not end the program.

    Args:
        client: The client.
        job: What to start.
        on_started: Called with each task and the ids that it is for, as soon as it is started.
        stop: The signal that ends it.
    """
    done = Started()
    operation = getattr(client, job.operation)
    is_sent = False  # whether a request is out whose answer has not come

    async def send(items: list[Any]) -> StartedTask[Any]:
        nonlocal is_sent
        is_sent = True
        try:
            return cast("StartedTask[Any]", await operation(items, **job.options))
        except StreamRateLimitException:
            is_sent = False
            raise

    try:
        async for task in start_batches(job.operation, send, map(job.as_item, job.ids)):
            is_sent = False
            batch = job.ids[done.items : done.items + job.max_items]
            done.tasks.append(task)
            done.items += len(batch)
            await stop.write(on_started, task, batch)
    except StreamBatchException as error:
        say_error(str(error), {"operation": job.operation})
        if concerns_all(error.__cause__):
            suggest_doctor()
        done.code = codes.ERROR
        _name_unsent(job, done.items, len(error.batch) if error.may_have_started else 0)
    except asyncio.CancelledError:
        say(f"\n{stop.word}; tasks on the server go on.", ERROR)
        done.code = stop.code
        _name_unsent(job, done.items, job.max_items if is_sent else 0)
        # The ids of the other tasks are in the pipe of the reader that is stuck.
        _name_started(done.tasks[-1:] if stop.is_stuck else done.tasks)
    except Exception:
        # The ids that are still in a pipe are lost, too.
        _name_started(done.tasks)
        _name_unsent(job, done.items, job.max_items if is_sent else 0)
        raise
    return done


def _name_started(tasks: Iterable[StartedTask[Any]]) -> None:
    """Print which tasks were started, so that they can be waited for."""
    ids = [task.task_id for task in tasks if task.task_id is not None]
    if ids:
        say(go_on_with(ids), ERROR, facts={"task_ids": ids})


def _name_unsent(job: Job, position: int, uncertain: int) -> None:
    """Print which items were not started, so that they can be given to another run."""
    for heading, ids in (
        ("may or may not have been started", job.ids[position : position + uncertain]),
        ("not started", job.ids[position + uncertain :]),
    ):
        if ids:
            say(f"# {heading}: {job.counted(len(ids))}", ERROR, lines=ids)


def show_started(task: StartedTask[Any], counted: str, *, as_json: bool) -> None:
    """Print on stdout a task that is not waited for, ready for ``stream-tasks wait -``.

    Args:
        task: The task.
        counted: The number of items that it is for, for people.
        as_json: Whether to print JSON.
    """
    if as_json:
        fields = {"task_id": task.task_id, "operation": task.operation, "items": list(task.items)}
        click.echo(to_json(fields | {"result": task.data.get("result")}))
    elif task.task_id is not None:
        click.echo(printable(task.task_id))
    else:
        say(f"Done at once: {counted}.")


def show_failed_items(job: Job, results: Iterable[Any]) -> int:
    """Print which items of completed tasks failed, and return how many did."""
    failed = {
        key: item
        for result in results
        if isinstance(result, ItemResults)
        for key, item in result.failed.items()
    }
    if failed:
        lines = [f"  {key}: {item.error or item.status}" for key, item in failed.items()]
        say(f"{len(failed):,} of {job.counted(len(job.ids))} failed:", ERROR, lines=lines)
    return len(failed)
