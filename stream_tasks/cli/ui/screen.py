"""The display of a wait: a table on a terminal, a line now and then elsewhere."""

from attrs import asdict

from stream_tasks._view import lines
from stream_tasks._view.board import Board
from stream_tasks._view.lines import Nothing
from stream_tasks._view.screen import STYLES, PipeConsole, Screen, is_apart, is_live, note_width, row_table
from stream_tasks.cli.ui.log import WARNING, say, style
from stream_tasks.models import Obstacle

__all__ = ["STYLES", "Lines", "Nothing", "Screen", "choose_display", "note_width", "row_table"]


class Lines(lines.Lines):
    """Writes a line on stderr when something holds polls back, and every half minute."""

    def __init__(self, board: Board) -> None:
        super().__init__(board, self._write)

    def _write(self, line: str, obstacle: Obstacle | None) -> None:
        if obstacle is None:
            say(line, facts={"total": self._board.total, **self._board.counts})
        else:
            say(line, WARNING, facts=asdict(obstacle))


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
    is_drawn = is_live(console) and is_apart(as_json=as_json) and style().form is None
    return Screen(board, console) if is_drawn else Lines(board)
