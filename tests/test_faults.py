"""Waits through real components that fail: each completes or ends in time, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import math
import os
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import hostile
import pytest
from anyio.from_thread import start_blocking_portal
from nginx import NGINX
from places import (
    INTERVAL,
    Places,
    before,
    behind_nginx,
    behind_nginx_alone,
    late,
    on_ipv6,
    on_localhost,
    over_tls,
    past_a_proxy,
    restarted,
    through_a_proxy,
    where_a_name_is_learned,
    where_no_name_is_known,
    where_nobody_listens,
    with_a_netrc,
)

from stream_tasks import (
    AsyncStream,
    Backoff,
    StreamApiException,
    StreamDecodeException,
    StreamException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks._http.body import MAX_BODY
from stream_tasks.testing import Fault

ENOUGH = 10.0  # seconds, in which every fault that passes has passed
AT_ONCE = 3.0  # seconds, on the busiest of machines
LATE = 1.0  # seconds that it may add
EARLY = 0.002  # and seconds that uvloop may be early, which counts whole milliseconds
LITTLE = 2**20  # bytes
SOME = 3 * MAX_BODY  # bytes

Ending: TypeAlias = Callable[[object, float, float], None]
"""Checks what a wait came to, after how many seconds of how many."""


def completes(outcome: object, took: float, deadline: float) -> None:
    if isinstance(outcome, BaseException):
        raise outcome
    assert outcome == {"url": "there"}
    assert took < deadline


def ends_at_once(kind: type[StreamException], error_type: str | None = None) -> Ending:
    def check(outcome: object, took: float, deadline: float) -> None:
        assert type(outcome) is kind
        assert getattr(outcome, "error_type", None) == error_type
        assert took < min(AT_ONCE, deadline)

    return check


def elapses(cause: str | None) -> Ending:
    def check(outcome: object, took: float, deadline: float) -> None:
        assert type(outcome) is StreamWaitTimeoutException
        assert outcome.reason == "unreachable"
        assert getattr(outcome.__cause__, "error_type", None) == cause
        assert deadline - EARLY <= took < deadline + LATE

    return check


has_no_ipv6 = True
with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
    probe.bind(("::1", 0))
    has_no_ipv6 = False

needs_ipv6 = pytest.mark.skipif(has_no_ipv6, reason="this machine has no IPv6 loopback")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
refused_tls = ends_at_once(StreamTransportException, "tls_handshake_failed")
refused_body = ends_at_once(StreamDecodeException)
impatient = partial(before, request_timeout=0.2)


def row(
    met: str, place: Places, ending: Ending = completes, deadline: float = ENOUGH, needs: Any = ()
) -> Any:
    return pytest.param(place, ending, deadline, id=met, marks=needs)


def nginx_row(met: str, settings: str, seen: Callable[[list[str]], bool], fault: Fault | None = None) -> Any:
    return row(met, partial(behind_nginx, settings, seen, fault), needs=needs_nginx)


TABLE = [
    row("a certificate that the caller trusts", over_tls),
    row("a certificate that nobody trusts", partial(over_tls, trusts=False), refused_tls),
    row("a certificate that has expired", partial(over_tls, is_expired=True), refused_tls),
    row("the certificate of another host", partial(over_tls, host="stream.invalid"), refused_tls),
    row("a TLS connection that ends without a word", partial(over_tls, hostile.closes, connections=2)),
    row("TLS handshakes that hang for a while", partial(over_tls, hangs=2, connections=3)),
    row(
        "TLS handshakes that end with an alert for a while",
        partial(over_tls, shakes=hostile.alerts, hangs=2, connections=3),
    ),
    row(
        "a gateway that answers without TLS for a while",
        partial(over_tls, shakes=hostile.refuses, hangs=2, connections=3),
    ),
    nginx_row(
        "nginx that ends each connection after its answer",
        "keepalive_timeout 0;",
        lambda log: set(log) == {"200 1 -"},
    ),
    nginx_row(
        "nginx that ends connections after two answers",
        "keepalive_requests 2;",
        lambda log: log[:3] == ["200 1 -", "200 2 -", "200 1 -"],
    ),
    nginx_row(
        "nginx whose server is slow for a while",
        "proxy_read_timeout 200ms;",
        lambda log: log[:2] == ["504 1 -", "504 2 -"],
        Fault.delay(0.5),
    ),
    row("nginx whose server is away for a while", behind_nginx_alone, needs=needs_nginx),
    nginx_row(
        "nginx that compresses",
        "gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;",
        lambda log: "200 1 gzip" in log,
    ),
    nginx_row(
        "nginx that limits the rate, by 429",
        "limit_req zone=polls burst=1 nodelay; limit_req_status 429;",
        lambda log: any(line.startswith("429 ") for line in log),
    ),
    nginx_row(
        "nginx that limits the rate, by 503",
        "limit_req zone=polls burst=1 nodelay;",
        lambda log: any(line.startswith("503 ") for line in log),
    ),
    row("a proxy from the environment", through_a_proxy),
    row("a tunnel through a proxy from the environment", partial(through_a_proxy, is_tls=True)),
    row(
        "a certificate that nobody trusts, in a tunnel",
        partial(through_a_proxy, is_tls=True, trusts=False),
        refused_tls,
    ),
    row("a proxy that refuses for a while", partial(through_a_proxy, hostile.refuses)),
    row("a proxy that refuses tunnels for a while", partial(through_a_proxy, hostile.refuses, is_tls=True)),
    row("a proxy that ends connections for a while", partial(through_a_proxy, hostile.closes)),
    row("a proxy in an environment that is not trusted", partial(past_a_proxy, trust_env=False)),
    row(
        "a proxy that is not for this host",
        partial(past_a_proxy, trust_env=True, NO_PROXY="127.0.0.1"),
    ),
    row("a password for every host in the environment", with_a_netrc),
    row("a server on IPv6", on_ipv6, needs=needs_ipv6),
    row("localhost, where one address of two is served", on_localhost),
    row("a server that is silent for a while", partial(impatient, hostile.is_silent)),
    row(
        "a server that stays silent", partial(impatient, hostile.is_silent, math.inf), elapses("timeout"), 0.6
    ),
    row(
        "a request that outlasts the wait",
        partial(before, hostile.is_silent, math.inf),
        elapses(None),
        0.5,
    ),
    row("heads of a byte a second, for a while", partial(impatient, hostile.dribbles_its_head)),
    row("bodies of a byte a second, for a while", partial(impatient, hostile.dribbles_its_body)),
    row(
        "bodies of a byte a second",
        partial(impatient, hostile.dribbles_its_body, math.inf),
        elapses("timeout"),
        0.6,
    ),
    row("headers of 64 KB, for a while", partial(before, hostile.sends_a_huge_header)),
    row("headers without end, for a while", partial(before, hostile.sends_headers_without_end)),
    row("a body of 1 GB", partial(before, hostile.announces_a_huge_body), refused_body),
    row("a body of 1 GB in chunks", partial(before, hostile.sends_huge_chunks), refused_body),
    row("a gzip bomb", partial(before, hostile.explodes), refused_body),
    *(
        row(
            f"a body of 1 GB with a {status}, for a while",
            partial(before, partial(hostile.fails_at_length, status)),
        )
        for status in (408, 429, 503)
    ),
    row(
        "a body of 1 GB with a 403",
        partial(before, partial(hostile.fails_at_length, 403)),
        ends_at_once(StreamApiException),
    ),
    row("invalid chunks, for a while", partial(before, hostile.breaks_its_chunks)),
    row("connections that end without a word, for a while", partial(before, hostile.closes)),
    row("a name that nobody knows", where_no_name_is_known, elapses("dns_failure"), 1.5),
    row("a name that nobody knows for a while", where_a_name_is_learned),
    row("connections that are refused", where_nobody_listens, elapses("connection_reset"), 0.6),
    row("connections that are refused for a while", late),
    row("a restart of the server", restarted),
]


@pytest.fixture(autouse=True)
async def _without_debugging() -> None:
    """Asyncio's debug mode keeps the sources of what it has seen."""
    asyncio.get_running_loop().set_debug(False)


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon after a failure: how the delays grow is no matter here."""
    monkeypatch.setattr("stream_tasks._engine.tracked.RETRY_BACKOFF", Backoff(0.05, 0.1))


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tasks() -> int:
    return len(asyncio.all_tasks())


def is_null(descriptor: Path) -> bool:
    with contextlib.suppress(OSError):  # of the listing itself, which is closed by now
        return descriptor.samefile(os.devnull)
    return False


def descriptors() -> int:
    """Count those that are open, but for the null device: a uvloop opens that once, to hold a place."""
    return sum(not is_null(descriptor) for descriptor in Path("/dev/fd").iterdir())


async def comes_down(count: Callable[[], int], most: int) -> None:
    """Let the event loops have their turns."""
    until = time.monotonic() + 2
    while count() > most and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert count() <= most


async def meet(place: Places, ending: Ending, deadline: float) -> object:
    """Wait for a task there, check what comes of it, and count what is left."""
    tasks_before, descriptors_before = tasks(), descriptors()
    with (
        pytest.MonkeyPatch.context() as patch,
        start_blocking_portal() as elsewhere,
        elsewhere.wrap_async_context_manager(place()) as found,
    ):
        for name, value in found.environment.items():
            patch.setenv(name, value)
        server = found.server
        task_id = server.add_task(statuses=["pending", "running", "running"], result={"url": "there"})
        client = AsyncStream(server.api_key, server.api_secret, base_url=found.url, **found.options)
        async with client:
            begun = time.monotonic()
            wait = client.wait_for_task(task_id, INTERVAL, deadline)
            [outcome] = await asyncio.gather(wait, return_exceptions=True)
            took = time.monotonic() - begun
            await comes_down(tasks, tasks_before)
            session = client._here().transport._session
            assert session is not None
            connector: Any = session.connector
            assert not connector._acquired
        ending(outcome, took, deadline)
        assert found.has_struck()
    await comes_down(descriptors, descriptors_before)
    assert tasks() == tasks_before
    return outcome


@pytest.fixture(scope="module")
def _warm() -> None:
    """Import what is imported late, and fill caches, before anything is counted."""
    asyncio.run(meet(over_tls, completes, ENOUGH))


@pytest.fixture
def memory(_warm: None) -> Iterator[Callable[[], tuple[int, int]]]:
    """Bytes that Python has taken since the test began: those it holds, and the most it held."""
    tracemalloc.start()
    yield tracemalloc.get_traced_memory
    tracemalloc.stop()


@pytest.mark.parametrize(("place", "ending", "deadline"), TABLE)
async def test_a_wait_that_meets(
    place: Places, ending: Ending, deadline: float, memory: Callable[[], tuple[int, int]]
) -> None:
    """It completes if its task does, or ends as it should when it should, and nothing of it is left."""
    outcome = await meet(place, ending, deadline)
    gc.collect()
    now, most = memory()
    assert now < LITTLE, f"is held while there is {outcome!r}"
    assert most < SOME
