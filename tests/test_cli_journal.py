"""The journal of `stream-tasks wait`: nothing that has ended is asked for again."""

import errno
import functools
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click
import pytest
from commandline import Ended, end, run_here, serve, set_environment, start, until
from hypothesis import given
from hypothesis import strategies as st

from stream_tasks.cli.endings import Ending
from stream_tasks.cli.files import journal as journals
from stream_tasks.cli.files.journal import Journal, JournalError
from stream_tasks.testing import FakeStream, Fault, TaskFailure

Run: TypeAlias = Callable[..., Ended]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wait.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], path: Path) -> Run:
    return functools.partial(run_here, capsys, "wait", "--journal", str(path))


def ids_in(text: str) -> list[str]:
    return [json.loads(line)["task_id"] for line in text.splitlines()]


class TestCommand:
    def test_resumes(self, run: Run, server: FakeStream, path: Path) -> None:
        """The same command again prints what has ended, and asks only for the rest."""
        server.add_task("done", statuses=(), result={"name": "Zoë"})
        server.add_task("bad", statuses=(), error=TaskFailure("disk_full"))
        server.add_task("slow", statuses=("pending", "pending"))
        first = run("done", "bad", "slow", "nope", "--timeout", "0")
        assert first.code == 3
        assert sorted(ids_in(path.read_text())) == ["bad", "done"]
        assert path.read_text() in first.out or set(path.read_text().splitlines()) < set(
            first.out.splitlines()
        )

        server.requests.clear()
        second = run("done", "bad", "slow", "--poll-interval", "0")
        assert second.code == 1
        assert ids_in(second.out) == [*ids_in(path.read_text())[:2], "slow"]
        assert {request.task_id for request in server.requests} == {"slow"}
        assert second.err.endswith("\n2 of 3 tasks completed, 1 failed.\n")

        server.requests.clear()
        third = run("done", "bad", "slow")
        assert (third.code, third.out) == (1, path.read_text())
        assert not server.requests

    def test_other_tasks(self, run: Run, server: FakeStream) -> None:
        """What a journal holds of other tasks is left alone."""
        server.add_task("a", statuses=())
        server.add_task("b", statuses=())
        run("a")
        assert ids_in(run("b").out) == ["b"]
        assert sorted(ids_in(run("a", "b").out)) == ["a", "b"]

    def test_odd_error(self, run: Run, path: Path) -> None:
        """What another program wrote as an error is told as it is."""
        path.write_text('{"task_id": "a", "status": "failed", "error": {"type": 5, "stacktrace": [1]}}\n')
        ended = run("a", "-v")
        assert (ended.code, ended.err) == (1, "Error: task a failed (5)\n[1]\n")

    def test_any(self, run: Run, server: FakeStream) -> None:
        """With --any a task that ended before is the first to end."""
        server.add_task("bad", statuses=(), error=TaskFailure("disk_full"))
        server.add_task("slow", never=True)
        assert run("bad", "slow", "--any").code == 1
        server.requests.clear()
        ended = run("slow", "bad", "--any")
        assert (ended.code, ids_in(ended.out)) == (1, ["bad"])
        assert not server.requests

    def test_fail_fast(self, run: Run, server: FakeStream) -> None:
        """With --fail-fast only a new failure ends the wait, so that the next run goes further."""
        server.add_task("bad", statuses=(), error=TaskFailure("disk_full"))
        server.add_task("slow", statuses=("pending",))
        ended = run("slow", "bad", "--fail-fast")
        assert ids_in(ended.out) == ["bad"]
        assert "To go on, run the same command again.\n" in ended.err
        assert ids_in(run("slow", "bad", "--fail-fast", "--poll-interval", "0").out) == ["bad", "slow"]

    def test_hint(self, run: Run, server: FakeStream) -> None:
        """When time runs out it tells how to go on, without advice to use a journal."""
        server.add_task("slow", never=True)
        ended = run("slow", "--timeout", "0")
        assert ended.err.endswith("\nTo go on, run the same command again.\n")

    @pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
    def test_killed(self, server: FakeStream, path: Path, count: int) -> None:
        """After `kill -9` the next run has every outcome that was printed, and asks for the rest only."""
        ids = [str(number) for number in range(count)]
        for task_id in ids:
            server.add_task(task_id, statuses=("pending",) * random.randrange(3))
        args = ("wait", "--journal", str(path), "--poll-interval", "0", *ids)
        process = start(*args)
        until(lambda: len(server.requests) > 0.75 * count)
        process.kill()
        killed = end(process)
        assert killed.code == -signal.SIGKILL
        printed = ids_in(killed.out[: killed.out.rfind("\n") + 1])
        kept = path.read_text()
        known = ids_in(kept[: kept.rfind("\n") + 1])
        assert set(printed) <= set(known)

        server.requests.clear()
        ended = end(start(*args))
        assert ended.code == 0
        assert ids_in(ended.out)[: len(known)] == known
        assert sorted(ids_in(ended.out)) == sorted(ids)
        assert not {request.task_id for request in server.requests} & set(known)

    def test_in_use(self, run: Run, server: FakeStream, path: Path) -> None:
        """Two processes cannot use one journal: the second says so and exits with 2."""
        server.add_task("slow", never=True)
        process = start("wait", "slow", "--journal", str(path))
        until(lambda: server.polls("slow"))
        ended = run("slow")
        assert (ended.code, ended.out) == (2, "")
        assert f"'--journal': {path}: another process is writing to it" in ended.err
        process.send_signal(signal.SIGINT)
        assert end(process).code == 130

    @pytest.mark.parametrize(
        ("number", "why"),
        [
            pytest.param(errno.ENOLCK, "it cannot be locked (No locks available); use a file", id="no lockd"),
            pytest.param(errno.EOPNOTSUPP, "it cannot be locked (Operation not supported)", id="no locks"),
            pytest.param(errno.EAGAIN, "another process is writing to it", id="locked"),
        ],
    )
    def test_lock(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, number: int, why: str
    ) -> None:
        """A file system without locks is told from a file that is locked; nothing is polled either way."""

        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(journals, "_lock", fail)
        ended = run("a")
        assert (ended.code, ended.out) == (2, "")
        assert why in ended.err
        assert not server.requests

    def test_somebody_elses_file(self, run: Run, server: FakeStream, path: Path) -> None:
        """A file that is no journal is left as it is."""
        path.write_text("4c9bb4f0\n")
        ended = run("a")
        assert (ended.code, path.read_text()) == (2, "4c9bb4f0\n")
        assert (
            "line 1 is not a line of a journal (it is not JSON); the file is left unchanged: remove"
            in ended.err
        )
        assert not server.requests

    @pytest.mark.parametrize("name", [".", "no/such"])
    def test_no_file(self, capsys: pytest.CaptureFixture[str], name: str) -> None:
        """What cannot be opened is named, and exits with 2."""
        ended = run_here(capsys, "wait", "a", "--journal", name)
        assert (ended.code, f"'--journal': {name}: " in ended.err) == (2, True)

    def test_full_disk(
        self, run: Run, server: FakeStream, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A journal that cannot be written ends the wait with 2; only results that are in it are printed."""
        server.add_task("a", statuses=())
        server.add_task("b", statuses=())
        server.add_task("c", never=True)
        server.inject(Fault.delay(0.1), task_id="b")
        written: list[bytes] = []
        write = os.write

        def write_once(file: int, data: bytes) -> int:
            if written:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(data)
            return write(file, data)

        monkeypatch.setattr(os, "write", write_once)
        ended = run("a", "b", "c")
        assert (ended.code, ids_in(ended.out)) == (2, ["a"])
        assert ids_in(path.read_text()) == ["a"]
        assert re.fullmatch(
            rf"\nError: the journal cannot be written: {path}: No space left on device; "
            r"tasks on the server go on\.\nNot finished: 2 of 3 tasks\.\n  b  not seen yet\n  c  \w+\n"
            r"To go on, run the same command again\.\n",
            ended.err,
        )

    def test_failing_disk(
        self, run: Run, server: FakeStream, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that fails later ends the wait, too."""
        server.add_task("a", statuses=())
        server.add_task("b", never=True)
        failing = iter([OSError(errno.EIO, "Input/output error")])

        def fail(_: int) -> None:
            for error in failing:
                raise error

        monkeypatch.setattr(os, "fsync", fail)
        ended = run("a", "b")
        assert (ended.code, ids_in(ended.out)) == (2, ["a"])
        assert f"\nError: the journal cannot be written: {path}: Input/output error; tasks " in ended.err
        assert "\nNot finished: 1 of 2 tasks.\n" in ended.err


ENDINGS = [
    Ending("a", "completed", "completed", {"url": "https://example.com/ü"}, None, 2, 1.5),
    Ending("b", "failed", "failed", None, {"type": "disk_full", "description": "no\nroom"}, 1, 0.5),
    Ending('"c\\', "completed", "completed", {}, None, 1, 0.1),
]


def write_all(path: Path) -> bytes:
    with Journal(str(path)) as journal:
        for ending in ENDINGS:
            journal.add(ending)
    return path.read_bytes()


class TestJournal:
    def test_cut_at_every_byte(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever a kill cuts it, whole lines count, the torn one is cut off, and it can be gone on with."""
        monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk would take most of the time
        content = write_all(path)
        for cut in range(len(content) + 1):
            path.write_bytes(content[:cut])
            whole = content[:cut].count(b"\n")
            with Journal(str(path)) as journal:
                assert list(journal.endings.values()) == ENDINGS[:whole]
                for ending in ENDINGS[whole:]:
                    journal.add(ending)
            assert path.read_bytes() == content

    @pytest.mark.parametrize("torn", [b"", b'{"task', b'{"task_id": "x", "st'], ids=ascii)
    def test_zeros(self, path: Path, torn: bytes) -> None:
        """Zeros, as a crashed machine leaves them at the end, are a torn line."""
        content = write_all(path)
        path.write_bytes(content + torn + bytes(5000))
        with Journal(str(path)) as journal:
            assert list(journal.endings.values()) == ENDINGS
        assert path.read_bytes() == content

    def test_stdout(self) -> None:
        """A '-' makes no file of that name."""
        with pytest.raises(click.UsageError, match="stdin or stdout"):
            Journal("-")

    def test_only_what_ended(self, path: Path) -> None:
        """What has not ended is not written down, nor counts if another program wrote it."""
        with Journal(str(path)) as journal:
            journal.add(Ending("a", "timed_out"))
            journal.add(Ending("b", "error"))
            journal.add(Ending(None, "completed"))
        assert path.read_bytes() == b""
        path.write_text(Ending("a", "timed_out").to_json() + "\n" + ENDINGS[1].to_json() + "\n")
        with Journal(str(path)) as journal:
            assert list(journal.endings) == ["b"]

    @pytest.mark.parametrize(
        "content",
        [
            b"hello",
            b'{"task_id": 1, "status": "completed"}\n',
            b'{"task_id": "a", "status": "failed", "error": "x"}\n',
            b'{"task_id": "a", "status": "failed", "elapsed": "x"}\n',
            b'{"task_id": "a", "status": "failed", "elapsed": NaN}\n',
            b'{"task_id": "a", "status": "failed", "elapsed": 1e999}\n',
            b'{"task_id": "a", "status": "failed", "items": "x"}\n',
            b'{"task_id": "a", "status": "failed", "saved": 1}\n',
            b'{"task_id": "a", "items": []}\n',
            b"[]\n",
            b"\xff\n",
            b"[" * 100_000 + b"\n",
        ],
        ids=[
            "text without an end",
            "a number",
            "another error",
            "a time in words",
            "a time that is none",
            "a time without end",
            "items in a text",
            "another file",
            "no status",
            "a list",
            "bytes",
            "brackets",
        ],
    )
    def test_no_journal(self, path: Path, content: bytes) -> None:
        """What is no journal is refused, names its line, and is left as it is."""
        good = ENDINGS[0].to_json().encode() + b"\n"
        path.write_bytes(good + content)
        with pytest.raises(click.UsageError, match="line 2 is not a line of a journal"):
            Journal(str(path))
        assert path.read_bytes() == good + content
        # It is not locked either.
        with pytest.raises(click.UsageError, match="line 2"):
            Journal(str(path))

    def test_no_regular_file(self) -> None:
        """A device is no place for a journal."""
        with pytest.raises(click.UsageError, match="/dev/null: it is not a regular file"):
            Journal("/dev/null")

    def test_pipe(self, path: Path) -> None:
        """Neither is a named pipe, which Python itself refuses."""
        os.mkfifo(path)
        with pytest.raises(click.UsageError, match=f"{path}: it is not a regular file"):
            Journal(str(path))

    def test_private(self, path: Path) -> None:
        """Only its owner can read a new journal: results may hold signed URLs."""
        write_all(path)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_synced(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is written is put on the disk once a second, and at the end."""
        synced: list[int] = []
        now = 100.0
        monkeypatch.setattr(os, "fsync", synced.append)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        with Journal(str(path)) as journal:
            journal.sync()
            assert len(synced) == 0
            journal.add(ENDINGS[0])
            journal.sync()
            journal.add(ENDINGS[1])
            journal.sync()
            assert len(synced) == 1
            now += 1
            journal.sync()
            assert len(synced) == 2
            journal.add(ENDINGS[2])
        assert len(synced) == 3

    def test_failing_disk(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk that fails is an error, and the file is closed all the same."""

        def fail(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        journal = Journal(str(path))
        journal.add(ENDINGS[0])
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(JournalError, match="Input/output error"), journal:
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(journal._file.fileno() if not journal._file.closed else -1, b"")

    def test_partial_writes(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A system that writes less than it was given gets the rest."""
        real = os.write
        monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
        write_all(path)
        with Journal(str(path)) as journal:
            assert list(journal.endings.values()) == ENDINGS

    @given(
        task_id=st.text(min_size=1),
        result=JSON,
        error=st.none() | st.dictionaries(st.text(), JSON),
    )
    def test_round_trip(self, task_id: str, result: object, error: dict[str, object] | None) -> None:
        """Whatever a payload holds, a line is one line, and reads back as it was."""
        ending = Ending(task_id, "completed", None, result, error, 1, 0.25)
        line = ending.to_json().encode()
        assert line.isascii()
        assert line.startswith(journals._BEGINNING)
        assert b"\n" not in line
        assert Ending.from_json(line) == ending

    def test_newer_version(self) -> None:
        """Keys that another version wrote are passed over."""
        assert Ending.from_json(b'{"task_id": "a", "status": "failed", "new": 1}') == Ending("a", "failed")

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
    def test_numbers_that_json_lacks(self, number: str) -> None:
        """Python's JSON knows numbers that JSON does not: they become null."""
        line = f'{{"task_id": "a", "status": "completed", "result": {{"a": [1, {number}], "b": 0.5}}}}'
        written = Ending.from_json(line.encode()).to_json()
        assert json.loads(written, parse_constant=pytest.fail)["result"] == {"a": [1, None], "b": 0.5}
