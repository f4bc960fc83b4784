"""Waits that come and go at random, over real sockets, before a server that answers as it likes."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest
from scripted import assert_rests

from stream_tasks import AsyncStream, StreamException, StreamWaitTimeoutException
from stream_tasks._engine.poll import Look

WAITS = 300
CONNECTIONS = 20
PATIENCE = [0.0, 0.001, 0.05, 0.3, 1.0]
TROUBLE = ["reset", "cut", "noise", "silence", "408", "429", "503", "502"]
QUOTAS = [
    "",
    "X-RateLimit-Limit: inf\r\nX-RateLimit-Remaining: -1\r\nX-RateLimit-Reset: soon\r\n",
    "X-RateLimit-Limit: 1\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 99999999999\r\n",
    "X-RateLimit-Limit: 9000000, 9000000\r\n",
]


def answer(chance: random.Random, task_id: str, looks: int) -> bytes | None:
    """What the server says to a look; None where it is to say no more."""
    trouble = chance.choice(TROUBLE) if chance.random() < 0.2 else "none"
    if trouble == "429" and chance.random() < 0.9:
        trouble = "503"  # each 429 holds all polls for a second
    status, body = "200", {"task_id": task_id, "status": "running", "created_at": 1, "updated_at": looks}
    if looks > int(task_id) % 4:
        body |= {"status": "completed", "result": {"id": task_id}}
    if task_id.endswith("7"):
        body["status"] = "stuck"
    content = json.dumps(body).encode()
    if trouble in ("reset", "silence"):
        return None if trouble == "reset" else b""
    if trouble == "noise":
        return b"\x00\xff\r\n\r\n"
    if trouble.isdigit():
        status, content = (
            trouble,
            chance.choice([b'{"code": 9, "message": "no"}', b"<html>bad gateway</html>"]),
        )
    head = f"HTTP/1.1 {status} X\r\n{chance.choice(QUOTAS)}Content-Length: {len(content)}\r\n\r\n"
    whole = head.encode() + content
    return whole[:-5] if trouble == "cut" else whole


@asynccontextmanager
async def moody_server(chance: random.Random) -> AsyncIterator[str]:
    looks: Counter[str] = Counter()
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                task_id = head.partition(b"?")[0].rpartition(b"/")[2].decode()
                looks[task_id] += 1
                said = answer(chance, task_id, looks[task_id])
                if said == b"":
                    await reader.read(1)  # until the other side has had enough
                    break
                if said is None:
                    break
                await asyncio.sleep(chance.choice([0, 0, 0.02]))
                writer.write(said)
                if not said.endswith((b"}", b">")):
                    break
        writer.transport.abort()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    listener = await asyncio.start_server(come, "127.0.0.1", 0, backlog=1000)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()
    if talks:
        await asyncio.wait(talks, timeout=5)
    assert not talks, "connections are left"


class Watched(AsyncStream):
    """A client that is looked at while it polls."""

    def __init__(self, **options: Any) -> None:
        super().__init__("key", token="a.ready.token", **options)
        self.in_flight: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def _look_over(self, transport: Any) -> Any:
        fetch: Callable[[str, float], Awaitable[Look]] = super()._look_over(transport)

        async def look(task_id: str, limit: float) -> Look:
            for name in (task_id, "all"):
                self.in_flight[name] += 1
                self.most[name] = max(self.most[name], self.in_flight[name])
            try:
                return await fetch(task_id, limit)
            finally:
                self.in_flight.subtract((task_id, "all"))

        return look


def check(task_id: str, came: object) -> None:
    """Each wait is answered rightly, or elapses."""
    if isinstance(came, StreamException):
        assert isinstance(came, StreamWaitTimeoutException), repr(came)
        assert came.task_id == task_id
    else:
        assert came == {"id": task_id}
        assert not task_id.endswith("7")


async def wait_for_one(client: AsyncStream, chance: random.Random, task_id: str) -> None:
    came: object
    try:
        came = await client.wait_for_task(task_id, chance.choice([0, 0.1]), chance.choice(PATIENCE))
    except StreamException as error:
        came = error
    check(task_id, came)


async def wait_for_many(client: AsyncStream, chance: random.Random, task_id: str) -> None:
    ids = [task_id, *(str(chance.randrange(40)) for _ in range(5))]
    outcomes = await client.wait_for_tasks(ids, chance.choice([0, 0.1]), chance.choice(PATIENCE))
    assert list(outcomes) == list(dict.fromkeys(ids))
    for found, outcome in outcomes.items():
        check(found, outcome.exception() or outcome.result())


async def take_some(client: AsyncStream, chance: random.Random, task_id: str) -> None:
    ids = [task_id, *(str(chance.randrange(40)) for _ in range(5))]
    found: list[str] = []
    most = chance.choice([1, 3, 6])
    outcomes = client.as_completed(ids, 0.1, chance.choice(PATIENCE), max_waiting=chance.choice([None, 2]))
    async with aclosing(outcomes):
        async for outcome in outcomes:
            found.append(str(outcome.task_id))
            check(found[-1], outcome.exception() or outcome.result())
            if len(found) == most:
                break
    assert len(found) == most
    assert not Counter(found) - Counter(ids)


async def watch(client: AsyncStream, chance: random.Random, task_id: str) -> None:
    last = None
    with contextlib.suppress(StreamWaitTimeoutException):
        async for task in client.watch_task(task_id, 0.1, chance.choice(PATIENCE)):
            assert task != last
            assert last is None or not last.is_final
            last = task
        assert last is not None
        assert last.is_final


async def cut_short(work: Awaitable[None], chance: random.Random) -> None:
    """Give up some time, in one of the ways there are."""
    patience = chance.choice(PATIENCE)
    match chance.randrange(4):
        case 0:
            await work
        case 1:
            with anyio.move_on_after(patience):
                await work
        case 2:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await work
        case _:
            task = asyncio.ensure_future(work)
            await asyncio.wait([task], timeout=patience)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
async def test_waits_among_chaos(seed: int) -> None:
    """None is lost or answered wrongly, no task is polled twice at once, and nothing is left of any."""
    chance = random.Random(seed)
    trouble: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    ways = [wait_for_one, wait_for_one, wait_for_many, take_some, watch]

    async def one() -> None:
        await asyncio.sleep(chance.choice([0, chance.random()]))
        await cut_short(chance.choice(ways)(client, chance, str(chance.randrange(40))), chance)

    async with moody_server(chance) as url:
        client = Watched(base_url=url, request_timeout=0.3, max_connections=CONNECTIONS)
        async with client, asyncio.timeout(40):
            await asyncio.gather(*(one() for _ in range(WAITS)))
            engine = client._here().engine
        await asyncio.sleep(0)
    assert client.most.pop("all") <= CONNECTIONS
    assert set(client.most.values()) == {1}
    assert not +client.in_flight
    assert not trouble
    assert_rests(engine)
