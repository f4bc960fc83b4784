"""Which faults shall strike which requests, and which have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stream_tasks.testing._checks import check_count, check_kind, check_pause, check_times, id_of
from stream_tasks.testing._faults import Fault
from stream_tasks.testing._scripting import Scripting
from stream_tasks.testing._texts import counted, few, listed, times_word

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_tasks.models import StartedTask
    from stream_tasks.testing._requests import Request

__all__ = ["Injecting"]


class _PlannedFault:
    """A fault that waits for its requests.

    Args:
        fault: What will happen.
        times: To how many requests; `math.inf` for all of them.
        until: When it is over, in seconds of the server's clock.
        skip: How many pass first.
        path: A part of the raw paths it is for; None for any.
        task_id: The task whose polls it is for; None for any request.
    """

    def __init__(
        self, fault: Fault, times: float, until: float, *, skip: int, path: str | None, task_id: str | None
    ) -> None:
        self.fault = fault
        self._skip = skip
        self._until = until
        self.struck = 0
        self._times = times
        self._path = path
        self._task_id = task_id

    def __str__(self) -> str:
        places = [("path", self._path), ("task", self._task_id)]
        where = "".join(f" for {name} {value!r}" for name, value in places if value is not None)
        often = f"{times_word(self.struck)} of {self._times} times" if self.struck else "never"
        return f"{self.fault.name}{where}: {often}"

    @property
    def is_missed(self) -> bool:
        """Whether it should have struck more often; one without a number, at least once."""
        return self.struck < (1 if math.isinf(self._times) else self._times)

    def meets(self, request: Request) -> bool:
        """Tell whether the fault strikes this request, and count it."""
        if self.struck >= self._times or request.at >= self._until or not self._is_for(request):
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.struck += 1
        return True

    def _is_for(self, request: Request) -> bool:
        if self._path is not None and self._path not in request.path:
            return False
        return self._task_id is None or self._task_id == request.task_id


class Injecting(Scripting):
    """The failing part of `FakeStream`."""

    def __init__(self, api_secret: str, clock: Callable[[], float]) -> None:
        super().__init__(api_secret, clock)
        self._planned: list[_PlannedFault] = []

    def inject(
        self,
        fault: Fault,
        times: float | None = None,
        *,
        skip: int = 0,
        seconds: float = math.inf,
        path: str | None = None,
        task_id: str | StartedTask[Any] | None = None,
    ) -> None:
        """Let the next requests that match meet a fault; faults strike in the order given.

        Args:
            fault: What happens to them.
            times: To how many of them; `math.inf` for all. By default one, or all of those within `seconds`.
            skip: How many of them pass first, not counting those that meet an earlier fault.
            seconds: For how long from now.
            path: A part of the raw paths it is for; None for any.
            task_id: The id of the task whose polls it is for, or what its start returned; None for any
                request.

        Raises:
            TypeError: `fault` is no Fault, or another argument is not of its type.
            ValueError: A number is negative.
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
            until = self._clock() + seconds
            self._planned.append(_PlannedFault(fault, times, until, skip=skip, path=path, task_id=task_id))

    def heal(self) -> None:
        """Call off the faults; `assert_all_struck` does not demand any longer that they strike."""
        self._planned.clear()

    def assert_all_struck(self) -> None:
        """Demand that each fault struck as often as it was to; one for all requests, at least once.

        Raises:
            AssertionError: There are others, whether their time is over or not; the message names them.
        """
        __tracebackhide__ = True
        self._own_up()
        missed = self._missed()
        if missed:
            number = counted(len(missed), "fault", of=len(self._planned))
            verb = "has" if len(missed) == 1 else "have"
            raise AssertionError(f"{number} {verb} not struck as planned{listed(missed, str)}")

    def clear(self) -> None:
        """Forget what `Scripting.clear` does, and the faults."""
        super().clear()
        self.heal()

    def _missed(self) -> list[_PlannedFault]:
        return [planned for planned in self._planned if planned.is_missed]

    def _plans(self) -> str:
        """Return what a repr says of faults that have not struck."""
        missed = few([planned.fault.name for planned in self._missed()])
        return f", not struck: {missed}" if missed else ""

    def _next_fault(self, request: Request) -> Fault | None:
        return next((planned.fault for planned in self._planned if planned.meets(request)), None)
