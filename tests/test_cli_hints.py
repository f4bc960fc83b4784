"""The commands that tell what to do next: each can be pasted."""

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click
import pytest
from commandline import Ended, run_here, serve, set_environment

from stream_tasks.cli.app import commands
from stream_tasks.cli.ui import hints
from stream_tasks.testing import FakeStream

Run: TypeAlias = Callable[..., Ended]

server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


@pytest.fixture
def ids(tmp_path: Path) -> str:
    path = tmp_path / "ids.txt"
    path.touch()
    return str(path)


def context(**options: object) -> click.Context:
    """Make the context of a command with connection options."""
    ctx = click.Context(commands)
    with ctx:
        hints.remember_connection(options)
    return ctx


class TestGoOn:
    ADVICE = "With --journal FILE, only tasks that have not ended are polled again."

    @pytest.mark.parametrize(
        ("ids", "sources", "hint"),
        [
            pytest.param(["a"], [], "To go on, run the same command again.", id="ids"),
            pytest.param(
                ["-"], [], "To go on, run the same command again, with the same ids on stdin.", id="-"
            ),
            pytest.param(
                [], [], "To go on, run the same command again, with the same ids on stdin.", id="stdin"
            ),
            pytest.param(
                ["a"],
                ["/dev/fd/63"],
                "To go on, run the same command again, with the same ids on stdin.",
                id="a file that can be read once",
            ),
        ],
    )
    def test_command(self, ids: list[str], sources: list[str], hint: str) -> None:
        """The same command goes on; it says so if that needs the ids on stdin once more."""
        shown = hints.go_on(ids, sources, has_journal=False, without_fail_fast=False)
        assert shown == f"{hint}\n{self.ADVICE}"

    def test_files(self, ids: str) -> None:
        """A regular file can be read again, and with a journal there is no advice to use one."""
        shown = hints.go_on([], [ids], has_journal=True, without_fail_fast=False)
        assert shown == "To go on, run the same command again."

    def test_fail_fast(self) -> None:
        """Where --fail-fast would end the next wait at once, it is to be left out."""
        shown = hints.go_on(["a"], [], has_journal=True, without_fail_fast=True)
        assert shown == "To go on, run the same command again, without --fail-fast."


class TestOperations:
    def test_connection(self) -> None:
        """The command for waiting reaches the same app."""
        options = {
            "api_key": "k",
            "api_secret": None,
            "api_secret_file": Path("a file"),
            "base_url": "http://x:1",
        }
        with context(**options):
            how, command = hints.go_on_with(["a", "-b"]).splitlines()
            how_to_save, save = hints.save_later({"a": "a file", "-b": "b"}, overwrite=True).splitlines()[::2]
        words = ["--api-key", "k", "--api-secret-file", "a file", "--base-url", "http://x:1"]
        assert how == "To go on waiting:"
        assert shlex.split(command) == ["stream-tasks", "wait", *words, "--", "a", "-b"]
        assert how_to_save == "To go on, and save what is exported:"
        output = ["--output", "b", "--overwrite"]
        assert shlex.split(save) == ["stream-tasks", "wait", *output, *words, "--", "-b"]

    def test_secret(self) -> None:
        """A secret that was typed is left out, and it says so."""
        with context(api_secret="hush"):
            shown = [
                hints.go_on_with(["a"]),
                hints.go_on_with(["a"] * 11),
                hints.save_later({"a": "f"}, overwrite=False),
            ]
        for hint in shown:
            assert "hush" not in hint
            assert hint.endswith("\nThe secret is left out: set STREAM_API_SECRET.")

    def test_odd_ids(self) -> None:
        """An id cannot steer a terminal."""
        assert hints.go_on_with(["a\x1b[31m"]).endswith("stream-tasks wait 'a\\u001b[31m'")

    def test_lines(self, run: Run, server: FakeStream, tmp_path: Path) -> None:
        """Many ids are lines, which ``wait`` takes whatever the ids are like."""
        odd = ["#a", '{"b"', " c ", "d\x1b", "-e", "é"]
        ids = [*odd, *(f"{number:040}" for number in range(60))]
        heading, *listed, how, command = hints.go_on_with(ids).splitlines()
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
        connection = ["--api-key", "nobody", "--base-url", server.url]
        shown = run(*args, *connection).err
        assert f"\nstream-tasks doctor {shlex.join(connection)} looks for the cause.\n" in shown

    def test_nothing_typed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a command there are no options."""
        hints.suggest_doctor()
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
        assert hints.program() == "stream-tasks"

    def test_elsewhere(self, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A script that is not on the PATH, or that another one hides, has its path quoted."""
        monkeypatch.chdir(script.parent)
        monkeypatch.setattr(sys, "argv", ["./stream-tasks"])
        assert hints.program() == f"'{script}'"
        (script.parent.parent / "stream-tasks").touch(0o755)
        assert hints.program() == f"'{script}'"

    def test_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``python -m stream_tasks`` is run by the same Python again."""
        monkeypatch.setattr(sys, "argv", ["/x/stream_tasks/__main__.py"])
        assert hints.program() == f"{shlex.quote(sys.executable)} -m stream_tasks"

    def test_in_another_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``python -m pytest``, say, is no name of this program."""
        monkeypatch.setattr(sys, "argv", ["/x/pytest/__main__.py"])
        assert hints.program() == hints.name() == "stream-tasks"

    @pytest.mark.usefixtures("server")
    def test_in_hints(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hints name it."""
        monkeypatch.setattr(sys, "argv", ["/x/stream_tasks/__main__.py"])
        monkeypatch.setenv("STREAM_API_SECRET", "another")
        assert f"{sys.executable} -m stream_tasks doctor looks for" in run("get", "a").err
