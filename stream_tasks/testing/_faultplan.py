"""Which faults strike which requests, and which have struck."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import define

from stream_tasks.testing._checks import check_count, check_kind, check_pause, check_times, id_of
from stream_tasks.testing._faults import Fault
from stream_tasks.testing._shares import Share
from stream_tasks.testing._texts import times_word

if TYPE_CHECKING:
    from uuid import UUID

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._clock import ServerTime
    from stream_tasks.testing._log import Request

__all__ = ["FaultPlan"]


@define(eq=False)
class _PlannedFault:
    """A fault that waits for its requests.

    Attributes:
        fault: What will happen.
        times: To how many requests; `math.inf` for all of them.
        end: When it is over, in seconds of the server's clock.
        skip: How many pass first.
        share: Which share of the others it strikes.
        path: A part of the raw paths it is for; None for any.
        task_id: The task whose polls it is for; None for any request.
        struck: How often it has struck.
    """

    fault: Fault
    times: float
    end: float
    skip: int
    share: Share
    path: str | None
    task_id: str | None
    struck: int = 0

    def __str__(self) -> str:
        places = [("path", self.path), ("task", self.task_id)]
        where = "".join(f" for {name} {value!r}" for name, value in places if value is not None)
        often = f"{times_word(self.struck)} of {self.times} times" if self.struck else "never"
        return f"{self.fault.name}{where}: {often}"

    @property
    def is_missed(self) -> bool:
        """Whether it should have struck more often; one without a number, at least once."""
        return self.struck < (1 if math.isinf(self.times) else self.times)

    def meets(self, request: Request) -> bool:
        """Tell whether the fault strikes this request, and count it."""
        if self.struck >= self.times or request.at >= self.end or not self._is_for(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if not self.share.picks():
            return False
        self.struck += 1
        return True

    def _is_for(self, request: Request) -> bool:
        if self.path is not None and self.path not in request.path:
            return False
        return self.task_id is None or self.task_id == request.task_id


class FaultPlan:
    """The faults that a test has planned.

    Args:
        time: The server's time.
    """

    def __init__(self, time: ServerTime) -> None:
        self._time = time
        self._planned: list[_PlannedFault] = []

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self._planned)

    def inject(
        self,
        fault: Fault,
        times: float | None = None,
        *,
        skip: int = 0,
        share: float = 1.0,
        seconds: float = math.inf,
        path: str | None = None,
        task_id: str | UUID | StartedTask[Any] | None = None,
    ) -> None:
        """Let the next requests that match meet a fault; faults strike in the order given.

        Args:
            fault: What happens to them.
            times: To how many of them; `math.inf` for all. By default one, or all of those within `seconds`.
            skip: How many of them pass first, not counting those that meet an earlier fault.
            share: Which share of the others meet it, evenly spread.
            seconds: For how long from now.
            path: A part of the raw paths it is for; None for any.
            task_id: The id of the task whose polls it is for, or what its start returned; None for any
                request.

        Raises:
            TypeError: `fault` is not a Fault, or another argument is not of its type.
            ValueError: A number is out of range.
        """
        check_kind("fault", fault, Fault, "a Fault such as Fault.status(503)")
        check_pause("seconds", seconds)
        if times is None:
            times = 1 if seconds == math.inf else math.inf
        check_times(times)
        check_count("skip", skip)
        if path is not None:
            check_kind("path", path, str, "a text or None")
        if task_id is not None:
            task_id = id_of(task_id)
        if times:
            end = self._time.now() + seconds
            self._planned.append(_PlannedFault(fault, times, end, skip, Share(share), path, task_id))

    def heal(self) -> None:
        """Call off the faults; `assert_all_struck` no longer demands that they strike."""
        self._planned.clear()

    def missed(self) -> list[_PlannedFault]:
        """Return the faults that have not struck as often as planned."""
        return [planned for planned in self._planned if planned.is_missed]

    def next_for(self, request: Request) -> Fault | None:
        """Return the fault that strikes a request, or None."""
        return next((planned.fault for planned in self._planned if planned.meets(request)), None)
