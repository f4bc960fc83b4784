"""What came of the measurements, as a table for the terminal, JSON, a figure, and a part of the docs."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "explanation" / "speed.rst"
BEGIN, END = ".. benchmark-begin", ".. benchmark-end"
PACKAGES = ("stream_tasks", "aiohttp", "getstream", "uvloop")
NOTHING = "-"

Section = dict[str, Any]
Row = tuple[str, ...]

HEAD: Row = ("", "stream_tasks", "bare aiohttp", "getstream")
WIDTHS = {1: "one at a time", 100: "100 at a time"}


class Bar(NamedTuple):
    """What is demanded of a number."""

    name: str
    value: float
    limit: float
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the number is as demanded."""
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def __str__(self) -> str:
        word = "at least" if self.is_floor else "at most"
        return f"{'met   ' if self.is_met else 'MISSED'} {self.name}: {self.value:.3g}, {word} {self.limit:g}"


def machine() -> dict[str, Any]:
    """Describe where and when this is."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: metadata.version(name) for name in PACKAGES if find_spec(name)},
    }


def processor() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def polls(section: Section) -> list[Row]:
    """Speed on finished tasks."""
    rows: list[Row] = []
    for method, width in (("get_task", 1), ("get_task", 100), ("wait_for_task", 1), ("wait_for_task", 100)):
        found = section[f"{method}, {width}"]
        rows.append(
            (
                f"``{method}`` per second, {WIDTHS[width]}",
                f"{number(found['ours']['per_second'])} ({found['ours']['ratio']:.2f} of bare)",
                number(found["bare"]["per_second"]),
                number(found["official"]["per_second"]),
            )
        )
    return rows


def blocking(section: Section) -> list[Row]:
    """Speed of the blocking clients."""
    ours, official, uvloop = section["ours"], section["official"], section.get("ours-uvloop")
    on_uvloop = f" ({number(uvloop['per_second'])} on uvloop)" if uvloop else ""
    return [
        (
            "blocking waits per second, finished tasks",
            number(ours["per_second"]) + on_uvloop,
            NOTHING,
            number(official["per_second"]),
        )
    ]


def waits(section: Section) -> list[Row]:
    """Many concurrent waits."""
    rows: list[Row] = []
    for name, ours in section.items():
        who, _, text = name.partition(", ")
        if who != "ours":
            continue
        count = int(text)
        official = section.get(f"official, {count}")
        what = f"{number(count)} waits on 3 s tasks"

        def row(label: str, show: Callable[[Section], str], bare: str = NOTHING) -> Row:
            return f"{what}: {label}", show(ours), bare, show(official) if official else NOTHING  # noqa: B023 - called at once

        rows += [
            row(
                "seconds",
                lambda run: f"{run['seconds']:.1f}",
                f"{ours['loop_seconds']:.1f} for as many polls",
            ),
            row("CPU seconds", lambda run: f"{run['cpu']:.1f}", f"{ours['loop_cpu']:.1f} for as many polls"),
            row("polls per task", lambda run: f"{run['polls'] / count:.1f}"),  # noqa: B023 - called at once
            row("false time-outs", lambda run: number(count - run["completed"])),  # noqa: B023 - called at once
            row("end noticed after", lambda run: span(run["delay_median"], run["delay_p99"], "99th")),
            row("memory per wait", lambda run: f"{run['bytes'] / 1000:.1f} kB"),
        ]
    return rows


def quota(section: Section) -> list[Row]:
    """Waits under Stream's rule."""
    ours, official, retry = section["ours"], section["official"], section["official-retry"]
    what = "100 waits on 5 s tasks, 600 polls a minute"

    def row(label: str, show: Callable[[Section], str]) -> Row:
        return f"{what}: {label}", show(ours), NOTHING, f"{show(official)} (with retries {show(retry)})"

    return [
        row("completed", lambda run: number(run["completed"])),
        row("polls refused", lambda run: f"{run['refused_share']:.0%}"),
        row("seconds", lambda run: f"{run['seconds']:.0f}"),
    ]


def footprint(section: Section) -> list[Row]:
    """The cost of having it."""
    libraries = [section[name] for name in ("stream_tasks", "aiohttp", "getstream")]
    return [
        ("import, ms", *(f"{one['import_seconds'] * 1000:.0f}" for one in libraries)),
        (
            "installed, with dependencies",
            *(f"{one['bytes'] / 1e6:.1f} MB, {one['packages']} packages" for one in libraries),
        ),
    ]


ROWS = {"polls": polls, "blocking": blocking, "waits": waits, "quota": quota, "footprint": footprint}

SIMULATION_HEAD: Row = (
    "",
    "clients",
    "tasks",
    "polls per task",
    "polls refused",
    "end noticed after",
    "unnoticed",
)
WAYS = {
    "ours": "stream_tasks",
    "fixed": "each task every second",
    "backoff": "each task with back-off, 1 s to 60 s",
}


