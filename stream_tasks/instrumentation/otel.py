"""Traces and metrics of waits for OpenTelemetry. It needs the extra ``otel``.

::

    from stream_tasks import AsyncStream
    from stream_tasks.instrumentation.otel import OpenTelemetryHook

    client = AsyncStream(hooks=[OpenTelemetryHook()])

There is one span for each wait, ``stream_tasks.wait``, a child of the caller's current span. Only the API of
OpenTelemetry is needed: where its spans and numbers go is up to the application.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, metrics, trace

from stream_tasks._version import __version__
from stream_tasks.exceptions import StreamApiException
from stream_tasks.instrumentation._events import Event, PollEnded, PollStarted, WaitEnded, WaitStarted
from stream_tasks.instrumentation._metrics import METRICS, SECONDS, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from stream_tasks.instrumentation._metrics import Instrument

__all__ = ["OpenTelemetryHook"]

_SCOPE: Final = "stream_tasks"

_NO_HTTP_SPANS: Final = getattr(
    context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"
)
"""The context's key by which instrumentations of HTTP clients know that they are to make no span."""


class OpenTelemetryHook:
    """Makes spans of waits, and metrics.

    A wait's span is named ``stream_tasks.wait``. Its attributes are ``stream_tasks.task_id``,
    ``stream_tasks.operation``, ``stream_tasks.outcome``, ``stream_tasks.status``, ``stream_tasks.polls``,
    ``stream_tasks.held`` (the seconds for which the quota held looks back), ``stream_tasks.reason`` and, of a
    wait that did not end well, ``error.type``. A second wait for the same task has a span of its own, with a
    link to the first one's.

    ``AsyncStream(hooks=[OpenTelemetryHook()])``

    Args:
        tracer_provider: Where spans go; the global one without it.
        meter_provider: Where numbers go; the global one without it.
        poll_spans: Whether each poll has a span, too, a child of its wait's.
        http_spans: Whether ``opentelemetry-instrumentation-aiohttp-client`` makes a span for each poll, a
            child of the wait's span or of the poll's. By default these spans are suppressed; those of other
            requests are not.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        poll_spans: bool = False,
        http_spans: bool = False,
    ) -> None:
        self._spans = _Spans(trace.get_tracer(_SCOPE, __version__, tracer_provider), has_polls=poll_spans)
        self._instruments = _Instruments(metrics.get_meter(_SCOPE, __version__, meter_provider))
        self._http_spans = http_spans

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case WaitStarted():
                self._spans.begin_wait(event)
            case PollEnded():
                self._spans.end_poll(event)
            case WaitEnded():
                self._spans.end_wait(event)
        measure(event, self._instruments)

    @contextlib.contextmanager
    def around_poll(self, poll: PollStarted) -> Iterator[None]:
        """Let spans that are made during a poll belong to it, or suppress them."""
        inside = self._spans.begin_poll(poll)
        if not self._http_spans:
            inside = context.set_value(_NO_HTTP_SPANS, True, inside)
        token = context.attach(inside)
        try:
            yield
        finally:
            context.detach(token)


class _Spans:
    """The spans of waits and polls under way.

    Invariant: `_waits` has the waits that have begun and not ended, `_polls` likewise polls, and `_of_task`
    the waits of each task, the oldest first. Waits of several clients in several threads may be here: no
    step relies on one before it.
    """

    def __init__(self, tracer: trace.Tracer, *, has_polls: bool) -> None:
        self._tracer = tracer
        self._has_polls = has_polls
        self._waits: dict[int, Span] = {}
        self._polls: dict[int, Span] = {}
        self._of_task: dict[str, dict[int, Span]] = {}

    def begin_wait(self, event: WaitStarted) -> None:
        """Begin a span within the caller's, linked to that of the first wait for the same task."""
        others = self._of_task.setdefault(event.task_id, {})
        first = _first(others)
        attributes = _known(
            {"stream_tasks.task_id": event.task_id, "stream_tasks.operation": event.operation}
        )
        span = self._tracer.start_span(
            "stream_tasks.wait",
            attributes=attributes,
            links=() if first is None else (trace.Link(first.get_span_context()),),
        )
        self._waits[event.wait_id] = others[event.wait_id] = span

    def end_wait(self, event: WaitEnded) -> None:
        """End a wait's span; one that began before this hook was there has none."""
        span = self._waits.pop(event.wait_id, None)
        if span is None:
            return
        others = self._of_task.get(event.task_id, {})
        others.pop(event.wait_id, None)
        if not others:
            self._of_task.pop(event.task_id, None)
        is_well = event.outcome in ("completed", "cancelled")
        span.set_attributes(
            _known(
                {
                    "stream_tasks.outcome": event.outcome,
                    "stream_tasks.status": event.status,
                    "stream_tasks.polls": event.polls,
                    "stream_tasks.held": event.held or None,
                    "stream_tasks.reason": event.reason,
                    "error.type": None if is_well else _error_type(event.error, event.reason),
                }
            )
        )
        if not is_well:
            span.set_status(trace.StatusCode.ERROR, _description(event))
        span.end()

    def begin_poll(self, poll: PollStarted) -> context.Context:
        """Begin a poll's span, if polls have some; return the context inside."""
        wait = next((span for wait_id in poll.wait_ids if (span := self._waits.get(wait_id))), None)
        inside = context.get_current() if wait is None else trace.set_span_in_context(wait)
        if not self._has_polls:
            return inside
        span = self._tracer.start_span(
            f"GET {poll.route}",
            context=inside,
            kind=trace.SpanKind.CLIENT,
            attributes=_known(
                {
                    "http.request.method": "GET",
                    "http.route": poll.route,
                    "url.template": poll.route,
                    "stream_tasks.task_id": poll.task_id,
                    "stream_tasks.operation": poll.operation,
                }
            ),
        )
        self._polls[poll.poll_id] = span
        return trace.set_span_in_context(span, inside)

    def end_poll(self, event: PollEnded) -> None:
        """End a poll's span, if it has one."""
        span = self._polls.pop(event.poll_id, None)
        if span is None:
            return
        error = event.error
        status_code = error.status_code if isinstance(error, StreamApiException) else None
        span.set_attributes(
            _known(
                {
                    "http.response.status_code": status_code,
                    "stream_tasks.status": event.status,
                    "stream_tasks.reason": event.reason,
                    "error.type": None if error is None else str(status_code or _error_type(error, None)),
                }
            )
        )
        if error is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end()


