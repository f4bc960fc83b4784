"""What people see of many waits, for the command line and for `stream_tasks.progress` alike.

- ``board``: counts what happens: numbers, rates, rows, and what holds polls back
- ``lines``: a line now and then
- ``screen``: a bar and a table on a terminal; it needs rich
- ``notebook``: a bar and a table in a Jupyter notebook
- ``text``: times and texts for people

None of these modules imports click, and only ``screen`` imports rich.
"""
