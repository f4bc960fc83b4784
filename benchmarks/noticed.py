"""How late ends are noticed by a real client over real sockets: 200 exports among 200 deletions.

A `FakeStream` allows 600 polls a minute. Exports take 5 to 15 s, deletions 60 to 120 s, and all are started
within a minute. Three clients do the same, one after another: one that does not learn, one that begins
without knowledge, and one that begins with what that one has learned. It takes about ten minutes.

    python benchmarks/noticed.py
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from datetime import UTC, datetime
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any

from stream_tasks import AsyncStream
from stream_tasks.testing import FakeStream, RateLimitRule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_tasks import StartedTask

LIMIT = 600  # polls a minute
TASKS = 200  # of each operation
OVER = 60.0  # seconds within which they are started
SEED = 1

TAKES = {"export_channels": (5.0, 15.0), "delete_users": (60.0, 120.0)}


async def started(client: AsyncStream, tasks: int, over: float) -> AsyncIterator[StartedTask[Any]]:
    """Start exports and deletions in turns."""
    begun = time.monotonic()
    for number in range(tasks):
        for place, start in enumerate((client.export_channels, client.delete_users)):
            await asyncio.sleep(begun + (number + place / 2) * over / tasks - time.monotonic())
            yield await start([{"type": "messaging", "id": f"c-{number}"}] if place == 0 else [f"u-{number}"])


async def measure(tasks: int, limit: int, over: float, **options: Any) -> tuple[dict[str, Any], str]:
    """Wait for all with one client; return the delays of each operation, and what was learned."""
    chance = random.Random(SEED)
    with FakeStream(rate_limit=RateLimitRule(limit, per_second=max(1, limit // 30))) as server:
        for _ in range(tasks):
            for operation, (least, most) in TAKES.items():
                server.script_operation(operation, after=chance.uniform(least, most))
        async with AsyncStream(server.api_key, server.api_secret, base_url=server.url, **options) as client:
            delays: dict[str, list[float]] = {operation: [] for operation in TAKES}
            async for outcome in client.as_completed(started(client, tasks, over), 1.0, None):
                outcome.result()
                assert outcome.task is not None
                noticed = datetime.now(UTC) - outcome.task.updated_at
                delays[str(outcome.operation)].append(noticed.total_seconds())
            polls = [request for request in server.requests if request.method == "GET"]
            found: dict[str, Any] = {
                operation: {
                    "mean": fmean(all_),
                    "median": quantiles(all_, n=20)[9],
                    "p95": quantiles(all_, n=20)[18],
                }
                for operation, all_ in delays.items()
            }
            found["polls"] = len(polls)
            found["refused"] = sum(request.status == 429 for request in polls)
            return found, client.durations.to_json()


async def compare(tasks: int, limit: int, over: float) -> None:
    """Measure the three clients, and print what came of it."""
    runs: dict[str, dict[str, Any]] = {}
    runs["due order"], _ = await measure(tasks, limit, over, learning=False)
    runs["learned"], learned = await measure(tasks, limit, over)
    runs["learned before"], _ = await measure(tasks, limit, over, durations=learned)
    for name, run in runs.items():
        print(name, f"{run['polls']} polls, {run['refused']} refused")
        for operation in TAKES:
            print(
                f"    {operation:16}", *(f"{kind} {run[operation][kind]:6.2f} s" for kind in run[operation])
            )


def main() -> None:
    """Compare due order with learned order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=TASKS, help="of each operation")
    parser.add_argument("--limit", type=int, default=LIMIT, help="polls a minute")
    parser.add_argument("--over", type=float, default=OVER, help="seconds within which tasks are started")
    options = parser.parse_args()
    asyncio.run(compare(options.tasks, options.limit, options.over))


if __name__ == "__main__":
    main()
