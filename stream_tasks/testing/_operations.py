"""The operations that start tasks, as a table."""

import json
import time
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import unquote

from attrs import frozen

from stream_tasks import _operations, _requests
from stream_tasks.testing._scripts import Result

__all__ = ["OPERATIONS", "Operation", "Start", "check_operation", "find_operation", "rfc3339"]

_TEXTS: Final = ("cids", "user_ids")  # the lists that hold nothing else
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


def _no_echo(_: Start) -> dict[str, Any]:
    return {}


@frozen
class Operation:
    """How the server does one operation.

    Attributes:
        name: Its name, as in the client's methods; `stream_tasks._operations` describes its request.
        result: Makes the documented result of the finished task from the request.
        at_once: Makes the answer's body when the work is done without a task; None when it needs one.
        echo: Makes what the answer to the start holds in any case.
    """

    name: str
    result: Callable[[Start], Result] = _undocumented
    at_once: Callable[[Start], dict[str, Any] | None] = _not_at_once
    echo: Callable[[Start], dict[str, Any]] = _no_echo

    @property
    def described(self) -> _requests.Operation[Any]:
        """Its request."""
        return _operations.OPERATIONS[self.name]

    @property
    def fields(self) -> list[_requests.Field]:
        """The fields of its body."""
        return [field for field in self.described.fields if field.place == "body"]

    @property
    def endpoint(self) -> str:
        """What Stream's rate limits call it."""
        return self.described.quota

    @property
    def success(self) -> int:
        """The HTTP status of a good answer."""
        return self.described.status

    def problems(self, body: Mapping[str, Any]) -> dict[str, str]:
        """Return what is wrong with single fields of a body; {} when nothing is."""
        wrong = {}
        for field in self.fields:
            value = body.get(field.name)
            if value is None:
                if field.is_required:
                    wrong[field.name] = f"{field.name} is a required field"
            elif field.words and value not in field.words:
                wrong[field.name] = f"{field.name} must be one of [{' '.join(field.words)}]"
            elif field.name == self.described.items and (fault := _list_fault(field, value)):
                wrong[field.name] = f"{field.name} must {fault}"
        return wrong


def _list_fault(field: _requests.Field, items: object) -> str | None:
    if not isinstance(items, list):
        return "be a list"
    if not items:
        return "contain at least 1 item"
    if field.most is not None and len(items) > field.most:
        return f"contain at most {field.most} items"
    if field.name in _TEXTS and not all(isinstance(item, str) for item in items):
        return "contain texts only"
    return None


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
    kind, call_id = start.names["call_type"], start.names["call_id"]
    return {"call": {"type": kind, "id": call_id, "cid": f"{kind}:{call_id}"}}


def _call_deleted_at_once(start: Start) -> dict[str, Any] | None:
    return None if start.body.get("hard") else {}


def rfc3339(now: float) -> str:
    """Write a Unix time as Stream does inside payloads."""
    seconds, fraction = divmod(now, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(fraction * 1e9):09}Z"


_ANSWERS: Final = (
    Operation("delete_channels", result=_per_item("cids"), at_once=_channels_deleted_at_once),
    Operation("export_channels", result=_channels_exported),
    Operation("update_channels_batch", result=_channels_updated),
    Operation("delete_users", result=_per_item("user_ids")),
    Operation("deactivate_users", result=_users_deactivated),
    Operation("export_users", result=_users_exported),
    Operation("delete_call", result=_call_deleted, at_once=_call_deleted_at_once, echo=_call),
)

OPERATIONS: Final = tuple(
    next((each for each in _ANSWERS if each.name == name), Operation(name)) for name in _operations.OPERATIONS
)


def check_operation(name: str) -> None:
    """Check the name of an operation.

    Raises:
        ValueError: There is no such operation.
    """
    names = [operation.name for operation in OPERATIONS]
    if name not in names:
        raise ValueError(f"no operation is called {name!r}; there are {', '.join(names)}")


def find_operation(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the operation at a raw path and the decoded names in it, or None."""
    for operation in OPERATIONS:
        if operation.described.method == method:
            names = _match(f"/api/v2{operation.described.path}", path)
            if names is not None:
                return operation, names
    return None


def _match(pattern: str, path: str) -> dict[str, str] | None:
    names = {}
    for expected, given in zip_longest(pattern.split("/"), path.split("/"), fillvalue=""):
        if expected.startswith("{") and given:
            names[expected[1:-1]] = unquote(given)
        elif expected != given:
            return None
    return names
