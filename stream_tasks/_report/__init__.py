"""A report on many waits: `report`.

- ``build``: makes the report
- ``record``: what is known of one wait, from an outcome or from a line of JSON
- ``figures``: what is counted and measured
- ``summary``: the report as text
- ``drawings``: a timeline and a histogram, as SVG
- ``page``: the report as HTML that needs nothing else: no script, no font, no picture from elsewhere
"""

from stream_tasks._report.build import Report, report

__all__ = ["Report", "report"]
