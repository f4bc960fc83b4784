"""Proxies that the environment names: wrong ones are told of at once, and so are those that refuse."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import hostile
import pytest
from tls import server_context, trusting_context

from stream_tasks import AsyncStream, Stream, StreamApiException, StreamTransportException
from stream_tasks.testing import FakeStream

KEY, TOKEN = "key", "a-token-of-some-length"
HOST = "stream.invalid"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("kind", [AsyncStream, Stream])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("HTTPS_PROXY", "http://proxy.corp:port", id="a port that is a word"),
        pytest.param("https_proxy", "http://proxy.corp:99999", id="a port too large, in small letters"),
        pytest.param("HTTPS_PROXY", "http://[::1", id="half an address"),
        pytest.param("HTTPS_PROXY", "proxy.corp:3128", id="no scheme"),
        pytest.param("HTTPS_PROXY", "http://", id="no host"),
        pytest.param("HTTPS_PROXY", "socks5://proxy.corp:1080", id="another kind of proxy"),
        pytest.param("HTTPS_PROXY", "https://proxy.corp:3128", id="a proxy behind TLS"),
        pytest.param("WSS_PROXY", "http://proxy.corp:port", id="one that is read though it is for others"),
    ],
)
def test_a_wrong_proxy_is_told_of_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, kind: Any, variable: str, value: str
) -> None:
    """The error comes when the client is made, and does not show what may be a password."""
    monkeypatch.setenv(variable, value.replace("//", "//amy:hush@"))
    with pytest.raises(ValueError, match=rf"^{variable} \(in the environment, .*must be the URL") as info:
        kind(KEY, token=TOKEN, base_url=f"https://{HOST}", trust_env=True)
    assert "hush" not in str(info.value)
    kind(KEY, token=TOKEN, base_url=f"https://{HOST}")


@pytest.mark.parametrize(
    ("variables", "base_url"),
    [
        pytest.param({"HTTPS_PROXY": "http://amy:hush@proxy.corp:3128"}, f"https://{HOST}", id="a good one"),
        pytest.param({"HTTPS_PROXY": ""}, f"https://{HOST}", id="an empty one"),
        pytest.param({"HTTP_PROXY": "socks5://proxy.corp:1"}, f"https://{HOST}", id="for another scheme"),
        pytest.param({"ALL_PROXY": "socks5://proxy.corp:1"}, f"https://{HOST}", id="one that is not read"),
        pytest.param(
            {"HTTPS_PROXY": "socks5://proxy.corp:1", "NO_PROXY": HOST},
            f"https://{HOST}",
            id="for other hosts",
        ),
    ],
)
def test_other_proxies_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], base_url: str
) -> None:
    """What is not used need not be right, as long as it can be read."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    AsyncStream(KEY, token=TOKEN, base_url=base_url, trust_env=True)


async def test_a_session_that_trusts_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the session that reads the variables."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:port")
    async with aiohttp.ClientSession(trust_env=True) as trusting, aiohttp.ClientSession() as other:
        with pytest.raises(ValueError, match=r"^HTTPS_PROXY "):
            AsyncStream(KEY, token=TOKEN, session=trusting)
        AsyncStream(KEY, token=TOKEN, session=other, trust_env=True)


def refuses(status: str) -> hostile.Way:
    async def way(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nSorry".encode())
        await writer.drain()

    return way


async def look(client: AsyncStream) -> Any:
    return await client.get_task("t")


async def wait(client: AsyncStream) -> Any:
    return await client.wait_for_task("t", 0.05, 20)


async def start(client: AsyncStream) -> Any:
    return await client.delete_users(["jane"])


@pytest.mark.parametrize("call", [look, wait, start])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
async def test_a_proxy_that_refuses_for_good_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    status: str,
    call: Callable[[AsyncStream], Awaitable[Any]],
) -> None:
    """It does not matter whether it refuses a request or a tunnel."""
    async with hostile.proxy(1, refuses(status), 99) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
        async with AsyncStream(KEY, token=TOKEN, base_url=f"{scheme}://{HOST}", trust_env=True) as client:
            begun = time.monotonic()
            with pytest.raises(StreamApiException) as info:
                await call(client)
    assert time.monotonic() - begun < 10
    assert info.value.status_code == int(status[:3])
    if status.startswith("407"):
        assert "proxy asks for credentials" in str(info.value)
    elif scheme == "https":
        assert "the proxy refuses: Forbidden" in str(info.value)
    assert len(proxy.heads) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_in_trouble_is_a_bad_moment(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A wait bears it."""
    async with (
        FakeStream() as server,
        hostile.front(int(server.url.rpartition(":")[2]), tls=server_context(HOST)) as tls,
        hostile.proxy(
            int((server.url if scheme == "http" else tls.url).rpartition(":")[2]),
            refuses("502 Bad Gateway"),
            2,
        ) as proxy,
    ):
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url)
        task_id = server.add_task(statuses=(), result={"url": "there"})
        async with AsyncStream(
            server.api_key,
            server.api_secret,
            base_url=f"{scheme}://{HOST}",
            trust_env=True,
            ssl_context=trusting_context(),
        ) as client:
            assert await client.wait_for_task(task_id, 0.05, 30) == {"url": "there"}
    assert len(proxy.heads) == 3


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a connection that cannot be made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        async with AsyncStream(KEY, token=TOKEN, base_url=f"https://{HOST}", trust_env=True) as client:
            with pytest.raises(StreamTransportException) as info:
                await client.get_task("t")
    assert info.value.error_type == "connection_reset"
