"""See what waits do while they run: typed events, and hooks that are called with them.

A hook is a function of one event. A client has any number of them, and so has the process::

    from stream_tasks import AsyncStream, instrumentation

    def note(event: instrumentation.Event) -> None:
        if isinstance(event, instrumentation.WaitEnded):
            print(event.task_id, event.outcome, event.seconds)

    client = AsyncStream(hooks=[note])  # the waits of this client
    instrumentation.add_hook(note)      # those of all clients in this process

Hooks are called on the event loop that waits, in the blocking client's case in its own thread, one after
another, and should be quick. What a hook raises is logged once, and touches no wait.

A hook that is an object may also have a method ``around_poll``. It is called with a `PollStarted` before each
poll, and returns a context manager that is open while the request is made, in the same context variables.

`stream_tasks.instrumentation.otel` and `stream_tasks.instrumentation.prometheus` have hooks that are ready.
The log, ``logging.getLogger("stream_tasks")``, is told of the same events.
"""

from __future__ import annotations

from stream_tasks.instrumentation._events import (
    Event,
    Held,
    PollEnded,
    PollStarted,
    Resumed,
    WaitEnded,
    WaitStarted,
)
from stream_tasks.instrumentation._hooks import Hook, add_hook, remove_hook

__all__ = [
    "Event",
    "Held",
    "Hook",
    "PollEnded",
    "PollStarted",
    "Resumed",
    "WaitEnded",
    "WaitStarted",
    "add_hook",
    "remove_hook",
]
