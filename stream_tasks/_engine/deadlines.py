"""What is to be said of a deadline: whether it was noticed late, and what held the looks back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_tasks._engine.tuning import HELD_BACK_AFTER, LATE, STALLED_AFTER

if TYPE_CHECKING:
    from stream_tasks._engine.lineup import Lineup
    from stream_tasks._engine.pacing import Pacer, Unpaced
    from stream_tasks._engine.poll import InFlight
    from stream_tasks._engine.tracked import TrackedTask, Wait
    from stream_tasks.exceptions import WaitReason

__all__ = ["Judge"]


class Judge:
    """Judges deadlines by what the engine knows; it changes nothing.

    A burst of deadlines is judged by one moment: while thousands are told, nothing else is heard.

    Args:
        pacer: What decides when polls go out.
        in_flight: The polls that are in flight.
        due: The tasks that are to be looked at.
    """

    __slots__ = ("_due", "_in_flight", "_pacer")

    def __init__(self, pacer: Pacer | Unpaced, in_flight: InFlight, due: Lineup[TrackedTask]) -> None:
        self._pacer = pacer
        self._in_flight = in_flight
        self._due = due

    def is_missed(self, tracked: TrackedTask | None, wait: Wait, moment: float) -> bool:
        """Whether a deadline was noticed late, since the loop was blocked over it or the process was stopped.

        If something else holds the looks back, another look would not be taken in time either.
        """
        if moment - wait.terms.deadline <= LATE or wait.terms.one_look_from is not None:
            return False
        if tracked is not None and tracked.poll is not None:
            return True
        due = wait.terms.started if tracked is None else self._due.due(tracked)
        return self._pacer.obstacle(moment, since=due) is None

    def obstacle(self, tracked: TrackedTask | None, wait: Wait, moment: float) -> WaitReason | None:
        """Return what held back the looks for a wait at its deadline, None if nothing did."""
        due = wait.terms.started
        if tracked is not None and tracked.poll is not None:
            sent_at = tracked.poll.sent_at
            if moment - sent_at > max(STALLED_AFTER, 2 * tracked.took):
                return "unreachable"
            if wait.task is not None or sent_at < due + HELD_BACK_AFTER:
                return None
        elif tracked is not None:
            due = self._due.due(tracked)
        if due >= moment - HELD_BACK_AFTER:
            return None
        obstacle = self._pacer.obstacle(moment, since=due)
        if obstacle is None and self._pacer.has_rate and self._in_flight.last_sent_at > due:
            # Others were looked at in the meantime: there was no quota for all.
            return "rate_limited"
        return obstacle
