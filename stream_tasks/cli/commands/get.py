"""``get``: look at one task."""

from typing import Any

import click

from stream_tasks.cli.options import client_options, connection_options, task_id
from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]


@click.command(
    "get",
    params=[click.Argument(["task"], metavar="ID", type=task_id), *connection_options()],
    help="Look at the task ID once, and print it as JSON, whatever its status is.",
    epilog=epilog(
        "stream-tasks get 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e",
        exit_codes={
            0: "the server answered, whatever the task's status is",
            2: "wrong usage, or no credentials",
            4: "the server could not be reached, or it refused the request",
        },
    ),
)
def command(*, task: str, **given: Any) -> None:
    """Look at a task once, and print it."""
    connection = client_options(given)
    from attrs import asdict

    from stream_tasks.cli.client import make_client
    from stream_tasks.cli.signals import Stop, run
    from stream_tasks.cli.ui.console import show_json
    from stream_tasks.models import Task

    client = make_client(connection)

    async def look(_: Stop) -> Task:
        async with client:
            return (await client.get_task(task)).data

    found = run(look)
    show_json(
        {
            "task_id": found.task_id,
            "status": found.status,
            "created_at": found.created_at.isoformat(),
            "updated_at": found.updated_at.isoformat(),
            "result": found.result,
            "error": None if found.error is None else asdict(found.error),
        }
    )
