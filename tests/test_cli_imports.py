"""Imports from the command line: started there, and waited for where imports are polled."""

import functools
import io
import json
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from commandline import SIGNALS, Ended, end, run_here, serve, set_environment, start, until

from stream_tasks.testing import FakeStream, Fault, TaskFailure

Run: TypeAlias = Callable[..., Ended]

IMPORT = ("create-import", "--path", "s3://bucket/data.json", "--mode", "upsert")
IMPORT_V2 = ("create-import-v2-task", "--product", "chat", "--settings", '{"path": "data.json"}')

server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


def line(ended: Ended) -> dict[str, Any]:
    (only,) = ended.out.splitlines()
    found: dict[str, Any] = json.loads(only)
    return found


@pytest.mark.parametrize(
    ("args", "body", "state"),
    [
        pytest.param(
            [*IMPORT, "--merge-custom"],
            {"path": "s3://bucket/data.json", "mode": "upsert", "merge_custom": True},
            "completed",
            id="v1",
        ),
        pytest.param(
            [*IMPORT_V2, "--user-id", "amy"],
            {"product": "chat", "settings": {"path": "data.json"}, "user_id": "amy"},
            3,
            id="v2",
        ),
    ],
)
def test_an_import(
    args: list[str], body: dict[str, Any], state: object, run: Run, server: FakeStream
) -> None:
    """It is started with what was given, and its line says how it ended."""
    server.script_operation(args[0].replace("-", "_"), statuses=[])
    ended = run(*args)
    assert ended.code == 0
    assert [request.json for request in server.requests if request.method == "POST"] == [body]
    told = line(ended)
    assert (told["status"], told["operation"]) == ("completed", args[0].replace("-", "_"))
    assert told["result"]["state"] == state
    assert ended.err == f"Started {told['task_id']}.\n"


def test_an_import_that_fails(run: Run, server: FakeStream) -> None:
    """It exits with 1."""
    server.script_operation("create_import", statuses=[], error=TaskFailure("bad_file"))
    ended = run(*IMPORT)
    assert ended.code == 1
    assert line(ended)["status"] == "failed"


def test_an_import_that_is_waited_for_later(run: Run, server: FakeStream) -> None:
    """Its id is printed, and waiting needs to be told where to poll."""
    server.script_operation("create_import", statuses=[], times=2)
    started = run(*IMPORT, "--no-wait")
    assert (started.code, started.err) == (0, "")
    waited = run("wait", started.out.strip(), "--operation", "create-import")
    assert waited.code == 0
    assert line(waited)["result"]["state"] == "completed"


def test_an_import_that_is_piped(run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of JSON tells where to poll, and what the import is for."""
    server.script_operation("create_import", statuses=[])
    started = run(*IMPORT, "--no-wait", "--json")
    told = line(started)
    assert (told["operation"], told["items"]) == ("create_import", ["s3://bucket/data.json"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(started.out.encode())))
    waited = line(run("wait", "-"))
    assert waited["status"] == "completed"
    assert (waited["operation"], waited["items"]) == (told["operation"], told["items"])


def test_an_import_that_goes_on(run: Run, server: FakeStream) -> None:
    """The hint at the time-out is a command that goes on."""
    server.script_operation("create_import", never=True)
    ended = run(*IMPORT, "--timeout", "0")
    assert ended.code == 3
    task_id = line(ended)["task_id"]
    assert ended.err.endswith(f"To go on waiting:\n  stream-tasks wait --operation create_import {task_id}\n")


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_a_signal_before_it_has_started(
    server: FakeStream, number: signal.Signals, code: int, word: str
) -> None:
    """It exits with 130 or 143, and says that the import may have been started."""
    server.inject(Fault.hang(), path="/imports")
    process = start(*IMPORT)
    until(lambda: server.requests)
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == f"\n{word}; the import may or may not have been started.\n"


def test_an_import_that_is_refused(run: Run, server: FakeStream) -> None:
    """What the server says is told, and it exits with 4."""
    server.inject(Fault.status(400), path="/imports")
    ended = run(*IMPORT)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("Error: HTTP 400")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(["create-import", "--path", "x"], "Missing option '--mode'", id="no mode"),
        pytest.param([*IMPORT, "--path", ""], "path must not be empty", id="an empty path"),
        pytest.param([*IMPORT_V2, "--settings", "["], "'[' is not a JSON object", id="no JSON"),
        pytest.param([*IMPORT_V2, "--settings", "[1]"], "'[1]' is not a JSON object", id="another type"),
        pytest.param(
            ["wait", "a", "--operation", "dance"], "'dance' is not one of delete_channels, ", id="no word"
        ),
    ],
)
def test_wrong_usage(args: list[str], message: str, run: Run, server: FakeStream) -> None:
    """It exits with 2, says what is wrong, and sends nothing."""
    ended = run(*args)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert not server.requests
