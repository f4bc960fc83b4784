"""A report on many waits: `report`.

- ``record``: one wait, from an outcome or from a line of JSON
- ``figures``: what is counted and measured
- ``text``: the report for a terminal
- ``svg``: the drawings: a timeline and a histogram
- ``page``: the report as HTML, of which a browser asks nothing more
"""

from stream_tasks._report.report import Report, report

__all__ = ["Report", "report"]
