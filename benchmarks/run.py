"""Measure stream_tasks against bare aiohttp and against getstream, and write down what came of it.

``nox -s bench`` runs it. Each server and each client is a process of its own, on a core of its own where the
platform can. Where speeds are compared, the clients take short turns, in an order that is reversed from round
to round, so that a noisy machine is noisy for all alike; ratios are medians of the rounds' ratios.

A full run writes ``results/`` and the part of docs/explanation/speed.rst that shows them; a quick or partial
one only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

import footprint
import report
import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

TURN_CANDIDATES = ("bare", "ours", "official")
TURN_METHODS = (("get_task", 1), ("get_task", 100), ("wait_for_task", 1), ("wait_for_task", 100))
BLOCKING_CANDIDATES = ("ours", "official", *(["ours-uvloop"] if find_spec("uvloop") else []))
PROCESSES = 3  # times that the clients are started anew
ROUNDS = 7  # turns that each of them then takes
TURN = 0.3  # seconds

RUNS = 3
MANY = 10_000  # concurrent waits
FEWER = 1_000  # as many as getstream bears
TASK_SECONDS = 3.0

QUOTA = ("--limit", "600", "--per-second", "20")  # Stream's rule, for 600 polls a minute
QUOTA_WAITS = 100
QUOTA_TASK_SECONDS = 5.0
QUOTA_CANDIDATES = ("ours", "official", "official-retry")

IMPORT_RUNS = 11

SIMULATED_TASKS = 1_000_000


class Process:
    """A program beside this one, spoken to line by line; it ends when its standard input is closed."""

    def __init__(self, program: str, *arguments: str, core: int | None) -> None:
        pinned = () if core is None else ("--core", str(core))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments, *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._input = cast("TextIO", self._process.stdin)
        self._output = cast("TextIO", self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._input.close()
        self._output.close()
        self._process.wait()

    def read(self) -> str:
        """Return the next line that it prints."""
        line = self._output.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended early")
        return line

    def tell(self, **turn: Any) -> None:
        """Send it a line."""
        print(json.dumps(turn), file=self._input, flush=True)


def cores() -> tuple[int | None, int | None]:
    """Choose a core for the server and one for the client; none where the platform cannot."""
    if sys.platform != "linux":
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


SERVER_CORE, CLIENT_CORE = cores()


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run a server, and give its address."""
    with Process("server.py", *arguments, core=SERVER_CORE) as process:
        yield f"http://127.0.0.1:{int(process.read())}"


