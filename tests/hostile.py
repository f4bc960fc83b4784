"""What can stand between a client and Stream: relays, proxies, and servers that misbehave for a while."""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

__all__ = [
    "Front",
    "alerts",
    "announces_a_huge_body",
    "breaks_its_chunks",
    "closes",
    "dribbles_its_body",
    "dribbles_its_head",
    "explodes",
    "fails_at_length",
    "front",
    "is_silent",
    "listening",
    "proxy",
    "refuses",
    "sends_a_huge_header",
    "sends_headers_without_end",
    "sends_huge_chunks",
]

Way: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

GIGABYTE = 2**30
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Front:
    """A listener on loopback, and what came to it."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.heads: list[bytes] = []


@asynccontextmanager
async def front(
    port: int, way: Way | None = None, times: float = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Front]:
    """Stand before the server on `port`: misbehave on so many connections, and relay the later ones.

    Args:
        port: The server's port on loopback.
        way: What is done on a connection once it has asked something; under TLS without `tls`, at once.
        times: On how many connections.
        tls: With what to end TLS here.
    """
    made = Front()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        if way is None or made.connections > times:
            await _relay(reader, writer, port)
        else:
            made.heads.append(await reader.read(2**16))
            await way(writer)

    async with listening(_guarded(talk), tls) as made.url:
        yield made


@asynccontextmanager
async def proxy(port: int, way: Way | None = None, times: float = 0) -> AsyncIterator[Front]:
    """Run a forward proxy to which every host is the server on `port`; misbehave as `front` does."""
    made = Front()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        made.heads.append(head)
        if way is not None and made.connections <= times:
            await way(writer)
        elif head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _relay(reader, writer, port)
        else:
            await _forward(head, writer, port)

    async with listening(_guarded(talk)) as made.url:
        yield made


@asynccontextmanager
async def listening(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Talk with whoever connects to a port on loopback; its URL is yielded, and no talk outlives it."""
    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    listener = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in list(talks):
            task.cancel()
        if talks:
            await asyncio.wait(talks)
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn


def _guarded(talk: Talk) -> Talk:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        finally:
            writer.transport.abort()

    return guarded


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass bytes both ways, until one side has no more to say."""
    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
    ways = [asyncio.create_task(_pump(*way)) for way in ((reader, back_writer), (back_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        back_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(2**16):
            writer.write(content)
            await writer.drain()


async def _forward(head: bytes, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass one request without a body on, its target made relative, and the answer back."""
    method, target, rest = head.split(b" ", 2)
    path = b"/" + target.split(b"/", 3)[3]
    rest = rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        back_writer.write(b" ".join((method, path, rest)))
        await _pump(back_reader, writer)
    finally:
        back_writer.transport.abort()


async def is_silent(_: asyncio.StreamWriter) -> None:
    """Say nothing, for longer than any test lasts."""
    await asyncio.sleep(600)


async def closes(_: asyncio.StreamWriter) -> None:
    """End the connection without a word."""


async def dribbles_its_head(writer: asyncio.StreamWriter) -> None:
    """Say a status line, a byte a second."""
    await _dribble(writer, OK)


async def dribbles_its_body(writer: asyncio.StreamWriter) -> None:
    """Say the head at once and the body a byte a second."""
    writer.write(OK + b"Content-Length: 200\r\n\r\n")
    await _dribble(writer, b" " * 200)


async def sends_a_huge_header(writer: asyncio.StreamWriter) -> None:
    """Say one header of 64 KB."""
    writer.write(OK + b"X-Huge: " + b"x" * 2**16 + b"\r\nContent-Length: 2\r\n\r\n{}")
    await writer.drain()


async def sends_headers_without_end(writer: asyncio.StreamWriter) -> None:
    """Say small headers, a gigabyte of them."""
    writer.write(OK)
    await _repeat(writer, b"X-Small: x\r\n" * 1000)


async def announces_a_huge_body(writer: asyncio.StreamWriter) -> None:
    """Say a body of a gigabyte, its length told."""
    writer.write(OK + b"Content-Length: %d\r\n\r\n" % GIGABYTE)
    await _repeat(writer, b" " * 2**16)


async def fails_at_length(status: int, writer: asyncio.StreamWriter) -> None:
    """Say an error, and a gigabyte about it."""
    head = OK.replace(b"200 OK", b"%d Trouble" % status)
    writer.write(head + b"Retry-After: 0\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
    await _repeat(writer, b" " * 2**16)


async def sends_huge_chunks(writer: asyncio.StreamWriter) -> None:
    """Say a body of a gigabyte, its length not told."""
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    await _repeat(writer, b"10000\r\n" + b" " * 2**16 + b"\r\n")


async def explodes(writer: asyncio.StreamWriter) -> None:
    """Say a body of a megabyte, which is a gigabyte when it is decompressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    begin = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same bytes mean the same again.
    megabyte = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    content = begin + megabyte * 1024 + packer.flush()
    writer.write(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    await writer.drain()
    await asyncio.sleep(600)


async def breaks_its_chunks(writer: asyncio.StreamWriter) -> None:
    """Say a chunk whose length is no number."""
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\nfive\r\n{}...\r\n0\r\n\r\n")
    await writer.drain()


async def alerts(writer: asyncio.StreamWriter) -> None:
    """Say, in place of a handshake, that something broke: TLS calls it internal_error."""
    writer.write(b"\x15\x03\x03\x00\x02\x02\x50")
    await writer.drain()


async def refuses(writer: asyncio.StreamWriter) -> None:
    """Answer as a proxy does that cannot reach the other side."""
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def _dribble(writer: asyncio.StreamWriter, content: bytes) -> None:
    for byte in content:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def _repeat(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Say the same thing until a gigabyte is said."""
    for _ in range(GIGABYTE // len(content)):
        writer.write(content)
        await writer.drain()
