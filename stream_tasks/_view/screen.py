"""What is drawn on a terminal, with rich: a bar for all tasks, and a table."""

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from threading import RLock
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_tasks._view.board import Board, Row, explain
from stream_tasks._view.lines import Nothing
from stream_tasks._view.text import duration, is_terminal, printable

__all__ = ["PipeConsole", "Screen", "SharedConsole", "cell", "is_apart", "is_live", "note_width", "row_table"]

STYLES: Final = {"completed": "green", "failed": "red", "timed out": "yellow", "error": "red"}

_STATUS: Final = len("completed")
_AFTER: Final = len("59.9 s")
_NOTE: Final = 16
_GAP: Final = 2

_TALLEST: Final = 20
_BESIDE_ROWS: Final = 6
_WIDEST_BAR: Final = 100
_ROWS_EVERY: Final = 1.0


class PipeConsole(Console):
    """A console that leaves a closed pipe to whoever draws."""

    def on_broken_pipe(self) -> None:
        """Raise again what rich would turn into an exit code of its own."""
        raise BrokenPipeError


class SharedConsole(PipeConsole):
    """A console on stderr that one thread at a time writes to.

    rich's own locks do not cover the write: what one thread prints, and what another one draws, would be
    written in an order that neither expects.

    Args:
        turn: Held while something is written. Whoever draws holds it from the beginning.
    """

    def __init__(self, turn: RLock) -> None:
        super().__init__(stderr=True)
        self._turn = turn

    def __enter__(self) -> Console:
        self._turn.acquire()
        return super().__enter__()

    def __exit__(self, *given: object) -> None:
        try:
            super().__exit__(*given)
        finally:
            self._turn.release()


def is_live(console: Console) -> bool:
    """Whether lines that were written can be overwritten. A forced colour does not make a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


def is_apart(*, as_json: bool) -> bool:
    """Whether lines on stdout cannot appear in the middle of what is drawn on stderr.

    Args:
        as_json: Whether lines are written to stdout while something is drawn.
    """
    if is_terminal(sys.stdout):
        return not as_json
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return True  # there is no stdout
    # The reader of a pipe often writes to the same terminal.
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode)


class Screen(Nothing):
    """Draws on a terminal: a bar for all tasks, and the tasks that changed last.

    Args:
        board: The wait.
        console: The terminal.
        takes_stdout: Whether what the program prints is to appear above what is drawn.
    """

    every = 0.25

    def __init__(self, board: Board, console: Console, *, takes_stdout: bool = False) -> None:
        self._board = board
        self._console = console
        self._rows: list[Row] = []
        self._rows_at = 0.0
        self._takes_stdout = takes_stdout
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=takes_stdout,
        )

    def __enter__(self) -> None:
        self._live.start()
        # A process that is killed, or stopped by Ctrl-Z, could not show the cursor again.
        self._console.show_cursor()

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            stack.callback(self._live.stop)
            if self._takes_stdout:
                # rich would forget a line that has no end yet.
                sys.stdout.flush()

    def tick(self) -> None:
        """Draw again."""
        self._live.refresh()

    def _draw(self) -> RenderableType:
        board, width = self._board, self._console.width
        parts: list[RenderableType] = []
        beside = _BESIDE_ROWS
        if board.total is None or board.total > 1:
            if board.total is not None:
                # A bar without a table does not end its line.
                bar = Table.grid()
                room = min(width, _WIDEST_BAR)
                bar.add_row(
                    ProgressBar(board.total, board.done, width=room, complete_style=STYLES["completed"])
                )
                parts.append(bar)
            lines = Text(board.progress).wrap(self._console, width)
            for line in lines:
                line.highlight_regex(r"\b[1-9][\d,]* failed", STYLES["failed"])
            parts += lines
            beside += len(lines) - 1
        else:
            parts.append(cell(board.time_left))
        trouble = board.obstacle
        parts.append(cell("" if trouble is None else explain(trouble), "yellow"))
        most = max(1, min(self._console.height - beside, _TALLEST))
        # With thousands of tasks, the rows would change too fast to read.
        are_few = board.total is not None and board.total <= most
        if not self._rows or are_few or board.elapsed >= self._rows_at + _ROWS_EVERY:
            self._rows, self._rows_at = board.rows(most), board.elapsed
        if self._rows:
            parts.append(row_table(self._rows[:most], width, headings=board.total != 1))
        # An empty line, so that a ^C that the terminal echoes does not make the table wrap.
        return Group(*parts, "")


def note_width(task_width: int, width: int) -> int:
    """Return how wide a note can be in a table whose ids are `task_width` wide."""
    return _widths(task_width, width)[1]


def _widths(longest: int, width: int) -> tuple[int, int]:
    """Return the widths of ids and notes. In a narrow table, notes get what the ids leave."""
    rest = width - _STATUS - _AFTER - 3 * _GAP
    task = max(min(longest, max(rest - _NOTE, rest * 2 // 3)), 1)
    return task, max(rest - task, 1)


def row_table(rows: Sequence[Row], width: int, *, task_width: int = 0, headings: bool = False) -> Table:
    """Make a table of tasks; each column keeps its width while rows come and go.

    Args:
        rows: The tasks, a line for each.
        width: How wide the table may be.
        task_width: How wide the ids are; 0 for the ids of `rows`.
        headings: Whether the columns have headings.
    """
    ids = [printable(row.task_id) for row in rows]
    longest = task_width or max([*map(cell_len, ids)] + [len("task")] * headings)
    task, note = _widths(longest, width)
    # Versions of rich differ in whether a width includes the padding, so there is no padding.
    table = Table(box=None, show_header=headings, padding=0)
    table.add_column("task", width=task + _GAP)
    table.add_column("status", width=_STATUS + _GAP)
    table.add_column("after".rjust(_AFTER), width=_AFTER + _GAP)
    table.add_column(max_width=note)
    for row, name in zip(rows, ids, strict=True):
        task_id = cell(name)
        task_id.truncate(task, overflow="ellipsis")
        status = cell(row.status, STYLES.get(row.status, "cyan"))
        status.truncate(_STATUS, overflow="ellipsis")
        at = "" if row.at is None else duration(row.at).rjust(_AFTER)
        table.add_row(task_id, status, at, cell(row.note))
    return table


def cell(text: str, style: str = "") -> Text:
    """Make a text of one line that is cut off if it is too long."""
    return Text(" ".join(text.splitlines()), style, no_wrap=True, overflow="ellipsis")
