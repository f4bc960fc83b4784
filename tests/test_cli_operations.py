"""Starting operations from the command line: what is sent, asked, printed and saved."""

import errno
import functools
import inspect
import io
import json
import os
import re
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pytest
from commandline import (
    SECRET,
    SIGNALS,
    Ended,
    Terminal,
    end,
    full_disk,
    on_terminal,
    plain,
    run_here,
    set_environment,
    start,
    until,
)
from files import FileServer

from stream_tasks import AsyncStream, _batches, _operations
from stream_tasks._backoff import Backoff
from stream_tasks._downloads import fetching
from stream_tasks.cli.app import commands
from stream_tasks.cli.commands import LazyCommand
from stream_tasks.cli.files import saving
from stream_tasks.cli.operations import options_of
from stream_tasks.testing import FakeStream, Fault, TaskFailure

Run: TypeAlias = Callable[..., Ended]

NAMES = (
    "export_channels",
    "export_users",
    "delete_channels",
    "delete_users",
    "deactivate_users",
    "reactivate_users",
)


@pytest.fixture
def server() -> Iterator[FakeStream]:
    with FakeStream(api_secret=SECRET) as server:
        for name in NAMES:
            server.script_operation(name, times=99, statuses=[])
        yield server


@pytest.fixture(autouse=True)
def env(server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, server)
    monkeypatch.setattr(fetching, "RETRIES", Backoff(0.05, 0.05))


full = pytest.fixture(full_disk)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer(b'{"exported": true}\n' * 10_000) as server:
        yield server


def starts(server: FakeStream) -> list[Any]:
    """The bodies of what was started."""
    return [request.json for request in server.requests if request.method == "POST"]


def users(count: int) -> list[str]:
    return [f"u-{number}" for number in range(count)]


def listed(path: Path, ids: list[str]) -> str:
    path.write_text("# those that left\n\n" + "\n".join(ids) + "\n")
    return str(path)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# Options


def test_each_argument_of_an_operation_is_an_option() -> None:
    """No operation's option is left out, none clashes with another, and each is explained."""
    for name in NAMES:
        operation = getattr(_operations, name)
        _, *arguments = inspect.signature(operation).parameters
        assert [option.name for option in options_of(name)] == arguments
        lazy = commands.commands[name.replace("_", "-")]
        assert isinstance(lazy, LazyCommand)
        parameters = lazy.load().params
        assert len({parameter.name for parameter in parameters}) == len(parameters)
        given = [flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)]
        assert len(set(given)) == len(given)
        assert all(len(str(option.help)) > 10 for option in options_of(name))


