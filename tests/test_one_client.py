"""The log tells, once, of clients that compete, and of a blocking client that holds an event loop up."""

import asyncio
import gc
import logging
import sys
from types import SimpleNamespace

import pytest

from stream_tasks import AsyncStream, Stream, _sharing
from stream_tasks.testing import FakeStream


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_tasks")
    monkeypatch.setattr(_sharing, "_told", set())
    monkeypatch.setattr(_sharing, "_open", {})


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["stream_event"] for record in caplog.records]


def make(
    kind: type[AsyncStream] | type[Stream] = AsyncStream, key: str = "k", url: str = "https://a.example"
) -> object:
    return kind(key, "s" * 64, base_url=url)


def test_a_second_client_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whichever its style, and however many there are."""
    clients = [make(), make(Stream), make()]
    assert told(caplog) == ["client_not_shared"]
    assert "share one client, since they compete for one quota" in caplog.text
    assert caplog.records[0].levelno == logging.INFO
    assert len(clients) == 3


def test_other_apps_and_addresses_are_no_second_client(caplog: pytest.LogCaptureFixture) -> None:
    """They have quotas of their own."""
    clients = [make(), make(key="other"), make(url="https://b.example")]
    assert told(caplog) == []
    assert len(clients) == 3


async def test_one_client_after_another_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    """Closed or collected, as they do not compete."""
    for _ in range(3):
        client = AsyncStream("k", "s" * 64, base_url="https://a.example")
        await client.aclose()
        await client.aclose()
    make()
    gc.collect()
    make()
    gc.collect()
    with Stream("k", "s" * 64, base_url="https://a.example"):
        pass
    make()
    assert told(caplog) == []


def test_a_client_that_was_forgotten_is_no_second_one(
    threaded_server: FakeStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Its event loop has been closed; one whose loop runs is one."""
    server = threaded_server
    clients = []

    async def use() -> None:
        clients.append(AsyncStream(server.api_key, server.api_secret, base_url=server.url))
        await clients[-1].request("GET", "/rate_limits")

    async def use_two() -> None:
        await use()
        await use()

    asyncio.run(use())
    asyncio.run(use())
    assert told(caplog) == []
    asyncio.run(use_two())
    assert told(caplog) == ["client_not_shared"]


async def test_a_blocked_loop_is_told_once(
    threaded_server: FakeStream, caplog: pytest.LogCaptureFixture
) -> None:
    """The calls work all the same."""
    server = threaded_server
    with Stream(server.api_key, server.api_secret, base_url=server.url) as client:
        await asyncio.to_thread(client.request, "GET", "/rate_limits")
        assert told(caplog) == []
        for _ in range(2):
            client.request("GET", "/rate_limits")
    assert told(caplog) == ["loop_blocked"]
    assert "use AsyncStream there" in caplog.text


async def test_the_loop_of_a_notebook_may_wait(
    threaded_server: FakeStream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs a cell waits for it anyway."""
    server = threaded_server
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: "a shell"))
    with Stream(server.api_key, server.api_secret, base_url=server.url) as client:
        client.request("GET", "/rate_limits")
    assert told(caplog) == []
