"""FakeStream speaks Stream's wire, to any client, and breaks it on demand."""

import asyncio
import errno
import gzip
import io
import json
import math
import re
import socket
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import aiohttp
import jwt
import pytest
from yarl import URL

import stream_tasks.testing as package
from stream_tasks.testing import FakeStream, Fault, RateLimitRule, Request, TaskFailure
from stream_tasks.testing._operations import find_operation
from stream_tasks.testing._sockets import reset

Log: TypeAlias = pytest.LogCaptureFixture


class Clock:
    """A clock that stands still until it is moved; it shows 1000 when it is made."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made_at = time.time()

    def showed(self, at: float, unix: float, *, rounding: float = 0.001) -> bool:
        """Whether it was that Unix time, for a server made since, when this clock showed `at`."""
        return self.made_at - rounding <= unix - (at - 1000) <= time.time() + rounding

    def __call__(self) -> float:
        return self.now


class Client:
    """A minimal client of Stream."""

    def __init__(self, server: FakeStream, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.token = jwt.encode({"iat": int(time.time()) - 5, "server": True}, server.api_secret)

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, *, query: str = "", headers: Any = (), **arguments: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(f"{self.server.url}{path}?api_key={self.server.api_key}{query}", encoded=True)
        usual = {"Authorization": self.token, "stream-auth-type": "jwt"}
        async with self.session.request(
            method, url, headers=usual | dict(headers), allow_redirects=False, **arguments
        ) as response:
            yield response

    async def get(self, path: str, **arguments: Any) -> tuple[int, Any]:
        async with self.ask("GET", f"/api/v2{path}", **arguments) as response:
            return response.status, await response.json()

    async def look(self, task_id: str) -> Any:
        status, body = await self.get(f"/tasks/{quote(task_id, safe='')}")
        assert status == 200, body
        return body

    async def statuses(self, task_id: str, polls: int) -> list[str]:
        return [(await self.look(task_id))["status"] for _ in range(polls)]

    async def start(self, path: str, body: Any = None, method: str = "POST", **more: Any) -> tuple[int, Any]:
        async with self.ask(method, f"/api/v2{path}", json=body, **more) as response:
            return response.status, await response.json()

    async def result(self, path: str, body: Any = None, method: str = "POST") -> Any:
        _, started = await self.start(path, body, method)
        await self.statuses(started["task_id"], 2)
        return (await self.look(started["task_id"])).get("result")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[FakeStream]:
    async with FakeStream(clock=clock) as server:
        yield server


@pytest.fixture
async def client(server: FakeStream) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)


def test_exports_are_sorted_and_documented() -> None:
    """Every public name of the package is listed in order and says what it is."""
    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name).__doc__ for name in package.__all__)


# Lifecycle


async def test_url_needs_a_start() -> None:
    """The address of a server that never ran is a clear error, not a made-up one."""
    server = FakeStream()
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = server.url
    assert repr(server) == "<FakeStream stopped, 0 tasks, 0 requests>"


async def test_keeps_its_address_over_a_restart(server: FakeStream, client: Client) -> None:
    """A server that is started again has the same address and the same tasks."""
    task_id = server.add_task(statuses=())
    url = server.url
    await server.stop()
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.look(task_id)
    await server.start()
    assert server.url == url
    assert repr(server) == f"<FakeStream {url}, 1 task, 0 requests>"
    assert (await client.look(task_id))["status"] == "completed"


async def test_starting_twice_is_an_error(server: FakeStream) -> None:
    """A server that runs cannot be started again."""
    with pytest.raises(RuntimeError, match="runs already"):
        await server.start()


def test_plain_with_runs_in_a_thread() -> None:
    """Blocking code gets a server that runs beside it, and can restart it."""
    with FakeStream() as server:
        task_id = server.add_task(statuses=["pending"])

        async def look() -> list[str]:
            async with aiohttp.ClientSession() as session:
                return await Client(server, session).statuses(task_id, 2)

        assert asyncio.run(look()) == ["pending", "completed"]
    with server, pytest.raises(OSError, match="in use"), FakeStream(port=int(server.url.rpartition(":")[2])):
        pytest.fail("the port is taken")


def test_other_loops_cannot_stop_it() -> None:
    """A server in a thread of its own cannot be stopped from another loop, and runs on."""
    with FakeStream() as server:
        with pytest.raises(RuntimeError, match="the server runs on another loop; leave its `with` block"):
            asyncio.run(server.stop())
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))):
            assert "stopped" not in repr(server)
    assert "stopped" in repr(server)


def test_other_frameworks_need_a_thread() -> None:
    """Without an asyncio loop, the error says what to do."""
    with pytest.raises(RuntimeError, match="use a plain `with FakeStream"):
        FakeStream().start().send(None)


def test_blocking_code_may_stop_it_early() -> None:
    """A server that a test has stopped by hand is not stopped again."""
    with FakeStream() as server:
        server.__exit__(None, None, None)
        assert "stopped" in repr(server)


async def test_hanging_requests_do_not_delay_the_stop(server: FakeStream, client: Client) -> None:
    """A server stops although some of its requests would hang for ever."""
    server.inject(Fault.hang(), times=math.inf)
    hanging = [asyncio.create_task(client.look("x")) for _ in range(5)]
    while len(server.requests) < 5:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(20):  # they would hang for ever
        await server.stop()
    errors = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientConnectionError) for error in errors)


@pytest.mark.parametrize("turns", range(5))
async def test_late_connections_are_closed(server: FakeStream, turns: int) -> None:
    """A connection that is accepted while the server stops ends with it, at whatever moment it came."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as late:
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        late.settimeout(5)
        with suppress(ConnectionError):
            assert late.recv(1) == b""


async def test_clients_that_leave_are_no_trouble(server: FakeStream, client: Client, caplog: Log) -> None:
    """A client that gives up leaves no trace but its request without a status."""
    server.inject(Fault.hang())
    server.add_task("x", statuses=())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.look("x"), 0.05)
    assert (await client.look("x"))["status"] == "completed"
    assert [request.status for request in server.requests] == [None, 200]
    assert not caplog.records


# Authentication


