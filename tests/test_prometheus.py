"""Metrics for Prometheus, in one process and in several, and the dashboard that shows them."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from scripted import ById, ScriptedStream

from stream_tasks import RateLimit, Stream, StreamRateLimitException
from stream_tasks.instrumentation.prometheus import PrometheusHook
from stream_tasks.testing import FakeStream

DASHBOARD = Path(__file__).parent.parent / "docs" / "grafana.json"

WORKER = """
import sys, threading, time
from stream_tasks import Stream, instrumentation
from stream_tasks.instrumentation.prometheus import PrometheusHook

instrumentation.add_hook(PrometheusHook())
client = Stream(*sys.argv[1:3], base_url=sys.argv[3])
client.wait_for_task("done", operation="delete_users")
threading.Thread(target=client.wait_for_task, args=("running",), daemon=True).start()
while client.stats().polls < 2 or client.stats().in_flight:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.read()
"""


def number(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


async def after_a_bad_day(registry: CollectorRegistry) -> None:
    """Let a client have all that metrics tell of."""
    quota = RateLimit(600, 590, datetime.now(UTC) + timedelta(seconds=60), 60.0)
    refusal = StreamRateLimitException(rate_limit=quota, retry_after=timedelta(seconds=5))
    script = ById({"a": ["running", refusal, "completed"], "b": ["failed"]})
    client = ScriptedStream(script, hooks=[PrometheusHook(registry)])
    await client.wait_for_tasks(["a", "b"], operation="delete_users")


@pytest.mark.looptime
async def test_metrics(registry: CollectorRegistry) -> None:
    """Waits under way, polls by outcome, durations, the quota, and the time held."""
    await after_a_bad_day(registry)
    assert number(registry, "stream_tasks_waits_active", operation="delete_users") == 0
    polls = "stream_tasks_polls_total"
    assert number(registry, polls, operation="delete_users", outcome="answered") == 3
    assert number(registry, polls, operation="delete_users", outcome="rate_limited") == 1
    duration = "stream_tasks_wait_duration_seconds"
    assert number(registry, f"{duration}_count", operation="delete_users", outcome="failed") == 1
    assert 5 < number(registry, f"{duration}_sum", operation="delete_users", outcome="completed") < 10
    assert number(registry, "stream_tasks_quota_limit") == 600
    assert number(registry, "stream_tasks_quota_remaining") == 590
    assert 4 < number(registry, "stream_tasks_held_time_seconds_total", reason="rate_limited") < 8


def test_what_is_told_of_a_real_server(threaded_server: FakeStream, registry: CollectorRegistry) -> None:
    """Also how late the end of a task was noticed; tasks of which only the id is known count as unknown."""
    server = threaded_server
    server.rate_limit = 600
    server.add_task("t", statuses=["running"])
    hooks = [PrometheusHook(registry)]
    with Stream(server.api_key, server.api_secret, base_url=server.url, hooks=hooks) as client:
        client.wait_for_task("t", 0.3)
    assert number(registry, "stream_tasks_notice_delay_seconds_count", operation="unknown") == 1
    assert number(registry, "stream_tasks_quota_remaining") == 598


@pytest.mark.slow
def test_several_processes(threaded_server: FakeStream, tmp_path: Path) -> None:
    """In the multi-process mode their waits and polls are added up, and the quota is told once."""
    server = threaded_server
    server.rate_limit = 600
    server.add_task("done", statuses=[])
    server.add_task("running", after=600)
    command = [sys.executable, "-c", WORKER, server.api_key, server.api_secret, server.url]
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline().strip() == b"ready"
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call]
        assert number(registry, "stream_tasks_waits_active", operation="unknown") == 2
        assert number(registry, "stream_tasks_waits_active", operation="delete_users") == 0
        polls = "stream_tasks_polls_total"
        assert number(registry, polls, operation="delete_users", outcome="answered") == 2
        count = "stream_tasks_wait_duration_seconds_count"
        assert number(registry, count, operation="delete_users", outcome="completed") == 2
        assert number(registry, "stream_tasks_quota_limit") == 600
        assert number(registry, "stream_tasks_quota_remaining") <= 597
    finally:
        for worker in workers:
            worker.communicate(timeout=60)


def test_a_registry_takes_each_metric_once(registry: CollectorRegistry) -> None:
    """A second hook for the same registry is an error at once, not numbers that are counted twice."""
    PrometheusHook(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusHook(registry)


@pytest.mark.looptime
async def test_the_dashboard_shows_what_there_is(registry: CollectorRegistry) -> None:
    """Each of its queries is of metrics and labels that exist, and no metric is left out."""
    await after_a_bad_day(registry)
    families = {family.name: family for family in registry.collect()}
    labels = {
        sample.name: {*sample.labels, "job"} for family in families.values() for sample in family.samples
    } | {"stream_tasks_notice_delay_seconds_bucket": {"operation", "le", "job"}}
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    shown: set[str] = set()
    for query in queries:
        names = re.findall(r"\bstream_tasks_\w+", query)
        assert names, query
        for name in names:
            assert name in labels, query
            asked = re.findall(r"by \((\w+)\)|(\w+)=~?\"", query)
            assert {one or other for one, other in asked} <= labels[name], query
        shown |= {re.sub(r"_(total|count|bucket)$", "", name) for name in names}
    assert shown == set(families)


def test_the_dashboard_fits_on_the_screen() -> None:
    """Panels do not overlap, and each has a title, an explanation and a unit."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert max(column for column, _ in cells) < 24
        assert not taken & cells
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_text_that_is_scraped(registry: CollectorRegistry) -> None:
    """Each metric has an explanation and a type."""
    PrometheusHook(registry)
    text = generate_latest(registry).decode()
    for line in text.splitlines():
        if line.startswith("# HELP"):
            assert line.endswith("."), line
    assert "# TYPE stream_tasks_polls_total counter" in text
    assert "# TYPE stream_tasks_waits_active gauge" in text
    assert "# TYPE stream_tasks_wait_duration_seconds histogram" in text
