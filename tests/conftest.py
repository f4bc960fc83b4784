"""What the tests share.

There are two lanes. `nox -s tests` is for trying a change and takes two minutes; it leaves out what is marked
as `slow`. `nox -s slow` runs that, and the other asynchronous tests in asyncio's debug mode. With
`COVERAGE=1` they measure what they cover, and `nox -s coverage` judges both lanes together. A new test is
marked as slow if it

- takes more than a second of CPU time, or waits for more than a second;
- needs a package of the dependency group `slow`;
- is of rare machinery (another shell, server or interpreter), or one of many cases that show the same.

A test that needs a process forks one, as `commandline.start` and `scripts.run` do. Python is started only for
what happens at its start. No test asserts how quick the machine is.
"""

import asyncio
import gc
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from aioresponses import aioresponses, core
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from stream_tasks import AsyncStream, Stream
from stream_tasks.testing import FakeStream

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=50, deadline=None)  # `nox -s slow` asks for it
settings.load_profile("quick")


def pytest_configure() -> None:
    """Keep pytest-asyncio from making, and leaking, a loop of its own on Python 3.11."""
    asyncio.set_event_loop(None)
    # That a busy machine is slow is no complaint.
    logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))


@pytest.fixture(autouse=True)
def _the_same_chance() -> None:
    """Give each test the same chance each time."""
    random.seed(0)


def pytest_collection_finish() -> None:
    """Spare garbage collections all that was imported: they are then ten times as quick."""
    gc.collect()
    gc.freeze()


if os.environ.get("STREAM_UVLOOP") == "1":
    import uvloop

    def pytest_asyncio_loop_factories(
        item: pytest.Item,
    ) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Run on uvloop what does not need virtual time."""
        if item.get_closest_marker("looptime") or item.path.stem == "test_kit_clock":
            return {"asyncio": asyncio.new_event_loop}
        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"STREAM_API_{name}", raising=False)
    for name in ("STREAM_BASE_URL", "STREAM_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def blockbuster() -> Iterator[BlockBuster]:
    """Fail on calls that block the event loop."""
    with blockbuster_ctx("stream_tasks") as found:
        yield found


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback where nobody listens, nor can while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def server() -> AsyncIterator[FakeStream]:
    async with FakeStream() as fake:
        yield fake


@pytest.fixture
async def client(server: FakeStream, blockbuster: BlockBuster) -> AsyncIterator[AsyncStream]:
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as made:
        yield made


@pytest.fixture
def threaded_server() -> Iterator[FakeStream]:
    with FakeStream() as fake:
        yield fake


@pytest.fixture
def blocking(threaded_server: FakeStream) -> Iterator[Stream]:
    server = threaded_server
    with Stream(server.api_key, server.api_secret, base_url=server.url) as made:
        yield made


class _Writer:
    output_size = 0


class _Response(aiohttp.ClientResponse):
    """Aioresponses does not give aiohttp 3.14 the writer that it wants."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("stream_writer", _Writer())
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr(core, "ClientResponse", _Response)
    with aioresponses() as mock:
        yield mock
