"""The display of a wait: a table on a terminal, a line now and then elsewhere."""

import os
import stat
import sys
from collections.abc import Sequence
from typing import Final

from attrs import asdict
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_tasks.cli.ui.console import PipeConsole, is_live
from stream_tasks.cli.ui.log import WARNING, say, style
from stream_tasks.cli.ui.output import duration, is_terminal, printable
from stream_tasks.cli.ui.progress import Board, Row, explain

__all__ = ["Lines", "Nothing", "Screen", "choose_display", "note_width", "row_table"]

STYLES: Final = {"completed": "green", "failed": "red", "timed out": "yellow", "error": "red"}

_STATUS: Final = len("completed")
_AFTER: Final = len("59.9 s")
_NOTE: Final = 16
_GAP: Final = 2

_TALLEST: Final = 20
_BESIDE_ROWS: Final = 6
_WIDEST_BAR: Final = 100
_ROWS_EVERY: Final = 1.0
_LINE_EVERY: Final = 30.0
_TROUBLE_AGAIN: Final = 30.0


class Nothing:
    """Shows nothing."""

    every = 1.0
    """The time between two calls of `tick`, in seconds."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def tick(self) -> None:
        """Show the progress."""


class Lines(Nothing):
    """Writes a line on stderr when something holds polls back, and every half minute."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._spoke_at = 0.0
        self._trouble: str | None = None
        self._trouble_at = 0.0

    def tick(self) -> None:
        """Write a line if it is time for one."""
        now = self._board.elapsed
        obstacle = self._board.obstacle
        if obstacle is not None and (
            obstacle.reason != self._trouble or now >= self._trouble_at + _TROUBLE_AGAIN
        ):
            self._trouble, self._trouble_at = obstacle.reason, now
            say(explain(obstacle).capitalize() + ".", WARNING, facts=asdict(obstacle))
        if now >= self._spoke_at + _LINE_EVERY:
            self._spoke_at = now
            say(self._board.progress, facts={"total": self._board.total, **self._board.counts})


class Screen(Nothing):
    """Draws on a terminal: a bar for all tasks, and the tasks that changed last."""

    every = 0.25

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._rows: list[Row] = []
        self._rows_at = 0.0
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> None:
        self._live.start()
        # A process that is killed, or stopped by Ctrl-Z, could not show the cursor again.
        self._console.show_cursor()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tick(self) -> None:
        """Draw again."""
        self._live.refresh()

    def _draw(self) -> RenderableType:
        board = self._board
        most = max(1, min(self._console.height - _BESIDE_ROWS, _TALLEST))
        width = self._console.width
        parts: list[RenderableType] = []
        if board.total > 1:
            # A bar without a table does not end its line.
            bar = Table.grid()
            bar.add_row(
                ProgressBar(
                    board.total, board.done, width=min(width, _WIDEST_BAR), complete_style=STYLES["completed"]
                )
            )
            progress = cell(board.progress)
            progress.highlight_regex(r"\b[1-9][\d,]* failed", STYLES["failed"])
            parts += [bar, progress]
        else:
            parts.append(cell(board.time_left))
        trouble = board.obstacle
        parts.append(cell("" if trouble is None else explain(trouble), "yellow"))
        # With thousands of tasks, the rows would change too fast to read.
        if not self._rows or board.total <= most or board.elapsed >= self._rows_at + _ROWS_EVERY:
            self._rows, self._rows_at = board.rows(most), board.elapsed
        if self._rows:
            parts.append(row_table(self._rows, width, headings=board.total > 1))
        # An empty line, so that a ^C that the terminal echoes does not make the table wrap.
        return Group(*parts, "")


def choose_display(board: Board, *, quiet: bool, as_json: bool) -> Nothing:
    """Return the display for a wait.

    Args:
        board: The wait.
        quiet: Whether nothing is to be shown.
        as_json: Whether stdout gets JSON lines.
    """
    console = PipeConsole(stderr=True)
    if quiet:
        return Nothing()
    is_drawn = is_live(console) and _is_apart(as_json=as_json) and style().form is None
    return Screen(board, console) if is_drawn else Lines(board)


def _is_apart(*, as_json: bool) -> bool:
    """Whether lines on stdout cannot appear in the middle of what is drawn on stderr."""
    if is_terminal(sys.stdout):
        return not as_json
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return True  # there is no stdout
    # The reader of a pipe often writes to the same terminal.
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode)


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
