"""One request in flight, and the ledger of all that are in flight."""

from __future__ import annotations

import asyncio
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, Union

from stream_tasks._engine.tuning import GIVE_WAY_INTERVAL, LIMIT_SLACK, LOOK_TIMEOUT, SLOWEST
from stream_tasks.exceptions import TRANSPORT_ERROR_TIMEOUT, StreamTransportException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from stream_tasks._engine.tracked import TrackedTask
    from stream_tasks.endpoints import Polled
    from stream_tasks.models import RateLimit, Task

__all__ = ["Fetch", "InFlight", "Key", "Look", "Poll"]

Key = Union[str, "Polled[Any]"]
"""What is polled: a task by its id, or what an endpoint tells of."""

Look = tuple["Task", "RateLimit | None"]
"""What looking at a task brought: the snapshot, and the quota if the answer told it."""


class Fetch(Protocol):
    """Asks the server for a task, or for what else is polled."""

    def __call__(self, key: Key, limit: float, /) -> Awaitable[Look]:
        """Look at it once.

        Args:
            key: What to look at.
            limit: The time that is left, in seconds; infinity for the request's own limit.
        """
        ...


class Poll:
    """One request in flight.

    Invariant: the engine makes it, sends it and takes in its answer; only the poll itself writes its fields.

    Attributes:
        tracked: The task that is asked for.
        sent_at: When it was sent.
        limit: How long it may take, in seconds; infinity for the request's own limit.
        callers_limit: What is left of the caller's time, in seconds, if the caller makes the poll itself.
        job: The asyncio task that makes it; None if the caller does so itself.
        has_begun: Whether the job has taken its first step.
        is_given_up: Whether it hung for so long that another one has its place.
        is_withdrawn: Whether it is being cancelled, since nobody waits for the answer any more.
        late: How much later it was sent than it was due, in seconds, as far as somebody wants to know.
    """

    __slots__ = (
        "callers_limit",
        "has_begun",
        "is_given_up",
        "is_withdrawn",
        "job",
        "late",
        "limit",
        "sent_at",
        "tracked",
    )

    def __init__(self, tracked: TrackedTask, sent_at: float, limit: float, callers_limit: float) -> None:
        self.tracked = tracked
        self.sent_at = sent_at
        self.limit = limit
        self.callers_limit = callers_limit
        self.job: asyncio.Task[None] | None = None
        self.has_begun = False
        self.is_given_up = False
        self.is_withdrawn = False
        self.late = 0.0

    def note_late(self, seconds: float) -> None:
        """Note how much later this poll was sent than it was due."""
        self.late = seconds

    def made_by(self, job: asyncio.Task[None]) -> None:
        """Note the asyncio task that makes this poll."""
        self.job = job

    def end(self) -> None:
        """Let go of the job: a failure's traceback keeps this poll as long as somebody has the failure."""
        self.job = None

    async def answer(self, fetch: Fetch) -> Look | Exception | None:
        """Ask the server; return what came, be it an exception, or None if nobody wants it any more."""
        self.has_begun = True
        if not self.tracked.waits:
            # Whoever wanted this may have left before the loop came round to it.
            return None
        try:
            return await fetch(self.tracked.key, min(self.limit, self.callers_limit))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            return exc
        except asyncio.CancelledError:
            if not self.is_given_up or self.is_withdrawn:
                raise
            waited = asyncio.get_running_loop().time() - self.sent_at
            return StreamTransportException(
                TRANSPORT_ERROR_TIMEOUT, f"no answer for {waited:.0f} s; given up, to ask again later"
            )

    def was_cut(self, answer: object, now: float) -> bool:
        """Whether the caller's deadline ended the poll: that says nothing about the server."""
        return (
            now - self.sent_at > self.callers_limit - LIMIT_SLACK
            and isinstance(answer, StreamTransportException)
            and answer.error_type == TRANSPORT_ERROR_TIMEOUT
        )

    def give_up(self) -> None:
        """End a poll that hangs: another one may have more luck."""
        if self.job is not None:
            self.is_given_up = True
            self.job.cancel()

    def withdraw(self) -> asyncio.Task[None] | None:
        """End a poll whose answer nobody waits for any more; return what is still to unwind."""
        if self.job is not None and self.has_begun and not self.is_withdrawn:
            # A job that has not begun sends nothing and ends by itself.
            self.is_withdrawn = True
            self.job.cancel()
        return self.job


