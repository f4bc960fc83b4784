"""The drawings of a report: SVG without a script, in the colours of the page that it is on.

A plot is stretched to the width of the page, so all texts stand beside it, as HTML.
"""

from collections import Counter
from collections.abc import Iterator
from html import escape
from itertools import accumulate
from typing import Final

from stream_tasks._report.figures import Figures, bins
from stream_tasks._report.record import STATUSES
from stream_tasks._view.text import duration

__all__ = ["histogram", "timeline"]

_WIDTH: Final = 1000
"""How many units a plot is wide; its height is in rows, or in percent."""

_NAMED: Final = 40
"""Up to so many tasks have their names beside the timeline."""

_TOLD: Final = 1000
"""Up to so many tasks can be pointed at in the timeline; of more, those of one status are one path."""

_ROW: Final = 16
_TALLEST: Final = 480
"""The heights of a row and of the whole timeline, in pixels."""

_TICKS: Final = 4


def timeline(figures: Figures) -> Iterator[str]:
    """Yield the drawing of all tasks: a line for each, from its beginning to its end."""
    spans = figures.spans
    longest = max((end for _, _, end in spans), default=0.0) or 1.0
    scale = _WIDTH / longest
    are_named = len(spans) <= _NAMED
    height = min(_ROW * len(spans), _TALLEST)
    if are_named:
        names = "".join(f"<div>{escape(record.task_id)}</div>" for record, _, _ in spans)
        yield f'<div class="lanes"><div class="names">{names}</div><div class="plot">'
    else:
        yield '<div class="lanes"><div class="plot">'
    yield _svg(len(spans), height, f"Timeline of {len(spans):,} tasks")
    paths: dict[str, list[str]] = {}
    for row, (record, start, end) in enumerate(spans):
        begin = round(start * scale)
        # What took no time can be seen, too.
        width = max(round((end - start) * scale), 2)
        if len(spans) > _TOLD:
            paths.setdefault(record.status, []).append(f"M{begin} {row}h{width}v1h-{width}z")
            continue
        told = f"{record.task_id}: {STATUSES[record.status]}, {duration(end - start)}"
        yield (
            f'<rect class="{record.status}" x="{begin}" y="{row}.1" width="{width}" height=".8">'
            f"<title>{escape(told)}</title></rect>"
        )
    for status, path in paths.items():
        yield f'<path class="{status}" d="{"".join(path)}"/>'
    yield "</svg>"
    yield from _axis(longest)
    yield "</div></div>"


def histogram(figures: Figures) -> Iterator[str]:
    """Yield the drawing of how many waits lasted how long."""
    width, count = bins(figures.durations, _TICKS)
    columns: list[Counter[str]] = [Counter() for _ in range(count)]
    for record in figures.records:
        columns[int(record.elapsed // width)][record.status] += 1
    most = max(column.total() for column in columns)
    yield '<div class="lanes"><div class="most">'
    yield f"<span>{most:,}</span><span>0</span></div>"
    yield '<div class="plot">'
    yield _svg(100, 180, f"Histogram of {len(figures.records):,} durations")
    step = _WIDTH / count
    for place, column in enumerate(columns):
        heights = [100 * column[status] / most for status in STATUSES]
        told = f"{duration(place * width)} to {duration((place + 1) * width)}: {column.total():,}"
        bars = "".join(
            f'<rect class="{status}" x="{place * step + 1:.1f}" y="{100 - top:.2f}"'
            f' width="{step - 2:.1f}" height="{height:.2f}"/>'
            for status, height, top in zip(STATUSES, heights, accumulate(heights), strict=True)
            if height
        )
        if bars:
            yield f"<g><title>{told}</title>{bars}</g>"
    yield "</svg>"
    yield from _axis(count * width)
    yield "</div></div>"


def _svg(rows: int, height: int, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {max(rows, 1)}" height="{height}" preserveAspectRatio="none"'
        f' role="img" aria-label="{label}">'
    )


def _axis(longest: float) -> Iterator[str]:
    """Yield the times below a plot."""
    yield '<div class="axis">'
    for tick in range(_TICKS + 1):
        told = duration(longest * tick / _TICKS) if tick else "0"
        yield f'<span style="left: {100 * tick / _TICKS:g}%">{told}</span>'
    yield "</div>"
