"""Downloads: to a file, and as chunks for whoever wants to store them elsewhere."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn, Self

from stream_tasks._downloads.fetching import Source, fetch
from stream_tasks._downloads.part_file import PartFile
from stream_tasks.exceptions import StreamDownloadException

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["BlockingChunks", "Chunks", "chunks", "save"]

OnProgress = Callable[[int, int | None], object]


async def save(source: Source, path: Path, *, overwrite: bool, on_progress: OnProgress | None) -> int:
    """Save an export to a file.

    Until it is whole, it is in a file beside it, with ``.stream-tasks.part`` after its name. Files are
    touched in worker threads.

    Args:
        source: The export.
        path: The file to write.
        overwrite: Whether a file of that name is replaced.
        on_progress: Called with the number of bytes so far, and with the size of the whole if it is known;
            what it returns is awaited if it can be.

    Returns:
        The size of the file, in bytes.

    Raises:
        StreamException: The download failed for good; nothing is left of it.
        OSError: The file cannot be written; nothing is left of it.
    """
    async with PartFile(path, overwrite=overwrite) as part:
        async with aclosing(fetch(source, part)) as pieces:
            async for piece in pieces:
                if piece:
                    await part.write(piece)
                await _tell(on_progress, part.size, part.total)
        await part.finish()
        return part.size


async def chunks(source: Source, on_progress: OnProgress | None) -> AsyncGenerator[bytes]:
    """Yield an export piece by piece.

    Args:
        source: The export.
        on_progress: As for `save`.

    Raises:
        StreamException: The download failed for good.
    """
    relay = Relay(source)
    async with aclosing(fetch(source, relay)) as pieces:
        async for piece in pieces:
            chunk = relay.passed_on(piece)
            await _tell(on_progress, relay.size, relay.total)
            if chunk:
                yield chunk
    relay.finish()


async def _tell(on_progress: OnProgress | None, size: int, total: int | None) -> None:
    if on_progress is not None:
        pending = on_progress(size, total)
        if inspect.isawaitable(pending):
            await pending


class Relay:
    """Passes on each byte once, also where the download had to begin anew.

    What comes a second time must be what was passed on: its digests are compared.

    Attributes:
        size: How much has come since the download last began, in bytes.
        total: How large the whole will be, in bytes; None if that is not known.
        validator: What the server calls this version of the file; None if the server cannot send the rest.
    """

    def __init__(self, source: Source) -> None:
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None
        self._source = source
        self._passed_on = 0
        self._of_passed_on = hashlib.blake2b()
        self._of_repeated = hashlib.blake2b()

    async def begin(self, total: int | None, validator: str | None) -> None:
        """Begin anew."""
        self.size, self.total, self.validator = 0, total, validator
        self._of_repeated = hashlib.blake2b()

    def passed_on(self, piece: bytes) -> bytes:
        """Take what came, and return what of it is new."""
        repeated = piece[: max(0, self._passed_on - self.size)]
        new = piece[len(repeated) :]
        self.size += len(piece)
        if repeated:
            self._of_repeated.update(repeated)
            if self.size >= self._passed_on:
                self._check()
        self._of_passed_on.update(new)
        self._passed_on += len(new)
        return new

    def finish(self) -> None:
        """Check that nothing more was passed on than the file has.

        Raises:
            StreamDownloadException: It has become shorter.
        """
        if self.size < self._passed_on:
            raise self._changed()

    def _check(self) -> None:
        if self._of_repeated.digest() != self._of_passed_on.digest():
            raise self._changed()

    def _changed(self) -> StreamDownloadException:
        return StreamDownloadException(
            "the file changed while it was downloaded: discard the chunks that came, and begin anew",
            task_id=self._source.task_id,
        )


class Chunks:
    """An export's content, piece by piece: an async iterator, and a context that ends the download.

    ::

        async with client.open_export(export) as chunks:
            async for chunk in chunks:
                await upload(chunk)
    """

    def __init__(self, source: AsyncGenerator[bytes]) -> None:
        self.source = source

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self.source)

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            raise TypeError(
                "open_export(…) is an async iterator: write 'async for', or use the blocking Stream"
            )

        def __enter__(self) -> NoReturn:
            raise TypeError("open_export(…) is asynchronous: write 'async with', or use the blocking Stream")

        def __exit__(self, *_: object) -> None:
            """Not reached: `__enter__` raises."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the download; twice is fine."""
        await self.source.aclose()


class BlockingChunks:
    """An export's content, piece by piece: an iterator, and a context that ends the download.

    ::

        with client.open_export(export) as chunks:
            for chunk in chunks:
                upload(chunk)
    """

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source: Any = source

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk: bytes = next(self._source)
        return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the download; twice is fine."""
        self._source.close()
