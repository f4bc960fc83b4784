"""From outcomes to a report."""

from collections.abc import Iterable, Mapping
from typing import Any

from stream_tasks._arguments import check_items
from stream_tasks._report.figures import Figures
from stream_tasks._report.page import fragment, page
from stream_tasks._report.record import Record, merged, record_of
from stream_tasks._report.summary import summary
from stream_tasks.models import TaskOutcome

__all__ = ["Report", "report"]


class Report:
    """What came of many waits; `report` makes it.

    A notebook shows it as it is, and ``print`` as text.

    Args:
        records: What is known of each wait, several of one task included.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._figures = Figures(merged(records))

    def __str__(self) -> str:
        return "\n".join(summary(self._figures))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {str(self).partition(chr(10))[0]}>"

    def _repr_html_(self) -> str:
        return fragment(self._figures)

    def to_html(self) -> str:
        """Return the report as an HTML page that needs nothing else.

        ::

            Path("report.html").write_text(stream_tasks.report(outcomes).to_html(), encoding="utf-8")
        """
        return page(self._figures)


def report(
    outcomes: Iterable[TaskOutcome[Any] | Mapping[str, Any]] | Mapping[str, TaskOutcome[Any]],
) -> Report:
    """Report on many waits: how they ended, how long they lasted, what failed, and how often was polled.

    ::

        outcomes = await client.wait_for_tasks(ids)
        print(stream_tasks.report(outcomes))

    In a notebook, the report as the last line of a cell shows itself, with a timeline of all tasks and a
    histogram. Results are not a part of it, apart from the items that failed: it holds no link to an export.

    Args:
        outcomes: What `wait_for_tasks` returned, or any iterable of outcomes, or of what their `to_dict`
            returned. Of several outcomes of one task, that counts in which it had ended, or else the last.

    Returns:
        The report.

    Raises:
        TypeError: `outcomes` holds something else.
        ValueError: A value in what `to_dict` returned is out of range.
    """
    each = outcomes.values() if isinstance(outcomes, Mapping) else outcomes
    check_items("outcomes", each, Iterable)
    return Report(map(record_of, each))
