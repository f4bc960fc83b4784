"""A text that does not show itself."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["Secret", "hidden"]

T = TypeVar("T")


class Secret(str):
    """A text that does not show itself in a repr, and so in no dump of a frame's variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(value: T) -> T | Secret:
    """Return a text as a secret; anything else as it is."""
    return Secret(value) if isinstance(value, str) else value
