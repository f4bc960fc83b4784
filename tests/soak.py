"""Soak: thousands of waits at a time, on a server where one request in ten meets a fault.

No wait may be lost, answered twice or answered wrongly; memory, descriptors and asyncio tasks may not grow.
"""

import argparse
import asyncio
import itertools
import json
import logging
import random
import resource
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from stream_tasks import AsyncStream, StreamException, StreamTaskException
from stream_tasks.testing import FakeStream, Fault, Request, TaskFailure

SHARE = 0.1  # of all polls, that meet a fault
INTERVAL = 0.5
LONGEST_TASK = 3.0
DEADLINE = 60.0
REQUEST_TIMEOUT = 1.0
CONNECTIONS = 100
QUOTA = 3_000_000  # polls a minute: the headers are there, and hold nothing back
SLACK = 20  # descriptors and asyncio tasks beyond those that were counted on
GROWTH = 8 * 2**20  # bytes, from the second quarter of the time to the last: less than 100 for each wait

FAULTS = [
    *(Fault.status(code) for code in (408, 425, 500, 502, 503, 504)),
    *(Fault.html(code) for code in (500, 502, 503, 504)),
    Fault.reset(),
    Fault.cut(),
    Fault.malformed(),
    Fault.body(b""),
    Fault.with_headers({"X-RateLimit-Reset": "inf", "X-RateLimit-Remaining": "-1"}),
    Fault.delay(REQUEST_TIMEOUT / 4),
    Fault.hang(3 * REQUEST_TIMEOUT),
]

REFUSALS = [
    Fault.status(429),
    Fault.status(429, headers={"Retry-After": "1"}),
    Fault.status(503, headers={"Retry-After": "1"}),
]
"""These hold back all waits for a second: one comes at a time, and not so often."""

REFUSAL_EVERY = 10.0


def fails(task_id: str) -> bool:
    return int(task_id) % 20 == 0


class StormyStream(FakeStream):
    """Has every task that it is asked for, and one fault in ten requests."""

    def __init__(self) -> None:
        super().__init__(rate_limit=QUOTA)
        self.polls_taken = 0
        self.struck: Counter[str] = Counter()
        self._ids: deque[str] = deque()
        self._known: set[str] = set()
        self._random = random.Random(0)
        self._refusals = itertools.cycle(REFUSALS)
        self._next_refusal = time.monotonic() + REFUSAL_EVERY / 5

    def _next_fault(self, request: Request) -> Fault | None:
        self.polls_taken += 1
        if self.polls_taken % 1000 == 0:
            self.requests.clear()
        if request.task_id is not None and request.task_id not in self._known:
            self._add(request.task_id)
        fault = None
        if time.monotonic() >= self._next_refusal:
            self._next_refusal += REFUSAL_EVERY
            fault = next(self._refusals)
        elif self._random.random() < SHARE:
            fault = self._random.choice(FAULTS)
        if fault is not None:
            self.struck[fault.name] += 1
        return fault

    def _add(self, task_id: str) -> None:
        self.add_task(
            task_id,
            after=self._random.uniform(0, LONGEST_TASK),
            visible_after=self._random.choice([0, 0, 0, 0.2]),
            result={"url": task_id},
            error=TaskFailure("export", task_id) if fails(task_id) else None,
        )
        self._known.add(task_id)
        self._ids.append(task_id)
        if len(self._ids) > 100_000:
            oldest = self._ids.popleft()
            self._known.remove(oldest)
            self.forget(oldest)


