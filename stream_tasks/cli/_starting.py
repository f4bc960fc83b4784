"""Starting an operation for many items, and what is said of it."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import click
from attrs import define, field, frozen

from stream_tasks._batches import start_batches
from stream_tasks._client import AsyncStream
from stream_tasks._operations import MOST_ITEMS
from stream_tasks.cli import _codes
from stream_tasks.cli._endings import concerns_all
from stream_tasks.cli._hints import point_to_doctor
from stream_tasks.cli._output import complain, printable
from stream_tasks.cli._signals import Stop
from stream_tasks.exceptions import StreamBatchException, StreamRateLimitException
from stream_tasks.models import ItemResults, StartedTask

__all__ = ["Job", "Started", "complain_of_items", "show_started", "start"]


@frozen
class Job:
    """What is to be started.

    Attributes:
        operation: The operation, such as ``delete_users``.
        noun: What its items are, such as ``users``.
        ids: The ids of the items.
        options: The operation's further arguments.
        as_item: Makes an item of an id.
    """

    operation: str
    noun: str
    ids: Sequence[str]
    options: dict[str, Any] = field(factory=dict)
    as_item: Callable[[str], Any] = str

    @property
    def most(self) -> int:
        """How many items a task is for at the most."""
        return MOST_ITEMS[self.operation]

    @property
    def batches(self) -> int:
        """How many tasks it takes."""
        return -(-len(self.ids) // self.most)

    def told(self, count: int) -> str:
        """Say how many items, for people."""
        return f"{count:,} {self.noun if count != 1 else self.noun.removesuffix('s')}"


@define
class Started:
    """What was started.

    Attributes:
        tasks: A task for each batch.
        items: How many items that is.
        code: What to exit with for what was not started.
    """

    tasks: list[StartedTask[Any]] = field(factory=list)
    items: int = 0
    code: int = 0


async def start(
    client: AsyncStream,
    job: Job,
    tell: Callable[[StartedTask[Any], Sequence[str]], object],
    stop: Stop,
    again: Callable[[Sequence[str]], str],
) -> Started:
    """Start a job batch by batch; what cannot be started is said on stderr.

    Ctrl-C and SIGTERM end it like an error, and not the program.

    Args:
        client: The client.
        job: What to start.
        tell: Called with each task and the ids that it is for, as soon as it is started.
        stop: Which signal ends it.
        again: Makes the hint for going on with tasks, of their ids.
    """
    done = Started()
    operation = getattr(client, job.operation)
    is_sent = False

    async def send(items: list[Any]) -> StartedTask[Any]:
        nonlocal is_sent
        is_sent = True
        try:
            return cast("StartedTask[Any]", await operation(items, **job.options))
        except StreamRateLimitException:
            is_sent = False  # and nothing is while that is waited out
            raise

    try:
        async for task in start_batches(job.operation, send, map(job.as_item, job.ids)):
            is_sent = False
            batch = job.ids[done.items : done.items + job.most]
            done.tasks.append(task)
            done.items += len(batch)
            await stop.write(tell, task, batch)
    except StreamBatchException as error:
        complain(error)
        if concerns_all(error.__cause__):
            point_to_doctor()
        done.code = _codes.ERROR
        _name_unsent(job, done.items, len(error.batch) if error.may_have_started else 0)
    except asyncio.CancelledError:
        click.echo(f"\n{stop.word}; tasks on the server go on.", err=True)
        done.code = stop.code
        _name_unsent(job, done.items, job.most if is_sent else 0)
        # The others are still in the pipe of a reader that is stuck.
        _name_started(done.tasks[-1:] if stop.is_stuck else done.tasks, again)
    except Exception:
        # What a pipe still held is lost, too.
        _name_started(done.tasks, again)
        _name_unsent(job, done.items, job.most if is_sent else 0)
        raise
    return done


def _name_started(tasks: Iterable[StartedTask[Any]], again: Callable[[Sequence[str]], str]) -> None:
    """Print what was started, so that it can be waited for."""
    ids = [task.task_id for task in tasks if task.task_id is not None]
    if ids:
        click.echo(again(ids), err=True)


def _name_unsent(job: Job, position: int, uncertain: int) -> None:
    """Print what was not started, so that it can be given to another run."""
    for heading, ids in (
        ("may or may not have been started", job.ids[position : position + uncertain]),
        ("not started", job.ids[position + uncertain :]),
    ):
        if ids:
            click.echo(f"# {heading}: {job.told(len(ids))}", err=True)
            click.echo("\n".join(map(printable, ids)), err=True)


def show_started(job: Job, task: StartedTask[Any], ids: Sequence[str], *, as_json: bool, quiet: bool) -> None:
    """Print a task on stdout that nobody waits for, ready for ``stream-tasks wait -``."""
    if as_json:
        told = {"task_id": task.task_id, "operation": job.operation, "items": list(ids)}
        click.echo(json.dumps(told | {"result": task.data.get("result")}))
    elif task.task_id is not None:
        click.echo(printable(task.task_id))
    elif not quiet:
        click.echo(f"Done at once: {job.told(len(ids))}.", err=True)


def complain_of_items(job: Job, results: Iterable[Any]) -> int:
    """Print which items failed of tasks that completed, and return how many did."""
    failed = {
        key: item
        for result in results
        if isinstance(result, ItemResults)
        for key, item in result.failed.items()
    }
    if failed:
        click.echo(f"{len(failed):,} of {job.told(len(job.ids))} failed:", err=True)
    for key, item in failed.items():
        click.echo(printable(f"  {key}: {item.error or item.status}"), err=True)
    return len(failed)
