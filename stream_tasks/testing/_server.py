"""The server: what a test sees of it."""

from __future__ import annotations

import asyncio
import functools
import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

from stream_tasks._arguments import check_callback
from stream_tasks.testing._additions import Additions
from stream_tasks.testing._app import App
from stream_tasks.testing._auth import Credentials
from stream_tasks.testing._checks import check_count
from stream_tasks.testing._clock import ServerTime, now
from stream_tasks.testing._faultplan import FaultPlan
from stream_tasks.testing._listener import Listener
from stream_tasks.testing._log import Demands, Request, RequestLog, read_request
from stream_tasks.testing._plans import OperationPlans
from stream_tasks.testing._quota import Quotas, RateLimitRule, as_rule
from stream_tasks.testing._sockets import cut, read_body, reset, respond
from stream_tasks.testing._tasks import Tasks
from stream_tasks.testing._texts import counted, few
from stream_tasks.testing._webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiohttp import web

    from stream_tasks.testing._faults import Fault

__all__ = ["FakeStream"]

P = ParamSpec("P")
T = TypeVar("T")

_SECRET: Final = "fake-secret-of-64-characters-as-long-as-those-that-stream-issues"  # noqa: S105 - it opens nothing


def _by(part: str, method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[FakeStream, P], T]:
    """Make a method of a part, which stands at this attribute, a method of the server."""
    find = attrgetter(part)

    @functools.wraps(method)
    def call(self: FakeStream, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return method(find(self), *args, **kwargs)

    return cast("Callable[Concatenate[FakeStream, P], T]", call)


class FakeStream:
    """A Stream server on a loopback port.

    Used with ``async with`` it runs on the caller's loop, with plain ``with`` on a loop of its own in a
    daemon thread. It can be stopped and started again; it keeps its port.

    If a function given by a test fails, as a `result` may, the client gets a 500 that it does not try
    again, and the next assertion raises the exception, or the end of the ``with`` block.

    Args:
        api_key: The key that requests must name.
        api_secret: The secret that their tokens must be signed with.
        host: The address to listen on.
        port: The port to listen on; 0 for any free one.
        rate_limit: The rule for looking at tasks, or a number of calls a minute; None for no limit.
        clock: The time in seconds for tasks, windows and the log; by default that of a `VirtualClock` while
            one runs, else the real one.

    Attributes:
        api_key: The key that requests must name.
        api_secret: The secret that their tokens must be signed with.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        api_key: str = "fake-key",
        api_secret: str = _SECRET,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_limit: RateLimitRule | int | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        for name, value in (("api_key", api_key), ("api_secret", api_secret), ("host", host)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a text, not {type(value).__name__}")
        check_count("port", port, most=65535)
        check_callback("clock", clock)
        self.api_key = api_key
        self.api_secret = api_secret
        self._time = ServerTime(clock)
        self._listener = Listener(host, port, self._respond)
        self._log = RequestLog()
        self._tasks = Tasks(self._log, self._time)
        self._additions = Additions(self._tasks)
        self._webhooks = Webhooks(self._tasks, api_secret, self._time)
        self._faults = FaultPlan(self._time)
        self._app = App(
            credentials=Credentials(api_key, api_secret),
            quotas=Quotas(self._time),
            tasks=self._tasks,
            plans=OperationPlans(),
            time=self._time,
            base_url=lambda: self.url,
        )
        self._demands = Demands(self._log, self._tasks, self._faults, self._app.own_up)
        self.rate_limit = rate_limit

    def __repr__(self) -> str:
        state = self.url if self._listener.is_running else "stopped"
        tasks, requests = counted(len(self._tasks), "task"), counted(len(self.requests), "request")
        missed = few([planned.fault.name for planned in self._faults.missed()])
        faults = f", not struck: {missed}" if missed else ""
        return f"<{type(self).__name__} {state}, {tasks}, {requests}{faults}>"

    @property
    def url(self) -> str:
        """The base URL for clients.

        Raises:
            RuntimeError: The server has never been started.
        """
        return self._listener.url

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which clients that are given nothing find this server."""
        return {
            "STREAM_API_KEY": self.api_key,
            "STREAM_API_SECRET": self.api_secret,
            "STREAM_BASE_URL": self.url,
        }

    @property
    def requests(self) -> list[Request]:
        """What was asked, in order of arrival."""
        return self._log.requests

    @property
    def rate_limit(self) -> RateLimitRule | None:
        """The rule for looking at tasks; settable at any time, also to a number of calls a minute."""
        return self._app.quotas.of("GetTask").rule

    @rate_limit.setter
    def rate_limit(self, rule: RateLimitRule | int | None) -> None:
        self._app.quotas.of("GetTask").rule = as_rule("rate_limit", rule)

    add_task = _by("_additions", Additions.add_task)
    add_import = _by("_additions", Additions.add_import)
    add_import_v2 = _by("_additions", Additions.add_import_v2)
    add_campaign = _by("_additions", Additions.add_campaign)
    add_policy_test_run = _by("_additions", Additions.add_policy_test_run)
    finish = _by("_tasks", Tasks.finish)
    forget = _by("_tasks", Tasks.forget)
    started = _by("_tasks", Tasks.started)

    script_operation = _by("_app.plans", OperationPlans.script_operation)
    fail_items = _by("_app.plans", OperationPlans.fail_items)
    add_file = _by("_app", App.add_file)
    limit = _by("_app.quotas", Quotas.limit)
    spend = _by("_app.quotas", Quotas.spend)

    webhook = _by("_webhooks", Webhooks.webhook)
    sqs_message = _by("_webhooks", Webhooks.sqs_message)
    sns_message = _by("_webhooks", Webhooks.sns_message)

    inject = _by("_faults", FaultPlan.inject)
    heal = _by("_faults", FaultPlan.heal)

    polls = _by("_log", RequestLog.polls)
    assert_polled = _by("_demands", Demands.assert_polled)
    assert_never_faster_than = _by("_demands", Demands.assert_never_faster_than)
    assert_all_waited = _by("_demands", Demands.assert_all_waited)
    assert_all_struck = _by("_demands", Demands.assert_all_struck)

    def clear(self) -> None:
        """Forget all but the rules: tasks, scripts, files, failing items, faults, the log, what was spent."""
        self._tasks.clear()
        self._faults.heal()
        self._app.clear()
        self.requests.clear()

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            RuntimeError: The server runs already, or no asyncio event loop does.
            OSError: The port is taken.
        """
        await self._listener.start()

    async def stop(self) -> None:
        """Stop listening and end all connections, hanging ones too; may be called again.

        Raises:
            RuntimeError: The server runs on another loop.
        """
        await self._listener.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._own_up_after(error)

    def __enter__(self) -> Self:
        self._listener.start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.stop_thread()
        self._own_up_after(error)

    def _own_up_after(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, Exception):  # no cancellation or Ctrl-C is replaced
            self._app.own_up()

    async def _respond(self, stopping: asyncio.Future[None], http: web.BaseRequest) -> web.StreamResponse:
        body, refusal = await read_body(http)
        request = read_request(http, body, self._time.now())
        place = self._log.add(request)
        fault = self._next_fault(request)
        if fault is None:
            answer = refusal or self._app.answer(request)
            self._log.note(place, request, answer)
            return respond(http, answer, self._time.unix())
        if fault.pause and not await _pause(fault.pause, stopping):
            return reset(http)
        if fault.breaks == "reset":
            return reset(http)
        answer = (
            fault.answer if fault.answer and not fault.metered else self._app.answer(request, fault.answer)
        )
        answer = answer.under(fault.overrides)
        if fault.breaks == "cut":
            return await cut(http, answer, self._time.unix())
        self._log.note(place, request, answer)
        return respond(http, answer, self._time.unix())

    def _next_fault(self, request: Request) -> Fault | None:
        return self._faults.next_for(request)


async def _pause(seconds: float, stopping: asyncio.Future[None]) -> bool:
    """Wait; return False if the server was stopped meanwhile."""
    await asyncio.wait([stopping], timeout=None if math.isinf(seconds) else seconds)
    return not stopping.done()