def signed(claims: dict[str, Any], secret: str = FakeStream().api_secret, algorithm: str = "HS256") -> str:
    """Sign a token; numbers among its claims count from now."""
    now = int(time.time())
    claims = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    return jwt.encode(claims, secret, algorithm)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(lambda: "", 5, id="no token at all"),
        pytest.param(lambda: "Bearer x", 5, id="not a token"),
        pytest.param(lambda: signed({}, "x" * 64), 43, id="signed with another secret"),
        pytest.param(lambda: signed({}, algorithm="HS512"), 5, id="another algorithm"),
        pytest.param(lambda: signed({"exp": "soon"}), 5, id="a claim of the wrong type"),
        pytest.param(lambda: signed({"exp": -60}), 40, id="expired"),
        pytest.param(lambda: signed({"nbf": 600}), 41, id="not valid yet"),
        pytest.param(lambda: signed({"iat": 600}), 42, id="issued in the future"),
    ],
)
async def test_refuses_bad_tokens(client: Client, token: Callable[[], str], code: int) -> None:
    """A token that Stream would not take is refused with Stream's code for the reason."""
    client.token = token()
    status, body = await client.get("/tasks/x")
    assert (status, body["code"], body["StatusCode"]) == (401, code, 401)


async def test_refuses_tokens_that_are_no_text(server: FakeStream) -> None:
    """A token that is not a text is refused as one that cannot be read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(server.url).port)
    writer.write(
        b"GET /api/v2/tasks/x?api_key=fake-key HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"stream-auth-type: jwt\r\nAuthorization: \xff\r\n\r\n"
    )
    assert b" 401 " in await reader.readline()
    assert b"the token cannot be read" in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_refuses_wrong_keys_and_auth_types(server: FakeStream, client: Client) -> None:
    """The api key and the auth type are looked at, too."""
    status, body = await client.get("/tasks/x", headers={"stream-auth-type": "anonymous"})
    assert (status, body["code"]) == (401, 5)
    async with client.session.get(f"{server.url}/api/v2/tasks/x?api_key=other") as response:
        assert (response.status, (await response.json())["code"]) == (401, 2)


async def test_takes_any_good_token(server: FakeStream, client: Client) -> None:
    """Tokens are judged by signature and times, however many there are."""
    server.add_task("x")
    for number in range(1100):
        server._app.credentials._verify(jwt.encode({"n": number}, server.api_secret))
    assert len(server._app.credentials._verified) == 100
    client.token = jwt.encode({}, server.api_secret)
    assert await client.statuses("x", 2) == ["pending", "running"]


async def test_short_secrets_are_taken_without_a_warning() -> None:
    """A short secret causes no warning."""
    async with FakeStream(api_secret="short") as server, aiohttp.ClientSession() as session:
        server.add_task("x")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyJWT's, of the client
            client = Client(server, session)
        assert (await client.look("x"))["status"] == "pending"


# Tasks


async def test_task_moves_with_each_poll(server: FakeStream, client: Client, clock: Clock) -> None:
    """By poll count, each poll sees the next status, and the final one stays."""
    task_id = server.add_task(result={"url": "u"})
    seen = []
    for _ in range(4):
        clock.now += 1
        seen.append(await client.look(task_id))
    assert [task["status"] for task in seen] == ["pending", "running", "completed", "completed"]
    assert [("result" in task, "error" in task) for task in seen] == [(False, False)] * 2 + [
        (True, False)
    ] * 2
    assert [task["updated_at"] - task["created_at"] for task in seen] == pytest.approx(
        [0, 2e9, 3e9, 3e9], abs=999
    )
    assert seen[3].keys() == {"task_id", "status", "created_at", "updated_at", "duration", "result"}
    assert clock.showed(1000, seen[0]["created_at"] / 1e9)
    assert [poll.at for poll in server.polls(task_id)] == [1001, 1002, 1003, 1004]


async def test_task_moves_with_time(server: FakeStream, client: Client, clock: Clock) -> None:
    """By time, the statuses share the seconds evenly, and tell the moment at which they really changed."""
    task_id = server.add_task(after=10)
    seen = []
    for _ in range(5):
        task = await client.look(task_id)
        seen.append((task["status"], round((task["updated_at"] - task["created_at"]) / 1e9, 3)))
        clock.now += 4
    assert seen == [("pending", 0), ("pending", 0), ("running", 5), ("completed", 10), ("completed", 10)]
    bare = server.add_task(statuses=(), after=1)
    assert (await client.look(bare))["status"] == "running"


async def test_times_are_not_missed_by_rounding(server: FakeStream, client: Client, clock: Clock) -> None:
    """A task has ended when its time is over, also where a sum of floats is a little less."""
    clock.now = 2318.917833029
    server.add_task("x", after=3600)
    server.add_task("y", visible_after=3600)
    clock.now += 3600
    assert clock.now - 2318.917833029 < 3600
    assert (await client.look("x"))["status"] == "completed"
    assert (await client.look("y"))["status"] == "pending"


@pytest.mark.parametrize("script", [{"after": math.inf}, {"never": True}], ids=["after=inf", "never"])
async def test_task_that_never_ends(server: FakeStream, client: Client, script: dict[str, Any]) -> None:
    """A task without an end goes through its statuses and stays at the last."""
    assert await client.statuses(server.add_task(**script), 3) == ["pending", "running", "running"]


@pytest.mark.parametrize(
    ("error", "wire"),
    [
        pytest.param(
            TaskFailure("Oops", "it broke"), {"type": "Oops", "description": "it broke"}, id="a value"
        ),
        pytest.param(
            {"type": "Oops", "stacktrace": "s"}, {"type": "Oops", "stacktrace": "s"}, id="a mapping"
        ),
    ],
)
async def test_failed_task(server: FakeStream, client: Client, error: Any, wire: Any) -> None:
    """A task with an error ends as failed and shows it."""
    task = await client.look(server.add_task(statuses=(), error=error))
    assert (task["status"], task["error"]) == ("failed", wire)


async def test_task_may_fail_without_a_word(server: FakeStream, client: Client) -> None:
    """A failed task need not have an error, and may come back from failure."""
    silent = await client.look(server.add_task(statuses=(), final="failed"))
    assert silent["status"] == "failed"
    assert not silent.keys() & {"error", "result"}
    assert await client.statuses(server.add_task(statuses=["failed", "waiting", "odd"]), 4) == [
        "failed", "waiting", "odd", "completed",
    ]  # fmt: skip


async def test_task_may_be_invisible_at_first(server: FakeStream, client: Client, clock: Clock) -> None:
    """A young task can be as hard to find as in an eventually consistent store."""
    task_id = server.add_task(statuses=(), visible_after=2)
    status, body = await client.get(f"/tasks/{task_id}")
    assert (status, body["code"]) == (404, 16)
    assert task_id in body["message"]
    clock.now += 2
    assert (await client.look(task_id))["status"] == "completed"


async def test_result_may_change_with_each_poll(server: FakeStream, client: Client) -> None:
    """A result that is a function is made anew for every look."""
    task_id = server.add_task(statuses=(), result=lambda poll: {"url": f"u{poll}"})
    assert [(await client.look(task_id))["result"]["url"] for _ in range(2)] == ["u1", "u2"]


async def test_exports_can_be_fetched(server: FakeStream, client: Client) -> None:
    """The URL of an export leads to a file of what was asked for, without any credentials."""
    result = await client.result("/chat/export_channels", {"channels": [{"type": "messaging", "id": "a"}]})
    async with client.session.get(result["url"]) as response:
        assert await response.json(content_type=None) == {
            "channels": [{"channel": {"type": "messaging", "id": "a"}}]
        }
    assert result["path"] in result["url"]
    result = await client.result("/export/users", {"user_ids": ["jane"]})
    async with client.session.get(result["url"]) as response:
        assert await response.json(content_type=None) == {"users": [{"id": "jane"}]}
    server.clear()
    async with client.session.get(result["url"]) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("", (200, b"0123456789", None), id="all of it"),
        pytest.param("lines=1-2", (200, b"0123456789", None), id="something unheard of"),
        pytest.param("bytes=4-", (206, b"456789", "bytes 4-9/10"), id="the rest"),
        pytest.param("bytes=4-5", (206, b"45", "bytes 4-5/10"), id="a part"),
        pytest.param("bytes=8-99", (206, b"89", "bytes 8-9/10"), id="more than there is"),
        pytest.param("bytes=10-", (416, b"", "bytes */10"), id="what is not there"),
    ],
)
async def test_files_come_in_parts(
    server: FakeStream, client: Client, wanted: str, expected: tuple[int, bytes, str | None]
) -> None:
    """A download that was cut can go on where it ended."""
    url = URL(server.add_file("a b.csv", b"0123456789"), encoded=True)
    assert url.raw_name == "a%20b.csv"
    async with client.session.get(url, headers={"Range": wanted} if wanted else {}) as response:
        assert (response.status, await response.read(), response.headers.get("Content-Range")) == expected
    server.inject(Fault.status(503))
    async with client.session.get(url) as response:
        assert response.status == 503


async def test_finish_and_forget(server: FakeStream, client: Client) -> None:
    """A test can end a task at a moment of its choosing, or take it away."""
    task_id = server.add_task(never=True)
    assert await client.statuses(task_id, 1) == ["pending"]
    server.finish(task_id, result={"a": 1})
    assert (await client.look(task_id))["result"] == {"a": 1}
    server.forget(task_id)
    assert (await client.get(f"/tasks/{task_id}"))[0] == 404


@pytest.mark.parametrize(
    "arguments", [{"after": -1}, {"visible_after": -1}], ids=lambda given: next(iter(given))
)
def test_negative_times_are_refused(arguments: dict[str, Any]) -> None:
    """A negative time is refused."""
    with pytest.raises(ValueError, match="0 or more, not -1"):
        FakeStream().add_task(**arguments)


@pytest.mark.parametrize("task_id", ["a/b", "a%2Fb", "a b?c#d", "é", "..x", "a+b"])
async def test_ids_are_decoded_once(server: FakeStream, client: Client, task_id: str) -> None:
    """Any text can be an id; its one path segment is decoded exactly once."""
    server.add_task(task_id)
    assert (await client.look(task_id))["task_id"] == task_id
    assert server.requests[0].task_id == task_id
    assert server.requests[0].path == f"/api/v2/tasks/{quote(task_id, safe='')}"


# Endpoints


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/api/v2/tasks/"), ("GET", "/api/v2/tasks/a/b"), ("POST", "/api/v2/tasks/a"),
        ("GET", "/api/v2/users/delete"), ("POST", "/api/v2/video/call//x/delete"),
        ("POST", "/api/v2/users/delete/x"),
    ],
)  # fmt: skip
async def test_unknown_endpoints(client: Client, method: str, path: str) -> None:
    """What Stream does not have is a 404 in Stream's envelope."""
    async with client.ask(method, path) as response:
        body = await response.json()
    assert response.status == 404
    assert body.keys() == {"code", "message", "StatusCode", "more_info", "details", "duration"}
    assert body["code"] == 16


