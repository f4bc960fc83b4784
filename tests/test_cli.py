"""The command line: what it prints, where, and how it exits."""

import errno
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from typing import Any, BinaryIO, TypeAlias

import click
import pytest
import stream_tasks_script
from commandline import (
    SECRET,
    Ended,
    end,
    full_disk,
    on_terminal,
    plain,
    run_here,
    serve,
    set_environment,
    start,
)

from stream_tasks import __version__
from stream_tasks.__main__ import main
from stream_tasks.cli import client
from stream_tasks.cli.app import commands
from stream_tasks.cli.commands import demo
from stream_tasks.cli.ui import console, output
from stream_tasks.testing import FakeStream, Fault, TaskFailure

Run: TypeAlias = Callable[..., Ended]


server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)
full = pytest.fixture(full_disk)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


class TestWait:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            pytest.param(
                ["--timeout", "-1"], "'--timeout': '-1' is not a finite number", id="negative time-out"
            ),
            pytest.param(
                ["--timeout", "soon"], "'--timeout': 'soon' is not a finite", id="time-out in words"
            ),
            pytest.param(["--poll-interval", "nan"], "'--poll-interval': 'nan' is not a", id="NaN interval"),
            pytest.param(["--poll-interval", "none"], "'--poll-interval': 'none' is not a", id="no interval"),
            pytest.param(["--api-secret", ""], "api_secret must not be empty", id="empty secret"),
            pytest.param(
                ["--api-secret", "x", "--api-secret-file", "y"],
                "give --api-secret or --api-secret-file, not both",
                id="two secrets",
            ),
            pytest.param(
                ["--api-secret-file", "no/such"],
                "--api-secret-file 'no/such' cannot be read: No such file",
                id="no file",
            ),
            pytest.param(
                ["--api-secret-file", sys.executable],
                "cannot be read: it is not a text file",
                id="a binary file",
            ),
            pytest.param(["--base-url", "ftp://x"], "base_url (or STREAM_BASE_URL in the env", id="no http"),
            pytest.param(["--api-key", ""], "api_key must not be empty", id="empty key"),
        ],
    )
    def test_usage(self, run: Run, args: list[str], message: str) -> None:
        """A wrong option exits with 2 and is named, before any request."""
        ended = run("wait", "any", *args)
        assert ended.code == 2
        assert message in ended.err

    def test_bad_id(self, run: Run) -> None:
        """An id that cannot be one exits with 2."""
        ended = run("wait", "..")
        assert ended.code == 2
        assert "'ID': task_id must be" in ended.err

    @pytest.mark.parametrize(
        ("variable", "parameter"), [("STREAM_API_KEY", "api_key"), ("STREAM_API_SECRET", "api_secret")]
    )
    def test_missing_credentials(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, parameter: str
    ) -> None:
        """Missing credentials exit with 2; parameter and environment variable are named."""
        monkeypatch.delenv(variable)
        ended = run("wait", "any")
        assert ended.code == 2
        assert f"{parameter} is missing: " in ended.err
        assert f"set {variable} in the environment" in ended.err


