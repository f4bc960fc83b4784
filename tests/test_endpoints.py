"""What is polled elsewhere than tasks are: imports, campaigns, policy-test runs, and any other endpoint."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from stream_tasks import (
    AsyncStream,
    Endpoint,
    ImportResult,
    ImportV2Result,
    Snapshot,
    StartedTask,
    Stream,
    StreamApiException,
    StreamDecodeException,
    StreamTaskException,
    StreamWaitTimeoutException,
    TaskResult,
)
from stream_tasks._engine.finality import ends_wait
from stream_tasks._json import structure_snapshot
from stream_tasks.endpoints import CAMPAIGN, IMPORT, IMPORT_V2, POLICY_TEST_RUN, TASK

NANOSECONDS = 1_790_000_000_000_000_000
MADE = datetime.fromtimestamp(1_790_000_000, UTC)

WORK = Endpoint("/work/{id}", status_at="state", completed=("done",), failed=("broken",))


class Server:
    """Answers each path with one body after another, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.url = ""

    def script(self, path: str, *bodies: Any) -> None:
        self.answers[f"/api/v2{path}"] = list(bodies)

    def polls(self, path: str) -> int:
        return self.requests.count(("GET", f"/api/v2{path}", None))

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.rel_url.raw_path, body))
        bodies = self.answers.get(request.rel_url.raw_path)
        if bodies is None:
            return web.json_response({"code": 16, "message": "not here"}, status=404)
        return web.json_response(bodies.pop(0) if len(bodies) > 1 else bodies[0])


@pytest.fixture
async def elsewhere() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(elsewhere: Server) -> AsyncIterator[AsyncStream]:
    async with AsyncStream("key", "secret", base_url=elsewhere.url) as made:
        yield made


def import_v1(state: str, *steps: tuple[str, str]) -> dict[str, Any]:
    history = [{"created_at": NANOSECONDS, "prev_state": a, "next_state": b} for a, b in steps]
    told = {"id": "i", "state": state, "history": history, "mode": "upsert", "path": "p", "new": 1}
    return {"import_task": told | {"created_at": NANOSECONDS, "updated_at": NANOSECONDS}, "duration": "1ms"}


def import_v2(state: int, **fields: Any) -> dict[str, Any]:
    times = {"created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:13:20Z"}
    return (
        {"id": "i2", "app_pk": 7, "product": "chat", "state": state, "settings": {"path": "p"}}
        | times
        | fields
    )


async def test_an_import_is_started_and_waited_for(elsewhere: Server, client: AsyncStream) -> None:
    """Its result is typed and holds each step; each snapshot is told."""
    done = import_v1("completed", ("", "uploaded"), ("uploaded", "completed"))
    elsewhere.script("/imports", import_v1("uploaded"))
    elsewhere.script("/imports/i", import_v1("uploaded"), import_v1("analyzing", ("", "uploaded")), done)
    started = await client.create_import("p", "upsert", merge_custom=True)
    assert elsewhere.requests == [
        ("POST", "/api/v2/imports", {"path": "p", "mode": "upsert", "merge_custom": True})
    ]
    assert (started.task_id, started.operation, started.items) == ("i", "create_import", ("p",))
    updates: list[Any] = []
    result = await client.wait_for_task(started, 0, on_update=updates.append)
    assert isinstance(result, ImportResult)
    assert (result.id, result.state, result.mode, result.created_at) == ("i", "completed", "upsert", MADE)
    assert [(step.prev_state, step.next_state) for step in result.history] == [
        ("", "uploaded"),
        ("uploaded", "completed"),
    ]
    assert result.history[0].created_at == MADE
    assert result.extra == {"new": 1}
    assert [update.status for update in updates] == ["uploaded", "analyzing", "completed"]
    assert [update.is_final for update in updates] == [False, False, True]
    assert updates[1].result["history"]
    assert not elsewhere.polls("/tasks/i")


async def test_a_kept_import_is_still_an_import(elsewhere: Server, client: AsyncStream) -> None:
    """Through JSON, and by its id with the operation's name, it is polled where it is."""
    elsewhere.script("/imports/v2", import_v2(1))
    elsewhere.script("/imports/v2/i2", import_v2(3, result={"users": 3}))
    started = await client.create_import_v2_task("chat", {"path": "p"}, user_id="u")
    kept: StartedTask[Any] = StartedTask.from_json(started.to_json())
    result = await client.wait_for_task(kept)
    assert isinstance(result, ImportV2Result)
    assert (result.state, result.result, result.app_pk, result.updated_at) == (3, {"users": 3}, 7, MADE)
    assert await client.wait_for_task("i2", operation="create_import_v2_task") == result
    assert await client.wait_for(IMPORT_V2.of("i2")) == result
    snapshots = [each async for each in client.watch_task("i2", operation=client.create_import_v2_task)]
    assert [each.result for each in snapshots] == [result]