CIDS = ["messaging:a", "messaging:b"]
OPERATIONS = [
    ("POST", "/chat/channels/delete", {"cids": CIDS, "hard_delete": True}),
    ("POST", "/chat/export_channels", {"channels": [{"cid": CIDS[0]}]}),
    ("PUT", "/chat/channels/batch", {"operation": "hide", "filter": {"cids": {"$in": CIDS}}}),
    ("POST", "/users/delete", {"user_ids": ["u"]}),
    ("POST", "/users/deactivate", {"user_ids": ["u"]}),
    ("POST", "/users/reactivate", {"user_ids": ["u"]}),
    ("POST", "/export/users", {"user_ids": ["u"]}),
    ("POST", "/blocklists/b/import", {"items": ["i"] * 101}),
    ("POST", "/video/call/default/c%2F1/delete", {"hard": True}),
    ("DELETE", "/feeds/feed_groups/g/feeds/f", None),
    ("POST", "/feeds/feeds/delete", {"feeds": ["g:f"]}),
    ("POST", "/feeds/users/u/delete", {"hard_delete": True}),
    ("POST", "/feeds/users/u/export", None),
    ("POST", "/moderation/bulk_image_moderation", {"csv_file": "f"}),
    (
        "POST",
        "/moderation/check",
        {
            "entity_type": "t",
            "entity_id": "i",
            "entity_creator_id": "c",
            "moderation_payload": {"texts": ["x"]},
        },
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS, ids=[row[1] for row in OPERATIONS])
async def test_every_operation_starts_a_task(
    server: FakeStream, client: Client, method: str, path: str, body: Any
) -> None:
    """Each operation answers with a task that goes its way to completion."""
    status, started = await client.start(path, body, method)
    assert status == (200 if method == "DELETE" else 201)
    assert str(uuid.UUID(started["task_id"])) == started["task_id"]
    assert await client.statuses(started["task_id"], 3) == ["pending", "running", "completed"]
    assert server.requests[0].json == body


RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"


async def test_results_have_the_documented_shapes(server: FakeStream, client: Client) -> None:
    """Documented results are made from what was asked."""
    server.fail_items("messaging:b", "bad", "default:bad", error="gone")
    deleted = await client.result(*OPERATIONS[0][1:])
    assert deleted == {"messaging:a": {"status": "ok"}, "messaging:b": {"status": "error", "error": "gone"}}
    export = await client.result(*OPERATIONS[1][1:])
    assert export.keys() == {"url", "path", "s3_bucket_name"}
    users = await client.result("/users/delete", {"user_ids": ["good", "bad"]})
    assert users == {"good": {"status": "ok"}, "bad": {"status": "error", "error": "gone"}}
    deactivated = await client.result("/users/deactivate", {"user_ids": ["good", "bad"]})
    assert [user["id"] for user in deactivated["users"]] == ["good"]
    assert (await client.result("/export/users", {"user_ids": ["u"]})).keys() == {"url"}
    call = await client.result("/video/call/default/bad/delete", {"hard": True})
    assert call == {"default:bad": {"status": "error", "error": "gone"}}
    assert await client.result("/users/reactivate", {"user_ids": ["u"]}) is None


async def test_channel_batches_report_failures(server: FakeStream, client: Client) -> None:
    """A batch update counts its channels and groups those that failed by reason."""
    server.fail_items("messaging:b", error="gone")
    body = {
        "operation": "hide",
        "filter": {"$or": [{"cids": {"$in": CIDS}}, {"limit": 3, "type": "messaging"}]},
    }
    batch = await client.result("/chat/channels/batch", body, "PUT")
    assert [*batch] == [
        "operation", "status", "success_channels_count", "failed_channels", "batch_created_at", "finished_at",
    ]  # fmt: skip
    assert batch["failed_channels"] == [{"reason": "gone", "cids": ["messaging:b"]}]
    assert (batch["operation"], batch["success_channels_count"]) == ("hide", 1)
    assert re.match(RFC3339, batch["finished_at"])
    opaque = await client.result("/chat/channels/batch", body | {"filter": {"type": "messaging"}}, "PUT")
    assert opaque["failed_channels"] == batch["failed_channels"]


async def test_export_links_are_renewed(client: Client) -> None:
    """An export's link is signed anew with every look at its task."""
    _, started = await client.start("/export/users", {"user_ids": ["u"]})
    await client.statuses(started["task_id"], 2)
    first, second = [(await client.look(started["task_id"]))["result"]["url"] for _ in range(2)]
    assert first != second


async def test_some_work_is_done_at_once(server: FakeStream, client: Client) -> None:
    """Soft deletes of channels and calls start no task."""
    server.fail_items("messaging:b", error="gone")
    status, body = await client.start("/chat/channels/delete", {"cids": CIDS})
    assert status == 201
    assert "task_id" not in body
    assert body["result"] == {
        "messaging:a": {"status": "ok"},
        "messaging:b": {"status": "error", "error": "gone"},
    }
    status, body = await client.start("/video/call/default/c/delete")
    assert (status, body["call"]["cid"], "task_id" in body) == (201, "default:c", False)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/chat/channels/delete", {}, "cids"),
        ("/chat/channels/delete", {"cids": []}, "cids"),
        ("/chat/channels/delete", {"cids": "messaging:a"}, "cids"),
        ("/chat/channels/delete", {"cids": ["x"] * 101}, "cids"),
        ("/users/delete", {"user_ids": [["u"]]}, "user_ids"),
        ("/export/users", {"user_ids": ["u"] * 26}, "user_ids"),
        ("/moderation/bulk_image_moderation", {"csv_file": None}, "csv_file"),
        ("/chat/channels/batch", {"operation": "explode", "filter": {"type": "x"}}, "operation"),
        ("/chat/channels/batch", {"filter": {"type": "x"}}, "operation"),
    ],
)
async def test_bad_input_is_refused(client: Client, path: str, body: Any, field: str) -> None:
    """A body that Stream would not take is a 400 that names the field."""
    status, answer = await client.start(path, body, "PUT" if "batch" in path else "POST")
    assert (status, answer["code"], [*answer["exception_fields"]]) == (400, 4, [field])
    assert field in answer["message"]


