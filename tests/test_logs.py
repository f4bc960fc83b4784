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
    return [record.event for record in caplog.records]  # type: ignore[attr-defined]


def the(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """The facts of the one record of an event."""
    [record] = [record for record in caplog.records if getattr(record, "event", None) == event]
    assert record.name == "stream_tasks"
    return vars(record)


@pytest.mark.looptime
async def test_a_wait_tells_its_story(caplog: pytest.LogCaptureFixture) -> None:
    """It began, met trouble, was answered again, and ended; the warning comes once."""
    client = ScriptedStream(Script("running", AWAY, AWAY, AWAY, "running", "completed"))
    await client.wait_for_task("t", timeout=30)
    assert events(caplog) == ["wait_started", "retrying", "resumed", "wait_finished"]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "INFO", "INFO"]
    assert all(record.task_id == "t" for record in caplog.records)  # type: ignore[attr-defined]
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
        pytest.param(["failed"], StreamTaskException, "wait_finished", {"status": "failed"}, id="it failed"),
        pytest.param(
            ["running"],
            StreamWaitTimeoutException,
            "wait_timed_out",
            {"status": "running", "error_type": "timeout"},
            id="it timed out",
        ),
        pytest.param(
            [StreamApiException(status_code=401)],
            StreamApiException,
            "wait_finished",
            {"status": None, "error_type": "StreamApiException", "status_code": 401},
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
    told = sorted((record.event, record.task_id) for record in caplog.records)  # type: ignore[attr-defined]
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
    told = [record.levelno for record in caplog.records if record.event == "retrying"]  # type: ignore[attr-defined]
    assert len(told) == 100
    assert 2 < told.count(logging.WARNING) <= took + 1
    assert events(caplog).count("resumed") == 100


@pytest.mark.looptime
async def test_by_default_only_warnings_show(caplog: pytest.LogCaptureFixture) -> None:
    """At the level of the standard library's default nothing but the trouble is told."""
    caplog.set_level(logging.WARNING, "stream_tasks")
    await ScriptedStream(Script("running", AWAY, "odd", "completed")).wait_for_task("t", timeout=30)
    assert events(caplog) == ["retrying", "status_unknown"]


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
        if getattr(record, "event", None) == event and not told:
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
