"""How late the end of a task is noticed under a quota: learned order, due order, and the least possible.

The real engine and pacer of stream_tasks wait on virtual time, so that hours pass in seconds. Each work is
waited for by one client or by four that share the quota without knowing of each other. ``learned`` begins
without any knowledge. ``due`` is the same client with ``learning=False``. ``clairvoyant`` is no client, but
what nobody can better: it polls each task once, at its end, in order of ends under the same quota.

Delays are those of the middle three fifths of the tasks, in which as many end as begin; of a burst, of all.

    python benchmarks/simulate.py works --rates 10 --clients 1 4
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from server import Quota

from stream_tasks import Durations, RateLimit, StreamRateLimitException, Task
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.engine import Engine, Limits
from stream_tasks._engine.inbox import Inbox
from stream_tasks._engine.pacing import Pacer
from stream_tasks._engine.sighting import Origin
from stream_tasks._engine.tracked import Wait

if TYPE_CHECKING:
    from simulate import VirtualLoop

RATES = (5.0, 10.0, 30.0)  # polls a second
CLIENTS = (1, 4)
TASKS = 8000
INTERVAL = 1.0  # seconds between two looks at a task, at least
LATENCY = 0.05  # seconds from question to answer
SEED = 1
PROCESSES = 2  # at a time
CREATED = datetime(2026, 1, 1, tzinfo=UTC)  # the moment at which virtual time begins

ORDERS = ("learned", "due", "clairvoyant")


class Job(NamedTuple):
    """When a task begins, how many seconds it takes, and its operation if the client knows it."""

    begins: float
    takes: float
    operation: str | None


Draw = Callable[[random.Random], tuple[str, float]]


def exports_and_deletions(chance: random.Random) -> tuple[str, float]:
    """Draw an export of seconds or a hard deletion of minutes."""
    if chance.random() < 0.6:
        return "export", chance.uniform(4, 15)
    return "delete", chance.uniform(300, 1200)


def three_kinds(chance: random.Random) -> tuple[str, float]:
    """Draw a task of about 8 s, 90 s or 600 s."""
    kind = chance.choices((0, 1, 2), (0.5, 0.3, 0.2))[0]
    return "abc"[kind], chance.lognormvariate(math.log((8, 90, 600)[kind]), (0.5, 0.6, 0.5)[kind])


def arriving(draw: Draw, per_second: float) -> Callable[[random.Random, int], Iterator[Job]]:
    """Return tasks that begin at random moments."""

    def jobs(chance: random.Random, tasks: int) -> Iterator[Job]:
        begins = 0.0
        for _ in range(tasks):
            begins += chance.expovariate(per_second)
            operation, takes = draw(chance)
            yield Job(begins, takes, operation)

    return jobs


MIX = arriving(exports_and_deletions, 3)


def doubling(chance: random.Random, tasks: int) -> Iterator[Job]:
    """Let durations double in the middle of the run."""
    for number, job in enumerate(MIX(chance, tasks)):
        yield job if number < tasks / 2 else job._replace(takes=2 * job.takes)


def burst(chance: random.Random, tasks: int) -> list[Job]:
    """Let 5,000 exports among 5,000 deletions begin at once."""
    jobs = [Job(0.0, chance.uniform(4, 15), "export") for _ in range(tasks * 5 // 8)]
    jobs += [Job(0.0, chance.uniform(300, 1200), "delete") for _ in range(tasks * 5 // 8)]
    chance.shuffle(jobs)
    return jobs


def half_unknown(chance: random.Random, tasks: int) -> Iterator[Job]:
    """Let only ids be known of half of the tasks."""
    for job in MIX(chance, tasks):
        yield job if chance.random() < 0.5 else job._replace(operation=None)


WORKS: dict[str, Callable[[random.Random, int], Iterator[Job] | list[Job]]] = {
    "exports and deletions": MIX,
    "three kinds": arriving(three_kinds, 3),
    "200 s ± 10 %": arriving(lambda chance: ("x", 200 * chance.uniform(0.9, 1.1)), 4),
    "exponential": arriving(lambda chance: ("x", chance.expovariate(1 / 200)), 4),
    "log-normal": arriving(lambda chance: ("x", chance.lognormvariate(math.log(120), 1)), 4),
    "durations double": doubling,
    "burst": burst,
    "half unknown": half_unknown,
}
"""The works by name. A name with ``, ids`` is of the same tasks of which only the ids are known."""


def jobs_of(work: str, tasks: int, seed: int = SEED) -> list[Job]:
    """Return the tasks of a work."""
    name, _, is_of_ids = work.partition(", ")
    jobs = WORKS[name](random.Random(seed), tasks)
    return [job._replace(operation=None) if is_of_ids else job for job in jobs]


class Server:
    """The server: it counts polls by Stream's rule, and tells when tasks began and ended."""

    def __init__(self, jobs: list[Job], rate: float, loop: VirtualLoop) -> None:
        self.jobs = jobs
        self.loop = loop
        self.quota = Quota(round(60 * rate), max(1, round(2 * rate)), loop.time)
        self.polls = self.refused = 0
        self.delays = [math.nan] * len(jobs)
        self.rounds: list[float] = []

    async def fetch(self, task_id: str, limit: float) -> tuple[Task, RateLimit]:
        """Answer a poll."""
        del limit
        self.polls += 1
        number = int(task_id)
        job, now = self.jobs[number], self.loop.time()
        is_let_in = self.quota.admit()
        reset_in = math.ceil(now + self.quota.reset_in) - now
        reset = CREATED + timedelta(seconds=now + reset_in)
        quota = RateLimit(self.quota.limit, self.quota.remaining, reset, reset_in)
        await asyncio.sleep(LATENCY)
        if not is_let_in:
            self.refused += 1
            raise StreamRateLimitException(rate_limit=quota)
        begun = CREATED + timedelta(seconds=job.begins)
        if now < job.begins + job.takes:
            return Task(task_id, "running", begun, begun), quota
        return Task(task_id, "completed", begun, begun + timedelta(seconds=job.takes)), quota


