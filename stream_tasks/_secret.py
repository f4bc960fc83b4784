"""A text that does not show itself."""

from __future__ import annotations

from typing import Any

__all__ = ["NotText", "Secret", "hidden", "kind_of"]


class Secret(str):
    """A text that does not show itself in a repr, and so in no dump of a frame's variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class NotText:
    """Something given where a secret text belongs, of which only the type may show."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def hidden(value: Any) -> Any:
    """Return a text as a secret, None as it is, and anything else as no more than its type."""
    if value is None or isinstance(value, Secret | NotText):
        return value
    return Secret(value) if isinstance(value, str) else NotText(type(value).__name__)


def kind_of(value: Any) -> str:
    """Return the name of what a value's type is, or was before it was hidden."""
    return value.kind if isinstance(value, NotText) else type(value).__name__
