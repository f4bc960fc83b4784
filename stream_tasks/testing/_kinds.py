"""The kinds of work that clients poll, and what the answers say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from stream_tasks.testing._scripts import Kind

if TYPE_CHECKING:
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["CAMPAIGN", "IMPORT", "IMPORT_V2", "KINDS", "POLICY_TEST_RUN", "TASK", "find_polled", "match"]

_APP: Final = 1


def _task(task: FakeTask) -> dict[str, Any]:
    completed, failed = task.script.ends
    shown: dict[str, Any] = {"task_id": task.task_id, "status": task.status, **_times(task)}
    result = task.result() if task.status == completed else None
    if result is not None:
        shown["result"] = result
    if task.status == failed and task.script.error is not None:
        shown["error"] = task.script.error
    return shown


def _import(task: FakeTask) -> dict[str, Any]:
    history = [
        {"created_at": task.shown(at), "prev_state": before, "next_state": after}
        for at, before, after in task.history
    ]
    shown = {"id": task.task_id, "state": task.status, "history": history, **_times(task), **task.details}
    return {"import_task": shown}


def _import_v2(task: FakeTask) -> dict[str, Any]:
    shown = {"id": task.task_id, "app_pk": _APP, "state": task.status, **_times(task), **task.details}
    result = task.result() if task.status == task.script.ends[0] else None
    return shown if result is None else {**shown, "result": result}


def _campaign(task: FakeTask) -> dict[str, Any]:
    is_completed = task.status == task.script.ends[0]
    stats = {
        "progress": 1.0 if is_completed else 0.0,
        "stats_channels_created": 0,
        "stats_completed_at": task.updated_at if is_completed else 0,
        "stats_messages_sent": 0,
        "stats_started_at": task.created_at,
        "stats_users_read": 0,
        "stats_users_sent": 0,
    }
    campaign: dict[str, Any] = {
        "id": task.task_id,
        "name": "",
        "description": "",
        "status": task.status,
        "sender_id": "",
        "sender_mode": "exclude",
        "sender_visibility": "hidden",
        "create_channels": False,
        "show_channels": False,
        "skip_push": False,
        "skip_webhook": False,
        "segment_ids": [],
        "segments": [],
        "user_ids": [],
        "users": [],
        "stats": stats,
    }
    return {"campaign": {**campaign, **_times(task)}, "users": {}}


def _policy_test_run(task: FakeTask) -> dict[str, Any]:
    task_id, run_id = task.ids
    run = {
        "id": run_id,
        "task_id": task_id,
        "status": task.status,
        "config_key": "",
        "rows_completed": 0,
        "rows_total": 0,
        "triggered_by": "",
        "created_at": task.created_at,
        **task.details,
    }
    if task.status in task.script.ends:
        run["completed_at"] = task.updated_at
    if task.status == task.script.ends[1]:
        run["error_message"] = (task.script.error or {}).get("description", "")
    return {"run": run}


def _times(task: FakeTask) -> dict[str, int]:
    return {"created_at": task.created_at, "updated_at": task.updated_at}


TASK: Final = Kind("task", "/tasks/{id}", "GetTask", _task)
IMPORT: Final = Kind("import", "/imports/{id}", "GetImport", _import, ("uploaded", "analyzing"))
IMPORT_V2: Final = Kind("import", "/imports/v2/{id}", "GetImportV2Task", _import_v2, (1, 2), (3, 4))
CAMPAIGN: Final = Kind(
    "campaign",
    "/chat/campaigns/{id}",
    "GetCampaign",
    _campaign,
    ("scheduled", "in_progress"),
    ("completed", "stopped"),
)
POLICY_TEST_RUN: Final = Kind(
    "policy-test run", "/moderation/policy_tests/runs/{id}", "get_policy_test_run", _policy_test_run
)

KINDS: Final = (TASK, IMPORT, IMPORT_V2, CAMPAIGN, POLICY_TEST_RUN)


def find_polled(method: str, path: str) -> tuple[Kind, str] | None:
    """Return what a request to a raw path looks at, and its decoded id, or None."""
    if method == "GET" and path != "/api/v2/imports/v2":  # that lists them
        for kind in KINDS:
            names = match(kind.path, path)
            if names is not None:
                return kind, names["id"]
    return None


def match(pattern: str, path: str) -> dict[str, str] | None:
    """Return what stands in a raw path at the names of a pattern, decoded, or None if it is another path."""
    expected, given = f"/api/v2{pattern}".split("/"), path.split("/")
    if len(expected) != len(given):
        return None
    names = {}
    for part, text in zip(expected, given, strict=True):
        if part.startswith("{") and text:
            names[part[1:-1]] = unquote(text)
        elif part != text:
            return None
    return names