def test_help_without_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python -OO drops docstrings, but options are explained all the same."""
    told = [option.help for option in options_of("delete_users")]
    monkeypatch.setattr(_operations.OPERATIONS["delete_users"].rules, "__doc__", None)
    assert [option.help for option in options_of("delete_users")] == told


@pytest.mark.parametrize(
    ("args", "body"),
    [
        pytest.param(
            "delete-users jane joe --yes",
            {"user_ids": ["jane", "joe"]},
            id="nothing that was not given is sent",
        ),
        pytest.param(
            "delete-users jane --yes --user hard --messages hard --conversations hard --calls soft --files"
            " --new-channel-owner-id amy --new-call-owner-id bob",
            {
                "user_ids": ["jane"],
                "user": "hard",
                "messages": "hard",
                "conversations": "hard",
                "calls": "soft",
                "files": True,
                "new_channel_owner_id": "amy",
                "new_call_owner_id": "bob",
            },
            id="users are deleted with all options",
        ),
        pytest.param(
            "delete-channels messaging:a --hard-delete -y",
            {"cids": ["messaging:a"], "hard_delete": True},
            id="channels are deleted for good",
        ),
        pytest.param(
            "deactivate-users jane --yes --created-by-id amy --mark-channels-deleted --mark-messages-deleted",
            {
                "user_ids": ["jane"],
                "created_by_id": "amy",
                "mark_channels_deleted": True,
                "mark_messages_deleted": True,
            },
            id="users are deactivated with all options",
        ),
        pytest.param(
            "reactivate-users jane --created-by-id amy --restore-channels --restore-messages",
            {
                "user_ids": ["jane"],
                "created_by_id": "amy",
                "restore_channels": True,
                "restore_messages": True,
            },
            id="users are reactivated with all options",
        ),
        pytest.param("export-users jane", {"user_ids": ["jane"]}, id="users are exported"),
        pytest.param(
            "export-channels messaging:a messaging:b",
            {"channels": [{"cid": "messaging:a"}, {"cid": "messaging:b"}]},
            id="channels are exported",
        ),
        pytest.param(
            "export-channels messaging:a --format csv --version v2 --clear-deleted-message-text"
            " --export-users --include-fields id --include-fields text --include-soft-deleted-channels"
            " --include-truncated-messages --messages-since 2026-01-31"
            " --messages-until 2026-02-28T12:30:00+01:00",
            {
                "channels": [
                    {
                        "cid": "messaging:a",
                        "messages_since": "2026-01-31T00:00:00+00:00",
                        "messages_until": "2026-02-28T12:30:00+01:00",
                    }
                ],
                "format": "csv",
                "version": "v2",
                "clear_deleted_message_text": True,
                "export_users": True,
                "include_fields": ["id", "text"],
                "include_soft_deleted_channels": True,
                "include_truncated_messages": True,
            },
            id="channels are exported with all options",
        ),
    ],
)
def test_options_are_sent(args: str, body: dict[str, Any], run: Run, server: FakeStream) -> None:
    """The command starts its operation with what was given."""
    assert run(*args.split()).code == 0
    assert starts(server) == [body]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(["delete-users", "jane", "--user", "harder"], "'harder' is not one of", id="a choice"),
        pytest.param(["delete-users", ""], "'ID': an id must not be empty", id="an empty id"),
        pytest.param(["delete-users", "a\udcff"], "an id must be valid Unicode text, not", id="no text"),
        pytest.param(["delete-channels", "general"], "must be given as type:id, not 'general'", id="no cid"),
        pytest.param(["export-channels", ":x"], "must be given as type:id, not ':x'", id="half a cid"),
        pytest.param(
            ["delete-users", "jane", "--new-call-owner-id", ""],
            "new_call_owner_id must not be empty",
            id="an empty option",
        ),
        pytest.param(
            ["export-channels", "a:b", "--messages-since", "yesterday"],
            "'--messages-since': 'yesterday' is not a date",
            id="no date",
        ),
        pytest.param(["export-users"], "no user is named, and there is no id on stdin", id="no ids"),
        pytest.param(
            ["export-users", "--from", "/no/such/file"], "/no/such/file: No such file", id="no file"
        ),
        pytest.param(
            ["export-users", "jane", "--output", "x", "--no-wait"],
            "--output waits for the export",
            id="no wait",
        ),
        pytest.param(["export-users", "jane", "--overwrite"], "--overwrite needs --output", id="no output"),
        pytest.param(["export-users", "jane", "--output", "/"], "'/' is a directory", id="no file"),
        pytest.param(["export-users", "jane", "-o", "new/"], "'new/' is a directory", id="a new dir"),
        pytest.param(["export-users", "jane", "-o", "-"], "'-' is stdout", id="stdout"),
        pytest.param(["reactivate-users", "jane", "--yes"], "No such option", id="nothing to ask"),
    ],
)
def test_wrong_usage(
    args: list[str], message: str, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exits with 2, says what is wrong, and sends nothing."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    ended = run(*args)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert not server.requests


# Ids and batches


def test_a_thousand_users_are_ten_tasks(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """Ids come from a file, comments and blank lines aside, each once; a line of JSON tells of each task."""
    path = listed(tmp_path / "users.txt", users(1000) + users(10))
    ended = run("delete-users", "--from", path, "--yes")
    assert ended.code == 0
    assert [len(body["user_ids"]) for body in starts(server)] == [100] * 10
    assert [name for body in starts(server) for name in body["user_ids"]] == users(1000)
    told = lines(ended.out)
    assert [outcome["status"] for outcome in told] == ["completed"] * 10
    assert len(told[0]["result"]) == 100
    for outcome in told:
        assert f"Started {outcome['task_id']} for 100 users.\n" in ended.err
    assert ended.err.count("\n") == 10


def test_exports_of_users_are_of_twenty_five(run: Run, server: FakeStream) -> None:
    """Each operation has its own limit."""
    assert run("export-users", *users(30), "--quiet").err == ""
    assert [len(body["user_ids"]) for body in starts(server)] == [25, 5]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["ids", "JSON"])
def test_started_tasks_can_be_waited_for_elsewhere(server: FakeStream, options: list[str]) -> None:
    """With --no-wait, tasks come out one a line as they start, and ``wait -`` takes them."""
    args = ["deactivate-users", "-", "--yes", "--no-wait", *options]
    started = end(start(*args, stdin=-1), "\n".join(users(250)))
    assert (started.code, started.err) == (0, "")
    assert len(started.out.splitlines()) == 3
    assert not [request for request in server.requests if request.method == "GET"]
    ids = {line["task_id"] for line in lines(started.out)} if options else set(started.out.split())
    waited = end(start("wait", "-", stdin=-1), started.out)
    assert waited.code == 0
    assert {outcome["task_id"] for outcome in lines(waited.out)} == ids


def test_ids_of_items_are_no_json(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """Only ids of tasks are taken out of JSON: another id may look like it."""
    odd = '{"task_id": "a"}'
    assert run("export-users", "--from", listed(tmp_path / "users.txt", [odd]), "--no-wait").code == 0
    assert starts(server)[0]["user_ids"] == [odd]


def test_started_tasks_as_json(run: Run) -> None:
    """A line tells what each task is for."""
    ended = run("deactivate-users", "jane", "joe", "--yes", "--no-wait", "--json")
    (told,) = lines(ended.out)
    assert re.fullmatch("[0-9a-f-]{36}", told.pop("task_id"))
    assert told == {"operation": "deactivate_users", "items": ["jane", "joe"], "result": None}


def test_work_that_is_done_at_once(run: Run, server: FakeStream) -> None:
    """A soft delete of channels has no task to wait for; what failed is told all the same."""
    ended = run("delete-channels", "a:b", "a:c", "--yes", "--no-wait")
    assert ended == (0, "", "Done at once: 2 channels.\n")
    assert run("delete-channels", "a:b", "--yes", "--no-wait", "--quiet") == (0, "", "")
    server.fail_items("a:c", error="it is frozen")
    ended = run("delete-channels", "a:b", "a:c", "--yes", "--no-wait", "--json")
    (told,) = lines(ended.out)
    assert told["task_id"] is None
    assert told["result"] == {"a:b": {"status": "ok"}, "a:c": {"status": "error", "error": "it is frozen"}}
    assert (ended.code, ended.err) == (1, "1 of 2 channels failed:\n  a:c: it is frozen\n")
    ended = run("delete-channels", "a:b", "a:c", "--yes")
    assert [outcome["status"] for outcome in lines(ended.out)] == ["completed"]
    assert (ended.code, ended.err) == (1, "1 of 2 channels failed:\n  a:c: it is frozen\n")


def test_no_ids_are_nothing_to_do(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """A file without ids is no error."""
    ended = run("delete-users", "--from", listed(tmp_path / "users.txt", []), "--yes")
    assert ended == (0, "", "No ids: there is nothing to start.\n")
    assert not server.requests


# Tables


@pytest.mark.parametrize(
    "table",
    [
        pytest.param("name,user_id\nJane,u-1\n\nJoe,u-2\nJane,u-1\n", id="commas"),
        pytest.param('name;user_id\r\n"Doe; Jane";u-1\r\nJoe; u-2 \r\n', id="semicolons"),
        pytest.param("user_id\tname\nu-1\tJane, the first\nu-2\t\n", id="tabs"),
        pytest.param("\ufeffuser_id\nu-1\nu-2", id="one column, and a byte order mark"),
        pytest.param('name,"user_id"\n"Jane\n""the first""",u-1\nJoe,u-2\n', id="quotes and line breaks"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False], ids=["a file", "stdin"])
