"""The commands that tell what to do next: each can be pasted."""

import functools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click
import pytest
from commandline import Ended, run_here, serve, set_environment

from stream_tasks.cli import _hints
from stream_tasks.cli._app import commands
from stream_tasks.testing import FakeStream

Run: TypeAlias = Callable[..., Ended]

server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


def parse(name: str, *args: str) -> click.Context:
    """Make the context of a command that was typed."""
    return commands.commands[name].make_context(name, list(args), click.Context(commands))


def words_of(line: str) -> list[str]:
    """Have bash take a line apart."""
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return list(map(os.fsdecode, shown.stdout.split(b"\0")[:-1]))


@pytest.fixture
def ids(tmp_path: Path) -> str:
    path = tmp_path / "ids.txt"
    path.touch()
    return str(path)


class TestGoOn:
    @pytest.mark.parametrize(
        ("args", "hint"),
        [
            pytest.param(
                ["an id", "--base-url", "http://127.0.0.1:1"],
                ["To go on:", "  stream-tasks wait --base-url http://127.0.0.1:1 'an id'"],
                id="quoted",
            ),
            pytest.param(
                ["a", "-qv", "--timeout=none", "--api-key", "k"],
                ["To go on:", "  stream-tasks wait --quiet --verbose --timeout none --api-key k a"],
                id="options",
            ),
            pytest.param(
                ["--any", "--", "-a", "b"],
                ["To go on:", "  stream-tasks wait --any -- -a b"],
                id="an id like an option",
            ),
            pytest.param(
                ["-"], ["To go on, with the same ids on stdin:", "  stream-tasks wait -"], id="stdin"
            ),
            pytest.param([], ["To go on, with the same ids on stdin:", "  stream-tasks wait"], id="nothing"),
            pytest.param(
                ["--from", "/dev/stdin", "a"],
                ["To go on, with the same ids on stdin:", "  stream-tasks wait --from - a"],
                id="a name of stdin",
            ),
            pytest.param(
                ["--from", "/dev/fd/63", "--from", "-", "--from", "/no/such/pipe"],
                ["To go on, with the same ids on stdin:", "  stream-tasks wait --from -"],
                id="files that can be read once",
            ),
            pytest.param(
                ["--from", "/dev/fd/63", "-"],
                ["To go on, with the same ids on stdin:", "  stream-tasks wait -"],
                id="a file that can be read once, and stdin",
            ),
            pytest.param(
                ["--api-secret", "hush", "a", "--api-secret=hush"],
                ["To go on:", "  stream-tasks wait a", "The secret is left out: set STREAM_API_SECRET."],
                id="a secret",
            ),
            pytest.param(["x" * 3000], ["To go on:", "  the same command again"], id="too long"),
        ],
    )
    def test_command(self, args: list[str], hint: list[str]) -> None:
        """The command has all that was typed but the secret, and where it can be read again, its files."""
        *shown, advice = _hints.go_on(parse("wait", *args)).splitlines()
        assert shown == hint
        assert advice == "With --journal FILE, only what has not ended is asked for again."

    def test_files(self, ids: str) -> None:
        """Regular files stay, and with a journal there is no advice to use one."""
        shown = _hints.go_on(parse("wait", "--from", ids, "--journal", "j"))
        assert shown == f"To go on:\n  stream-tasks wait --journal j --from {ids}"

    @pytest.mark.parametrize(
        "name", ["esc\x1b[31m.txt", "bad\udcff.txt", "it's\n\\.txt", "\u202eé1.txt"], ids=ascii
    )
    def test_odd_names(self, tmp_path: Path, name: str) -> None:
        """What cannot be printed is escaped so that a shell reads it."""
        (tmp_path / name).touch()
        shown = _hints.go_on(parse("wait", "--journal", name, "--from", str(tmp_path / name), name, ""))
        line = shown.splitlines()[1]
        assert line.isprintable()
        assert words_of(line)[2:] == ["--journal", name, "--from", str(tmp_path / name), name, ""]


