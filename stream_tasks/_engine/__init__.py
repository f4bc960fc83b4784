"""Waiting: which task is asked for when, and who is told what came of it.

- ``engine``: the one coroutine for each event loop that starts the polls that are due
- ``tracked``: one task that somebody waits for, and one caller's wait for it
- ``poll``: one request in flight, and the ledger of all that are in flight
- ``inbox``: how a caller receives what happens to its waits, within its deadline
- ``due``: what is due when
- ``turns``: thousands of waits that begin or end at once do so some at a time
- ``finality``: which failures end a wait
- ``pacing``: when the next poll may go out
- ``tuning``: every number that tunes these
- ``logs``: what becomes of waits, told to the logger
"""