class _Instruments:
    """OpenTelemetry's instruments for the metrics."""

    def __init__(self, meter: metrics.Meter) -> None:
        made: dict[Instrument, Any] = {}
        for instrument, metric in METRICS.items():
            name, unit, text = f"{_SCOPE}.{metric.name}", metric.unit, metric.description
            match metric.kind:
                case "level":
                    made[instrument] = meter.create_up_down_counter(name, unit, text).add
                case "counter":
                    made[instrument] = meter.create_counter(name, unit, text).add
                case "gauge":
                    made[instrument] = meter.create_gauge(name, unit, text).set
                case _:
                    made[instrument] = meter.create_histogram(
                        name, unit, text, explicit_bucket_boundaries_advisory=SECONDS
                    ).record
        self._made = made

    def record(self, instrument: Instrument, number: float, /, **labels: str) -> None:
        """Record a number."""
        self._made[instrument](number, {f"{_SCOPE}.{name}": value for name, value in labels.items()})


def _first(spans: dict[int, Span]) -> Span | None:
    with contextlib.suppress(RuntimeError):  # another thread has changed it in the meantime
        return next(iter(spans.values()), None)
    return None


def _known(attributes: dict[str, str | float | None]) -> dict[str, str | float]:
    return {name: value for name, value in attributes.items() if value is not None}


def _error_type(error: Exception | None, reason: str | None) -> str | None:
    """Return a word of low cardinality for what went wrong: the task's own type of error, or the class."""
    if error is None:
        return reason
    return type(error).__qualname__


def _description(event: WaitEnded) -> str:
    if event.error is not None:
        return str(event.error)
    return f"the task failed ({event.reason})"
