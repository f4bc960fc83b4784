"""What the logger ``stream_tasks`` is told: stable events, and their facts."""

import asyncio
import gc
import logging
from typing import Any

import pytest
from scripted import ById, Script, ScriptedStream, assert_rests

from stream_tasks import (
    AsyncStream,
    StreamApiException,
    StreamRateLimitException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.testing import FakeStream, Fault

AWAY = StreamTransportException("connection_reset")


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stream_tasks")


def events(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.stream_event for record in caplog.records]  # type: ignore[attr-defined]


def the(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """The facts of the one record of an event."""
    [record] = [record for record in caplog.records if getattr(record, "stream_event", None) == event]
    assert record.name == "stream_tasks"
    return {name.removeprefix("stream_"): value for name, value in vars(record).items()}


@pytest.mark.looptime
async def test_a_wait_tells_its_story(caplog: pytest.LogCaptureFixture) -> None:
    """It began, met trouble, was answered again, and ended; the warning comes once."""
    client = ScriptedStream(Script("running", AWAY, AWAY, AWAY, "running", "completed"))
    await client.wait_for_task("t", timeout=30)
    assert events(caplog) == ["wait_started", "retrying", "resumed", "wait_finished"]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "INFO", "INFO"]
    assert all(record.stream_task_id == "t" for record in caplog.records)  # type: ignore[attr-defined]
    retrying = the(caplog, "retrying")
    assert (retrying["error_type"], retrying["status_code"]) == ("connection_reset", None)
    assert (retrying["status"], retrying["attempt"]) == ("running", 2)
    assert 0.1 < retrying["delay"] <= 0.25
    assert 0.3 < the(caplog, "resumed")["duration"] < 5
    finished = the(caplog, "wait_finished")
    assert (finished["status"], finished["attempt"]) == ("completed", 6)
    assert finished["duration"] > 2


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("script", "error", "event", "facts"),
    [
        pytest.param(
            ["failed"],
            StreamTaskException,
            "wait_finished",
            {"levelname": "WARNING", "status": "failed", "error_type": "unknown"},
            id="it failed",
        ),
        pytest.param(
            ["running"],
            StreamWaitTimeoutException,
            "wait_timed_out",
            {"levelname": "INFO", "status": "running", "error_type": "timeout", "reason": "still_running"},
            id="it timed out",
        ),
        pytest.param(
            [StreamApiException(status_code=401)],
            StreamApiException,
            "wait_finished",
            {"levelname": "WARNING", "status": None, "error_type": "StreamApiException", "status_code": 401},
            id="the server refused",
        ),
    ],
)
async def test_every_end_is_told(
    script: list[Any], error: type[Exception], event: str, facts: dict[str, Any], caplog: Any
) -> None:
    """A failed task, a time-out and a refusal are told as such, and no refusal is called a retry."""
    with pytest.raises(error):
        await ScriptedStream(Script(*script)).wait_for_task("t", timeout=2)
    assert events(caplog) == ["wait_started", event]
    assert the(caplog, event).items() >= facts.items()


@pytest.mark.looptime
async def test_waits_for_many_tasks_are_told_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """Each has its beginning and its end; one that is given up is told, too."""
    client = ScriptedStream(ById({"a": ["completed"], "b": ["running"], "c": ["running"]}))
    async for outcome in client.as_completed(["a", "b", "c"], timeout=None):
        assert outcome.task_id == "a"
        break
    await asyncio.sleep(1)
    told = sorted((record.stream_event, record.stream_task_id) for record in caplog.records)  # type: ignore[attr-defined]
    assert told == [
        ("wait_cancelled", "b"),
        ("wait_cancelled", "c"),
        ("wait_finished", "a"),
        *(("wait_started", name) for name in "abc"),
    ]


@pytest.mark.looptime
async def test_troubles_that_come_and_go_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Where every second poll fails there is a warning a second at the most."""
    client = ScriptedStream(Script(*("running", AWAY) * 100, "completed"))
    begun = asyncio.get_running_loop().time()
    await client.wait_for_task("t", 0.05, None)
    took = asyncio.get_running_loop().time() - begun
    told = [record.levelno for record in caplog.records if record.stream_event == "retrying"]  # type: ignore[attr-defined]
    assert len(told) == 100
    assert 2 < told.count(logging.WARNING) <= took + 1
    assert events(caplog).count("resumed") == 100


@pytest.mark.looptime
async def test_by_default_only_warnings_show(caplog: pytest.LogCaptureFixture) -> None:
    """At the level of the standard library's default nothing but the trouble is told."""
    caplog.set_level(logging.WARNING, "stream_tasks")
    await ScriptedStream(Script("running", AWAY, "odd", "completed")).wait_for_task("t", timeout=30)
    assert events(caplog) == ["retrying", "status_unknown"]


