"""Which client an iterator over outcomes belongs to, for those who show its progress."""

from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Origin", "origin_of", "remember"]

T = TypeVar("T")


class Origin(NamedTuple):
    """Where outcomes come from.

    Attributes:
        client: The client that waits.
        timeout: When all its waits are over, in seconds from the first; None if never or unknown.
    """

    client: Any
    timeout: float | None


_origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()


def remember(outcomes: T, client: object, timeout: float | None, max_waiting: int | None) -> T:
    """Remember where `outcomes` come from, for as long as they are there.

    Args:
        outcomes: The iterator.
        client: The client that waits.
        timeout: The limit of each wait, in seconds.
        max_waiting: How many waits there are at a time; with a limit, nothing tells when the last one begins.

    Returns:
        `outcomes`.
    """
    _origins[outcomes] = Origin(client, timeout if max_waiting is None else None)
    return outcomes


def origin_of(outcomes: object) -> Origin | None:
    """Return where outcomes come from, None if they are not an iterator of a client's."""
    try:
        return _origins.get(outcomes)
    except TypeError:  # a list, say, which has no weak references
        return None