BATCH: dict[str, Any] = {"operation": "hide", "filter": {"type": "messaging"}}
LONG = "x" * 65


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        pytest.param(
            "/users/delete",
            {"user_ids": ["u"], "user": "hard", "messages": "hard"},
            None,
            id="half a hard delete",
        ),
        pytest.param(
            "/users/delete",
            {"user_ids": ["u"], "user": "erase"},
            "user must be one of [soft pruning hard]",
            id="an unknown mode",
        ),
        pytest.param(
            "/users/delete",
            {"user_ids": ["u"], "calls": ["hard"]},
            "calls must be a string",
            id="a list as mode",
        ),
        pytest.param(
            "/users/delete",
            {"user_ids": ["u"], "files": "yes"},
            "files must be a boolean",
            id="a word as flag",
        ),
        pytest.param(
            "/users/delete", {"user_ids": [""]}, "each of user_ids must not be empty", id="an empty id"
        ),
        pytest.param("/users/delete", {"user_ids": "u"}, "user_ids must be an array", id="a text as list"),
        pytest.param(
            "/users/deactivate",
            {"user_ids": ["u"], "created_by_id": 5},
            "created_by_id must be a string",
            id="a number as id",
        ),
        pytest.param(
            "/chat/channels/delete",
            {"cids": ["a:b"], "hard_delete": 1},
            "hard_delete must be a boolean",
            id="a number as flag",
        ),
        pytest.param(
            "/chat/channels/delete",
            {"cids": [f"messaging:{LONG}"]},
            "cids must not hold an id of more than 64 characters",
            id="a long channel id",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"members": [{"user_id": "u"}] * 101},
            "members must hold 1 to 100 items, not 101",
            id="101 members",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"members": ["u"]},
            "each of members must be an object with a user_id",
            id="an id as member",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"filter": ["a:b"]},
            "filter must be an object",
            id="a list as filter",
        ),
        pytest.param(
            "/chat/channels/batch", BATCH | {"filter": {}}, "filter must not be empty", id="a filter for all"
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"hide_history_before": "2024-01-02T03:04:05Z"},
            "hide_history_before is for addMembersHideHistory only",
            id="history that stays",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"operation": "addMembersHideHistory"},
            "hide_history_before is a required field",
            id="history of no time",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"operation": "addMembersHideHistory", "hide_history_before": "2024-01-02"},
            "hide_history_before must hold times in RFC 3339",
            id="history of a day",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"custom_set": {"a": 1}},
            "custom_set is for updateData only",
            id="data of another operation",
        ),
        pytest.param(
            "/chat/channels/batch",
            BATCH | {"operation": "updateData", "custom_unset": ["a"], "data": {"custom": {"b": 1}}},
            "custom_unset must not be combined with data.custom",
            id="two kinds of data",
        ),
        pytest.param(
            "/feeds/feeds/delete",
            {"feeds": ["user:1"], "purge_user_activities": True},
            "purge_user_activities needs hard_delete",
            id="a purge without a hard delete",
        ),
        pytest.param(
            "/chat/export_channels",
            {"channels": [{"cid": "a:b"}], "format": "xml"},
            "format must be one of [json csv]",
            id="another format",
        ),
        pytest.param(
            "/chat/export_channels",
            {"channels": [{"cid": "a:b"}], "format": "csv"},
            "version must be v2 for the format csv",
            id="csv of the first version",
        ),
        pytest.param(
            "/chat/export_channels",
            {"channels": [5]},
            "each of channels must be a mapping",
            id="numbers as channels",
        ),
        pytest.param(
            "/chat/export_channels",
            {"channels": [{"type": "messaging", "id": LONG}]},
            "channels must not hold an id of more than 64",
            id="a long id to export",
        ),
        pytest.param(
            "/chat/export_channels",
            {"channels": [{"cid": "a:b", "messages_since": "yesterday"}]},
            "channels must hold times in RFC 3339",
            id="a word as time",
        ),
        pytest.param(
            "/blocklists/b/import",
            {"items": ["a"], "chunk_size": 0},
            "chunk_size must be 1 or more",
            id="no chunks",
        ),
        pytest.param(
            "/blocklists/b/import",
            {"items": ["a"], "chunk_size": True},
            "chunk_size must be an integer",
            id="a yes for a number",
        ),
        pytest.param(
            f"/video/call/default/{LONG}/delete", {}, "id must not hold an id of", id="a long call id"
        ),
        pytest.param(
            "/imports", {"path": "a.json", "mode": "replace"}, "mode must be one of [insert", id="a mode"
        ),
        pytest.param("/imports", {"mode": "insert"}, "path is a required field", id="an import of nothing"),
        pytest.param(
            "/imports/v2",
            {"product": "video", "settings": {"path": "a"}},
            "product must be one of",
            id="a product",
        ),
        pytest.param(
            "/imports/v2",
            {"product": "chat", "settings": {"mode": "replace"}},
            "settings must have one of [insert upsert] for its mode",
            id="a mode of version 2",
        ),
        pytest.param(
            "/imports/v2", {"product": "chat", "settings": []}, "settings must be an object", id="settings"
        ),
    ],
)
async def test_what_stream_refuses_is_refused(
    server: FakeStream, client: Client, path: str, body: Any, message: str | None
) -> None:
    """A request that Stream would not take is a 400 that names the field, and starts nothing."""
    status, answer = await client.start(path, body, "PUT" if "batch" in path else "POST")
    assert (status, answer["code"], answer["StatusCode"]) == (400, 4, 400)
    [(field, told)] = answer["exception_fields"].items()
    assert field in told
    assert message is None or told.startswith(message)
    assert server.started() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users/delete", {"user_ids": ["u"], "user": "hard", "messages": "hard", "conversations": "hard"}),
        ("/users/delete", {"user_ids": ["u"], "user": None, "what_is_new": 5}),
        ("/chat/channels/batch", BATCH | {"members": [{"user_id": "u", "channel_role": "admin"}] * 100}),
        ("/chat/export_channels", {"channels": [{"cid": "a:b"}], "format": "csv", "version": "v2"}),
        ("/chat/export_channels", {"channels": [{"cid": "a:b", "messages_since": "2024-01-02T03:04:05.6Z"}]}),
        ("/chat/channels/delete", {"cids": [f"{'t' * 64}:{'i' * 64}"], "hard_delete": True}),
        ("/blocklists/b/import", {"items": ["a"], "chunk_size": 1}),
    ],
    ids=[
        "a hard delete",
        "null and news",
        "100 members",
        "csv of version 2",
        "a time",
        "ids of 64",
        "a chunk",
    ],
)
async def test_what_stream_takes_is_taken(client: Client, path: str, body: Any) -> None:
    """Values at the limits are taken, and unknown keys are ignored."""
    status, answer = await client.start(path, body, "PUT" if "batch" in path else "POST")
    assert (status, "task_id" in answer) == (201, True), answer


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("&hard_delete=true", 200),
        ("&hard_delete=false", 200),
        ("&hard_delete=yes", 400),
        ("&hard_delete=true&purge_user_activities=true", 200),
        ("&purge_user_activities=true", 400),
    ],
)
async def test_queries_are_checked(client: Client, query: str, expected: int) -> None:
    """A flag in a query is true or false, and the rules for several fields hold there, too."""
    status, answer = await client.start("/feeds/feed_groups/g/feeds/f", None, "DELETE", query=query)
    assert (status, answer.get("code")) == (expected, None if expected == 200 else 4)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="cut JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff", id="not a text"),
        pytest.param(b'{"user_ids": ["u"], "at": NaN}', id="NaN"),
        pytest.param(b'{"user_ids": ["u"], "x": ' + b"1" * 5000 + b"}", id="a number without end"),
        pytest.param(b'{"user_ids": ["u"], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep objects"),
    ],
)
async def test_bodies_must_be_json_objects(
    server: FakeStream, client: Client, content: bytes, caplog: Log
) -> None:
    """A body that is not a JSON object, or not one that can be read, is a 400."""
    async with client.ask("POST", "/api/v2/users/delete", data=content) as response:
        assert (response.status, (await response.json())["code"]) == (400, 4)
    assert server.requests[0].json == ([] if content == b"[]" else None)
    assert not caplog.records


