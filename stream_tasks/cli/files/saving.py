"""Saves exports to files."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

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
from stream_tasks.cli.files.target import Target
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.hints import export_left
from stream_tasks.cli.ui.log import ERROR, WARNING, say, say_error, style
from stream_tasks.cli.ui.output import printable
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
    exports = {str(outcome.task_id): outcome for outcome in outcomes if outcome.ok}
    code = 0
    for task, path in zip(tasks, target.paths, strict=False):
        task_id = str(task.task_id)
        if task_id not in exports:
            continue
        if code > codes.SIGNAL:
            say(export_left(task_id), ERROR)
            continue
        try:
            size = await _save(client, exports[task_id], path, target, quiet=quiet)
        except StreamException as error:
            say_error(str(error), {"task_id": task_id})
            code = codes.ERROR
        except OSError as error:
            say_error(f"{error.filename} {error.strerror}", {"task_id": task_id})
            code = codes.ERROR
        except asyncio.CancelledError:
            say(f"\n{stop.word}.", ERROR)
            code = stop.code
        else:
            facts = {"task_id": task_id, "path": str(path), "bytes": size}
            say(f"Saved {path} ({decimal(size)}).", facts=facts)
            continue
        say(export_left(task_id), ERROR)
    return code


async def _save(
    client: AsyncStream, export: TaskOutcome[Any], path: Path, target: Target, *, quiet: bool
) -> int:
    with _shown(path.name, quiet=quiet) as on_progress:
        return await client.download(
            export,
            path,
            overwrite=target.overwrite,
            link_timeout=RENEWAL_TIMEOUT,
            on_progress=on_progress,
        )


class _Bar(Progress):
    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw an empty line below, so that a ^C that the terminal echoes does not make the bar wrap."""
        yield from super().get_renderables()
        yield ""


@contextmanager
def _shown(name: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar, and yield what updates it; say above it when there is trouble."""
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

    def passes(record: logging.LogRecord) -> bool:
        """Say what trouble there is, in place of the library's log."""
        facts = vars(record)
        if facts.get("stream_event") != "download_retrying":
            return True
        why = facts["stream_reason"]
        if style().form is not None:
            say(f"{why}; trying again", WARNING)
        elif not quiet:
            # The console prints above the bar; `say` would write into it.
            console.print(Text(f"Warning: {printable(why)}; trying again."), soft_wrap=True)
        return False

    logger = logging.getLogger("stream_tasks")
    logger.addFilter(passes)
    is_drawn = is_live(console) and not quiet and style().form is None
    try:
        with bar if is_drawn else nullcontext():
            yield lambda size, total: bar.update(row, completed=size, total=total)
    finally:
        logger.removeFilter(passes)
