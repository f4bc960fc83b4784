"""The numbers that tune how the engine behaves, each with its unit and the reason for its value."""

from __future__ import annotations

from typing import Final

from stream_tasks._backoff import Backoff

# Stream's rules

WINDOW: Final = 60.0
"""Seconds. Stream counts calls in windows of a minute."""

SECOND_DIVISOR: Final = 30
"""Stream allows this fraction of a minute's limit, and at least one call, in one second."""

RESET_ROUNDING: Final = 1.0
"""Seconds. Stream tells a window's end in whole seconds, rounded up or down: it may last this much longer."""

MAX_WINDOW: Final = 2 * WINDOW
"""Seconds. Ignore a reset that is further away: it is not the end of a window of a minute."""

NEW_WINDOW_AFTER: Final = 5.0
"""Seconds. Rounding and travel times move a window's end a little; a reset that is later by more than this is
the end of another window."""

# How the quota is spent

SECOND_UTILISATION: Final = 0.9
"""How much of the second's share is spent: travel times vary, so polls may arrive closer together than they
were sent."""

FRONT_LOADING: Final = 1.5
"""How much faster than evenly a client that is alone spends the rest of a window: fewer polls may be due
later."""

SHARED_LOADING: Final = 0.75
"""The same for clients that share a quota: their shares add up to more than 1."""

ALONE_AFTER: Final = 5.0
"""Seconds. A client is alone if nobody else has called for so long."""

INITIAL_SHARE: Final = 0.05
"""The share of a quota that others have begun to spend, before it is known how fast they do."""

INITIAL_RATE: Final = 2.0
"""Polls a second that it takes at least then: of a small quota, too, it should soon see what others spend."""

SHARE_SAMPLE: Final = 1.0
"""Seconds. What others spend is measured over at least this, and over at least one own call."""

SHARE_EQUALISER: Final = 0.1
"""A client's share is its measured part to the power of 1 minus this, so that shares become equal. With half
of it that takes minutes; with twice, 32 clients are refused twice as often."""

SHARE_CUT: Final = 0.7
"""Factor on the rate after a refusal by the second's rule: other clients spend the same second."""

MIN_SHARE: Final = 0.1
"""The rate never falls below this part of what the quota allows."""

SHARE_RECOVERY: Final = 0.6
"""How much of the rate comes back with each window's quota that is spent without a refusal."""

MAX_GAP: Final = WINDOW
"""Seconds between two polls of one client at the most, however small its share of the quota is."""

TIMER_SLACK: Final = 0.02
"""Seconds. A poll that is this late does not delay the ones after it: timers are not exact."""

# The learned rate

RATE_CUT: Final = 0.7
"""The learned rate falls to this part of what the server bore, as in TCP Cubic, so that it soon recovers."""

RATE_RECOVERY: Final = 12.0
"""Seconds after a hold, or a fall, until the learned rate is what the server bore; it then rises ever faster.
With 10 s, a server that bears four polls a second fails one in eight of the polls after 20 s."""

MIN_RATE: Final = 0.2
"""Polls a second. The learned rate never falls below this, so that a recovery is seen within seconds."""

MIN_KNOWN_RATE: Final = 5.0
"""Polls a second. A server that was asked less often than this before it refused may bear this much."""

LOSS_ROUND: Final = 1.0
"""Seconds. Failures are counted in rounds of at least this. A server that fails all polls for longer is
away."""

LOSS_RUNS: Final = 3
"""Stretches of failures, with good answers in between. Fewer in so many rounds may be a short outage."""

LOSS_SAMPLE: Final = 20
"""Polls in a round. Of fewer, a third often fail if a server fails one in ten at random."""

USUAL_LOSS: Final = 0.1
"""The share of failures that is usual, before any is measured. It does not slow the client down."""

LOSS_MARGIN: Final = 0.1
"""The rate falls if the share of failures exceeds the usual one by more than this, rare by chance."""

LOSS_FALL: Final = 0.5
"""If a lower rate leaves more than this part of the failures, they do not depend on the rate."""

LOSS_SMOOTHING: Final = 0.2
"""Weight of a round in the usual share of failures: in one round few polls may fail by chance."""

# Polls in flight

INITIAL_IN_FLIGHT: Final = 4
"""Polls in flight before the first answer, and during an outage."""

INITIAL_GAP: Final = 0.25
"""Seconds between polls before the first answer, which mostly comes sooner: clients that start together
should not use up the quota's first second."""

SILENT_AFTER: Final = 2.0
"""Seconds. A poll without an answer for this long leaves its place to another one."""

# Holds after a refusal

