"""Saves exports to files."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from attrs import evolve
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
from stream_tasks.cli.endings import Ending
from stream_tasks.cli.files.target import Target
from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.hints import save_later
from stream_tasks.cli.ui.log import WARNING, say, say_error, style
from stream_tasks.cli.ui.output import printable
from stream_tasks.exceptions import StreamException

__all__ = ["Exports"]

RENEWAL_TIMEOUT: Final = 120.0
"""How long a fresh link is waited for, in seconds: about as long as a download bears bad moments."""

_MAX_NAME: Final = 24  # columns


class Exports:
    """The exports of a wait: what completed, and is not saved yet.

    Args:
        ids: The tasks.
        target: Where their exports go, in the same order; None if they are not saved.

    Attributes:
        unsaved: The tasks that have completed and whose exports are not saved.
    """

    def __init__(self, ids: Iterable[str], target: Target | None) -> None:
        self.unsaved: dict[str, Ending] = {}
        self._paths = {} if target is None else dict(zip(ids, target.paths, strict=False))
        self._overwrite = target is not None and target.overwrite

    def take(self, ending: Ending) -> bool:
        """Return whether there is an export to save, and keep it for `save`."""
        if ending.status != "completed" or ending.task_id not in self._paths or ending.saved is not None:
            return False
        self.unsaved[ending.task_id] = ending
        return True

    async def save(self, client: AsyncStream, *, quiet: bool) -> AsyncGenerator[Ending]:
        """Save what was kept, in the order of the tasks, and say how that went.

        Args:
            client: The client that renews links.
            quiet: Whether stderr is for errors only.

        Yields:
            Each ending, with the file that was saved; what could not be saved stays in `unsaved`.
        """
        for task_id in filter(self.unsaved.__contains__, self._paths):
            path = self._paths[task_id]
            try:
                size = await self._download(client, self.unsaved[task_id], path, quiet=quiet)
            except (StreamException, ValueError) as error:
                say_error(str(error), {"task_id": task_id})
                continue
            except OSError as error:
                say_error(f"{error.filename} {error.strerror}", {"task_id": task_id})
                continue
            facts = {"task_id": task_id, "path": str(path), "bytes": size}
            say(f"Saved {path} ({decimal(size)}).", facts=facts)
            yield evolve(self.unsaved.pop(task_id), saved=str(path))

    async def _download(self, client: AsyncStream, ending: Ending, path: Path, *, quiet: bool) -> int:
        task_id = str(ending.task_id)
        url = ending.result.get("url") if isinstance(ending.result, dict) else None
        if not isinstance(url, str):
            raise ValueError(f"task {task_id} is not an export: its result has no url")  # noqa: TRY004
        with _shown(path.name, quiet=quiet) as on_progress:
            return await client.download(
                url,
                path,
                task=task_id,
                overwrite=self._overwrite,
                link_timeout=RENEWAL_TIMEOUT,
                on_progress=on_progress,
            )

    def hint(self, ids: Iterable[str]) -> str:
        """Tell how to save the exports of some tasks later."""
        return save_later({each: str(self._paths[each]) for each in ids}, overwrite=self._overwrite)


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
        else:
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
