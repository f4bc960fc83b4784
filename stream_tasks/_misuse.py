"""What is often mistaken, and the sentence that says what to write instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncItems", "check_options"]

T_co = TypeVar("T_co", covariant=True)

_MEANT: Final = {
    "timeout": "request_timeout, which limits one request (a wait has its own: wait_for_task(…, timeout=…))",
    "key": "api_key",
    "secret": "api_secret",
    "url": "base_url",
}


def check_options(kind: str, options: list[str]) -> None:
    """Check the names of a client's arguments.

    Raises:
        TypeError: One is not a name of an argument, but it is known what is meant.
    """
    for name in options:
        if name in _MEANT:
            raise TypeError(f"{kind}() has no argument {name!r}; what is meant is {_MEANT[name]}")


class AsyncItems(AsyncGenerator[T_co]):
    """An async generator that says so to those who iterate over it without ``async``."""

    __slots__ = ("__weakref__", "_source", "_what")

    def __init__(self, what: str, source: AsyncGenerator[T_co]) -> None:
        self._what = what
        self._source = source

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self

    def __anext__(self) -> Any:
        return self._source.__anext__()

    def asend(self, value: Any) -> Any:
        """Return the next item."""
        return self._source.asend(value)

    def athrow(self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None) -> Any:
        """Raise an exception where the generator is."""
        return self._source.athrow(typ) if val is None else self._source.athrow(typ, val, tb)

    def aclose(self) -> Any:
        """End it."""
        return self._source.aclose()

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            raise TypeError(
                f"{self._what} is an async iterator: write 'async for', or use the blocking Stream"
            )

        def __await__(self) -> NoReturn:
            raise TypeError(f"{self._what} is an async iterator: write 'async for', without 'await'")
