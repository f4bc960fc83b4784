"""`stream-tasks wait`: what it reads, what it prints where, and how it ends."""

import asyncio
import functools
import io
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
from commandline import (
    SECRET,
    SIGNALS,
    Ended,
    Terminal,
    end,
    on_terminal,
    plain,
    run_here,
    serve,
    set_environment,
    start,
    start_python,
    until,
)

from stream_tasks import AsyncStream, StartedTask, Task, TaskOutcome, TaskResult
from stream_tasks._view.screen import is_apart
from stream_tasks.cli import signals
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.library_log import library_log
from stream_tasks.cli.waiting import WaitOptions, wait_and_show
from stream_tasks.testing import FakeStream, Fault, RateLimitRule, TaskFailure

Run: TypeAlias = Callable[..., Ended]

NO_TASK = "begins with '{', but is not a JSON object with a text task_id"
KEYS = [
    *("task_id", "status", "last_status", "result", "error", "polls", "elapsed"),
    *("operation", "items", "saved"),
]


server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys, "wait")


def add(server: FakeStream, *ids: str, **script: Any) -> None:
    """Put tasks on the server that have ended, unless told otherwise."""
    for task_id in ids:
        server.add_task(task_id, **({"statuses": ()} | script))


def lines(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def type_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put something on stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


class TestLines:
    def test_completed(self, run: Run, server: FakeStream) -> None:
        """Off a terminal each outcome is one JSON object a line, and nothing is on stderr."""
        add(server, "done", result={"name": "Zoë", "n": [1, None]})
        ended = run("done")
        assert (ended.code, ended.err) == (0, "")
        (line,) = lines(ended.out)
        assert list(line) == KEYS
        assert line["elapsed"] > 0
        assert line | {"elapsed": 0} == {
            "task_id": "done",
            "status": "completed",
            "last_status": "completed",
            "result": {"name": "Zoë", "n": [1, None]},
            "error": None,
            "polls": 1,
            "elapsed": 0,
            "operation": None,
            "items": [],
            "saved": None,
        }

    def test_order(self, server: FakeStream) -> None:
        """Lines come in the order of completion, each as soon as its task has ended."""
        add(server, "slow", never=True)
        add(server, "quick")
        process = start("wait", "slow", "quick", "--poll-interval", "0")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["task_id"] == "quick"
        server.finish("slow")
        assert lines(end(process).out)[0]["task_id"] == "slow"

    def test_polls_until_completed(self, run: Run, server: FakeStream) -> None:
        """It looks again, no more often than --poll-interval says, and with no limit if told so."""
        server.add_task("slow", statuses=("pending", "running"))
        ended = run("slow", "--poll-interval", "0", "--timeout", "none", "-q")
        assert (ended.code, lines(ended.out)[0]["polls"], ended.err) == (0, 3, "")
        assert len(server.polls("slow")) == 3

    def test_failed(self, run: Run, server: FakeStream) -> None:
        """A failed task exits with 1, and says why harmlessly to a terminal; with -v, where."""
        failure = TaskFailure("disk_full", "no \x1b[31mroom", "main()\n\ta.go:1", "v1")
        add(server, "bad", error=failure)
        ended = run("bad")
        expected = "Error: task bad failed (disk_full): no \\u001b[31mroom\n"
        assert (ended.code, ended.err) == (1, expected)
        assert lines(ended.out)[0]["error"] == {
            "type": "disk_full",
            "description": "no \x1b[31mroom",
            "stacktrace": "main()\n\ta.go:1",
            "version": "v1",
        }
        assert run("bad", "--verbose").err == expected + "main()\n\ta.go:1\n"

    def test_failed_without_stack_trace(self, run: Run, server: FakeStream) -> None:
        """With -v it says so when the server gave no stack trace."""
        add(server, "bad", error=TaskFailure("disk_full"))
        expected = "Error: task bad failed (disk_full)\nThe server gave no stack trace.\n"
        assert run("bad", "-v").err == expected

    def test_timed_out(self, run: Run, server: FakeStream) -> None:
        """A wait that elapsed exits with 3, says that the task may still be running, and how to go on."""
        server.add_task("endless", never=True)
        ended = run("endless", "--timeout", "0")
        assert ended.code == 3
        (line,) = lines(ended.out)
        assert (line["status"], line["last_status"]) == ("timed_out", "pending")
        assert (line["result"], line["error"]["type"]) == (None, "still_running")
        assert ended.err.startswith("Error: task endless did not finish within 0 s (still running; ")
        assert ended.err.endswith(
            "may still be running on the server\n"
            "To go on, run the same command again.\n"
            "With --journal FILE, only tasks that have not ended are polled again.\n"
        )

    def test_timed_out_with_a_cause(self, run: Run, server: FakeStream) -> None:
        """A wait that elapsed because the server was in trouble says what that was."""
        server.add_task("hidden")
        server.inject(Fault.status(503), times=9)
        ended = run("hidden", "--timeout", "0", "--quiet")
        assert ended.code == 3
        assert lines(ended.out)[0]["error"]["type"] == "unreachable"
        assert "; the last failure: HTTP 503" in ended.err

    @pytest.mark.parametrize(
        ("fault", "kind", "text"),
        [
            pytest.param(Fault.status(400), "http_400", "HTTP 400, code 4: Bad Request", id="a bad request"),
            pytest.param(
                Fault.body(b'{"task_id": "odd", "status": 1}'), "undecodable", " at $", id="a foreign shape"
            ),
        ],
    )
    def test_error(self, run: Run, server: FakeStream, fault: Fault, kind: str, text: str) -> None:
        """A task that cannot be asked for makes it exit with 4, and others are waited for all the same."""
        add(server, "odd", "done")
        server.inject(fault, task_id="odd")
        ended = run("odd", "done")
        assert ended.code == 4
        errors = {line["task_id"]: line["error"] for line in lines(ended.out)}
        assert errors["done"] is None
        assert errors["odd"]["type"] == kind
        assert ended.err.startswith("Error: task odd: ")
        assert text in ended.err
        assert ended.err.endswith("\n1 of 2 tasks completed, 1 could not be polled.\n")

    def test_refused(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrong credentials end the wait for all tasks at the first refusal, with 4."""
        monkeypatch.setenv("STREAM_API_SECRET", "another-" + SECRET[8:])
        ended = run(*map(str, range(50)))
        assert ended.code == 4
        assert len(lines(ended.out)) == 1
        first, *rest = ended.err.splitlines()
        assert first.startswith("Error: task ")
        assert ": HTTP 401" in first
        assert rest == [
            "0 of 50 tasks completed, 1 could not be polled.",
            "Not polled: 49 of 50 tasks.",
            "stream-tasks doctor looks for the cause.",
        ]
        assert len(server.requests) < 10

    def test_refused_later(self, run: Run, server: FakeStream) -> None:
        """Credentials that cease to be good end the wait, and it says how to go on."""
        add(server, "done")
        server.add_task("slow", statuses=("pending",))
        server.inject(Fault.delay(0.2), task_id="slow")
        server.inject(Fault.status(401), task_id="slow")
        ended = run("done", "slow", "--poll-interval", "0")
        assert ended.code == 4
        assert [line["status"] for line in lines(ended.out)] == ["completed", "error"]
        assert "\nTo go on, run" in ended.err

    def test_no_trust(self, run: Run, server: FakeStream) -> None:
        """A server that does not speak TLS may do so later: the tasks time out."""
        url = server.url.replace("http:", "https:")
        ended = run("a", "b", "c", "--base-url", url, "--timeout", "1")
        assert (ended.code, len(lines(ended.out))) == (3, 3)
        assert lines(ended.out)[0]["error"]["type"] == "unreachable"
        assert f"stream-tasks doctor --base-url {url} looks for the cause.\n" in ended.err

    @pytest.mark.parametrize(
        ("ids", "code"),
        [
            (["done"], 0),
            (["done", "bad"], 1),
            (["bad", "done", "endless"], 3),
            (["odd", "endless", "bad", "done"], 4),
        ],
        ids=["completed", "failed over completed", "timed out over failed", "error over timed out"],
    )
    def test_worst_wins(self, run: Run, server: FakeStream, ids: list[str], code: int) -> None:
        """The worst outcome is the exit code: what is not known is worse than what failed."""
        add(server, "done")
        add(server, "bad", error=TaskFailure("disk_full"))
        add(server, "odd", result={})
        add(server, "endless", never=True)
        server.inject(Fault.status(400), task_id="odd")
        ended = run(*ids, "--timeout", "0")
        assert ended.code == code
        assert len(lines(ended.out)) == len(ids)

    def test_many_troubles(self, run: Run, server: FakeStream) -> None:
        """Of many failures stderr names ten; stdout has them all."""
        ids = [f"bad-{number}" for number in range(30)]
        add(server, *ids, error=TaskFailure("disk_full"))
        ended = run(*ids)
        assert (ended.code, len(lines(ended.out))) == (1, 30)
        errors = ended.err.splitlines()
        assert len(errors) == 12
        assert errors[-2:] == ["… and 20 more that did not complete", "0 of 30 tasks completed, 30 failed."]

    def test_any(self, run: Run, server: FakeStream) -> None:
        """With --any the first task to end ends the wait, with its own exit code."""
        add(server, "endless", never=True)
        add(server, "bad", error=TaskFailure("disk_full"))
        add(server, "odd")
        server.inject(Fault.status(400), task_id="odd")
        server.inject(Fault.delay(0.1), task_id="bad")
        ended = run("endless", "odd", "bad", "--any")
        assert ended.code == 1
        assert [line["status"] for line in lines(ended.out)] == ["error", "failed"]
        assert "Not finished" not in ended.err

    def test_fail_fast(self, run: Run, server: FakeStream) -> None:
        """With --fail-fast the first failure ends the wait; what goes on does not end with it once more."""
        add(server, "done", "bad", error=TaskFailure("disk_full"))
        add(server, "done")
        add(server, "endless", never=True)
        server.inject(Fault.delay(0.1), task_id="bad")
        ended = run("endless", "done", "bad", "--fail-fast")
        assert ended.code == 1
        assert [line["task_id"] for line in lines(ended.out)] == ["done", "bad"]
        assert (
            "\nStopped at the first failure; tasks on the server go on.\n"
            "Not finished: 1 of 3 tasks.\n"
            "  endless  running\n"
            "To go on, run the same command again, without --fail-fast.\n" in ended.err
        )

    def test_numbers_that_json_lacks(self, capsys: pytest.CaptureFixture[str], server: FakeStream) -> None:
        """NaN and Infinity, which Python's JSON lets pass, are null: each line is valid JSON."""
        moment = b'"2026-01-01T00:00:00Z"'
        task = b'{"task_id": "a", "status": "completed", "created_at": %b, "updated_at": %b, "result": %b}'
        result = b'{"x": [NaN, -Infinity, 1e999, 0.5]}'
        server.inject(Fault.body(task % (moment, moment, result)), times=2, task_id="a")
        for command in ("wait", "get"):
            shown = run_here(capsys, command, "a").out
            assert json.loads(shown, parse_constant=pytest.fail)["result"] == {"x": [None, None, None, 0.5]}

    @pytest.mark.slow
    def test_no_descriptors(self, server: FakeStream) -> None:
        """Out of file descriptors it goes on with those that it has, and all outcomes come."""
        resource = pytest.importorskip("resource", reason="there is no such limit")
        ids = [str(number) for number in range(150)]
        add(server, *ids)
        limited = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (40, 40))
        process = start_python("wait", "-", "--timeout", "none", stdin=-1, preexec_fn=limited)
        ended = end(process, "\n".join(ids))
        assert ended.code == 0
        assert {line["task_id"] for line in lines(ended.out)} == set(ids)

    def test_warnings(self, run: Run, server: FakeStream) -> None:
        """The library's warnings are lines on stderr, but not with --quiet."""
        add(server, "done")
        server.add_task("odd", statuses=("frozen",))
        server.inject(Fault.status(503), times=2, task_id="done")
        ended = run("done", "odd", "--poll-interval", "0")
        assert ended.code == 0
        assert "Warning: looking at task done failed (HTTP 503" in ended.err
        assert "Warning: task odd has the unknown status 'frozen'" in ended.err
        server.inject(Fault.status(503), task_id="done")
        assert run("done", "--poll-interval", "0", "--quiet").err == ""

    def test_trouble_is_told_once(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Trouble that comes and goes is one line for a while, and stderr that is gone breaks nothing."""
        logger = logging.getLogger("stream_tasks")
        with library_log():
            for number in range(3):
                logger.warning("trouble %d", number, extra={"stream_event": "retrying"})
            logger.warning("other \x07")
        assert capsys.readouterr().err == "Warning: trouble 0\nWarning: other \\u0007\n"
        assert logger.propagate
        monkeypatch.setattr(sys, "stderr", None)
        with library_log():
            logger.warning("unheard")

    def test_login_page(self, run: Run, server: FakeStream) -> None:
        """A time that ran out while something else answered leads to the doctor, too."""
        add(server, "a")
        server.inject(Fault.html(200), times=9, path="/tasks/")
        ended = run("a", "--timeout", "0")
        assert ended.code == 3
        assert "the body is not JSON" in ended.err
        assert "stream-tasks doctor looks for the cause.\n" in ended.err

    @pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
    def test_signals(self, server: FakeStream, number: int, code: int, word: str) -> None:
        """Ctrl-C and SIGTERM end the wait; all that was not finished is named, and how to go on."""
        add(server, "done")
        add(server, *(f"endless {number}" for number in range(30)), never=True)
        ids = [f"endless {number}" for number in range(30)]
        process = start("wait", "done", *ids)
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: all(server.polls(task_id) for task_id in ids))
        process.send_signal(number)
        ended = end(process)
        assert (ended.code, ended.out) == (code, "")
        first, second, third, *rest = ended.err.splitlines()
        assert (first, second) == ("", f"{word}; tasks on the server go on.")
        assert third == "Not finished: 30 of 31 tasks."
        assert [line.rpartition("  ")[0].strip() for line in rest[:30]] == ids
        assert rest[30] == "To go on, run the same command again."

    def test_interrupted_with_nothing_left(self, server: FakeStream) -> None:
        """Ctrl-C while the last line is stuck in a pipe still ends it with 130 or 0, not a traceback."""
        add(server, "done", result={"long": "x" * 2_000_000})
        process = start("wait", "done")
        assert process.stdout is not None
        select.select([process.stdout], [], [], 50)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        ended = end(process)
        assert ended.code in (0, 130)

    @pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
    def test_stuck_reader(self, server: FakeStream, number: int, code: int, word: str) -> None:
        """A signal does not wait for a reader that takes nothing; what was not finished is told."""
        add(server, "large", result={"long": "x" * 1_000_000})
        add(server, "endless", never=True)
        process = start("wait", "large", "endless", "--poll-interval", "0.1")
        assert process.stdout is not None
        select.select([process.stdout], [], [], 50)
        until(lambda: len(server.polls("endless")) > 1)  # the first one has been answered
        process.send_signal(number)
        assert process.wait(50) == code
        assert end(process).err.startswith(
            f"\n{word}; tasks on the server go on.\n"
            "Not finished: 1 of 2 tasks.\n"
            "  endless  running\n"
            "To go on, run the same command again.\n"
        )

    def test_stuck_reader_at_the_end(self, server: FakeStream, tmp_path: Path) -> None:
        """The same holds for what a journal has, and when all is done but the printing."""
        add(server, "large", result={"long": "x" * 1_000_000})
        args = ("wait", "large", "--journal", str(tmp_path / "journal"))
        for _ in range(2):
            process = start(*args)
            assert process.stdout is not None
            select.select([process.stdout], [], [], 50)
            process.terminate()
            assert process.wait(50) == 143
            assert end(process).err.startswith("\nTerminated.\nTo go on, run the same command ")

    def test_slow_reader(self, server: FakeStream) -> None:
        """A reader that takes nothing does not hold up the waits, and gets all lines in the end."""
        add(server, "large", result={"long": "x" * 1_000_000})
        server.add_task("slow", statuses=("pending", "pending"))
        process = start("wait", "large", "slow", "--poll-interval", "0.1", "--fail-fast")
        until(lambda: len(server.polls("slow")) == 3)
        assert [line["task_id"] for line in lines(end(process).out)] == ["large", "slow"]

    def test_closed_pipe(self, server: FakeStream) -> None:
        """A reader that has gone ends it silently, as SIGPIPE would."""
        add(server, "a", "b")
        reader, writer = os.pipe()
        os.close(reader)
        process = start("wait", "a", "b", stdout=writer)
        os.close(writer)
        assert end(process) == (141, "", "")

    def test_closed_stderr(self, server: FakeStream) -> None:
        """The same holds for stderr."""
        add(server, "bad", error=TaskFailure("disk_full"))
        reader, writer = os.pipe()
        os.close(reader)
        process = start("wait", "bad", stderr=writer)
        os.close(writer)
        ended = end(process)
        assert (ended.code, len(lines(ended.out))) == (141, 1)

    @pytest.mark.parametrize("closed", [0, 1, 2])
    def test_no_stream(self, server: FakeStream, closed: int) -> None:
        """Without stdin, stdout or stderr it does what can be done without."""
        add(server, "done")
        process = start("wait", "done", closed=(closed,))
        assert end(process).code == 0

    @pytest.mark.slow
    def test_ten_thousand(self, server: FakeStream) -> None:
        """Ten thousand ids on stdin are ten thousand lines on stdout."""
        ids = [str(number) for number in range(10_000)]
        add(server, *ids)
        process = start("wait", "-", "--quiet", stdin=subprocess.PIPE)
        ended = end(process, "\n".join(ids))
        assert (ended.code, ended.err) == (0, "")
        assert {line["task_id"] for line in lines(ended.out)} == set(ids)


class TestIds:
    def test_all_sources(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Arguments, files and stdin are read in turn, whatever editors left in them, each id once."""
        add(server, *"abcdef", "with blank")
        one, two = tmp_path / "one", tmp_path / "two"
        one.write_bytes(b"\xef\xbb\xbfb\r\n\r\n  # a comment\r\n  c  \na\n")
        two.write_bytes(b"d\n\xef\xbb\xbfwith blank")
        type_in(monkeypatch, b"e\nb\n\nf")
        ended = run("a", "-", "--from", str(one), "--from", str(two), "a", "--timeout", "0")
        assert ended.code == 0
        assert sorted(line["task_id"] for line in lines(ended.out)) == [*"abcdef", "with blank"]

    def test_json_lines(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """What this command line prints as JSON is taken back, but for work that had no task."""
        add(server, "a", "b", result={"n": 1})
        printed = run("a", "b").out
        type_in(monkeypatch, f'{printed}{{"task_id": null, "result": {{}}}}\nb\n'.encode())
        ended = run("-")
        assert (ended.code, ended.err) == (0, "")
        assert sorted(line["task_id"] for line in lines(ended.out)) == ["a", "b"]

    @pytest.mark.parametrize(
        ("more", "known"),
        [
            ({"operation": "delete_users", "items": ["jane"]}, ("delete_users", ["jane"])),
            ({"operation": "delete_users", "items": "jane"}, ("delete_users", [])),
            ({"operation": "delete_users", "items": [1]}, ("delete_users", [])),
            ({"operation": "dance", "items": ["jane"]}, (None, [])),
            ({"operation": 1}, (None, [])),
        ],
        ids=["known", "no list", "no texts", "no operation", "no text"],
    )
    def test_what_json_lines_tell(
        self,
        run: Run,
        server: FakeStream,
        monkeypatch: pytest.MonkeyPatch,
        more: dict[str, object],
        known: tuple[str | None, list[str]],
    ) -> None:
        """The operation and its items come out again, if they can be right."""
        add(server, "a", result={"jane": {"status": "ok"}})
        type_in(monkeypatch, json.dumps({"task_id": "a", **more}).encode())
        (line,) = lines(run("-").out)
        assert (line["status"], line["operation"], line["items"]) == ("completed", *known)

    @pytest.mark.parametrize("args", [[], ["-"], ["--from", "-"]], ids=["not at all", "'-'", "--from -"])
    def test_stdin(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, args: list[str]
    ) -> None:
        """Stdin is read where it is named, and where nothing is."""
        add(server, "a")
        type_in(monkeypatch, b"a\n")
        assert lines(run(*args).out)[0]["task_id"] == "a"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(b"a\n\n..\n", "stdin, line 3: task_id must ", id="an id that cannot be one"),
            pytest.param(b"a\n\xff\n", "stdin, line 2: is not UTF-8", id="another encoding"),
            pytest.param(b"a\n\x00\xd8", "stdin, line 2: is not UTF-8", id="a binary file"),
            pytest.param(b'a\n{"id": "b"}\n', f"stdin, line 2: {NO_TASK}", id="JSON without a task"),
            pytest.param(b'{"task_id": 5}\n', f"stdin, line 1: {NO_TASK}", id="a number as id"),
            pytest.param(b'a\n{"task_id": "b"\n', f"stdin, line 2: {NO_TASK}", id="JSON that is cut off"),
            pytest.param(b'{"a":' * 100_000, f"stdin, line 1: {NO_TASK}", id="JSON that is too deep"),
            pytest.param(b'{"task_id": ".."}\n', "stdin, line 1: task_id must ", id="JSON with no id"),
        ],
    )
    def test_bad_line(
        self,
        run: Run,
        server: FakeStream,
        monkeypatch: pytest.MonkeyPatch,
        content: bytes,
        message: str,
    ) -> None:
        """A bad id names its line and exits with 2, before any request."""
        type_in(monkeypatch, content)
        ended = run("-")
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err
        assert not server.requests

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--from", "no/such"], "'--from': no/such: No such file or directory"),
            (["--from", "."], "'--from': .: Is a directory"),
            ([], "no task is named, and there is no id on stdin"),
        ],
        ids=["no file", "a directory", "nothing at all"],
    )
    def test_nothing_to_read(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
    ) -> None:
        """What cannot be read is named, and exits with 2."""
        type_in(monkeypatch, b"")
        ended = run(*args)
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err

    def test_stdin_is_closed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A closed stdin is wrong usage where ids shall come from it."""
        monkeypatch.setattr(sys, "stdin", None)
        ended = run("-")
        assert (ended.code, "stdin is closed" in ended.err) == (2, True)

    def test_stdin_cannot_be_read(self, tmp_path: Path) -> None:
        """What can only be written to is said to be that, and no failed write."""
        with (tmp_path / "written").open("wb") as written:
            ended = end(start("wait", "-", stdin=written))
        assert ended.code == 2
        assert ended.err.endswith("\nError: stdin cannot be read: Bad file descriptor\n")

    @pytest.mark.parametrize(
        "args",
        [
            ["--from", "no/\x1bc\udcff"],
            ["x", "--journal", "no/\x1bc\udcff"],
            ["--from", "\x1bc\udcff"],
        ],
        ids=["no file", "no journal", "a bad line"],
    )
    def test_odd_names(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, args: list[str]
    ) -> None:
        """A name that cannot be printed is escaped where a message holds it."""
        monkeypatch.chdir(tmp_path)
        Path("\x1bc\udcff").write_bytes(b"\xff\n")
        ended = run(*args)
        assert ended.code == 2
        assert "\\u001bc\\udcff" in ended.err
        assert "\x1b" not in ended.err

    def test_interrupted(self) -> None:
        """Ctrl-C while ids are read ends it, too."""
        terminal = Terminal("wait", "-")
        until(lambda: "Ctrl-D ends them" in terminal.shown)
        terminal.type("\x03")
        ended = terminal.end()
        assert ended.code == 130
        assert plain(ended.out).endswith("\nInterrupted.\n")

    def test_no_ids(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty list of ids is waited for at once, and said so."""
        type_in(monkeypatch, b"# none today\n")
        assert run("-") == (0, "", "No ids: there is nothing to wait for.\n")
        assert run("-", "-q") == (0, "", "")

    def test_nothing_named_on_a_terminal(self) -> None:
        """Without any id on a terminal it does not sit and wait for some."""
        ended = on_terminal("wait")
        assert ended.code == 2
        assert "no task is named: give ids, --from FILE, or '-'" in ended.out

    def test_typed_in(self, server: FakeStream) -> None:
        """Ids can be typed in if '-' asks for them."""
        add(server, "a")
        terminal = Terminal("wait", "-")
        until(lambda: "Ctrl-D ends them" in terminal.shown)
        terminal.type("a\n\x04")
        assert terminal.end().code == 0


