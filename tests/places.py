"""Where waits take place: a Stream server, and what stands between it and the client."""

import asyncio
import math
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import aiohttp.resolver
import hostile
import pytest
from attrs import field, frozen
from nginx import nginx
from tls import server_context, trusting_context

from stream_tasks.testing import FakeStream, Fault

__all__ = [
    "INTERVAL",
    "Place",
    "Places",
    "before",
    "behind_nginx",
    "behind_nginx_alone",
    "late",
    "on_ipv6",
    "on_localhost",
    "over_tls",
    "past_a_proxy",
    "restarted",
    "through_a_proxy",
    "where_a_name_is_learned",
    "where_no_name_is_known",
    "where_nobody_listens",
    "with_a_netrc",
]

INTERVAL = 0.05
"""Seconds between polls."""

QUICK_NAMES = {"RES_OPTIONS": "timeout:1 attempts:1"}
"""For how long glibc asks where no network answers."""

NAME = "stream.invalid"
"""A host that does not exist."""


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@frozen
class Place:
    """Where a wait takes place.

    Attributes:
        url: What the client is told.
        server: Where the task is.
        has_struck: Whether the fault was really met.
        options: Further arguments of the client.
        environment: The environment's variables.
    """

    url: str
    server: FakeStream
    has_struck: Callable[[], bool]
    options: dict[str, Any] = field(factory=dict)
    environment: dict[str, str] = field(factory=dict)