class TestOperations:
    ARGS = (
        *("--poll-interval", "2", "--api-key", "k", "--api-secret-file", "a file"),
        *("--base-url", "http://127.0.0.1:1", "--json"),
    )
    CONNECTION = ("--api-key", "k", "--api-secret-file", "a file", "--base-url", "http://127.0.0.1:1")

    def test_options(self) -> None:
        """Waiting goes on in the same app with the same options, and no others."""
        ctx = parse("delete-users", "jane", "--user", "hard", "--yes", *self.ARGS)
        how, command = _hints.go_on_with(ctx, ["a", "-b"]).splitlines()
        assert how == "To go on waiting:"
        assert shlex.split(command) == ["stream-tasks", "wait", *self.ARGS, "--", "a", "-b"]

    def test_link(self) -> None:
        """So does the look for an export's link."""
        ctx = parse("export-users", "jane", "--output", "x", "--api-secret", "hush", *self.ARGS)
        first, second = _hints.link_of(ctx, "a").splitlines()
        command = shlex.join(["stream-tasks", "get", *self.CONNECTION, "a"])
        assert first == f"The export is still there: {command} tells its link."
        assert second == "The secret is left out: set STREAM_API_SECRET."

    def test_lines(self, run: Run, server: FakeStream, tmp_path: Path) -> None:
        """Where a command would be too long, ``wait`` takes the lines whatever the ids are like."""
        odd = ["#a", '{"b"', " c ", "d\x1b", "-e", "é"]
        ids = [*odd, *(f"{number:040}" for number in range(60))]
        heading, *listed, how, command = _hints.go_on_with(parse("export-users", "j"), ids).splitlines()
        assert heading == "# started, and not known to have ended: 66 tasks"
        assert how == "To go on waiting, give these lines to:"
        assert command == "  stream-tasks wait -"
        assert all(map(str.isprintable, listed))
        for task_id in ids:
            server.add_task(task_id, statuses=())
        path = tmp_path / "ids.txt"
        path.write_text("\n".join([heading, *listed]))
        ended = run("wait", "--from", str(path))
        assert ended.code == 0
        assert {json.loads(line)["task_id"] for line in ended.out.splitlines()} == set(ids)


class TestDoctor:
    @pytest.mark.parametrize(
        "args",
        [["wait", "a", "--timeout", "9"], ["get", "a"], ["export-users", "jane"]],
        ids=["a wait", "a look", "a start"],
    )
    def test_connection(self, run: Run, server: FakeStream, args: list[str]) -> None:
        """It looks where the command looked that was typed."""
        connection = ["--base-url", server.url, "--api-key", "nobody"]
        shown = run(*args, *connection).err
        assert f"\nstream-tasks doctor {shlex.join(connection)} looks for the cause.\n" in shown

    def test_nothing_typed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a command there are no options."""
        _hints.point_to_doctor()
        assert capsys.readouterr().err == "stream-tasks doctor looks for the cause.\n"


class TestProgram:
    @pytest.fixture(autouse=True)
    def script(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "a venv" / "stream-tasks"
        path.parent.mkdir()
        path.touch(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return path

    def test_on_the_path(self, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name is enough where it leads to what runs."""
        monkeypatch.setattr(sys, "argv", [str(script)])
        monkeypatch.setenv("PATH", str(script.parent))
        assert _hints.program() == "stream-tasks"

    def test_elsewhere(self, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A script that is not on the PATH, or that another one hides, has its path quoted."""
        monkeypatch.chdir(script.parent)
        monkeypatch.setattr(sys, "argv", ["./stream-tasks"])
        assert _hints.program() == f"'{script}'"
        (script.parent.parent / "stream-tasks").touch(0o755)
        assert _hints.program() == f"'{script}'"

    def test_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``python -m stream_tasks`` is run by the same Python again."""
        monkeypatch.setattr(sys, "argv", ["/x/stream_tasks/__main__.py"])
        assert _hints.program() == f"{shlex.quote(sys.executable)} -m stream_tasks"

    def test_in_another_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``python -m pytest``, say, is no name of this program."""
        monkeypatch.setattr(sys, "argv", ["/x/pytest/__main__.py"])
        assert _hints.program() == _hints.name() == "stream-tasks"

    def test_in_hints(self, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hints name it: what goes on, and the doctor."""
        server.add_task("a", never=True)
        monkeypatch.setattr(sys, "argv", ["/x/stream_tasks/__main__.py"])
        assert (
            f"To go on:\n  {sys.executable} -m stream_tasks wait " in run("wait", "a", "--timeout", "0").err
        )
        monkeypatch.setenv("STREAM_API_SECRET", "another")
        assert f"{sys.executable} -m stream_tasks doctor looks for" in run("get", "a").err
