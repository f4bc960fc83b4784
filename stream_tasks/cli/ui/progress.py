"""The progress of a wait for many tasks."""

from stream_tasks._view.board import Board, Row, explain

__all__ = ["Board", "Row", "explain"]
