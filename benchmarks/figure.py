"""The main results as bars, in an SVG that reads well on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = 2
PANEL_WIDTH = 470
LABEL_WIDTH = 150
VALUE_WIDTH = 92
BAR_HEIGHT = 18
BAR_GAP = 7
TITLE_HEIGHT = 46
PANEL_GAP = 26
MARGIN = 24
FONT = "font-family=\"-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\""

COLOURS = {"ours": "#0f766e", "bare": "#94a3b8", "official": "#d97706", "official-retry": "#f3b562"}
NAMES = {
    "ours": "stream_tasks",
    "bare": "bare aiohttp",
    "official": "getstream",
    "official-retry": "getstream, retrying",
    "fixed": "every second",
    "backoff": "with back-off",
}


class Mark(NamedTuple):
    """One bar."""

    name: str
    colour: str
    value: float
    text: str


class Panel(NamedTuple):
    """One comparison."""

    title: str
    note: str
    marks: list[Mark]


def panels(results: dict[str, Any]) -> list[Panel]:
    """Choose what to show."""
    polls, waits = results["polls"], results["waits"]
    fewer = min(int(name.partition(", ")[2]) for name in waits)
    many = {name.partition(", ")[0]: run for name, run in waits.items() if name.endswith(f", {fewer}")}
    simulated = {
        name.partition(", ")[0]: run for name, run in results["simulation"].items() if name.endswith(", 4")
    }
    speed = [
        Panel(
            f"wait_for_task on finished tasks, {width} at a time",
            "waits per second: more is better",
            marks(polls[f"wait_for_task, {width}"], lambda run: run["per_second"], "{:,.0f}".format),
        )
        for width in (1, 100)
    ]
    return [
        *speed,
        Panel(
            f"{fewer:,} waits at once on tasks of 3 s",
            "seconds until all are known: less is better",
            marks(many, lambda run: run["seconds"], "{:.1f} s".format),
        ),
        Panel(
            "100 waits, 600 polls a minute allowed",
            "waits that came to their result, of 100: more is better",
            marks(results["quota"], lambda run: run["completed"], "{:.0f}".format),
        ),
        Panel(
            "50 polls a second, shared by 4 clients (simulated)",
            "share of polls refused with a 429: less is better",
            marks(simulated, lambda run: run["refused_share"], share),
        ),
        Panel(
            "50 polls a second, shared by 4 clients (simulated)",
            "median delay until a task's end is noticed: less is better",
            marks(simulated, lambda run: run["delay_median"], "{:,.0f} s".format),
        ),
    ]


def share(part: float) -> str:
    """Write a share; what is nearly all is not all."""
    return "over 99.9%" if 0.9995 <= part < 1 else f"{part:.1%}"


def marks(runs: dict[str, Any], value: Callable[[Any], float], form: Callable[[float], str]) -> list[Mark]:
    """Make a bar for each candidate, in the order of `NAMES`."""
    return [
        Mark(title, COLOURS.get(name, "#94a3b8"), value(runs[name]), form(value(runs[name])))
        for name, title in NAMES.items()
        if name in runs
    ]


def draw(results: dict[str, Any]) -> str:
    """Draw all panels."""
    parts: list[str] = []
    y = MARGIN
    shown = panels(results)
    for first in range(0, len(shown), COLUMNS):
        row = shown[first : first + COLUMNS]
        for column, panel in enumerate(row):
            parts += draw_panel(panel, MARGIN + column * (PANEL_WIDTH + PANEL_GAP), y)
        y += TITLE_HEIGHT + max(len(panel.marks) for panel in row) * (BAR_HEIGHT + BAR_GAP) + PANEL_GAP
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * PANEL_GAP
    height = y - PANEL_GAP + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {FONT}>',
            rectangle(0, 0, width, height, radius=10, fill="#ffffff"),
            *parts,
            "</svg>\n",
        ]
    )


def draw_panel(panel: Panel, x: int, y: int) -> list[str]:
    """Draw one panel with its upper left corner at `x`, `y`."""
    parts = [
        label(panel.title, x, y + 14, size=15, weight=600, fill="#0f172a"),
        label(panel.note, x, y + 33, size=12, fill="#64748b"),
    ]
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    longest = max(mark.value for mark in panel.marks) or 1
    for place, mark in enumerate(panel.marks):
        top = y + TITLE_HEIGHT + place * (BAR_HEIGHT + BAR_GAP)
        base = top + BAR_HEIGHT - 5
        length = max(2.0, room * mark.value / longest)
        is_ours = place == 0
        weight, fill = (600, "#0f172a") if is_ours else (400, "#334155")
        parts += [
            label(mark.name, x + LABEL_WIDTH - 10, base, size=13, weight=weight, fill=fill, anchor="end"),
            rectangle(x + LABEL_WIDTH, top, length, BAR_HEIGHT, radius=3, fill=mark.colour),
            label(mark.text, x + LABEL_WIDTH + length + 7, base, size=13, weight=weight, fill=fill),
        ]
    return parts


def rectangle(x: float, y: float, width: float, height: float, *, radius: int, fill: str) -> str:
    """Draw a box."""
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="{radius}" fill="{fill}"/>'


def label(
    text: str, x: float, y: float, *, size: int, fill: str, weight: int = 400, anchor: str = "start"
) -> str:
    """Write a line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
