"""The journal of a wait: which tasks have ended, and how, in a file that outlives the process.

One JSON object a line, as on stdout, for each task that completed or failed. A line counts once its
end is there: what a killed process left behind it is cut off.
"""

import os
import stat
import sys
import time
from types import TracebackType
from typing import BinaryIO, Final, Self

import click

from stream_tasks.cli import _codes
from stream_tasks.cli._endings import Ending
from stream_tasks.cli._output import printable

if sys.platform == "win32":  # pragma: no cover - Windows has another lock
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


__all__ = ["Journal", "JournalError"]

SYNC_EVERY: Final = 1.0
"""A crash of the machine loses so many seconds at the most; a crash of the process loses nothing."""

_BEGINNING: Final = b'{"task_id": "'


class JournalError(click.ClickException):
    """Raised when a journal that was opened cannot be written any more."""

    exit_code = _codes.USAGE

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(printable(f"the journal cannot be written: {path}: {error.strerror}"))


class Journal:
    """A file of endings; one process at a time has it.

    Args:
        path: Where it is; a new file is for its owner's eyes only, as results may hold signed URLs.

    Attributes:
        endings: What it holds, by task, the earliest first.

    Raises:
        click.UsageError: It cannot be opened, another process has it, or it is no journal.
    """

    def __init__(self, path: str) -> None:
        self.endings: dict[str, Ending] = {}
        self._path = path
        if path == "-":
            raise self._unusable("is stdin or stdout, and no file that outlives the process")
        self._synced_at = 0.0
        self._is_synced = True
        try:
            self._file: BinaryIO = open(path, "a+b", opener=_private)  # noqa: SIM115 - typed so
        except OSError as error:
            # A pipe is refused by Python itself, without a reason of the system's.
            raise self._unusable(error.strerror or "it is no regular file") from None
        try:
            self._begin()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync(at_once=True)
        finally:
            self._file.close()

    def add(self, ending: Ending) -> None:
        """Write one down, if there is nothing left to ask.

        Raises:
            JournalError: The file cannot be written.
        """
        if not ending.is_final or ending.task_id is None:
            return
        # Straight to the system: a kill leaves all of a line, or its beginning.
        rest = ending.to_json().encode() + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            raise JournalError(self._path, error) from None
        self._is_synced = False

    def sync(self, *, at_once: bool = False) -> None:
        """Have the system put on the disk what was added, unless that was done a moment ago.

        Raises:
            JournalError: The disk failed.
        """
        if self._is_synced or (time.monotonic() < self._synced_at + SYNC_EVERY and not at_once):
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalError(self._path, error) from None
        self._is_synced = True
        self._synced_at = time.monotonic()

    def _begin(self) -> None:
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise self._unusable("it is no regular file")
        try:
            _lock(self._file.fileno())
        except OSError:
            raise self._unusable("another process is writing to it") from None
        self._file.seek(0)
        good = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                # A crashed machine leaves zeros. Whatever else ends so is somebody's file.
                if not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line.rstrip(b"\0"))):
                    raise self._no_journal(number, "it is cut off")
                self._file.truncate(good)
                break
            good += len(line)
            self._take_in(line, number)

    def _take_in(self, line: bytes, number: int) -> None:
        try:
            ending = Ending.from_json(line)
        except (ValueError, RecursionError) as error:
            raise self._no_journal(number, str(error)) from None
        if ending.is_final:
            self.endings.setdefault(str(ending.task_id), ending)

    def _no_journal(self, number: int, why: str) -> click.UsageError:
        return self._unusable(
            f"line {number} is none of a journal's ({why}); the file is left as it is: "
            "remove that line, or name another file"
        )

    def _unusable(self, why: str | None) -> click.UsageError:
        return click.BadParameter(printable(f"{self._path}: {why}"), param_hint="'--journal'")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
