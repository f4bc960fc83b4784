"""What a report knows of one wait."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from stream_tasks._view.text import printable
from stream_tasks.models import TaskOutcome

__all__ = ["STATUSES", "FailedItem", "Record", "merged", "record_of"]

STATUSES: Final = {
    "completed": "completed",
    "failed": "failed",
    "timed_out": "timed out",
    "error": "could not be polled",
}
"""How a wait can end, and how people are told."""

_PER_ITEM: Final = ("delete_call", "delete_channels", "delete_users")
"""The operations whose result says what became of each item."""

_FINAL: Final = ("completed", "failed")
_LONGEST: Final = 300
_QUERY: Final = re.compile(r"(https?://[^\s?#]*)[?#]\S+", re.IGNORECASE)
_START: Final = 86_400.0
"""Work whose times the server does not tell began in 1970."""


class FailedItem(NamedTuple):
    """An item that failed in a task that completed.

    Attributes:
        task_id: The task.
        item: The item, such as a user's id.
        why: What went wrong.
    """

    task_id: str
    item: str
    why: str


class Record(NamedTuple):
    """What is known of one wait.

    Attributes:
        key: The task's id as it is, None without one.
        task_id: What to call the task; ``(done at once)`` if the server did the work in the request.
        status: How the wait ended, one of `STATUSES`.
        operation: The operation that started the task; empty if it is not known.
        kind: The type of the failure; empty if the task completed.
        why: What went wrong; empty if the task completed.
        polls: How often the task was polled.
        elapsed: How long the wait lasted, in seconds.
        held: For how long of that the quota held back polls, in seconds.
        span: When the task was made, and when the server last changed it, in Unix time; None if not known.
        failed_items: The items that failed although the task completed.
    """

    key: str | None
    task_id: str
    status: str
    operation: str
    kind: str
    why: str
    polls: int
    elapsed: float
    held: float
    span: tuple[float, float] | None
    failed_items: tuple[FailedItem, ...]


def record_of(outcome: Any) -> Record:
    """Take what is known from an outcome, or from what `TaskOutcome.to_dict` returned.

    Raises:
        TypeError: It is something else.
        ValueError: A value in it is out of range.
    """
    if isinstance(outcome, TaskOutcome):
        return _read(outcome.to_dict(), _span(outcome))
    if isinstance(outcome, Mapping):
        return _read(outcome, None)
    raise TypeError(
        f"outcomes must hold TaskOutcome, or what its to_dict returns, not {type(outcome).__name__}"
    )


def merged(records: Iterable[Record]) -> list[Record]:
    """Return one record for each task: of several, that which tells its end, or else the last."""
    found: dict[object, Record] = {}
    for record in records:
        key = object() if record.key is None else record.key
        earlier = found.get(key)
        if earlier is None or earlier.status not in _FINAL or record.status in _FINAL:
            found[key] = record
    return list(found.values())


def _span(outcome: TaskOutcome[Any]) -> tuple[float, float] | None:
    task = outcome.task
    if task is None or task.created_at.timestamp() < _START:
        return None
    return task.created_at.timestamp(), task.updated_at.timestamp()


def _read(fields: Mapping[str, Any], span: tuple[float, float] | None) -> Record:
    task_id, status, error = fields.get("task_id"), fields.get("status"), fields.get("error") or {}
    if not isinstance(task_id, str | None) or "task_id" not in fields:
        raise ValueError("'task_id' must be a text or null")
    if status not in STATUSES:
        raise ValueError(f"'status' must be one of {', '.join(STATUSES)}")
    if not isinstance(error, Mapping):
        raise ValueError("'error' must be an object")  # noqa: TRY004 - a value
    name = "(done at once)" if task_id is None else _shown(task_id)
    return Record(
        task_id,
        name,
        str(status),
        _shown(fields.get("operation") or ""),
        "" if status == "completed" else _shown(error.get("type") or "unknown"),
        "" if status == "completed" else _shown(error.get("description") or ""),
        int(_number(fields, "polls")),
        _number(fields, "elapsed"),
        _number(fields, "held"),
        span,
        tuple(_failed_items(name, fields.get("operation"), fields.get("result"))),
    )


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"'{name}' must be a number, 0 or more")
    return value


def _failed_items(task_id: str, operation: Any, result: Any) -> Iterator[FailedItem]:
    """Yield the items that a result says failed."""
    if not isinstance(result, Mapping):
        return
    failures = result.get("failed_channels")
    if isinstance(failures, list):
        for failure in failures:
            if isinstance(failure, Mapping) and isinstance(failure.get("cids"), list):
                for cid in failure["cids"]:
                    yield FailedItem(task_id, _shown(cid), _shown(failure.get("reason") or ""))
    elif _is_per_item(operation, result):
        for item, fate in result.items():
            if fate["status"] != "ok":
                yield FailedItem(task_id, _shown(item), _shown(fate.get("error") or fate["status"]))


def _is_per_item(operation: Any, result: Mapping[Any, Any]) -> bool:
    if not all(isinstance(fate, Mapping) and isinstance(fate.get("status"), str) for fate in result.values()):
        return False
    if operation is not None:
        return operation in _PER_ITEM
    # Of an id alone the operation is not known: only these words tell that the result is about items.
    return any(fate["status"] == "ok" or fate.get("error") for fate in result.values())


def _shown(value: object) -> str:
    """Make one line of a text of the server's; of an address, what may be a signature is left out."""
    text = " ".join(printable(str(value)).split())
    if "://" in text:
        text = _QUERY.sub(r"\1?…", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
