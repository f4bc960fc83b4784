"""``worker``: run durable waits."""

import asyncio
from typing import Any

import click

from stream_tasks.cli.options import (
    begin_log,
    client_options,
    connection_options,
    database_options,
    output_options,
)
from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]


@click.command(
    "worker",
    params=[
        *database_options(),
        click.Option(
            ["--id", "worker_id"],
            help="The id under which this worker finds its waits again when it restarts. It is needed on "
            "Postgres, where each worker has its own.",
        ),
        click.Option(
            ["--waits", "waits_per_worker"],
            type=click.IntRange(1),
            metavar="N",
            default=10_000,
            show_default=True,
            help="How many waits a worker takes at a time.",
        ),
        click.Option(
            ["--take-over"],
            metavar="ID",
            multiple=True,
            help="Take the waits of a worker that never comes back. May be given several times.",
        ),
        click.Option(["--drain"], is_flag=True, help="End when no wait is pending."),
        *output_options(),
        *connection_options(),
    ],
    help="Start and wait for what '--durable' has put into a database, until it is told to stop.\n\n"
    "stdout gets a JSON object a line, as tasks end: that of 'stream-tasks wait' with key, may_have_started "
    "and context. Waits of your own app name handlers that only your app has: run those there.\n\n"
    "SIGTERM and Ctrl-C leave what is pending to the other workers, or to this one when it is started again, "
    "and print how much that is. After kill -9 the waits go on when the worker is started again.",
    epilog=epilog(
        "stream-tasks delete-users --from ids.txt --yes --durable waits.db",
        "stream-tasks worker --database waits.db --drain",
        exit_codes={
            0: "with --drain, all tasks completed",
            1: "with --drain, a task failed",
            2: "wrong usage, no credentials, or another worker has the file or the id",
            3: "with --drain, a time-out was reached",
            4: "the database failed; with --drain, a task could not be started",
            130: "interrupted by Ctrl-C",
            143: "ended by SIGTERM",
        },
    ),
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    database: str | None,
    take_over: tuple[str, ...],
    drain: bool,
    worker_id: str | None,
    waits_per_worker: int,
    **given: Any,
) -> None:
    """Run durable waits until it is told to stop."""
    begin_log(given)
    connection = client_options(given)
    from stream_tasks.cli import codes
    from stream_tasks.cli.client import make_client
    from stream_tasks.cli.durable import HANDLER, database_errors
    from stream_tasks.cli.endings import Ending
    from stream_tasks.cli.signals import Stop, run
    from stream_tasks.cli.ui.library_log import library_log
    from stream_tasks.cli.ui.log import say
    from stream_tasks.cli.ui.output import to_json

    with database_errors(), library_log():
        from stream_tasks.durable import DurableWaits, TaskEnd

        client = make_client(connection)
        waits = DurableWaits(client, database, worker_id=worker_id, waits_per_worker=waits_per_worker)
        worst = 0

        async def main(stop: Stop) -> int:
            @waits.on_end(HANDLER)
            async def show(end: TaskEnd[Any]) -> None:
                nonlocal worst
                worst = max(worst, Ending(end.task_id, end.status).exit_code)
                await stop.write(click.echo, to_json(end.to_dict()))

            code = 0
            async with client:
                async with waits:
                    say("The worker runs.")
                    try:
                        for each in take_over:
                            say(f"{await waits.take_over(each):,} waits of {each} are taken over.")
                        while not drain or await waits.pending():  # noqa: ASYNC110 - it is in the database
                            await asyncio.sleep(0.5)
                    except asyncio.CancelledError:
                        code = stop.code
                left = len(await waits.pending())
            say(f"{stop.word}: {left:,} waits are pending." if code else "No wait is pending.")
            return max(code, worst if code < codes.SIGNAL else 0)

        ctx.exit(run(main))
