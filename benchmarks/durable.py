"""Durable waits beside plain ones, under one quota: time, CPU, bytes, refusals, and how late handlers are.

    python benchmarks/durable.py --waits 1000 10000 --workers 1 2 4 --postgres postgresql://…/empty
    python benchmarks/durable.py --waits 200 --after 2 6

SQLite has one worker. The quota is that of all workers together; plain waits run in one process. For
Postgres, name a database that may be written to. The rows of DBOS are workflows of two steps that do nothing:
what the engine costs at the least.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import tempfile
import time
import uuid
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, EnqueueOptions

from stream_tasks import AsyncStream
from stream_tasks.durable import BlockingWaitClient, DurableWaits, TaskEnd
from stream_tasks.durable._database import SCHEMA, VERSION, Database
from stream_tasks.testing import FakeStream

PROCESSES = multiprocessing.get_context("spawn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--waits", type=int, nargs="+", default=[1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--after", type=float, nargs=2, default=[60.0, 120.0], help="when tasks end, seconds")
    parser.add_argument("--quota", type=int, default=6000, help="polls a minute")
    parser.add_argument("--postgres", help="the URL of a database")
    given = parser.parse_args()
    print("engine    workers  waits  seconds  CPU ms/wait  bytes/wait  refused  end to handler: median, 95th")
    with tempfile.TemporaryDirectory() as directory:
        for number, waits in enumerate(given.waits):
            plain = run(given, None, 1, waits)
            show("plain", 1, waits, plain, plain)
            file = f"{directory}/{number}.db"
            show("SQLite", 1, waits, run(given, file, 1, waits), plain)
            least("DBOS, SQLite", file, waits)
            for workers in given.workers if given.postgres else []:
                show("Postgres", workers, waits, run(given, given.postgres, workers, waits), plain)
            if given.postgres:
                least("DBOS, Pg", given.postgres, waits)


def show(engine: str, workers: int, waits: int, found: dict[str, Any], plain: dict[str, Any]) -> None:
    middle, late = found["delays"]
    ratios = f"x {middle / plain['delays'][0]:.2f}, x {late / plain['delays'][1]:.2f}"
    print(
        f"{engine:<10}{workers:>6}{waits:>7}{found['seconds']:>9.1f}{found['cpu'] * 1000:>13.2f}"
        f"{found['bytes']:>12.0f}{found['refused']:>9.2%}  {middle:.2f}, {late:.2f}  ({ratios})",
        flush=True,
    )


def run(given: argparse.Namespace, database: str | None, workers: int, waits: int) -> dict[str, Any]:
    """Wait for tasks, and return what it took."""
    ids = [uuid.uuid4().hex for _ in range(waits)]
    before = 0
    if database is not None:
        with BlockingWaitClient(database) as client:
            client.pending()  # makes the tables
            before = size(database)
            for task_id in ids:
                client.wait(task_id, handler="note", key=task_id)
    with FakeStream(rate_limit=given.quota) as fake:
        go, stop = PROCESSES.Event(), PROCESSES.Event()
        ready, handled, spent = PROCESSES.Queue(), PROCESSES.Queue(), PROCESSES.Queue()
        share = {"ids": ids, "database": database, "environment": fake.environment}
        running = [
            PROCESSES.Process(target=work, args=(f"worker-{number}", share, ready, go, handled, stop, spent))
            for number in range(workers)
        ]
        for each in running:
            each.start()
        for _ in running:
            ready.get()
        chance = random.Random(7)
        ends = {}
        for task_id in ids:
            after = chance.uniform(*given.after)
            fake.add_task(task_id, after=after)
            ends[task_id] = time.time() + after
        begun = time.time()
        go.set()
        times: dict[str, float] = {}
        while len(times) < waits:
            times.update([handled.get()])
        seconds = time.time() - begun
        stop.set()
        cpu = sum(spent.get() for _ in running)
        for each in running:
            each.join()
        polls = [each for each in fake.requests if each.method == "GET"]
    delays = sorted(times[task_id] - ends[task_id] for task_id in ids)
    return {
        "seconds": seconds,
        "cpu": cpu / waits,
        "bytes": 0 if database is None else (size(database) - before) / waits,
        "refused": sum(each.status == 429 for each in polls) / len(polls),
        "delays": (statistics.median(delays), delays[int(len(delays) * 0.95)]),
    }


def work(name: str, share: dict[str, Any], ready: Any, go: Any, handled: Any, stop: Any, spent: Any) -> None:  # noqa: PLR0917
    """Be a worker, or for plain waits the one process."""
    os.environ.update(share["environment"])
    ready.put(name)
    go.wait()
    before = time.process_time()
    if share["database"] is None:
        asyncio.run(wait_plainly(share["ids"], handled))
    else:
        asyncio.run(wait_durably(name, share["database"], handled, stop))
    spent.put(time.process_time() - before)


async def wait_plainly(ids: list[str], handled: Any) -> None:
    async with AsyncStream() as client:
        async for outcome in client.as_completed(ids, timeout=None):
            handled.put((outcome.task_id, time.time()))


async def wait_durably(name: str, database: str, handled: Any, stop: Any) -> None:
    client = AsyncStream()
    waits = DurableWaits(client, database, worker_id=name)

    @waits.on_end("note")
    async def note(end: TaskEnd[Any]) -> None:
        handled.put((end.key, time.time()))

    async with client, waits:
        while not stop.is_set():  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(0.2)
        while await waits.pending():  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.2)


def least(engine: str, database: str, waits: int) -> None:
    """Print what DBOS costs for workflows of two steps that do nothing."""
    found = PROCESSES.Queue()
    process = PROCESSES.Process(target=run_empty, args=(database, waits, found))
    process.start()
    cpu, took = found.get()
    process.join()
    print(f"{engine:<15}1{waits:>7}{took:>9.1f}{cpu * 1000:>13.2f}", flush=True)


def run_empty(database: str, waits: int, found: Any) -> None:
    """Run workflows of two empty steps."""
    place = Database(database)

    async def nothing() -> None:
        pass

    @DBOS.workflow(name="empty")
    async def empty(_: dict[str, Any]) -> None:
        await DBOS.run_step_async({"name": "one"}, nothing)
        await DBOS.run_step_async({"name": "two"}, nothing)

    async def main() -> None:
        DBOS(config=place.config("least"))
        client = place.client()
        await client.register_queue_async("empty", polling_interval_sec=0.5)
        options: EnqueueOptions = {"workflow_name": "empty", "queue_name": "empty", "app_version": VERSION}
        for _ in range(waits):
            await client.enqueue_async(options, {"context": None})
        begun, before = time.time(), time.process_time()
        DBOS.launch()
        live = ["ENQUEUED", "PENDING"]
        while await client.list_workflows_async(name="empty", status=live, limit=1):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.2)
        found.put(((time.process_time() - before) / waits, time.time() - begun))
        await asyncio.to_thread(DBOS.destroy)

    asyncio.run(main())


def size(database: str) -> int:
    """Return how large the tables and indices of the waits are, in bytes."""
    engine = sa.create_engine(
        database.replace("postgresql://", "postgresql+psycopg://")
        if "://" in database
        else f"sqlite:///{database}"
    )
    statement = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    if "://" in database:
        statement = (
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_all_tables WHERE schemaname = :name"
        )
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(statement), {"name": SCHEMA} if ":name" in statement else {}
        ).scalar()
    engine.dispose()
    return int(found or 0)


if __name__ == "__main__":
    main()