def simulation(section: Section) -> list[Row]:
    """The simulation has a table of its own."""
    rows: list[Row] = []
    for name, found in section.items():
        way, _, clients = name.partition(", ")
        rows.append(
            (
                WAYS[way],
                clients,
                number(found["tasks"]),
                number(found["polls_per_task"]),
                figure.share(found["refused_share"]),
                span(found["delay_median"], found["delay_p95"], "95th"),
                figure.share(found["unnoticed_share"]),
            )
        )
    return rows


def number(value: float) -> str:
    """Write a number with three significant digits, and thousands apart."""
    if value >= 1000:
        value = round(value, 2 - len(str(int(value))) + 1)
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def span(median: float | None, high: float | None, percentile: str) -> str:
    """Write a median, and how much worse it gets."""
    if median is None or high is None:
        return NOTHING
    if high < 10:
        return f"{median * 1000:,.0f} ms ({percentile} percentile {high * 1000:,.0f} ms)"
    return f"{median:,.0f} s ({percentile} percentile {high:,.0f} s)"


def bars(results: dict[str, Any]) -> list[Bar]:
    """Hold what was measured against what is demanded."""
    found = []
    if section := results.get("polls"):
        for name, limit in (("get_task", 0.95), ("wait_for_task", 0.88)):
            for width, peer in ((1, 7.0), (100, 70.0)):
                run = section[f"{name}, {width}"]
                found.append(
                    Bar(f"{name} {WIDTHS[width]}, of bare", run["ours"]["ratio"], limit, is_floor=True)
                )
                if name == "wait_for_task":
                    ratio = run["ours"]["per_second"] / run["official"]["per_second"]
                    found.append(Bar(f"{name} {WIDTHS[width]}, of getstream", ratio, peer, is_floor=True))
    if section := results.get("waits"):
        count = max(int(name.partition(", ")[2]) for name in section)
        run = section[f"ours, {count}"]
        found += [
            Bar(f"{count} waits, lost", count - run["completed"], 0),
            Bar(f"{count} waits, of the bare loop's time", run["ratio"], 1.3),
            Bar(f"{count} waits, bytes for each", run["bytes"], 6 * 1024),
        ]
    if section := results.get("quota"):
        run = section["ours"]
        found += [
            Bar("waits under a quota, completed", run["completed"], 100, is_floor=True),
            Bar("waits under a quota, seconds", run["seconds"], 20),
            Bar("waits under a quota, share refused", run["refused_share"], 0.02),
        ]
    if section := results.get("blocking"):
        found.append(Bar("blocking waits, of getstream", section["ours"]["ratio"], 2, is_floor=True))
    if section := results.get("footprint"):
        found.append(Bar("import, of aiohttp", section["stream_tasks"]["ratio"], 1.15))
    return found


def tables(results: dict[str, Any]) -> list[list[Row]]:
    """Return what there is to show, as tables that begin with their heads."""
    rows = [row for name, make in ROWS.items() if name in results for row in make(results[name])]
    found = [[HEAD, *rows]] if rows else []
    if section := results.get("simulation"):
        found.append([SIMULATION_HEAD, *simulation(section)])
    return found


def text(results: dict[str, Any]) -> str:
    """Write it for a terminal."""
    shown = ["\n".join(aligned(table)).replace("``", "  ") for table in tables(results)]
    return "\n\n".join([describe(results["machine"]), *shown, "\n".join(map(str, bars(results)))])


def describe(machine: dict[str, Any]) -> str:
    """Say where and when it was measured."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Measured on {machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, {machine['python']}, {packages}."
    )


def aligned(table: Iterable[Row]) -> list[str]:
    """Write a table as reStructuredText and people can read it."""
    rows = list(table)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    # A row must not begin with an empty cell: it would go on with the one before.
    lines = [
        "  ".join((cell or "\\").ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [rule, lines[0], rule, *lines[1:], rule]


def write(results: dict[str, Any]) -> None:
    """Write JSON, figure and page."""
    RESULTS.mkdir(exist_ok=True)
    shown = results | {"bars": [{**bar._asdict(), "is_met": bar.is_met} for bar in bars(results)]}
    (RESULTS / "results.json").write_text(json.dumps(shown, indent=2) + "\n")
    (RESULTS / "benchmarks.svg").write_text(figure.draw(results))
    if PAGE.exists():
        PAGE.write_text(inserted(PAGE.read_text(), results))


def inserted(page: str, results: dict[str, Any]) -> str:
    """Put the results between the marks, if they are there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return page
    picture = [
        ".. image:: ../../benchmarks/results/benchmarks.svg",
        "   :alt: The main results as bars; the tables hold them all.",
    ]
    parts = [describe(results["machine"]), "\n".join(picture)]
    parts += ["\n".join(aligned(table)) for table in tables(results)]
    return f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}"