def test_ids_come_from_a_table(
    table: str,
    run: Run,
    server: FakeStream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_file: bool,
) -> None:
    """The column that is named has them; whatever separates the columns, and whatever the others hold."""
    path = tmp_path / "users.csv"
    path.write_text(table, newline="")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    source = str(path) if is_file else "-"
    assert run("delete-users", "--from", source, "--column", "user_id", "--yes").code == 0
    assert starts(server) == [{"user_ids": ["u-1", "u-2"]}]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(
            "id,name\nu-1,Jane\n",
            "line 1: there must be one column 'user_id', but there are id, name",
            id="no such column",
        ),
        pytest.param(
            "user_id,user_id\nu-1,u-2\n", "line 1: there must be one column 'user_id'", id="two such columns"
        ),
        pytest.param("", "line 1: there must be one column 'user_id', but there are ", id="nothing"),
        pytest.param(
            "user_id,name\nu-1,Jane\nu-2,Joe,him\n",
            "line 3: the row has 3 cells, but there are 2 columns",
            id="a stray comma",
        ),
        pytest.param(
            "name,user_id\nJane,u-1\nJoe\n",
            "line 3: the row has 1 cells, but there are 2 columns",
            id="half a row",
        ),
        pytest.param("name,user_id\nJane,\n", "line 2: user_id is empty", id="no id"),
        pytest.param('user_id\n"u-1\nu-2\n', "line 3: unexpected end of data", id="a quote without its end"),
        pytest.param(b"user_id\nu-1\n\xff\n", "line 3: is not UTF-8", id="another encoding"),
        pytest.param(b"user_id\nu-1\nu\xed\xb0\x80\n", "line 3: is not UTF-8", id="no text"),
    ],
)
def test_a_table_that_does_not_fit(
    table: str | bytes, message: str, run: Run, server: FakeStream, tmp_path: Path
) -> None:
    """It is wrong usage that names the line, and nothing is started."""
    path = tmp_path / "users.csv"
    path.write_bytes(table.encode() if isinstance(table, str) else table)
    ended = run("delete-users", "--from", str(path), "--column", "user_id", "--yes")
    assert (ended.code, ended.out) == (2, "")
    assert f"Error: {path}, {message}" in ended.err
    assert not server.requests


def test_a_table_is_not_taken_for_ids(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """A line with a comma, or an argument with one, is no id."""
    path = tmp_path / "users.csv"
    path.write_text("u-0\nu-1,Jane\n")
    why = "an id has no comma, but 'u-1,Jane' has; --column NAME reads a table"
    for command in ("delete-users", "wait"):
        ended = run(command, "--from", str(path))
        assert ended.code == 2
        assert f"Error: {path}, line 2: {why}" in ended.err
    ended = run("delete-users", "u-1,Jane", "--yes")
    assert ended.code == 2
    assert f"'ID': {why}" in ended.err
    assert not server.requests


def test_a_column_without_a_table(run: Run) -> None:
    """It is wrong usage where ids are arguments."""
    ended = run("delete-users", "jane", "--column", "user_id", "--yes")
    assert ended.code == 2
    assert "--column needs a table" in ended.err


def test_waiting_for_a_table(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """Tasks are read from tables, too."""
    for task_id in ("a", "b"):
        server.add_task(task_id, statuses=())
    path = tmp_path / "tasks.csv"
    path.write_text("started,task\n2026-01-01,a\n2026-01-02,b\n")
    assert {line["task_id"] for line in lines(run("wait", "--from", str(path), "--column", "task").out)} == {
        "a",
        "b",
    }


# A dry run


def test_a_dry_run_starts_nothing(run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints a line for each task that would be started, asks nothing, and needs no credentials."""
    monkeypatch.delenv("STREAM_API_KEY")
    monkeypatch.delenv("STREAM_API_SECRET")
    ended = run("delete-users", *users(130), "--user", "soft", "--dry-run")
    assert ended.code == 0
    assert lines(ended.out) == [
        {"operation": "delete_users", "items": users(130)[:100], "options": {"user": "soft"}},
        {"operation": "delete_users", "items": users(130)[100:], "options": {"user": "soft"}},
    ]
    assert ended.err == "Nothing was started. Without --dry-run, 2 tasks would be, for 130 users.\n"
    assert not server.requests


def test_a_dry_run_checks_all(run: Run) -> None:
    """What the operation would refuse is wrong usage here, too."""
    ended = run("delete-users", "jane", "--user", "hard", "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert "user hard needs messages hard" in ended.err


def test_a_dry_run_of_an_export(run: Run) -> None:
    """What goes into each item is in each item."""
    ended = run("export-channels", "a:b", "--messages-since", "2026-01-31", "--dry-run", "--quiet")
    moment = "2026-01-31T00:00:00+00:00"
    items = [{"cid": "a:b", "messages_since": moment}]
    assert (ended.code, ended.err) == (0, "")
    assert lines(ended.out) == [{"operation": "export_channels", "items": items, "options": {}}]


def test_a_dry_run_on_a_terminal(server: FakeStream) -> None:
    """People get a line for each task, which they can read."""
    ended = on_terminal("delete-users", *users(101), "--dry-run")
    assert plain(ended.out).splitlines() == [
        "delete_users: 100 users, u-0 to u-99",
        "delete_users: 1 user, u-100",
        "Nothing was started. Without --dry-run, 2 tasks would be, for 101 users.",
    ]
    assert not server.requests


def test_a_secret_in_the_place_of_the_key_is_not_shown(
    server: FakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client refuses it before anybody is asked about an app of that name."""
    monkeypatch.setenv("STREAM_API_KEY", SECRET)
    monkeypatch.setenv("STREAM_API_SECRET", server.api_key)
    ended = on_terminal("delete-users", "jane")  # which checks that the secret is not shown
    assert ended.code == 2
    assert not server.requests


# The log


RECORD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) (.+)")


def test_stderr_as_text_records(run: Run, server: FakeStream) -> None:
    """Each line has its time and level."""
    server.fail_items("u-1", error="not found")
    ended = run("delete-users", "u-0", "u-1", "--yes", "--log-format", "text")
    assert ended.code == 1
    found = [RECORD.fullmatch(line) for line in ended.err.splitlines()]
    assert all(found)
    told = [(match[1], match[2]) for match in found if match is not None]
    assert told[0][0] == "INFO"
    assert re.fullmatch(r"Started \S+ for 2 users\.", told[0][1])
    assert told[-2:] == [("ERROR", "1 of 2 users failed:"), ("ERROR", "  u-1: not found")]


def test_stderr_as_json_records(run: Run, server: FakeStream) -> None:
    """Each line is an object with time, level and message, and with what the library knows."""
    server.clear()
    server.script_operation("export_users", statuses=[], error=TaskFailure("disk_full", "no room"))
    ended = run("export-users", "jane", "--log-format", "json")
    assert ended.code == 1
    records = lines(ended.err)
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", record["time"])
    (outcome,) = lines(ended.out)
    first, *_, last = records
    assert (first["level"], first["items"], first["task_id"]) == ("info", ["jane"], outcome["task_id"])
    assert last["level"] == "error"
    assert last["message"].endswith("failed (disk_full): no room")
    finished = [record for record in records if record.get("event") == "wait_finished"]
    assert [record["task_id"] for record in finished] == [outcome["task_id"]]


@pytest.mark.parametrize(
    ("level", "levels"),
    [
        pytest.param("error", {"ERROR"}, id="errors"),
        pytest.param("warning", {"ERROR", "WARNING"}, id="warnings"),
        pytest.param("debug", {"ERROR", "WARNING", "INFO", "DEBUG"}, id="all"),
    ],
)
def test_the_level_of_the_log(level: str, levels: set[str], run: Run, server: FakeStream) -> None:
    """Less important lines are left out."""
    server.clear()
    server.script_operation("export_users", statuses=[], error=TaskFailure("disk_full", "no room"))
    server.inject(Fault.status(503), path="/tasks/")
    ended = run("export-users", "jane", "--log-format", "text", "--log-level", level)
    found = [RECORD.fullmatch(line) for line in ended.err.splitlines()]
    assert {match[1] for match in found if match is not None} == levels


def test_the_level_for_people(run: Run) -> None:
    """Without a format, people may ask for more than warnings, and get no times."""
    ended = run("export-users", "jane", "--log-level", "debug")
    assert ended.code == 0
    assert "Debug: GET /api/v2/tasks/" in ended.err
    assert not RECORD.search(ended.err)


def test_a_log_on_a_terminal(server: FakeStream) -> None:
    """Nothing is drawn between records."""
    server.add_task("a", statuses=())
    ended = on_terminal("wait", "a", "--log-format", "text", stdout=-1)
    assert ended.code == 0
    assert "\x1b" not in ended.out


def test_a_log_of_a_download(run: Run, server: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """Trouble and success are records."""
    server.clear()
    server.script_operation("export_users", statuses=[], result={"url": files.url()})
    files.answers.append(503)
    path = tmp_path / "users.json"
    records = lines(run("export-users", "jane", "--output", str(path), "--log-format", "json").err)
    assert {
        "level": "warning",
        "message": "127.0.0.1 answered HTTP 503 Service Unavailable; trying again",
    }.items() <= (records[-2].items())
    assert (records[-1]["path"], records[-1]["bytes"]) == (str(path), len(files.content))


# Asking


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["delete-users", "jane", "--user", "soft"], "this deletes 1 user (--user soft)"),
        (["delete-channels", "a:b", "a:c", "--hard-delete"], "this deletes 2 channels (--hard-delete)"),
        (["deactivate-users", "jane"], "this deactivates 1 user"),
    ],
)
def test_nothing_is_destroyed_unasked(
    args: list[str], what: str, run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal to ask on, --yes must say that it is meant; nothing is sent."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y\n")))
    ended = run(*args)
    assert ended.code == 2
    assert f"Error: {what}: with no terminal to ask on, give --yes if that is meant" in ended.err
    assert not server.requests


