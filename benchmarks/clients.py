"""The clients under test. Run as a program: one candidate does one kind of work, and prints what it measured.

``ours`` is stream_tasks, ``ours-uvloop`` its blocking client on uvloop; ``bare`` is aiohttp
and `json.loads` with nothing around them; ``official`` is getstream, ``official-retry`` the same with its
retry option. Each run is a process of its own, on a core of its own where the platform can.
"""

# ruff: noqa: PLC0415 - each process holds the library under test alone

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from server import pin

KEY = "benchmark"
SECRET = "a secret that is long enough for HS256"
CONNECTIONS = 100  # what both libraries have by default
ATTEMPTS = 10  # with getstream's retry option; it has 3 by default
PENDING = 1000.0  # seconds that the waits last which are weighed
SETTLE = 0.5  # seconds between looks whether they are pending

Ask = Callable[..., Coroutine[Any, Any, Any]]
Client = Callable[[str], AbstractAsyncContextManager[tuple[Ask, Ask]]]


@asynccontextmanager
async def bare(url: str) -> AsyncGenerator[tuple[Ask, Ask]]:
    """What one would write by hand for a single look."""
    import aiohttp

    headers = {"Authorization": "token", "stream-auth-type": "jwt"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def get_task(task_id: str) -> Any:
            async with session.get(f"{url}/api/v2/tasks/{task_id}?api_key={KEY}") as response:
                return json.loads(await response.read())

        yield get_task, get_task


@asynccontextmanager
async def ours(url: str) -> AsyncGenerator[tuple[Ask, Ask]]:
    """stream_tasks."""
    from stream_tasks import AsyncStream

    async with AsyncStream(KEY, SECRET, base_url=url) as client:
        yield client.get_task, client.wait_for_task


@asynccontextmanager
async def official(url: str, *, retry: bool = False) -> AsyncGenerator[tuple[Ask, Ask]]:
    """The asynchronous client of getstream."""
    from getstream import AsyncStream
    from getstream.config import RetryConfig

    async with AsyncStream(
        KEY, SECRET, base_url=url, retry=RetryConfig(enabled=retry, max_attempts=ATTEMPTS)
    ) as client:

        async def get_task(task_id: str) -> Any:
            return await client.get_task(id=task_id)

        yield get_task, client.wait_for_task


CLIENTS: dict[str, Client] = {
    "ours": ours,
    "bare": bare,
    "official": official,
    "official-retry": partial(official, retry=True),
}


async def turns(client: Client, url: str, options: argparse.Namespace) -> None:
    """Ask for finished tasks, whenever it is this client's turn."""
    del options
    ids = (f"done-{number}" for number in itertools.count())
    async with client(url) as (get_task, wait_for_task):
        while turn := next_turn():
            ask = get_task if turn["method"] == "get_task" else wait_for_task
            print(json.dumps(await rate(ask, ids, turn["width"], turn["seconds"])), flush=True)


async def rate(ask: Ask, ids: Iterator[str], width: int, seconds: float) -> dict[str, float]:
    """Ask again and again, `width` at a time."""
    count = 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await ask(next(ids))
            count += 1

    cpu, begun = time.process_time(), time.perf_counter()
    end = begun + seconds
    await asyncio.gather(*(work() for _ in range(width)))
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"per_second": count / took, "cpu_us": cpu / count * 1e6}


def blocking_turns(candidate: str, url: str) -> None:
    """Wait for finished tasks with a blocking client, one after another, whenever it is its turn."""
    with blocking_client(candidate, url) as client:
        ids = (f"done-{number}" for number in itertools.count())
        while turn := next_turn():
            count, cpu, begun = 0, time.process_time(), time.perf_counter()
            while time.perf_counter() < begun + turn["seconds"]:
                client.wait_for_task(next(ids))
                count += 1
            took, cpu = time.perf_counter() - begun, time.process_time() - cpu
            print(json.dumps({"per_second": count / took, "cpu_us": cpu / count * 1e6}), flush=True)


def blocking_client(candidate: str, url: str) -> Any:
    """Make a blocking client."""
    if candidate == "official":
        from getstream import Stream as Official

        return Official(KEY, SECRET, base_url=url)
    from stream_tasks import Stream

    os.environ["STREAM_UVLOOP"] = "1" if candidate == "ours-uvloop" else "0"
    return Stream(KEY, SECRET, base_url=url)


def next_turn() -> dict[str, Any]:
    """Wait for the word, and what to do; nothing when it is over."""
    turn: dict[str, Any] = json.loads(sys.stdin.readline() or "{}")
    return turn


async def waits(client: Client, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Wait for many tasks at once, with the defaults of each library."""
    delays: list[float] = []
    lost: Counter[str] = Counter()

    async def wait(task_id: str) -> None:
        try:
            answer = await wait_for_task(task_id)
        except Exception as exc:  # noqa: BLE001 - it is counted
            lost[f"{type(exc).__name__} {getattr(exc, 'error_type', '')}".rstrip()] += 1
        else:
            delays.append(time.monotonic() - payload(answer)["finished_at"])

    async with client(url) as (_, wait_for_task):
        print("ready", flush=True)
        next_turn()
        cpu, begun = time.process_time(), time.perf_counter()
        await asyncio.gather(*(wait(f"t{options.seconds}-{n}") for n in range(options.count)))
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    delays.sort()
    return {
        "seconds": took,
        "cpu": cpu,
        "completed": len(delays),
        "lost": dict(lost),
        "delay_median": statistics.median(delays) if delays else None,
        "delay_p99": delays[len(delays) * 99 // 100] if delays else None,
        **stats(url),
    }


def payload(answer: Any) -> dict[str, Any]:
    """Return the result of a task, as each library hands it out."""
    result: dict[str, Any] = answer if isinstance(answer, dict) else answer.data.result
    return result


async def loop(client: Client, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Make so many polls, as fast as can be."""
    ids = (f"done-{number}" for number in range(options.count))

    async def work() -> None:
        for task_id in ids:
            await get_task(task_id)

    async with client(url) as (get_task, _):
        cpu, begun = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}


async def memory(client: Client, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Weigh waits that have looked once and sleep."""
    ids = (f"done-{number}" for number in itertools.count())
    async with client(url) as (_, wait_for_task):
        await rate(wait_for_task, ids, CONNECTIONS, options.seconds)
        gc.collect()
        before, goal = resident(), stats(url)["polls"] + options.count
        waiting = [
            asyncio.create_task(wait_for_task(f"t{PENDING}-{n}", poll_interval=PENDING, timeout=2 * PENDING))
            for n in range(options.count)
        ]
        while stats(url)["polls"] < goal:  # noqa: ASYNC110 - the server has no events
            await asyncio.sleep(SETTLE)
        await asyncio.sleep(SETTLE)
        gc.collect()
        taken = resident() - before
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    return {"bytes": taken / options.count}


def resident() -> int:
    """Return how much memory this process holds, in bytes."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # The peak, in bytes on macOS: it only grows, and so do the waits.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def stats(url: str) -> dict[str, int]:
    """Ask the server what it has counted."""
    with urlopen(f"{url}/stats") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


WORKS = {"turns": turns, "waits": waits, "loop": loop, "memory": memory}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="one candidate, one kind of work")
    parser.add_argument("work", choices=[*WORKS, "blocking"])
    parser.add_argument("candidate")
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    if options.core is not None:
        pin(options.core)
    if options.work == "blocking":
        blocking_turns(options.candidate, options.url)
    else:
        found = asyncio.run(WORKS[options.work](CLIENTS[options.candidate], options.url, options))
        if found:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
