"""Starts a job, waits for its tasks and saves what they export."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from stream_tasks._client import AsyncStream
from stream_tasks.cli import codes, signals
from stream_tasks.cli.files.target import Target
from stream_tasks.cli.job import Job
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.starting import show_failed_items, show_started, start
from stream_tasks.cli.ui.hints import go_on_with
from stream_tasks.cli.ui.library_log import library_log
from stream_tasks.cli.ui.log import ERROR, say
from stream_tasks.cli.waiting import WaitOptions, wait_and_show
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["start_and_wait", "start_import"]


def start_and_wait(
    client: AsyncStream, job: Job, target: Target | None, *, is_waiting: bool, **shown: Any
) -> int:
    """Start a job, and wait for its tasks unless that is not wanted.

    Args:
        client: The client; it is closed.
        job: What to start.
        target: Where exports are saved, if they are.
        is_waiting: Whether to wait.
        shown: How to wait and what to show: the `WaitOptions` that the command has.

    Returns:
        The exit code.
    """
    options = WaitOptions(again=lambda ids, **_: go_on_with(ids), started_here=True, target=target, **shown)

    async def main(stop: Stop) -> int:
        async with client:
            if not is_waiting:
                return await _start(client, job, options, stop)
            return await _start_and_wait(client, job, options, stop)

    with library_log():
        return signals.run(main)


def start_import(
    client: AsyncStream, operation: str, arguments: Mapping[str, Any], *, is_waiting: bool, **shown: Any
) -> int:
    """Start an import, and wait for it unless that is not wanted.

    Args:
        client: The client; it is closed.
        operation: The operation that starts it.
        arguments: The operation's arguments.
        is_waiting: Whether to wait.
        shown: How to wait and what to show: the `WaitOptions` that the command has.

    Returns:
        The exit code.
    """
    hint = functools.partial(go_on_with, options=("--operation", operation))
    options = WaitOptions(again=lambda ids, **_: hint(ids), started_here=True, **shown)

    async def main(stop: Stop) -> int:
        async with client:
            try:
                started = await getattr(client, operation)(**arguments)
            except asyncio.CancelledError:
                say(f"\n{stop.word}; the import may or may not have been started.", ERROR)
                return stop.code
            if not is_waiting:
                await stop.write(
                    functools.partial(show_started, started, "1 import", as_json=options.as_json)
                )
                return 0
            say(f"Started {started.task_id}.", facts={"task_id": started.task_id, "operation": operation})
            return await wait_and_show(client, [started], options, stop)

    with library_log():
        return signals.run(main)


async def _start(client: AsyncStream, job: Job, options: WaitOptions, stop: Stop) -> int:
    def on_started(task: StartedTask[Any], ids: Sequence[str]) -> None:
        show_started(task, job.counted(len(ids)), as_json=options.as_json)

    started = await start(client, job, on_started, stop)
    failed = show_failed_items(job, (task.result for task in started.tasks))
    return max(started.code, codes.FAILED if failed else 0)


async def _start_and_wait(client: AsyncStream, job: Job, options: WaitOptions, stop: Stop) -> int:
    def on_started(task: StartedTask[Any], ids: Sequence[str]) -> None:
        if task.task_id is not None:
            facts = {"task_id": task.task_id, "operation": job.operation, "items": list(ids)}
            say(f"Started {task.task_id} for {job.counted(len(ids))}.", facts=facts)

    started = await start(client, job, on_started, stop)
    if not started.tasks or started.code > codes.SIGNAL:
        return started.code
    outcomes: list[TaskOutcome[Any]] = []
    code = await wait_and_show(client, started.tasks, options, stop, on_outcome=outcomes.append)
    if show_failed_items(job, (outcome.result() for outcome in outcomes if outcome.ok)):
        code = max(code, codes.FAILED)
    return max(started.code, code)
