import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy

from durable.servers import Postgres
from durable.workers import Workers, until
from stream_tasks import AsyncStream
from stream_tasks.durable import BlockingWaitClient, DuplicateWorkerError, DurableWaits, TaskEnd, WaitClient
from stream_tasks.durable._database import Database, WorkerLock
from stream_tasks.testing import FakeStream, Fault


def begin(waits: BlockingWaitClient, fake: FakeStream, number: int) -> dict[str, str]:
    """Have so many tasks waited for that do not end by themselves, and return their ids by key."""
    ids = {f"wait-{each}": fake.add_task(never=True) for each in range(number)}
    with ThreadPoolExecutor(4) as threads:
        for key, task_id in ids.items():
            threads.submit(waits.wait, task_id, handler="write", key=key)
    return ids


def end(fake: FakeStream, ids: dict[str, str]) -> None:
    for task_id in ids.values():
        fake.finish(task_id)


def test_a_killed_worker_goes_on_under_its_own_id(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """Of two workers one is killed and started again: none of their waits is lost, none is handled twice."""
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 100)
        first = workers.start(postgres, "first", waits_per_worker=50)
        workers.start(postgres, "second", waits_per_worker=50)
        until(lambda: {each.worker for each in waits.pending()} == {"first", "second"})
        first.kill()
        first.join()
        end(fake, ids)
        workers.start(postgres, "first", waits_per_worker=50)
        workers.wait_for_ends(100)
        until(lambda: not waits.pending())
    assert workers.calls() == dict.fromkeys(ids, 1)


def test_another_worker_takes_over(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """The waits of a worker that never comes back are given to the others, but not while it runs."""
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 20)
        lost = workers.start(postgres, "lost")
        until(lambda: {each.worker for each in waits.pending()} == {"lost"})
        workers.start(postgres, "other")
        with pytest.raises(DuplicateWorkerError, match="a worker with the id 'lost' is running"):
            waits.take_over("lost")
        lost.kill()
        lost.join()
        until(lambda: _take_over(waits) == 20)
        end(fake, ids)
        workers.wait_for_ends(20)
        until(lambda: not waits.pending())
    assert workers.calls() == dict.fromkeys(ids, 1)


def _take_over(waits: BlockingWaitClient) -> int:
    try:
        return waits.take_over("lost")
    except DuplicateWorkerError:  # the server has not noticed yet
        return 0


def test_all_workers_are_killed(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """What was being started is uncertain, what was waited for goes on, and the rest is started."""
    fake.inject(Fault.delay(3), 8, path="/users/delete")
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 50)
        until(lambda: len(waits.pending()) == 50)
        both = [workers.start(postgres, name) for name in ("first", "second")]
        until(lambda: all(map(fake.polls, ids.values())))
        starts = [f"start-{each}" for each in range(20)]
        for key in starts:
            waits.start("delete_users", [key], handler="write", key=key)
        until(lambda: sum(each.method == "POST" for each in fake.requests) >= 4)
        for worker in both:
            worker.kill()
            worker.join()
        end(fake, ids)
        for name in ("first", "second"):
            workers.start(postgres, name)
        ends = workers.wait_for_ends(70)
        until(lambda: not waits.pending())
    sent = [each.json["user_ids"][0] for each in fake.requests if each.method == "POST"]
    uncertain = {found["key"] for found in ends if found["may_have_started"]}
    assert len(sent) == len(set(sent))
    assert set(sent) | uncertain == set(starts)
    assert len(uncertain) >= 4
    assert workers.calls() == dict.fromkeys([*ids, *starts], 1)


def test_sigterm_hands_over(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """A worker that is stopped gives its hundred waits to the other one; nothing is uncertain."""
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 100)
        until(lambda: len(waits.pending()) == 100)
        first = workers.start(postgres, "first")
        until(lambda: {each.worker for each in waits.pending()} == {"first"})
        workers.start(postgres, "second")
        first.terminate()
        first.join(60)
        assert first.exitcode == 0
        until(lambda: {each.worker for each in waits.pending()} == {"second"})
        end(fake, ids)
        workers.wait_for_ends(100)
        until(lambda: not waits.pending())
    assert workers.calls() == dict.fromkeys(ids, 1)
    assert "WARNING:dbos" not in workers.log(0)


def test_ten_seconds_without_the_database(
    workers: Workers, fake: FakeStream, postgres: str, postgres_server: Postgres
) -> None:
    """What ends while the database is away is handled when it is back; a start is refused meanwhile."""
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 50)
        worker = workers.start(postgres, "first")
        until(lambda: all(map(fake.polls, ids.values())))
        postgres_server.stop()
        end(fake, ids)
        with pytest.raises(sqlalchemy.exc.DBAPIError):
            waits.wait("id", handler="write")
        time.sleep(10)
        postgres_server.start()
        workers.wait_for_ends(50)
        until(lambda: not waits.pending())
        assert worker.is_alive()
        with pytest.raises(DuplicateWorkerError):  # it has its lock again
            until(lambda: waits.take_over("first") < 0)
    assert set(workers.calls()) == set(ids)


def test_the_same_key_from_many_processes_is_one_wait(
    workers: Workers, fake: FakeStream, postgres: str
) -> None:
    """Whoever comes first starts it; the others get its key."""
    with BlockingWaitClient(postgres) as one, BlockingWaitClient(postgres) as two:
        for number in range(2):
            workers.start(postgres, f"worker-{number}")
        with ThreadPoolExecutor(8) as threads:
            calls = [
                threads.submit(client.start, "delete_users", ["jane"], handler="write", key="same")
                for client in (one, two) * 10
            ]
        assert {call.result() for call in calls} == {"same"}
        workers.wait_for_ends(1)
        until(lambda: not one.pending())
    assert workers.calls() == {"same": 1}
    assert sum(each.method == "POST" for each in fake.requests) == 1


