"""What users of the official client's helper rely on holds here."""

import pytest

from stream_tasks import AsyncStream, Stream, StreamTaskException, StreamTransportException
from stream_tasks.exceptions import TRANSPORT_ERROR_TIMEOUT
from stream_tasks.testing import FakeStream, Fault, TaskFailure


def test_a_blocking_wait_returns_when_the_task_has_completed(
    threaded_server: FakeStream, blocking: Stream
) -> None:
    """A waiting, then completed task is returned; its status is under ``data`` as in getstream."""
    task = threaded_server.add_task("task-1", statuses=["waiting"])
    result = blocking.wait_for_task(task, poll_interval=0.0, timeout=5.0)
    assert result.data.status == "completed"


def test_a_blocking_wait_raises_when_the_task_has_failed(
    threaded_server: FakeStream, blocking: Stream
) -> None:
    """A failed task is raised with every field that the server sent."""
    failure = TaskFailure("ImportFailed", "bad rows", "trace", "v1")
    threaded_server.add_task("task-fail", statuses=[], error=failure)
    with pytest.raises(StreamTaskException) as info:
        blocking.wait_for_task("task-fail", poll_interval=0.0, timeout=5.0)
    error = info.value
    assert (error.task_id, error.error_type, error.description) == ("task-fail", "ImportFailed", "bad rows")
    assert (error.stack_trace, error.version) == ("trace", "v1")
    assert error.task is not None
    assert error.task.status == "failed"


def test_a_blocking_wait_times_out_with_a_transport_exception(
    threaded_server: FakeStream, blocking: Stream
) -> None:
    """A task that never ends times the wait out."""
    threaded_server.add_task("task-timeout", never=True)
    with pytest.raises(StreamTransportException) as info:
        blocking.wait_for_task("task-timeout", poll_interval=0.05, timeout=0.15)
    assert info.value.error_type == TRANSPORT_ERROR_TIMEOUT
    assert isinstance(info.value, TimeoutError)
    assert "task-timeout" in str(info.value)


async def test_a_wait_returns_when_the_task_has_completed(server: FakeStream, client: AsyncStream) -> None:
    """The asynchronous client returns the same."""
    server.add_task("task-1", statuses=["waiting"])
    result = await client.wait_for_task("task-1", poll_interval=0.0, timeout=5.0)
    assert result.data.status == "completed"


async def test_a_wait_raises_when_the_task_has_failed(server: FakeStream, client: AsyncStream) -> None:
    """The asynchronous client raises the same."""
    server.add_task("task-fail", statuses=[], error=TaskFailure("ImportFailed", "async bad"))
    with pytest.raises(StreamTaskException) as info:
        await client.wait_for_task("task-fail", poll_interval=0.0, timeout=5.0)
    assert info.value.task_id == "task-fail"
    assert info.value.description == "async bad"


async def test_a_wait_times_out_with_a_transport_exception(server: FakeStream, client: AsyncStream) -> None:
    """The asynchronous client times out the same."""
    server.add_task("task-timeout", never=True)
    with pytest.raises(StreamTransportException) as info:
        await client.wait_for_task("task-timeout", poll_interval=0.05, timeout=0.15)
    assert info.value.error_type == TRANSPORT_ERROR_TIMEOUT


async def test_an_answer_about_another_task_is_no_answer(server: FakeStream, client: AsyncStream) -> None:
    """A server that answers with another id is asked again."""
    moment = 1_700_000_000_000_000_000
    body = b'{"task_id": "t", "status": "failed", "duration": "1ms", "created_at": %d, "updated_at": %d}'
    server.add_task("mine", statuses=[])
    server.inject(Fault.body(body % (moment, moment)))
    result = await client.wait_for_task("mine", 0.05)
    assert result.task is not None
    assert (result.task.task_id, result.task.status) == ("mine", "completed")
    assert len(server.polls("mine")) == 2