@pytest.mark.parametrize("state", ["failed", "analyze_failed"])
async def test_an_import_that_failed_says_in_which_state(
    elsewhere: Server, client: AsyncStream, state: str
) -> None:
    """It is a failed task like any other, also one whose state is new."""
    elsewhere.script("/imports/i", import_v1("waiting_confirmation"), import_v1(state))
    with pytest.raises(StreamTaskException, match=state) as caught:
        await client.wait_for(IMPORT.of("i"), 0)
    assert (caught.value.task_id, caught.value.error_type) == ("i", state)
    assert caught.value.task is not None
    assert caught.value.task.is_failed
    assert not caught.value.task.is_completed
    outcomes = await client.wait_for_tasks([IMPORT.of("i")])
    assert outcomes["i"].to_dict()["status"] == "failed"


async def test_a_policy_test_run_and_a_campaign(elsewhere: Server, client: AsyncStream) -> None:
    """They return what the server tells of them, or fail with its reason."""
    run = {"id": "r", "task_id": "t", "created_at": NANOSECONDS}
    elsewhere.script("/moderation/policy_tests/sets/s/runs", {"run": run | {"status": "pending"}})
    elsewhere.script(
        "/moderation/policy_tests/runs/r",
        {"run": run | {"status": "running"}},
        {"run": run | {"status": "failed", "error_message": "no rows"}},
    )
    started = await client.start_policy_test_run("s")
    with pytest.raises(StreamTaskException, match="no rows"):
        await client.wait_for_task(started, 0)
    campaign = {"id": "c", "status": "completed", "stats": {"progress": 1.0}}
    elsewhere.script(
        "/chat/campaigns/c", {"campaign": campaign | {"status": "in_progress"}}, {"campaign": campaign}
    )
    result = await client.wait_for(CAMPAIGN.of("c"), 0)
    assert type(result) is TaskResult
    assert result["stats"] == {"progress": 1.0}
    assert result.task.is_completed
    elsewhere.script("/chat/campaigns/c", {"campaign": campaign | {"status": "stopped"}})
    with pytest.raises(StreamTaskException, match="stopped"):
        await client.wait_for(CAMPAIGN.of("c"))
    assert POLICY_TEST_RUN.ending("completed") == "completed"


async def test_any_endpoint_among_tasks(elsewhere: Server, client: AsyncStream) -> None:
    """All ways to wait take it, a task of the same id stays apart, and several waits share polls."""
    task = {"task_id": "1", "status": "completed", "created_at": NANOSECONDS, "updated_at": NANOSECONDS}
    elsewhere.script("/tasks/1", task | {"result": {"from": "task"}})
    elsewhere.script("/work/1", {"id": "1", "state": "done", "from": "work"})
    elsewhere.script("/work/2", {"id": "2", "state": "busy"}, {"id": "2", "state": "done"})
    elsewhere.script("/work/a%2Fb", {"state": "done"})
    given: list[Any] = ["1", WORK.of("1"), WORK.of("2"), WORK.of("2"), WORK.of("a/b"), TASK.of("1")]
    outcomes = await client.wait_for_tasks(given, 0)
    assert list(outcomes) == ["1", "/api/v2/work/1", "2", "a/b"]
    assert outcomes["1"].result() == {"from": "task"}
    assert outcomes["/api/v2/work/1"].result() == {"id": "1", "state": "done", "from": "work"}
    assert outcomes["2"].task_id == "2"
    assert elsewhere.polls("/work/2") == 2
    ended = [each.task_id async for each in client.as_completed(given)]
    assert sorted(map(str, ended)) == ["1", "1", "1", "2", "2", "a/b"]
    [snapshot] = [each async for each in client.watch_task(WORK.of("2"))]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.result == {"id": "2", "state": "done"}
    first, second = await asyncio.gather(client.wait_for(WORK.of("1")), client.wait_for(WORK.of("1")))
    assert first == second


async def test_a_deadline_and_a_result_type(elsewhere: Server, client: AsyncStream) -> None:
    """A wait that elapses says so as for a task, and a result type holds for an endpoint, too."""
    elsewhere.script("/work/2", {"id": "2", "state": 1})
    with pytest.raises(StreamWaitTimeoutException, match="last status '1'") as caught:
        await client.wait_for(WORK.of("2"), 0, 0.2)
    assert (caught.value.task_id, caught.value.reason) == ("2", "still_running")
    ending = WORK.ending_with(completed=[1])
    assert ending.failed == WORK.failed
    assert await client.wait_for(ending.of("2"), result_type=dict) == {"id": "2", "state": 1}
    with pytest.raises(StreamTaskException):
        await client.wait_for(WORK.ending_with(failed=[1]).of("2"))


