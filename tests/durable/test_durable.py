import asyncio
import contextlib
import datetime as dt
import json
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from durable.workers import Workers, until
from stream_tasks import (
    AsyncStream,
    DeleteChannelsResult,
    ExportChannelsResult,
    ItemResult,
    StartedTask,
    Stream,
)
from stream_tasks.durable import (
    BlockingDurableWaits,
    BlockingWaitClient,
    DuplicateWorkerError,
    DurableWaits,
    TaskEnd,
    WaitClient,
)
from stream_tasks.testing import FakeStream, Fault

CHANNEL = {"type": "messaging", "id": "general"}


class Ends:
    """A handler that hands on what it is called with."""

    def __init__(self, waits: DurableWaits, name: str = "end", *, raises: int = 0) -> None:
        self.calls = 0
        self._raises = raises
        self._queue: asyncio.Queue[TaskEnd[Any]] = asyncio.Queue()
        waits.on_end(name)(self.call)

    async def call(self, end: TaskEnd[Any]) -> None:
        self.calls += 1
        if self.calls <= self._raises:
            raise RuntimeError("not yet")
        self._queue.put_nowait(end)

    async def next(self) -> TaskEnd[Any]:
        async with asyncio.timeout(30):
            return await self._queue.get()


async def test_an_operation_is_started_waited_for_and_handled(client: AsyncStream, file: str) -> None:
    """The handler gets the result, typed as its operation's, and what the caller gave along."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        key = await waits.start(
            client.export_channels, [CHANNEL], handler="end", key="november", context={"user": 7}
        )
        end = await ends.next()
        found = await waits.outcome("november")
    assert key == "november"
    assert end == found
    assert (end.key, end.ok, end.context, end.items) == (
        "november",
        True,
        {"user": 7},
        ("messaging:general",),
    )
    assert isinstance(end.result, ExportChannelsResult)
    assert end.result.url.startswith("http")


async def test_a_running_task_is_waited_for(client: AsyncStream, file: str) -> None:
    """A started task keeps its type; of a bare id, the operation can be named."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        started = await client.delete_users(["jane"])
        await waits.wait(started, handler="end", key="started")
        first = await ends.next()
        await waits.wait(str(started.task_id), operation=client.delete_users, handler="end", key="id")
        second = await ends.next()
    assert first.result == second.result
    assert first.items == ("jane",)
    assert first.result is not None
    assert first.result.failed == {}


