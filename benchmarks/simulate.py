"""A million tasks on virtual time: what becomes of a quota that cannot bear what everybody would like to ask.

Tasks arrive evenly, at a rate at which the quota bears a handful of polls for each. Three ways of waiting
are set against the same server: ``ours`` is the real engine of stream_tasks with a fetch that needs no
network; ``fixed`` asks for each task at a fixed interval; ``backoff`` lets the interval of each task grow.
The latter two try again at their next turn when they are refused, and ask so much more that they are run for
fewer tasks.

Where there are four clients, three of them wait for a third of the tasks each, and the fourth is a stranger
who spends the same quota at random moments, whatever it is told.

``simulate.py works`` simulates something else: in which order tasks are looked at. See works.py.

A simulation ends ten minutes after the last arrival. A task that has ended, and that its client does not
know of by then, counts as unnoticed, with the delay so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import works
from server import Quota

from stream_tasks import RateLimit, StreamRateLimitException, Task
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.engine import Engine, Limits
from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.pacing import Pacer
from stream_tasks._engine.tracked import Wait

POLLS_PER_SECOND = 50
LIMIT = 60 * POLLS_PER_SECOND  # a minute; Stream allows a thirtieth of it in one second
LATENCY = 0.05  # seconds from question to answer
MEDIAN = 120.0  # seconds that a task lasts
SIGMA = 1.0  # of the logarithm: one task in twenty lasts longer than ten minutes
ARRIVALS = 10.0  # tasks a second: each can be looked at five times
STRANGER = 10.0  # polls a second by the client that nobody knows of
INTERVAL = 1.0  # seconds: the default of stream_tasks and of getstream
BACKOFF_MAXIMUM = 60.0
CONNECTIONS = 100
DRAIN = 600.0  # seconds from the last arrival to the end
SEED = 2026

SHARE = {"ours": 1.0, "fixed": 0.005, "backoff": 0.1}  # of the tasks: see above
CLIENTS = (1, 4)
PROCESSES = 2  # at a time

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose clock jumps to the next timer when nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Let time pass in place of waiting for sockets, of which there are none."""
        if timeout is None:
            raise RuntimeError("everybody waits for everybody else")
        self._now += timeout
        return ()

    def _process_events(self, event_list: tuple[()]) -> None:
        """Nothing ever comes in."""


class Answer(NamedTuple):
    """What the server says to one poll."""

    accepted: bool
    done: bool


class World:
    """The server, and the tasks on it."""

    def __init__(self, tasks: int, loop: VirtualLoop) -> None:
        self.loop = loop
        self.quota = Quota(LIMIT, LIMIT / 30, loop.time)
        self.tasks = tasks
        self.polls = 0
        self.refused = 0
        self.delays: list[float] = []
        self._ends: dict[str, float] = {}
        self._random = random.Random(SEED)

    def begin(self, task_id: str) -> None:
        """Begin a task."""
        self._ends[task_id] = self.loop.time() + self._random.lognormvariate(math.log(MEDIAN), SIGMA)

    def ask(self, task_id: str) -> Answer:
        """Look at a task, for a client that is measured."""
        self.polls += 1
        accepted = self.quota.admit()
        self.refused += not accepted
        return Answer(accepted, self._ends[task_id] <= self.loop.time())

    def note(self, task_id: str) -> None:
        """Take down that a client has learnt of a task's end."""
        self.delays.append(self.loop.time() - self._ends.pop(task_id))

    def unnoticed(self) -> list[float]:
        """Return the delays so far of tasks whose end no client knows of."""
        now = self.loop.time()
        return [now - end for end in self._ends.values() if end <= now]

    def rate_limit(self) -> RateLimit:
        """Return what the headers say; the window's end is told in whole seconds."""
        now = self.loop.time()
        reset_in = math.ceil(now + self.quota.reset_in) - now
        return RateLimit(self.quota.limit, self.quota.remaining, MOMENT, reset_in)


Client = Callable[[World, range], Coroutine[Any, Any, None]]