class InFlight:
    """The polls that are in flight, oldest first, and which of them hang.

    Invariant: a poll is here from just before the pacer is told that it was sent until just before the pacer
    is told how it ended. Only the engine adds and removes polls; the pacer reads.

    Attributes:
        last_sent_at: When the last poll was sent.
        total: All polls that were ever sent.
    """

    __slots__ = ("_answered_sent_at", "_gave_way_at", "_patience", "_polls", "last_sent_at", "total")

    def __init__(self) -> None:
        self._polls: dict[Poll, None] = {}
        self._patience = LOOK_TIMEOUT
        self._gave_way_at = -math.inf
        self._answered_sent_at = -math.inf
        self.last_sent_at = -math.inf
        self.total = 0

    def __len__(self) -> int:
        return len(self._polls)

    def __iter__(self) -> Iterator[Poll]:
        return iter(self._polls)

    def sent_at(self, index: int) -> float:
        """Return when a poll was sent; index 0 is the oldest one."""
        return next(islice(self._polls, index, None)).sent_at

    def add(self, poll: Poll) -> None:
        """Add a poll that is being sent."""
        self._polls[poll] = None
        self.last_sent_at = poll.sent_at
        self.total += 1

    def remove(self, poll: Poll) -> None:
        """Remove a poll that has ended."""
        del self._polls[poll]

    def answered(self, poll: Poll, now: float) -> None:
        """Note that a poll was answered: older ones may be lost, and others may need as long."""
        self._answered_sent_at = max(self._answered_sent_at, poll.sent_at)
        took = now - poll.sent_at
        if self._patience > LOOK_TIMEOUT or took > LOOK_TIMEOUT / SLOWEST:
            self._patience = max(LOOK_TIMEOUT, SLOWEST * took)

    def lost_at(self) -> float:
        """Return when a poll that later ones overtook counts as lost, infinity if none was overtaken.

        That happens to a task once: its next poll has all its time.
        """
        poll = self._overtaken()
        return math.inf if poll is None or poll.tracked.failures else poll.sent_at + self._patience

    def gives_way_at(self) -> float:
        """Return when a poll may be given up if others want its place, infinity for never."""
        return self._next_to_go()[1]

    def give_up(self, now: float, *, is_lost: bool) -> None:
        """Give up the poll that is lost, or the next one that gives way."""
        poll = self._overtaken() if is_lost else self._next_to_go()[0]
        if poll is not None:
            poll.give_up()
            self._gave_way_at = now

    def _overtaken(self) -> Poll | None:
        """Return the oldest poll if later ones were answered."""
        poll = next(self._ours(), None)
        return poll if poll is not None and poll.sent_at < self._answered_sent_at else None

    def _next_to_go(self) -> tuple[Poll | None, float]:
        """Return the poll that gives way next, and when."""
        poll = self._overtaken()
        if poll is not None:
            return poll, poll.sent_at + self._patience
        ours = list(self._ours())
        if not ours:
            return None, math.inf
        # All may only be slow: so the older half of them stays.
        poll = ours[len(ours) // 2]
        return poll, max(poll.sent_at + self._patience, self._gave_way_at + GIVE_WAY_INTERVAL)

    def _ours(self) -> Iterator[Poll]:
        """Yield the polls that the engine can end: those that callers do not make themselves."""
        return (poll for poll in self._polls if poll.job is not None and not poll.is_given_up)
