"""The worker for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from stream_tasks._blocking import Stream
from stream_tasks.durable._wait_client import BlockingWaitClient
from stream_tasks.durable._worker import DurableWaits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from stream_tasks.durable._worker import H

__all__ = ["BlockingDurableWaits"]


class BlockingDurableWaits(BlockingWaitClient):
    """`DurableWaits` for code that blocks: ``with BlockingDurableWaits(client, "waits.db") as waits: …``.

    Waits run on the client's own event loop, in the background. Handlers run in threads.

    Args:
        client: The client that starts and waits.
        database: A file, for SQLite and one process; or the URL of a Postgres database, for many.
        options: The further arguments of `DurableWaits`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is missing or out of range.
    """

    def __init__(
        self, client: Stream, database: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        super().__init__(database)
        if not isinstance(client, Stream):
            raise TypeError(f"client must be a Stream, not {type(client).__name__}")
        self._loop = client._loop  # noqa: SLF001 - the waits share it, and the quota
        self._waits = DurableWaits(client._client, database, **options)  # noqa: SLF001 - as above

    def on_end(self, name: str) -> Callable[[H], H]:
        """Do as `DurableWaits.on_end` does."""
        return self._waits.on_end(name)

    def __enter__(self) -> Self:
        self._loop.run(self._waits.__aenter__)
        return self

    def close(self) -> None:
        """Do as `DurableWaits.aclose` does."""
        self._loop.run(self._waits.aclose)
        super().close()