async def ours(world: World, numbers: range) -> None:
    """Wait for tasks with the engine of stream_tasks."""

    async def fetch(task_id: str, limit: float) -> tuple[Task, RateLimit]:
        del limit
        accepted, done = world.ask(task_id)
        quota = world.rate_limit()
        await asyncio.sleep(LATENCY)
        if not accepted:
            raise StreamRateLimitException(rate_limit=quota)
        return done_task if done else running_task, quota

    async def notice() -> None:
        while True:
            event = await inbox.next()
            if isinstance(event, Wait):
                world.note(event.task_id)

    done_task = Task("task", "completed", MOMENT, MOMENT)
    running_task = Task("task", "running", MOMENT, MOMENT)
    backoff = as_backoff(INTERVAL)
    engine = Engine(fetch, Pacer, Limits(CONNECTIONS, 30.0, 5.0))
    inbox = Inbox(engine)
    noticing = asyncio.create_task(notice())
    for number in numbers:
        await asyncio.sleep(number / ARRIVALS - world.loop.time())
        world.begin(str(number))
        inbox.add(Wait(str(number), engine.terms(backoff, None), inbox))
        if noticing.done():
            noticing.result()


def naive(delay: Callable[[int], float]) -> Client:
    """Make a client that asks for each task for itself, with `delay(n)` seconds after its n-th poll."""

    async def run(world: World, numbers: range) -> None:
        def look(task_id: str, attempt: int) -> None:
            world.loop.call_later(LATENCY, learn, task_id, attempt, world.ask(task_id))

        def learn(task_id: str, attempt: int, answer: Answer) -> None:
            if answer.accepted and answer.done:
                world.note(task_id)
            else:
                world.loop.call_later(delay(attempt), look, task_id, attempt + 1)

        for number in numbers:
            await asyncio.sleep(number / ARRIVALS - world.loop.time())
            world.begin(str(number))
            look(str(number), 1)

    return run


def growing(attempt: int) -> float:
    """Return a delay that doubles from attempt to attempt, jittered."""
    return min(INTERVAL * 2.0 ** (attempt - 1), BACKOFF_MAXIMUM) * random.uniform(0.5, 1.0)


WAYS: dict[str, Client] = {"ours": ours, "fixed": naive(lambda _: INTERVAL), "backoff": naive(growing)}


async def stranger(world: World) -> None:
    """Spend the quota without a word."""
    chance = random.Random(SEED + 1)
    while True:
        await asyncio.sleep(chance.expovariate(STRANGER))
        world.quota.admit()


async def simulate(world: World, way: str, clients: int) -> None:
    """Let `clients` wait for tasks, and stop."""
    known = max(1, clients - 1)
    running = [
        asyncio.create_task(WAYS[way](world, range(first, world.tasks, known))) for first in range(known)
    ]
    if clients > known:
        running.append(asyncio.create_task(stranger(world)))
    await asyncio.sleep(world.tasks / ARRIVALS + DRAIN)
    for task in running[:known]:
        task.result()


def run(way: str, clients: int, tasks: int) -> dict[str, Any]:
    """Simulate, and boil it down."""
    logging.disable()
    random.seed(SEED)
    begun = time.perf_counter()
    loop = VirtualLoop()
    world = World(tasks, loop)
    loop.run_until_complete(simulate(world, way, clients))
    unnoticed = world.unnoticed()
    delays = sorted(world.delays + unnoticed)
    return {
        "tasks": tasks,
        "polls": world.polls,
        "polls_per_task": world.polls / tasks,
        "refused_share": world.refused / world.polls,
        "unnoticed_share": len(unnoticed) / len(delays),
        "delay_median": delays[len(delays) // 2],
        "delay_p95": delays[len(delays) * 95 // 100],
        "virtual_hours": loop.time() / 3600,
        "seconds": time.perf_counter() - begun,
    }


def compare(tasks: int) -> dict[str, Any]:
    """Run all ways, one process for each core at a time, the longest first."""
    jobs = [(way, clients) for way in WAYS for clients in CLIENTS]

    def start(job: tuple[str, int]) -> dict[str, Any]:
        way, clients = job
        size = round(tasks * SHARE[way])
        command = [sys.executable, __file__, way, str(clients), str(size)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        answer: dict[str, Any] = json.loads(found)
        return answer

    with ThreadPoolExecutor(PROCESSES) as pool:
        found = list(pool.map(start, jobs))
    return {f"{way}, {clients}": result for (way, clients), result in zip(jobs, found, strict=True)}


def main() -> None:
    """Run one simulation, or compare orders of looks."""
    if sys.argv[1:2] == ["works"]:
        works.compare_main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description="One simulation; prints what came of it.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("clients", type=int)
    parser.add_argument("tasks", type=int)
    options = parser.parse_args()
    print(json.dumps(run(options.way, options.clients, options.tasks)))


if __name__ == "__main__":
    main()