async def test_filters_may_be_deep(server: FakeStream, client: Client) -> None:
    """The channels of a filter are found at a depth at which Python's own calls would end."""
    condition: Any = {"cid": {"$in": CIDS}}
    for _ in range(300):
        condition = {"$or": [condition]}
    batch = await client.result("/chat/channels/batch", {"operation": "hide", "filter": condition}, "PUT")
    assert batch["success_channels_count"] == 2


def test_too_deep_bodies_are_refused(server: FakeStream) -> None:
    """A body that can be parsed, but is too deep to work with, is a 400."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    found = find_operation("POST", "/api/v2/chat/export_channels")
    assert found is not None
    body = {"channels": [{"cid": "a:b", "deep": deep}]}
    request = Request("POST", "/api/v2/chat/export_channels", {}, {}, body, None, None, 0.0)
    assert server._app._start_shallow(*found, request).status == 400


@pytest.mark.parametrize("body", [b"junk", gzip.compress(b"{}")[:-10]], ids=["not gzip", "cut gzip"])
async def test_bodies_must_be_what_they_are_called(
    server: FakeStream, client: Client, body: bytes, caplog: Log
) -> None:
    """A body that is not in the coding that its header names is a 400, and the next request is answered."""
    for content in (body, gzip.compress(b'{"user_ids": ["u"]}')):
        headers = {"Content-Encoding": "gzip"}
        async with client.ask("POST", "/api/v2/users/delete", data=content, headers=headers) as response:
            expected = (400, 4) if content is body else (201, None)
            assert (response.status, (await response.json()).get("code")) == expected
    assert not caplog.records


async def test_huge_bodies_are_refused(server: FakeStream, client: Client) -> None:
    """A body of more than a megabyte is a 413."""
    async with client.ask("POST", "/api/v2/users/delete", data=io.BytesIO(bytes(2 << 20))) as response:
        assert (response.status, (await response.json())["code"]) == (413, 22)
    assert server.requests[0].status == 413


async def test_huge_answers_are_sent(server: FakeStream, client: Client) -> None:
    """An answer may be of any size."""
    server.inject(Fault.body(bytes(17 << 20)))
    async with client.ask("GET", "/api/v2/tasks/x", headers={"Accept-Encoding": "identity"}) as response:
        assert len(await response.read()) == 17 << 20


async def test_operations_can_be_scripted(server: FakeStream, client: Client) -> None:
    """The next starts of an operation follow their scripts, in order; later ones are as usual."""
    server.script_operation("export_users", statuses=(), error=TaskFailure("Full"))
    server.script_operation("export_users", statuses=["running"], result={"mine": 1}, times=2)
    server.script_operation("export_users", statuses=())
    tasks = []
    for _ in range(5):
        _, started = await client.start("/export/users", {"user_ids": ["u"]})
        await client.look(started["task_id"])
        tasks.append(await client.look(started["task_id"]))
    assert [task["status"] for task in tasks] == ["failed", "completed", "completed", "completed", "running"]
    assert [task.get("result", {}).keys() for task in tasks] == [set(), {"mine"}, {"mine"}, {"url"}, set()]
    server.script_operation("export_users", never=True)
    with pytest.raises(ValueError, match="export_everything"):
        server.script_operation("export_everything")


async def test_large_answers_are_compressed(server: FakeStream, client: Client) -> None:
    """A big body goes out as gzip to a client that takes it, a small one as it is."""
    task_id = server.add_task(statuses=["pending"], result={"text": "x" * 5000})
    for encoding, expected in [("gzip", None), ("deflate, gzip", "gzip"), ("identity", None)]:
        path = f"/api/v2/tasks/{task_id}"
        async with client.ask("GET", path, headers={"Accept-Encoding": encoding}) as response:
            assert response.headers.get("Content-Encoding") == expected
            assert (await response.json())["task_id"] == task_id


async def test_log_tells_what_was_asked(server: FakeStream, client: Client, clock: Clock) -> None:
    """The log holds each request as it was sent, with the status that it got."""
    await client.start("/chat/channels/delete", {"cids": ["a:b"]}, query="&x=%20y")
    (request,) = server.requests
    assert (request.method, request.path, request.status, request.at) == (
        "POST", "/api/v2/chat/channels/delete", 201, clock.now,
    )  # fmt: skip
    assert request.query == {"api_key": "fake-key", "x": " y"}
    assert request.headers["STREAM-auth-TYPE"] == "jwt"
    assert request.json == {"cids": ["a:b"]}
    assert request.task_id is None


async def test_clear_begins_anew(server: FakeStream, client: Client) -> None:
    """A cleared server is like a new one, except for its rules."""
    server.rate_limit = 5
    server.spend(5)
    task_id = server.add_task()
    server.inject(Fault.status(500), math.inf)
    server.fail_items("u")
    server.script_operation("delete_users", error=TaskFailure("x"))
    assert (await client.get("/tasks/x"))[0] == 500
    assert (await client.get("/nowhere"))[0] == 500
    server.clear()
    assert server.requests == []
    assert (await client.get(f"/tasks/{task_id}"))[0] == 404
    assert await client.result("/users/delete", {"user_ids": ["u"]}) == {"u": {"status": "ok"}}
    assert server.rate_limit == RateLimitRule(5)


# Rate limits


def rate(response: aiohttp.ClientResponse) -> tuple[str | None, ...]:
    return tuple(response.headers.get(f"X-RateLimit-{name}") for name in ("Limit", "Remaining", "Reset"))


async def test_quota_runs_out_and_comes_back(server: FakeStream, client: Client, clock: Clock) -> None:
    """Polls beyond the limit are refused until the window ends, and all answers have the headers."""
    server.rate_limit = RateLimitRule(2)
    server.add_task("x")
    seen: list[Any] = []
    resets: list[int] = []
    for step in (0, 1, 1, 1, 57):
        clock.now += step
        async with client.ask("GET", "/api/v2/tasks/x") as response:
            code = (await response.json()).get("code")
            retry_after = response.headers.get("Retry-After")
            seen.append((response.status, code, *rate(response)[:2], retry_after))
            resets.append(int(response.headers["X-RateLimit-Reset"]))
    assert seen == [
        (200, None, "2", "1", None),
        (200, None, "2", "0", None),
        (429, 9, "2", "0", None),
        (429, 9, "2", "0", None),
        (200, None, "2", "1", None),
    ]
    assert [reset - resets[0] for reset in resets] == [0, 0, 0, 0, 60]
    assert clock.showed(1060, resets[0], rounding=1)
    assert [poll.status for poll in server.polls("x")] == [200, 200, 429, 429, 200]


async def test_short_bursts_are_limited_too(server: FakeStream, client: Client, clock: Clock) -> None:
    """A rule for each second refuses a burst that the minute would allow, and may say when to come again."""
    server.rate_limit = RateLimitRule(60, per_second=2, retry_after=True, headers=False)
    server.add_task("x")
    seen = []
    for step in (0, 0, 0, 1):
        clock.now += step
        async with client.ask("GET", "/api/v2/tasks/x") as response:
            seen.append((response.status, response.headers.get("Retry-After"), *rate(response)))
    assert [row[:2] for row in seen] == [(200, None), (200, None), (429, "1"), (200, None)]
    assert {row[2:] for row in seen} == {(None, None, None)}


async def test_others_spend_the_quota_and_rules_change(server: FakeStream, client: Client) -> None:
    """What another program spends is gone for all, and the limit may be lowered under way."""
    server.spend(3)
    assert (await client.get("/rate_limits"))[1]["server_side"] == {}
    server.rate_limit = 10
    server.spend(6)
    _, report = await client.get("/rate_limits", query="&server_side=true&endpoints=GetTask,Nothing")
    assert report["server_side"]["GetTask"] | {"reset": 0} == {"limit": 10, "remaining": 4, "reset": 0}
    server.rate_limit = 7
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert (response.status, *rate(response)[:2]) == (404, "7", "0")
    server.rate_limit = None
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert rate(response) == (None, None, None)
    _, report = await client.get("/rate_limits", query="&web=true")
    assert report == {"web": {}, "duration": report["duration"]}


async def test_each_endpoint_has_its_own_window(server: FakeStream, client: Client) -> None:
    """A rule of one endpoint leaves the others alone."""
    server.limit("DeleteUsers", 1)
    answers = [(await client.start("/users/delete", {"user_ids": ["u"]}))[0] for _ in range(2)]
    assert answers == [201, 429]
    assert (await client.start("/users/reactivate", {"user_ids": ["u"]}))[0] == 201
    server.spend(1, endpoint="DeleteUsers")
    assert [*(await client.get("/rate_limits"))[1]["server_side"]] == ["DeleteUsers"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": -1},
        {"limit": 1.5},
        {"limit": "60"},
        {"window": 0},
        {"window": math.inf},
        {"window": "60"},
        {"per_second": 0},
        {"per_second": True},
        {"retry_after": 7},
        {"headers": "no"},
    ],
    ids=str,
)
def test_rules_must_make_sense(wrong: dict[str, Any]) -> None:
    """A rule that no window can follow is refused, and the message says what is wrong with it."""
    [(name, value)] = wrong.items()
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, not {value!r}$"):
        RateLimitRule(**{"limit": 1} | wrong)


async def test_numbers_are_good_headers(server: FakeStream, client: Client) -> None:
    """A header's value may be given as the number that it is."""
    server.inject(Fault.status(429, headers={"Retry-After": 7, "X-A": "b"}))
    server.inject(Fault.with_headers([("X-RateLimit-Reset", 1.5)]))
    for header, sent in (("Retry-After", "7"), ("X-RateLimit-Reset", "1.5")):
        async with client.ask("GET", "/api/v2/tasks/x") as response:
            assert response.headers[header] == sent