def test_a_handler_that_raises_twice(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """It is called a third time, also if the worker is restarted in between."""
    with BlockingWaitClient(postgres) as waits:
        worker = workers.start(postgres, "first", raises=2)
        waits.wait(fake.add_task(), handler="write", key="one")
        until(lambda: "the handler 'write' failed for the wait one" in workers.log(0))
        worker.terminate()
        worker.join(60)
        assert worker.exitcode == 0
        workers.start(postgres, "first", raises=2)
        workers.wait_for_ends(1)
        until(lambda: not waits.pending())
    assert workers.calls() == {"one": 1}


def test_a_deploy_of_other_code(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """A new version of the app, with workflows of its own, goes on with the waits of the old one."""
    with BlockingWaitClient(postgres) as waits:
        ids = begin(waits, fake, 10)
        worker = workers.start(postgres, "first")
        until(lambda: all(map(fake.polls, ids.values())))
        worker.kill()
        worker.join()
        workers.start(postgres, "first", own_workflows=True)
        end(fake, ids)
        workers.wait_for_ends(10)
        until(lambda: not waits.pending())
    assert workers.calls() == dict.fromkeys(ids, 1)


def test_two_workers_with_one_id(workers: Workers, fake: FakeStream, postgres: str) -> None:
    """The second one says so and ends; the first one goes on."""
    with BlockingWaitClient(postgres) as waits:
        workers.start(postgres, "same")
        with pytest.raises(AssertionError, match=r"DuplicateWorkerError: .*'same' is running"):
            workers.start(postgres, "same")
        waits.wait(fake.add_task(), handler="write", key="one")
        workers.wait_for_ends(1)


async def test_a_worker_takes_no_more_than_its_share(
    client: AsyncStream, fake: FakeStream, postgres: str
) -> None:
    """`waits_per_worker` bounds how many waits run; the others follow."""
    waits = DurableWaits(client, postgres, worker_id="one", waits_per_worker=3)
    ids = [fake.add_task(never=True) for _ in range(5)]
    async with client, waits:
        for number, task_id in enumerate(ids):
            await waits.wait(task_id, handler=None, key=str(number))
        async with asyncio.timeout(30):
            while sum(each.worker is not None for each in await waits.pending()) < 3:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        assert [each.worker for each in await waits.pending()] == ["one"] * 3 + [None] * 2
        fake.finish(ids[0])
        async with asyncio.timeout(30):
            while not fake.polls(ids[3]):
                await asyncio.sleep(0.05)
        assert not fake.polls(ids[4])


async def test_starting_in_the_transaction_of_an_app(
    client: AsyncStream, fake: FakeStream, postgres: str
) -> None:
    """An app's row and its wait are there together or not at all."""
    engine = sqlalchemy.create_engine(postgres.replace("postgresql", "postgresql+psycopg"))
    ended: asyncio.Queue[TaskEnd[Any]] = asyncio.Queue()
    waits = DurableWaits(client, postgres, worker_id="one")
    waits.on_end("end")(ended.put)
    insert = sqlalchemy.text("INSERT INTO exports VALUES (:key)")

    def export(web: WaitClient, key: str, *, fails: bool) -> None:
        with engine.begin() as connection:
            connection.execute(insert, {"key": key})
            web.start_in_transaction(
                connection, "export_channels", [{"cid": "messaging:general"}], handler="end", key=key
            )
            if fails:
                raise ValueError("rolled back")

    async with client, waits, WaitClient(postgres) as web:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE exports (key TEXT)"))
        with pytest.raises(ValueError, match=r"^rolled back$"):
            await asyncio.to_thread(export, web, "lost", fails=True)
        await asyncio.to_thread(export, web, "kept", fails=False)
        found = await asyncio.wait_for(ended.get(), 30)
        with engine.begin() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT key FROM exports")).scalars().all()
    engine.dispose()
    assert found.key == "kept"
    assert found.ok
    assert rows == ["kept"]
    assert sum(each.method == "POST" for each in fake.requests) == 1


def test_a_worker_whose_connection_is_lost_gets_its_id_again(
    postgres: str, postgres_server: Postgres
) -> None:
    """The id is held again as soon as the database answers, unless another worker has it."""
    database = Database(postgres)
    lock, other = WorkerLock(database, "one"), WorkerLock(database, "one")
    lock.acquire()
    lock.acquire()
    sessions = f"FROM pg_stat_activity WHERE datname = '{postgres.rpartition('/')[2]}'"

    def disconnect() -> None:
        postgres_server.sql(f"SELECT pg_terminate_backend(pid) {sessions}")
        until(lambda: postgres_server.sql(f"SELECT count(*) {sessions}") == "0")

    disconnect()
    lock.acquire()
    with pytest.raises(DuplicateWorkerError):
        other.acquire()
    disconnect()
    other.acquire()
    with pytest.raises(DuplicateWorkerError):
        lock.acquire()
    other.release()
    lock.acquire()
    lock.release()
    lock.release()


async def test_a_failing_database_is_told_of_once(
    client: AsyncStream,
    postgres: str,
    postgres_server: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the trouble when it begins, and not with each try."""
    monkeypatch.setattr("stream_tasks.durable._worker.WATCH_INTERVAL", 0.1)
    async with client, DurableWaits(client, postgres, worker_id="one"):
        await asyncio.to_thread(postgres_server.stop)
        await asyncio.sleep(3)
        await asyncio.to_thread(postgres_server.start)
        await asyncio.sleep(1)
    told = [each for each in caplog.records if getattr(each, "stream_event", "") == "database_failed"]
    assert len(told) == 1
