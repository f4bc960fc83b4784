"""Waiting: which task is asked for when, and who is told what came of it.

- ``engine``: the one coroutine for each event loop that starts the polls that are due
- ``tracked``: one task that somebody waits for, and one caller's wait for it
- ``poll``: one request in flight, and the ledger of all that are in flight
- ``calls``: what a call does: wait for one task, follow one, wait for many
- ``inbox``: how a call receives what happens to its waits, within its deadline
- ``lineup``: which task is looked at next, and when
- ``due``: what is due when
- ``worth``: which of the tasks that are due is looked at next, if there are not enough looks for all
- ``sighting``: what was seen of one task's life, and what a look at it is worth
- ``durations``: how long tasks take, learned
- ``alarm``: where the engine's coroutine sleeps
- ``deadlines``: whether a deadline was noticed late, and what held the looks back
- ``turns``: thousands of waits that begin or end at once do so some at a time
- ``finality``: which failures end a wait
- ``pacing``: when the next poll may go out
- ``tuning``: every number that tunes these
- ``reporter``: tells the log and the hooks what happens, and counts it
- ``logs``: the hook that tells the logger
"""
