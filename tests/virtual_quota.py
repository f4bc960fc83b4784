"""Waits under a quota in virtual time, without a server: the order of polls is what is simulated."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from statistics import fmean, quantiles
from typing import NamedTuple

from attrs import define

from stream_tasks._engine.durations import Durations
from stream_tasks._engine.lineup import Lineup
from stream_tasks._engine.sighting import Sighting

INTERVAL = 1.0  # seconds between two looks at a task, at least
TASKS = 2500


class Job(NamedTuple):
    """When a task begins, how many seconds it takes, and its operation if the client knows it."""

    begins: float
    takes: float
    operation: str | None = "x"


@define(eq=False)
class Waiting:
    number: int
    job: Job
    sighting: Sighting
    polls: int
    tasks: int

    def pays_at(self, due: float) -> float:
        return due

    def latest_look(self) -> float:
        return math.inf


class Outcome(NamedTuple):
    """What came of a simulation.

    Attributes:
        delays: How long each end went unnoticed, in seconds, in order of begins.
        most_rounds: The most polls between two looks at a task, divided by how many tasks waited.
        polls: The number of polls.
    """

    delays: list[float]
    most_rounds: float
    polls: int

    def middle(self) -> list[float]:
        """Those of the middle three fifths, in which as many tasks end as begin."""
        fifth = len(self.delays) // 5
        return self.delays[fifth : 4 * fifth]

    @property
    def mean(self) -> float:
        return fmean(self.middle())

    def quantile(self, share: float) -> float:
        return quantiles(self.middle(), n=100)[round(100 * share) - 1]


def simulate(jobs: list[Job], rate: float, *, learns: bool) -> Outcome:
    """Wait for all jobs with so many polls a second; jobs are in order of when they begin."""
    learned = Durations()
    queue = Lineup[Waiting](learned if learns else None)
    delays = [math.nan] * len(jobs)
    now = most_rounds = 0.0
    begun = ended = polls = 0
    while ended < len(jobs):
        while begun < len(jobs) and jobs[begun].begins <= now:
            job = jobs[begun]
            age = None if job.operation is None else 0.0
            sighting = Sighting(learned.of(job.operation), job.begins, age)
            queue.push(Waiting(begun, job, sighting, polls, begun - ended), job.begins)
            begun += 1
        if queue.next_due() > now:
            begins = jobs[begun].begins if begun < len(jobs) else math.inf
            now = min(queue.next_due(), begins)
            continue
        waiting, _ = queue.pop(now)
        polls += 1
        tasks = begun - ended
        most_rounds = max(most_rounds, (polls - waiting.polls) / max(tasks, waiting.tasks))
        waiting.polls, waiting.tasks = polls, tasks
        age = now - waiting.job.begins
        if age >= waiting.job.takes:
            waiting.sighting.ended(now, age, waiting.job.takes)
            delays[waiting.number] = age - waiting.job.takes
            ended += 1
        else:
            waiting.sighting.alive(now, age)
            queue.push(waiting, now + INTERVAL)
        now += 1 / rate
    return Outcome(delays, most_rounds, polls)


def _mix(rng: random.Random) -> tuple[str, float]:
    """Exports and hard deletions."""
    if rng.random() < 0.6:
        return "export", rng.uniform(4, 15)
    return "delete", rng.uniform(300, 1200)


def _mix3(rng: random.Random) -> tuple[str, float]:
    kind = rng.choices((0, 1, 2), (0.5, 0.3, 0.2))[0]
    return "abc"[kind], rng.lognormvariate(math.log((8, 90, 600)[kind]), (0.5, 0.6, 0.5)[kind])


KINDS: dict[str, Callable[[random.Random], tuple[str, float]]] = {
    "mix": _mix,
    "mix3": _mix3,
    "const": lambda rng: ("x", 200 * rng.uniform(0.9, 1.1)),
    "exponential": lambda rng: ("x", rng.expovariate(1 / 200)),
    "log-normal": lambda rng: ("x", rng.lognormvariate(math.log(120), 1)),
    "uniform": lambda rng: ("x", rng.uniform(10, 400)),
}


def jobs_of(kind: str, seed: int, tasks: int = TASKS) -> list[Job]:
    """Return jobs of a kind that begin at random: three a second of a mixture, four of one operation."""
    return list(_jobs(kind, random.Random(seed), tasks))


def _jobs(kind: str, rng: random.Random, tasks: int) -> Iterator[Job]:
    begins = 0.0
    for _ in range(tasks):
        begins += rng.expovariate(3 if kind.startswith("mix") else 4)
        operation, takes = KINDS[kind](rng)
        yield Job(begins, takes, operation)


def unknown(jobs: Iterable[Job]) -> list[Job]:
    """Return the same jobs of which the client knows no more than the id."""
    return [job._replace(operation=None) for job in jobs]
