"""What a command is to start."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Job"]


class Job(NamedTuple):
    """An operation for many items.

    Attributes:
        operation: The operation, such as ``delete_users``.
        noun: What its items are, such as ``users``.
        ids: The ids of the items.
        options: The operation's further arguments.
        as_item: Makes an item of an id.
        max_items: How many items a task can have.
    """

    operation: str
    noun: str
    ids: Sequence[str]
    options: dict[str, Any]
    as_item: Callable[[str], Any]
    max_items: int

    @property
    def batches(self) -> int:
        """How many tasks there will be."""
        return -(-len(self.ids) // self.max_items)

    def counted(self, count: int) -> str:
        """Name a number of items, for people."""
        return f"{count:,} {self.noun if count != 1 else self.noun.removesuffix('s')}"
