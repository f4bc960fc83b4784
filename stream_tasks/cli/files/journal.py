"""The journal of a wait: the tasks that have ended, in a file that outlives the process.

It has one JSON object a line, as on stdout, for each task that completed or failed, and another one when its
export was saved. If a killed process left an incomplete line at the end, that line is cut off.
"""

import errno
import os
import stat
import sys
import time
from types import TracebackType
from typing import BinaryIO, Final, Self

import click

from stream_tasks.cli import codes
from stream_tasks.cli.endings import Ending
from stream_tasks.cli.ui.output import printable

if sys.platform == "win32":  # pragma: no cover - Windows locks files in another way
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


__all__ = ["Journal", "JournalError"]

SYNC_EVERY: Final = 1.0
"""A crash of the machine loses at most so many seconds; a crash of the process loses nothing."""

_LOCKED: Final = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the system answers when another process has the lock: the last two on Windows."""

_IRREGULAR: Final = "it is not a regular file"
_BEGINNING: Final = b'{"task_id": "'


class JournalError(click.ClickException):
    """Raised when an open journal can no longer be written."""

    exit_code = codes.USAGE

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(printable(f"the journal cannot be written: {path}: {error.strerror}"))


class Journal:
    """A file of endings; one process at a time can use it.

    Args:
        path: The file. Only its owner can read a new file: results may hold signed URLs.

    Attributes:
        endings: The endings in it, by task, the earliest first.

    Raises:
        click.UsageError: It cannot be opened or locked, another process uses it, or it is not a journal.
    """

    def __init__(self, path: str) -> None:
        self.endings: dict[str, Ending] = {}
        self._path = path
        if path == "-":
            raise self._unusable("is stdin or stdout, not a file that outlives the process")
        self._synced_at = 0.0
        self._is_synced = True
        try:
            self._file: BinaryIO = open(path, "a+b", opener=_private)  # noqa: SIM115 - typed so
        except OSError as error:
            # Python itself refuses a pipe, without a reason from the system.
            raise self._unusable(error.strerror or _IRREGULAR) from None
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
        """Add an ending if the task itself has ended.

        Raises:
            JournalError: The file cannot be written.
        """
        if not ending.is_final or ending.task_id is None:
            return
        # Without a buffer: after a kill, the file has the whole line or the beginning of it.
        rest = ending.to_json().encode() + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            raise JournalError(self._path, error) from None
        self._is_synced = False

    def sync(self, *, at_once: bool = False) -> None:
        """Let the system write to the disk what was added, unless it did that a moment ago.

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
            raise self._unusable(_IRREGULAR)
        try:
            _lock(self._file.fileno())
        except OSError as error:
            if error.errno in _LOCKED:
                raise self._unusable("another process is writing to it") from None
            # Such as ENOLCK on NFS.
            raise self._unusable(
                f"it cannot be locked ({error.strerror}); use a file on a local disk"
            ) from None
        self._file.seek(0)
        good = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                # A crash of the machine can leave zeros. Anything else is not a journal.
                if not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line.rstrip(b"\0"))):
                    raise self._not_a_journal(number, "it is cut off")
                self._file.truncate(good)
                break
            good += len(line)
            self._read(line, number)

    def _read(self, line: bytes, number: int) -> None:
        try:
            ending = Ending.from_json(line)
        except (ValueError, RecursionError) as error:
            raise self._not_a_journal(number, str(error)) from None
        # A second line tells that the export was saved.
        if ending.is_final and (ending.saved or ending.task_id not in self.endings):
            self.endings[str(ending.task_id)] = ending

    def _not_a_journal(self, number: int, why: str) -> click.UsageError:
        return self._unusable(
            f"line {number} is not a line of a journal ({why}); the file is left unchanged: "
            "remove that line, or name another file"
        )

    def _unusable(self, why: str | None) -> click.UsageError:
        return click.BadParameter(printable(f"{self._path}: {why}"), param_hint="'--journal'")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
