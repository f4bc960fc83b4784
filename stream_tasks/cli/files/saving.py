"""Saves exports to files."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from stream_tasks._client import AsyncStream
from stream_tasks.cli import codes
from stream_tasks.cli.files.download import OnProgress, OnTrouble, download
from stream_tasks.cli.files.target import DownloadError, Target
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.hints import export_left
from stream_tasks.cli.ui.output import printable, show_error
from stream_tasks.exceptions import StreamException
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["save"]

RENEWAL_TIMEOUT: Final = 120.0
"""How long a fresh link is waited for, in seconds: about as long as a download bears bad moments."""

_MAX_NAME: Final = 24  # columns


async def save(
    client: AsyncStream,
    tasks: Sequence[StartedTask[Any]],
    outcomes: Iterable[TaskOutcome[Any]],
    target: Target,
    stop: Stop,
    *,
    quiet: bool,
) -> int:
    """Download the exports that have completed.

    Args:
        client: The client that renews links.
        tasks: The exports.
        outcomes: Their outcomes.
        target: Where they go.
        stop: The signal that ends it.
        quiet: Whether stderr is for errors only.

    Returns:
        The exit code: 0, or 4 if one could not be saved, or 130 after Ctrl-C, 143 after SIGTERM.
    """
    urls = {str(outcome.task_id): outcome.result().url for outcome in outcomes if outcome.ok}
    code = 0
    for task, path in zip(tasks, target.paths, strict=False):
        task_id = str(task.task_id)
        if task_id not in urls:
            continue
        if code > codes.SIGNAL:
            click.echo(export_left(task_id), err=True)
            continue
        try:
            size = await _save(client, task_id, urls[task_id], path, target, quiet=quiet)
        except DownloadError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            code = codes.ERROR
        except StreamException as error:
            show_error(error)
            code = codes.ERROR
        except asyncio.CancelledError:
            click.echo(f"\n{stop.word}.", err=True)
            code = stop.code
        else:
            if not quiet:
                click.echo(printable(f"Saved {path} ({decimal(size)})."), err=True)
            continue
        click.echo(export_left(task_id), err=True)
    return code


async def _save(
    client: AsyncStream, task_id: str, url: str, path: Path, target: Target, *, quiet: bool
) -> int:
    async def renew() -> str:
        result = await client.wait_for_task(task_id, timeout=RENEWAL_TIMEOUT)
        return str(result.get("url"))

    display, on_progress, on_trouble = _shown(path.name, quiet=quiet)
    with display:
        return await download(
            url,
            path,
            overwrite=target.overwrite,
            renew=renew,
            on_progress=on_progress,
            on_trouble=on_trouble,
        )


class _Bar(Progress):
    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw an empty line below, so that a ^C that the terminal echoes does not make the bar wrap."""
        yield from super().get_renderables()
        yield ""


def _shown(name: str, *, quiet: bool) -> tuple[AbstractContextManager[object], OnProgress, OnTrouble]:
    """Return a bar, and the callbacks of a download that update it."""
    console = PipeConsole(stderr=True, highlight=False)
    bar = _Bar(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=_MAX_NAME),
        ),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    row = bar.add_task(printable(name), total=None)

    def on_trouble(why: str) -> None:
        if not quiet:
            # The console prints above the bar; click would write into it.
            console.print(Text(f"Warning: {printable(why)}; trying again."), soft_wrap=True)

    display = bar if is_live(console) and not quiet else nullcontext()
    return display, lambda size, total: bar.update(row, completed=size, total=total), on_trouble
