"""Shares of what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from stream_tasks._arguments import check_number

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = ["Share"]

_ROUNDING: Final = 1e-9  # by which a product of floats may fall short of a whole number


def _check(_: object, attribute: Attribute[Any], value: float) -> None:
    check_number(attribute.name, value, 1e-6, 1, "greater than 0, and 1 or less")


@define
class Share:
    """Picks a share of what comes, evenly spread.

    Attributes:
        share: The share, greater than 0.
        seen: How many have come.

    Raises:
        TypeError: The share is not a number.
        ValueError: It is out of range.
    """

    share: float = field(validator=_check)
    seen: int = field(init=False, default=0)

    def picks(self) -> bool:
        """Tell whether the next one is picked."""
        before = int(self.seen * self.share + _ROUNDING)
        self.seen += 1
        return int(self.seen * self.share + _ROUNDING) > before
