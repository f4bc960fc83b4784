"""What Stream posts to an app's own server when a task has ended."""

from __future__ import annotations

import json
import math
import uuid
from typing import TYPE_CHECKING, Any, Final

from stream_tasks import webhooks
from stream_tasks.testing._operations import rfc3339

if TYPE_CHECKING:
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["signed_webhook"]

_EXPORTS: Final = {
    "export_channels": "export.channels",
    "export_users": "export.users",
    "bulk_image_moderation": "export.bulk_image_moderation",
}
_BATCH: Final = "update_channels_batch"
_ENDS: Final = ("completed", "failed")


def signed_webhook(
    task: FakeTask, api_secret: str, unix: float, attempt: int
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers.

    Args:
        task: The task, whose end is told whether it has come or not.
        api_secret: What signs the body.
        unix: The Unix time in seconds.
        attempt: The number of the try, from 1.

    Raises:
        ValueError: Stream tells nothing of such a task, or it never ends.
    """
    if task.origin not in {*_EXPORTS, _BATCH}:
        known = ", ".join([*_EXPORTS, _BATCH])
        raise ValueError(
            f"task_id must be that of a task started by {known}:"
            f" Stream sends no webhook for {task.origin or 'others'}"
        )
    if task.script.after == math.inf or task.script.last not in _ENDS:
        raise ValueError(
            f"task_id must be that of a task that ends, and {task.task_id!r} does not: finish it"
        )
    now = rfc3339(unix)
    body = json.dumps({"task_id": task.task_id, "created_at": now} | _told(task, now)).encode()
    return body, {
        "Content-Type": "application/json",
        "X-Signature": webhooks.sign(body, api_secret),
        "X-Webhook-Id": str(uuid.uuid5(uuid.NAMESPACE_OID, task.task_id)),
        "X-Webhook-Attempt": str(attempt),
    }


def _told(task: FakeTask, now: str) -> dict[str, Any]:
    result = task.script.result
    result = dict((result(1) if callable(result) else result) or {})
    failed = task.script.last == "failed"
    if task.origin == _BATCH:
        outcome = {"status": "failed", "success_channels_count": 0} if failed else {}
        return {"type": "channel_batch_update.completed"} | result | outcome
    told = {"started_at": now, "finished_at": now, "received_at": now, "custom": {}}
    kind = _EXPORTS[task.origin or ""]
    if failed:
        return told | {"type": f"{kind}.error", "error": (task.script.error or {}).get("description", "")}
    return told | {"type": f"{kind}.success", "url": result.get("url")}
