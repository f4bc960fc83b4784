"""How often the server may be asked, by all waits of a client together.

Every poll of a client passes one `Pacer`. The pacer asks five policies, each in a module of its own, and the
next poll goes out when all of them allow it:

- `slow_start`: few polls are in flight until the first answer, and after a refusal or an outage.
- `hold`: after a refusal no poll goes out until the time that the server named.
- `outage`: while the server does not answer, a few probes go out.
- `spread`: if answers tell a quota, polls are spread over its `window`. Other clients of the same quota are
  not seen, but what remains of it falls with their calls: so each client finds its `fair_share`.
- `learned_rate`: if the server refuses polls without telling a quota, or fails many of them (`losses`), it is
  asked about as often as it answered well, and then a little more often until that is too much again.

All of this is pure: no I/O, no timers. Times are those of a monotonic clock, and come as arguments.
Questions (`next_at`, `obstacle`) change nothing. Notes (`sent`, `answered`, `refused`, `failed`, `dropped`)
are the only way in which state changes, and each names the poll that it is about.
"""

from stream_tasks._engine.pacing.pacer import InFlight, Pacer, Reason, Sent, Unpaced

__all__ = ["InFlight", "Pacer", "Reason", "Sent", "Unpaced"]