class TestTerminal:
    def test_one(self, server: FakeStream) -> None:
        """One task's status and the time that is left are shown, and then its result, indented."""
        add(server, "slow", never=True)
        terminal = Terminal("wait", "slow", "--poll-interval", "0.1")
        until(lambda: re.fullmatch(r"time-out in \d+ s\n\nslow +running +\d+\.\d s", terminal.shown))
        server.finish("slow", result={"name": "Zoë"})
        ended = terminal.end()
        assert ended.code == 0
        assert terminal.shown == '{\n  "name": "Zoë"\n}'

    def test_one_failed(self, server: FakeStream) -> None:
        """One task that failed is an error, and nothing else."""
        add(server, "bad", error=TaskFailure("disk_full"))
        terminal = Terminal("wait", "bad")
        assert terminal.end().code == 1
        assert terminal.shown == "Error: task bad failed (disk_full)"

    def test_few(self, server: FakeStream) -> None:
        """Few tasks have a row each, in the order given, and a line each at the end."""
        add(server, "endless", never=True)
        add(server, "bad", error=TaskFailure("disk_full", "there was no room for all of it"))
        add(server, "done", result={"a": 1})
        terminal = Terminal("wait", "endless", "bad", "done", "--timeout", "2")
        until(lambda: "2 of 3 done" in terminal.shown)
        bar, progress, _, headings, *rows = terminal.shown.splitlines()
        assert len(bar) == 80
        assert re.fullmatch(r"2 of 3 done, 1 failed, \d a second, time-out in [01] s", progress)
        assert headings.split() == ["task", "status", "after"]
        assert [row.split()[:2] for row in rows] == [
            ["endless", "running"],
            ["bad", "failed"],
            ["done", "completed"],
        ]
        ended = terminal.end()
        assert ended.code == 3
        assert "still running\r\n" in ended.out
        shown = terminal.shown.splitlines()
        assert re.fullmatch(r"endless +timed out +\d+\.\d s +still running", shown[0])
        assert re.fullmatch(r"bad +failed +\d+\.\d s +disk_full: there was no room for all of it", shown[1])
        assert re.fullmatch(r'done +completed +\d+\.\d s +\{"a": 1\}', shown[2])
        assert shown[3] == "To go on, run the same command again."

    @pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50), (40, 12), (30, 8)])
    def test_many(self, server: FakeStream, columns: int, lines: int) -> None:
        """Of many tasks those that moved last are shown, within whatever terminal it is."""
        ids = [f"{number:04}-2f3b-4c1d-9e5a-d1e4f7a9b3c5" for number in range(300)]
        add(server, *ids[:200])
        add(server, *ids[200:], never=True)
        terminal = Terminal("wait", *ids, columns=columns, lines=lines)
        until(lambda: "200 of 300" in terminal.shown and "-" in terminal.shown)
        shown = terminal.shown.splitlines()
        assert shown[0].startswith("━")
        assert len(shown) <= lines
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end().code == 130

    def test_many_ended(self, server: FakeStream) -> None:
        """At the end many tasks are a summary, with what went wrong, at full length."""
        ids = [f"task-{number}" for number in range(60)]
        add(server, *ids[:40])
        add(server, *ids[40:], error=TaskFailure("disk_full", "no room at all, none whatsoever, " * 3))
        terminal = Terminal("wait", *ids, lines=40)
        ended = terminal.end()
        assert ended.code == 1
        shown = plain(ended.out.rpartition("\x1b[2K")[2]).rstrip()
        assert "\n… and 2 more that did not complete\n40 of 60 tasks completed, 20 failed, in " in shown
        assert shown.endswith("To get the results of completed tasks, use --json or --journal FILE.")
        assert shown.count("no room at all") == 3 * 18

    def test_narrow(self, server: FakeStream) -> None:
        """What went wrong has a line of its own where there is no room for it, which no blanks fill up."""
        ids = ["a-task-with-a-long-name", "another-task"]
        add(server, *ids, never=True)
        terminal = Terminal("wait", *ids, "--timeout", "0", columns=40)
        ended = terminal.end()
        assert ended.code == 3
        assert ended.out.count("\n  still running\r\n") == 2
        _, first, _, second = terminal.shown.splitlines()[:4]
        assert first == second == "  still running"

    def test_any(self, server: FakeStream) -> None:
        """With --any a terminal shows the one that ended, of however many."""
        add(server, *map(str, range(99)), never=True)
        add(server, "done", result={"a": 1})
        terminal = Terminal("wait", *map(str, range(99)), "done", "--any")
        assert terminal.end().code == 0
        assert re.fullmatch(
            r'done +completed +\d+\.\d s +\{"a": 1\}\n1 of 100 tasks completed, in \d+\.\d s\.',
            terminal.shown,
        )

    def test_interrupted(self, server: FakeStream) -> None:
        """Ctrl-C takes the table away, and ten of what was not finished are named."""
        ids = [f"endless-{number}" for number in range(30)]
        add(server, *ids, never=True)
        terminal = Terminal("wait", *ids, lines=50)
        until(lambda: "0 of 30 done" in terminal.shown and "running" in terminal.shown)
        terminal.type("\x03")
        assert terminal.end().code == 130
        shown = terminal.shown.splitlines()
        assert re.fullmatch(r"0 of 30 tasks completed, in \d+\.\d s\.", shown[0])
        assert shown[2:5] == [
            "Interrupted; tasks on the server go on.",
            "Not finished: 30 of 30 tasks.",
            "  endless-0  running",
        ]
        assert "  … and 20 more" in shown
        assert not terminal.screen.cursor.hidden

    def test_killed(self, server: FakeStream) -> None:
        """A kill leaves the terminal with its cursor."""
        add(server, "a", "b", never=True)
        terminal = Terminal("wait", "a", "b")
        until(lambda: "running" in terminal.shown)
        terminal.process.kill()
        assert terminal.end().code == -signal.SIGKILL
        assert not terminal.screen.cursor.hidden

    def test_rate_limited(self, server: FakeStream) -> None:
        """It says that the quota holds the polls back, and for how long."""
        server.rate_limit = RateLimitRule(3, window=60)
        add(server, "a", "b", "c", "d", never=True)
        server.spend(2)
        terminal = Terminal("wait", "a", "b", "c", "d")
        until(lambda: re.search(r"waiting for the rate limit, \d\d s", terminal.shown))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end().code == 130

    def test_unreachable(self, server: FakeStream) -> None:
        """It says that the server is away, and goes on when that is back."""
        add(server, "a", "b")
        server.inject(Fault.reset(), times=10_000)
        terminal = Terminal("wait", "a", "b", "--poll-interval", "0")
        told = r"^Warning: looking at task .*the server cannot be reached, trying again"
        until(lambda: re.search(told, terminal.shown, re.MULTILINE | re.DOTALL))
        server.heal()
        assert terminal.end().code == 0

    def test_cut_off(self, server: FakeStream) -> None:
        """A time that ran out while the server was away leads to the doctor; the task's own slowness not."""
        add(server, "a", never=True)
        assert "doctor" not in on_terminal("wait", "a", "--timeout", "0.3").out
        server.inject(Fault.reset(), times=10_000)
        terminal = Terminal("wait", "a", "--timeout", "0.3")
        assert terminal.end().code == 3
        assert "\nstream-tasks doctor looks for the cause.\nTo go on, run" in terminal.shown

    def test_failures_show(self, server: FakeStream) -> None:
        """The number of failures is red once there are some."""
        add(server, "a", "b", error=TaskFailure("disk_full"))
        add(server, "endless", never=True)
        terminal = Terminal("wait", "a", "b", "endless")
        until(lambda: "2 failed" in terminal.shown)
        place = terminal.screen.display[1].index("2 failed")
        assert terminal.screen.buffer[1][place].fg == "red"
        assert terminal.screen.buffer[1][0].fg == "default"
        assert terminal.screen.buffer[0][0].fg == "green"
        terminal.type("\x03")
        assert terminal.end().code == 130

    def test_off_a_terminal_but_held_back(self, server: FakeStream) -> None:
        """Off a terminal the same is a line on stderr, but not with --quiet."""
        add(server, *"abcdef")
        server.inject(Fault.reset(), times=10_000)
        process = start("wait", *"abcdef", "--poll-interval", "0")
        assert process.stderr is not None
        while "cannot be reached" not in (line := process.stderr.readline()):
            assert line.startswith("Warning: ")
        assert line.startswith("The server cannot be reached, trying again")
        server.heal()
        assert end(process).code == 0

    def test_stdout_to_a_file(self, server: FakeStream, tmp_path: Path) -> None:
        """The table stays on the terminal while lines go to a file."""
        add(server, "a", "b")
        server.add_task("c", statuses=["pending", "pending"])
        with (tmp_path / "out").open("wb") as out:
            ended = on_terminal("wait", "a", "b", "c", "--poll-interval", "0.3", stdout=out.fileno())
        assert ended.code == 0
        assert "━" in ended.out
        assert len(lines((tmp_path / "out").read_text())) == 3

    @pytest.mark.parametrize("args", [[], ["--json"]], ids=["as it is", "with --json"])
    def test_stdout_to_a_pipe(self, server: FakeStream, args: list[str]) -> None:
        """What reads a pipe may write to the same terminal: nothing is drawn there."""
        add(server, "a", "b")
        ended = on_terminal("wait", "a", "b", *args, stdout=subprocess.PIPE)
        assert (ended.code, ended.out, len(lines(ended.err))) == (0, "", 2)

    def test_json_on_a_terminal(self, server: FakeStream) -> None:
        """With --json a terminal gets the lines that a pipe would get."""
        add(server, "a", "b")
        assert len(lines(on_terminal("wait", "a", "b", "--json").out)) == 2

    def test_quiet(self, server: FakeStream) -> None:
        """With --quiet a terminal shows nothing but the result."""
        add(server, "done", result={})
        assert plain(on_terminal("wait", "done", "--quiet").out) == "{}\n"

    def test_dumb(self, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """A terminal that cannot go back gets no table, and no codes."""
        monkeypatch.setenv("TERM", "dumb")
        add(server, "done")
        add(server, "bad", error=TaskFailure("disk_full"))
        ended = on_terminal("wait", "done", "bad")
        assert "\x1b" not in ended.out
        assert re.fullmatch(
            r"done +completed +\d+\.\d s *\nbad +failed +\d+\.\d s +disk_full *\n", plain(ended.out)
        )

    def test_no_color(self, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """NO_COLOR is honoured."""
        add(server, "a", result={"a": 1})
        add(server, "b", error=TaskFailure("disk_full"))
        assert "34m" in on_terminal("wait", "a").out
        assert "31m" in on_terminal("wait", "a", "b").out
        monkeypatch.setenv("NO_COLOR", "1")
        assert not re.search(r"3\dm", on_terminal("wait", "a").out + on_terminal("wait", "a", "b").out)

    def test_columns(self, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """COLUMNS overrides what the terminal says."""
        add(server, "a", "b", never=True)
        monkeypatch.setenv("COLUMNS", "60")
        terminal = Terminal("wait", "a", "b", columns=100)
        until(lambda: "running" in terminal.shown)
        assert len(terminal.shown.splitlines()[0]) == 60
        terminal.process.terminate()
        assert terminal.end().code == 143

    @pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
    def test_no_size(self, server: FakeStream, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A size of 0 in the environment counts as none: nothing is cut off."""
        add(server, "a")
        add(server, "b", result={"n": 1})
        monkeypatch.setenv(name, "0")
        shown = plain(on_terminal("wait", "a", "b").out)
        assert '{"n": 1}' in shown
        assert "..." not in shown

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_other_encodings(
        self, server: FakeStream, monkeypatch: pytest.MonkeyPatch, encoding: str
    ) -> None:
        """What a terminal's encoding lacks is escaped."""
        add(server, "a", "b", error=TaskFailure("壊れた"))
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
        ended = on_terminal("wait", "a", "b", is_forked=False)
        assert ended.code == 1
        assert ended.out.count("\\u58ca\\u308c\\u305f") >= 2

    def test_no_stdout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no stdout nothing comes in between what is drawn."""
        monkeypatch.setattr(sys, "stdout", None)
        assert is_apart(as_json=True)

    def test_verbose(self, server: FakeStream) -> None:
        """With -v stack traces follow the table."""
        add(server, "done")
        add(server, "bad", error=TaskFailure("disk_full", "", "main()"))
        ended = on_terminal("wait", "done", "bad", "-v")
        assert plain(ended.out).endswith("\n\nTask bad:\nmain()\n")


class TestWaitAndShow:
    async def test_started_tasks(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Started tasks are shown like ids, also one that the server did at once, and handed on."""
        async with FakeStream() as server:
            client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
            async with client:
                started = await client.export_users(["ada"])
                at_once: StartedTask[Any] = StartedTask(None, {}, TaskResult, TaskResult({"a": 1}))
                deleted = await client.delete_channels(["messaging:a"])
                outcomes: list[TaskOutcome[Any]] = []
                options = WaitOptions(poll_interval=0.05)
                code = await wait_and_show(
                    client, [started, at_once, deleted], options, Stop(), on_outcome=outcomes.append
                )
        assert code == 0
        shown = lines(capsys.readouterr().out)
        assert shown[0]["task_id"] is None
        assert shown[0]["result"] == {"a": 1}
        assert {line["status"] for line in shown} == {"completed"}
        assert {outcome.task_id for outcome in outcomes} == {None, started.task_id, deleted.task_id}

    async def test_stuck_reader(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a signal it writes no more to a reader that takes nothing, and all may be unread."""
        stop = Stop()
        reading = threading.Event()

        class Stuck(io.StringIO):
            def write(self, text: str) -> int:
                if text:  # click tries what it can write, with nothing
                    stop.hear(signal.SIGTERM)
                    reading.wait()
                return len(text)

        monkeypatch.setattr(signals, "PATIENCE", 0.01)
        monkeypatch.setattr(sys, "stdout", Stuck())
        async with FakeStream() as server:
            add(server, "a")
            add(server, "b", never=True)
            async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
                options = WaitOptions(again=lambda ids, **_: ", ".join(ids))
                waiting = asyncio.create_task(wait_and_show(client, ["a", "b"], options, stop))
                stop.cancels(waiting)
                assert await waiting == 143
        assert stop.is_stuck
        reading.set()
        told = capsys.readouterr().err
        assert "\nNot finished: 1 of 2 tasks.\n" in told
        assert told.endswith("\na, b\n")

    async def test_an_error_of_our_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Whatever ends the wait, what is known is printed."""
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        known: TaskOutcome[Any] = TaskOutcome("a", Task("a", "completed", moment, moment, {"n": 1}), 1, 0.1)

        class Broken:
            obstacle = None

            async def as_completed(self, *_: object, **__: object) -> AsyncIterator[TaskOutcome[Any]]:
                yield known
                raise RuntimeError("odd")

        with pytest.raises(RuntimeError, match="odd"):
            await wait_and_show(cast("AsyncStream", Broken()), ["a", "b"], WaitOptions(), Stop())
        assert lines(capsys.readouterr().out)[0]["result"] == {"n": 1}

    async def test_time_runs_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a hint to give, none is given."""
        async with FakeStream() as server:
            server.add_task("a", never=True)
            async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
                assert await wait_and_show(client, ["a"], WaitOptions(timeout=0), Stop()) == 3
        assert "To go on" not in capsys.readouterr().err
