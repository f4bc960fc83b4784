"""Tasks on the server: ``wait`` and ``get``."""

from contextlib import ExitStack
from typing import Any

import attrs
import click

from stream_tasks._client import AsyncStream
from stream_tasks.cli import _options, _signals
from stream_tasks.cli._help import epilog
from stream_tasks.cli._hints import Remembering, go_on
from stream_tasks.cli._ids import read_ids, task_of
from stream_tasks.cli._journal import Journal
from stream_tasks.cli._options import (
    connection_options,
    from_option,
    make_client,
    output_options,
    pace_options,
)
from stream_tasks.cli._output import show_json
from stream_tasks.cli._signals import Stop
from stream_tasks.cli._waiting import WaitOptions, wait_and_show
from stream_tasks.cli._warnings import warnings_on_stderr
from stream_tasks.models import Task

__all__ = ["get", "wait"]


@click.command(
    cls=Remembering,
    params=[
        click.Argument(["ids"], metavar="[ID]...", nargs=-1),
        from_option(),
        *pace_options(
            timeout=60,
            about="How long to wait at the most, for all; 0 for one look at each, 'none' for no limit.",
        ),
        click.Option(["--any", "any_one"], is_flag=True, help="End with the first task that has ended."),
        click.Option(
            ["--fail-fast"],
            is_flag=True,
            help="End with the first that fails, and name those not finished.",
        ),
        click.Option(
            ["--journal"],
            type=_options.FILE,
            metavar="FILE",
            help="Keep what has ended in FILE, a JSON object a line. The same command with the same file "
            "goes on where it was stopped: it prints what has ended, and waits for the rest.",
        ),
        *output_options(),
    ],
    help="Wait until the tasks have ended, and print what came of them.\n\n"
    "Ids come from the command line, from files, or with '-' from stdin: one a line, or the task_id of a "
    "line's JSON object; blank lines and lines that begin with '#' are passed over, and an id that comes "
    "twice counts once.\n\n"
    "A terminal shows how far they are, and at the end their results. Elsewhere, or with --json, stdout gets "
    "a JSON object a line, as tasks end: task_id, status (completed, failed, timed_out, error), last_status, "
    "result, error (type, description, stacktrace, version), polls, elapsed. Everything else is on stderr. "
    "Passing trouble, such as a 429 or a reset, is waited out. Of the exit codes the highest wins.",
    short_help="Wait for tasks, and print what came of them.",
    epilog=epilog(
        "stream-tasks wait 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e --timeout 600",
        "stream-tasks wait --from ids.txt --journal wait.jsonl --timeout none",
        "cat ids.txt | stream-tasks wait - --fail-fast | jq -r .result.url",
        exit_codes={
            0: "completed; with --any, the first to end did",
            1: "one failed",
            2: "wrong usage, no credentials, or a file or stdout that cannot be used",
            3: "the time ran out; a task may still be running",
            4: "one could not be asked for, or the server refuses the credentials",
            130: "interrupted by Ctrl-C",
            141: "whoever read the output has gone",
            143: "ended by SIGTERM",
        },
    ),
)
@connection_options
@click.pass_context
def wait(
    ctx: click.Context,
    /,
    *,
    ids: tuple[str, ...],
    sources: tuple[str, ...],
    journal: str | None,
    poll_interval: float,
    timeout: float | None,
    any_one: bool,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **connection: Any,
) -> None:
    """Wait for tasks, and print what came of them."""
    with ExitStack() as stack:
        stack.enter_context(warnings_on_stderr(quiet=quiet))
        client = make_client(AsyncStream, **connection)
        tasks = read_ids(ids, sources, read=task_of)
        if not tasks and not quiet:
            click.echo("No ids: there is nothing to wait for.", err=True)
        options = WaitOptions(
            poll_interval=poll_interval,
            timeout=timeout,
            any_one=any_one,
            fail_fast=fail_fast,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
            journal=None if journal is None else stack.enter_context(Journal(journal)),
            again=lambda _, is_at_once: go_on(ctx, without="fail_fast" if is_at_once else None),
        )
        code = _signals.run(lambda stop: _wait(client, tasks, options, stop))
    ctx.exit(code)


@click.command(
    cls=Remembering,
    help="Look at the task ID once, and print it as JSON.",
    epilog=epilog(
        "stream-tasks get 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e",
        exit_codes={
            0: "the server answered, whatever the task's status is",
            2: "wrong usage, or no credentials",
            4: "the server could not be asked, or refused",
        },
    ),
)
@click.argument("task_id", metavar="ID", type=_options.task_id)
@connection_options
def get(task_id: str, **connection: Any) -> None:
    """Look at a task once, and print it."""
    client = make_client(AsyncStream, **connection)
    task = _signals.run(lambda _: _get(client, task_id))
    show_json(
        {
            "task_id": task.task_id,
            "status": task.status,
            "created_at": task.created_at.isoformat(),
            "updated_at": task.updated_at.isoformat(),
            "result": task.result,
            "error": None if task.error is None else attrs.asdict(task.error),
        }
    )


async def _wait(client: AsyncStream, tasks: list[str], options: WaitOptions, stop: Stop) -> int:
    async with client:
        return await wait_and_show(client, tasks, options, stop)


async def _get(client: AsyncStream, task_id: str) -> Task:
    async with client:
        return (await client.get_task(task_id)).data
