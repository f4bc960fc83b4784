"""Traces and metrics for OpenTelemetry, read from the SDK's in-memory exporters."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the group slow has OpenTelemetry's SDK")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from scripted import ById, QuotaServer, Script, ScriptedStream, snapshot

from stream_tasks import (
    AsyncStream,
    Stream,
    StreamApiException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
)
from stream_tasks.instrumentation import PollStarted, WaitEnded, add_hook, remove_hook
from stream_tasks.instrumentation.otel import OpenTelemetryHook, _first
from stream_tasks.models import RateLimit, TaskError
from stream_tasks.testing import FakeStream

pytestmark = pytest.mark.slow

AWAY = StreamTransportException("connection_reset")


class Telemetry:
    """A tracer and a meter that keep in memory what they are told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def hook(self, **options: Any) -> OpenTelemetryHook:
        return OpenTelemetryHook(self.tracers, self.meters, **options)

    def spans(self, name: str = "stream_tasks.wait") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[str, dict[tuple[str, ...], Any]]:
        """Numbers by the metric's name and its labels' values; of histograms, count and sum."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: {
                tuple(str(value) for _, value in sorted((point.attributes or {}).items())): (
                    point.value if isinstance(point, NumberDataPoint) else (point.count, point.sum)
                )
                for point in metric.data.data_points
            }
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.tracers.shutdown()
    telemetry.meters.shutdown()


def seconds(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_one_span_for_a_wait(server: FakeStream, telemetry: Telemetry) -> None:
    """It is a child of the caller's span, lasts as long as the wait, and says what became of it."""
    server.add_task("t", statuses=["running"])
    async with AsyncStream(
        server.api_key, server.api_secret, base_url=server.url, hooks=[telemetry.hook()]
    ) as c:
        with telemetry.tracer.start_as_current_span("caller") as caller:
            await c.wait_for_task("t", 0.3, operation="delete_users")
    assert [span.name for span in telemetry.exporter.get_finished_spans()] == ["stream_tasks.wait", "caller"]
    [span] = telemetry.spans()
    assert span.parent is not None
    assert span.parent.span_id == caller.get_span_context().span_id
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    assert seconds(span) >= 0.3
    assert dict(span.attributes or {}) == {
        "stream_tasks.task_id": "t",
        "stream_tasks.operation": "delete_users",
        "stream_tasks.outcome": "completed",
        "stream_tasks.status": "completed",
        "stream_tasks.polls": 2,
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "stream_tasks"


def test_the_blocking_client_has_the_callers_span(threaded_server: FakeStream, telemetry: Telemetry) -> None:
    """Although its waits run in another thread; each call has that of its own moment."""
    server = threaded_server
    parents = {}
    with Stream(server.api_key, server.api_secret, base_url=server.url, hooks=[telemetry.hook()]) as client:
        calls: dict[str, Callable[[str], object]] = {
            "one": client.wait_for_task,
            "many": lambda task_id: client.wait_for_tasks([task_id]),
            "as completed": lambda task_id: list(client.as_completed([task_id])),
            "watched": lambda task_id: list(client.watch_task(task_id)),
        }
        for name, call in calls.items():
            server.add_task(name, statuses=[])
            with telemetry.tracer.start_as_current_span(name) as caller:
                call(name)
            parents[name] = caller.get_span_context().span_id
    assert {
        str((span.attributes or {})["stream_tasks.task_id"]): span.parent and span.parent.span_id
        for span in telemetry.spans()
    } == parents


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("step", "outcome", "reason", "error_type"),
    [
        pytest.param("failed", "failed", "unknown", "unknown", id="the task failed"),
        pytest.param(
            "running", "timed_out", "still_running", "StreamWaitTimeoutException", id="the task takes longer"
        ),
        pytest.param(
            StreamApiException(status_code=401),
            "error",
            "StreamApiException",
            "StreamApiException",
            id="refused",
        ),
    ],
)
async def test_a_wait_that_did_not_end_well(
    step: Any, outcome: str, reason: str, error_type: str, telemetry: Telemetry
) -> None:
    """Its span has the status of an error and says of which type."""
    with pytest.raises(StreamException) as caught:
        await ScriptedStream(Script(step), hooks=[telemetry.hook()]).wait_for_task("t", timeout=2)
    [span] = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == ("the task failed (unknown)" if step == "failed" else str(caught.value))
    attributes = span.attributes or {}
    assert attributes["stream_tasks.outcome"] == outcome
    assert attributes["stream_tasks.reason"] == reason
    assert attributes["error.type"] == error_type


