"""The display in a Jupyter notebook: a bar and a table that are replaced in place. It needs IPython alone."""

import sys
from html import escape
from typing import Any, Final

from stream_tasks._view.board import Board, Row, explain
from stream_tasks._view.lines import Nothing
from stream_tasks._view.text import duration, printable

__all__ = ["Notebook", "is_notebook"]

_ROWS: Final = 10
_NOTE: Final = 200
_COLORS: Final = {"completed": "#2e8540", "failed": "#d1343e", "timed out": "#b7791f", "error": "#d1343e"}
"""They can be read on white and on black."""

_CELL: Final = "text-align: left; padding: 0 1.5em 0 0; white-space: nowrap"
_LAST: Final = "text-align: left; padding: 0"


def is_notebook() -> bool:
    """Whether this is a cell of a notebook: IPython with a kernel, not on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class _Picture:
    """What a notebook shows: HTML, or text where there is none."""

    def __init__(self, html: str, text: str) -> None:
        self._html = html
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._html


class Notebook(Nothing):
    """Shows a bar for all tasks, and the tasks that ended last.

    Args:
        board: The wait.
    """

    every = 0.5

    def __init__(self, board: Board) -> None:
        self._board = board
        self._handle: Any = None
        self._shown = ""

    def __enter__(self) -> None:
        from IPython.display import display  # noqa: PLC0415 - it is there if this is a notebook

        self._handle = display(self._draw(self._board.progress), display_id=True)

    def __exit__(self, *_: object) -> None:
        self._show(self._board.end_line)

    def tick(self) -> None:
        """Draw again."""
        self._show(self._board.progress)

    def _show(self, progress: str) -> None:
        picture = self._draw(progress)
        if picture._repr_html_() != self._shown:
            self._shown = picture._repr_html_()
            self._handle.update(picture)

    def _draw(self, progress: str) -> _Picture:
        board = self._board
        trouble = "" if board.obstacle is None else explain(board.obstacle)
        parts = ['<div style="max-width: 60em; overflow-x: auto">']
        if board.total is not None:
            bar = f'value="{min(board.done, board.total)}" max="{max(board.total, 1)}"'
            parts.append(f'<progress {bar} style="width: 100%"></progress>')
        parts.append(f"<div>{escape(progress)}</div>")
        if trouble:
            parts.append(f'<div style="color: {_COLORS["timed out"]}">{escape(trouble)}</div>')
        if rows := board.rows(_ROWS):
            heads = "".join(f'<th style="{_CELL}">{head}</th>' for head in ("task", "status", "after", ""))
            parts += [
                "<table><thead><tr>",
                heads,
                "</tr></thead><tbody>",
                *map(_line, rows),
                "</tbody></table>",
            ]
        return _Picture("".join([*parts, "</div>"]), f"{progress}, {trouble}".removesuffix(", "))


def _line(row: Row) -> str:
    note = row.note if len(row.note) <= _NOTE else f"{row.note[:_NOTE]}…"
    after = "" if row.at is None else duration(row.at)
    style = f"{_CELL}; color: {_COLORS.get(row.status, 'inherit')}"
    return (
        f'<tr><td style="{_CELL}">{escape(printable(row.task_id))}</td>'
        f'<td style="{style}">{escape(row.status)}</td>'
        f'<td style="{_CELL}">{after}</td><td style="{_LAST}">{escape(note)}</td></tr>'
    )
