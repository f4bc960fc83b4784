"""What the server does when a request starts work."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from stream_tasks import _operations
from stream_tasks._requests import Field
from stream_tasks.testing import _kinds
from stream_tasks.testing._kinds import match
from stream_tasks.testing._refusals import problems
from stream_tasks.testing._scripts import FakeTask, Kind, Result

__all__ = ["OPERATIONS", "Operation", "Start", "check_operation", "find_operation", "rfc3339"]

_BUCKET: Final = "fake-exports"


@frozen
class Start:
    """One request that starts an operation.

    Attributes:
        body: The parsed body.
        names: The decoded parts of the path that the operation's pattern names.
        failing: The items that must not succeed, and what their error says.
        now: The Unix time in seconds.
        publish: Puts a file of this name and content on the server, and returns its URL.
    """

    body: Mapping[str, Any]
    names: Mapping[str, str]
    failing: Mapping[str, str]
    now: float
    publish: Callable[[str, bytes], str]

    def item(self, name: str) -> dict[str, str]:
        """Return how one item of a batch fared."""
        if name in self.failing:
            return {"status": "error", "error": self.failing[name]}
        return {"status": "ok"}


def _undocumented(_: Start) -> Result:
    return None


def _not_at_once(_: Start) -> dict[str, Any] | None:
    return None


def _nothing(_: Start) -> dict[str, Any]:
    return {}


def _no_rules() -> None:
    """Take any values together."""


@frozen
class Operation:
    """One operation.

    Attributes:
        name: Its name, as in the client's methods.
        method: The HTTP method.
        path: The path after ``/api/v2``, with the names of fields in braces.
        endpoint: What Stream's rate limits call it.
        fields: The fields of its request.
        rules: Raises a ValueError for values of the fields that do not go together.
        success: The HTTP status of a good answer.
        kind: What it starts.
        result: Makes the documented result of the finished work from the request.
        at_once: Makes the answer's body when the work is done without a task; None when it needs one.
        echo: Makes what the answer to the start holds in any case.
        details: Makes what answers to polls show of the work, besides.
    """

    name: str
    method: str
    path: str
    endpoint: str
    fields: Sequence[Field] = ()
    rules: Callable[..., object] = _no_rules
    success: int = 201
    kind: Kind = _kinds.TASK
    result: Callable[[Start], Result] = _undocumented
    at_once: Callable[[Start], dict[str, Any] | None] = _not_at_once
    echo: Callable[[Start], dict[str, Any]] = _nothing
    details: Callable[[Start], dict[str, Any]] = _nothing

    def refusals(
        self, body: Mapping[str, Any], names: Mapping[str, str], query: Mapping[str, str]
    ) -> dict[str, str]:
        """Return what is wrong with single fields of a request; {} when nothing is."""
        flags = {"true": True, "false": False}
        places = {
            "path": names,
            "query": {name: flags.get(value, value) for name, value in query.items()},
            "body": body,
        }
        given = {field.name: places[field.place].get(field.name) for field in self.fields}
        return problems(self.fields, self.rules, given)

    def started(self, task: FakeTask) -> dict[str, Any]:
        """Return what the answer to a start says of the work."""
        return {"task_id": task.task_id} if self.kind is _kinds.TASK else self.kind.show(task)


def _per_item(name: str) -> Callable[[Start], dict[str, Any]]:
    def result(start: Start) -> dict[str, Any]:
        return {item: start.item(item) for item in start.body[name]}

    return result


def _channels_deleted_at_once(start: Start) -> dict[str, Any] | None:
    return None if start.body.get("hard_delete") else {"result": _per_item("cids")(start)}


def _channels_exported(start: Start) -> Result:
    channels = [{"channel": channel} for channel in start.body["channels"]]
    url = start.publish("channels.json", json.dumps({"channels": channels}).encode())
    path = url.split("/", 3)[-1]
    # A fresh link with every look at the task, as Stream renews the signature.
    return lambda poll: {"url": f"{url}?signature={poll}", "path": path, "s3_bucket_name": _BUCKET}


def _users_exported(start: Start) -> Result:
    users = [{"id": name} for name in start.body["user_ids"]]
    url = start.publish("users.json", json.dumps({"users": users}).encode())
    return lambda poll: {"url": f"{url}?signature={poll}"}


def _channels_updated(start: Start) -> Result:
    cids = _cids(start.body["filter"]) or list(start.failing)  # an opaque filter hits whatever shall fail
    reasons: dict[str, list[str]] = {}
    for cid in cids:
        if cid in start.failing:
            reasons.setdefault(start.failing[cid], []).append(cid)
    return {
        "operation": start.body["operation"],
        "status": "completed",
        "success_channels_count": sum(cid not in start.failing for cid in cids),
        "failed_channels": [{"reason": reason, "cids": cids} for reason, cids in reasons.items()],
        "batch_created_at": rfc3339(start.now),
        "finished_at": rfc3339(start.now),
    }


def _cids(condition: object) -> list[str]:
    """Return the cids that a filter names, at any depth."""
    found: list[str] = []
    left = [condition]
    while left:
        part = left.pop()
        if isinstance(part, str) and ":" in part:
            found.append(part)
        elif isinstance(part, Mapping | list):
            left += reversed(list(part.values()) if isinstance(part, Mapping) else part)
    return found


def _users_deactivated(start: Start) -> Result:
    users = [name for name in start.body["user_ids"] if name not in start.failing]
    return {"users": [{"id": name, "deactivated_at": rfc3339(start.now)} for name in users]}


def _call_deleted(start: Start) -> dict[str, Any]:
    cid = _call(start)["call"]["cid"]
    return {cid: start.item(cid)}


def _call(start: Start) -> dict[str, Any]:
    kind, call_id = start.names["type"], start.names["id"]
    return {"call": {"type": kind, "id": call_id, "cid": f"{kind}:{call_id}"}}


def _call_deleted_at_once(start: Start) -> dict[str, Any] | None:
    return None if start.body.get("hard") else {}


def rfc3339(now: float) -> str:
    """Write a Unix time as Stream does inside payloads."""
    seconds, fraction = divmod(now, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(fraction * 1e9):09}Z"


def _moderated(start: Start) -> dict[str, Any]:
    is_pending = _moderated_at_once(start) is None
    return {"status": "pending" if is_pending else "complete", "recommended_action": "keep"}


def _moderated_at_once(start: Start) -> dict[str, Any] | None:
    return None if any((start.body.get("moderation_payload") or {}).values()) else {}


def _images_moderated(start: Start) -> dict[str, Any]:
    return {"url": start.publish("moderation.csv", b"")}  # a webhook tells it; a poll does not


def _imported(start: Start) -> dict[str, Any]:
    return {"mode": start.body["mode"], "path": start.body["path"]}


def _imported_v2(start: Start) -> dict[str, Any]:
    return {"product": start.body["product"], "settings": start.body["settings"]}


def _described(name: str, **how: Any) -> Operation:
    """Return an operation of the client's, and how the server does it."""
    its = _operations.OPERATIONS[name]
    return Operation(name, its.method, its.path, its.quota, its.fields, its.rules, its.status, **how)


