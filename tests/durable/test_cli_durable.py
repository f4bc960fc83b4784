import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from durable.workers import until
from stream_tasks.cli.commands import pending
from stream_tasks.durable import BlockingWaitClient
from stream_tasks.testing import FakeStream, Fault


class Commands:
    """Runs ``stream-tasks``."""

    def __init__(self, fake: FakeStream, file: str) -> None:
        self.file = file
        self._environment = {**os.environ, **fake.environment}

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "stream_tasks", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**self._environment, **environment},
        )  # fmt: skip

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a command, and return its exit code, stdout and stderr."""
        command = self.begin(*arguments, **environment)
        out, err = command.communicate(timeout=120)
        return command.returncode, out, err


@pytest.fixture
def run(fake: FakeStream, file: str) -> Commands:
    return Commands(fake, file)


def read(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_start_pending_worker(run: Commands, fake: FakeStream) -> None:
    """A start is put into the database; the worker starts it, waits, prints its end and ends."""
    users = [f"user-{number}" for number in range(150)]
    start = ["delete-users", *users, "--yes", "--user", "soft", "--durable", run.file, "--key", "old"]
    for _ in range(2):  # the same key twice is one wait
        code, out, _err = run(*start)
        assert (code, out) == (0, "old-1\nold-2\n")
    code, out, err = run("pending", STREAM_DATABASE=run.file)
    found = read(out)
    assert (code, err) == (0, "2 waits are pending.\n")
    assert [(each["key"], each["operation"], each["worker"]) for each in found] == [
        ("old-1", "delete_users", None),
        ("old-2", "delete_users", None),
    ]
    assert not fake.requests
    code, out, err = run("worker", "--database", run.file, "--drain")
    ends = sorted(read(out), key=lambda end: end["key"])
    assert code == 0, err
    assert [(end["key"], end["status"], len(end["items"])) for end in ends] == [
        ("old-1", "completed", 100),
        ("old-2", "completed", 50),
    ]
    assert ends[0]["result"]["user-7"] == {"status": "ok", "error": None}
    assert ends[0]["polls"] > 0
    assert sum(each.method == "POST" for each in fake.requests) == 2


def test_sigterm_leaves_what_is_pending(run: Commands, fake: FakeStream) -> None:
    """The worker prints how many waits are pending, and the next one goes on."""
    with BlockingWaitClient(run.file) as waits:
        task_id = fake.add_task(never=True)
        waits.wait(task_id, handler="stream-tasks", key="one")
        worker = run.begin("worker", "--database", run.file)
        until(lambda: fake.polls(task_id))
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
        assert (worker.returncode, out) == (143, "")
        assert err == "The worker runs.\nTerminated: 1 waits are pending.\n"
        fake.finish(task_id)
        code, out, _ = run("worker", "--database", run.file, "--drain")
    assert code == 0
    assert [end["key"] for end in read(out)] == ["one"]


def test_the_exit_code_tells_the_worst_end(run: Commands, fake: FakeStream) -> None:
    """It is that of `wait`: 1 for a failed task, 3 for a time-out, 4 for what could not be started."""
    with BlockingWaitClient(run.file) as waits:
        waits.wait(fake.add_task(error={"type": "broken"}), handler="stream-tasks")
        assert run("worker", "--database", run.file, "--drain")[0] == 1
        waits.wait(fake.add_task(never=True), handler="stream-tasks", timeout=1)
        assert run("worker", "--database", run.file, "--drain")[0] == 3
        fake.inject(Fault.status(400))
        waits.start("delete_users", ["jane"], handler="stream-tasks")
        code, out, _ = run("worker", "--database", run.file, "--drain")
    assert code == 4
    assert read(out)[0]["may_have_started"] is False


def test_a_worker_takes_over(run: Commands, fake: FakeStream, postgres: str) -> None:
    """What a lost worker held is taken over by name."""
    with BlockingWaitClient(postgres) as waits:
        task_id = fake.add_task(never=True)
        waits.wait(task_id, handler="stream-tasks", key="one")
        lost = run.begin("worker", "--database", postgres, "--id", "lost")
        until(lambda: fake.polls(task_id))
        lost.kill()
        lost.communicate()
        fake.finish(task_id)
        code, out, err = run(
            "worker", "--database", postgres, "--id", "new", "--take-over", "lost", "--drain"
        )
    assert code == 0, err
    assert "1 waits of lost are taken over." in err
    assert [end["key"] for end in read(out)] == ["one"]


def test_wrong_usage_is_said(run: Commands, tmp_path: Path) -> None:
    """Nothing is started, and the exit code is 2; of a database that fails, 4."""
    export = ["export-users", "jane", "--durable", run.file]
    for arguments, says in (
        ([*export, "--no-wait"], "--durable leaves the wait to a worker"),
        ([*export, "--output", "a.json"], "--durable leaves the wait to a worker"),
        (["export-users", "jane", "--key", "one"], "--key needs --durable"),
        (["worker"], "database is missing"),
        (["pending", "--database", "mysql://a/b"], "database must be a file"),
        (["worker", "--database", "postgresql://127.0.0.1:1/x"], "worker_id is missing"),
        (["delete-users", "jane", "--durable", run.file], "with no terminal to ask on"),
    ):
        code, out, err = run(*arguments, STREAM_DATABASE="")
        assert (code, out) == (2, ""), arguments
        assert says in err
    for database in ("postgresql://127.0.0.1:1/x", str(tmp_path)):
        code, out, err = run("pending", "--database", database)
        assert (code, out) == (4, "")
        assert err.startswith("Error: the database of the waits failed: ")


def test_people_get_a_line_for_each_wait(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, ``pending`` prints no JSON."""
    monkeypatch.setattr("stream_tasks.cli.ui.output.is_terminal", lambda _: True)
    with BlockingWaitClient(file) as waits:
        waits.start("delete_users", ["jane"], handler=None, key="one", timeout=None)
    done = CliRunner().invoke(pending.command, ["--database", file])
    assert done.stdout == "one  delete_users  queued  \n"


def test_without_the_extra_its_name_is_told(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks DBOS is told what to install."""
    monkeypatch.setitem(sys.modules, "stream_tasks.durable", None)
    done = CliRunner().invoke(pending.command, ["--database", file])
    assert done.exit_code == 2
    assert "which is in the extra stream_tasks[durable]" in done.stderr


def test_help_imports_no_dbos(run: Commands) -> None:
    """The command line is quick where no durable wait is asked for."""
    program = (
        "import sys, stream_tasks.cli.app as app\ntry:\n app.main()\nfinally:\n print('dbos' in sys.modules)"
    )
    for arguments in (["--help"], ["worker", "--help"], ["pending", "--help"], ["delete-users", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert done.stdout.endswith("False\n")