def test_ids_on_stdin_cannot_answer(server: FakeStream) -> None:
    """What is read from a pipe is no consent, even if it says so."""
    ended = end(start("delete-users", "-", stdin=-1), "jane\njoe\ny\n")
    assert ended.code == 2
    assert "this deletes 3 users: with no terminal to ask on" in ended.err
    assert not server.requests


class Asked(Terminal):
    """A command on a terminal that waits for an answer, after it has read its ids there."""

    def __init__(self, *args: str, ids: str = "") -> None:
        super().__init__(*args)
        if ids:
            until(lambda: "Ctrl-D ends them" in self.shown)
            self.type(ids)
        until(lambda: "Go on? [y/N]:" in self.shown)

    def answer(self, text: bytes) -> Ended:
        os.write(self._leader, text)
        return self.end()


def test_yes_on_a_terminal(server: FakeStream) -> None:
    """It says what is about to happen, to how many, in which app; then it happens."""
    asked = Asked("delete-users", "jane", "joe", "--user", "soft", "--files")
    assert "This deletes 2 users (--user soft --files) of the app fake-key." in asked.shown
    assert not server.requests
    ended = asked.answer(b"y\n")
    assert ended.code == 0
    assert starts(server) == [{"user_ids": ["jane", "joe"], "user": "soft", "files": True}]


def test_hard_deleted_users_need_more(run: Run, server: FakeStream) -> None:
    """What the server would refuse is wrong usage, said before anybody is asked."""
    ended = run("delete-users", "jane", "--user", "hard", "--messages", "hard", "--yes")
    assert ended.code == 2
    assert "user hard needs messages hard and conversations hard as well" in ended.err
    assert "hard needs messages and conversations hard, too" in " ".join(
        run("delete-users", "--help").out.split()
    )
    assert not server.requests


def test_ids_that_were_typed(server: FakeStream) -> None:
    """Whoever typed the ids on a terminal is asked there."""
    assert Asked("delete-users", "-", "--no-wait", ids="jane\njoe\n\x04").answer(b"y\n").code == 0
    assert starts(server) == [{"user_ids": ["jane", "joe"]}]


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"], ids=["no", "nothing", "Ctrl-D"])
def test_no_on_a_terminal(answer: bytes, server: FakeStream) -> None:
    """Anything but yes starts nothing, and exits with 2."""
    ended = Asked("deactivate-users", "jane").answer(answer)
    assert ended.code == 2
    assert plain(ended.out).endswith("\nNothing was started.\n")
    assert not server.requests


def test_ctrl_c_on_a_terminal(server: FakeStream) -> None:
    """An interrupted question exits with 130, and says that nothing was started."""
    asked = Asked("deactivate-users", "jane")
    asked.type("\x03")
    ended = asked.end()
    assert ended.code == 130
    assert plain(ended.out).endswith("\nInterrupted; nothing was started.\n")
    assert not server.requests


def test_exports_and_reactivations_do_not_ask(run: Run) -> None:
    """What destroys nothing just begins."""
    assert run("export-users", "jane").code == 0
    assert run("reactivate-users", "jane").code == 0


# Failures


def test_what_was_not_started_is_said(run: Run, server: FakeStream) -> None:
    """A refused batch exits with 4 and names all that were not started; the others are waited for."""
    server.inject(Fault.delay(0))
    server.inject(Fault.status(400), path="/users/delete")
    ended = run("delete-users", *users(250), "--yes", "--quiet")
    assert ended.code == 4
    assert len(lines(ended.out)) == 1
    error = "Error: delete_users: the batch of 100 from item 101 on was not started: HTTP 400"
    first, *rest = ended.err.splitlines()
    assert first.startswith(error)
    assert rest == ["# not started: 150 users", *users(250)[100:]]