def client(work: str, candidate: str, url: str, **options: float) -> Process:
    """Start a client."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return Process("clients.py", work, candidate, url, *arguments, core=CLIENT_CORE)


def measure(work: str, candidate: str, **options: float) -> dict[str, Any]:
    """Let one client do its work against a server of its own."""
    with server() as url, client(work, candidate, url, **options) as process:
        if work == "waits":
            process.read()
            process.tell()
        return cast("dict[str, Any]", json.loads(process.read()))


def polls(*, quick: bool) -> dict[str, Any]:
    """Polls per second, of tasks that have ended; each kind by clients that have done nothing else.

    (getstream's pool grows with the first burst, and each of its requests walks through all of it.)
    """
    return {
        f"{method}, {width}": compare(
            take_turns("turns", TURN_CANDIDATES, quick=quick, method=method, width=width), base="bare"
        )
        for method, width in TURN_METHODS
    }


def blocking(*, quick: bool) -> dict[str, Any]:
    """Blocking waits per second, for tasks that have ended."""
    return compare(take_turns("blocking", BLOCKING_CANDIDATES, quick=quick), base="official")


Samples = dict[str, list[dict[str, float]]]


def take_turns(work: str, candidates: tuple[str, ...], *, quick: bool, **turn: Any) -> Samples:
    """Let clients do the same in turns, and return what they measured."""
    samples: Samples = defaultdict(list)
    for _ in range(1 if quick else PROCESSES):
        with ExitStack() as stack:
            url = stack.enter_context(server())
            clients = [(name, stack.enter_context(client(work, name, url))) for name in candidates]
            for number in range(-1, 2 if quick else ROUNDS):
                for name, process in clients if number % 2 else reversed(clients):
                    process.tell(**turn, seconds=TURN)
                    sample = json.loads(process.read())
                    if number >= 0:  # the first round warms up
                        samples[name].append(sample)
    return samples


def compare(samples: Samples, *, base: str) -> dict[str, Any]:
    """Boil turns down to medians, and to ratios to `base` in the same round."""
    return {
        name: {
            **{key: statistics.median(turn[key] for turn in turns) for key in turns[0]},
            "ratio": statistics.median(
                turn["per_second"] / other["per_second"]
                for turn, other in zip(turns, samples[base], strict=True)
            ),
            "turns": len(turns),
        }
        for name, turns in samples.items()
    }


def waits(*, quick: bool) -> dict[str, Any]:
    """Many concurrent waits."""
    many, fewer = (MANY // 10, FEWER // 10) if quick else (MANY, FEWER)
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(1 if quick else RUNS):
        for count in (fewer, many):
            run = measure("waits", "ours", count=count, seconds=TASK_SECONDS)
            loop = measure("loop", "bare", count=run["polls"])
            run |= {
                "loop_seconds": loop["seconds"],
                "loop_cpu": loop["cpu"],
                "ratio": run["seconds"] / loop["seconds"],
            }
            run |= measure("memory", "ours", count=count)
            runs[f"ours, {count}"].append(run)
        run = measure("waits", "official", count=fewer, seconds=TASK_SECONDS)
        runs[f"official, {fewer}"].append(run | measure("memory", "official", count=fewer))
    return {name: medians(found) for name, found in runs.items()}


def quota(*, quick: bool) -> dict[str, Any]:
    """Waits under Stream's rule. Nearly all of it is waiting, so that all runs can go on at once."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with ExitStack() as stack:
        processes = [
            (name, stack.enter_context(client("waits", name, stack.enter_context(server(*QUOTA)), **options)))
            for name in QUOTA_CANDIDATES
            for options in [{"count": QUOTA_WAITS, "seconds": QUOTA_TASK_SECONDS}] * (1 if quick else RUNS)
        ]
        for _, process in processes:
            process.read()
        for _, process in processes:
            process.tell()
        for name, process in processes:
            run = json.loads(process.read())
            runs[name].append(run | {"refused_share": run["refused"] / run["polls"]})
    return {name: medians(found) for name, found in runs.items()}


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each number, and how many runs there were."""
    numbers = {
        key: statistics.median(run[key] for run in runs)
        for key, value in runs[0].items()
        if isinstance(value, int | float) and all(run[key] is not None for run in runs)
    }
    return {**numbers, "lost": [run["lost"] for run in runs], "runs": len(runs)}


def weight(*, quick: bool) -> dict[str, Any]:
    """What importing and installing each of them costs."""
    return footprint.measure(runs=3 if quick else IMPORT_RUNS, core=CLIENT_CORE)


def simulation(*, quick: bool) -> dict[str, Any]:
    """A million tasks on virtual time; one simulation for each core at a time."""
    return simulate.compare(tasks=SIMULATED_TASKS // 100 if quick else SIMULATED_TASKS)


SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "polls": polls,
    "waits": waits,
    "quota": quota,
    "blocking": blocking,
    "footprint": weight,
    "simulation": simulation,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure stream_tasks, aiohttp and getstream.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a tenth of everything, once")
    parser.add_argument("--only", metavar="A,B", help=f"some of {','.join(SECTIONS)}; all without it")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    results: dict[str, Any] = {"machine": report.machine()}
    for name in chosen:
        begun = time.monotonic()
        results[name] = SECTIONS[name](quick=options.quick)
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    print(report.text(results))
    if not options.quick and not options.only:
        report.write(results)


if __name__ == "__main__":
    main()
