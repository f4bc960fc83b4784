"""Durable waits on the command line; their package is imported when one is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from stream_tasks.cli import codes
from stream_tasks.cli.job import Job
from stream_tasks.cli.ui.log import say, say_error
from stream_tasks.cli.ui.output import printable, to_json

__all__ = ["HANDLER", "database_errors", "enqueue"]

HANDLER: Final = "stream-tasks"
"""The handler of the waits that the command line makes: the worker prints their ends."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of the database into exit codes."""
    try:
        from stream_tasks.durable import DuplicateWorkerError
        from stream_tasks.durable._database import DATABASE_ERRORS
    except ImportError as error:
        raise click.UsageError(
            "durable waits need dbos, which is in the extra stream_tasks[durable]: pip install 'dbos>=3.4,<4'"
            f" ({error})"
        ) from None
    try:
        yield
    except (ValueError, DuplicateWorkerError) as error:
        raise click.UsageError(str(error)) from None
    except DATABASE_ERRORS as error:
        say_error(f"the database of the waits failed: {error}")
        raise click.exceptions.Exit(codes.ERROR) from None


def enqueue(database: str, job: Job, key: str | None, *, as_json: bool, **pace: Any) -> None:
    """Put a job into the database, batch by batch, and print the keys of the waits.

    Args:
        database: The file or the URL.
        job: What to start.
        key: The key; of several batches, its beginning.
        as_json: Whether to print JSON lines.
        pace: ``poll_interval`` and ``timeout``.
    """
    options = {name: value for name, value in job.options.items() if value is not None}
    with database_errors():
        from stream_tasks.durable import BlockingWaitClient

        with BlockingWaitClient(database) as waits:
            for number, start in enumerate(range(0, len(job.ids), job.max_items), 1):
                ids = job.ids[start : start + job.max_items]
                items = [job.as_item(each) for each in ids]
                own = key if key is None or job.batches == 1 else f"{key}-{number}"
                made = waits.start(job.operation, items, handler=HANDLER, key=own, **pace, **options)
                fields = {"key": made, "operation": job.operation, "items": list(ids)}
                click.echo(to_json(fields) if as_json else printable(made))
    # Not the URL, which may hold a password.
    where = f": stream-tasks worker --database {database}" if "://" not in database else "."
    say(f"A worker will do this for {job.counted(len(job.ids))}{where}")