class Rounds:
    """How long one client let a task wait, in rounds: polls by tasks.

    Attributes:
        most: The longest.
    """

    def __init__(self) -> None:
        self.most = 0.0
        self._polls = self._waiting = 0
        self._last_look: dict[str, tuple[int, int]] = {}

    def begun(self, task_id: str) -> None:
        """Note that the client waits for a task."""
        self._waiting += 1
        self._last_look[task_id] = self._polls, self._waiting

    def looked(self, task_id: str) -> None:
        """Note a poll."""
        self._polls += 1
        then, waiting = self._last_look[task_id]
        self.most = max(self.most, (self._polls - then) / max(self._waiting, waiting))
        self._last_look[task_id] = self._polls, self._waiting

    def ended(self) -> None:
        """Note that the client waits for a task no longer."""
        self._waiting -= 1


async def client(server: Server, numbers: Sequence[int], *, learns: bool) -> None:
    """Wait for some of the tasks, as each begins."""

    async def fetch(task_id: str, limit: float) -> tuple[Task, RateLimit]:
        rounds.looked(task_id)
        return await server.fetch(task_id, limit)

    rounds = Rounds()
    engine = Engine(fetch, Pacer, Limits(100, 30.0, 5.0), Durations() if learns else None)
    inbox, backoff = Inbox(engine), as_backoff(INTERVAL)

    async def begin() -> None:
        for number in numbers:
            job = server.jobs[number]
            await asyncio.sleep(job.begins - server.loop.time())
            rounds.begun(str(number))
            is_known = job.operation is not None
            origin = Origin(job.operation, 1, time.time()) if is_known else Origin()
            inbox.add(Wait(str(number), engine.terms(backoff, None), inbox, origin))

    beginning = asyncio.create_task(begin())
    for _ in numbers:
        while not isinstance(event := await inbox.next(), Wait):
            pass
        rounds.ended()
        job = server.jobs[int(event.task_id)]
        server.delays[int(event.task_id)] = server.loop.time() - job.begins - job.takes
    await beginning
    server.rounds.append(rounds.most)


async def all_clients(server: Server, clients: int, *, learns: bool) -> None:
    """Let each client wait for its part of the tasks."""
    chance = random.Random(SEED)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for number in range(len(server.jobs)):
        chance.choice(parts).append(number)
    await asyncio.gather(*(client(server, part, learns=learns) for part in parts))


