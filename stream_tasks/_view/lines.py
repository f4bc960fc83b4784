"""Displays that draw nothing."""

from collections.abc import Callable
from typing import Final

from stream_tasks._view.board import Board, explain
from stream_tasks.models import Obstacle

__all__ = ["Lines", "Nothing"]

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
    """Says a line when something holds polls back, and every half minute.

    Args:
        board: The wait.
        say: Called with each line, and with what holds polls back if the line is about that.
    """

    def __init__(self, board: Board, say: Callable[[str, Obstacle | None], object]) -> None:
        self._board = board
        self._say = say
        self._spoke_at = 0.0
        self._trouble: str | None = None
        self._trouble_at = 0.0

    def tick(self) -> None:
        """Say a line if it is time for one."""
        now = self._board.elapsed
        obstacle = self._board.obstacle
        if obstacle is not None and (
            obstacle.reason != self._trouble or now >= self._trouble_at + _TROUBLE_AGAIN
        ):
            self._trouble, self._trouble_at = obstacle.reason, now
            self._say(explain(obstacle).capitalize() + ".", obstacle)
        if now >= self._spoke_at + _LINE_EVERY:
            self._spoke_at = now
            self._say(self._board.progress, None)
