"""Metrics of waits for Prometheus. It needs the extra ``prometheus``.

::

    from stream_tasks import AsyncStream
    from stream_tasks.instrumentation.prometheus import PrometheusHook

    client = AsyncStream(hooks=[PrometheusHook()])

The metrics are those of `stream_tasks.instrumentation.otel`:

- ``stream_tasks_waits_active``: waits under way, by operation
- ``stream_tasks_polls_total``: polls, by operation and outcome
- ``stream_tasks_wait_duration_seconds``: how long waits took, by operation and outcome
- ``stream_tasks_notice_delay_seconds``: from a task's end to the wait's, by operation
- ``stream_tasks_quota_limit`` and ``stream_tasks_quota_remaining``: the quota as last told
- ``stream_tasks_held_time_seconds_total``: for how long polls were held back, by reason

The multi-process mode of ``prometheus_client`` works: waits under way are added up over the processes that
live, and of the quota the latest word counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from stream_tasks.instrumentation._metrics import METRICS, SECONDS, Metric, measure

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stream_tasks.instrumentation._events import Event
    from stream_tasks.instrumentation._metrics import Instrument

__all__ = ["PrometheusHook"]

_UNITS: Final = {"s": "_seconds"}


class PrometheusHook:
    """Counts what waits do in metrics of ``prometheus_client``.

    One hook serves any number of clients: a registry takes each metric once.

    ``instrumentation.add_hook(PrometheusHook())``

    Args:
        registry: Where the metrics are registered.

    Raises:
        ValueError: The registry has these metrics already.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._made = {instrument: _make(metric, registry) for instrument, metric in METRICS.items()}

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        measure(event, self)

    def record(self, instrument: Instrument, number: float, /, **labels: str) -> None:
        """Record a number."""
        made = self._made[instrument]
        one = made.labels(**labels) if labels else made
        match METRICS[instrument].kind:
            case "level" | "counter":
                one.inc(number)
            case "gauge":
                one.set(number)
            case _:
                one.observe(number)


def _make(metric: Metric, registry: CollectorRegistry) -> Any:
    name = f"stream_tasks_{metric.name.replace('.', '_')}{_UNITS.get(metric.unit, '')}"
    match metric.kind:
        case "level":
            return Gauge(
                name, metric.description, metric.labels, registry=registry, multiprocess_mode="livesum"
            )
        case "gauge":
            return Gauge(
                name, metric.description, metric.labels, registry=registry, multiprocess_mode="livemostrecent"
            )
        case "counter":
            return Counter(name, metric.description, metric.labels, registry=registry)
        case _:
            return Histogram(name, metric.description, metric.labels, registry=registry, buckets=SECONDS)
