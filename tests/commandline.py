"""The command line as a process: what it prints, where, and how it ends."""

import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyte
import pytest
from forking import PATIENCE, PIPES, Forked, fork_server

from stream_tasks.cli.app import commands
from stream_tasks.testing import FakeStream

fcntl = pytest.importorskip("fcntl", reason="terminals are tested where there are ptys")
termios = pytest.importorskip("termios", reason="terminals are tested where there are ptys")
pty = pytest.importorskip("pty", reason="terminals are tested where there are ptys")

SECRET = "a-secret-of-this-test-file-which-no-output-may-ever-hold-000000"
SIGNALS = [  # the code to exit with for each, and the word for it
    pytest.param(signal.SIGINT, 130, "Interrupted", id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, "Terminated", id="SIGTERM"),
]
# A background job starts with Ctrl-C ignored, and so would its children.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from stream_tasks.cli.commands import demo
demo.SECONDS = 1.0
from stream_tasks.__main__ import main
main()
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def serve() -> Iterator[FakeStream]:
    """Run a server that the secret belongs to."""
    with FakeStream(api_secret=SECRET) as server:
        yield server


def set_environment(monkeypatch: pytest.MonkeyPatch, server: FakeStream) -> None:
    """Point the command line to a server."""
    monkeypatch.setenv("STREAM_BASE_URL", server.url)
    monkeypatch.setenv("STREAM_API_KEY", server.api_key)
    monkeypatch.setenv("STREAM_API_SECRET", SECRET)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("STREAM_REQUEST_TIMEOUT", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    # It hides what a buffer keeps after a write that failed.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def full_disk() -> Iterator[BinaryIO]:
    """Open a device that takes nothing."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("there is no device that is always full")
    with path.open("wb") as full:
        yield full


def run_here(capsys: pytest.CaptureFixture[str], *args: str) -> Ended:
    """Run the command line in this process, off a terminal."""
    with pytest.raises(SystemExit) as ended:
        commands(args, prog_name="stream-tasks")
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "Traceback" not in err
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, out, err)


def start(*args: str, program: str = PROGRAM, **options: Any) -> subprocess.Popen[str]:
    """Start the command line in a process that is forked from one that has imported it.

    Args:
        args: Its arguments.
        program: What runs it.
        options: stdin, stdout and stderr, and those of `Forked`.
    """
    return Forked(fork_server(), program, *args, **(PIPES | options))


def start_python(*args: str, **options: Any) -> subprocess.Popen[str]:
    """Start Python and the command line in it, for what Python does at its start."""
    # The environment is named: readline puts LINES and COLUMNS into what would be taken over otherwise.
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *args], text=True, env=dict(os.environ), **(PIPES | options)
    )


def end(process: subprocess.Popen[str], stdin: str | None = None) -> Ended:
    """Wait for a process."""
    out, err = process.communicate(stdin, timeout=PATIENCE)
    assert SECRET not in (out or "") + (err or "")
    assert "Traceback" not in (err or "")
    return Ended(process.returncode, out or "", err or "")


class Terminal:
    """A terminal with the command line on it.

    Args:
        args: Its arguments.
        columns: How wide the terminal is.
        lines: How high it is.
        is_forked: Whether to `start` it, or to `start_python` with it.
        streams: Where stdin, stdout or stderr go, if not to the terminal; the `program` for `start`.
    """

    def __init__(
        self, *args: str, columns: int = 80, lines: int = 24, is_forked: bool = True, **streams: Any
    ) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        options: dict[str, Any] = {"stdin": follower, "stdout": follower, "stderr": follower, **streams}
        # In a session of its own, whose terminal this is: ^C reaches it.
        if is_forked:
            self.process = start(*args, **options, terminal=follower)
        else:
            self.process = start_python(
                *args,
                **options,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(follower, termios.TIOCSCTTY, 0),
            )
        os.close(follower)
        self._written = b""
        self._is_open = True

    @property
    def shown(self) -> str:
        """What can be seen on it now."""
        while self._is_open and select.select([self._leader], [], [], 0)[0]:
            self._read()
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def _read(self) -> None:
        try:
            chunk = os.read(self._leader, 65536)
        except OSError:  # Linux' way to say that nobody has the terminal open any more
            chunk = b""
        self._written += chunk
        self._stream.feed(chunk)
        self._is_open = bool(chunk)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._leader, text.encode())

    def end(self) -> Ended:
        """Wait for the program; `out` is all that was written, `err` what went elsewhere."""
        while self._is_open:
            self._read()
        os.close(self._leader)
        out, _ = self.process.communicate(timeout=PATIENCE)
        text = self._written.decode()
        assert SECRET not in text
        assert "Traceback" not in text
        return Ended(self.process.returncode, text, out or "")


def on_terminal(*args: str, **options: Any) -> Ended:
    """Run the command line on a terminal; `out` is all that was written there, `err` what went elsewhere."""
    return Terminal(*args, **options).end()


def plain(text: str) -> str:
    """Take out what steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.005)