MIN_RETRY_AFTER: Final = 1.0
"""Seconds. Ignore a Retry-After below this: such a server has not said when to come back."""

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds. Ignore a Retry-After above this: no rate limit lasts so long."""

MAX_HOLD: Final = 2 * WINDOW
"""Seconds. The longest hold, whatever Retry-After says: by then every window has ended."""

HOLD_JITTER: Final = 1.0
"""Seconds. A hold is longer by up to this, and by at most a tenth, so that clients come back apart."""

HOLD_BACKOFF: Final = Backoff(1.0, 60.0, 2.0, 0.5)
"""Seconds that a hold lasts if the server does not say how long."""

# Outages

OUTAGE_AFTER: Final = 5
"""So many failures in a row, of any tasks, are an outage."""

PROBE_BACKOFF: Final = Backoff(0.25, 2.0, 2.0, 0.5)
"""Seconds between the probes of an outage. Its end is seen within 2 s."""

# Looks at a task

LAST_LOOK: Final = 0.2
"""Seconds. The last look goes out this long before the deadline, so that its answer comes in time."""

SLOWER: Final = 1.2
"""Factor. The answer to the last look may take this much longer than the answer before it."""

FRESH: Final = 1.0
"""Seconds. A snapshot that is at most this old serves a new wait for its first look."""

RETRY_BACKOFF: Final = Backoff(0.25, 10.0, 2.0, 0.5)
"""Seconds between the tries to look at one task while its looks fail."""

LOOK_TIMEOUT: Final = 5.0
"""Seconds. A poll has at least this long to be answered before another one is sent in its place."""

SLOWEST: Final = 4
"""Factor. Where answers come slowly, a poll has this many times what the last answer took."""

# Deadlines

HELD_BACK_AFTER: Final = 0.05
"""Seconds. A look that is due for longer than this was held back by something: timers are not so late."""

STALLED_AFTER: Final = 1.0
"""Seconds. At the deadline, a poll that is out for longer than this, and for twice as long as the one before
it took, has met a server that does not answer."""

LATE: Final = 0.5
"""Seconds. A deadline noticed later than this was missed while the event loop was blocked or the process was
stopped: timers are at most some 50 ms late in a loop that is only busy."""

LATE_LOOK: Final = 1.5
"""Seconds. The limit of the look that follows a deadline noticed late."""

LIMIT_SLACK: Final = 0.002
"""Seconds. A request may end this much before its limit: uvloop's timers count whole milliseconds."""

# Turns

WAITS_A_TURN: Final = 250
"""Waits that begin, or end, in one turn of the event loop: about 10 ms of work, after which others have
their turn."""

GIVE_WAY_INTERVAL: Final = 0.5
"""Seconds. While no poll is answered, one poll gives its place to another one this often."""

WAKE_SLACK: Final = 0.002
"""Seconds. The engine's sleep is not cut short for less: to wake it costs about as much as half a poll."""

# How long tasks take

FIRST_EDGE: Final = 0.5
"""Seconds. The first bin of ages ends here: hardly anybody looks more often."""

RATIO: Final = 1.25
"""Factor. Each other bin ends at so many times the age where it begins. With wider bins, ends between 180 s
and 220 s are told less well from earlier ones; with narrower ones, more ends are needed to fill them."""

BINS: Final = 66
"""Bins. The last one begins after eight days, when a wait is as good as hopeless."""

PRIOR: Final = 0.1
"""Ends. So much the prior weighs in each bin: ten ends in a bin outweigh it a hundred times."""

PRIOR_OF_QUANTILES: Final = 0.01
"""Ends. So much it weighs where quantiles are told: a single end already tells where about they are."""

HALF_LIFE: Final = 300
"""Ends. After so many more, evidence weighs half: durations that double are followed within about as many."""

FADE_EVERY: Final = 16
"""Ends. Evidence is faded once for so many, which costs less than at each."""

NOTE_AFTER: Final = 1.05
"""Factor. That a task lives on is noted once its age is so many times the one that was noted last. In
simulations of exponential durations, 1.25 makes delays 8 % longer, and this not more than by chance."""

MIN_ENDS: Final = 8
"""Ends of one operation. Before so many were seen, looks are taken in order of when they became due."""

# Which task is looked at next under a quota

SCARCE_AFTER: Final = 0.1
"""Seconds. If a look is taken so late after it became due, there are not enough looks for all tasks."""

MOVED_AT_ONCE: Final = 50
"""Tasks. At most so many are placed by what a look is worth before each look, about 200 µs of work, however
many became due together."""

MIN_PRICE: Final = 1e-6
"""Seconds of delay. The price never falls below this, so that it can rise again."""

WORTHY: Final = 0.9
"""A look that is worth this part of the price is taken: the order hardly depends on the price."""

MAX_TRIES: Final = 8
"""Of so many tasks whose look is not worth the price yet, the best one is looked at."""

SIMILAR: Final = 0.7
"""A task's place tells what a look is worth, if the price then was at least this part of the price now."""

PRICE_GAIN: Final = 3.0
"""In one round, the price moves by about this power of what looks are worth in prices."""

FEW_TASKS: Final = 50
"""Tasks. The price moves as if so many more waited: a few looks tell little."""

MAX_FALL: Final = 0.25
"""A look that is worth less than this part of the price counts as this part."""

FAR_ABOVE: Final = 4.0
"""If a look is worth so many prices, the price is out of date."""

LEAP: Final = 1.05
"""Factor. The price then rises by this with each look."""

REVIEW_AFTER: Final = 1
"""Rounds. A task that has waited for so many is placed again, since the price has moved."""

STARVES_AFTER: Final = 3
"""Rounds. A task that has waited for so many is looked at when its turn to be reviewed comes, at most one
round later: at the latest after four times the even interval."""

# Looks that cannot pay

PAYS: Final = 0.001
"""While there are enough looks for all, a look is taken once it is worth this part of the poll interval. In
simulations this saves up to two thirds of the looks and makes delays longer by 6 % at the most."""

MAX_SKIPPED: Final = 3
"""Looks. At most so many are left out in a row: what was learned may be wrong for a task. As under a quota,
it is looked at at the latest after four times the even interval."""

MIN_ENDS_TO_SKIP: Final = 30
"""Ends of one operation. Before so many were seen, no look is skipped."""

# The queue

MAX_STALE: Final = 1_000
"""Entries. The queue drops its stale entries when they are more than this, and more than half of it."""

# The log

WARNING_INTERVAL: Final = 1.0
"""Seconds. Where bad moments and good ones alternate, there is one warning in this time."""

FAILURES_SHOWN: Final = 10
"""So many failed waits in an interval are warnings of their own: enough to see what they have in common."""

FAILURES_INTERVAL: Final = 10.0
"""Seconds. The failed waits beyond those are counted by one warning in this time."""
