"""A text that does not show itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Function", "NotText", "Secret", "concealed", "hidden", "kind_of", "plain"]


class Secret(str):
    """A text that does not show itself in a repr, and so in no dump of a frame's variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        # What shows variables cuts long texts before it takes their repr.
        return Secret(super().__getitem__(key))


plain: Callable[[str], str] = str.__str__
"""Returns a text as a `str` and no more, for what is sent: some libraries look at the very type."""


class NotText:
    """Something given where a secret text belongs, of which only the type may show."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Function(NotText):
    """A function that gives a secret, of which only the type may show: a partial shows its arguments."""

    __slots__ = ("call",)

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(type(function).__name__)
        self.call = function


def hidden(value: Any) -> Any:
    """Return a text as a secret, None as it is, and anything else as no more than its type.

    What can be called can be called still, by a name.
    """
    if value is None or isinstance(value, Secret | NotText):
        return value
    # By its value: a member of an enum would show its name.
    if isinstance(value, str):
        return Secret(str.__str__(value))
    return Function(value) if callable(value) else NotText(type(value).__name__)


def concealed(options: dict[str, Any]) -> dict[str, Any]:
    """Return a client's options with those hidden that can hold something secret."""
    secret = ("api_key", "api_secret", "token", "base_url")
    return {name: hidden(value) if name in secret else value for name, value in options.items()}


def kind_of(value: Any) -> str:
    """Return the name of what a value's type is, or was before it was hidden."""
    return value.kind if isinstance(value, NotText) else type(value).__name__
