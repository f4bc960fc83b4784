"""The log in the formats that services use: message and fields are there as they are."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pythonjsonlogger.json import JsonFormatter
from scripted import ById, ScriptedStream

from stream_tasks import StreamApiException, StreamTransportException
from stream_tasks.testing import FakeStream

EXPECTED: list[dict[str, Any]] = [
    {
        "stream_event": "wait_started",
        "stream_task_id": "t",
        "stream_operation": "delete_users",
        "stream_timeout": 5.0,
    },
    {
        "stream_event": "retrying",
        "stream_task_id": "t",
        "stream_operation": "delete_users",
        "stream_status": "running",
        "stream_error_type": "connection_reset",
        "stream_status_code": None,
        "stream_attempt": 2,
    },
    {
        "stream_event": "resumed",
        "stream_task_id": "t",
        "stream_operation": "delete_users",
        "stream_status": "odd",
    },
    {
        "stream_event": "status_unknown",
        "stream_task_id": "t",
        "stream_operation": "delete_users",
        "stream_status": "odd",
    },
    {
        "stream_event": "wait_finished",
        "stream_task_id": "t",
        "stream_operation": "delete_users",
        "stream_status": "odd",
        "stream_error_type": "StreamApiException",
        "stream_status_code": 403,
    },
]


class Plain(logging.Formatter):
    """As many services write their own: the message, and all that a record has beyond the usual."""

    USUAL = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in self.USUAL}
        return json.dumps({"message": record.getMessage(), "level": record.levelname, **extra})


def with_structlog() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    )


FORMATTERS: dict[str, logging.Formatter] = {
    "structlog": with_structlog(),
    "python-json-logger": JsonFormatter("{message}{levelname}", style="{"),
    "a formatter of one's own": Plain(),
}


@pytest.fixture(params=FORMATTERS.values(), ids=list(FORMATTERS))
def lines(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What the logger writes in one of the formats."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param)
    logger = logging.getLogger("stream_tasks")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.looptime
async def test_a_wait_in_json_lines(lines: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each record is one line of JSON with the message as people read it and every field."""
    away, refused = StreamTransportException("connection_reset"), StreamApiException(status_code=403)
    client = ScriptedStream(ById({"t": ["running", away, "odd", refused]}))
    await client.wait_for_tasks(["t"], timeout=5, operation="delete_users")
    told = lines()
    assert [line["message"] for line in told] == [record.getMessage() for record in caplog.records]
    assert told[0]["message"] == "waiting for task t (delete_users) for at most 5 s"
    for line, expected in zip(told, EXPECTED, strict=True):
        assert line.items() >= expected.items()
    assert told[1]["stream_delay"] > 0


async def test_requests_and_counts_in_json_lines(
    server: FakeStream, client: Any, lines: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not about one wait is JSON, too: requests, and the count of failures."""
    ids = [server.add_task(f"t{number}", statuses=[], final="failed") for number in range(12)]
    await client.wait_for_tasks(ids)
    told = lines()
    assert [line["message"] for line in told] == [record.getMessage() for record in caplog.records]
    requests = [line for line in told if line["stream_event"] == "request"]
    assert {line["stream_path"] for line in requests} == {f"/api/v2/tasks/{task_id}" for task_id in ids}
    [count] = [line for line in told if line["stream_event"] == "waits_failed"]
    assert count["stream_count"] == 2
