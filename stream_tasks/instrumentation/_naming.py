"""What a request is for, told to the log of requests."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPERATION", "naming"]

OPERATION: Final[ContextVar[str | None]] = ContextVar("stream_tasks_operation", default=None)
"""The operation that a request starts, or that started the task it asks for, if it is known."""


@contextlib.contextmanager
def naming(operation: str | None) -> Iterator[None]:
    """Say what the requests inside are for."""
    token = OPERATION.set(operation)
    try:
        yield
    finally:
        OPERATION.reset(token)
