"""What the tasks of the next operations do."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import evolve

from stream_tasks.testing._checks import check_count, check_each_text, check_kind
from stream_tasks.testing._operations import check_operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import EllipsisType

    from stream_tasks.testing._operations import Operation, Start
    from stream_tasks.testing._scripts import Result, Status, TaskFailure, TaskScript

__all__ = ["OperationPlans"]


class OperationPlans:
    """Scripts for the next starts of each operation.

    Attributes:
        failing: The items that must not succeed, and what their errors say.
    """

    def __init__(self) -> None:
        self.failing: dict[str, str] = {}
        self._scripts: dict[str, deque[tuple[TaskScript, bool]]] = {}

    def script_operation(
        self,
        name: str,
        *,
        times: int = 1,
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
            times: For how many starts.
            statuses: As in `add_task`; of an import as in `add_import` or `add_import_v2`.
            after: As in `add_task`, counted from the start.
            never: As in `add_task`.
            result: As in `add_task`; by default the documented result, made from the request.
            error: As in `add_task`.
            final: As in `add_task`.
            visible_after: As in `add_task`, counted from the start.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: The operation is not known, a number is negative, or `after` is given beside `never`.
        """
        kind = check_operation(name).kind
        check_count("times", times)
        documented = result is ...
        script = kind.script(
            statuses=statuses, after=after, never=never, result=None if documented else result,
            error=error, final=final, visible_after=visible_after,
        )  # fmt: skip
        self._scripts.setdefault(name, deque()).extend([(script, documented)] * times)

    def fail_items(self, *items: str, error: str = "the item could not be processed") -> None:
        """Make these ids or cids fail one by one in the documented results, while their tasks complete.

        Args:
            items: The ids or cids, one by one.
            error: What their error says.

        Raises:
            TypeError: One is not a text.
        """
        check_each_text("items", items)
        check_kind("error", error, str, "a text")
        self.failing.update(dict.fromkeys(items, error))

    def next_script(self, operation: Operation, start: Start) -> TaskScript:
        """Return the script of the task that an operation starts now."""
        queue = self._scripts.get(operation.name)
        script, documented = queue.popleft() if queue else (operation.kind.script(), True)
        return evolve(script, result=operation.result(start)) if documented else script

    def clear(self) -> None:
        """Forget scripts and failing items."""
        self._scripts.clear()
        self.failing.clear()
