"""``wait``: wait for tasks."""

from contextlib import ExitStack
from typing import Any

import click

from stream_tasks.cli.files.ids import read_ids, task_of
from stream_tasks.cli.options import (
    FILE,
    begin_log,
    check_export_options,
    client_options,
    connection_options,
    export_options,
    output_options,
    pace_options,
    source_options,
)
from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.hints import go_on
from stream_tasks.cli.ui.log import say

__all__ = ["command"]


def _operation(value: str) -> str:
    from stream_tasks.cli.operations import operation_name

    return operation_name(value)


@click.command(
    "wait",
    params=[
        click.Argument(["ids"], metavar="[ID]...", nargs=-1),
        *source_options(),
        *pace_options(
            timeout=60,
            about="The time-out of the whole wait; 0 for one poll of each task, 'none' for no time-out.",
        ),
        click.Option(["--any", "any_one"], is_flag=True, help="End with the first task that has ended."),
        click.Option(
            ["--fail-fast"],
            is_flag=True,
            help="End with the first task that fails, and name those not finished.",
        ),
        click.Option(
            ["--journal"],
            type=FILE,
            metavar="FILE",
            help="Keep what has ended in FILE, a JSON object a line. The same command with the same file "
            "goes on where it was stopped: it prints what has ended, and waits for the rest.",
        ),
        click.Option(
            ["--operation"],
            metavar="NAME",
            type=_operation,
            help="The operation that started the tasks, such as create-import: imports are polled elsewhere.",
        ),
        *export_options(),
        *output_options(),
        *connection_options(),
    ],
    help="Wait until tasks have ended, and print their results.\n\n"
    "Ids come from the command line, from files, or with '-' from stdin. Files and stdin hold an id a line, "
    "or a JSON object a line with the id as task_id, as --no-wait --json and this command print it. Blank "
    "lines and lines that begin with '#' are ignored, and an id that comes twice counts once.\n\n"
    "A terminal shows the progress, and at the end the results. Otherwise, or with --json, stdout gets a "
    "JSON object a line, as tasks end: task_id, status (completed, failed, timed_out, error), last_status, "
    "result, error (type, description, stacktrace, version), polls, elapsed, operation and items if they are "
    "known, saved (the file of --output). Everything else is on stderr. "
    "Passing trouble, such as a 429 or a reset, does not end the wait. If several exit codes apply, the "
    "highest wins.",
    epilog=epilog(
        "stream-tasks wait 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e --timeout 600",
        "stream-tasks wait --from ids.txt --journal wait.jsonl --timeout none",
        "stream-tasks wait 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e --output users.json",
        "cat ids.txt | stream-tasks wait - --fail-fast | jq -r .result.url",
        exit_codes={
            0: "completed; with --any, the first task to end did",
            1: "a task failed",
            2: "wrong usage, no credentials, or a file or stdout cannot be used",
            3: "the time-out was reached; a task may still be running",
            4: "a task could not be polled or saved, or the credentials are refused",
            130: "interrupted by Ctrl-C",
            141: "the reader of the output has gone",
            143: "ended by SIGTERM",
        },
    ),
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    ids: tuple[str, ...],
    sources: tuple[str, ...],
    column: str | None,
    journal: str | None,
    output: str | None,
    overwrite: bool,
    **given: Any,
) -> None:
    """Wait for tasks, and print their results."""
    begin_log(given)
    connection = client_options(given)
    check_export_options(output, overwrite=overwrite)
    described: dict[str, dict[str, Any]] = {}
    tasks = read_ids(ids, sources, read=lambda line: task_of(line, described), column=column)
    from stream_tasks.cli.client import make_client
    from stream_tasks.cli.files.journal import Journal
    from stream_tasks.cli.operations import as_started
    from stream_tasks.cli.signals import Stop, run
    from stream_tasks.cli.ui.library_log import library_log
    from stream_tasks.cli.waiting import WaitOptions, wait_and_show

    async def main(stop: Stop) -> int:
        async with client:
            known = [as_started(each, described.get(each, {})) for each in tasks]
            return await wait_and_show(client, known, options, stop)

    def again(_: object, *, is_at_once: bool) -> str:
        return go_on(ids, sources, has_journal=journal is not None, without_fail_fast=is_at_once)

    if not tasks:
        say("No ids: there is nothing to wait for.")
    with ExitStack() as stack:
        stack.enter_context(library_log())
        client = make_client(connection)
        opened = None if journal is None else stack.enter_context(Journal(journal))
        target = None
        if output is not None and tasks:
            from pathlib import Path

            from stream_tasks.cli.files.target import Target

            saved = [] if opened is None else [ending.saved for ending in opened.endings.values()]
            target = Target.of(Path(output), len(tasks), overwrite=overwrite, saved=saved)
        options = WaitOptions(journal=opened, again=again, target=target, **given)
        code = run(main)
    ctx.exit(code)