@pytest.mark.looptime
async def test_what_fails_shows_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """A failed task and an error are warnings, a completed task and a time-out are not."""
    caplog.set_level(logging.WARNING, "stream_tasks")
    refused = StreamApiException(status_code=401)
    client = ScriptedStream(ById({"a": ["failed"], "b": [refused], "c": ["completed"], "d": ["running"]}))
    await client.wait_for_tasks(["a", "b", "c", "d"], timeout=5)
    told = {record.stream_task_id: record.getMessage() for record in caplog.records}  # type: ignore[attr-defined]
    assert told == {
        "a": "the wait for task a has ended: it failed (unknown)",
        "b": "the wait for task b ended with an error: HTTP 401",
    }


async def test_a_failed_task_is_told_with_its_own_error_type(
    server: FakeStream, client: AsyncStream, caplog: pytest.LogCaptureFixture
) -> None:
    """And with the operation, whose task may be known by its id alone."""
    error = {"type": "CouldNotDelete", "description": "no"}
    server.script_operation("delete_users", statuses=[], error=error, final="failed", times=2)
    started = await client.delete_users(["u"])
    with pytest.raises(StreamTaskException):
        await client.wait_for_task(started)
    facts = the(caplog, "wait_finished")
    assert facts.items() >= {"error_type": "CouldNotDelete", "operation": "delete_users"}.items()
    assert facts["message"] == (
        f"the wait for task {started.task_id} (delete_users) has ended: it failed (CouldNotDelete)"
    )


