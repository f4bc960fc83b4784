"""Pieces of the kit's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["counted", "few", "listed", "times_word"]

T = TypeVar("T")

_SHOWN: Final = 5  # lines at each end of a long list
_NAMED: Final = 5  # items in one line


def counted(number: int, noun: str, *, of: int | None = None) -> str:
    """Return a number, of a whole if that is given, with its noun in the right number."""
    share = f"{number}" if of is None else f"{number} of {of}"
    return f"{share} {noun}{'' if (number if of is None else of) == 1 else 's'}"


def times_word(number: int) -> str:
    """Return how often something is."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def few(items: Sequence[str]) -> str:
    """Return the items in one line; of many, the first ones."""
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def listed(items: Sequence[T], line: Callable[[T], str]) -> str:
    """Return a line for each item; of many, for the first and the last ones."""
    left_out = len(items) - 2 * _SHOWN
    if left_out <= 0:
        lines = [line(item) for item in items]
    else:
        first, last = map(line, items[:_SHOWN]), map(line, items[-_SHOWN:])
        lines = [*first, f"… {left_out} more", *last]
    return "".join([":" if lines else "", *(f"\n  {each}" for each in lines)])