@pytest.mark.looptime
async def test_a_wait_that_is_given_up_is_no_error(telemetry: Telemetry) -> None:
    """Its span ends with it."""
    client = ScriptedStream(Script("running"), hooks=[telemetry.hook()])
    waiting = asyncio.create_task(client.wait_for_task("t", timeout=None))
    await asyncio.sleep(0.5)
    assert telemetry.spans() == []
    waiting.cancel()
    await asyncio.wait([waiting])
    [span] = telemetry.spans()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["stream_tasks.outcome"] == "cancelled"


@pytest.mark.looptime
async def test_waits_for_one_task_have_linked_spans(telemetry: Telemetry) -> None:
    """Each has its own, within its own caller's; the later ones are linked to the first."""
    client = ScriptedStream(
        Script("running", "running", "completed"), hooks=[telemetry.hook(poll_spans=True)]
    )

    async def call(name: str, delay: float) -> int:
        await asyncio.sleep(delay)
        with telemetry.tracer.start_as_current_span(name) as caller:
            await client.wait_for_task("t")
        return caller.get_span_context().span_id

    callers = await asyncio.gather(call("one", 0), call("two", 0.5), call("three", 0.6))
    by_parent = {span.parent and span.parent.span_id: span for span in telemetry.spans()}
    assert set(by_parent) == set(callers)
    first, *later = (by_parent[caller] for caller in callers)
    assert list(first.links) == []
    assert first.context is not None
    assert [[link.context.span_id for link in span.links] for span in later] == [[first.context.span_id]] * 2
    polls = telemetry.spans("GET /api/v2/tasks/{id}")
    assert {poll.parent and poll.parent.span_id for poll in polls} == {first.context.span_id}
    await client.wait_for_task("t")
    assert list(telemetry.spans()[-1].links) == []


@pytest.mark.looptime
async def test_polls_have_spans_when_asked(telemetry: Telemetry) -> None:
    """They are children of the wait's, named by the route, and hold neither key nor id in a URL."""
    steps: list[Any] = ["running", AWAY, StreamApiException(status_code=503), "completed"]
    client = ScriptedStream(Script(*steps, latency=0.2), hooks=[telemetry.hook(poll_spans=True)])
    await client.wait_for_task("t", operation="delete_users")
    [wait] = telemetry.spans()
    polls = telemetry.spans("GET /api/v2/tasks/{id}")
    assert wait.context is not None
    assert {poll.parent and poll.parent.span_id for poll in polls} == {wait.context.span_id}
    assert {poll.kind for poll in polls} == {SpanKind.CLIENT}
    assert all(seconds(poll) < 5 for poll in polls)
    common = {
        "http.request.method": "GET",
        "http.route": "/api/v2/tasks/{id}",
        "url.template": "/api/v2/tasks/{id}",
        "stream_tasks.task_id": "t",
        "stream_tasks.operation": "delete_users",
    }
    away = {"stream_tasks.reason": "unreachable", "error.type": "StreamTransportException"}
    busy = {"stream_tasks.reason": "unreachable", "error.type": "503", "http.response.status_code": 503}
    assert [dict(poll.attributes or {}) for poll in polls] == [
        common | {"stream_tasks.status": "running"},
        common | away,
        common | busy,
        common | {"stream_tasks.status": "completed"},
    ]
    codes = [poll.status.status_code for poll in polls]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]


