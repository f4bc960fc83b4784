"""What mypy and pyright make of the public API; `nox -s typing` runs both, and pytest what it asserts."""

from typing import TYPE_CHECKING, Any, assert_type
from uuid import UUID

import attrs

from stream_tasks import (
    AsyncStream,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    ImportResult,
    StartedTask,
    Stream,
    StreamResponse,
    Task,
    TaskOutcome,
    TaskResult,
)
from stream_tasks.testing import FakeStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from stream_tasks.endpoints import CAMPAIGN


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
    assert_type(await client.wait_for_task(started, result_type=Mine), Mine)
    task_id = str(started.task_id)
    assert_type(await client.wait_for_task(task_id), TaskResult)
    assert_type(await client.wait_for_task(task_id, 5, 600), TaskResult)
    assert_type(await client.wait_for_task(task_id, result_type=Mine), Mine)
    assert_type(await client.wait_for_task(task_id, result_type=dict[str, str]), dict[str, str])
    assert_type(await client.wait_for_tasks([started]), dict[str, TaskOutcome[ExportUsersResult]])
    assert_type(await client.wait_for_tasks([task_id]), dict[str, TaskOutcome[TaskResult]])
    mixed: list[str | StartedTask[Any]] = [task_id, started]
    assert_type(await client.wait_for_tasks(mixed), dict[str, TaskOutcome[Any]])
    async for outcome in client.as_completed([task_id]):
        assert_type(outcome.result(), TaskResult)
    async for typed in client.as_completed([started]):
        assert_type(typed.result(), ExportUsersResult)
    async for snapshot in client.watch_task(started):
        assert_type(snapshot, Task)
    named = await client.wait_for_tasks([task_id], operation=client.export_users)
    assert_type(named, dict[str, TaskOutcome[ExportUsersResult]])
    assert_type(await client.wait_for_tasks([task_id], operation="export_users"), dict[str, TaskOutcome[Any]])
    assert_type(await client.wait_for_tasks([task_id], result_type=Mine), dict[str, TaskOutcome[Mine]])
    assert_type(await client.wait_for_task(task_id, operation=client.export_users), ExportUsersResult)
    assert_type(await client.wait_for_task(UUID(task_id)), TaskResult)
    async for seen in client.watch_task(task_id, operation=client.export_users):
        assert_type(seen.result, ExportUsersResult | None)
    assert_type(StartedTask.from_json(started.to_json()), StartedTask[Any])
    assert_type(StartedTask.from_json(started.to_json(), Mine), StartedTask[Mine])
    async for deleting in client.start_in_batches(client.delete_users, ["jane"], user="soft"):
        assert_type(deleting, StartedTask[DeleteUsersResult])
    exports = client.start_in_batches(client.export_channels, [{"cid": "messaging:a"}], format="json")
    assert_type([task async for task in exports], list[StartedTask[ExportChannelsResult]])
    body = {"user_ids": ["joe"]}
    custom = await client.start_task("POST", "/export/users", json=body, result_type=Mine)
    assert_type(custom, StartedTask[Mine])
    assert_type(await client.start_task("POST", "/export/users", json=body), StartedTask[TaskResult])
    assert (await client.wait_for_task(custom)).url


if TYPE_CHECKING:

    async def other(client: AsyncStream, started: AsyncGenerator[StartedTask[ExportUsersResult]]) -> None:
        """Other calls of the asynchronous client."""
        assert_type(await client.get_task("id"), StreamResponse[Task])
        assert_type(await client.request("GET", "/app"), StreamResponse[dict[str, Any]])
        assert_type(client.as_completed(started), AsyncGenerator[TaskOutcome[ExportUsersResult]])
        importing = await client.create_import("imports/a.json", "upsert")
        assert_type(importing, StartedTask[ImportResult])
        assert_type(await client.wait_for_task(importing), ImportResult)
        assert_type(await client.wait_for(CAMPAIGN.of("spring")), TaskResult)
        assert_type(await client.wait_for(CAMPAIGN.of("spring"), result_type=Mine), Mine)
        assert_type(client.as_completed(["id"], result_type=Mine), AsyncGenerator[TaskOutcome[Mine]])
        await client.wait_for_task(5)  # type: ignore[arg-type]
        await client.wait_for_tasks("id", on_outcome=5)  # type: ignore[arg-type]
        await client.delete_users([5])  # type: ignore[list-item]
        await client.delete_users(["jane"], user="harder")  # type: ignore[arg-type]
        await client.delete_users(["jane"], hard=True)  # type: ignore[call-arg]

    def blocking(client: Stream, started: StartedTask[ExportUsersResult], anything: StartedTask[Any]) -> None:
        """The blocking client has the same types."""
        assert_type(client.get_task("id"), StreamResponse[Task])
        assert_type(client.request("GET", "/app"), StreamResponse[dict[str, Any]])
        assert_type(client.export_users(["jane"]), StartedTask[ExportUsersResult])
        assert_type(client.wait_for_task(started), ExportUsersResult)
        assert_type(client.wait_for_task(started, result_type=Mine), Mine)
        assert_type(client.wait_for_task(anything), Any)
        assert_type(client.wait_for_task("id", 5, 600), TaskResult)
        assert_type(client.wait_for_task("id", result_type=Mine), Mine)
        assert_type(client.wait_for_tasks(["id"]), dict[str, TaskOutcome[TaskResult]])
        assert_type(client.as_completed(["id"]), Iterator[TaskOutcome[TaskResult]])
        for outcome in client.as_completed([started]):
            assert_type(outcome.result(), ExportUsersResult)
        assert_type(client.watch_task("id"), Iterator[Task])
        assert_type(client.watch_task("id", result_type=Mine), Iterator[Task[Mine]])
        assert_type(client.wait_for_task("id", operation=client.delete_users), DeleteUsersResult)
        assert_type(client.wait_for_task("id", operation="delete_users"), Any)
        named = client.as_completed(["id"], operation=client.delete_users)
        assert_type(named, Iterator[TaskOutcome[DeleteUsersResult]])
        client.wait_for_task("id", operation=5)  # type: ignore[arg-type]
        assert_type(client.wait_for(CAMPAIGN.of("spring")), TaskResult)
        assert_type(client.start_task("POST", "/things"), StartedTask[TaskResult])
        assert_type(client.start_task("POST", "/things", result_type=Mine), StartedTask[Mine])
        starting = client.start_in_batches(client.export_users, ["jane"])
        assert_type(starting, Iterator[StartedTask[ExportUsersResult]])
        assert_type(client.wait_for_tasks(starting), dict[str, TaskOutcome[ExportUsersResult]])
        client.start_in_batches(client.delete_users, ["jane"], user="harder")  # type: ignore[arg-type]
        client.start_in_batches(client.delete_users, ["jane"], hard=True)  # type: ignore[call-arg]
        client.start_in_batches(client.delete_users, [{"cid": "a:b"}])  # type: ignore[misc]
