"""One task on the server: ``wait`` and ``get``."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import attrs
import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from stream_tasks._client import AsyncStream
from stream_tasks._http.transport import Transport
from stream_tasks._waiting.poller import Fetch
from stream_tasks._waiting.polling import Look
from stream_tasks.cli import _options
from stream_tasks.cli._options import connection_options, make_client
from stream_tasks.cli._output import duration, is_live, printable, show_json
from stream_tasks.exceptions import StreamTaskException
from stream_tasks.models import Task, TaskResult

__all__ = ["get", "wait"]

_FRAMES_PER_SECOND: Final = 10


@click.command(
    help="Wait until the task ID has ended, and print its result as JSON.\n\n"
    "A terminal shows on stderr how far it is. Passing trouble, such as a 429 or a reset, is waited out.",
    epilog="""\b
Exit codes:
  0    the task completed
  1    the task failed
  2    wrong usage, or no credentials
  3    the time ran out; the task may still be running
  4    the server could not be asked, or refused
  130  interrupted by Ctrl-C

\b
Example:
  stream-tasks wait 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e --timeout 600
""",
)
@click.argument("task_id", metavar="ID", type=_options.task_id)
@click.option(
    "--poll-interval",
    type=_options.seconds,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="The least time between two looks at the task.",
)
@click.option(
    "--timeout",
    type=_options.seconds_or_none,
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="How long to wait at the most; 0 for one look, 'none' for no limit.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Print the server's stack trace if the task failed.")
@connection_options
def wait(
    task_id: str,
    poll_interval: float,
    timeout: float | None,
    quiet: bool,
    verbose: bool,
    **connection: Any,
) -> None:
    """Wait for a task, and print its result."""
    client = make_client(_Looking, **connection)
    console = Console(stderr=True)
    progress = _Progress(client, timeout)
    display: AbstractContextManager[object] = nullcontext()
    if is_live(console) and not quiet:
        display = Live(console=console, get_renderable=progress, refresh_per_second=_FRAMES_PER_SECOND)
    try:
        with display:
            result = asyncio.run(_wait(client, task_id, poll_interval, timeout, progress))
    except StreamTaskException as error:
        if verbose:
            error.add_note(error.stack_trace or "The server gave no stack trace.")
        raise
    show_json(result)


@click.command(
    help="Look at the task ID once, and print it as JSON.",
    epilog="""\b
Exit codes:
  0  the server answered, whatever the task's status is
  2  wrong usage, or no credentials
  4  the server could not be asked, or refused

\b
Example:
  stream-tasks get 4c9bb4f0-2b56-4b52-9d3c-6c7f8f1f1c1e
""",
)
@click.argument("task_id", metavar="ID", type=_options.task_id)
@connection_options
def get(task_id: str, **connection: Any) -> None:
    """Look at a task once, and print it."""
    task = asyncio.run(_get(make_client(AsyncStream, **connection), task_id))
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


class _Looking(AsyncStream):
    """A client that counts how often it looks."""

    looks = 0

    def _look_over(self, transport: Transport) -> Fetch:
        look = super()._look_over(transport)

        def counted(task_id: str, limit: float) -> Awaitable[Look]:
            self.looks += 1
            return look(task_id, limit)

        return counted


class _Progress:
    """The one line that a terminal shows."""

    def __init__(self, client: _Looking, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout
        self._started = time.monotonic()
        self._status = "not seen yet"
        self._is_over = False
        self._spinner = Spinner("line")

    def __call__(self) -> RenderableType:
        elapsed = time.monotonic() - self._started
        looks = self._client.looks
        parts = [self._status, f"{looks} poll{'s' * (looks != 1)}", duration(elapsed)]
        if self._timeout and not self._is_over:
            parts.append(f"{duration(max(self._timeout - elapsed, 0))} left")
        line = ", ".join(parts)
        if self._is_over:
            return Text(line)
        self._spinner.update(text=line)
        return self._spinner

    def see(self, task: Task) -> None:
        """Take in a snapshot."""
        self._status = printable(task.status)

    def end(self) -> None:
        """Stand still."""
        self._is_over = True


async def _wait(
    client: _Looking, task_id: str, poll_interval: float, limit: float | None, progress: _Progress
) -> TaskResult:
    async with client:
        try:
            return await client.wait_for_task(task_id, poll_interval, limit, on_update=progress.see)
        finally:
            progress.end()


async def _get(client: AsyncStream, task_id: str) -> Task:
    async with client:
        return (await client.get_task(task_id)).data
