"""The Stream app behind the server: it answers requests. No sockets here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from attrs import define, field

from stream_tasks.testing._answers import Answer, error_answer, file_answer, json_answer
from stream_tasks.testing._auth import Credentials
from stream_tasks.testing._checks import check_kind
from stream_tasks.testing._clock import ServerTime
from stream_tasks.testing._kinds import CAMPAIGN, POLICY_TEST_RUN, find_polled
from stream_tasks.testing._operations import Operation, Start, find_operation
from stream_tasks.testing._plans import OperationPlans
from stream_tasks.testing._quota import Quotas
from stream_tasks.testing._tasks import Tasks

if TYPE_CHECKING:
    from stream_tasks.testing._log import Request
    from stream_tasks.testing._scripts import FakeTask, Kind

__all__ = ["App"]

_RATE_LIMITS: Final = "/api/v2/rate_limits"
_PLATFORMS: Final = ("android", "ios", "web", "unity", "unity_desktop", "unity_console", "server_side")


@define(eq=False)
class App:
    """Answers requests.

    Attributes:
        credentials: What requests must show.
        quotas: How often each endpoint may be called.
        tasks: The tasks to show and to add to.
        plans: What the tasks of operations do.
        time: The server's time.
        base_url: Returns the server's address.
    """

    credentials: Credentials
    quotas: Quotas
    tasks: Tasks
    plans: OperationPlans
    time: ServerTime
    base_url: Callable[[], str]
    _files: dict[str, bytes] = field(init=False, factory=dict)
    _failure: Exception | None = field(init=False, default=None)

    def add_file(self, name: str, content: bytes) -> str:
        """Put a file on the server, for instance for an export, that anyone may fetch, whole or in parts.

        Args:
            name: The last part of its address.
            content: What is in it.

        Returns:
            Its URL.

        Raises:
            RuntimeError: The server has never been started.
            TypeError: `name` is not a text, or `content` not bytes.
        """
        check_kind("name", name, str, "a text")
        check_kind("content", content, bytes, "bytes")
        path = f"/exports/{uuid.uuid4().hex}/{quote(name, safe='')}"
        url = self.base_url() + path
        self._files[path] = content
        return url

    def answer(self, request: Request, substitute: Answer | None = None) -> Answer:
        """Return the answer to a request, or the substitute with the rate-limit headers it would have had.

        An exception in a function that a test gave is kept for that test, and no client tries again.
        """
        try:
            return self._true_answer(request, substitute)
        except Exception as error:  # noqa: BLE001 - the test raises it
            if self._failure is None:
                error.add_note(f"FakeStream could not answer {request.method} {request.path}.")
                self._failure = error
            message = f"the fake server failed: {type(error).__name__}: {error}"
            return error_answer(500, message, unrecoverable=True)

    def own_up(self) -> None:
        """Raise what went wrong in the server itself, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def clear(self) -> None:
        """Forget scripts, failing items, files and what was spent of the quotas."""
        self.plans.clear()
        self._files.clear()
        self.quotas.clear()

    def _true_answer(self, request: Request, substitute: Answer | None) -> Answer:
        file = self._files.get(request.path)
        if request.method == "GET" and file is not None and substitute is None:
            return file_answer(file, request.headers.get("Range"))
        endpoint, act = self._route(request)
        quota = self.quotas.of(endpoint)
        if substitute is not None:
            return substitute.under(quota.admit().headers)
        refusal = self.credentials.refusal(request, self.time.unix())
        if refusal is not None:
            return refusal
        admission = quota.admit()
        if not admission.ok:
            return error_answer(429, f"too many requests to {endpoint}").under(admission.headers)
        return act().under(admission.headers)

    def _route(self, request: Request) -> tuple[str, Callable[[], Answer]]:
        """Return the name of the endpoint that a request asks, and what answers there."""
        polled = find_polled(request.method, request.path)
        if polled is not None:
            return polled[0].endpoint, lambda: self._show(*polled)
        if (request.method, request.path) == ("GET", _RATE_LIMITS):
            return "GetRateLimits", lambda: self._show_rate_limits(request.query)
        found = find_operation(request.method, request.path)
        if found is not None:
            return found[0].endpoint, lambda: self._start_shallow(*found, request)
        return "unknown", lambda: error_answer(404, f"{request.method} {request.path} is not an endpoint")

    def _show(self, kind: Kind, task_id: str) -> Answer:
        task = self.tasks.find(kind, task_id)
        body = None if task is None else task.body(kind)
        if task is None or body is None:
            return error_answer(404, f"Can't find {kind.name} with id {task_id}")
        return Answer(200, body, task=task)

    def _show_rate_limits(self, query: Mapping[str, str]) -> Answer:
        asked = [name for name in _PLATFORMS if query.get(name) == "true"] or ["server_side"]
        limits = self.quotas.report(query["endpoints"].split(",") if query.get("endpoints") else None)
        return json_answer(200, {name: limits if name == "server_side" else {} for name in asked})

    def _start_shallow(self, operation: Operation, names: dict[str, str], request: Request) -> Answer:
        """Start an operation, unless its body is nested so deeply that Python can just parse it."""
        try:
            return self._start(operation, names, request)
        except RecursionError:
            return error_answer(400, "the body is nested too deeply")

    def _start(self, operation: Operation, names: dict[str, str], request: Request) -> Answer:
        body = {} if request.json is None else request.json
        if request.has_bad_json or not isinstance(body, dict):
            return error_answer(400, "the body must be a JSON object")
        wrong = operation.refusals(body, names, request.query)
        if wrong:
            message = f"{operation.endpoint} failed with error: {'; '.join(wrong.values())}"
            return error_answer(400, message, fields=wrong)
        start = Start(body, names, self.plans.failing, self.time.unix(), self.add_file)
        at_once = operation.at_once(start)
        if at_once is None:
            task = self._begin(operation, start)
            if task is None:
                return error_answer(404, f"Can't find {operation.kind.name} with id {names['campaign_id']}")
            at_once = operation.started(task)
        return json_answer(operation.success, {**operation.echo(start), **at_once})

    def _begin(self, operation: Operation, start: Start) -> FakeTask | None:
        if operation.kind is CAMPAIGN:  # it is there before it is started
            campaign = self.tasks.find(CAMPAIGN, start.names["campaign_id"])
            if campaign is not None:
                campaign.rewind()
            return campaign
        ids = [str(uuid.uuid4()) for _ in range(2 if operation.kind is POLICY_TEST_RUN else 1)]
        return self.tasks.begin(
            self.plans.next_script(operation, start),
            *ids,
            kind=operation.kind,
            origin=operation.name,
            details=operation.details(start),
        )