@pytest.mark.looptime
async def test_a_poll_that_is_dropped_ends_its_span(telemetry: Telemetry) -> None:
    """Also where the wait is cancelled while the poll is out."""
    client = ScriptedStream(Script("running", latency=5.0), hooks=[telemetry.hook(poll_spans=True)])
    waiting = asyncio.create_task(client.wait_for_task("t", timeout=None))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.wait([waiting])
    [poll] = telemetry.spans("GET /api/v2/tasks/{id}")
    assert (poll.attributes or {})["stream_tasks.reason"] == "dropped"


@pytest.mark.parametrize("poll_spans", [False, True])
@pytest.mark.parametrize("http_spans", [False, True])
async def test_beside_the_instrumentation_of_aiohttp(
    http_spans: bool, poll_spans: bool, server: FakeStream, telemetry: Telemetry
) -> None:
    """Its spans of polls are suppressed, or are children of the wait's or the poll's; others stay."""
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.aiohttp_client")
    instrumentor = instrumentation.AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    try:
        options = {"http_spans": True} if http_spans else {}
        hook = telemetry.hook(poll_spans=poll_spans, **options)
        async with AsyncStream(
            server.api_key, server.api_secret, base_url=server.url, hooks=[hook]
        ) as client:
            server.add_task("t", statuses=["running"])
            await client.wait_for_task("t", 0.05)
            assert len(telemetry.spans("GET")) == 2 * http_spans
            parents = {span.parent and span.parent.span_id for span in telemetry.spans("GET")}
            polls = telemetry.spans("GET /api/v2/tasks/{id}")
            assert len(polls) == 2 * poll_spans
            above = polls or telemetry.spans()
            assert parents == (
                {span.context and span.context.span_id for span in above} if http_spans else set()
            )
            await client.get_task("t")
            assert len(telemetry.spans("GET")) == 2 * http_spans + 1
    finally:
        instrumentor.uninstrument()


@pytest.mark.looptime
async def test_a_wait_that_the_quota_held(telemetry: Telemetry) -> None:
    """Its span says for how long."""
    server = QuotaServer(600, duration=lambda _: 2.0)
    client = ScriptedStream(server, hooks=[telemetry.hook()])
    outcomes = await client.wait_for_tasks([f"t{number}" for number in range(60)])
    told = {
        str(attributes["stream_tasks.task_id"]): attributes.get("stream_tasks.held", 0.0)
        for span in telemetry.spans()
        if (attributes := span.attributes)
    }
    assert told == {task_id: outcome.held for task_id, outcome in outcomes.items()}
    assert any(told.values())


@pytest.mark.looptime
async def test_metrics(telemetry: Telemetry) -> None:
    """Waits under way, polls by outcome, durations, the quota, and the time held."""
    quota = RateLimit(600, 590, datetime.now(UTC) + timedelta(seconds=60), 60.0)
    refusal = StreamRateLimitException(rate_limit=quota, retry_after=timedelta(seconds=5))
    script = ById({"a": ["running", refusal, "completed"], "b": ["failed"], "c": ["running"]})
    client = ScriptedStream(script, hooks=[telemetry.hook()])
    waiting = asyncio.create_task(client.wait_for_task("c", timeout=None))
    await client.wait_for_tasks(["a", "b"], operation="delete_users")
    metrics = telemetry.metrics()
    assert metrics["stream_tasks.waits.active"] == {("delete_users",): 0, ("unknown",): 1}
    polls = metrics["stream_tasks.polls"]
    assert polls["delete_users", "answered"] == 3
    assert polls["delete_users", "rate_limited"] == 1
    assert polls["unknown", "answered"] >= 2
    durations = metrics["stream_tasks.wait.duration"]
    assert durations["delete_users", "completed"][0] == durations["delete_users", "failed"][0] == 1
    assert 5 < durations["delete_users", "completed"][1] < 10
    assert metrics["stream_tasks.quota.limit"] == {(): 600}
    assert metrics["stream_tasks.quota.remaining"] == {(): 590}
    assert 4 < metrics["stream_tasks.held.time"]["rate_limited",] < 8
    assert "stream_tasks.notice.delay" not in metrics  # they had ended long before
    waiting.cancel()
    await asyncio.wait([waiting])
    assert telemetry.metrics()["stream_tasks.waits.active"]["unknown",] == 0
    assert telemetry.metrics()["stream_tasks.wait.duration"]["unknown", "cancelled"][0] == 1


