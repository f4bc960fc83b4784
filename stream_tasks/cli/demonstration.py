"""Four tasks on a fake server, and what the waits for them return or raise."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from attrs import define, evolve
from rich.live import Live
from rich.text import Text

from stream_tasks._client import AsyncStream
from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.library_log import library_log
from stream_tasks.cli.ui.log import ERROR, Style, set_style
from stream_tasks.cli.ui.progress import Row
from stream_tasks.cli.ui.screen import STYLES, row_table
from stream_tasks.exceptions import StreamTaskException, StreamWaitTimeoutException
from stream_tasks.models import DeleteChannelsResult, ExportChannelsResult, StartedTask, Task
from stream_tasks.testing import FakeStream, TaskFailure

__all__ = ["run"]

_FRAMES_PER_SECOND: Final = 10
_LABEL: Final = 16  # columns

Start = Callable[[AsyncStream], Coroutine[Any, Any, StartedTask[Any]]]

# What each task does and how it is started. The last one never ends.
_TASKS: Final[dict[str, tuple[str, Start]]] = {
    "export_channels": (
        "exports two channels",
        lambda client: client.export_channels([{"cid": "messaging:sales"}, {"cid": "messaging:support"}]),
    ),
    "delete_channels": (
        "deletes three channels",
        lambda client: client.delete_channels(
            ["messaging:old", "messaging:older", "messaging:evidence"], hard_delete=True
        ),
    ),
    "export_users": ("breaks on the server", lambda client: client.export_users(["ada", "grace"])),
    "reactivate_users": ("outlasts its time-out", lambda client: client.reactivate_users(["ada", "grace"])),
}


def _script(server: FakeStream, seconds: float) -> None:
    server.script_operation("export_channels", after=0.6 * seconds)
    server.script_operation("delete_channels", after=0.85 * seconds)
    server.fail_items("messaging:evidence", error="the channel is under a legal hold")
    failure = TaskFailure(
        type="storage_unavailable",
        description="the bucket for exports refused the file",
        stacktrace="export.go:118\nworker.go:42",
        version="v236.1",
    )
    server.script_operation("export_users", after=0.4 * seconds, error=failure)
    server.script_operation("reactivate_users", never=True)


async def run(seconds: float) -> None:
    """Run the demo.

    Args:
        seconds: How long the last wait lasts.
    """
    console = PipeConsole(highlight=False)
    async with FakeStream() as server:
        _script(server, seconds)
        console.print(f"Four tasks on a fake Stream server in this process ({server.url}):\n", soft_wrap=True)
        waits = [
            _Wait(Row(name, "starting", 0.0, about), time.monotonic()) for name, (about, _) in _TASKS.items()
        ]
        display: AbstractContextManager[object] = nullcontext()
        if is_live(console):
            display = Live(
                console=console,
                get_renderable=lambda: row_table([wait.row for wait in waits], console.width, headings=True),
                refresh_per_second=_FRAMES_PER_SECOND,
            )
        set_style(Style(library_level=ERROR))  # what the waits raise is shown below
        with display, library_log():
            async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
                follow = (wait.follow(client, seconds, console) for wait in waits)
                await asyncio.gather(*follow)
    console.print("\nWhat each wait returned or raised:")
    for wait in waits:
        _report(console, wait)


@define
class _Wait:
    """The wait for one task, and what came of it."""

    row: Row
    began: float
    outcome: Any = None

    async def follow(self, client: AsyncStream, seconds: float, console: PipeConsole) -> None:
        """Start the task, wait for it, and keep what the wait returned or raised."""

        def change(status: str) -> None:
            self.row = evolve(self.row, status=status, at=time.monotonic() - self.began)
            if not is_live(console):
                console.print(f"{self.row.at:5.1f} s  {self.row.task_id:<16}  {status}", soft_wrap=True)

        def see(task: Task) -> None:
            change(task.status)

        name = self.row.task_id
        started = await _TASKS[name][1](client)
        timeout = seconds if name == "reactivate_users" else 15 * seconds
        try:
            self.outcome = await client.wait_for_task(started, seconds / 16, timeout, on_update=see)
        except StreamTaskException as error:
            self.outcome = error
        except StreamWaitTimeoutException as error:
            self.outcome = error
            change("timed out")


def _report(console: PipeConsole, wait: _Wait) -> None:
    """Print what a wait returned or raised."""
    outcome = wait.outcome
    verb = "raised" if isinstance(outcome, Exception) else "returned"
    kind = type(outcome).__name__
    parts: dict[str, object] = {}
    if isinstance(outcome, ExportChannelsResult):
        parts = {".url": outcome.url}
    elif isinstance(outcome, DeleteChannelsResult):
        kind += f", but {len(outcome.failed)} of {len(outcome.items or {})} channels failed"
        parts = {".failed": "\n".join(f"{cid}: {item.error}" for cid, item in outcome.failed.items())}
    elif isinstance(outcome, StreamTaskException):
        names = ("error_type", "description", "stack_trace", "version")
        parts = {f".{name}": getattr(outcome, name) for name in names}
    else:
        parts = {"message": outcome}
    console.print(Text.assemble(f"\n{wait.row.task_id} {verb} ", (kind, STYLES[wait.row.status])))
    for name, value in parts.items():
        width = console.width - _LABEL if is_live(console) else sys.maxsize
        lines = Text(str(value)).wrap(console, width, overflow="fold")
        margins = [f"  {name}".ljust(_LABEL)] + [" " * _LABEL] * (len(lines) - 1)
        for margin, line in zip(margins, lines, strict=True):
            console.print(Text(margin) + line, soft_wrap=True)