# Faults


async def test_status_faults_speak_streams_language(server: FakeStream, client: Client) -> None:
    """An injected status comes in Stream's envelope, once, and does not move the task on."""
    server.rate_limit = 9
    server.add_task("x")
    server.inject(Fault.status(503, unrecoverable=True, headers={"Retry-After": "7"}))
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        body = await response.json()
    assert (response.status, body["code"], body["unrecoverable"], body["StatusCode"]) == (503, -1, True, 503)
    assert (response.headers["Retry-After"], *rate(response)[:2]) == ("7", "9", "8")
    assert await client.statuses("x", 1) == ["pending"]


@pytest.mark.parametrize(
    ("body", "wire"),
    [("upstream error", b"upstream error"), ({"code": 99}, b'{"code": 99}'), (b"\0", b"\0")],
    ids=["text", "JSON", "bytes"],
)
async def test_status_faults_may_have_any_body(
    server: FakeStream, client: Client, body: Any, wire: Any
) -> None:
    """The body of an injected status, known or not, can be anything."""
    server.inject(Fault.status(599, body=body, headers=[("Content-Type", "text/odd")]))
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert (response.status, await response.read()) == (599, wire)
        assert response.headers.getall("Content-Type") == ["text/odd"]


async def test_gateway_faults(server: FakeStream, client: Client) -> None:
    """Gateways answer with pages and redirects, without Stream's headers."""
    server.rate_limit = 9
    server.inject(Fault.html(504))
    server.inject(Fault.redirect("http://example.com/"))
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert (response.status, response.content_type) == (504, "text/html")
        assert "504 Gateway Timeout" in await response.text()
        assert rate(response) == (None, None, None)
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert (response.status, response.headers["Location"]) == (302, "http://example.com/")


