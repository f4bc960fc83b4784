"""The report as HTML that needs nothing else: no script, no font, no picture from elsewhere.

All texts of tasks are escaped, and none is a part of an attribute, of a style or of a path.
"""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from stream_tasks._report.drawings import histogram, timeline
from stream_tasks._report.figures import Figures
from stream_tasks._report.record import STATUSES, FailedItem, Record
from stream_tasks._report.summary import (
    durations_in_words,
    held_in_words,
    polls_in_words,
    sum_in_words,
)
from stream_tasks._view.text import duration

__all__ = ["fragment", "page"]

_TABLE_ROOM: Final = 1_000_000
_LIST_ROOM: Final = 300_000
"""So many characters are filled with rows; of further rows, only the number is told."""

_OPEN: Final = 20
"""A list of more ids than this is folded."""

_HEAD: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>Report on tasks</title>
<style>body { margin: 0 } .stream-report { min-height: 100vh; box-sizing: border-box }</style>
</head><body>
"""

_STYLE: Final = """<style>
.stream-report { --ground: #fff; --ink: #1c2330; --soft: #5c6675; --rule: #d9dee6; --panel: #f4f6f9;
  --completed: #2f6fb7; --failed: #c62f3e; --timed_out: #b8790a; --error: #7a4bb0;
  background: var(--ground); color: var(--ink); padding: 24px max(16px, calc(50% - 540px));
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { .stream-report { --ground: #14181f; --ink: #e3e8f0; --soft: #9aa5b5;
  --rule: #2e3643; --panel: #1c222c; --completed: #6aa5ea; --failed: #f2707c; --timed_out: #e0a53c;
  --error: #b48ae6 } }
.stream-report h1 { font-size: 22px; line-height: 1.3; margin: 0 0 16px; color: inherit }
.stream-report h2 { font-size: 16px; margin: 32px 0 8px; color: inherit }
.stream-report p { margin: 4px 0 8px; color: var(--soft) }
.stream-report dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px;
  margin: 0 }
.stream-report dl div { background: var(--panel); border-radius: 8px; padding: 10px 14px }
.stream-report dt { color: var(--soft); font-size: 12px; font-weight: normal; margin: 0 }
.stream-report dd { margin: 0 }
.stream-report .key { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; padding: 0;
  list-style: none }
.stream-report .key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px;
  margin-right: 6px }
.stream-report .lanes { display: flex; gap: 10px }
.stream-report .names { flex: 0 1 auto; max-width: 35%; font-size: 11px; line-height: 16px; padding-top: 1px }
.stream-report .names div { height: 16px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.stream-report .most { display: flex; flex-direction: column; justify-content: space-between; height: 180px;
  text-align: right; font-size: 11px; line-height: 1; color: var(--soft) }
.stream-report .plot { flex: 1; min-width: 0 }
.stream-report svg { display: block; width: 100%; border: solid var(--rule); border-width: 0 0 1px 1px }
.stream-report .axis { position: relative; height: 18px; font-size: 11px; color: var(--soft) }
.stream-report .axis span { position: absolute; white-space: nowrap; transform: translateX(-50%) }
.stream-report .axis span:first-child { transform: none }
.stream-report .axis span:last-child { transform: translateX(-100%) }
.stream-report .scroll { overflow-x: auto }
.stream-report table { border-collapse: collapse; width: 100%; font-size: 13px; margin: 0 }
.stream-report tr { background: none !important }
.stream-report th, .stream-report td { text-align: left; vertical-align: top; padding: 3px 16px 3px 0;
  border: 0; border-bottom: 1px solid var(--rule); max-width: none; color: inherit }
.stream-report th { color: var(--soft); font-weight: normal; font-size: 12px; white-space: nowrap }
.stream-report .n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.stream-report td:first-child { min-width: 11em; width: 23em }
.stream-report td:last-child { min-width: 13em }
.stream-report .s { white-space: nowrap }
.stream-report details { margin: 8px 0 }
.stream-report summary { cursor: pointer }
.stream-report .completed { fill: var(--completed) }
.stream-report i.completed { background: var(--completed) }
.stream-report .failed { fill: var(--failed) }
.stream-report i.failed { background: var(--failed) }
.stream-report td.failed { color: var(--failed) }
.stream-report .timed_out { fill: var(--timed_out) }
.stream-report i.timed_out { background: var(--timed_out) }
.stream-report td.timed_out { color: var(--timed_out) }
.stream-report .error { fill: var(--error) }
.stream-report i.error { background: var(--error) }
.stream-report td.error { color: var(--error) }
</style>
"""


def page(figures: Figures) -> str:
    """Return the report as a page."""
    return "".join([_HEAD, *_parts(figures), "</body></html>\n"])


def fragment(figures: Figures) -> str:
    """Return the report as a part of a page, such as a notebook."""
    return "".join(_parts(figures))


def _parts(figures: Figures) -> Iterator[str]:
    yield from (_STYLE, '<div class="stream-report">', f"<h1>{sum_in_words(figures)}</h1>")
    if figures.records:
        yield from _facts(figures)
        yield from _drawings(figures)
        yield from ("<h2>Slowest</h2>", *_table(figures.slowest, _TABLE_ROOM))
        yield from _failures(figures)
        yield from _failed_items(figures.failed_items)
        yield f"<h2>All tasks</h2><details><summary>{len(figures.records):,} rows</summary>"
        yield from (*_table(figures.records, _TABLE_ROOM), "</details>")
    yield "</div>"


def _facts(figures: Figures) -> Iterator[str]:
    facts = {
        "Durations": durations_in_words(figures),
        "Polls": polls_in_words(figures),
        "Held by the quota": held_in_words(figures),
    }
    yield "<dl>"
    yield from (f"<div><dt>{name}</dt><dd>{told}</dd></div>" for name, told in facts.items())
    yield "</dl>"


def _drawings(figures: Figures) -> Iterator[str]:
    yield "<h2>Timeline</h2>"
    told = "Each line is a wait, from its start; the shortest comes first."
    if figures.has_server_times:
        told = "Each line is a task on the server, from when it was made to its end; the oldest comes first."
    yield f'<p>{told}</p><ul class="key">'
    yield from (
        f'<li><i class="{status}"></i>{STATUSES[status]}</li>'
        for status, count in figures.counts.items()
        if count
    )
    yield from ("</ul>", *timeline(figures))
    yield from ("<h2>Durations</h2><p>How many waits lasted how long.</p>", *histogram(figures))


def _table(records: Iterable[Record], room: int) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr><th>task<th>status'
    yield '<th class="n">duration<th class="n">polls<th></tr></thead><tbody>'
    yield from _within(room, map(_row, records), '<tr><td colspan="5">')
    yield "</tbody></table></div>"


def _row(record: Record) -> str:
    note = f"{record.kind}: {record.why}".removesuffix(": ") if record.kind else record.operation
    return (
        f'<tr><td>{escape(record.task_id)}<td class="s {record.status}">{STATUSES[record.status]}'
        f'<td class="n">{duration(record.elapsed)}<td class="n">{record.polls:,}<td>{escape(note)}'
    )


def _failures(figures: Figures) -> Iterator[str]:
    if figures.failures:
        yield "<h2>What did not complete</h2>"
    for status, kind, records in figures.failures:
        is_open = " open" if len(records) <= _OPEN else ""
        tasks = "1 task" if len(records) == 1 else f"{len(records):,} tasks"
        yield f"<details{is_open}><summary><b>{escape(kind)}</b>: {STATUSES[status]}, {tasks}</summary>"
        yield '<div class="scroll"><table><tbody>'
        rows = (f"<tr><td>{escape(record.task_id)}<td>{escape(record.why)}" for record in records)
        yield from _within(_LIST_ROOM // len(figures.failures) + 1000, rows, '<tr><td colspan="2">')
        yield "</tbody></table></div></details>"


def _failed_items(items: list[FailedItem]) -> Iterator[str]:
    if not items:
        return
    yield "<h2>Items that failed in tasks that completed</h2>"
    is_open = " open" if len(items) <= _OPEN else ""
    yield f"<details{is_open}><summary>{len(items):,} in all</summary>"
    yield '<div class="scroll"><table><thead><tr><th>item<th>why<th>task</tr></thead><tbody>'
    rows = (f"<tr><td>{escape(item)}<td>{escape(why)}<td>{escape(task_id)}" for task_id, item, why in items)
    yield from _within(_LIST_ROOM, rows, '<tr><td colspan="3">')
    yield "</tbody></table></div></details>"


def _within(room: int, rows: Iterable[str], rest: str) -> Iterator[str]:
    """Yield rows as long as there is room, then `rest` with the number of those that are left."""
    left = 0
    for row in rows:
        room -= len(row)
        if room >= 0:
            yield row
        else:
            left += 1
    if left:
        yield f"{rest}… and {left:,} more"
