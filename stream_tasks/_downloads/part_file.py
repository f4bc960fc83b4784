"""Files that exports are saved to."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread

__all__ = ["PartFile", "check_target"]


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, before there is anything to write.

    Raises:
        OSError: It cannot: there is such a file already, say. Its ``strerror`` follows on its ``filename``.
    """
    with _os_errors(path):
        if not path.parent.is_dir():
            raise OSError(errno.ENOENT, f"there is no directory {path.parent}")
        final = _written(path, overwrite=overwrite)
        with suppress(FileNotFoundError):
            final.stat()  # fails for a link to itself
        from tempfile import TemporaryFile  # noqa: PLC0415 - it takes long to import

        TemporaryFile(dir=final.parent).close()  # permissions alone do not tell whether this works
        wrong = _what_is_wrong(path, _part_of(final), overwrite=overwrite)
    if wrong is not None:
        raise wrong


def _what_is_wrong(path: Path, part: Path, *, overwrite: bool) -> OSError | None:
    for file in (path, part):
        if file.is_dir():
            return OSError(errno.EISDIR, "is a directory", str(file))
        if file.exists() and not file.is_file():
            return OSError(errno.EINVAL, "is not a regular file", str(file))
    if _exists(path) and not overwrite:
        return OSError(errno.EEXIST, "exists already; overwrite=True replaces it", str(path))
    return None


def _written(path: Path, *, overwrite: bool) -> Path:
    """Return the file that is written: a link is kept, and the file that it leads to is replaced."""
    return Path(os.path.realpath(path)) if overwrite else path


def _exists(path: Path) -> bool:
    """Whether there is a file, or a link that leads nowhere."""
    return os.path.lexists(path)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.stream-tasks.part")  # nobody else uses this name


class PartFile:
    """The file that a download is written to, until it is whole.

    All that may block is done in worker threads. A thread goes on when the download is cancelled: a lock
    keeps what it does apart from what follows.

    Args:
        path: The final name. If it is a link, the link is kept.
        overwrite: Whether a file of that name is replaced. The new file then has the old one's mode.

    Attributes:
        size: How much has been written, in bytes.
        total: How large the whole will be, in bytes; None if that is not known.
        validator: What the server calls this version of the file; None if the server cannot send the rest.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._given = path
        self._overwrite = overwrite
        self._replaced: os.stat_result | None = None
        self._file: FileIO
        self._is_open = False
        self._lock = threading.Lock()
        self._is_closed = False
        self._limiter = anyio.CapacityLimiter(2)  # of its own: others may fill the usual one with long work
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def begin(self, total: int | None, validator: str | None) -> None:
        """Discard everything that was written."""
        await self._in_thread(self._empty)
        self.size, self.total, self.validator = 0, total, validator

    async def write(self, chunk: bytes) -> None:
        """Append bytes."""
        await self._in_thread(self._append, chunk)
        self.size += len(chunk)

    async def finish(self) -> None:
        """Give the file its final name."""
        await self._in_thread(self._rename)

    async def _close(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._in_thread(self._discard)
        except BaseException:
            # It was cancelled a second time, perhaps before a thread was told: nobody waits for this one.
            _ = asyncio.get_running_loop().run_in_executor(None, self._locked, self._discard)
            raise

    async def _in_thread(self, function: Callable[..., None], *args: Any) -> None:
        await anyio.to_thread.run_sync(self._locked, function, *args, limiter=self._limiter)

    def _locked(self, function: Callable[..., None], *args: Any) -> None:
        with self._lock:
            # What was cancelled before it began must not begin after the end.
            if not self._is_closed:
                function(*args)

    def _open(self) -> None:
        check_target(self._given, overwrite=self._overwrite)
        self._final = _written(self._given, overwrite=self._overwrite)
        self._path = _part_of(self._final)
        with _os_errors(self._path):
            self._path.unlink(missing_ok=True)  # a killed process left it
            with suppress(FileNotFoundError):
                self._replaced = self._final.stat()
            self._file = FileIO(self._path, "xb", opener=self._opener)
            self._is_open = True
            self._identity = os.fstat(self._file.fileno())

    def _opener(self, path: str, flags: int) -> int:
        # Nobody else may read what replaces a private file, even before it is whole.
        return os.open(path, flags, 0o666 if self._replaced is None else 0o600)

    def _empty(self) -> None:
        with _os_errors(self._path):
            self._file.seek(0)
            self._file.truncate()

    def _append(self, chunk: bytes) -> None:
        with _os_errors(self._path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]

    def _rename(self) -> None:
        with _os_errors(self._final):
            os.fsync(self._file.fileno())
        if not self._is_ours() or (_exists(self._final) and not self._overwrite):
            raise FileExistsError(
                errno.EEXIST, "is written by another process, too; this one leaves it alone", str(self._final)
            )
        with _os_errors(self._final):
            self._file.close()
            if self._replaced is not None:
                with suppress(OSError, AttributeError):  # only root gives files away; Windows has no owners
                    os.chown(self._path, self._replaced.st_uid, self._replaced.st_gid)
                self._path.chmod(stat.S_IMODE(self._replaced.st_mode))
            self._path.replace(self._final)

    def _discard(self) -> None:
        self._is_closed = True
        if not self._is_open:
            return
        self._file.close()
        with suppress(OSError):
            if self._is_ours():
                self._path.unlink()

    def _is_ours(self) -> bool:
        """Whether the file of that name is the one that was opened here."""
        try:
            return os.path.samestat(self._identity, self._path.lstat())
        except FileNotFoundError:
            return False


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Name the file in an error of the system, and say what cannot be done with it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from None
