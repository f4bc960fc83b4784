"""What Stream sends to an app's own server, or to its queue, when a task has ended."""

from __future__ import annotations

import base64
import gzip
import json
import math
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

from attrs import define

from stream_tasks import webhooks
from stream_tasks.testing._checks import check_count, check_flag, check_json, check_kind
from stream_tasks.testing._clock import ServerTime
from stream_tasks.testing._operations import rfc3339
from stream_tasks.testing._tasks import Tasks

if TYPE_CHECKING:
    from stream_tasks.models import StartedTask
    from stream_tasks.testing._scripts import FakeTask

__all__ = ["Webhooks"]

Timestamps: TypeAlias = Literal["rfc3339", "nanoseconds"]

_EXPORTS: Final = {
    "export_channels": "export.channels",
    "export_users": "export.users",
    "bulk_image_moderation": "export.bulk_image_moderation",
}
_BATCH: Final = "update_channels_batch"
_TIMESTAMPS: Final = ("rfc3339", "nanoseconds")
_NANOSECONDS: Final = 1_000_000_000


@define(eq=False)
class Webhooks:
    """Writes the events that tell of tasks.

    Attributes:
        tasks: The tasks on the server.
        api_secret: What signs webhooks.
        time: The server's time.
    """

    tasks: Tasks
    api_secret: str
    time: ServerTime

    def webhook(
        self,
        task_id: str | UUID | StartedTask[Any],
        *,
        attempt: int = 1,
        compressed: bool = False,
        custom: Mapping[str, Any] | None = None,
        timestamps: Timestamps = "rfc3339",
    ) -> tuple[bytes, dict[str, str]]:
        """Return the signed webhook that tells of a task's end, for the code that takes such.

        It tells of the end that the task was scripted to have, whether that has come yet or not.

        Args:
            task_id: What an operation's start returned, or the id in it.
            attempt: The number of the try, from 1; all tries have the same ``X-Webhook-Id``.
            compressed: Whether the body is compressed. The signature is that of the plain body.
            custom: The event's ``custom``.
            timestamps: Whether times are RFC 3339 texts or numbers of nanoseconds; Stream sends either.

        Returns:
            The body and the headers of the POST that Stream makes.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: There is no such task, or Stream tells nothing of it, such as a deletion or one that
                never ends, or `attempt` is below 1.
        """
        check_count("attempt", attempt, least=1)
        check_flag("compressed", compressed)
        task = self.tasks.known(task_id)
        body = self._body(task, custom, timestamps)
        headers = {
            "Content-Type": "application/json",
            "X-Signature": webhooks.sign(body, self.api_secret),
            "X-Webhook-Id": _id("webhook", task),
            "X-Webhook-Attempt": str(attempt),
        }
        if compressed:
            return gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        return body, headers

    def sqs_message(
        self,
        task_id: str | UUID | StartedTask[Any],
        *,
        compressed: bool = True,
        custom: Mapping[str, Any] | None = None,
        timestamps: Timestamps = "rfc3339",
    ) -> str:
        """Return the body of the message that Stream puts into an app's SQS queue. It is not signed.

        Args:
            task_id: As in `webhook`.
            compressed: Whether it is the base64 of compressed JSON, as most apps get it, or plain JSON.
            custom: As in `webhook`.
            timestamps: As in `webhook`.

        Returns:
            The message's body.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: There is no such task, or Stream tells nothing of it.
        """
        check_flag("compressed", compressed)
        body = self._body(self.tasks.known(task_id), custom, timestamps)
        return base64.b64encode(gzip.compress(body)).decode() if compressed else body.decode()

    def sns_message(
        self,
        task_id: str | UUID | StartedTask[Any],
        *,
        compressed: bool = True,
        custom: Mapping[str, Any] | None = None,
        timestamps: Timestamps = "rfc3339",
    ) -> str:
        """Return the notification of an app's SNS topic, which holds what `sqs_message` returns.

        Args:
            task_id: As in `webhook`.
            compressed: As in `sqs_message`.
            custom: As in `webhook`.
            timestamps: As in `webhook`.

        Returns:
            The notification, a JSON object with the event's body in ``Message``.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold it.
            ValueError: There is no such task, or Stream tells nothing of it.
        """
        message = self.sqs_message(task_id, compressed=compressed, custom=custom, timestamps=timestamps)
        return json.dumps(
            {
                "Type": "Notification",
                "MessageId": _id("notification", self.tasks.known(task_id)),
                "TopicArn": "arn:aws:sns:us-east-1:123456789012:fake-stream",
                "Message": message,
                "Timestamp": rfc3339(self.time.unix()),
            }
        )

    def _body(self, task: FakeTask, custom: Mapping[str, Any] | None, timestamps: Timestamps) -> bytes:
        if timestamps not in _TIMESTAMPS:
            raise ValueError(f"timestamps must be one of {', '.join(_TIMESTAMPS)}, not {timestamps!r}")
        if custom is not None:
            check_kind("custom", custom, Mapping, "a mapping or None")
            check_json("custom", custom)
        if task.origin not in {*_EXPORTS, _BATCH}:
            known = ", ".join([*_EXPORTS, _BATCH])
            raise ValueError(
                f"task_id must be that of a task started by {known}:"
                f" Stream sends no webhook for {task.origin or 'others'}"
            )
        if task.script.after == math.inf or task.script.last not in task.script.ends:
            raise ValueError(
                f"task_id must be that of a task that ends, and {task.task_id!r} does not: finish it"
            )

        def stamp(nanoseconds: int) -> str | int:
            return nanoseconds if timestamps == "nanoseconds" else rfc3339(nanoseconds / _NANOSECONDS)

        # Each try tells the same: nothing here depends on when it is made, once the task has ended.
        is_over = task.status in task.script.ends
        end = stamp(task.updated_at if is_over else int(self.time.unix() * _NANOSECONDS))
        begin = stamp(task.created_at)
        event = {"task_id": task.task_id, "created_at": end, "received_at": end, "finished_at": end}
        told = _batch_told(task, begin) if task.origin == _BATCH else _export_told(task, begin)
        return json.dumps({**event, **told, "finished_at": end, "custom": custom or {}}).encode()


def _batch_told(task: FakeTask, begin: str | int) -> dict[str, Any]:
    failed = {"status": "failed", "success_channels_count": 0} if _has_failed(task) else {}
    told = {"type": "channel_batch_update.completed", **(task.result(1) or {}), **failed}
    return {**told, "batch_created_at": begin}


def _export_told(task: FakeTask, begin: str | int) -> dict[str, Any]:
    kind = _EXPORTS[task.origin or ""]
    if _has_failed(task):
        error = (task.script.error or {}).get("description", "")
        return {"type": f"{kind}.error", "error": error, "started_at": begin}
    url = {**task.details, **(task.result(1) or {})}.get("url")
    return {"type": f"{kind}.success", "url": url, "started_at": begin}


def _has_failed(task: FakeTask) -> bool:
    return task.script.last == task.script.ends[1]


def _id(what: str, task: FakeTask) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{what} {task.task_id}"))
