"""What the test kit demands of code under test, and how pytest finds it."""

import asyncio
import base64
import contextlib
import enum
import gzip
import inspect
import json
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from stream_tasks import (
    AsyncStream,
    StartedTask,
    Stream,
    StreamApiException,
    TaskResult,
    testing,
    webhooks,
)
from stream_tasks.testing import FakeStream, Fault, TaskFailure, VirtualClock
from stream_tasks.testing._kinds import TASK


def test_fixtures_belong_together(
    fake_stream: FakeStream, stream_client: Stream, async_stream_client: AsyncStream
) -> None:
    """Both clients, and a client without arguments, use the same server."""
    with Stream() as own:
        assert repr(own) == repr(stream_client) == repr(async_stream_client).replace("Async", "")
        assert stream_client.get_task(fake_stream.add_task()).data.status == "pending"
        own.wait_for_task(stream_client.delete_users(["jane"]), 0.05)


def test_plugin_imports_lazily() -> None:
    """A session of pytest that uses no fixture of the kit imports neither the client nor aiohttp."""
    code = (
        "import sys, stream_tasks_pytest; print({'stream_tasks', 'aiohttp', 'asyncio'} & sys.modules.keys())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


@pytest.mark.slow
def test_kit_needs_pytest_only(tmp_path: Path) -> None:
    """Its fixtures work where pytest has no other plugin."""
    (tmp_path / "test_it.py").write_text(
        "def test_it(fake_stream, stream_client, virtual_clock):\n"
        "    stream_client.wait_for_task(fake_stream.add_task(after=600), timeout=900)\n"
    )
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "stream_tasks",
    ]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_environment_names_the_server(threaded_server: FakeStream) -> None:
    """The environment holds the key, the secret and the address."""
    assert threaded_server.environment == {
        "STREAM_API_KEY": threaded_server.api_key,
        "STREAM_API_SECRET": threaded_server.api_secret,
        "STREAM_BASE_URL": threaded_server.url,
    }


# Webhooks


def test_webhooks_are_signed(fake_stream: FakeStream, stream_client: Stream) -> None:
    """An export's end is told with the file's address, and each try of it is the same webhook."""
    started = stream_client.export_users(["jane"])
    body, headers = fake_stream.webhook(started)
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    assert (event.type, event.task_id, event.error) == ("export.users.success", started.task_id, None)
    assert event.url is not None
    assert event.url.startswith(fake_stream.url)
    assert event.extra.keys() == {"started_at", "finished_at", "created_at", "received_at", "custom"}
    _, again = fake_stream.webhook(started.task_id or "", attempt=2)
    assert again["X-Webhook-Id"] == headers["X-Webhook-Id"]
    assert (headers["X-Webhook-Attempt"], again["X-Webhook-Attempt"]) == ("1", "2")


