"""The results of a wait: JSON lines for programs, a table for people."""

import asyncio
import sys
from collections.abc import Iterable
from typing import Final

import click
from attrs import evolve
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from stream_tasks.cli.endings import Ending
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.console import PipeConsole, show_json
from stream_tasks.cli.ui.log import ERROR, say, say_error
from stream_tasks.cli.ui.output import duration, is_terminal, printable
from stream_tasks.cli.ui.progress import Board, Row
from stream_tasks.cli.ui.screen import note_width, row_table

__all__ = ["Results", "show_unfinished"]

MAX_UNFINISHED: Final = 10
"""How many unfinished tasks are named if people should still see what is printed before them."""

_FEWEST: Final = 10
_BESIDE_ROWS: Final = 4
_INDENT: Final = 2


class Results:
    """Prints how waits ended.

    Args:
        ids: The tasks, in the order in which a table names them.
        total: How many tasks there are.
        as_json: Whether to print JSON lines even on a terminal.
        any_one: Whether only the first task that ended is wanted.

    Attributes:
        as_json: Whether JSON lines are printed.
        worst: The exit code of the worst ending so far.
    """

    def __init__(self, ids: Iterable[str], total: int, *, as_json: bool, any_one: bool) -> None:
        self._any_one = any_one
        self.as_json = as_json or not is_terminal(sys.stdout)
        self.worst = 0
        self._total = total
        self._troubles = 0
        height = Console().height if is_terminal(sys.stdout) else 0
        self._most = max(_FEWEST, (height - _BESIDE_ROWS) // 2)
        self._places = {task_id: place for place, task_id in enumerate(ids)} if self._are_few else {}
        self._kept: list[Ending] = []
        self._lines: list[str] = []
        self._news = asyncio.Event()

    @property
    def _are_few(self) -> bool:
        return self._total <= self._most

    @property
    def is_cut(self) -> bool:
        """Whether there are results that are not printed."""
        return not (self.as_json or self._are_few or self._any_one)

    def add(self, ending: Ending) -> None:
        """Add how one wait ended; `print_lines` prints JSON at once."""
        self.worst = max(self.worst, ending.exit_code)
        self._troubles += bool(ending.exit_code)
        if self.as_json:
            self._lines.append(ending.to_json())
            self._news.set()
        is_first = self._any_one and ending.is_final
        if self._are_few or is_first or (ending.exit_code and len(self._kept) < self._most):
            self._kept.append(ending)

    async def print_lines(self, stop: Stop) -> None:
        """Print JSON as it comes, until cancelled; a slow reader does not delay the waits."""
        while True:
            await self._news.wait()
            await stop.write(click.echo, self._take_lines())

    def _take_lines(self) -> str:
        self._news.clear()
        lines, self._lines = self._lines, []
        return "\n".join(lines)

    async def show(self, board: Board, stop: Stop) -> None:
        """Print what has not been printed yet."""
        if self.as_json:
            if self._lines:
                await stop.write(click.echo, self._take_lines())
            return
        if self._total == 1:
            for ending in self._kept:
                if not ending.exit_code:
                    show_json(ending.result)
            return
        kept = sorted(self._kept, key=lambda ending: self._places.get(str(ending.task_id), -1))
        self._print([_row(ending) for ending in kept])
        if not self._are_few:
            if rest := self._rest(len(kept)):
                click.echo(rest)
            click.echo(f"{self._sum(board)}, in {duration(board.elapsed)}.")

    @staticmethod
    def _print(rows: list[Row]) -> None:
        console = PipeConsole(highlight=False)
        longest = max((cell_len(row.task_id) for row in rows), default=0)
        room = note_width(longest, console.width)
        for row in rows:
            # A result may be cut off, but not an error.
            is_long = row.status != "completed" and cell_len(row.note) > room
            line = evolve(row, note="") if is_long else row
            console.print(row_table([line], console.width, task_width=longest))
            if is_long:
                console.print(Padding(Text(row.note), (0, 0, 0, _INDENT), expand=False))

    def complain(self, board: Board, *, verbose: bool) -> None:
        """Print on stderr what went wrong, unless a table shows it already."""
        troubles = [ending for ending in self._kept if ending.exit_code]
        is_told = not self.as_json and self._total > 1
        for ending in troubles[: _FEWEST if self._total > 1 else 1]:
            if not is_told:
                say_error(ending.trouble, {"task_id": ending.task_id, "status": ending.status})
            if verbose and ending.status == "failed":
                trace = (ending.error or {}).get("stacktrace")
                if is_told:
                    say(f"\nTask {ending.task_id}:", ERROR)
                say(str(trace or "The server gave no stack trace."), ERROR)
        if troubles and self.as_json and self._total > 1:
            if rest := self._rest(min(len(troubles), _FEWEST)):
                say(rest, ERROR)
            say(f"{self._sum(board)}.", ERROR, facts=board.counts)

    def _rest(self, shown: int) -> str:
        return (
            f"… and {self._troubles - shown:,} more that did not complete" if self._troubles > shown else ""
        )

    def _sum(self, board: Board) -> str:
        counts = board.counts
        parts = [f"{counts['completed']:,} of {self._total:,} tasks completed"]
        for status, words in (
            ("failed", "failed"),
            ("timed_out", "did not end in time"),
            ("error", "could not be polled"),
        ):
            if counts[status]:
                parts.append(f"{counts[status]:,} {words}")
        return ", ".join(parts)


def show_unfinished(board: Board, *, is_short: bool) -> None:
    """Print on stderr which tasks were not finished: all of them, or only `MAX_UNFINISHED`."""
    unfinished = board.unfinished
    if not unfinished:
        return
    tasks = "task" if board.total == 1 else "tasks"
    shown = MAX_UNFINISHED if is_short else len(unfinished)
    lines = [f"  {task_id}  {status or 'not seen yet'}" for task_id, status in unfinished.items()][:shown]
    if len(unfinished) > shown:
        lines.append(f"  … and {len(unfinished) - shown:,} more")
    say(f"Not finished: {len(unfinished):,} of {board.total:,} {tasks}.", ERROR, lines=lines)


def _row(ending: Ending) -> Row:
    task_id = "(done at once)" if ending.task_id is None else printable(ending.task_id)
    return Row(task_id, ending.status.replace("_", " "), ending.elapsed, ending.note)
