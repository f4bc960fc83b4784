"""Delay against quota for each work, in the learned order and in due order, as an SVG.

python benchmarks/simulate.py works --rates 5 10 30 --clients 1 --json works.json
python benchmarks/delays.py works.json > docs/_static/durations.svg
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from figure import FONT, label, rectangle

COLUMNS = 4
WIDTH, HEIGHT = 200, 150  # of a plot
GAP_X, GAP_Y = 48, 64
LEFT, TOP = 58, 76
COLOURS = {"due": "#94a3b8", "learned": "#0f766e"}
NAMES = {"due": "plain order", "learned": "learned order"}
TITLES = {
    "exports and deletions": "exports, hard deletions",
    "three kinds": "8 s, 90 s and 600 s",
    "200 s ± 10 %": "180 to 220 s",
    "exponential": "exponential, 200 s",
    "log-normal": "log-normal, 120 s",
    "durations double": "durations double midway",
    "burst": "a burst of both kinds",
    "half unknown": "half of them only ids",
}


def draw(results: list[dict[str, Any]]) -> str:
    """Draw a plot for each work."""
    rows = math.ceil(len(TITLES) / COLUMNS)
    width = LEFT + COLUMNS * (WIDTH + GAP_X)
    height = TOP + rows * (HEIGHT + GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" {FONT}>',
        rectangle(0, 0, width, height, radius=10, fill="#ffffff"),
        label(
            "How long an end goes unnoticed on average, in seconds, by polls a second", 24, 30,
            size=15, weight=600, fill="#0f172a",
        ),
    ]  # fmt: skip
    for place, (name, text) in enumerate(NAMES.items()):
        x = width - 300 + 140 * place
        parts += [rectangle(x, 20, 14, 10, radius=2, fill=COLOURS[name])]
        parts += [label(text, x + 20, 30, size=13, fill="#334155")]
    works = {run["work"] for run in results}
    titles = {work: title for work, title in TITLES.items() if work in works}
    for place, (work, title) in enumerate(titles.items()):
        x, y = LEFT + place % COLUMNS * (WIDTH + GAP_X), TOP + place // COLUMNS * (HEIGHT + GAP_Y)
        found = sorted((run for run in results if run["work"] == work), key=lambda run: float(run["rate"]))
        parts += plot(title, found, x, y)
    return "\n".join([*parts, "</svg>\n"])


def plot(title: str, found: list[dict[str, Any]], x: int, y: int) -> list[str]:
    """Draw one plot; both axes are logarithmic."""
    parts = [label(title, x, y - 10, size=13, weight=600, fill="#0f172a")]
    rates = [run["rate"] for run in found]
    delays = [run[order]["mean"] for run in found for order in NAMES]
    least, most = 10 ** math.floor(math.log10(min(delays))), 10 ** math.ceil(math.log10(max(delays)))

    def across(rate: float) -> float:
        return x + 12 + (WIDTH - 24) * math.log(rate / rates[0]) / math.log(rates[-1] / rates[0])

    def up(delay: float) -> float:
        return y + HEIGHT - HEIGHT * math.log(delay / least) / math.log(most / least)

    tick = least
    while tick <= most:
        parts += [line(x, up(tick), x + WIDTH, up(tick), "#e2e8f0")]
        parts += [label(f"{tick:g}", x - 6, up(tick) + 4, size=11, fill="#64748b", anchor="end")]
        tick *= 10
    parts += [
        label(f"{rate:g}", across(rate), y + HEIGHT + 16, size=11, fill="#64748b", anchor="middle")
        for rate in rates
    ]
    for order in NAMES:
        points = " ".join(f"{across(run['rate']):.1f},{up(run[order]['mean']):.1f}" for run in found)
        parts += [f'<polyline points="{points}" fill="none" stroke="{COLOURS[order]}" stroke-width="2.5"/>']
        parts += [
            f'<circle cx="{across(run["rate"]):.1f}" cy="{up(run[order]["mean"]):.1f}" r="3.5"'
            f' fill="{COLOURS[order]}"/>'
            for run in found
        ]
    return parts


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """Draw a thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def main() -> None:
    """Draw what the files hold."""
    results = [run for name in sys.argv[1:] for run in json.loads(Path(name).read_text())]
    print(draw(results), end="")


if __name__ == "__main__":
    main()