def test_webhooks_tell_of_failures(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A failed export is told with the reason, a batch with what failed in it."""
    fake_stream.script_operation("export_channels", error=TaskFailure("Oops", "it broke"))
    started = stream_client.export_channels([{"type": "messaging", "id": "general"}])
    body, headers = fake_stream.webhook(started)
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    assert (event.type, event.url, event.error) == ("export.channels.error", None, "it broke")
    fake_stream.fail_items("a:bad")
    batch = stream_client.update_channels_batch("hide", {"cid": ["a:1", "a:bad"]})
    body, headers = fake_stream.webhook(batch)
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    assert event.type == "channel_batch_update.completed"
    assert event.extra["failed_channels"][0]["cids"] == ["a:bad"]


def test_webhooks_go_by_the_last_status(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A failure without an error is told as one, and so is a batch that failed as a whole."""
    fake_stream.script_operation("export_users", final="failed")
    body, headers = fake_stream.webhook(stream_client.export_users(["jane"]))
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    assert (event.type, event.url, event.error) == ("export.users.error", None, "")
    batch = stream_client.update_channels_batch("hide", {"cid": ["a:1"]})
    fake_stream.finish(batch, error=TaskFailure("Oops", "it broke"))
    body, headers = fake_stream.webhook(batch)
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    told = {name: event.extra[name] for name in ("operation", "status", "success_channels_count")}
    assert told == {"operation": "hide", "status": "failed", "success_channels_count": 0}


def test_endless_tasks_have_no_webhook(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A task without an end has no webhook until the test ends it."""
    fake_stream.script_operation("export_users", never=True)
    fake_stream.script_operation("export_users", final="odd")
    started = stream_client.export_users(["jane"])
    for endless in (started, stream_client.export_users(["jane"])):
        with pytest.raises(ValueError, match="must be that of a task that ends"):
            fake_stream.webhook(endless)
    fake_stream.finish(started)
    assert fake_stream.webhook(started)


def test_deletions_have_no_webhook(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A webhook that Stream never sends is refused, and so is one of an unknown task."""
    started = stream_client.delete_users(["jane"])
    with pytest.raises(ValueError, match="Stream sends no webhook for delete_users"):
        fake_stream.webhook(started)
    with pytest.raises(ValueError, match="Stream sends no webhook for others"):
        fake_stream.webhook(fake_stream.add_task())
    with pytest.raises(ValueError, match="no task has the id 'nobody'"):
        fake_stream.webhook("nobody")


# Assertions


@pytest.fixture
def polled(fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock) -> str:
    """Give a task that was looked at four times, a second apart."""
    fake_stream.add_task("task", statuses=["pending", "running"])
    virtual_clock.advance(7)
    fake_stream.inject(Fault.status(503))
    stream_client.wait_for_task("task")
    return "task"


def test_polls_as_demanded(fake_stream: FakeStream, polled: str) -> None:
    """An assertion that holds raises nothing."""
    fake_stream.assert_polled(polled)
    fake_stream.assert_polled(polled, 4)
    fake_stream.assert_polled(polled, at_most=4)
    fake_stream.add_task("another", statuses=())
    fake_stream.assert_polled("another", 0)
    fake_stream.assert_polled("another", at_most=0)
    fake_stream.assert_never_faster_than(1)
    fake_stream.assert_never_faster_than(1, task_id=polled)
    fake_stream.assert_never_faster_than(5, task_id="another")
    fake_stream.forget("another")
    fake_stream.assert_polled("another", 0)
    fake_stream.assert_all_waited()


LIST = """:
  at 0.000 s: 503
  at 1.000 s: 200 pending
  at 2.000 s: 200 running
  at 3.000 s: 200 completed"""


@pytest.mark.parametrize(
    ("times", "at_most", "message"),
    [
        pytest.param(2, None, "task 'task' was polled 4 times, not twice" + LIST, id="another number"),
        pytest.param(0, None, "task 'task' was polled 4 times, not 0 times" + LIST, id="polled at all"),
        pytest.param(None, 3, "task 'task' was polled 4 times, more than 3 times" + LIST, id="too often"),
    ],
)
def test_polls_not_as_demanded(
    fake_stream: FakeStream, polled: str, times: int | None, at_most: int | None, message: str
) -> None:
    """The message says what was demanded, and what was seen when."""
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_polled(polled, times, at_most=at_most)
    assert str(caught.value) == message


def test_polls_missing(fake_stream: FakeStream) -> None:
    """A task that nobody looked at has nothing to list."""
    fake_stream.add_task("x")
    with pytest.raises(AssertionError, match=r"^task 'x' was never polled$"):
        fake_stream.assert_polled("x")


@pytest.mark.parametrize(
    "demand",
    [
        pytest.param(lambda server, task_id: server.assert_polled(task_id), id="polled"),
        pytest.param(lambda server, task_id: server.assert_polled(task_id, 0), id="never polled"),
        pytest.param(lambda server, task_id: server.assert_never_faster_than(1, task_id=task_id), id="pace"),
    ],
)
def test_nothing_is_demanded_of_unknown_tasks(
    fake_stream: FakeStream, stream_client: Stream, demand: Callable[[FakeStream, str], object]
) -> None:
    """An id that the server never met is a slip, and the message names those that it has."""
    with pytest.raises(ValueError, match=r"^no task has the id 'slip'; the server has no task$"):
        demand(fake_stream, "slip")
    for name in "abcdefg":
        fake_stream.add_task(name)
    known = "'a', 'b', 'c', 'd', 'e' and 2 more"
    with pytest.raises(ValueError, match=f"^no task has the id 'slip'; the server has {known}$"):
        demand(fake_stream, "slip")
    with pytest.raises(StreamApiException):
        stream_client.get_task("slip")
    fake_stream.assert_polled("slip", 1)


def test_long_lists_are_cut(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """Of many polls the message shows the first and the last ones."""
    stream_client.wait_for_task(fake_stream.add_task("x", statuses=["running"] * 99), timeout=600)
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_polled("x", 1)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[6] == "  … 90 more"
    assert lines[11].endswith("completed")


def test_polls_too_fast(fake_stream: FakeStream, polled: str) -> None:
    """The message shows the two polls that came too close."""
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_never_faster_than(1.5)
    assert str(caught.value) == (
        "task 'task' was polled again after 1.000 s, sooner than 1.5 s:\n"
        "  at 0.000 s: 503\n"
        "  at 1.000 s: 200 pending"
    )


def test_polls_that_were_sent_again(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A poll that is sent again on a broken connection does not count as too early."""
    task_id = fake_stream.add_task()
    stream_client.get_task(task_id)
    virtual_clock.advance(10)
    fake_stream.inject(Fault.reset())
    stream_client.wait_for_task(task_id)
    assert fake_stream.polls(task_id)[1].status is None
    fake_stream.assert_never_faster_than(1)


def test_tasks_left_alone(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """Tasks whose end nobody saw are named, with what is known of them."""
    fake_stream.add_task("alone")
    fake_stream.add_task("seen", error=TaskFailure("X"), statuses=())
    fake_stream.add_task("begun")
    stream_client.get_task("seen")
    stream_client.get_task("begun")
    started = stream_client.delete_users(["jane"])
    fake_stream.inject(Fault.cut())
    stream_client.wait_for_task(started, 0.1)
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_all_waited()
    first, *lines = str(caught.value).splitlines()
    assert first == "2 of 4 tasks were not waited for:"
    assert lines == [
        "  'alone': never polled",
        "  'begun': polled once, the last time at 0.000 s: 200 pending",
    ]
    fake_stream.clear()
    stream_client.delete_users(["jane"])
    with pytest.raises(AssertionError, match=r"', started by delete_users: never polled$"):
        fake_stream.assert_all_waited()
    fake_stream.clear()
    fake_stream.assert_all_waited()


def test_one_task_left_alone(fake_stream: FakeStream) -> None:
    """A message about one task is in the singular."""
    fake_stream.add_task("alone")
    assert repr(fake_stream).endswith(", 1 task, 0 requests>")
    with pytest.raises(AssertionError, match=r"^1 of 1 task was not waited for:\n  'alone': never polled$"):
        fake_stream.assert_all_waited()


def test_tasks_of_one_id(fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock) -> None:
    """If a task replaces another of the same id, both must be waited for."""
    fake_stream.add_task("x")
    stream_client.get_task("x")
    fake_stream.add_task("x", statuses=())
    stream_client.wait_for_task("x")
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_all_waited()
    assert str(caught.value).splitlines() == [
        "1 of 2 tasks was not waited for:",
        "  'x': polled once, the last time at 0.000 s: 200 pending; then replaced",
    ]
    fake_stream.clear()
    for _ in range(2):
        fake_stream.add_task("x")
        stream_client.wait_for_task("x")
    fake_stream.assert_all_waited()
    fake_stream.forget("x")
    fake_stream.add_task("x")
    with pytest.raises(AssertionError, match=r"^1 of 2 tasks was not waited for:\n  'x': never polled$"):
        fake_stream.assert_all_waited()


def test_clearing_the_log_forgets_no_end(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A task whose end was seen has been waited for, whatever becomes of the log."""
    task_id = fake_stream.add_task(statuses=())
    stream_client.wait_for_task(task_id)
    fake_stream.requests.clear()
    fake_stream.assert_all_waited()


def test_many_tasks_left_alone(fake_stream: FakeStream) -> None:
    """Of many tasks the message names the first and the last ones."""
    for number in range(1000):
        fake_stream.add_task(str(number))
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_all_waited()
    first, *lines = str(caught.value).splitlines()
    assert first == "1000 of 1000 tasks were not waited for:"
    assert [line.partition(":")[0] for line in lines] == [
        *(f"  '{number}'" for number in range(5)),
        "  … 990 more",
        *(f"  '{number}'" for number in range(995, 1000)),
    ]


def test_faults_that_struck(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A fault has struck as planned after all its requests, and a fault without a number after the first."""
    fake_stream.assert_all_struck()
    fake_stream.inject(Fault.status(503), 2)
    fake_stream.inject(Fault.html(), math.inf, path="/tasks/")
    fake_stream.inject(Fault.reset(), task_id="other")
    fake_stream.inject(Fault.status(500), seconds=1, path="/never")
    assert repr(fake_stream).endswith(", not struck: status 503, html 502, reset, status 500>")
    virtual_clock.advance(2)
    for _ in range(2):
        with pytest.raises(StreamApiException):
            stream_client.get_task("x")
    with pytest.raises(AssertionError) as caught:
        fake_stream.assert_all_struck()
    assert str(caught.value).splitlines() == [
        "3 of 4 faults have not struck as planned:",
        "  html 502 for path '/tasks/': never",
        "  reset for task 'other': never",
        "  status 500 for path '/never': never",
    ]
    with pytest.raises(StreamApiException):
        stream_client.get_task("x")
    assert repr(fake_stream).endswith(", not struck: reset, status 500>")
    fake_stream.heal()
    fake_stream.assert_all_struck()
    fake_stream.inject(Fault.status(503), 3)
    with pytest.raises(StreamApiException):
        stream_client.get_task("x")
    with pytest.raises(
        AssertionError, match=r"^1 of 1 fault has not struck as planned:\n  status 503: once of 3 times$"
    ):
        fake_stream.assert_all_struck()
    fake_stream.clear()
    fake_stream.assert_all_struck()


# Functions of tests that fail


def broken(poll: int) -> dict[str, Any]:
    return {"share": poll / 0}


def raises_once(server: FakeStream, demand: Callable[[], object]) -> None:
    """Let a poll fail, and look where that shows."""
    with Stream(server.api_key, server.api_secret, base_url=server.url) as client:
        begun = len(server.requests)
        with pytest.raises(StreamApiException, match="the fake server failed: ZeroDivisionError"):
            client.wait_for_task(server.add_task("x", result=broken), timeout=600)
        assert len(server.requests) == begun + 3
        with pytest.raises(StreamApiException):
            client.get_task("x")
    with pytest.raises(ZeroDivisionError) as caught:
        demand()
    assert caught.value.__notes__ == ["FakeStream could not answer GET /api/v2/tasks/x."]
    assert caught.traceback[-1].name == "broken"
    server.forget("x")


def test_failing_functions_show_in_assertions(fake_stream: FakeStream, virtual_clock: VirtualClock) -> None:
    """A wait ends when a test's function fails, and the next assertion raises that function's exception."""
    fake_stream.add_task("seen", statuses=())
    raises_once(fake_stream, fake_stream.assert_all_waited)
    raises_once(fake_stream, fake_stream.assert_all_struck)
    raises_once(fake_stream, lambda: fake_stream.assert_polled("seen", 0))
    raises_once(fake_stream, lambda: fake_stream.assert_never_faster_than(5))
    fake_stream.assert_polled("seen", 0)


def test_failing_functions_show_at_the_end(virtual_clock: VirtualClock) -> None:
    """The server's end raises the first failure once, also in the place of an exception that it caused."""
    server = FakeStream().__enter__()
    raises_once(server, lambda: server.__exit__(None, None, None))
    server.__exit__(None, None, None)
    server.__enter__()
    error = AssertionError()
    raises_once(server, lambda: server.__exit__(type(error), error, None))


async def test_failing_functions_show_at_the_end_of_async_with(virtual_clock: VirtualClock) -> None:
    """A server on the test's loop does the same, but replaces no cancellation."""
    server = await FakeStream().__aenter__()
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
        with pytest.raises(StreamApiException):
            await client.wait_for_task(server.add_task(result=broken))
    await server.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    with pytest.raises(ZeroDivisionError):
        await server.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda _: [1], r"^what result returns must be a mapping or None, not \[1\]"),
        (lambda _: {"at": object()}, "^what result returns must be what JSON can hold: "),
    ],
    ids=["a list", "no JSON"],
)
def test_functions_must_return_results(
    fake_stream: FakeStream, stream_client: Stream, result: Any, message: str
) -> None:
    """The return value of a result function is checked like any result."""
    with pytest.raises(StreamApiException, match="what result returns must be"):
        stream_client.wait_for_task(fake_stream.add_task(statuses=(), result=result))
    with pytest.raises(TypeError, match=message):
        fake_stream.assert_all_waited()


# What tests give


def an_export(server: FakeStream) -> str:
    """Put the task of an export on a server that never started."""
    script = TASK.script()
    return server._tasks.begin(script, "x", origin="export_users").task_id


MISTAKES: list[tuple[str, Callable[[FakeStream], object], str]] = [
    (
        "one status as text",
        lambda server: server.add_task(statuses="running"),
        "statuses must be an iterable",
    ),
    (
        "a word for seconds",
        lambda server: server.add_task(after=cast("float", "3")),
        "after must be a number",
    ),
    ("an end and none", lambda server: server.add_task(after=3, never=True), "after must not be given"),
    (
        "no time at all",
        lambda server: server.add_task(visible_after=math.nan),
        "visible_after must be a finite",
    ),
    (
        "a result that is no JSON",
        lambda server: server.add_task(result={"at": object()}),
        "result must be what",
    ),
    (
        "an error that is no JSON",
        lambda server: server.add_task(error={"at": object()}),
        "error must be what",
    ),
    (
        "an error that is a text",
        lambda server: server.add_task(error=cast("Any", "no")),
        "error must be a TaskF",
    ),
    ("a number as id", lambda server: server.add_task(cast("str", 5)), "task_id must be a task id"),
    (
        "scripts less than none",
        lambda server: server.script_operation("delete_users", times=-1),
        "times must be a whole number, 0 or more, not -1",
    ),
    (
        "scripts by halves",
        lambda server: server.script_operation("delete_users", times=cast("int", 0.5)),
        "times must be a whole number",
    ),
    (
        "a status as fault",
        lambda server: server.inject(cast("Fault", 503)),
        r"such as Fault.status\(503\), not 503",
    ),
    ("faults less than none", lambda server: server.inject(Fault.reset(), -1), "times must be 0 or more"),
    (
        "faults as a word",
        lambda server: server.inject(Fault.reset(), cast("int", "2")),
        "times must be a whole number, 0 or more, or math.inf, not .2.",
    ),
    (
        "faults that pass none",
        lambda s: s.inject(Fault.reset(), skip=-1),
        "skip must be a whole number, 0 or",
    ),
    (
        "what nobody starts",
        lambda s: s.started("export"),
        "no operation is called 'export'; there are delete_ch",
    ),
    (
        "faults in the past",
        lambda server: server.inject(Fault.reset(), seconds=-1),
        "seconds must be a finite",
    ),
    ("no HTTP status", lambda _: Fault.status(99), "code must be an HTTP status from 200 to 599, not 99"),
    (
        "a status as a word",
        lambda _: Fault.status(cast("int", "503")),
        "code must be an HTTP status from 200 to 599, not .503.",
    ),
    ("a negative delay", lambda _: Fault.delay(-1), "seconds must be a finite number of seconds"),
    ("a negative silence", lambda _: Fault.hang(-1), "seconds must be a finite number of seconds"),
    (
        "an operation's other name",
        lambda server: server.limit("export_channels", 5),
        "there are GetTask, .*ExportC",
    ),
    (
        "nobody's window",
        lambda server: server.spend(5, endpoint="Nothing"),
        "no endpoint is called 'Nothing'",
    ),
    (
        "a limit as a word",
        lambda server: server.limit("GetTask", cast("int", "5")),
        "rule must be a RateLimitRule",
    ),
    (
        "items in a list",
        lambda server: server.fail_items(cast("str", ["a", "b"])),
        "each of items must be a text",
    ),
    ("a file of text", lambda server: server.add_file("x", cast("bytes", "text")), "content must be bytes"),
    (
        "a share of none",
        lambda s: s.inject(Fault.reset(), share=0),
        "share must be a finite number, greater than 0",
    ),
    (
        "more than all",
        lambda s: s.script_operation("export_users", share=1.5),
        "share must be a finite number",
    ),
    ("a yes for a share", lambda s: s.inject(Fault.reset(), share=True), "share must be a number, not True"),
    ("a word as state", lambda s: s.add_import_v2(final=cast("int", "done")), "final must be a whole number"),
    (
        "a text as states",
        lambda s: s.add_import_v2(statuses=cast("Any", ["a"])),
        "each of statuses must be a wh",
    ),
    (
        "a state below zero",
        lambda s: s.add_import_v2(statuses=[-1]),
        "each of statuses must be a whole number, 0",
    ),
    (
        "a number as state",
        lambda s: s.add_import(final=cast("str", 5)),
        "final must be a text or None, not 5",
    ),
    ("no file", lambda s: s.add_import(path=cast("str", None)), "path must be a text, not None"),
    ("half a byte", lambda s: s.add_import(size=cast("int", 0.5)), "size must be a whole number, 0 or more"),
    ("settings in a list", lambda s: s.add_import_v2(settings=cast("Any", [])), "settings must be a mapping"),
    ("no JSON", lambda s: s.add_import_v2(settings={"a": object()}), "settings must be what JSON can hold"),
    ("no product", lambda s: s.add_import_v2(product=cast("str", 5)), "product must be a text, not 5"),
    ("no import", lambda s: s.add_import(cast("str", 5)), "import_id must be a task id .str. or a StartedT"),
    (
        "a word of version 2",
        lambda s: s.script_operation("create_import_v2_task", final="x"),
        "final must be a wh",
    ),
    (
        "a try before the first",
        lambda server: server.webhook("x", attempt=0),
        "attempt must be a whole number, 1",
    ),
    (
        "a try as a word",
        lambda server: server.webhook("x", attempt=cast("int", "x")),
        "attempt must be a whole number, 1 or more, not 'x'",
    ),
    (
        "a yes for the first try",
        lambda server: server.webhook("x", attempt=True),
        "attempt must be a whole number",
    ),
    (
        "polls by halves",
        lambda server: server.assert_polled("x", cast("int", 1.5)),
        "times must be a whole number, 0 or more, not 1.5",
    ),
    (
        "polls less than none",
        lambda server: server.assert_polled("x", at_most=-1),
        "at_most must be a whole number, 0 or more, not -1",
    ),
    (
        "one number and another",
        lambda server: server.assert_polled("x", 1, at_most=3),
        "at_most must not be given beside times, and is 3",
    ),
    (
        "no pace at all",
        lambda server: server.assert_never_faster_than(math.nan),
        "seconds must be a finite number",
    ),
    (
        "a pace as a word",
        lambda server: server.assert_never_faster_than(cast("float", "1")),
        "seconds must be a number",
    ),
    (
        "a yes for custom",
        lambda s: s.webhook(an_export(s), custom=cast("Any", True)),
        "custom must be a mapping",
    ),
    (
        "no JSON in custom",
        lambda s: s.webhook(an_export(s), custom={"a": object()}),
        "custom must be what JSON",
    ),
    (
        "times of day",
        lambda s: s.sqs_message(an_export(s), timestamps=cast("Any", "iso")),
        "timestamps must be one of rfc3339, nanoseconds, not 'iso'",
    ),
    ("a bit", lambda s: s.sns_message("x", compressed=cast("bool", 1)), "compressed must be True or False"),
    ("nobody's end", lambda server: server.finish("nobody"), "no task has the id 'nobody'"),
    ("nobody's oblivion", lambda server: server.forget("nobody"), "no task has the id 'nobody'"),
    (
        "a number as status",
        lambda s: s.add_task(statuses=[cast("str", 5)]),
        "each of statuses must be a text",
    ),
    ("a number as statuses", lambda s: s.add_task(statuses=cast("Any", 5)), "statuses must be an iterable"),
    ("a number as end", lambda s: s.add_task(final=cast("str", 5)), "final must be a text or None, not 5"),
    ("a word for never", lambda s: s.add_task(never=cast("bool", "no")), "never must be True or False"),
    (
        "nothing for a time",
        lambda s: s.add_task(visible_after=cast("float", None)),
        "visible_after must be a",
    ),
    ("a list as result", lambda s: s.add_task(result=cast("Any", [1])), "result must be a mapping, a func"),
    ("no id at all", lambda s: s.add_task(""), "task_id must be a non-empty text"),
    ("a number as kind", lambda _: TaskFailure(cast("str", 5)), "type must be a text, not 5"),
    ("no description", lambda _: TaskFailure("x", cast("str", None)), "description must be a text, not None"),
    ("a traceback", lambda _: TaskFailure("x", "", cast("str", 5)), "stacktrace must be a text or None"),
    ("a version", lambda _: TaskFailure("x", version=cast("str", 5)), "version must be a text or None"),
    ("a yes for a time", lambda s: s.script_operation("delete_users", times=True), "times must be a whole"),
    (
        "a fault by halves",
        lambda s: s.inject(Fault.reset(), 0.5),
        "times must be a whole number, .* or math.inf",
    ),
    ("a yes for a fault", lambda s: s.inject(Fault.reset(), True), "times must be a whole number"),
    (
        "a number as path",
        lambda s: s.inject(Fault.reset(), path=cast("str", 5)),
        "path must be a text or None",
    ),
    ("a yes for a status", lambda _: Fault.status(True), "code must be an HTTP status from 200 to 599"),
    (
        "a yes that ends it",
        lambda _: Fault.status(500, unrecoverable=cast("bool", 1)),
        "unrecoverable must be T",
    ),
    ("a body that is no JSON", lambda _: Fault.status(500, body=cast("Any", {1j})), "body must be what JSON"),
    ("no gateway's status", lambda _: Fault.html(99), "code must be an HTTP status from 200 to 599, not 99"),
    (
        "no redirect",
        lambda _: Fault.redirect("x", 200),
        "code must be an HTTP status from 300 to 399, not 200",
    ),
    ("a number as place", lambda _: Fault.redirect(cast("str", 5)), "location must be a text, not 5"),
    ("text for bytes", lambda _: Fault.body(cast("bytes", "text")), "content must be bytes, not 'text'"),
    (
        "a number as media type",
        lambda _: Fault.body(b"", cast("str", 5)),
        "content_type must be a text, not 5",
    ),
    ("a media type of two lines", lambda _: Fault.body(b"", "a\nb"), "must be a name and one line"),
    (
        "a header as text",
        lambda _: Fault.with_headers(cast("Any", "a: b")),
        "headers must be a mapping or pairs",
    ),
    (
        "a number as headers",
        lambda _: Fault.with_headers(cast("Any", 5)),
        "headers must be a mapping or pairs",
    ),
    (
        "half a header",
        lambda _: Fault.with_headers([cast("Any", ("a",))]),
        "must be a pair of name and value",
    ),
    ("a yes as header", lambda _: Fault.with_headers({"a": True}), "must be a name and a text or number"),
    ("no name for a header", lambda _: Fault.with_headers({"": "a"}), "must be a name and one line"),
    ("a header of two lines", lambda _: Fault.status(500, headers={"a": "b\r\nc: d"}), "a name and one line"),
    ("a reason as number", lambda s: s.fail_items("x", error=cast("str", 5)), "error must be a text"),
    ("a number for a name", lambda s: s.add_file(cast("str", 5), b""), "name must be a text, not 5"),
    (
        "others' calls as a word",
        lambda s: s.spend(cast("int", "5")),
        "calls must be a whole number, 0 or more",
    ),
    (
        "others' calls less than none",
        lambda s: s.spend(-5),
        "calls must be a whole number, 0 or more, not -5",
    ),
    ("a yes as limit", lambda s: s.limit("GetTask", True), "rule must be a RateLimitRule"),
    (
        "a word as limit",
        lambda _: FakeStream(rate_limit=cast("int", "5")),
        "rate_limit must be a RateLimitRule",
    ),
    ("a number as key", lambda _: FakeStream(api_key=cast("str", 5)), "api_key must be a text, not int"),
    (
        "bytes as secret",
        lambda _: FakeStream(api_secret=cast("str", b"x")),
        "api_secret must be a text, not byt",
    ),
    ("a number as host", lambda _: FakeStream(host=cast("str", 5)), "host must be a text"),
    (
        "a word as port",
        lambda _: FakeStream(port=cast("int", "80")),
        "port must be a whole number from 0 to 65",
    ),
    ("a time as clock", lambda _: FakeStream(clock=cast("Any", 5)), "clock must be callable, not int"),
    (
        "work without a task",
        lambda server: server.polls(StartedTask(None, {}, TaskResult)),
        "done at once, without a task",
    ),
]


@pytest.mark.parametrize(
    ("mistake", "message"), [pytest.param(mistake, text, id=name) for name, mistake, text in MISTAKES]
)
def test_mistakes_show_where_they_are_made(mistake: Callable[[FakeStream], object], message: str) -> None:
    """A wrong argument is refused in the test's own line, with the parameter's name."""
    with pytest.raises((TypeError, ValueError), match=message):
        mistake(FakeStream())


def test_none_is_no_fault(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A fault for 0 requests strikes none."""
    fake_stream.inject(Fault.status(503), 0)
    task_id = fake_stream.add_task()
    stream_client.get_task(task_id)
    assert [poll.status for poll in fake_stream.polls(task_id)] == [200]


def test_started_tasks_are_as_good_as_ids(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """Methods take what a start returned in the place of its task's id."""
    fake_stream.script_operation("export_users", never=True, times=2)
    started, other = (stream_client.export_users([user]) for user in ("jane", "joe"))
    fake_stream.inject(Fault.status(503), task_id=other)
    stream_client.get_task(started.task_id or "")
    fake_stream.finish(started, result={"url": "https://example.com/users"})
    assert stream_client.wait_for_task(started).url == "https://example.com/users"
    assert [poll.status for poll in fake_stream.polls(started)] == [200, 200]
    fake_stream.assert_polled(started, 2)
    fake_stream.assert_polled(other, 0)
    with pytest.raises(AssertionError, match=f"^task '{started.task_id}' was polled again"):
        fake_stream.assert_never_faster_than(1, task_id=started)
    assert fake_stream.webhook(started)
    fake_stream.forget(started)
    with pytest.raises(ValueError, match="no task has the id"):
        fake_stream.webhook(started)


def test_started_tasks_can_be_had(fake_stream: FakeStream, stream_client: Stream) -> None:
    """The server tells which tasks the code under test has started, of one operation or of any."""
    fake_stream.add_task()
    first, second = (stream_client.export_users([user]).task_id for user in ("jane", "joe"))
    deletion = stream_client.delete_users(["jane"]).task_id
    assert fake_stream.started() == [first, second, deletion]
    assert fake_stream.started("export_users") == [first, second]
    fake_stream.forget(first or "")
    assert fake_stream.started("export_users") == [second]
    assert fake_stream.started("delete_channels") == []


def test_finish_keeps_the_result(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """An operation's task that a test ends has its documented result, unless it is given another."""
    fake_stream.script_operation("export_users", never=True)
    started = stream_client.export_users(["jane"])
    fake_stream.finish(started)
    assert "users.json" in (stream_client.wait_for_task(started).url or "")
    deletion = stream_client.delete_users(["jane"])
    fake_stream.finish(deletion, result=None)
    assert stream_client.wait_for_task(deletion).items == {}


@pytest.mark.parametrize("kind", ["an enum's member", "a UUID"])
def test_an_id_is_taken_by_its_value(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock, kind: str
) -> None:
    """Methods take the same kinds of ids as the client."""

    class Job(str, enum.Enum):  # noqa: UP042 - the kind that shows its name
        ONE = "one"

    job: Any = Job.ONE if kind == "an enum's member" else uuid.UUID(int=1)
    task_id = fake_stream.add_task(task_id=job, never=True)
    assert type(task_id) is str
    fake_stream.finish(job, result={"a": 1})
    assert stream_client.wait_for_task(job) == {"a": 1}
    assert [poll.task_id for poll in fake_stream.polls(job)] == [task_id]


@pytest.mark.parametrize("name", testing.__all__)
def test_the_kit_is_documented(name: str) -> None:
    """Each public name of the kit has words of its own, and each method words for its arguments."""
    kind = getattr(testing, name)
    assert kind.__dict__.get("__doc__")
    for attribute in dir(kind):
        if not attribute.startswith("_"):
            public = getattr(kind, attribute)
            words = inspect.getdoc(public)
            assert words or not callable(public), attribute
            given = inspect.signature(public).parameters if callable(public) else {}
            assert [each for each in given if each != "self" and f"{each}: " not in (words or "")] == [], (
                attribute
            )


# Other work that is polled


def look(client: Stream, path: str) -> dict[str, Any]:
    """Return the answer to a GET."""
    return client.request("GET", path).data


def test_imports_move_like_tasks(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """An import moves with each poll, and its history tells when it changed."""
    import_id = fake_stream.add_import(mode="insert", path="a.json", size=5)
    seen = []
    for _ in range(4):
        seen.append(look(stream_client, f"/imports/{import_id}")["import_task"])
        virtual_clock.advance(10)
    assert [each["state"] for each in seen] == ["uploaded", "analyzing", "completed", "completed"]
    assert (seen[0]["id"], seen[0]["mode"], seen[0]["path"], seen[0]["size"]) == (
        import_id,
        "insert",
        "a.json",
        5,
    )
    steps = [(each["prev_state"], each["next_state"]) for each in seen[3]["history"]]
    assert steps == [("uploaded", "analyzing"), ("analyzing", "completed")]
    changes = [each["created_at"] - seen[0]["created_at"] for each in seen[3]["history"]]
    assert changes == pytest.approx([10e9, 20e9], abs=999)
    assert seen[3]["updated_at"] == seen[3]["history"][-1]["created_at"]
    fake_stream.assert_polled(import_id, 4)
    fake_stream.assert_all_waited()


def test_imports_move_with_time(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """The history also holds states that nobody saw."""
    import_id = fake_stream.add_import(statuses=["uploaded", "analyzing", "waiting"], after=30, final="odd")
    assert look(stream_client, f"/imports/{import_id}")["import_task"]["history"] == []
    virtual_clock.advance(40)
    shown = look(stream_client, f"/imports/{import_id}")["import_task"]
    assert [each["next_state"] for each in shown["history"]] == ["analyzing", "waiting", "odd"]
    changes = [each["created_at"] - shown["created_at"] for each in shown["history"]]
    assert changes == pytest.approx([10e9, 20e9, 30e9], abs=999)
    idle = fake_stream.add_import(statuses=["uploaded", "uploaded", "analyzing"], after=30)
    virtual_clock.advance(40)
    shown = look(stream_client, f"/imports/{idle}")["import_task"]
    assert [each["next_state"] for each in shown["history"]] == ["analyzing", "completed"]
    fake_stream.assert_all_waited()


def test_imports_of_version_2_have_numbers(fake_stream: FakeStream, stream_client: Stream) -> None:
    """Their fields stand at the top, and the result comes with the last state."""
    import_id = fake_stream.add_import_v2(statuses=[0], final=9, result={"users": 5}, product="feeds")
    first, last = (look(stream_client, f"/imports/v2/{import_id}") for _ in range(2))
    assert (first["state"], first["product"], "result" in first) == (0, "feeds", False)
    assert (last["state"], last["result"], last["id"]) == (9, {"users": 5}, import_id)
    fake_stream.assert_all_waited()
    with pytest.raises(AssertionError, match=r": 200 0\n.*: 200 9$"):
        fake_stream.assert_polled(import_id, 1)


def test_imports_can_be_started(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A request makes an import, which a script or the test ends."""
    fake_stream.script_operation("create_import", statuses=["uploaded"], final="analyze_failed")
    made = stream_client.request("POST", "/imports", json={"path": "a.json", "mode": "upsert"})
    first = made.data["import_task"]
    assert (made.status_code, first["state"], first["mode"], first["path"]) == (
        201,
        "uploaded",
        "upsert",
        "a.json",
    )
    states = [look(stream_client, f"/imports/{first['id']}")["import_task"]["state"] for _ in range(2)]
    assert states == ["uploaded", "analyze_failed"]
    settings = {"mode": "insert", "path": "b.json"}
    made = stream_client.request("POST", "/imports/v2", json={"product": "chat", "settings": settings})
    assert (made.status_code, made.data["state"], made.data["settings"]) == (201, 1, settings)
    fake_stream.finish(made.data["id"], result={"users": 5})
    shown = look(stream_client, f"/imports/v2/{made.data['id']}")
    assert (shown["state"], shown["result"]) == (3, {"users": 5})
    assert fake_stream.started("create_import_v2_task") == [made.data["id"]]
    fake_stream.forget(first["id"])
    with pytest.raises(StreamApiException, match=f"Can't find import with id {first['id']}"):
        look(stream_client, f"/imports/{first['id']}")


def test_campaigns_begin_when_they_are_started(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A start begins a campaign's script anew, and is a 404 for an unknown campaign."""
    campaign_id = fake_stream.add_campaign(after=60)
    virtual_clock.advance(50)
    assert look(stream_client, f"/chat/campaigns/{campaign_id}")["campaign"]["status"] == "in_progress"
    started = stream_client.request("POST", f"/chat/campaigns/{campaign_id}/start", json={})
    assert started.data["campaign"]["status"] == "scheduled"
    virtual_clock.advance(50)
    assert look(stream_client, f"/chat/campaigns/{campaign_id}")["campaign"]["status"] == "in_progress"
    virtual_clock.advance(50)
    campaign = look(stream_client, f"/chat/campaigns/{campaign_id}")["campaign"]
    assert (campaign["status"], campaign["stats"]["progress"]) == ("completed", 1)
    fake_stream.assert_all_waited()
    with pytest.raises(StreamApiException, match="Can't find campaign with id nobody"):
        stream_client.request("POST", "/chat/campaigns/nobody/start", json={})


def test_policy_test_runs_have_a_task(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A run and its task end together, and each is found at its own endpoint only."""
    started = stream_client.request("POST", "/moderation/policy_tests/sets/s1/runs")
    run = started.data["run"]
    assert (started.status_code, run["status"], run["set_id"]) == (201, "pending", "s1")
    assert run["id"] != run["task_id"]
    stream_client.wait_for_task(run["task_id"], 0.05)
    shown = look(stream_client, f"/moderation/policy_tests/runs/{run['id']}")["run"]
    assert (shown["status"], "completed_at" in shown, "error_message" in shown) == ("completed", True, False)
    for path in (f"/tasks/{run['id']}", f"/moderation/policy_tests/runs/{run['task_id']}"):
        with pytest.raises(StreamApiException, match="Can't find"):
            look(stream_client, path)
    failing = fake_stream.add_policy_test_run(statuses=(), error=TaskFailure("Oops", "it broke"))
    shown = look(stream_client, f"/moderation/policy_tests/runs/{failing}")["run"]
    assert (shown["status"], shown["error_message"]) == ("failed", "it broke")
    fake_stream.assert_all_waited()
    assert repr(fake_stream).endswith(" 2 tasks, 8 requests>")


def test_faults_meet_other_polls(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A fault can be for one import, and a rule for its endpoint."""
    import_id = fake_stream.add_import()
    fake_stream.inject(Fault.status(400), task_id=import_id)
    with pytest.raises(StreamApiException):
        look(stream_client, f"/imports/{import_id}")
    fake_stream.limit("GetImport", 1)
    look(stream_client, f"/imports/{import_id}")
    with pytest.raises(StreamApiException, match="too many requests to GetImport"):
        look(stream_client, f"/imports/{import_id}")


def test_moderation_may_be_done_at_once(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A check of no content has no task. A check of some has one, and is pending."""
    at_once = stream_client.check_moderation("stream:chat:v1:message", "m", "jane")
    assert (at_once.task_id, at_once.data["status"]) == (None, "complete")
    payload = {"texts": ["drat"]}
    started = stream_client.check_moderation(
        "stream:chat:v1:message", "m", "jane", moderation_payload=payload
    )
    assert started.data["status"] == "pending"
    assert stream_client.wait_for_task(started, 0.05) == {}


def test_bulk_moderation_is_told_with_its_file(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A webhook has the address that the task's result lacks."""
    started = stream_client.bulk_image_moderation("https://example.com/images.csv")
    body, headers = fake_stream.webhook(started)
    event = webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret)
    assert event.type == "export.bulk_image_moderation.success"
    assert event.url is not None
    assert event.url.startswith(fake_stream.url)
    assert stream_client.wait_for_task(started, 0.05) == {}


# What webhooks and queues carry


def test_webhooks_carry_what_is_scripted(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """Times are texts or numbers, custom goes with them, and a compressed body is signed as the plain one."""
    started = stream_client.export_users(["jane"])
    stream_client.wait_for_task(started)
    virtual_clock.advance(100)
    plain, headers = fake_stream.webhook(started, custom={"a": 1})
    packed, packed_headers = fake_stream.webhook(started, custom={"a": 1}, compressed=True, attempt=2)
    assert gzip.decompress(packed) == plain
    assert packed_headers["X-Signature"] == headers["X-Signature"]
    assert packed_headers["Content-Encoding"] == "gzip"
    event = webhooks.parse(packed, packed_headers["X-Signature"], fake_stream.api_secret)
    assert event.extra["custom"] == {"a": 1}
    numbers, _ = fake_stream.webhook(started, timestamps="nanoseconds")
    task = stream_client.get_task(str(started.task_id)).data
    for told in (json.loads(plain), json.loads(numbers)):
        for name, moment in (("started_at", task.created_at), ("finished_at", task.updated_at)):
            is_text = isinstance(told[name], str)
            at = datetime.fromisoformat(told[name]).timestamp() if is_text else told[name] / 1e9
            assert at == pytest.approx(moment.timestamp(), abs=0.001)
    assert isinstance(json.loads(numbers)["created_at"], int)


def test_batches_carry_custom_too(fake_stream: FakeStream, stream_client: Stream) -> None:
    """The event of a batch has its own times, of the kind that is asked for."""
    batch = stream_client.update_channels_batch("hide", {"cid": ["a:1"]})
    told = json.loads(fake_stream.webhook(batch, custom={"a": 1}, timestamps="nanoseconds")[0])
    assert (told["custom"], told["success_channels_count"]) == ({"a": 1}, 1)
    assert all(isinstance(told[name], int) for name in ("batch_created_at", "finished_at", "created_at"))


def test_queues_carry_the_same(fake_stream: FakeStream, stream_client: Stream) -> None:
    """SQS holds the event as plain or compressed JSON, and SNS wraps that."""
    started = stream_client.export_users(["jane"])
    stream_client.wait_for_task(started, 0.05)
    event = json.loads(fake_stream.webhook(started)[0])
    plain = fake_stream.sqs_message(started, compressed=False)
    packed = fake_stream.sqs_message(started)
    assert json.loads(plain) == json.loads(gzip.decompress(base64.b64decode(packed, validate=True))) == event
    for compressed, body in ((False, plain), (True, packed)):
        notification = json.loads(fake_stream.sns_message(started, compressed=compressed))
        assert notification["Type"] == "Notification"
        message = notification["Message"]
        assert len(message) == pytest.approx(len(body), abs=4)
        assert json.loads(gzip.decompress(base64.b64decode(message)) if compressed else message) == event
    with pytest.raises(ValueError, match="Stream sends no webhook for delete_users"):
        fake_stream.sqs_message(stream_client.delete_users(["jane"]))


# Shares


def test_scripts_may_be_for_a_share_of_starts(fake_stream: FakeStream, stream_client: Stream) -> None:
    """A script with a share leaves the other starts to the next script, without an end if there is none."""
    fake_stream.script_operation("export_users", times=math.inf, share=0.5, statuses=(), final="odd")
    fake_stream.script_operation("export_users", times=2, statuses=["mine"])
    seen = []
    for _ in range(8):
        started = stream_client.export_users(["jane"])
        seen.append(stream_client.get_task(str(started.task_id)).data.status)
    assert seen == ["mine", "odd", "mine", "odd", "pending", "odd", "pending", "odd"]


@pytest.mark.parametrize(
    ("share", "struck"),
    [(0.1, [9, 19]), (0.3, [3, 6, 9, 13, 16, 19]), (1 / 3, [2, 5, 8, 11, 14, 17]), (1, list(range(20)))],
)
def test_faults_may_strike_a_share_of_requests(
    fake_stream: FakeStream, stream_client: Stream, share: float, struck: list[int]
) -> None:
    """A fault with a share is spread evenly, from where the first ones have passed."""
    fake_stream.inject(Fault.status(418), math.inf, skip=2, share=share)
    seen = []
    for _ in range(22):
        with contextlib.suppress(StreamApiException):
            stream_client.get_task("x")
        seen.append(fake_stream.requests[-1].status)
    assert [place for place, status in enumerate(seen[2:]) if status == 418] == struck
    assert seen[:2] == [404, 404]
