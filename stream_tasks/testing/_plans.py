"""What the tasks of the next operations do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from stream_tasks.testing._checks import check_count, check_kind, check_times
from stream_tasks.testing._operations import check_operation
from stream_tasks.testing._scripts import TaskScript
from stream_tasks.testing._shares import Share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import EllipsisType

    from stream_tasks.testing._operations import Operation, Start
    from stream_tasks.testing._scripts import Result, Status, TaskFailure

__all__ = ["OperationPlans"]


@define(eq=False)
class _Plan:
    """A script that waits for its starts.

    Attributes:
        script: What their tasks do.
        is_documented: Whether the tasks have the documented result.
        times: For how many starts it is yet.
        share: Which of the starts that come use it.
    """

    script: TaskScript
    is_documented: bool
    times: float
    share: Share

    def takes(self) -> bool:
        """Tell whether the script is for the start that has come, and count that."""
        if self.times <= 0 or not self.share.picks():
            return False
        self.times -= 1
        return True


class OperationPlans:
    """Scripts for the next starts of each operation.

    Attributes:
        failing: The items that must not succeed, and what their errors say.
    """

    def __init__(self) -> None:
        self.failing: dict[str, str] = {}
        self._plans: dict[str, list[_Plan]] = {}

    def script_operation(
        self,
        name: str,
        *,
        times: float = 1,
        share: float = 1.0,
        statuses: Iterable[Status] | None = None,
        after: float | None = None,
        never: bool = False,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: Status | None = None,
        visible_after: float = 0.0,
    ) -> None:
        """Script the tasks that the next starts of an operation make; scripts are used in the order given.

        Work that is done at once, such as `delete_channels` without ``hard_delete``, makes no task and uses
        no script.

        Args:
            name: The operation, for instance ``export_channels``.
            times: For how many starts; `math.inf` for all.
            share: Which share of the starts that come use it, evenly spread; the others use the next script.
            statuses: As in `add_task`; of an import as in `add_import` or `add_import_v2`.
            after: As in `add_task`, counted from the start.
            never: As in `add_task`.
            result: As in `add_task`; by default the documented result, made from the request.
            error: As in `add_task`.
            final: As in `add_task`.
            visible_after: As in `add_task`, counted from the start.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: The operation is not known, a number is out of range, or `after` is given beside
                `never`.
        """
        kind = check_operation(name).kind
        if hasattr(type(times), "__index__"):
            check_count("times", times)
        check_times(times)
        is_documented = result is ...
        script = kind.script(
            statuses=statuses, after=after, never=never, result=None if is_documented else result,
            error=error, final=final, visible_after=visible_after,
        )  # fmt: skip
        self._plans.setdefault(name, []).append(_Plan(script, is_documented, times, Share(share)))

    def fail_items(self, *items: str, error: str = "the item could not be processed") -> None:
        """Make these ids or cids fail one by one in the documented results, while their tasks complete.

        Args:
            items: The ids or cids, one by one.
            error: What their error says.

        Raises:
            TypeError: One is not a text.
        """
        for item in items:
            check_kind("each of items", item, str, "a text")
        check_kind("error", error, str, "a text")
        self.failing.update(dict.fromkeys(items, error))

    def next_script(self, operation: Operation, start: Start) -> TaskScript:
        """Return the script of the task that an operation starts now."""
        plan = next((plan for plan in self._plans.get(operation.name, ()) if plan.takes()), None)
        script = operation.kind.script() if plan is None else plan.script
        is_documented = plan is None or plan.is_documented
        return evolve(script, result=operation.result(start)) if is_documented else script

    def clear(self) -> None:
        """Forget scripts and failing items."""
        self._plans.clear()
        self.failing.clear()