_HOW: Final[Mapping[str, Mapping[str, Any]]] = {
    "delete_channels": {"result": _per_item("cids"), "at_once": _channels_deleted_at_once},
    "export_channels": {"result": _channels_exported},
    "update_channels_batch": {"result": _channels_updated},
    "delete_users": {"result": _per_item("user_ids")},
    "deactivate_users": {"result": _users_deactivated},
    "export_users": {"result": _users_exported},
    "delete_call": {"result": _call_deleted, "at_once": _call_deleted_at_once, "echo": _call},
    "bulk_image_moderation": {"details": _images_moderated},
    "check_moderation": {"at_once": _moderated_at_once, "echo": _moderated},
}

_MODES: Final = ("insert", "upsert")


def _check_settings(settings: Mapping[str, Any]) -> None:
    if settings.get("mode", "upsert") not in _MODES:
        raise ValueError(f"settings must have one of [{' '.join(_MODES)}] for its mode")


_OTHERS: Final = (
    Operation(
        "create_import",
        "POST",
        "/imports",
        "CreateImport",
        (
            Field("path", "body", "text", is_required=True),
            Field("mode", "body", "word", is_required=True, words=_MODES),
            Field("merge_custom", "body", "flag"),
        ),
        kind=_kinds.IMPORT,
        details=_imported,
    ),
    Operation(
        "create_import_v2_task",
        "POST",
        "/imports/v2",
        "CreateImportV2Task",
        (
            Field("product", "body", "word", is_required=True, words=("chat", "feeds")),
            Field("settings", "body", "object", is_required=True),
            Field("user_id", "body", "id"),
        ),
        _check_settings,
        kind=_kinds.IMPORT_V2,
        details=_imported_v2,
    ),
    Operation(
        "start_policy_test_run",
        "POST",
        "/moderation/policy_tests/sets/{id}/runs",
        "start_policy_test_run",
        kind=_kinds.POLICY_TEST_RUN,
        details=lambda start: {"set_id": start.names["id"]},
    ),
    Operation(
        "start_campaign", "POST", "/chat/campaigns/{campaign_id}/start", "StartCampaign", kind=_kinds.CAMPAIGN
    ),
)

OPERATIONS: Final = {
    **{
        name: _described(name, **_HOW.get(name, {}))
        for name, its in _operations.OPERATIONS.items()
        if its.find_endpoint is None
    },
    **{operation.name: operation for operation in _OTHERS},
}


def check_operation(name: str) -> Operation:
    """Return an operation by its name.

    Raises:
        ValueError: There is no such operation.
    """
    if name not in OPERATIONS:
        raise ValueError(f"no operation is called {name!r}; there are {', '.join(OPERATIONS)}")
    return OPERATIONS[name]


def find_operation(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the operation at a raw path and the decoded names in it, or None."""
    for operation in OPERATIONS.values():
        if operation.method == method:
            names = match(operation.path, path)
            if names is not None:
                return operation, names
    return None
