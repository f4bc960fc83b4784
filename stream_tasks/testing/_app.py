"""The Stream app behind the server: what it answers. No sockets here."""

import uuid
from collections.abc import Callable, Mapping
from typing import Final

from attrs import evolve

from stream_tasks.testing._answers import Answer, error_answer, file_answer, json_answer
from stream_tasks.testing._auth import Credentials
from stream_tasks.testing._checks import check_count
from stream_tasks.testing._injecting import Injecting
from stream_tasks.testing._operations import OPERATIONS, Operation, Start, find_operation
from stream_tasks.testing._quota import Quota, RateLimitRule
from stream_tasks.testing._requests import Request
from stream_tasks.testing._scripts import FakeTask, TaskScript

__all__ = ["FakeApp"]

_RATE_LIMITS: Final = "/api/v2/rate_limits"
_ENDPOINTS: Final = ("GetTask", "GetRateLimits", *(operation.endpoint for operation in OPERATIONS))
_PLATFORMS: Final = ("android", "ios", "web", "unity", "unity_desktop", "unity_console", "server_side")


class FakeApp(Injecting):
    """The answering half of `FakeStream`, which describes the arguments."""

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        rate_limit: RateLimitRule | int | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(api_secret, clock)
        self.api_key = api_key
        self._credentials = Credentials(api_key, api_secret)
        self._quotas: dict[str, Quota] = {}
        self.rate_limit = rate_limit

    @property
    def rate_limit(self) -> RateLimitRule | None:
        """The rule for looking at tasks; settable at any time, also to a number of calls a minute."""
        return self._quota("GetTask").rule

    @rate_limit.setter
    def rate_limit(self, rule: RateLimitRule | int | None) -> None:
        self._quota("GetTask").rule = _rule("rate_limit", rule)

    def limit(self, endpoint: str, rule: RateLimitRule | int | None) -> None:
        """Set the rule of one endpoint, for instance ``ExportChannels``; each has a window of its own.

        Args:
            endpoint: Stream's name of the endpoint: the operation's in CamelCase, or ``GetTask``.
            rule: The rule, a number of calls a minute, or None for no limit.

        Raises:
            TypeError: `rule` is nothing of that.
            ValueError: For an unknown endpoint or a negative number.
        """
        _check_endpoint(endpoint)
        self._quota(endpoint).rule = _rule("rule", rule)

    def spend(self, calls: int, *, endpoint: str = "GetTask") -> None:
        """Let another program spend some of an endpoint's window, if it has a rule.

        Args:
            calls: How many calls.
            endpoint: As for `limit`.

        Raises:
            TypeError: `calls` is no whole number.
            ValueError: It is negative, or the endpoint unknown.
        """
        check_count("calls", calls)
        _check_endpoint(endpoint)
        self._quota(endpoint).spend(calls)

    def clear(self) -> None:
        """Forget what `Injecting.clear` does, and what was spent of the quotas; rules stay."""
        super().clear()
        for endpoint, quota in self._quotas.items():
            self._quotas[endpoint] = Quota(quota.rule, self._clock, self._epoch)

    def _quota(self, endpoint: str) -> Quota:
        if endpoint not in self._quotas:
            self._quotas[endpoint] = Quota(None, self._clock, self._epoch)
        return self._quotas[endpoint]

    def _answer(self, request: Request, substitute: Answer | None = None) -> Answer:
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

    def _true_answer(self, request: Request, substitute: Answer | None) -> Answer:
        if request.method == "GET" and request.path in self._files and substitute is None:
            return file_answer(self._files[request.path], request.headers.get("Range"))
        endpoint, act = self._route(request)
        quota = self._quota(endpoint)
        if substitute is not None:
            return substitute.under(quota.admit().headers)
        refusal = self._credentials.refusal(request, self._wall_time())
        if refusal is not None:
            return refusal
        admission = quota.admit()
        if not admission.ok:
            return error_answer(429, f"too many requests to {endpoint}").under(admission.headers)
        return act().under(admission.headers)

    def _route(self, request: Request) -> tuple[str, Callable[[], Answer]]:
        task_id = request.task_id
        if task_id is not None:
            return "GetTask", lambda: self._show_task(task_id)
        if (request.method, request.path) == ("GET", _RATE_LIMITS):
            return "GetRateLimits", lambda: self._show_rate_limits(request.query)
        found = find_operation(request.method, request.path)
        if found is not None:
            return found[0].endpoint, lambda: self._start(*found, request)
        return "unknown", lambda: error_answer(404, f"{request.method} {request.path} is no endpoint")

    def _show_task(self, task_id: str) -> Answer:
        task = self._tasks.get(task_id)
        body = None if task is None else task.body(self._clock())
        if task is None or body is None:
            return error_answer(404, f"Can't find task with id {task_id}")
        return Answer(200, body, task=task)

    def _show_rate_limits(self, query: Mapping[str, str]) -> Answer:
        asked = [name for name in _PLATFORMS if query.get(name) == "true"] or ["server_side"]
        names = query["endpoints"].split(",") if query.get("endpoints") else list(self._quotas)
        reports = {name: self._quotas[name].report() for name in names if name in self._quotas}
        limits = {name: report for name, report in reports.items() if report}
        return json_answer(200, {name: limits if name == "server_side" else {} for name in asked})

    def _start(self, operation: Operation, names: dict[str, str], request: Request) -> Answer:
        body = {} if request.json is None else request.json
        if request.has_bad_json or not isinstance(body, dict):
            return error_answer(400, "the body must be a JSON object")
        wrong = operation.problems(body)
        if wrong:
            message = f"{operation.endpoint} failed with error: {'; '.join(wrong.values())}"
            return error_answer(400, message, fields=wrong)
        start = Start(body, names, self._failing, self._wall_time(), self.add_file)
        at_once = operation.at_once(start)
        if at_once is not None:
            return json_answer(operation.success, {**operation.echo(start), **at_once})
        task_id = str(uuid.uuid4())
        script = self._next_script(operation, start)
        self._place(FakeTask(task_id, script, self._clock(), self._epoch, operation.name))
        return json_answer(operation.success, {**operation.echo(start), "task_id": task_id})

    def _next_script(self, operation: Operation, start: Start) -> TaskScript:
        queue = self._scripts.get(operation.name)
        script, documented = queue.popleft() if queue else (TaskScript(), True)
        return evolve(script, result=operation.result(start)) if documented else script


def _rule(name: str, rule: RateLimitRule | int | None) -> RateLimitRule | None:
    if rule is None or isinstance(rule, RateLimitRule):
        return rule
    if isinstance(rule, bool) or not isinstance(rule, int):
        raise TypeError(f"{name} must be a RateLimitRule, a number of calls a minute, or None, not {rule!r}")
    return RateLimitRule(rule)


def _check_endpoint(name: str) -> None:
    if name not in _ENDPOINTS:
        raise ValueError(f"no endpoint is called {name!r}; there are {', '.join(_ENDPOINTS)}")