async def serve() -> None:
    """Serve until standard input is closed, then tell what happened."""
    async with StormyStream() as server:
        print(server.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(json.dumps({"polls": server.polls_taken, "faults": server.struck}))


@frozen
class Sample:
    """What the client's process holds.

    Attributes:
        memory: Bytes.
        descriptors: Open files and sockets.
        tasks: Asyncio tasks that are not done.
    """

    memory: int
    descriptors: int
    tasks: int

    @classmethod
    def take(cls) -> "Sample":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        descriptors = len(list(Path("/dev/fd").iterdir()))
        return cls(pages * resource.getpagesize(), descriptors, len(asyncio.all_tasks()))

    def __str__(self) -> str:
        return f"{self.memory / 2**20:.1f} MiB, {self.descriptors} descriptors, {self.tasks} tasks"


@define
class Ledger:
    """Who waits for what, and what went wrong."""

    begun: int = 0
    finished: int = 0
    waiting: set[str] = field(factory=set)
    problems: list[str] = field(factory=list)

    def begin(self) -> str:
        self.begun += 1
        task_id = str(self.begun)
        self.waiting.add(task_id)
        return task_id

    def end(self, task_id: str, answer: object) -> None:
        """Note what a wait came to: its result, or what it raised."""
        if task_id not in self.waiting:
            self.problems.append(f"the wait for {task_id} was answered twice, now with {answer!r}")
            return
        self.waiting.remove(task_id)
        self.finished += 1
        if fails(task_id):
            is_right = isinstance(answer, StreamTaskException) and answer.description == task_id
        else:
            is_right = answer == {"url": task_id}
        if not is_right:
            self.problems.append(f"the wait for {task_id} came to {answer!r}")


def growth(samples: Sequence[Sample], waits: int) -> Iterator[str]:
    """Yield what grew: memory from the second quarter to the last, and anything beyond its bounds."""
    first, last = samples[0], samples[-1]
    quarter = len(samples) // 4
    before, after = (
        sorted(sample.memory for sample in part)[len(part) // 2]
        for part in (samples[quarter : 2 * quarter + 1], samples[-quarter - 1 :])
    )
    if after > before + GROWTH:
        yield f"memory grew from {before / 2**20:.1f} to {after / 2**20:.1f} MiB"
    if max(sample.descriptors for sample in samples) > first.descriptors + CONNECTIONS + SLACK:
        yield "there were more descriptors than connections"
    if max(sample.tasks for sample in samples) > first.tasks + waits + CONNECTIONS + SLACK:
        yield "there were more asyncio tasks than waits and polls"
    if last.descriptors > first.descriptors:
        yield f"{last.descriptors - first.descriptors} descriptors are left"
    if last.tasks > first.tasks:
        yield f"{last.tasks - first.tasks} asyncio tasks are left"


async def one_by_one(client: AsyncStream, ledger: Ledger, end: float) -> None:
    """Wait for a task after another, until `end`."""
    while time.monotonic() < end:
        task_id = ledger.begin()
        answer: object
        try:
            answer = await client.wait_for_task(task_id, INTERVAL, DEADLINE)
        except StreamException as error:
            answer = error
        ledger.end(task_id, answer)


async def together(client: AsyncStream, ledger: Ledger, end: float, room: int) -> None:
    """Wait for so many tasks at a time, until `end`."""

    def ids() -> Iterator[str]:
        while time.monotonic() < end:
            yield ledger.begin()

    async for outcome in client.as_completed(ids(), INTERVAL, DEADLINE, max_waiting=room):
        ledger.end(str(outcome.task_id), outcome.exception() or outcome.result())


async def look(samples: list[Sample], pause: float) -> None:
    """Take samples until cancelled."""
    while True:
        await asyncio.sleep(pause)
        samples.append(Sample.take())


async def soak(url: str, seconds: float, waits: int, ledger: Ledger) -> list[Sample]:
    """Keep so many waits under way for so long; return samples of before, meanwhile and after."""
    asyncio.get_running_loop().set_exception_handler(lambda _, found: ledger.problems.append(str(found)))
    fake = FakeStream()
    client = AsyncStream(
        fake.api_key,
        fake.api_secret,
        base_url=url,
        request_timeout=REQUEST_TIMEOUT,
        max_connections=CONNECTIONS,
        not_found_grace=DEADLINE,  # the server makes tasks at their first poll, which may come late
    )
    samples = [Sample.take()]
    end = time.monotonic() + seconds
    async with client, asyncio.timeout(seconds + 2 * DEADLINE):
        looking = asyncio.create_task(look(samples, min(1.0, seconds / 40)))
        async with asyncio.TaskGroup() as group:
            for _ in range(waits // 2):
                group.create_task(one_by_one(client, ledger, end))
            group.create_task(together(client, ledger, end, waits - waits // 2))
        looking.cancel()
        await asyncio.wait([looking])
    await asyncio.sleep(0.1)  # transports close themselves in the loop's next turns
    samples.append(Sample.take())
    return samples


def report(ledger: Ledger, samples: Sequence[Sample], told: dict[str, Any], seconds: float) -> None:
    """Print the figures."""
    faults = sum(told["faults"].values())
    print(f"waits finished   {ledger.finished} of {ledger.begun} in {seconds:.0f} s")
    print(f"polls            {told['polls']}, of which {faults} met a fault ({faults / told['polls']:.1%})")
    for name, count in sorted(told["faults"].items()):
        print(f"                 {count:6} {name}")
    print(f"at the start     {samples[0]}")
    print(f"after a quarter  {samples[len(samples) // 4]}")
    print(f"near the end     {samples[-2]}")
    print(f"most             {max(s.memory for s in samples) / 2**20:.1f} MiB, ", end="")
    print(f"{max(s.descriptors for s in samples)} descriptors, {max(s.tasks for s in samples)} tasks")
    print(f"afterwards       {samples[-1]}")


def main() -> int:
    """Run the server beside the soak; return 1 if anything was lost or grew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long waits are begun")
    parser.add_argument("--waits", type=int, default=2000, help="how many are under way at a time")
    parser.add_argument("--serve", action="store_true", help="be the server")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return 0
    logging.getLogger("stream_tasks").addHandler(logging.NullHandler())  # each fault is worth a warning
    ledger = Ledger()
    sys.unraisablehook = lambda unraisable: ledger.problems.append(repr(unraisable))
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        begun = time.monotonic()
        samples = asyncio.run(soak(url, options.seconds, options.waits, ledger))
        took = time.monotonic() - begun
        told = json.loads(server.communicate()[0])
    report(ledger, samples, told, took)
    problems = [*ledger.problems, *growth(samples, options.waits)]
    problems += [f"the wait for {task_id} was lost" for task_id in ledger.waiting]
    for problem in problems[:20]:
        print(f"PROBLEM          {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