async def test_what_the_server_did_at_once_is_handled_too(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """A started task without an id ends with its result."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    done = StartedTask.from_json(
        json.dumps({"task_id": None, "operation": "delete_channels", "result_type": "DeleteChannelsResult",
                    "items": ["messaging:general"], "result": {"messaging:general": {"status": "ok"}}})
    )  # fmt: skip
    async with client, waits:
        await waits.wait(done, handler="end")
        end = await ends.next()
    assert end.ok
    assert end.task_id is None
    assert end.result == DeleteChannelsResult({"messaging:general": ItemResult("ok")})
    assert not fake.requests


async def test_a_failed_task_says_why(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """Failure is an end like any other."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        await waits.wait(fake.add_task(error={"type": "broken", "description": "it broke"}), handler="end")
        end = await ends.next()
    assert (end.ok, end.status, end.result) == (False, "failed", None)
    assert end.error is not None
    assert (end.error.type, end.error.description) == ("broken", "it broke")
    assert not end.may_have_started


async def test_a_wait_times_out(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """The time-out counts from when the wait was made."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        await waits.wait(fake.add_task(after=3600), handler="end", timeout=0.5)
        end = await ends.next()
    assert end.status == "timed_out"


async def test_a_start_whose_time_has_passed_is_not_sent(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """A wait that no worker took up in time starts nothing."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    await waits.start("delete_users", ["jane"], handler="end", timeout=0)
    async with client, waits:
        end = await ends.next()
    assert (end.status, end.may_have_started, fake.requests) == ("timed_out", False, [])


async def test_the_same_key_twice_is_one_wait(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """Starting twice is not starting once: the second call changes nothing."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        keys = await asyncio.gather(
            *(waits.start("delete_users", ["jane"], handler="end", key="same") for _ in range(5))
        )
        await ends.next()
        assert await waits.start("delete_users", ["jane"], handler="end", key="same") == "same"
        await asyncio.sleep(1)
    assert keys == ["same"] * 5
    assert ends.calls == 1
    assert len([each for each in fake.requests if each.method == "POST"]) == 1


async def test_a_handler_that_raises_is_called_again(
    client: AsyncStream, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called until it returns, and each failure is logged."""
    waits = DurableWaits(client, file)
    ends = Ends(waits, raises=2)
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="end", key="one")
        assert (await ends.next()).ok
    failures = [each for each in caplog.records if getattr(each, "stream_event", "") == "handler_failed"]
    assert ends.calls == 3
    assert [each.stream_key for each in failures] == ["one", "one"]  # type: ignore[attr-defined]


async def test_handlers_may_block(client: AsyncStream, file: str) -> None:
    """A plain function is called in a thread; what it returns is awaited if it can be."""
    waits = DurableWaits(client, file)
    called: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def note(word: str) -> None:
        called.put_nowait(word)

    @waits.on_end("plain")
    def plain(end: TaskEnd[Any]) -> None:
        asyncio.run_coroutine_threadsafe(note(end.key), loop).result()

    waits.on_end("returns")(lambda end: note(end.key))
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="plain", key="1")
        assert await asyncio.wait_for(called.get(), 30) == "1"
        await waits.start("delete_users", ["jane"], handler="returns", key="2")
        assert await asyncio.wait_for(called.get(), 30) == "2"


async def test_a_refused_start_is_tried_again(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """After a 429 nothing was started, so the start goes out again."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    fake.inject(Fault.status(429))
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="end")
        end = await ends.next()
    assert end.ok
    assert len([each for each in fake.requests if each.method == "POST"]) == 2


async def test_a_start_that_is_refused_for_good_ends(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """A 400 started nothing, a 429 beyond the deadline neither; a 503 may have started something."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    found = []
    async with client, waits:
        for status in (400, 429, 503):
            fake.inject(Fault.status(status, headers={"Retry-After": "3600"}))
            await waits.start("delete_users", ["jane"], handler="end", key=str(status), timeout=600)
            end = await ends.next()
            assert end.error is not None
            found.append((end.key, end.status, end.may_have_started))
            assert await waits.outcome(str(status)) == end
    assert found == [("400", "error", False), ("429", "error", False), ("503", "error", True)]
    assert len([each for each in fake.requests if each.method == "POST"]) == 3


async def test_pending_tells_what_is_waited_for(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """A wait is pending until its handler has returned."""
    waits = DurableWaits(client, file)
    Ends(waits, "end")
    task_id = fake.add_task(never=True)
    async with client, waits:
        assert await waits.pending() == []
        await waits.wait(task_id, handler="end", key="one", timeout=None, context=[1])
        await waits.start("delete_users", ["jane"], handler="missing", key="two", timeout=60)
        while not all(each.worker for each in await waits.pending()):
            await asyncio.sleep(0.05)
        while (end := await waits.outcome("two")) is None:
            await asyncio.sleep(0.05)
        one, two = await waits.pending()
        assert await waits.outcome("one") is None
    assert (one.key, one.task_id, one.operation, one.deadline) == ("one", task_id, None, None)
    assert (two.key, two.task_id, two.operation, two.handler) == ("two", None, "delete_users", "missing")
    assert two.deadline is not None
    assert two.deadline.tzinfo is dt.UTC
    assert end.ok
    assert one.to_dict()["context"] == [1]


async def test_a_cancelled_wait_calls_no_handler(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """Cancelling ends the wait, from this process or another; the task goes on."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    here, elsewhere = fake.add_task(never=True), fake.add_task(never=True)
    async with client, waits, WaitClient(file) as other:
        await waits.wait(here, handler="end", key="here")
        await other.wait(elsewhere, handler="end", key="elsewhere")
        while not (fake.polls(here) and fake.polls(elsewhere)):
            await asyncio.sleep(0.05)
        await waits.cancel("here")
        await other.cancel("elsewhere")
        await asyncio.sleep(4)
        polls = fake.polls(here), fake.polls(elsewhere)
        await asyncio.sleep(2.5)
        assert (fake.polls(here), fake.polls(elsewhere)) == polls
        assert await waits.pending() == []
        end = await waits.outcome("elsewhere")
        await waits.cancel("here")
    assert end is not None
    assert (end.status, end.ok, ends.calls) == ("cancelled", False, 0)


async def test_an_unknown_key_is_an_error(file: str) -> None:
    """Nobody waits for what is not there."""
    async with WaitClient(f"sqlite:///{file}") as waits:
        for method in (waits.outcome, waits.cancel):
            with pytest.raises(LookupError, match="no wait with the key 'nothing'"):
                await method("nothing")


async def test_old_ends_are_deleted(client: AsyncStream, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended longer ago than `keep` goes; what is pending stays."""
    monkeypatch.setattr("stream_tasks.durable._worker.FORGET_EVERY", 1)
    waits = DurableWaits(client, file, keep=0.0)
    ends = Ends(waits)
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="end", key="old")
        await waits.start("delete_users", ["joe"], handler="missing", key="kept")
        await ends.next()
        async with asyncio.timeout(30):
            with contextlib.suppress(LookupError):
                while await waits.outcome("old"):
                    await asyncio.sleep(0.1)
        assert [each.key for each in await waits.pending()] == ["kept"]


async def test_waits_go_on_when_the_worker_is_opened_again(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """Closing leaves waits pending; the same object can be opened again."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    task_id = fake.add_task(never=True)
    async with client:
        async with waits:
            await waits.wait(task_id, handler="end", key="one")
            while not fake.polls(task_id):
                await asyncio.sleep(0.05)
        assert [(each.key, each.worker) for each in await waits.pending()] == [("one", None)]
        await waits.wait(task_id, handler="end", key="cancelled while closed")
        await waits.cancel("cancelled while closed")
        fake.finish(task_id)
        async with waits:
            assert (await ends.next()).ok
        assert await asyncio.to_thread(lambda: 1) == 1
    assert ends.calls == 1


async def test_an_unexpected_error_is_told(
    client: AsyncStream, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a start the handler is told that it may have happened; of a wait only the outcome tells."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(client, "delete_users", fail)
    monkeypatch.setattr(client, "wait_for_tasks", fail)
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="end")
        end = await ends.next()
        await waits.wait("some id", handler="end", key="wait")
        async with asyncio.timeout(30):
            while (found := await waits.outcome("wait")) is None:
                await asyncio.sleep(0.05)
    for each in (end, found):
        assert each.error is not None
        assert (each.status, each.error.description) == ("error", "a bug")
    assert (end.may_have_started, found.may_have_started) == (True, False)


async def test_a_worker_that_was_not_opened_can_be_closed(client: AsyncStream, file: str) -> None:
    """Closing is always possible."""
    await DurableWaits(client, file).aclose()


async def test_a_worker_without_its_database_does_not_open(client: AsyncStream) -> None:
    """The error of the database is raised, and another worker can be opened."""
    with pytest.raises(psycopg.OperationalError):
        await DurableWaits(client, "postgresql://127.0.0.1:1/none", worker_id="one").__aenter__()
    with pytest.raises(psycopg.OperationalError):
        await DurableWaits(client, "postgresql://127.0.0.1:1/none", worker_id="one").__aenter__()


async def test_many_waits_are_listed_page_by_page(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pending waits are told, however many there are."""
    monkeypatch.setattr("stream_tasks.durable._wait_client._PAGE", 2)
    async with WaitClient(file) as waits:
        for number in range(5):
            await waits.wait("id", handler=None, key=str(number))
        assert [each.key for each in await waits.pending()] == ["0", "1", "2", "3", "4"]


async def test_a_client_that_is_closed_first_ends_no_wait(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """The wait stays pending, rather than to end with the error of a closed client."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    task_id = fake.add_task(never=True)
    async with waits, client:
        await waits.wait(task_id, handler="end", key="one")
        while not fake.polls(task_id):
            await asyncio.sleep(0.05)
    assert len(await waits.pending()) == 1
    assert ends.calls == 0


async def test_closing_lets_handlers_and_starts_end(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """What is under way is completed, so that nothing is uncertain and no handler is called twice."""
    waits = DurableWaits(client, file)
    called = asyncio.Event()
    ended = []

    @waits.on_end("slow")
    async def slow(end: TaskEnd[Any]) -> None:
        called.set()
        await asyncio.sleep(1)
        ended.append(end.key)

    fake.inject(Fault.delay(1), path="/chat/export_channels")
    async with client:
        async with waits:
            await waits.start("delete_users", ["jane"], handler="slow", key="handled")
            await asyncio.wait_for(called.wait(), 30)
            await waits.start("export_channels", [CHANNEL], handler="slow", key="started")
            while not any("export" in each.path for each in fake.requests):
                await asyncio.sleep(0.02)
        assert ended == ["handled"]
        assert [each.key for each in await waits.pending()] == ["started"]
        async with waits:
            while len(ended) < 2:
                await asyncio.sleep(0.05)
        end = await waits.outcome("started")
    assert end is not None
    assert end.ok
    assert len([each for each in fake.requests if "export" in each.path]) == 1


async def test_a_start_in_the_middle_of_which_the_worker_ends_is_uncertain(
    client: AsyncStream, fake: FakeStream, file: str
) -> None:
    """The next life sends nothing, and says that the operation may have been started."""
    fake.inject(Fault.delay(3), path="/users/delete")
    waits = DurableWaits(client, file, grace=0.0)
    ends = Ends(waits)
    async with client:
        async with waits:
            await waits.start("delete_users", ["jane"], handler="end", key="one")
            while not fake.requests:
                await asyncio.sleep(0.02)
        async with waits:
            end = await ends.next()
    assert (end.status, end.may_have_started, end.items) == ("error", True, ("jane",))
    assert end.error is not None
    assert end.error.type == "UncertainStart"
    assert len(fake.requests) == 1


async def test_starting_in_a_transaction(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """The wait is there if the transaction commits, and not if it is rolled back."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    async with client, waits:

        def both() -> None:
            with engine.connect() as connection:
                with connection.begin() as outer:
                    waits.start_in_transaction(
                        connection, client.delete_users, ["jane"], handler="end", key="rolled back"
                    )
                    outer.rollback()
                with connection.begin():
                    waits.start_in_transaction(
                        connection, "delete_users", ["joe"], handler="end", key="committed"
                    )

        await asyncio.to_thread(both)
        end = await ends.next()
        with pytest.raises(LookupError):
            await waits.outcome("rolled back")
    engine.dispose()
    assert end.key == "committed"
    assert len([each for each in fake.requests if each.method == "POST"]) == 1


async def test_a_request_of_ones_own_can_be_started(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """`start_task` starts what the client has no method for."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        await waits.start(
            client.start_task, "POST", "/users/delete", json={"user_ids": ["jane"]}, handler="end"
        )
        end = await ends.next()
    assert end.ok
    assert end.operation == "start_task"
    assert end.result == {"jane": {"status": "ok"}}


async def test_iterables_are_read_once(client: AsyncStream, fake: FakeStream, file: str) -> None:
    """What is checked is what is sent."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        await waits.start(client.delete_users, (f"user-{each}" for each in range(3)), handler="end")
        end = await ends.next()
    assert end.items == ("user-0", "user-1", "user-2")


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        pytest.param(
            ValueError,
            "user_ids must hold",
            lambda w: w.start("delete_users", [], handler="x"),
            id="no items",
        ),
        pytest.param(
            ValueError, "operation must be one of", lambda w: w.start("no_such", handler="x"), id="operation"
        ),
        pytest.param(
            TypeError, "delete_users\\(\\) ", lambda w: w.start("delete_users", handler="x"), id="argument"
        ),
        pytest.param(
            TypeError, "context must be", lambda w: w.wait("id", handler="x", context={1j}), id="context"
        ),
        pytest.param(
            TypeError, "context must be", lambda w: w.wait("id", handler="x", context=float("nan")), id="NaN"
        ),
        pytest.param(ValueError, "handler must", lambda w: w.wait("id", handler=""), id="handler"),
        pytest.param(ValueError, "key must", lambda w: w.wait("id", handler="x", key=""), id="key"),
        pytest.param(ValueError, "timeout", lambda w: w.wait("id", handler="x", timeout=-1), id="timeout"),
        pytest.param(
            ValueError, "poll_interval", lambda w: w.wait("id", handler="x", poll_interval=-1), id="interval"
        ),
        pytest.param(ValueError, "task_id", lambda w: w.wait("", handler="x"), id="task id"),
        pytest.param(TypeError, "task_id", lambda w: w.wait(3, handler="x"), id="kind of task"),
        pytest.param(
            ValueError, "method", lambda w: w.start("start_task", "MOVE", "/a", handler="x"), id="method"
        ),
        pytest.param(
            ValueError,
            "result_type must be None",
            lambda w: w.start("start_task", "POST", "/a", result_type=dict, handler="x"),
            id="own type",
        ),
        pytest.param(
            ValueError,
            "result_type must be given",
            lambda w: w.wait(StartedTask("id", {}, Path), handler="x"),
            id="own type of a started task",
        ),
    ],
)
async def test_invalid_arguments_are_refused(error: type[Exception], says: str, call: Any, file: str) -> None:
    """The error names the argument, and nothing is put in the database."""
    async with WaitClient(file) as waits:
        with pytest.raises(error, match=says):
            await call(waits)
        assert await waits.pending() == []


def test_a_worker_needs_a_client_a_database_and_an_id(
    client: AsyncStream, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing or wrong is said when the worker is made."""
    monkeypatch.delenv("STREAM_DATABASE", raising=False)
    url = "postgresql://127.0.0.1/app"
    for database, says in ((None, "STREAM_DATABASE"), ("mysql://x/y", "database must be a file"),
                           ("postgresql://", "names a database"), ("://", "not a valid URL")):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            DurableWaits(client, database)
    with pytest.raises(TypeError, match="database must be"):
        DurableWaits(client, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="client must be an AsyncStream"):
        DurableWaits("client", file)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="worker_id is missing"):
        DurableWaits(client, url)
    with pytest.raises(ValueError, match="worker_id must not be 'local'"):
        DurableWaits(client, url, worker_id="local")
    with pytest.raises(ValueError, match="waits_per_worker"):
        DurableWaits(client, file, waits_per_worker=0)
    waits = DurableWaits(client, file)
    waits.on_end("one")(print)
    with pytest.raises(ValueError, match="'one' is registered already"):
        waits.on_end("one")
    with pytest.raises(TypeError, match="handler"):
        waits.on_end("two")("not callable")  # type: ignore[type-var]
    monkeypatch.setenv("STREAM_DATABASE", file)
    assert DurableWaits(client) is not None


async def test_one_worker_a_process_and_a_file(client: AsyncStream, workers: Workers, file: str) -> None:
    """A second one says so at once, and disturbs nothing."""
    async with client, DurableWaits(client, file):
        with pytest.raises(RuntimeError, match="one DurableWaits a process"):
            await DurableWaits(client, f"{file}2").__aenter__()
        with pytest.raises(AssertionError, match="DuplicateWorkerError: another process runs the waits of"):
            await asyncio.to_thread(workers.start, file)
    worker = await asyncio.to_thread(workers.start, file)
    with pytest.raises(DuplicateWorkerError):
        await DurableWaits(client, file).__aenter__()
    with pytest.raises(DuplicateWorkerError), BlockingWaitClient(file) as waits:
        await asyncio.to_thread(waits.take_over, "local")
    worker.kill()
    async with DurableWaits(client, file):
        pass


async def test_only_the_owner_can_read_the_file(file: str) -> None:
    """Results hold signed links."""
    async with WaitClient(file) as waits:
        await waits.wait("id", handler=None)
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600


async def test_no_pickle_is_kept(client: AsyncStream, file: str) -> None:
    """All that the database holds is plain JSON."""
    waits = DurableWaits(client, file)
    ends = Ends(waits)
    async with client, waits:
        await waits.start("delete_users", ["jane"], handler="end")
        await ends.next()
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        inputs = connection.execute(sqlalchemy.text("SELECT inputs FROM workflow_input")).scalars().all()
        outputs = connection.execute(sqlalchemy.text("SELECT output FROM operation_outputs")).scalars().all()
    engine.dispose()
    assert len(inputs) == 1
    assert len(outputs) == 4
    for text in (*inputs, *outputs):
        json.loads(text)


def test_code_that_blocks_has_the_same(fake: FakeStream, file: str) -> None:
    """The blocking twins start, wait, look and cancel; handlers run in threads."""
    called: list[TaskEnd[Any]] = []
    with Stream(fake.api_key, fake.api_secret, base_url=fake.url) as client:
        waits = BlockingDurableWaits(client, file)
        waits.on_end("end")(called.append)
        with waits, BlockingWaitClient(file) as other:
            other.wait(fake.add_task(never=True), handler="end", key="never")
            key = other.start(client.delete_users, ["jane"], handler="end")
            until(lambda: [each.key for each in waits.pending()] == ["never"])
            assert [waits.outcome(key)] == called
            waits.cancel("never")
            assert other.pending() == []
        with pytest.raises(TypeError, match="client must be a Stream"):
            BlockingDurableWaits("client", file)  # type: ignore[arg-type]


def test_killed_workers_go_on_where_they_were(workers: Workers, fake: FakeStream, file: str) -> None:
    """After kill -9, a restart takes up all waits: none is lost, none is handled twice."""
    ids = {f"wait-{number}": fake.add_task(never=True) for number in range(100)}
    with BlockingWaitClient(file) as waits:
        for key, task_id in ids.items():
            waits.wait(task_id, handler="write", key=key)
        worker = workers.start(file)
        until(lambda: all(map(fake.polls, ids.values())))
        worker.kill()
        worker.join()
        workers.start(file)
        for task_id in ids.values():
            fake.finish(task_id)
        workers.wait_for_ends(100)
        until(lambda: not waits.pending())
    assert workers.calls() == dict.fromkeys(ids, 1)
    assert all(end["status"] == "completed" for end in workers.ends())


def test_a_killed_worker_starts_nothing_twice(workers: Workers, fake: FakeStream, file: str) -> None:
    """What was being started when it was killed is reported as uncertain, and the rest is started."""
    fake.inject(Fault.delay(2), 8, path="/users/delete")
    keys = [f"start-{number}" for number in range(30)]
    with BlockingWaitClient(file) as waits:
        for key in keys:
            waits.start("delete_users", [key], handler="write", key=key)
        worker = workers.start(file)
        until(lambda: len(fake.requests) >= 8)
        worker.kill()
        worker.join()
        workers.start(file)
        ends = workers.wait_for_ends(30)
    uncertain = {end["key"] for end in ends if end["may_have_started"]}
    sent = [each.json["user_ids"][0] for each in fake.requests if each.method == "POST"]
    assert len(sent) == len(set(sent))
    assert set(sent) | uncertain == set(keys)
    assert len(uncertain) >= 8
    assert workers.calls() == dict.fromkeys(keys, 1)