class TestGet:
    def test_stdin(self, run: Run) -> None:
        """It takes one id, and says what reads stdin."""
        ended = run("get", "-")
        assert ended.code == 2
        assert "'ID': '-' is not an id; 'wait -' reads ids from stdin" in ended.err

    def test_unfinished(self, run: Run, server: FakeStream) -> None:
        """It prints the task as JSON and exits with 0, whatever the status."""
        server.add_task("new", never=True)
        ended = run("get", "new")
        task = json.loads(ended.out)
        assert (ended.code, ended.err) == (0, "")
        assert list(task) == ["task_id", "status", "created_at", "updated_at", "result", "error"]
        assert (task["task_id"], task["status"], task["result"], task["error"]) == (
            "new",
            "pending",
            None,
            None,
        )
        assert task["created_at"].endswith("+00:00")
        assert len(server.polls("new")) == 1

    def test_failed(self, run: Run, server: FakeStream) -> None:
        """A failed task is an answer like any other."""
        server.add_task("bad", statuses=(), error=TaskFailure("disk_full", "no room", "a.go:1", "v1"))
        ended = run("get", "bad")
        assert ended.code == 0
        assert json.loads(ended.out)["error"] == {
            "type": "disk_full",
            "description": "no room",
            "stacktrace": "a.go:1",
            "version": "v1",
        }

    def test_options(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """--api-key and --base-url come before the environment."""
        server.add_task("new")
        monkeypatch.delenv("STREAM_API_KEY")
        monkeypatch.setenv("STREAM_BASE_URL", "http://127.0.0.1:9")
        assert run("get", "new", "--api-key", server.api_key, "--base-url", server.url).code == 0

    def test_secret_as_an_option(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret given as an option is taken, with a warning that others can see it."""
        server.add_task("new")
        monkeypatch.delenv("STREAM_API_SECRET")
        ended = run("get", "new", "--api-secret", SECRET)
        assert ended.code == 0
        assert ended.err.startswith("Warning: other users can read the value of --api-secret in")

    @pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
    def test_secret_in_a_file(
        self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: str
    ) -> None:
        """A secret can be read from a file, whatever blanks an editor left around it."""
        server.add_task("new")
        monkeypatch.delenv("STREAM_API_SECRET")
        path = tmp_path / "secret"
        path.write_text(f"{start}{SECRET} \r\n", encoding="utf-8")
        ended = run("get", "new", "--api-secret-file", str(path))
        assert (ended.code, ended.err) == (0, "")

    def test_unknown_task(self, run: Run) -> None:
        """A task that is not there exits with 4."""
        ended = run("get", "nope")
        assert (ended.code, ended.out) == (4, "")
        assert ended.err.startswith("Error: HTTP 404, code 16: Can't find task")

    def test_bad_id(self, run: Run) -> None:
        """An id that cannot be one exits with 2."""
        ended = run("get", "..")
        assert (ended.code, "'ID': task_id must be" in ended.err) == (2, True)

    def test_no_server(self, run: Run, closed_port: int) -> None:
        """A server that is not there exits with 4."""
        url = f"http://127.0.0.1:{closed_port}"
        ended = run("get", "any", "--base-url", url)
        assert ended.code == 4
        assert ended.err.startswith("Error: Cannot connect ")
        assert ended.err.endswith(f"\nstream-tasks doctor --base-url {url} looks for the cause.\n")

    def test_no_json(self, run: Run, server: FakeStream) -> None:
        """An answer that is no JSON exits with 4."""
        server.inject(Fault.malformed())
        ended = run("get", "any")
        assert ended.code == 4
        assert "the body is not JSON" in ended.err

    def test_closed_pipe(self, server: FakeStream) -> None:
        """A reader that has gone ends it silently, as SIGPIPE would."""
        server.add_task("new")
        reader, writer = os.pipe()
        os.close(reader)
        process = start("get", "new", stdout=writer)
        os.close(writer)
        assert end(process) == (141, "", "")


class TestServe:
    def test_until_interrupted(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """It prints an environment and commands that work, and Ctrl-C ends it with 0."""
        process = start("serve", "--port", "0")
        assert process.stdout is not None
        shown = ""
        while "wait --from" not in shown:
            shown += process.stdout.readline()
        variables = dict(re.findall(r"^  export (\w+)=(\S+)$", shown, re.MULTILINE))
        assert list(variables) == ["STREAM_BASE_URL", "STREAM_API_KEY", "STREAM_API_SECRET"]
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        first, rest = re.findall(r"^  (?:seq.*\| )?stream-tasks ((?!wait).+)$", shown, re.MULTILINE)
        waited = run(*first.split(), "--poll-interval", "0")
        assert json.loads(waited.out)["result"]["url"].startswith("http://")
        started = end(start(*rest.partition(">")[0].split(), stdin=-1), "jane\njoe\n")
        assert (started.code, len(started.out.split())) == (0, 1)

        process.send_signal(signal.SIGINT)
        ended = end(process)
        assert (ended.code, ended.err) == (0, "\nStopped.\n")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stopped_twice(self, number: int) -> None:
        """Ctrl-C pressed twice ends it like once, and SIGTERM does the same."""
        process = start("serve", "--port", "0")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        process.send_signal(number)
        ended = end(process)
        assert (ended.code, ended.err) == (0, "\nStopped.\n")

    def test_port_taken(self, run: Run, server: FakeStream) -> None:
        """A port that is taken exits with 2."""
        ended = run("serve", "--port", server.url.rpartition(":")[2])
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.endswith("cannot listen there: address already in use; --port 0 takes a free one\n")

    def test_strange_address(self, run: Run) -> None:
        """An address that is not this machine's exits with 2, and without advice on ports."""
        ended = run("serve", "--host", "192.0.2.1", "--port", "0")
        assert ended.code == 2
        assert re.search(r"cannot listen there: [^:;]+\n$", ended.err)
        ended = run("serve", "--host", "nobody.invalid", "--port", "0")
        assert ended.code == 2
        assert re.search(r"cannot listen there: [^:;]+\n$", ended.err)


class TestDemo:
    STARTED = "Four tasks on a fake Stream server in this process (http://127.0.0.1:"
    RESULTS = (
        "export_channels returned ExportChannelsResult",
        "  .url          http://",
        "delete_channels returned DeleteChannelsResult, but 1 of 3 channels failed",
        "  .failed       messaging:evidence: the channel is under a legal hold",
        "export_users raised StreamTaskException",
        "  .error_type   storage_unavailable",
        "  .description  the bucket for exports refused the file",
        "  .stack_trace  export.go:118\n                worker.go:42",
        "reactivate_users raised StreamWaitTimeoutException",
        "  message       task ",
    )

    def test_off_a_terminal(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Off a terminal it prints one plain line per change, then what came of each task."""
        monkeypatch.setattr(demo, "SECONDS", 1.0)
        monkeypatch.setenv("FORCE_COLOR", "1")
        ended = run("demo")
        assert (ended.code, ended.err) == (0, "")
        assert plain(ended.out).startswith(self.STARTED)
        changes = re.findall(r"^ +\d\.\d s  (\w+) +(\w[\w ]*)$", ended.out, re.MULTILINE)
        assert [status for name, status in changes if name == "export_channels"][-1] == "completed"
        assert len(set(changes)) == len(changes) >= 8
        for status in ("pending", "running"):
            assert ("reactivate_users", status) in changes
        for change in [("delete_channels", "completed"), ("export_users", "failed")]:
            assert change in changes
        assert changes[-1] == ("reactivate_users", "timed out")
        for line in self.RESULTS:
            assert f"\n{line}" in plain(ended.out)

    def test_on_a_terminal(self) -> None:
        """On a terminal it shows one table, live, that fits eighty columns, then what came of each task."""
        ended = on_terminal("demo")
        assert ended.code == 0
        assert "\x1b[1A" in ended.out
        shown = plain(ended.out)
        assert shown.startswith(self.STARTED)
        assert re.search(r"export_users +failed +\d+\.\d s +breaks on the server", shown)
        assert re.search(r"reactivate_users +timed out +\d+\.\d s +outlasts its time-out", shown)
        for line in self.RESULTS:
            assert f"\n{line}" in shown
        assert max(len(line.rpartition("\r")[2]) for line in shown.splitlines()) <= 80

    def test_closed_pipe(self) -> None:
        """A reader that has gone ends it at once and silently."""
        reader, writer = os.pipe()
        os.close(reader)
        process = start("demo", stdout=writer)
        os.close(writer)
        assert end(process) == (141, "", "")


class TestFullDisk:
    WHY = "Error: cannot write: No space left on device\n"

    @pytest.mark.parametrize(
        "command",
        [
            "--help",
            "wait --help",
            "--version",
            "get new",
            "doctor",
            "doctor --json",
            "demo",
            "serve --port 0",
        ],
    )
    def test_stdout(self, server: FakeStream, full: BinaryIO, command: str) -> None:
        """It says so in one line, and exits with 2."""
        server.add_task("new")
        assert end(start(*command.split(), stdout=full)) == (2, "", self.WHY)

    @pytest.mark.parametrize("command", ["get nope", "get ..", "nosuch", "get"])
    def test_stderr(self, full: BinaryIO, command: str) -> None:
        """There is nothing left but the code."""
        assert end(start(*command.split(), stderr=full)).code == 2
        assert end(start(*command.split(), stdout=full, stderr=full)).code == 2
        process = start(*command.split(), stderr=full, closed=(1,))
        assert end(process).code == 2

    def test_stderr_of_a_wait(self, server: FakeStream, full: BinaryIO) -> None:
        """A wait that cannot say what holds it up ends; a warning is worth no such thing."""
        server.add_task("new", statuses=())
        server.inject(Fault.status(503), task_id="new")
        assert end(start("wait", "new", "--poll-interval", "0", stderr=full)).code == 0
        server.inject(Fault.reset(), times=10_000)
        assert end(start("wait", "new", "--poll-interval", "0", stderr=full)) == (2, "", "")

    def test_wait(self, server: FakeStream, full: BinaryIO) -> None:
        """A wait names what was not finished, and how to go on."""
        server.add_task("new", statuses=())
        server.add_task("slow", never=True)
        server.inject(Fault.delay(0.1), task_id="new")
        ended = end(start("wait", "new", "slow", stdout=full))
        assert ended.code == 2
        first, *_, not_finished, slow, hint, _ = ended.err.removeprefix("\n").splitlines()
        assert first == self.WHY[:-1] + "; tasks on the server go on."
        assert not_finished == "Not finished: 1 of 2 tasks."
        assert slow.startswith("  slow  ")
        assert hint == "To go on, run the same command again."

    def test_nothing_left(self, server: FakeStream, full: BinaryIO) -> None:
        """A wait whose results could not be written is worth another one."""
        server.add_task("new", statuses=())
        ended = end(start("wait", "new", stdout=full))
        assert ended.code == 2
        assert ended.err.startswith(f"\n{self.WHY[:-1]}.\nTo go on, run the same command again.\n")


class TestClosedStderr:
    def test_usage(self) -> None:
        """Wrong usage is not said on stdout instead."""
        ended = end(start("get", closed=(2,)))
        assert (ended.code, ended.out) == (2, "")


class TestRefused:
    @pytest.mark.parametrize(
        ("error", "told"),
        [
            pytest.param(
                FileNotFoundError(errno.ENOENT, "No such file", "a\x1bc\udcff"),
                "No such file: a\\u001bc\\udcff",
                id="a file",
            ),
            pytest.param(
                OSError(errno.EMFILE, "Too many open files"), "Too many open files", id="a descriptor"
            ),
            pytest.param(OSError(errno.ENOSPC, "No space"), "cannot write: No space", id="a write"),
            pytest.param(OSError("odd"), "cannot write: odd", id="a write without a number"),
        ],
    )
    def test_text(self, run: Run, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str) -> None:
        """Only what is about no file may be a failed write."""

        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(client, "make_client", fail)
        assert run("wait", "a") == (2, "", f"Error: {told}\n")


class TestCommands:
    @pytest.mark.parametrize("command", ["--help", "wait --help", "--version"])
    def test_closed_pipe(self, command: str) -> None:
        """A reader of the help that has gone ends it silently, as SIGPIPE would."""
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*command.split(), stdout=writer)
        os.close(writer)
        assert end(process) == (141, "", "")

    def test_list(self, run: Run) -> None:
        """The list of commands says of each what it does, and breaks off nowhere at eighty columns."""
        listed = run("--help").out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in listed] == sorted(commands.commands)
        assert all(line.endswith(".") and not line.endswith("..") for line in listed)

    @pytest.mark.parametrize("command", ["wait", "get", "doctor", "export-users"])
    def test_order_of_options(self, run: Run, command: str) -> None:
        """How the API is reached stands in the same order in each command's help."""
        connection = re.findall(r"^  (--api-\S+|--base-url)", run(command, "--help").out, re.MULTILINE)
        assert connection == ["--api-key", "--api-secret", "--api-secret-file", "--base-url"]

    @pytest.mark.parametrize("command", ["", *commands.commands])
    def test_help(self, run: Run, command: str) -> None:
        """Every command has a help with an example, and fits eighty columns."""
        ended = run(*command.split(), "--help")
        assert ended.code == 0
        assert max(map(len, ended.out.splitlines())) <= 80
        assert f"stream-tasks {command or 'demo'}" in ended.out.partition("Example")[2]

    @pytest.mark.slow
    def test_help_without_docstrings(self) -> None:
        """`python -OO`, which drops docstrings, drops nothing of the help."""
        program = """
            import click, sys
            from stream_tasks.cli.app import commands
            for name in commands.commands:
                with click.Context(commands, info_name="stream-tasks") as parent:
                    command = commands.commands[name].load()
                    print(command.get_help(click.Context(command, parent, name)))
            print(sys.flags.optimize)
            """
        shown = [
            subprocess.run(
                [sys.executable, *flags, "-c", dedent(program)], capture_output=True, text=True, check=True
            ).stdout
            for flags in ([], ["-OO"])
        ]
        assert shown[1] == shown[0].removesuffix("0\n") + "2\n"
        assert "Delete their files too." in shown[1]

    def test_version(self) -> None:
        """`python -m stream_tasks --version` names the version."""
        asked = [sys.executable, "-m", "stream_tasks", "--version"]
        ended = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert ended.stdout == f"stream-tasks, version {__version__}\n"

    def test_module(self) -> None:
        """`python -m stream_tasks` calls itself as it was called."""
        asked = [sys.executable, "-m", "stream_tasks", "wait"]
        ended = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        usage, pointer, *_ = ended.stderr.splitlines()
        assert usage == "Usage: python -m stream_tasks wait [OPTIONS] [ID]..."
        assert pointer.startswith("Try 'python -m stream_tasks wait -")  # -h or --help, by click's age

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_missing_extra(self, missing: str) -> None:
        """Without the extra one line on stderr says what to install."""
        program = f"import sys; sys.modules[{missing!r}] = None; import stream_tasks.__main__ as m; m.main()"
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "The command line needs more packages: pip install click rich\n"

    def test_other_import_errors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An import error with another cause is not blamed on the extra."""
        monkeypatch.setitem(sys.modules, "stream_tasks.cli", None)
        with pytest.raises(ImportError):
            main()

    def test_interrupted_imports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C while the command line is being imported ends it with 130; a second one does nothing."""

        class Interrupted:
            @staticmethod
            def find_spec(name: str, *_: object) -> None:
                if name == "stream_tasks.cli":
                    raise KeyboardInterrupt

        monkeypatch.delitem(sys.modules, "stream_tasks.cli")
        monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
        before = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)
        assert ended.value.code == 130


class TestScript:
    IMPORT = """
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.{handler})

        class Interrupting:
            @staticmethod
            def find_spec(name, *_):
                if name == "stream_tasks":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting)
        sys.argv = ["stream-tasks", "--version"]
        import stream_tasks_script
        stream_tasks_script.main()
        """

    def test_entry_point(self) -> None:
        """The installed script is this one."""
        (script,) = entry_points(group="console_scripts", name="stream-tasks")
        assert script.load() is stream_tasks_script.main

    @pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
    def test_runs(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, handler: signal.Handlers
    ) -> None:
        """It is the command line, which finds Ctrl-C as it was, and ignores it once all is done."""
        monkeypatch.setattr(sys, "argv", ["stream-tasks", "--version"])
        before = signal.signal(signal.SIGINT, handler)
        found: list[object] = []

        def make_context(*args: Any) -> click.Context:
            found.append(signal.getsignal(signal.SIGINT))
            return click.Group.make_context(commands, *args)

        monkeypatch.setattr(commands, "make_context", make_context)
        try:
            with pytest.raises(SystemExit) as ended:
                stream_tasks_script.main()
            assert found == [handler]
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)
        assert (ended.value.code, capsys.readouterr().out) == (0, f"stream-tasks, version {__version__}\n")

    @pytest.mark.parametrize(
        ("handler", "code"),
        [("default_int_handler", -signal.SIGINT), ("SIG_IGN", 0)],
        ids=["in the foreground it ends", "in the background it goes on"],
    )
    def test_interrupted_imports(self, handler: str, code: int) -> None:
        """Ctrl-C while the package is being imported leaves no traceback."""
        program = [sys.executable, "-c", dedent(self.IMPORT.format(handler=handler))]
        ended = subprocess.run(program, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (code, "")


class Terminal(io.StringIO):
    """A terminal that takes the characters of one encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


class TestOutput:
    def test_numbers_that_json_lacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are null on a terminal, too."""
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys, "stdout", terminal := Terminal("utf-8"))
        console.show_json({"a": [float("nan"), (float("inf"), 1.5)]})
        assert json.loads(terminal.getvalue()) == {"a": [None, [None, 1.5]]}

    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    @pytest.mark.parametrize("value", ["Zoë", "\x9b31m", "\ud800", "\U000e0001", "\n\u00a0"])
    def test_json_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch, encoding: str, value: str) -> None:
        """Whatever a payload holds, a terminal gets valid JSON that cannot steer it."""
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(sys, "stdout", terminal := Terminal(encoding))
        console.show_json({"a": value})
        shown = terminal.getvalue()
        assert json.loads(shown) == {"a": value}
        assert all(c.isprintable() or c == "\n" for c in shown)
        shown.encode(encoding)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0.0 s"),
            (59.94, "59.9 s"),
            (59.96, "60.0 s"),
            (60, "1:00"),
            (125.9, "2:05"),
            (3725, "1:02:05"),
        ],
    )
    def test_duration(self, seconds: float, text: str) -> None:
        """Times are as exact as people need them."""
        assert output.duration(seconds) == text