def test_what_may_have_been_started_is_said(run: Run, server: FakeStream) -> None:
    """A batch whose answer was lost is named apart from those that were surely not started."""
    server.inject(Fault.reset())
    ended = run("deactivate-users", *users(130), "--yes", "--no-wait")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.splitlines()[-132:] == [
        "# may or may not have been started: 100 users",
        *users(100),
        "# not started: 30 users",
        *users(130)[100:],
    ]
    assert len(starts(server)) == 1


def test_nothing_is_waited_for_when_nothing_was_started(run: Run, server: FakeStream) -> None:
    """A refusal of the first batch is all there is to say."""
    server.inject(Fault.status(403))
    ended = run("export-users", "jane")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.endswith("\nstream-tasks doctor looks for the cause.\n# not started: 1 user\njane\n")


def test_a_429_is_waited_out(run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure, and there is a line about it."""
    monkeypatch.setattr(_batches, "HOLDS", Backoff(0.05, 0.05))
    server.inject(Fault.status(429))
    ended = run("export-users", "jane")
    assert ended.code == 0
    assert "Warning: export_users was refused for the rate limit, and is tried again in 0." in ended.err
    assert len(starts(server)) == 2


def test_failed_items_of_completed_tasks_are_said(run: Run, server: FakeStream) -> None:
    """A completed task may hold failures: each is named, harmless to a terminal, and the code is 1."""
    server.fail_items("u-7", "u-150", error="not \x1b[31mfound")
    ended = run("delete-users", *users(200), "--yes", "--quiet")
    assert ended.code == 1
    assert ended.err == (
        "2 of 200 users failed:\n  u-7: not \\u001b[31mfound\n  u-150: not \\u001b[31mfound\n"
    )


def test_failed_tasks_exit_with_1(run: Run, server: FakeStream) -> None:
    """As with ``wait``."""
    server.clear()
    server.script_operation("export_users", statuses=[], error=TaskFailure("disk_full", "no room"))
    ended = run("export-users", "jane")
    assert ended.code == 1
    assert "failed (disk_full): no room" in ended.err


def test_time_that_runs_out(run: Run, server: FakeStream) -> None:
    """It exits with 3 and prints the command that goes on waiting."""
    server.clear()
    server.script_operation("export_users", never=True)
    ended = run("export-users", "jane", "--timeout", "0.2", "--poll-interval", "0")
    assert ended.code == 3
    (outcome,) = lines(ended.out)
    command = f"stream-tasks wait {outcome['task_id']}"
    assert f"To go on waiting:\n  {command}\n" in ended.err


NEVER_ENDED = "# started, and not known to have ended: 60 tasks"


@pytest.mark.parametrize("args", [[], ["--quiet"]], ids=["as it is", "with --quiet"])
def test_a_hint_that_would_be_too_long(
    run: Run, server: FakeStream, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    """Of many tasks each id is a line, and ``wait -`` takes the lines."""
    server.clear()
    server.script_operation("export_users", never=True, times=99)
    ended = run("export-users", *users(1500), "--timeout", "0.2", *args)
    assert ended.code == 3
    heading, *ids, how, command = ended.err.splitlines()[-63:]
    assert (heading, how) == (NEVER_ENDED, "To go on waiting, give these lines to:")
    assert set(ids) == {outcome["task_id"] for outcome in lines(ended.out)}
    for task_id in ids:
        server.finish(task_id)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join([heading, *ids]).encode())))
    _, *words = shlex.split(command)
    assert words == ["wait", "-"]
    assert {outcome["task_id"] for outcome in lines(run(*words).out)} == set(ids)


@pytest.mark.parametrize("args", [[], ["--quiet"]], ids=["as it is", "with --quiet"])
def test_ctrl_c_while_waiting_for_many(server: FakeStream, tmp_path: Path, args: list[str]) -> None:
    """All ids come out on a terminal, too, after a few with their status."""
    server.clear()
    server.script_operation("export_users", never=True, times=99)
    path = listed(tmp_path / "users.txt", users(1500))
    terminal = Terminal("export-users", "--from", path, *args, columns=200, lines=90)
    # A terminal that is not read holds the program up.
    until(lambda: (terminal.shown, sum(r.method == "GET" for r in server.requests) >= 60)[1])
    terminal.type("\x03")
    ended = terminal.end()
    assert ended.code == 130
    _, told, rest = plain(ended.out).partition(NEVER_ENDED)
    assert told
    _, *ids, how, command = rest.splitlines()
    assert len(set(ids)) == 60
    assert how == "To go on waiting, give these lines to:"
    assert shlex.split(command) == ["stream-tasks", "wait", "-"]
    assert "  … and 50 more\n" in plain(ended.out)


def test_ctrl_c_while_starting_quietly(server: FakeStream, tmp_path: Path) -> None:
    """What was started is named though nobody was told so far."""
    server.inject(Fault.delay(0), times=60)
    server.inject(Fault.hang(), path="/export/users")
    process = start("export-users", "--from", listed(tmp_path / "u", users(1600)), "--quiet")
    until(lambda: len(server.requests) == 61)
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert (ended.code, ended.out) == (130, "")
    ids = ended.err.partition(NEVER_ENDED)[2].splitlines()[1:-2]
    assert len(set(ids)) == 60
    assert all(re.fullmatch(r"[\w-]{36}", task_id) for task_id in ids)


def test_a_refusal_while_waiting(run: Run, server: FakeStream) -> None:
    """Tasks that were started are named even if none could be asked for."""
    server.inject(Fault.status(401), path="/tasks/", times=9)
    ended = run("export-users", "jane", "--quiet")
    (outcome,) = lines(ended.out)
    assert ended.code == 4
    assert ended.err.endswith(f"To go on waiting:\n  stream-tasks wait {outcome['task_id']}\n")


def test_a_reader_of_outcomes_that_has_gone(server: FakeStream) -> None:
    """Nobody has read what came of the tasks, and so they are named."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start("reactivate-users", "jane", "--quiet", stdout=writer)
    os.close(writer)
    ended = end(process)
    assert ended.code == 141
    assert re.fullmatch(r"To go on waiting:\n  stream-tasks wait [\w-]{36}\n", ended.err)


def test_done_at_once_needs_no_hint(server: FakeStream) -> None:
    """Where there is no task, none is named when the next one is interrupted."""
    server.inject(Fault.delay(0))
    server.inject(Fault.hang(), path="/channels/delete")
    process = start("delete-channels", *(f"a:{number}" for number in range(150)), "--yes")
    until(lambda: len(server.requests) == 2)
    process.send_signal(signal.SIGINT)
    assert "To go on" not in end(process).err


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_signals_while_starting(
    server: FakeStream, tmp_path: Path, number: int, code: int, word: str
) -> None:
    """Ctrl-C and SIGTERM end it; it says what was started, what may have been, and what was not."""
    server.inject(Fault.delay(0))
    server.inject(Fault.hang(), path="/users/deactivate")
    path = listed(tmp_path / "users.txt", users(250))
    process = start("deactivate-users", "--from", path, "--yes")
    until(lambda: len(server.requests) == 2)
    process.send_signal(number)
    ended = end(process)
    assert (ended.code, ended.out) == (code, "")
    first, _, interrupted, *rest = ended.err.splitlines()
    task_id = first.removeprefix("Started ").removesuffix(" for 100 users.")
    assert interrupted == f"{word}; tasks on the server go on."
    assert rest == [
        "# may or may not have been started: 100 users",
        *users(200)[100:],
        "# not started: 50 users",
        *users(250)[200:],
        "To go on waiting:",
        f"  stream-tasks wait {task_id}",
    ]


def test_ctrl_c_while_a_429_is_waited_out(server: FakeStream, tmp_path: Path) -> None:
    """What was refused was not started, for sure."""
    server.inject(Fault.delay(0))
    server.inject(Fault.status(429, headers={"Retry-After": "60"}))
    process = start("deactivate-users", "--from", listed(tmp_path / "users.txt", users(150)), "--yes")
    assert process.stderr is not None
    started, warning = process.stderr.readline(), process.stderr.readline()
    assert started.startswith("Started ")
    assert warning.startswith(
        "Warning: deactivate_users was refused for the rate limit, and is tried again in "
    )
    process.send_signal(signal.SIGINT)
    _, interrupted, heading, *rest = end(process).err.splitlines()
    assert interrupted == "Interrupted; tasks on the server go on."
    assert heading == "# not started: 50 users"
    assert rest[:50] == users(150)[100:]


def test_ctrl_c_before_anything_was_started(server: FakeStream) -> None:
    """There is nothing to go on with."""
    server.inject(Fault.hang())
    process = start("deactivate-users", "jane", "--yes")
    until(lambda: server.requests)
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert (ended.code, ended.err.splitlines()[-2:]) == (
        130,
        ["# may or may not have been started: 1 user", "jane"],
    )


def test_a_reader_that_has_gone(server: FakeStream, tmp_path: Path) -> None:
    """Nothing more is started when nobody learns of it; stderr names the last task, and what was not."""
    path = listed(tmp_path / "users.txt", users(130))
    reader, writer = os.pipe()
    os.close(reader)
    process = start("deactivate-users", "--from", path, "--yes", "--no-wait", stdout=writer)
    os.close(writer)
    ended = end(process)
    assert ended.code == 141
    hint, command, *unsent = ended.err.splitlines()
    assert hint == "To go on waiting:"
    assert re.fullmatch(r"  stream-tasks wait [\w-]{36}", command)
    assert unsent == ["# not started: 30 users", *users(130)[100:]]
    assert len(starts(server)) == 1


def test_a_full_disk(server: FakeStream, full: BinaryIO) -> None:
    """The task whose id could not be written is named on stderr, as is one whose result could not be."""
    hint = r"To go on waiting:\n  stream-tasks wait [\w-]{36}\n"
    why = "Error: cannot write: No space left on device"
    ended = end(start("deactivate-users", "jane", "--yes", "--no-wait", stdout=full))
    assert ended.code == 2
    assert re.fullmatch(f"{hint}{why}\n", ended.err)
    ended = end(start("deactivate-users", "jane", "--yes", stdout=full))
    assert ended.code == 2
    assert re.fullmatch(rf"Started [\w-]{{36}} for 1 user\.\n\n{why}\.\n{hint}", ended.err)
    assert end(start("deactivate-users", "jane", "--yes", stderr=full)) == (2, "", "")


def test_a_full_disk_and_no_task(server: FakeStream, full: BinaryIO) -> None:
    """What was done at once needs no hint."""
    ended = end(start("delete-channels", "a:b", "--yes", "--no-wait", "--json", stdout=full))
    assert (ended.code, ended.err) == (2, "Error: cannot write: No space left on device\n")


def test_an_error_of_the_system(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a start, it says what was started, what may have been, and what was not."""
    begin = AsyncStream.deactivate_users

    async def fail(client: AsyncStream, items: list[str], **options: Any) -> Any:
        if "u-0" in items:
            return await begin(client, items, **options)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(AsyncStream, "deactivate_users", fail)
    ended = run("deactivate-users", *users(250), "--yes", "--quiet")
    assert (ended.code, ended.out) == (2, "")
    how, command, *rest = ended.err.splitlines()
    assert how == "To go on waiting:"
    assert re.fullmatch(r"  stream-tasks wait [\w-]{36}", command)
    assert rest == [
        "# may or may not have been started: 100 users",
        *users(200)[100:],
        "# not started: 50 users",
        *users(250)[200:],
        "Error: Too many open files",
    ]


def test_a_reader_that_is_stuck(server: FakeStream, tmp_path: Path) -> None:
    """A signal does not wait for it; the last task is named, and what was not started."""
    ids = [user + "-" * 1000 for user in users(130)]
    path = listed(tmp_path / "users.txt", ids)
    process = start("deactivate-users", "--from", path, "--yes", "--no-wait", "--json")
    assert process.stdout is not None
    select.select([process.stdout], [], [], 50)
    process.terminate()
    assert process.wait(50) == 143
    ended = end(process)
    assert len(starts(server)) == 1
    _, terminated, heading, *unsent, hint, command = ended.err.splitlines()
    assert terminated == "Terminated; tasks on the server go on."
    assert heading == "# not started: 30 users"
    assert unsent == ids[100:]
    assert hint == "To go on waiting:"
    assert re.fullmatch(r"  stream-tasks wait [\w-]{36}", command)


# Saving exports


@pytest.fixture
def exports(server: FakeStream, files: FileServer) -> FakeStream:
    """Exports that lead to the server of files, each to a link of its own."""
    server.clear()
    for number in range(1, 12):
        server.script_operation(
            "export_users", statuses=[], result={"url": files.url(f"/{number}?signature=s3cret")}
        )
    return server


def test_an_export_is_saved(run: Run, exports: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """It is in the file, stdout has what it has without, and no credentials went there."""
    path = tmp_path / "users.json"
    ended = run("export-users", "jane", "--output", str(path))
    assert ended.code == 0
    assert path.read_bytes() == files.content
    assert [outcome["result"] for outcome in lines(ended.out)] == [{"url": files.url("/1?signature=s3cret")}]
    assert ended.err.endswith(f" for 1 user.\nSaved {path} (190.0 kB).\n")
    (request,) = files.requests
    assert "Authorization" not in request.headers
    assert "api_key" not in request.query


def test_several_exports_have_numbered_names(
    run: Run, exports: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """In the order of the ids, so that they sort."""
    ended = run("export-users", *users(260), "--output", str(tmp_path / "users.json"), "--quiet")
    assert (ended.code, ended.err) == (0, "")
    names = [f"users-{number:02}.json" for number in range(1, 12)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert sorted(request.path for request in files.requests) == sorted(
        f"/{number}" for number in range(1, 12)
    )


def test_a_file_that_is_there_is_not_written_over(run: Run, exports: FakeStream, tmp_path: Path) -> None:
    """Nothing is even started, unless --overwrite is given."""
    taken = tmp_path / "users-2.json"
    taken.write_text("mine")
    args = ("export-users", *users(30), "--output", str(tmp_path / "users.json"))
    ended = run(*args)
    assert ended.code == 2
    assert f"{taken} exists already; --overwrite replaces it" in ended.err
    assert taken.read_text() == "mine"
    assert not exports.requests
    assert run(*args, "--overwrite").code == 0
    assert taken.read_text() != "mine"


def test_a_download_that_fails(run: Run, exports: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """It exits with 4 and says how to get the export nevertheless; the others are saved."""
    files.answers.extend([404, 404])
    ended = run("export-users", *users(30), "--output", str(tmp_path / "users.json"))
    assert ended.code == 4
    task_id = ended.err.removeprefix("Started ")[:36]
    assert "Error: 127.0.0.1 answered HTTP 404 Not Found: the link may have expired" in ended.err
    path = tmp_path / "users-1.json"
    assert ended.err.endswith(
        f"\nTo go on, and save what is exported:\n  stream-tasks wait --output {path} {task_id}\n"
    )
    assert [outcome["saved"] for outcome in lines(ended.out)] == [str(tmp_path / "users-2.json"), None]
    assert "s3cret" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["users-2.json"]
    # The link was renewed in between.
    assert len(exports.polls(task_id)) == 2


def test_what_a_server_says_steers_no_terminal(
    run: Run, server: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """Neither a task's id, nor the hint and the error that name it."""
    server.clear()
    steering = "\x1b[2J\x9bforged"
    body = json.dumps({"task_id": steering}).encode()
    server.inject(Fault.body(body), path="/export/users", times=3)
    server.add_task(steering, statuses=(), result={"url": files.url()})
    files.answers.extend([404, 404])
    shown = [run("export-users", "jane", "--output", str(tmp_path / "users.json"))]
    shown.append(run("export-users", "jane", "--no-wait"))
    server.add_task(steering, never=True)
    shown.append(run("export-users", "jane", "--timeout", "0"))
    assert [ended.code for ended in shown] == [4, 0, 3]
    for ended in shown:
        assert "forged" in ended.err + ended.out
        assert all(c.isprintable() or c == "\n" for c in ended.out + ended.err), ascii(ended)


def test_a_link_that_cannot_be_renewed(
    run: Run, exports: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """What the server says is told, and the other exports are saved."""
    files.answers.append(403)
    exports.inject(Fault.delay(0), times=2, path="/tasks/")
    exports.inject(Fault.status(401), path="/tasks/")
    ended = run("export-users", *users(30), "--output", str(tmp_path / "users.json"))
    assert ended.code == 4
    assert re.search(r"Error: HTTP 401.*\n(?s:.*)To go on, and save what is exported:\n", ended.err)
    assert [path.name for path in tmp_path.iterdir()] == ["users-2.json"]


def test_a_link_is_renewed_in_spite_of_trouble(
    run: Run, exports: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """The renewal bears bad moments, as a wait does."""
    path = tmp_path / "users.json"
    files.answers.append(403)
    exports.inject(Fault.delay(0), path="/tasks/")
    exports.inject(Fault.status(503), path="/tasks/")
    exports.inject(Fault.reset(), path="/tasks/")
    exports.inject(Fault.html(502), path="/tasks/")
    ended = run("export-users", "jane", "--output", str(path))
    assert ended.code == 0
    assert path.read_bytes() == files.content


def test_a_link_that_is_not_renewed_in_time(
    run: Run, exports: FakeStream, files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not bear them for ever."""
    monkeypatch.setattr(saving, "RENEWAL_TIMEOUT", 0.3)
    files.answers.append(403)
    exports.inject(Fault.delay(0), path="/tasks/")
    exports.inject(Fault.reset(), path="/tasks/", times=10_000)
    ended = run("export-users", "jane", "--output", str(tmp_path / "users.json"))
    assert ended.code == 4
    assert re.search(r"Error: task \S+ did not finish within 0\.3 s.*\nTo go on, and save", ended.err)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_replaced_keeps_its_mode(run: Run, exports: FakeStream, tmp_path: Path) -> None:
    """And a link stays a link."""
    path, link = tmp_path / "users.json", tmp_path / "link.json"
    path.write_text("old")
    path.chmod(0o600)
    link.symlink_to("users.json")
    assert run("export-users", "jane", "--output", str(link), "--overwrite").code == 0
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() != "old"


def test_a_download_that_is_cut(run: Run, exports: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """It goes on where it stopped, with a line about it unless that is not wanted."""
    path = tmp_path / "users.json"
    files.cuts.append(1000)
    ended = run("export-users", "jane", "--output", str(path))
    assert ended.code == 0
    assert "\nWarning: 127.0.0.1 gave no usable answer (connection reset); trying again.\n" in ended.err
    assert files.asked("Range") == [None, "bytes=1000-"]
    files.cuts.append(1000)
    assert run("export-users", "jane", "--output", str(path), "--overwrite", "--quiet").err == ""
    assert path.read_bytes() == files.content


def test_a_failed_export_has_no_file(run: Run, server: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """The code is that of the task, and the other exports are saved under their own names."""
    server.clear()
    server.script_operation("export_users", statuses=[], error=TaskFailure("disk_full", "no room"))
    server.script_operation("export_users", statuses=[], result={"url": files.url()})
    ended = run("export-users", *users(30), "--output", str(tmp_path / "users.json"))
    assert ended.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["users-2.json"]


def test_progress_on_a_terminal(exports: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """A bar is drawn while it lasts, and a line remains."""
    path = tmp_path / "users.json"
    ended = on_terminal("export-users", "jane", "-o", str(path))
    assert ended.code == 0
    shown = plain(ended.out)
    assert re.search(r"users\.json ━+.*190\.0/190\.0 kB", shown)
    assert f"Saved {path} (190.0 kB).\n" in shown
    assert path.read_bytes() == files.content


def test_a_warning_on_a_terminal(exports: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """It stands above the bar, of which nothing remains."""
    files.answers.append(503)
    terminal = Terminal("export-users", "jane", "-o", str(tmp_path / "users.json"), columns=200)
    assert terminal.end().code == 0
    _, warning, saved, *_ = terminal.shown.splitlines()
    assert warning == "Warning: 127.0.0.1 answered HTTP 503 Service Unavailable; trying again."
    assert saved.startswith("Saved ")
    assert "━" not in terminal.shown


def test_ctrl_c_on_a_terminal_while_downloading(
    exports: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """Nothing remains of a bar that is as wide as the terminal."""
    files.answers.extend([503] * 99)
    terminal = Terminal("export-users", "jane", "-o", str(tmp_path / f"{'x' * 30}.json"), columns=60)
    until(lambda: "━" in terminal.shown)
    terminal.type("\x03")
    assert terminal.end().code == 130
    assert "Interrupted." in terminal.shown
    assert "━" not in terminal.shown


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
def test_signals_while_downloading(
    exports: FakeStream, files: FileServer, tmp_path: Path, *, number: int, code: int, word: str
) -> None:
    """It exits with 130 or 143, leaves no half file, and says how to get the export."""
    files.answers.extend([503] * 99)
    process = start("export-users", *users(30), "--output", str(tmp_path / "users.json"))
    until(lambda: files.requests)
    process.send_signal(number)
    ended = end(process)
    assert ended.code == code
    assert not list(tmp_path.iterdir())
    commands = "".join(
        rf"  stream-tasks wait --output {tmp_path}/users-{number}.json [\w-]{{36}}\n" for number in (1, 2)
    )
    assert re.search(rf"\n{word}\.\nTo go on, and save what is exported:\n{commands}$", ended.err)
    assert [outcome["saved"] for outcome in lines(ended.out)] == [None, None]
    assert len({request.path for request in files.requests}) == 1


def test_ctrl_c_while_waiting(server: FakeStream, tmp_path: Path) -> None:
    """What has not ended is not downloaded."""
    server.clear()
    server.script_operation("export_users", never=True)
    process = start("export-users", "jane", "--output", str(tmp_path / "users.json"))
    until(lambda: any(request.method == "GET" for request in server.requests))
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert ended.code == 130
    assert "To go on, and save what is exported:\n  stream-tasks wait --output " in ended.err
    assert not list(tmp_path.iterdir())


# Exports of tasks that were started elsewhere


def exported(server: FakeStream, files: FileServer, *ids: str) -> None:
    for task_id in ids:
        server.add_task(task_id, statuses=(), result={"url": files.url(f"/{task_id}")})


def test_a_wait_saves_exports(run: Run, server: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """Each is in a file, in the order of the ids, and its line names the file."""
    exported(server, files, "a", "b")
    ended = run("wait", "b", "a", "--output", str(tmp_path / "x.json"), "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert {line["task_id"]: line["saved"] for line in lines(ended.out)} == {
        "b": str(tmp_path / "x-1.json"),
        "a": str(tmp_path / "x-2.json"),
    }
    assert [request.path for request in files.requests] == ["/b", "/a"]


def test_an_interrupted_download_goes_on(server: FakeStream, files: FileServer, tmp_path: Path) -> None:
    """The command that the hint names saves what the first run did not."""
    exported(server, files, "a")
    path = tmp_path / "a.json"
    files.answers.extend([503] * 99)
    process = start("wait", "a", "--output", str(path))
    until(lambda: files.requests)
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert ended.code == 130
    assert not path.exists()
    files.answers.clear()
    program, *args = shlex.split(ended.err.splitlines()[-1])
    assert program == "stream-tasks"
    assert end(start(*args)).code == 0
    assert path.read_bytes() == files.content


def test_a_journal_knows_what_was_saved(
    run: Run, server: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """The same command saves the rest, and replaces nothing."""
    exported(server, files, "a", "b")
    args = ("wait", "a", "b", "--output", str(tmp_path / "x.json"), "--journal", str(tmp_path / "journal"))
    files.answers.extend([404, 404])
    first = run(*args)
    assert first.code == 4
    assert {line["task_id"]: line["saved"] for line in lines(first.out)} == {
        "a": None,
        "b": str(tmp_path / "x-2.json"),
    }
    assert first.err.endswith("To go on, run the same command again.\n")
    polls = len(server.requests)
    files.requests.clear()
    second = run(*args)
    assert second.code == 0
    assert [line["saved"] for line in lines(second.out)] == [str(tmp_path / f"x-{n}.json") for n in (2, 1)]
    assert [request.path for request in files.requests] == ["/a"]
    assert len(server.requests) == polls


def test_a_task_without_a_file(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """It exits with 4, and its result is printed all the same."""
    server.add_task("a", statuses=(), result={"done": True})
    ended = run("wait", "a", "--output", str(tmp_path / "x.json"))
    assert ended.code == 4
    assert "Error: task a is not an export: its result has no url\n" in ended.err
    assert [(line["result"], line["saved"]) for line in lines(ended.out)] == [({"done": True}, None)]


def test_a_wait_that_overwrites_nothing(run: Run, server: FakeStream, tmp_path: Path) -> None:
    """What cannot be written, or is no file, is wrong usage before anything is asked."""
    assert "--overwrite needs --output" in run("wait", "a", "--overwrite").err
    path = tmp_path / "x.json"
    path.write_text("mine")
    ended = run("wait", "a", "--output", str(path))
    assert ended.code == 2
    assert f"{path} exists already; --overwrite replaces it" in ended.err
    path = tmp_path / "none" / "x.json"
    ended = run("wait", "a", "--output", str(path))
    assert ended.code == 2
    assert f"{path} cannot be written: there is no directory {path.parent}" in ended.err
    assert not server.requests


def test_a_file_that_another_program_writes(
    run: Run, server: FakeStream, files: FileServer, tmp_path: Path
) -> None:
    """It is left alone, and it exits with 4."""
    path = tmp_path / "x.json"

    def result(_: int) -> dict[str, str]:
        path.write_text("theirs")
        return {"url": files.url()}

    server.add_task("a", statuses=(), result=result)
    ended = run("wait", "a", "--output", str(path))
    assert ended.code == 4
    assert f"Error: {path} " in ended.err
    assert path.read_text() == "theirs"
