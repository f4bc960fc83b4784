"""Saving what was exported."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, Self

import click
from attrs import frozen
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
from stream_tasks.cli import _codes
from stream_tasks.cli._download import DownloadError, check_target, download
from stream_tasks.cli._output import PipeConsole, complain, is_live, printable
from stream_tasks.cli._signals import Stop
from stream_tasks.exceptions import StreamException
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["Target", "save"]

_WIDEST_NAME: Final = 24


@frozen
class Target:
    """Where exports go.

    Attributes:
        paths: A file for each of them.
        overwrite: Whether files may be there already.
    """

    paths: list[Path]
    overwrite: bool

    @classmethod
    def of(cls, path: Path, count: int, *, overwrite: bool) -> Self:
        """Name a file for each of `count` exports: of several, the first is ``NAME-1.json``, and so on.

        Raises:
            click.BadParameter: One of them cannot be written.
        """
        width = len(str(count))
        paths = [
            path if count == 1 else path.with_stem(f"{path.stem}-{number:0{width}}")
            for number in range(1, count + 1)
        ]
        for each in paths:
            check_target(each, overwrite=overwrite)
        return cls(paths, overwrite)


async def save(
    client: AsyncStream,
    tasks: Sequence[StartedTask[Any]],
    outcomes: Iterable[TaskOutcome[Any]],
    target: Target,
    stop: Stop,
    *,
    link_of: Callable[[str], str],
    quiet: bool,
) -> int:
    """Download the exports that have completed.

    Args:
        client: The client to make fresh links with.
        tasks: The exports.
        outcomes: What came of them.
        target: Where they go.
        stop: Which signal ends it.
        link_of: Tells how to get one that was not saved, of its task's id.
        quiet: Whether stderr is for errors only.

    Returns:
        The code to exit with: 0, or 4 when one could not be saved, or 130 after Ctrl-C, 143 after
        a SIGTERM.
    """
    urls = {str(outcome.task_id): outcome.result().url for outcome in outcomes if outcome.ok}
    code = 0
    for task, path in zip(tasks, target.paths, strict=False):
        task_id = str(task.task_id)
        if task_id not in urls:
            continue
        if code > _codes.SIGNAL:
            click.echo(link_of(task_id), err=True)
            continue
        try:
            size = await _save(client, task_id, urls[task_id], path, target, quiet=quiet)
        except DownloadError as error:
            click.echo(f"Error: {printable(error.message)}", err=True)
            code = _codes.ERROR
        except StreamException as error:
            complain(error)
            code = _codes.ERROR
        except asyncio.CancelledError:
            click.echo(f"\n{stop.word}.", err=True)
            code = stop.code
        else:
            if not quiet:
                click.echo(printable(f"Saved {path} ({decimal(size)})."), err=True)
            continue
        click.echo(link_of(task_id), err=True)
    return code


class _Bar(Progress):
    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw a line below, on which a ^C that the terminal echoes cannot make the bar wrap."""
        yield from super().get_renderables()
        yield ""


async def _save(
    client: AsyncStream, task_id: str, url: str, path: Path, target: Target, *, quiet: bool
) -> int:
    async def renew() -> str:
        task = (await client.get_task(task_id)).data
        return str((task.result or {}).get("url"))

    def tell(why: str) -> None:
        if not quiet:
            # Above the bar, which click would write into.
            console.print(Text(f"Warning: {printable(why)}; trying again."), soft_wrap=True)

    console = PipeConsole(stderr=True, highlight=False)
    bar = _Bar(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=_WIDEST_NAME),
        ),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    row = bar.add_task(printable(path.name), total=None)
    shown: AbstractContextManager[object] = bar if is_live(console) and not quiet else nullcontext()
    with shown:
        return await download(
            url,
            path,
            overwrite=target.overwrite,
            renew=renew,
            seen=lambda size, total: bar.update(row, completed=size, total=total),
            tell=tell,
        )
