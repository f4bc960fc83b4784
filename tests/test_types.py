"""What type checkers make of the public API; checked by mypy, and run for what it asserts."""

from typing import TYPE_CHECKING, assert_type

import attrs

from stream_tasks import (
    AsyncStream,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    StartedTask,
    Stream,
    TaskOutcome,
    TaskResult,
)
from stream_tasks.testing import FakeStream


@attrs.frozen
class Mine:
    """A caller's own result."""

    url: str


async def test_what_a_wait_returns_follows_from_what_it_waits_for(
    server: FakeStream, client: AsyncStream
) -> None:
    """An id gives a payload, a started task its own result, and ``result_type`` whatever it says."""
    server.script_operation("export_users", statuses=[], times=2)
    started = await client.export_users(["jane"])
    assert_type(started, StartedTask[ExportUsersResult])
    assert_type(await client.wait_for_task(started), ExportUsersResult)
    task_id = str(started.task_id)
    assert_type(await client.wait_for_task(task_id), TaskResult)
    assert_type(await client.wait_for_task(task_id, result_type=Mine), Mine)
    assert_type(await client.wait_for_tasks([started]), dict[str, TaskOutcome[ExportUsersResult]])
    async for outcome in client.as_completed([task_id]):
        assert_type(outcome.result(), TaskResult)
    async for deleting in client.start_in_batches(client.delete_users, ["jane"], user="hard"):
        assert_type(deleting, StartedTask[DeleteUsersResult])
    exports = client.start_in_batches(client.export_channels, [{"cid": "messaging:a"}], format="csv")
    assert_type([task async for task in exports], list[StartedTask[ExportChannelsResult]])
    custom = await client.start_task("POST", "/export/users", json={"user_ids": ["joe"]}, result_type=Mine)
    assert_type(custom, StartedTask[Mine])
    assert (await client.wait_for_task(custom)).url


if TYPE_CHECKING:
    from collections.abc import Iterator

    def blocking(client: Stream, started: StartedTask[ExportUsersResult]) -> None:
        """The blocking client has the same types."""
        assert_type(client.export_users(["jane"]), StartedTask[ExportUsersResult])
        assert_type(client.wait_for_task(started), ExportUsersResult)
        assert_type(client.wait_for_task("id", 5, 600), TaskResult)
        assert_type(client.wait_for_tasks(["id"]), dict[str, TaskOutcome[TaskResult]])
        for outcome in client.as_completed([started]):
            assert_type(outcome.result(), ExportUsersResult)
        starting = client.start_in_batches(client.export_users, ["jane"])
        assert_type(starting, Iterator[StartedTask[ExportUsersResult]])
        assert_type(client.wait_for_tasks(starting), dict[str, TaskOutcome[ExportUsersResult]])
        client.start_in_batches(client.delete_users, ["jane"], user="harder")  # type: ignore[arg-type]
        client.start_in_batches(client.delete_users, ["jane"], hard=True)  # type: ignore[call-arg]
        client.start_in_batches(client.delete_users, [{"cid": "a:b"}])  # type: ignore[misc]
