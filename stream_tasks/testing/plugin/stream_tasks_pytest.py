"""The fixtures of `stream_tasks.testing`, for pytest.

pytest loads this module whenever it starts. So it is installed beside the package, whose import takes
longer, and imports that only for a test that asks for one of the fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_tasks import AsyncStream, Stream
    from stream_tasks.testing import FakeStream, VirtualClock


@pytest.fixture
def virtual_clock() -> Iterator[VirtualClock]:
    """A clock by which event loops need not wait: time jumps whenever everything waits for it."""
    from stream_tasks.testing import VirtualClock  # noqa: PLC0415 - see above

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def fake_stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStream]:
    """A Stream server in a thread of its own, which the environment names to clients."""
    from stream_tasks.testing import FakeStream  # noqa: PLC0415 - see above

    with FakeStream() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def stream_client(fake_stream: FakeStream) -> Iterator[Stream]:
    """A blocking client of that server."""
    from stream_tasks import Stream  # noqa: PLC0415 - see above

    with Stream(fake_stream.api_key, fake_stream.api_secret, base_url=fake_stream.url) as client:
        yield client


@pytest.fixture
def async_stream_client(fake_stream: FakeStream) -> AsyncStream:
    """An asynchronous client of that server, for any loop; it is closed with that."""
    from stream_tasks import AsyncStream  # noqa: PLC0415 - see above

    return AsyncStream(fake_stream.api_key, fake_stream.api_secret, base_url=fake_stream.url)