Places: TypeAlias = Callable[[], AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something happen in the meantime."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def before(way: hostile.Way, times: float = 2, **options: Any) -> AsyncIterator[Place]:
    """A server that misbehaves on so many connections."""
    async with FakeStream() as server, hostile.front(port_of(server.url), way, times) as front:
        yield Place(front.url, server, lambda: bool(front.heads), options)


@asynccontextmanager
async def over_tls(
    way: hostile.Way | None = None,
    *,
    trusts: bool = True,
    shakes: hostile.Way = hostile.is_silent,
    hangs: int = 0,
    connections: int = 1,
    **certificate: Any,
) -> AsyncIterator[Place]:
    """A server behind TLS; what has struck shows in how many connections were made.

    Args:
        way: What is done on the first connection that got as far as a request.
        trusts: Whether the client trusts the certificate's authority.
        shakes: What is done on the first `hangs` connections in place of a handshake.
        hangs: On how many connections there is no handshake.
        connections: How many the wait takes, at the least if some of them hang.
        certificate: What is wrong with it.
    """
    options: dict[str, Any] = {"connect_timeout": 0.3} if hangs else {}
    if trusts:
        options["ssl_context"] = trusting_context()
    async with (
        FakeStream() as server,
        hostile.front(port_of(server.url), way, 1, tls=server_context(**certificate)) as tls,
        hostile.front(port_of(tls.url), shakes, hangs) as front,
    ):
        url = front.url.replace("http:", "https:")
        most = math.inf if hangs else connections
        yield Place(url, server, lambda: connections <= front.connections <= most, options)


@asynccontextmanager
async def behind_nginx(
    settings: str, seen: Callable[[list[str]], bool], fault: Fault | None = None
) -> AsyncIterator[Place]:
    """nginx before the server; `seen` finds the fault in its log."""
    async with FakeStream() as server:
        if fault is not None:
            server.inject(fault, 2)
        with nginx(port_of(server.url), settings) as found:
            yield Place(found.url, server, lambda: seen(found.log))


@asynccontextmanager
async def behind_nginx_alone() -> AsyncIterator[Place]:
    """nginx, and a server that comes when it has been missed."""
    async with FakeStream() as server:
        await server.stop()
        with nginx(port_of(server.url), "") as found:

            async def come() -> None:
                while "502 1 -" not in found.log:
                    await asyncio.sleep(0.01)
                await server.start()

            async with beside(come()):
                yield Place(found.url, server, lambda: "502 1 -" in found.log)


@asynccontextmanager
async def late() -> AsyncIterator[Place]:
    """A server that comes after a moment."""
    async with FakeStream() as server:
        await server.stop()

        async def come() -> None:
            await asyncio.sleep(0.4)
            await server.start()

        async with beside(come()):
            yield Place(server.url, server, lambda: bool(server.requests))


@asynccontextmanager
async def restarted() -> AsyncIterator[Place]:
    """A server that goes after two polls, and comes again after a moment."""
    async with FakeStream() as server:

        async def go_and_come() -> None:
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            await server.stop()
            went.append(len(server.requests))
            await asyncio.sleep(0.4)
            await server.start()

        went: list[int] = []
        async with beside(go_and_come()):
            yield Place(server.url, server, lambda: went == [2])


@asynccontextmanager
async def where_nobody_listens() -> AsyncIterator[Place]:
    """A port that is taken, so that nobody else can listen there."""
    async with FakeStream() as server:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield Place(f"http://127.0.0.1:{taken.getsockname()[1]}", server, lambda: not server.requests)


@asynccontextmanager
async def where_no_name_is_known() -> AsyncIterator[Place]:
    """A name that no resolver knows."""
    async with FakeStream() as server:
        yield Place(f"http://{NAME}", server, lambda: not server.requests, environment=QUICK_NAMES)


@asynccontextmanager
async def where_a_name_is_learned() -> AsyncIterator[Place]:
    """A name that the resolver knows from its third question on."""
    questions: list[str] = []
    resolve = aiohttp.resolver.ThreadedResolver.resolve

    async def forgetful(self: Any, host: str, *args: Any, **options: Any) -> Any:
        questions.append(host)
        return await resolve(self, "127.0.0.1" if len(questions) > 2 else host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.resolver.ThreadedResolver, "resolve", forgetful)
        async with FakeStream() as server:
            url = server.url.replace("127.0.0.1", NAME)
            yield Place(url, server, lambda: questions == [NAME] * 3, environment=QUICK_NAMES)


@asynccontextmanager
async def on_ipv6() -> AsyncIterator[Place]:
    async with FakeStream(host="::1") as server:
        yield Place(server.url, server, lambda: server.url.startswith("http://[::1]:"))


@asynccontextmanager
async def on_localhost() -> AsyncIterator[Place]:
    """A name of two addresses, where only one of them is served."""
    async with FakeStream() as server:
        yield Place(server.url.replace("127.0.0.1", "localhost"), server, lambda: bool(server.requests))


@asynccontextmanager
async def through_a_proxy(
    way: hostile.Way | None = None, *, is_tls: bool = False, trusts: bool = True
) -> AsyncIterator[Place]:
    """A proxy from the environment, which alone knows the server's name.

    It has a password of its own, and is not shown what goes through a tunnel.
    """
    options: dict[str, Any] = {"trust_env": True}
    if trusts:
        options["ssl_context"] = trusting_context()
    variable, begins = ("HTTPS_PROXY", b"CONNECT ") if is_tls else ("HTTP_PROXY", b"GET http://")

    def is_as_meant(head: bytes) -> bool:
        has_token = b"\r\nAuthorization: " in head
        has_password = b"\r\nProxy-Authorization: Basic " in head
        return head.startswith(begins + NAME.encode()) and has_password and has_token is not is_tls

    async with FakeStream() as server, hostile.front(port_of(server.url), tls=server_context(NAME)) as tls:
        port = port_of(tls.url if is_tls else server.url)
        async with hostile.proxy(port, way, 2) as proxy:
            yield Place(
                f"http{'s' * is_tls}://{NAME}",
                server,
                lambda: bool(proxy.heads) and all(map(is_as_meant, proxy.heads)),
                options,
                {variable: proxy.url.replace("//", "//somebody:else@")},
            )


@asynccontextmanager
async def with_a_netrc() -> AsyncIterator[Place]:
    """A trusted environment with a password for every host."""
    with tempfile.NamedTemporaryFile("w", suffix="netrc") as file:
        file.write("default login somebody password else\n")
        file.flush()
        async with past_a_proxy(trust_env=True, NO_PROXY="*", NETRC=file.name) as place:
            yield place


@asynccontextmanager
async def past_a_proxy(*, trust_env: bool, **environment: str) -> AsyncIterator[Place]:
    """A proxy in the environment that is not for this client."""
    async with FakeStream() as server, hostile.proxy(port_of(server.url)) as proxy:
        variables = {"HTTP_PROXY": proxy.url, "ALL_PROXY": proxy.url} | environment
        yield Place(server.url, server, lambda: not proxy.connections, {"trust_env": trust_env}, variables)
