"""``pending``: list durable waits."""

from typing import Any

import click

from stream_tasks.cli.options import begin_log, database_options, output_options
from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]


@click.command(
    "pending",
    params=[
        *database_options(),
        *output_options(),
    ],
    help="List the durable waits that have not ended, or whose handler has not.\n\n"
    "Without a terminal, or with --json, stdout gets a JSON object a line: key, task_id, operation, handler, "
    "worker (null while none runs it), deadline, context.",
    epilog=epilog(
        "stream-tasks pending --database waits.db",
        exit_codes={0: "they are listed", 2: "wrong usage", 4: "the database failed"},
    ),
)
def command(database: str | None, **given: Any) -> None:
    """List durable waits."""
    begin_log(given)
    import sys

    from stream_tasks.cli.durable import database_errors
    from stream_tasks.cli.ui.log import say
    from stream_tasks.cli.ui.output import is_terminal, printable, to_json

    with database_errors():
        from stream_tasks.durable import BlockingWaitClient

        with BlockingWaitClient(database) as waits:
            found = waits.pending()
    for each in found:
        if given["as_json"] or not is_terminal(sys.stdout):
            click.echo(to_json(each.to_dict()))
        else:
            what = each.operation or each.task_id
            click.echo(printable(f"{each.key}  {what}  {each.worker or 'queued'}  {each.deadline or ''}"))
    say(f"{len(found):,} waits are pending.")