async def test_how_long_an_end_went_unnoticed(server: FakeStream, telemetry: Telemetry) -> None:
    """From the server's own time to the end of the wait, for what ended while it was waited for."""
    hook = telemetry.hook()
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url, hooks=[hook]) as client:
        server.add_task("t", after=0.2)
        await client.wait_for_task("t", 1.0, operation="delete_users")
    [(count, total)] = telemetry.metrics()["stream_tasks.notice.delay"].values()
    assert count == 1
    assert 0 < total < 20


@pytest.mark.parametrize(
    ("ago", "seconds", "delay"),
    [
        pytest.param(2.0, 10.0, 2.0, id="it ended while somebody waited"),
        pytest.param(20.0, 10.0, None, id="it had ended before"),
        pytest.param(-1.0, 10.0, 0.0, id="the server's clock is ahead"),
    ],
)
async def test_the_delay_of_an_end(
    ago: float, seconds: float, delay: float | None, telemetry: Telemetry
) -> None:
    """No delay is negative, and a task that had ended before the wait has none."""
    ended = datetime.now(UTC) - timedelta(seconds=ago)
    task = snapshot("completed").__class__("t", "completed", ended, ended)
    telemetry.hook()(
        WaitEnded(
            task_id="t", operation=None, wait_id=1, outcome="completed", reason=None,
            status="completed", polls=1, seconds=seconds, held=0.0, task=task, error=None,
        )
    )  # fmt: skip
    points = telemetry.metrics().get("stream_tasks.notice.delay", {})
    if delay is None:
        assert points == {}
    else:
        [(_, total)] = points.values()
        assert total == pytest.approx(delay, abs=0.5)


@pytest.mark.looptime
async def test_a_hook_that_is_added_later(telemetry: Telemetry) -> None:
    """Waits that began before have no span; their polls are no trouble."""
    client = ScriptedStream(Script("running", "running", "completed"))
    waiting = asyncio.create_task(client.wait_for_task("t"))
    await asyncio.sleep(0.5)
    hook = telemetry.hook(poll_spans=True)
    add_hook(hook)
    await waiting
    remove_hook(hook)
    assert telemetry.spans() == []
    assert [span.parent for span in telemetry.spans("GET /api/v2/tasks/{id}")] == [None, None]


@pytest.mark.looptime
async def test_the_tasks_own_error(telemetry: Telemetry) -> None:
    """It is the span's reason and type of error."""

    async def fetch(key: Any, limit: float) -> Any:
        return snapshot("failed", error=TaskError("CouldNotDelete", "no")), None

    client = ScriptedStream(fetch, hooks=[telemetry.hook()])
    await client.wait_for_tasks(["t"])
    [span] = telemetry.spans()
    assert (span.attributes or {})["error.type"] == "CouldNotDelete"
    assert span.status.description == "the task failed (CouldNotDelete)"


def test_another_thread_changes_the_waits_of_a_task() -> None:
    """At the very moment at which the first one is looked for: then there is no link."""

    class Changing(dict[int, Any]):
        def values(self) -> Any:
            yield from ()
            raise RuntimeError("dictionary changed size during iteration")

    assert _first(Changing()) is None


def test_the_global_providers_serve_by_default() -> None:
    """Where the application has set none, nothing is recorded and nothing fails."""
    hook = OpenTelemetryHook(poll_spans=True)
    poll = PollStarted(task_id="t", operation=None, poll_id=1, wait_ids=(1,), route="/api/v2/tasks/{id}")
    with hook.around_poll(poll):
        pass