def clairvoyant(jobs: list[Job], rate: float) -> list[float]:
    """Return the delays if each task is polled once, at its end, in order of ends under the quota."""
    at = -math.inf
    delays = [math.nan] * len(jobs)
    for end, number in sorted((job.begins + job.takes, number) for number, job in enumerate(jobs)):
        at = max(at + 1 / rate, end)
        delays[number] = at - end
    return delays


def run(work: str, order: str, rate: float, clients: int, tasks: int) -> dict[str, Any]:
    """Simulate, and boil it down."""
    from simulate import VirtualLoop  # noqa: PLC0415 - which imports this

    logging.disable()
    random.seed(SEED)
    jobs = jobs_of(work, tasks)
    counts: dict[str, Any] = {}
    if order == "clairvoyant":
        delays = clairvoyant(jobs, rate)
    else:
        loop = VirtualLoop()
        server = Server(jobs, rate, loop)
        begun = time.process_time()
        loop.run_until_complete(all_clients(server, clients, learns=order == "learned"))
        delays = server.delays
        counts = {
            "polls": server.polls,
            "refused_share": server.refused / server.polls,
            "most_rounds": max(server.rounds),
            "microseconds_a_poll": (time.process_time() - begun) / server.polls * 1e6,
        }
    if not work.startswith("burst"):
        delays = delays[len(delays) // 5 : len(delays) * 4 // 5]
    cuts = quantiles(delays, n=20)
    return {"mean": fmean(delays), "median": cuts[9], "p95": cuts[18], **counts}


def compare(
    works: Sequence[str], rates: Sequence[float], clients: Sequence[int], tasks: int
) -> Iterator[dict[str, Any]]:
    """Run all orders, one process for each core at a time."""
    cases = list(itertools.product(works, rates, clients))

    def start(case: tuple[str, float, int]) -> dict[str, Any]:
        work, rate, number = case
        found: dict[str, Any] = {"work": work, "rate": rate, "clients": number, "tasks": tasks}
        for order in ORDERS:
            command = [sys.executable, __file__, work, order, str(rate), str(number), str(tasks)]
            found[order] = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            )
        return found

    with ThreadPoolExecutor(PROCESSES) as pool:
        yield from pool.map(start, cases)


def line(found: dict[str, Any]) -> str:
    """Write one comparison."""
    learned, due = found["learned"], found["due"]
    ratios = "  ".join(f"{learned[name] / due[name]:4.2f}" for name in ("mean", "median", "p95"))
    delays = " | ".join(
        " ".join(f"{found[order][name]:6.1f}" for name in ("mean", "median", "p95")) for order in ORDERS
    )
    return (
        f"{found['work']:26} {found['rate']:3g}/s {found['clients']} | {delays} | {ratios} |"
        f" refused {learned['refused_share']:.2%} {due['refused_share']:.2%}"
        f" | rounds {learned['most_rounds']:.1f}"
        f" | us {learned['microseconds_a_poll']:.0f} {due['microseconds_a_poll']:.0f}"
    )


def compare_main(arguments: Sequence[str]) -> None:
    """Compare the orders, print what came of it, and keep it as JSON."""
    names = [*WORKS, *(f"{name}, ids" for name in WORKS if name != "half unknown")]
    parser = argparse.ArgumentParser(prog="simulate.py works", description=__doc__.partition("\n")[0])
    parser.add_argument("--works", nargs="+", choices=names, default=names)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, help="polls a second")
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--json", type=argparse.FileType("w"), help="where to write the figures")
    options = parser.parse_args(arguments)
    print("mean, median, p95 in seconds: " + " | ".join(ORDERS) + " | learned by due", flush=True)
    results = []
    for found in compare(options.works, options.rates, options.clients, options.tasks):
        print(line(found), flush=True)
        results.append(found)
    if options.json is not None:
        json.dump(results, options.json, indent=1)


def main() -> None:
    """Run one simulation."""
    work, order, rate, clients, tasks = sys.argv[1:]
    print(json.dumps(run(work, order, float(rate), int(clients), int(tasks))))


if __name__ == "__main__":
    main()