@pytest.mark.looptime
@pytest.mark.parametrize("how", ["one", "many", "as completed", "watched"])
async def test_records_name_the_operation(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """However the task is waited for: from the beginning to the end, and where there is trouble."""
    client = ScriptedStream(Script(AWAY, "odd", "completed"))
    match how:
        case "one":
            await client.wait_for_task("t", operation="delete_users")
        case "many":
            await client.wait_for_tasks(["t"], operation="delete_users")
        case "as completed":
            _ = [each async for each in client.as_completed(["t"], operation="delete_users")]
        case _:
            _ = [each async for each in client.watch_task("t", operation="delete_users")]
    assert events(caplog) == ["wait_started", "retrying", "resumed", "status_unknown", "wait_finished"]
    assert {record.stream_operation for record in caplog.records} == {"delete_users"}  # type: ignore[attr-defined]
    assert all("task t (delete_users)" in record.getMessage() for record in caplog.records)


@pytest.mark.looptime
async def test_no_attribute_can_stand_in_for_anothers(caplog: pytest.LogCaptureFixture) -> None:
    """All begin with `stream_`: nothing is called `event`, which structlog takes for the message."""
    client = ScriptedStream(ById({"a": [AWAY, "completed"], "b": ["failed"], "c": ["odd"]}))
    await client.wait_for_tasks(["a", "b", "c"], timeout=5)
    usual = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
    added = {name for record in caplog.records for name in vars(record).keys() - usual}
    assert len(added) > 8
    assert all(name.startswith("stream_") for name in added)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        pytest.param([StreamApiException(status_code=404)], "not_found", id="the task is not there"),
        pytest.param([AWAY], "unreachable", id="the server is not there"),
        pytest.param(["running"], "still_running", id="the task takes longer"),
        pytest.param([StreamRateLimitException()], "rate_limited", id="the quota is spent"),
    ],
)
async def test_a_time_out_is_told_with_its_reason(
    steps: list[Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, the message and the exception alike."""
    with pytest.raises(StreamWaitTimeoutException, match=reason.replace("_", " ")) as caught:
        await ScriptedStream(Script(*steps)).wait_for_task("t", timeout=2)
    assert caught.value.reason == the(caplog, "wait_timed_out")["reason"] == reason


async def test_each_request_has_a_line(
    server: FakeStream, client: AsyncStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status and time at DEBUG, or what went wrong; never the query."""
    server.add_task("t", statuses=[])
    await client.get_task("t")
    request = the(caplog, "request")
    assert request.items() >= {"method": "GET", "path": "/api/v2/tasks/t", "status_code": 200}.items()
    assert 0 < request["duration"] < 10
    assert request["levelno"] == logging.DEBUG
    assert "api_key" not in request["message"]
    caplog.clear()
    server.inject(Fault.reset(), times=5)
    with pytest.raises(StreamTransportException):
        await client.start_task("POST", "/x")
    request = the(caplog, "request")
    assert (request["method"], request["error_type"]) == ("POST", "connection_reset")


@pytest.mark.looptime
@pytest.mark.parametrize("event", ["retrying", "resumed"])
async def test_a_filter_that_raises_loses_no_wait(event: str) -> None:
    """The loop is told of it, and the task is looked at again."""
    logger = logging.getLogger("stream_tasks")
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def raise_once(record: logging.LogRecord) -> bool:
        if getattr(record, "stream_event", None) == event and not told:
            raise LookupError(event)
        return True

    logger.addFilter(raise_once)
    try:
        client = ScriptedStream(Script("running", AWAY, "running", "completed"))
        assert await client.wait_for_task("t", timeout=None) == {}
        gc.collect()
    finally:
        logger.removeFilter(raise_once)
    assert [str(error) for error in told] == [event]
    assert_rests(client.engine)


def failures(caplog: pytest.LogCaptureFixture) -> dict[int, list[str]]:
    """The ids of failed tasks by the level of their records."""
    told: dict[int, list[str]] = {logging.WARNING: [], logging.INFO: []}
    for record in caplog.records:
        if record.stream_event == "wait_finished":  # type: ignore[attr-defined]
            told[record.levelno].append(record.stream_task_id)  # type: ignore[attr-defined]
    return told


def counted(caplog: pytest.LogCaptureFixture) -> list[int]:
    """What the warnings that count other failures counted."""
    counts = [record for record in caplog.records if record.stream_event == "waits_failed"]  # type: ignore[attr-defined]
    assert {record.levelno for record in counts} <= {logging.WARNING}
    assert all(f"{record.stream_count} more waits have failed" in record.getMessage() for record in counts)  # type: ignore[attr-defined]
    return [record.stream_count for record in counts]  # type: ignore[attr-defined]


@pytest.mark.looptime
@pytest.mark.parametrize("error", ["failed", StreamApiException(status_code=401)])
async def test_many_failures_do_not_flood_the_log(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ten are warnings, one more warning counts the others, and each of them has a record at INFO."""
    ids = [f"t{number}" for number in range(600)]
    await ScriptedStream(Script(error)).wait_for_tasks(ids)
    told = failures(caplog)
    assert len(told[logging.WARNING]) == 10
    assert sorted(told[logging.WARNING] + told[logging.INFO]) == sorted(ids)
    assert counted(caplog) == [590]


@pytest.mark.looptime
async def test_failures_that_go_on_are_counted_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """Also where one wait follows another: there are at most twelve warnings in ten seconds."""
    caplog.set_level(logging.WARNING, "stream_tasks")
    client = ScriptedStream(Script("failed", latency=0.05))
    begun = asyncio.get_running_loop().time()
    for number in range(500):
        with pytest.raises(StreamTaskException):
            await client.wait_for_task(f"t{number}")
    tens = (asyncio.get_running_loop().time() - begun) / 10
    await client.aclose()
    shown = len(failures(caplog)[logging.WARNING])
    assert 10 * int(tens) <= shown <= 10 * (tens + 1)
    assert len(counted(caplog)) <= 2 * (tens + 1)
    assert shown + sum(counted(caplog)) == 500


@pytest.mark.looptime
async def test_failures_are_counted_while_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    """No further failure, and no end of all waits, is needed for that."""
    client = ScriptedStream(ById({"on": ["running"], **{f"t{number}": ["failed"] for number in range(15)}}))
    waiting = asyncio.create_task(client.wait_for_task("on", timeout=None))
    await client.wait_for_tasks([f"t{number}" for number in range(15)])
    await asyncio.sleep(5)
    assert counted(caplog) == []
    await asyncio.sleep(10)
    assert counted(caplog) == [5]
    waiting.cancel()
    await asyncio.wait([waiting])
    assert counted(caplog) == [5]


async def test_requests_name_the_operation(
    server: FakeStream, client: AsyncStream, caplog: pytest.LogCaptureFixture
) -> None:
    """The request that starts it, and those that ask for its task; a request for itself has none."""
    started = await client.delete_users(["u"])
    await client.wait_for_task(started)
    await client.wait_for_tasks([server.add_task(statuses=[])], operation="export_users")
    await client.get_task(str(started.task_id))
    told = [
        (record.stream_method, record.stream_operation)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.stream_event == "request"  # type: ignore[attr-defined]
    ]
    assert told[0] == ("POST", "delete_users")
    assert set(told[1:-2]) == {("GET", "delete_users")}
    assert told[-2:] == [("GET", "export_users"), ("GET", None)]


async def test_requests_that_fail_name_the_operation(
    server: FakeStream, client: AsyncStream, caplog: pytest.LogCaptureFixture
) -> None:
    """A poll without an answer is told with what it was for."""
    server.add_task("t", statuses=[])
    server.inject(Fault.reset(), times=1)
    await client.wait_for_task("t", operation="delete_users")
    requests = [record for record in caplog.records if record.stream_event == "request"]  # type: ignore[attr-defined]
    assert {record.stream_operation for record in requests} == {"delete_users"}  # type: ignore[attr-defined]
    assert "connection_reset" in {getattr(record, "stream_error_type", None) for record in requests}