async def test_what_is_not_there(elsewhere: Server) -> None:
    """A 404 is waited out for the grace period, and then it is final."""
    async with AsyncStream("key", "secret", base_url=elsewhere.url, not_found_grace=0.2) as client:
        with pytest.raises(StreamApiException, match="not here"):
            await client.wait_for(CAMPAIGN.of("x"), 0.05)
    assert elsewhere.polls("/chat/campaigns/x") > 1


async def test_an_answer_about_something_else_is_a_bad_moment(elsewhere: Server, client: AsyncStream) -> None:
    """It is asked again, as for a task."""
    elsewhere.script("/work/1", {"id": "2", "state": "done"}, {"id": "1", "state": "done"})
    assert (await client.wait_for(WORK.of("1"), 0))["id"] == "1"
    assert elsewhere.polls("/work/1") == 2


@pytest.mark.parametrize(
    ("body", "path", "is_final"),
    [
        pytest.param(b"{}", "$", True, id="no such key"),
        pytest.param(b'{"campaign": 5}', "$.campaign", True, id="no object"),
        pytest.param(b'{"campaign": {}}', "$.campaign", True, id="no status"),
        pytest.param(b'{"campaign": {"status": true}}', "$.campaign.status", True, id="no text"),
        pytest.param(b'{"campaign": {"status": "x", "id": "d"}}', "$.campaign.id", False, id="another one"),
        pytest.param(
            b'{"campaign": {"status": "x", "created_at": []}}', "$.campaign.created_at", True, id="no time"
        ),
        pytest.param(b"<html>", None, False, id="no JSON"),
    ],
)
def test_an_answer_of_another_shape_says_where(body: bytes, path: str | None, is_final: bool) -> None:
    """JSON of another shape ends the wait, other bodies are bad moments."""
    with pytest.raises(StreamDecodeException) as caught:
        structure_snapshot(body, CAMPAIGN.of("c"))
    assert caught.value.path == path
    assert caught.value.body == body.decode()
    assert ends_wait(caught.value, waited=0, not_found_grace=5) is is_final


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        pytest.param(lambda: Endpoint("/x"), ValueError, r"\{id\}", id="no place for the id"),
        pytest.param(lambda: Endpoint(5), ValueError, "path", id="no path"),
        pytest.param(lambda: Endpoint("x/{id}"), ValueError, "path", id="no absolute path"),
        pytest.param(lambda: Endpoint("/x/{id}", status_at="a..b"), ValueError, "status_at", id="no keys"),
        pytest.param(lambda: Endpoint("/x/{id}", completed="done"), TypeError, "list", id="a bare text"),
        pytest.param(
            lambda: Endpoint("/x/{id}", failed=(1.5,)),  # type: ignore[arg-type]
            TypeError,
            "float",
            id="a status that is a float",
        ),
        pytest.param(
            lambda: Endpoint("/x/{id}", result_type="dict"),  # type: ignore[arg-type]
            TypeError,
            "result_type",
            id="no type",
        ),
        pytest.param(lambda: WORK.of(""), ValueError, "id", id="an empty id"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(
    make: Callable[[], Any], error: type[Exception], match: str
) -> None:
    """Where it is made, before any request."""
    with pytest.raises(error, match=match):
        make()


async def test_waiting_for_a_bare_id_is_refused(elsewhere: Server, client: AsyncStream) -> None:
    """`wait_for` cannot know where it is polled."""
    with pytest.raises(TypeError, match="polled"):
        await client.wait_for("i")  # type: ignore[arg-type]
    assert not elsewhere.requests


def test_what_is_polled_shows_itself_and_pickles() -> None:
    """Equal ones are one key."""
    polled = CAMPAIGN.of("c")
    assert repr(polled) == "Polled('/chat/campaigns/{id}', id='c')"
    assert str(polled) == "c"
    again = pickle.loads(pickle.dumps(polled))
    assert {polled: 1}[again] == 1
    assert CAMPAIGN.of("c") != CAMPAIGN.of("d")


async def test_the_blocking_client_waits_for_endpoints(elsewhere: Server) -> None:
    """By the same names; the callback is called in the caller's thread."""
    elsewhere.script("/work/1", {"id": "1", "state": "busy"}, {"id": "1", "state": "done"})
    elsewhere.script("/imports", import_v1("uploaded"))
    elsewhere.script("/imports/i", import_v1("completed"))

    def use() -> Iterator[Any]:
        with Stream("key", "secret", base_url=elsewhere.url) as client:
            updates: list[Any] = []
            yield client.wait_for(WORK.of("1"), 0, on_update=updates.append)["state"]
            yield [update.status for update in updates]
            yield client.wait_for_task(client.create_import("p", "insert")).state
            yield list(client.wait_for_tasks([WORK.of("1")]))

    assert await asyncio.to_thread(lambda: list(use())) == ["done", ["busy", "done"], "completed", ["1"]]