async def test_body_faults(server: FakeStream, client: Client) -> None:
    """A good status can come with a bad body."""
    server.inject(Fault.malformed())
    server.inject(Fault.body(b"hello", content_type="text/plain", headers={"X-A": "b"}))
    with pytest.raises(json.JSONDecodeError):
        await client.look("x")
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert (response.status, response.content_type, response.headers["X-A"]) == (200, "text/plain", "b")
        assert await response.read() == b"hello"


async def test_header_faults(server: FakeStream, client: Client) -> None:
    """The true answer can come with wrong and repeated headers."""
    server.rate_limit = 9
    server.add_task("x")
    wrong = [("x-ratelimit-reset", "inf"), ("X-RateLimit-Remaining", "1"), ("X-RateLimit-Remaining", "2")]
    server.inject(Fault.with_headers(wrong))
    async with client.ask("GET", "/api/v2/tasks/x") as response:
        assert response.status == 200
        assert response.headers.getall("X-RateLimit-Reset") == ["inf"]
        assert response.headers.getall("X-RateLimit-Remaining") == ["1", "2"]
        assert response.headers.getall("X-RateLimit-Limit") == ["9"]


async def test_reset_connections(server: FakeStream, client: Client, caplog: Log) -> None:
    """A reset takes the connection away before anything is done."""
    server.inject(Fault.reset(), path="/users/delete")
    server.add_task("x", statuses=())
    assert (await client.look("x"))["status"] == "completed"
    with pytest.raises(aiohttp.ClientOSError) as failure:
        await client.start("/users/delete", {"user_ids": ["u"]})
    assert failure.value.errno == errno.ECONNRESET
    assert server.started() == []
    assert server.requests[1].status is None
    assert not caplog.records


def test_connections_may_be_gone_before_their_reset() -> None:
    """A reset of a connection that its client has already closed does nothing."""
    assert reset(cast("Any", SimpleNamespace(transport=None))).status == 200


async def test_cut_answers(server: FakeStream, client: Client, caplog: Log) -> None:
    """An answer can end half-way, after the work is done."""
    server.inject(Fault.cut())
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.start("/users/delete", {"user_ids": ["u"]})
    assert len(server.started()) == 1
    assert server.requests[0].status is None
    assert (await client.start("/users/delete", {"user_ids": ["u"]}))[0] == 201
    assert not caplog.records


@pytest.mark.parametrize("fault", [Fault.delay(0.05), Fault.hang(0.05)], ids=["delay", "hang"])
async def test_late_answers(server: FakeStream, client: Client, fault: Fault) -> None:
    """Latency comes before the true answer."""
    server.inject(fault)
    server.add_task("x")
    begin = time.perf_counter()
    assert (await client.look("x"))["status"] == "pending"
    assert time.perf_counter() - begin >= 0.045


