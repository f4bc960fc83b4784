"""What the server was asked."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web
from attrs import field, frozen

__all__ = ["Request", "read_request"]

_TASKS: Final = "/api/v2/tasks/"


@frozen
class Request:
    """One request, as it arrived.

    Attributes:
        method: The HTTP method.
        path: The path as it was sent: still percent-encoded, without the query.
        query: The decoded query; of a name that came twice, the last value.
        headers: The headers; names are looked up in any case.
        json: The parsed body, or None when there was none or it was not JSON.
        task_id: The task asked for, decoded, when this is a ``GET /api/v2/tasks/{id}``.
        status: The HTTP status answered, or None while there is no answer and when the connection was cut.
        at: When it arrived, in seconds of the server's clock.
        has_bad_json: Whether there was a body that was not JSON.
        task_status: What the task was that the answer showed, if it did.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: Any
    task_id: str | None
    status: int | None
    at: float
    has_bad_json: bool = field(default=False, repr=False)
    task_status: str | None = None


def read_request(request: web.BaseRequest, body: bytes, at: float) -> Request:
    """Return the log entry of a request that has no answer yet."""
    # aiohttp's own path is decoded, and could no longer tell an id with a slash from two segments.
    path = request.raw_path.partition("?")[0]
    task_id = None
    if request.method == "GET" and path.startswith(_TASKS) and "/" not in path[len(_TASKS) :]:
        task_id = unquote(path[len(_TASKS) :]) or None
    parsed, bad = None, False
    if body:
        try:
            parsed = json.loads(body)
        except ValueError:
            bad = True
    query = dict(request.query)
    return Request(request.method, path, query, request.headers, parsed, task_id, None, at, bad)
