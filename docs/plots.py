"""Draws the plots of the site from what was measured: `nox -s pictures` runs it after a benchmark."""

import json
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results" / "results.json"
NAMES = {"ours": "stream_tasks", "backoff": "each with back-off, 1 s to 60 s", "fixed": "each every second"}
COLOURS = {"ours": "#0f766e", "backoff": "#f3b562", "fixed": "#d97706"}
WIDTH, LABELS, BAR, TITLE, MARGIN = 760, 240, 26, 44, 24


class Bar(NamedTuple):
    """One bar: how long it is, from 0 to 1, and what it says."""

    label: str
    colour: str
    share: float
    text: str


def pacing(simulated: dict[str, dict[str, Any]]) -> str:
    """Draw what becomes of polls, and how late ends are noticed, for one client."""
    runs = {name: simulated[f"{name}, 1"] for name in NAMES}
    slowest = max(run["delay_median"] for run in runs.values())
    refused = [
        Bar(f"{NAMES[name]}", COLOURS[name], run["refused_share"], f"{run['refused_share']:.1%}")
        for name, run in runs.items()
    ]
    delays = [
        Bar(NAMES[name], COLOURS[name], run["delay_median"] / slowest, f"{run['delay_median']:.0f} s")
        for name, run in runs.items()
    ]
    polls = max(run["polls_per_task"] for run in runs.values())
    spent = [
        Bar(NAMES[name], COLOURS[name], run["polls_per_task"] / polls, f"{run['polls_per_task']:.0f}")
        for name, run in runs.items()
    ]
    return drawn(
        {"Polls refused": refused, "Polls for each task": spent, "End noticed after (median)": delays}
    )


def drawn(panels: dict[str, list[Bar]]) -> str:
    """Return panels of bars, one below the other, as an SVG that reads well on light and dark pages."""
    lines: list[str] = []
    y = MARGIN
    for title, bars in panels.items():
        lines.append(f'<text x="{MARGIN}" y="{y + 18}" class="title">{escape(title)}</text>')
        y += TITLE - 12
        for bar in bars:
            length = max(2.0, bar.share * (WIDTH - LABELS - 2 * MARGIN - 80))
            middle = y + BAR / 2 + 2
            size = f'width="{length:.1f}" height="{BAR - 8}"'
            lines += [
                f'<text x="{LABELS}" y="{middle}" class="label">{escape(bar.label)}</text>',
                f'<rect x="{LABELS + 12}" y="{y}" {size} rx="3" fill="{bar.colour}"/>',
                f'<text x="{LABELS + 20 + length:.1f}" y="{middle}" class="value">{escape(bar.text)}</text>',
            ]
            y += BAR
        y += MARGIN
    style = (
        "text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }"
        " text { font-size: 13px; fill: #424a53; }"
        " .title { font-weight: 600; font-size: 15px; fill: #1f2328; } .label { text-anchor: end; }"
        " .value { fill: #1f2328; }"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}"><style>{style}</style>'
    paper = (
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{y - 2}" rx="10" fill="#ffffff" stroke="#d0d7de"/>'
    )
    return "\n".join([head, paper, *lines, "</svg>", ""])


if __name__ == "__main__":
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    (HERE / "_static" / "pacing.svg").write_text(pacing(results["simulation"]), encoding="utf-8")
