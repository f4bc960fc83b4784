"""Files that exports are saved to."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, Self

import click

from stream_tasks.cli.ui.output import printable

__all__ = ["DownloadError", "PartFile", "Target", "check_target"]


class DownloadError(Exception):
    """Raised when an export cannot be downloaded. Its message is for people."""


class Target(NamedTuple):
    """Where exports go.

    Attributes:
        paths: A file for each of them.
        overwrite: Whether files that exist are replaced.
    """

    paths: list[Path]
    overwrite: bool

    @classmethod
    def of(cls, path: Path, count: int, *, overwrite: bool) -> Self:
        """Name a file for each of `count` exports: of several, the first is ``NAME-1.json``, and so on.

        Raises:
            click.BadParameter: One of them cannot be written.
        """
        width = len(str(count))
        paths = [
            path if count == 1 else path.with_stem(f"{path.stem}-{number:0{width}}")
            for number in range(1, count + 1)
        ]
        for each in paths:
            check_target(each, overwrite=overwrite)
        return cls(paths, overwrite)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, before there is anything to write.

    Raises:
        click.BadParameter: It cannot.
    """
    try:
        wrong = _what_is_wrong(path, overwrite=overwrite)
    except OSError as error:
        wrong = f"{path} cannot be written: {error.strerror}"
    if wrong is not None:
        raise click.BadParameter(printable(wrong), param_hint="'--output'")


def _what_is_wrong(path: Path, *, overwrite: bool) -> str | None:
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no directory {path.parent}"
    final = _written(path, overwrite=overwrite)
    with suppress(FileNotFoundError):
        final.stat()  # fails for a link to itself
    TemporaryFile(dir=final.parent).close()  # permissions alone do not tell whether this works
    for file in (path, _part_of(final)):
        if file.is_dir():
            return f"{file} is a directory"
        if file.exists() and not file.is_file():
            return f"{file} is not a regular file"
    if _exists(path) and not overwrite:
        return f"{path} exists already; --overwrite replaces it"
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

    Args:
        path: The final name. If it is a link, the link is kept.
        overwrite: Whether a file of that name is replaced. The new file then has the old one's mode.

    Attributes:
        size: How much has been written, in bytes.
        total: How large the whole will be, in bytes; None if that is not known.
        validator: What the server calls this version of the file; None if the server cannot send the rest.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._final = _written(path, overwrite=overwrite)
        self._path = _part_of(self._final)
        self._overwrite = overwrite
        self._replaced: os.stat_result | None = None
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None

    def __enter__(self) -> Self:
        with _download_errors(self._path):
            self._path.unlink(missing_ok=True)  # a killed process left it
            with suppress(FileNotFoundError):
                self._replaced = self._final.stat()
            self._file = open(self._path, "xb", buffering=0, opener=self._open)
            self._identity = os.fstat(self._file.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with suppress(OSError):
            if self._is_ours():
                self._path.unlink()

    def begin(self, total: int | None, validator: str | None) -> None:
        """Discard everything that was written."""
        with _download_errors(self._path):
            self._file.seek(0)
            self._file.truncate()
        self.size, self.total, self.validator = 0, total, validator

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        with _download_errors(self._path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        self.size += len(chunk)

    def finish(self) -> None:
        """Give the file its final name."""
        with _download_errors(self._final):
            os.fsync(self._file.fileno())
            if not self._is_ours() or (_exists(self._final) and not self._overwrite):
                raise DownloadError(f"another process writes {self._final} too; this one leaves it alone")
            self._file.close()
            if self._replaced is not None:
                with suppress(OSError, AttributeError):  # only root gives files away; Windows has no owners
                    os.chown(self._path, self._replaced.st_uid, self._replaced.st_gid)
                self._path.chmod(stat.S_IMODE(self._replaced.st_mode))
            self._path.replace(self._final)

    def _open(self, path: str, flags: int) -> int:
        # Nobody else may read what replaces a private file, even before it is whole.
        return os.open(path, flags, 0o666 if self._replaced is None else 0o600)

    def _is_ours(self) -> bool:
        """Whether the file of that name is the one that was opened here."""
        try:
            return os.path.samestat(self._identity, self._path.lstat())
        except FileNotFoundError:
            return False


@contextmanager
def _download_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system into an error for people."""
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{path} cannot be written: {error.strerror or error}") from None
