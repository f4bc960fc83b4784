"""The report as text."""

from collections.abc import Iterator
from typing import Final

from stream_tasks._report.figures import Figures, quantile
from stream_tasks._report.record import STATUSES
from stream_tasks._view.text import duration

__all__ = ["durations_in_words", "held_in_words", "polls_in_words", "sum_in_words", "summary"]

_MOST: Final = 10
"""So many ids, or items, are named for each type of failure."""


def summary(figures: Figures) -> Iterator[str]:
    """Yield the lines of the report."""
    yield sum_in_words(figures)
    if not figures.records:
        return
    yield f"durations: {durations_in_words(figures)}"
    yield f"polls: {polls_in_words(figures)}"
    yield f"held by the quota: {held_in_words(figures)}"
    yield from ("", "Slowest")
    width = max(len(record.task_id) for record in figures.slowest)
    for record in figures.slowest:
        yield f"  {record.task_id:<{width}}  {duration(record.elapsed):>8}  {STATUSES[record.status]}"
    for status, kind, records in figures.failures:
        yield from ("", f"{STATUSES[status].capitalize()}: {kind}, {_counted(len(records), 'task')}")
        yield from (f"  {record.task_id}  {record.why}".rstrip() for record in records[:_MOST])
        yield from _rest(len(records))
    if figures.failed_items:
        yield from ("", f"Completed, but not for {_counted(len(figures.failed_items), 'item')}")
        yield from (
            f"  {item}  {why}  (task {task_id})" for task_id, item, why in figures.failed_items[:_MOST]
        )
        yield from _rest(len(figures.failed_items))


def sum_in_words(figures: Figures) -> str:
    """Tell how many tasks there are, and how they ended."""
    parts = [
        f"{count:,} {STATUSES[status]}"
        for status, count in figures.counts.items()
        if count or status == "completed"
    ]
    return f"{_counted(len(figures.records), 'task')}: {', '.join(parts)}"


def durations_in_words(figures: Figures) -> str:
    """Tell how long waits lasted."""
    times = figures.durations
    middle, most = duration(quantile(times, 0.5)), duration(quantile(times, 0.95))
    return f"median {middle}, 95th percentile {most}, longest {duration(times[-1])}"


def polls_in_words(figures: Figures) -> str:
    """Tell how often tasks were polled."""
    polls = figures.polls
    return f"{sum(polls):,} in all; median {quantile(polls, 0.5):g} a task, at most {polls[-1]:,}"


def held_in_words(figures: Figures) -> str:
    """Tell for how long the quota held back polls."""
    told = "not at all"
    if held := figures.held:
        share = sum(held) / sum(figures.durations) if sum(figures.durations) else 0.0
        told = (
            f"{_counted(len(held), 'task')}, for {duration(sum(held) / len(held))} on average and"
            f" {duration(max(held))} at most; that is {share:.0%} of all waiting"
        )
    if figures.held_to_the_end:
        told += f"; {_counted(figures.held_to_the_end, 'task')} timed out because of it"
    return told


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _rest(count: int) -> Iterator[str]:
    if count > _MOST:
        yield f"  … and {count - _MOST:,} more"
