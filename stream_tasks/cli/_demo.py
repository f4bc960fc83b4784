"""``demo``: four tasks at once, and what comes of them."""

import asyncio
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import define, frozen
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_tasks._client import AsyncStream
from stream_tasks.cli import _signals
from stream_tasks.cli._help import epilog
from stream_tasks.cli._output import PipeConsole, duration, is_live
from stream_tasks.cli._warnings import warnings_on_stderr
from stream_tasks.exceptions import StreamTaskException, StreamWaitTimeoutException
from stream_tasks.models import DeleteChannelsResult, ExportChannelsResult, StartedTask, Task

if TYPE_CHECKING:
    from stream_tasks.testing import FakeStream

__all__ = ["demo"]

SECONDS: Final = 4.0
"""How long the demo lasts."""

_FRAMES_PER_SECOND: Final = 10
_FINAL_STYLES: Final = {"completed": "green", "failed": "red", "timed out": "yellow"}
_LABEL: Final = "  {:<14}"
_NEVER_WRAP: Final = 10_000


@frozen
class _Job:
    """One task: the method that starts it, what that does, and how long it is waited for."""

    name: str
    about: str
    start: Callable[[AsyncStream], Coroutine[Any, Any, StartedTask[Any]]]
    patience: float = 15.0


_JOBS: Final = (
    _Job(
        "export_channels",
        "exports two channels",
        lambda client: client.export_channels([{"cid": "messaging:sales"}, {"cid": "messaging:support"}]),
    ),
    _Job(
        "delete_channels",
        "deletes three channels",
        lambda client: client.delete_channels(
            ["messaging:old", "messaging:older", "messaging:evidence"], hard_delete=True
        ),
    ),
    _Job(
        "export_users",
        "breaks on the server",
        lambda client: client.export_users(["ada", "grace"]),
    ),
    _Job(
        "reactivate_users",
        "outlasts its deadline",
        lambda client: client.reactivate_users(["ada", "grace"]),
        patience=1.0,
    ),
)


def _script(server: "FakeStream", seconds: float) -> None:
    from stream_tasks.testing import TaskFailure  # noqa: PLC0415 - see below

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


@click.command(
    help="Show the library at work, in four seconds and without an account.\n\n"
    "A fake Stream server runs in this process. Four tasks are started and waited for at once: an export, "
    "a hard delete with a channel that fails, a task that fails as a whole, and one that outlasts its "
    "deadline. Then you see what each wait returned or raised.",
    short_help="Show the library at work, without an account.",
    epilog=epilog("stream-tasks demo"),
)
def demo() -> None:
    """Show the library at work."""
    _signals.run(lambda _: _demo(PipeConsole(highlight=False)))


@define
class _Row:
    """One task, as the screen shows it."""

    job: _Job
    server: "FakeStream"
    echo: Callable[["_Row"], None]
    began: float
    status: str = "starting"
    task_id: str = ""
    ended: float | None = None
    outcome: Any = None

    @property
    def polls(self) -> int:
        return len(self.server.polls(self.task_id))

    @property
    def elapsed(self) -> float:
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    def see(self, task: Task) -> None:
        """Take in a snapshot."""
        self.change(task.status)

    def change(self, status: str) -> None:
        """Show another status."""
        self.status = status
        self.echo(self)

    async def follow(self, client: AsyncStream) -> None:
        """Start the task, wait for it, and keep what comes of it."""
        started = await self.job.start(client)
        self.task_id = started.task_id or ""
        try:
            self.outcome = await client.wait_for_task(
                started, SECONDS / 16, SECONDS * self.job.patience, on_update=self.see
            )
        except StreamTaskException as error:
            self.outcome = error
        except StreamWaitTimeoutException as error:
            self.outcome = error
            self.change("timed out")
        self.ended = time.monotonic()


async def _demo(console: Console) -> None:
    from stream_tasks.testing import FakeStream  # noqa: PLC0415 - other commands begin sooner without

    live = is_live(console)

    def echo(row: _Row) -> None:
        if not live:
            polls = f"{row.polls} poll{'s' * (row.polls != 1)}"
            _say(console, f"{row.elapsed:5.1f} s  {row.job.name:<16}  {row.status:<9}  {polls}")

    async with FakeStream() as server:
        _script(server, SECONDS)
        now = time.monotonic()
        rows = [_Row(job, server, echo, now) for job in _JOBS]
        _say(console, f"Four tasks on a fake Stream server in this process ({server.url}):\n")
        display: AbstractContextManager[object] = nullcontext()
        if live:
            display = Live(
                console=console,
                get_renderable=lambda: _table(rows),
                refresh_per_second=_FRAMES_PER_SECOND,
            )
        client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
        with display, warnings_on_stderr(quiet=True):
            async with client:
                await asyncio.gather(*(row.follow(client) for row in rows))
    _say(console, "\nWhat each wait returned or raised:")
    for row in rows:
        _report(console, row)


def _table(rows: list[_Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in ("task", "what it does", "status"):
        table.add_column(heading, no_wrap=True, min_width=len("timed out"))
    for heading in ("polls", "elapsed"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len("elapsed"))
    for row in rows:
        style = _FINAL_STYLES.get(row.status, "cyan")
        status = Text(row.status, style)
        table.add_row(row.job.name, row.job.about, status, str(row.polls), duration(row.elapsed))
    return table


def _report(console: Console, row: _Row) -> None:
    """Print what a wait returned or raised, its attributes as they are called in code."""
    outcome = row.outcome
    verb = "raised" if isinstance(outcome, Exception) else "returned"
    style = _FINAL_STYLES[row.status]
    kind = type(outcome).__name__
    if isinstance(outcome, DeleteChannelsResult):
        kind += f", but {len(outcome.failed)} of {len(outcome.items or {})} channels failed"
        style = "yellow"
    console.print(Text.assemble(f"\n{row.job.name} {verb} ", (kind, style)), soft_wrap=True)
    width = console.width if is_live(console) else _NEVER_WRAP
    for name, value in _attributes(outcome):
        label = _LABEL.format(name)
        margin = " " * len(label)
        lines = [
            textwrap.fill(
                line,
                width,
                initial_indent=margin,
                subsequent_indent=margin,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in value.splitlines()
        ]
        text = Text(label + "\n".join(lines).removeprefix(margin))
        text.stylize("dim", 0, len(label))
        console.print(text, soft_wrap=True)


def _attributes(outcome: Any) -> Iterator[tuple[str, str]]:
    if isinstance(outcome, ExportChannelsResult):
        yield ".url", outcome.url
    elif isinstance(outcome, DeleteChannelsResult):
        for cid, item in outcome.failed.items():
            yield ".failed", f"{cid}: {item.error}"
    elif isinstance(outcome, StreamTaskException):
        yield ".error_type", outcome.error_type
        yield ".description", outcome.description
        yield ".stack_trace", str(outcome.stack_trace)
        yield ".version", str(outcome.version)
    else:
        yield "message", str(outcome)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
