"""The Stream app behind the server: what it knows and what it answers. No sockets here."""

import math
import time
import uuid
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from types import EllipsisType
from typing import Any, Final
from urllib.parse import quote

from attrs import evolve

from stream_tasks.models import StartedTask
from stream_tasks.testing._answers import Answer, error_answer, file_answer, json_answer
from stream_tasks.testing._auth import Credentials
from stream_tasks.testing._checks import check_count, check_kind, check_times, id_of
from stream_tasks.testing._log import RequestLog
from stream_tasks.testing._operations import OPERATIONS, Operation, Start, find_operation, rfc3339
from stream_tasks.testing._quota import Quota, RateLimitRule
from stream_tasks.testing._requests import Request
from stream_tasks.testing._scripts import FakeTask, Result, TaskFailure, TaskScript
from stream_tasks.testing._webhooks import signed_webhook

__all__ = ["FakeApp"]

_STEPS: Final = ("pending", "running")
_RATE_LIMITS: Final = "/api/v2/rate_limits"
_ENDPOINTS: Final = ("GetTask", "GetRateLimits", *(operation.endpoint for operation in OPERATIONS))
_PLATFORMS: Final = ("android", "ios", "web", "unity", "unity_desktop", "unity_console", "server_side")


class FakeApp(RequestLog):
    """The scripting half of `FakeStream`, which describes the arguments."""

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        rate_limit: RateLimitRule | int | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self.api_key = api_key
        self.api_secret = api_secret
        self._clock = clock
        self._epoch = time.time() - clock()
        self._credentials = Credentials(api_key, api_secret)
        self._tasks: dict[str, FakeTask] = {}
        self._scripts: dict[str, deque[tuple[TaskScript, bool]]] = {}
        self._failing: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._numbers = count(1)
        self._quotas: dict[str, Quota] = {}
        self.rate_limit = rate_limit

    @property
    @abstractmethod
    def url(self) -> str:
        """The base URL for clients."""

    @property
    def rate_limit(self) -> RateLimitRule | None:
        """The rule for looking at tasks; settable at any time, also to a number of calls a minute."""
        return self._quota("GetTask").rule

    @rate_limit.setter
    def rate_limit(self, rule: RateLimitRule | int | None) -> None:
        self.limit("GetTask", rule)

    def limit(self, endpoint: str, rule: RateLimitRule | int | None) -> None:
        """Set the rule of one endpoint, for instance ``ExportChannels``; each has a window of its own.

        Args:
            endpoint: Stream's name of the endpoint: the operation's in CamelCase, or ``GetTask``.
            rule: The rule, a number of calls a minute, or None for no limit.

        Raises:
            TypeError: `rule` is nothing of that.
            ValueError: For an unknown endpoint or a negative number.
        """
        if isinstance(rule, int):
            rule = RateLimitRule(rule)
        if rule is not None:
            check_kind("rule", rule, RateLimitRule, "a RateLimitRule or a number of calls a minute")
        _check_endpoint(endpoint)
        self._quota(endpoint).rule = rule

    def spend(self, calls: int, *, endpoint: str = "GetTask") -> None:
        """Let another program spend some of an endpoint's window, if it has a rule.

        Args:
            calls: How many calls.
            endpoint: As for `limit`.

        Raises:
            ValueError: For an unknown endpoint.
        """
        _check_endpoint(endpoint)
        self._quota(endpoint).spend(calls)

    def add_task(
        self,
        task_id: str | None = None,
        *,
        statuses: Iterable[str] = _STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result = None,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> str:
        """Put a task on the server; one that has this id already is replaced.

        Args:
            task_id: Any text; by default a new UUID.
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
            TypeError: An argument is not of its type, or nothing that JSON can hold.
            ValueError: For a negative number of seconds, or `after` beside `never`.
        """
        task_id = str(uuid.uuid4()) if task_id is None else id_of(task_id)
        script = TaskScript(statuses, _until(after, never=never), result, error, final, visible_after)
        self._tasks[task_id] = FakeTask(task_id, script, self._clock(), self._epoch)
        return task_id

    def finish(
        self,
        task_id: str | StartedTask[Any],
        *,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
    ) -> None:
        """Make a task final now, as `failed` if there is an error, else as `completed`.

        Args:
            task_id: The task's id, or what its start returned.
            result: As in `add_task`; by default what it was to have, for an operation's task the documented
                result.
            error: As in `add_task`.

        Raises:
            KeyError: For a task that is not there.
            TypeError: An argument is not of its type, or nothing that JSON can hold.
        """
        task = self._task(task_id)
        task.rewrite(TaskScript((), result=task.script.result if result is ... else result, error=error))

    def forget(self, task_id: str | StartedTask[Any]) -> None:
        """Take a task off the server, which then cannot be found.

        Args:
            task_id: The task's id, or what its start returned.

        Raises:
            KeyError: For a task that is not there.
        """
        del self._tasks[self._task(task_id).task_id]

    def webhook(self, task_id: str | StartedTask[Any], *, attempt: int = 1) -> tuple[bytes, dict[str, str]]:
        """Return the signed webhook that tells of a task's end, for the code that takes such.

        It tells of the end that the task was scripted to have, whether that has come yet or not.

        Args:
            task_id: What an operation's start returned, or the id in it.
            attempt: The number of the try, from 1; all tries have the same ``X-Webhook-Id``.

        Returns:
            The body and the headers of the POST that Stream makes.

        Raises:
            KeyError: For a task that is not there.
            TypeError: `attempt` is no whole number.
            ValueError: For a task of which Stream tells nothing, such as a deletion or one that never ends,
                or an `attempt` below 1.
        """
        check_count("attempt", attempt, least=1)
        return signed_webhook(self._task(task_id), self.api_secret, rfc3339(self._wall_time()), attempt)

    def script_operation(
        self,
        name: str,
        *,
        times: int = 1,
        statuses: Iterable[str] = _STEPS,
        after: float | None = None,
        never: bool = False,
        result: Result | EllipsisType = ...,
        error: Mapping[str, Any] | TaskFailure | None = None,
        final: str | None = None,
        visible_after: float = 0.0,
    ) -> None:
        """Script the tasks that the next starts of an operation make; scripts are used in the order given.

        Args:
            name: The operation, for instance ``export_channels``.
            times: For how many starts.
            statuses: As in `add_task`.
            after: As in `add_task`, counted from the start.
            never: As in `add_task`.
            result: As in `add_task`; by default the documented result, made from the request.
            error: As in `add_task`.
            final: As in `add_task`.
            visible_after: As in `add_task`, counted from the start.

        Raises:
            TypeError: An argument is not of its type, or nothing that JSON can hold.
            ValueError: For an unknown operation, a negative number, or `after` beside `never`.
        """
        names = [operation.name for operation in OPERATIONS]
        if name not in names:
            raise ValueError(f"no operation is called {name!r}; there are {', '.join(names)}")
        check_kind("times", times, int, "a whole number")
        check_times(times)
        documented = result is ...
        after = _until(after, never=never)
        script = TaskScript(statuses, after, None if result is ... else result, error, final, visible_after)
        self._scripts.setdefault(name, deque()).extend([(script, documented)] * times)

    def assert_all_waited(self) -> None:
        """Demand that the end of each task on the server was seen, by whoever looked.

        Raises:
            AssertionError: There are others; the message names them, of many the first and the last.
        """
        __tracebackhide__ = True
        self._assert_waited(self._tasks.values())

    def fail_items(self, *items: str, error: str = "the item could not be processed") -> None:
        """Make these ids or cids fail one by one in the documented results, while their tasks complete.

        Args:
            items: The ids or cids, one by one.
            error: What their error says.

        Raises:
            TypeError: One is no text.
        """
        for item in items:
            check_kind("each of items", item, str, "a text")
        self._failing.update(dict.fromkeys(items, error))

    def add_file(self, name: str, content: bytes) -> str:
        """Put a file on the server, for instance for an export, that anyone may fetch, whole or in parts.

        Args:
            name: The last part of its address.
            content: What is in it.

        Returns:
            Its URL.

        Raises:
            RuntimeError: If the server has never been started.
            TypeError: `content` is no bytes.
        """
        check_kind("content", content, bytes, "bytes")
        path = f"/exports/{next(self._numbers)}/{quote(name, safe='')}"
        self._files[path] = content
        return self.url + path

    def clear(self) -> None:
        """Forget tasks, scripts, files and failing items, and what was spent of the quotas; rules stay."""
        self._tasks.clear()
        self._scripts.clear()
        self._failing.clear()
        self._files.clear()
        for endpoint, quota in self._quotas.items():
            self._quotas[endpoint] = Quota(quota.rule, self._clock, self._epoch)

    def _task(self, task_id: str | StartedTask[Any]) -> FakeTask:
        task_id = id_of(task_id)
        if task_id not in self._tasks:
            raise KeyError(f"no task has the id {task_id!r}")
        return self._tasks[task_id]

    def _wall_time(self) -> float:
        return self._epoch + self._clock()

    def _quota(self, endpoint: str) -> Quota:
        if endpoint not in self._quotas:
            self._quotas[endpoint] = Quota(None, self._clock, self._epoch)
        return self._quotas[endpoint]

    def _answer(self, request: Request, substitute: Answer | None = None) -> Answer:
        """Return the answer to a request, or the substitute with the rate-limit headers it would have had."""
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
        return Answer(200, body, task_status=task.status)

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
        self._tasks[task_id] = FakeTask(task_id, script, self._clock(), self._epoch, operation.name)
        return json_answer(operation.success, {**operation.echo(start), "task_id": task_id})

    def _next_script(self, operation: Operation, start: Start) -> TaskScript:
        queue = self._scripts.get(operation.name)
        script, documented = queue.popleft() if queue else (TaskScript(), True)
        return evolve(script, result=operation.result(start)) if documented else script


def _until(after: float | None, *, never: bool) -> float | None:
    if never and after is not None:
        raise ValueError(f"after must not be given for a task that never ends, and is {after!r}")
    return math.inf if never else after


def _check_endpoint(name: str) -> None:
    if name not in _ENDPOINTS:
        raise ValueError(f"no endpoint is called {name!r}; there are {', '.join(_ENDPOINTS)}")
