"""What a test puts on the server for clients to poll."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define

from stream_tasks._arguments import check_task_id
from stream_tasks.testing._checks import check_count, check_json, check_kind, id_of
from stream_tasks.testing._kinds import CAMPAIGN, IMPORT, IMPORT_V2, POLICY_TEST_RUN, TASK
from stream_tasks.testing._scripts import STEPS
from stream_tasks.testing._tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_tasks.testing._scripts import Kind, Result, TaskFailure

__all__ = ["Additions"]


@define(eq=False)
class Additions:
    """Adds tasks and other work to the server.

    Attributes:
        tasks: The tasks on the server.
    """

    tasks: Tasks

    def add_task(
        self,
        task_id: str | None = None,
        *,
        statuses: Iterable[str] = STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result = None,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> str:
        """Put a task on the server. It replaces a task that has the same id.

        To end a task while somebody waits for it, use `finish`.

        Args:
            task_id: Any text but ``""``, ``"."`` and ``".."``, for which nobody can ask; by default a new
                UUID.
            statuses: What the task is before it is final: one for each poll, or with `after` sharing that
                time evenly. Final and unknown statuses are fine.
            after: Seconds until the task is final; None to go by poll count, `math.inf` for never.
            never: Whether the task is never final.
            result: The result of the completed task; a function gets the poll's number, from 1.
            error: The error of the task, which then ends as ``failed``.
            final: The last status; by default ``failed`` if there is an error, else ``completed``.
            visible_after: Seconds in which the task is not found.

        Returns:
            The task's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number of seconds is negative, `after` is given beside `never`, or nobody can ask
                for the id.
        """
        return self._add(
            TASK, "task_id", task_id, statuses=statuses, after=after, never=never, result=result, error=error,
            final=final, visible_after=visible_after,
        )  # fmt: skip

    def add_import(
        self,
        import_id: str | None = None,
        *,
        statuses: Iterable[str] = ("uploaded", "analyzing"),
        after: float | None = None,
        never: bool = False,
        final: str = "completed",
        visible_after: float = 0.0,
        mode: str = "upsert",
        path: str = "import.json",
        size: int | None = None,
    ) -> str:
        """Put an import on the server, to be polled at ``GET /api/v2/imports/{id}``.

        `finish`, `forget`, `polls`, `inject` and the assertions also take its id.

        Args:
            import_id: As `task_id` in `add_task`.
            statuses: What its ``state`` is before it is final, as in `add_task`.
            after: As in `add_task`.
            never: As in `add_task`.
            final: Its last state, such as ``analyze_failed``.
            visible_after: As in `add_task`.
            mode: ``insert`` or ``upsert``.
            path: The file.
            size: Its size in bytes.

        Returns:
            The import's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number is negative, `after` is given beside `never`, or nobody can ask for the id.
        """
        for name, value in (("mode", mode), ("path", path)):
            check_kind(name, value, str, "a text")
        details: dict[str, Any] = {"mode": mode, "path": path}
        if size is not None:
            details["size"] = check_count("size", size)
        return self._add(
            IMPORT, "import_id", import_id, details, statuses=statuses, after=after, never=never, final=final,
            visible_after=visible_after,
        )  # fmt: skip

    def add_import_v2(
        self,
        import_id: str | None = None,
        *,
        statuses: Iterable[int] = (1, 2),
        after: float | None = None,
        never: bool = False,
        final: int = 3,
        result: Result = None,
        visible_after: float = 0.0,
        product: str = "chat",
        settings: Mapping[str, Any] | None = None,
    ) -> str:
        """Put an import of version 2 on the server, to be polled at ``GET /api/v2/imports/v2/{id}``.

        Its states are numbers. Stream does not say which; those here are made up.

        Args:
            import_id: As in `add_import`.
            statuses: What its ``state`` is before it is final, as in `add_task`.
            after: As in `add_task`.
            never: As in `add_task`.
            final: Its last state.
            result: What it shows in its last state, as in `add_task`.
            visible_after: As in `add_task`.
            product: ``chat`` or ``feeds``.
            settings: What it was started with; None for an upsert.

        Returns:
            The import's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number is negative, `after` is given beside `never`, or nobody can ask for the id.
        """
        check_kind("product", product, str, "a text")
        settings = {"mode": "upsert", "path": "import.json"} if settings is None else settings
        check_kind("settings", settings, Mapping, "a mapping or None")
        check_json("settings", settings)
        return self._add(
            IMPORT_V2, "import_id", import_id, {"product": product, "settings": settings}, statuses=statuses,
            after=after, never=never, final=final, result=result, visible_after=visible_after,
        )  # fmt: skip

    def add_campaign(
        self,
        campaign_id: str | None = None,
        *,
        statuses: Iterable[str] = ("scheduled", "in_progress"),
        after: float | None = None,
        never: bool = False,
        final: str = "completed",
        visible_after: float = 0.0,
    ) -> str:
        """Put a campaign on the server, to be polled at ``GET /api/v2/chat/campaigns/{id}``.

        A request that starts it begins its script anew.

        Args:
            campaign_id: As `task_id` in `add_task`.
            statuses: As in `add_task`.
            after: As in `add_task`.
            never: As in `add_task`.
            final: Its last status, such as ``stopped``.
            visible_after: As in `add_task`.

        Returns:
            The campaign's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number is negative, `after` is given beside `never`, or nobody can ask for the id.
        """
        return self._add(
            CAMPAIGN, "campaign_id", campaign_id, statuses=statuses, after=after, never=never, final=final,
            visible_after=visible_after,
        )  # fmt: skip

    def add_policy_test_run(
        self,
        run_id: str | None = None,
        *,
        statuses: Iterable[str] = STEPS,
        after: float | None = None,
        never: bool = False,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> str:
        """Put a policy-test run on the server, to be polled at ``…/moderation/policy_tests/runs/{id}``.

        A task does its work. Answers show the id of the task, which can also be polled.

        Args:
            run_id: As `task_id` in `add_task`.
            statuses: As in `add_task`.
            after: As in `add_task`.
            never: As in `add_task`.
            error: As in `add_task`.
            final: As in `add_task`.
            visible_after: As in `add_task`.

        Returns:
            The run's id.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: A number is negative, `after` is given beside `never`, or nobody can ask for the id.
        """
        return self._add(
            POLICY_TEST_RUN, "run_id", run_id, {"set_id": "set"}, statuses=statuses, after=after, never=never,
            error=error, final=final, visible_after=visible_after,
        )  # fmt: skip

    def _add(
        self,
        kind: Kind,
        name: str,
        given: str | None,
        details: Mapping[str, Any] | None = None,
        **script: Any,
    ) -> str:
        """Add work of a kind, and return the id that was given as the argument `name`, or a new one."""
        work_id = str(uuid.uuid4()) if given is None else check_task_id(id_of(given, name))
        ids = (str(uuid.uuid4()), work_id) if kind is POLICY_TEST_RUN else (work_id,)
        self.tasks.begin(kind.script(**script), *ids, kind=kind, details=details)
        return work_id