async def test_faults_find_their_requests(server: FakeStream, client: Client) -> None:
    """A fault strikes only what it is meant for, as often as it is meant to."""
    for task_id in ("x", "y"):
        server.add_task(task_id, statuses=())
    server.inject(Fault.status(500), task_id="x", times=2)
    server.inject(Fault.status(418), path="/users/")
    answers = [(await client.get(f"/tasks/{task_id}"))[0] for task_id in "yxyxx"]
    assert answers == [200, 500, 200, 500, 200]
    assert (await client.start("/users/delete"))[0] == 418
    server.inject(Fault.status(500), math.inf)
    server.heal()
    assert (await client.get("/tasks/x"))[0] == 200


async def test_faults_may_pass_some_requests(server: FakeStream, client: Client) -> None:
    """A fault can begin with a later request; those that met another one are not counted."""
    server.add_task("x", statuses=())
    server.inject(Fault.status(500))
    server.inject(Fault.status(503), 2, skip=2, task_id="x")
    answers = [(await client.get(f"/tasks/{task_id}"))[0] for task_id in "xxyxxxx"]
    assert answers == [500, 200, 404, 200, 503, 503, 200]


def test_requests_have_short_reprs() -> None:
    """A request in a failing test's output tells what matters, and no token."""
    headers = {"Authorization": "token"}
    request = Request("GET", "/api/v2/tasks/x", {"api_key": "k"}, headers, None, "x", 200, 3.5)
    assert repr(request) == (
        "Request(method='GET', path='/api/v2/tasks/x', json=None, task_id='x', status=200, at=3.5,"
        " task_status=None)"
    )


async def test_log_can_be_cleared_under_way(server: FakeStream, client: Client) -> None:
    """A request that is answered after the log was cleared does not come back."""
    server.inject(Fault.delay(0.05))
    server.add_task("x")
    looking = asyncio.create_task(client.look("x"))
    while not server.requests:
        await asyncio.sleep(0.001)
    server.requests.clear()
    await looking
    assert server.requests == []
    server.inject(Fault.delay(0.05))
    looking = asyncio.create_task(client.look("x"))
    while not server.requests:
        await asyncio.sleep(0.001)
    server.requests.clear()
    await client.look("x")
    await looking
    assert [request.status for request in server.requests] == [200]


def test_faults_have_readable_reprs() -> None:
    """A fault in a failing test's output says what it is."""
    assert repr(Fault.hang()) == "Fault(name='hang inf s')"
    assert repr(Fault.status(500)) == "Fault(name='status 500')"


# The official client


def official() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import getstream
        import getstream.models
    return getstream


@pytest.mark.slow
def test_official_sync_client_works() -> None:
    """The official blocking client starts operations, waits for them and sees them fail."""
    getstream = official()
    begin = time.time()
    with (
        FakeStream() as server,
        getstream.Stream(server.api_key, server.api_secret, base_url=server.url) as client,
    ):
        channels = [getstream.models.ChannelExport(type="messaging", id="general")]
        started = client.chat.export_channels(channels)
        done = client.wait_for_task(started.data.task_id, poll_interval=0.01)
        assert done.data.result["s3_bucket_name"]
        assert client.chat.delete_channels(CIDS).data.result[CIDS[0]].status == "ok"
        started = client.chat.delete_channels(CIDS, hard_delete=True)
        done = client.wait_for_task(started.data.task_id, poll_interval=0.01)
        assert done.data.result == {cid: {"status": "ok"} for cid in CIDS}
        assert begin - 0.001 <= done.data.created_at.timestamp() <= time.time()
        server.rate_limit = 100
        limits = client.get_rate_limits(server_side=True, endpoints="GetTask").data.server_side
        assert limits["GetTask"].limit == 100
        failing = server.add_task(error=TaskFailure("Oops", "it broke"))
        with pytest.raises(getstream.exceptions.StreamTaskException, match="it broke"):
            client.wait_for_task(failing, poll_interval=0.01)


@pytest.mark.filterwarnings("ignore:Missing value of non-optional type:RuntimeWarning")  # fields of the call
@pytest.mark.slow
async def test_official_async_client_works(server: FakeStream) -> None:
    """The official async client starts operations and waits for them."""
    getstream = official()
    async with getstream.AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
        started = await client.chat.export_channels([getstream.models.ChannelExport(cid="messaging:general")])
        done = await client.wait_for_task(started.data.task_id, poll_interval=0.01)
        assert done.data.result["url"]
        started = await client.chat.delete_channels(CIDS, hard_delete=True)
        done = await client.wait_for_task(started.data.task_id, poll_interval=0.01)
        assert done.data.result == {cid: {"status": "ok"} for cid in CIDS}
        call = await client.video.delete_call("default", "c", hard=True)
        assert call.data.task_id
        with pytest.raises(getstream.exceptions.StreamApiException, match="Can't find task"):
            await client.get_task("a/b")
    assert server.requests[-1].task_id == "a/b"


@pytest.mark.slow
def test_official_client_reads_other_work() -> None:
    """The official client starts and reads imports, campaigns and policy-test runs."""
    getstream = official()
    with (
        FakeStream() as server,
        getstream.Stream(server.api_key, server.api_secret, base_url=server.url) as client,
    ):
        started = client.create_import(mode="upsert", path="a.json").data.import_task
        client.get_import(started.id)
        assert client.get_import(started.id).data.import_task.history[0].next_state == "analyzing"
        settings = getstream.models.ImportV2TaskSettings(mode="upsert", path="a.json")
        made = client.create_import_v2_task(product="chat", settings=settings).data
        assert client.get_import_v2_task(made.id).data.state == made.state
        campaign_id = server.add_campaign()
        assert client.chat.start_campaign(campaign_id).data.campaign.status == "scheduled"
        assert client.chat.get_campaign(campaign_id).data.campaign.id == campaign_id
        run = client.moderation.start_policy_test_run("s1").data.run
        assert client.moderation.get_policy_test_run(run.id).data.run.task_id == run.task_id
        members = [getstream.models.ChannelBatchMemberRequest(user_id="jane")]
        batch = client.chat.channel_batch_update(
            operation="addMembers", filter={"type": "x"}, members=members
        )
        assert client.get_task(batch.data.task_id).data.status == "pending"
        mode = {"user": "hard", "messages": "hard", "conversations": "hard"}
        assert client.delete_users(["jane"], **mode).data.task_id
