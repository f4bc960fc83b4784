"""A server of files that can break off, for downloads."""

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self

from aiohttp import web

Answer = Callable[[web.BaseRequest], web.StreamResponse]


class FileServer:
    """Serves one file on a loopback port, on a loop in a thread of its own.

    Attributes:
        content: The file.
        headers: What is sent with it; with an ETag or a date, ranges of it can be had.
        ranges: Whether a part of it is sent to those who ask for one.
        cuts: After how many bytes the next answers break off.
        answers: What the next requests get in place of the file: a status, or an answer.
        requests: What was asked.
    """

    def __init__(self, content: bytes = b"", *, tls: ssl.SSLContext | None = None) -> None:
        self.content = content
        self.headers = {"ETag": '"v1"'}
        self.ranges = True
        self.cuts: deque[int] = deque()
        self.answers: deque[Any] = deque()
        self.requests: list[web.BaseRequest] = []
        self._tls = tls
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def url(self, target: str = "/export.json?signature=secret-signature") -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}{target}"

    def asked(self, name: str) -> list[str | None]:
        """What each request had in a header."""
        return [request.headers.get(name) for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        listener = await self._loop.create_server(server, "127.0.0.1", 0, ssl=self._tls)
        self._port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        listener.close()
        await server.shutdown(0.05)
        await listener.wait_closed()
        await asyncio.sleep(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, int):
            return web.Response(status=answer, text="a long text that must not become a file")
        if answer is not None:
            made: web.StreamResponse = answer(request)
            return made
        return await self._send(request)

    async def _send(self, request: web.BaseRequest) -> web.StreamResponse:
        first, status, headers = 0, 200, dict(self.headers)
        asked = request.headers.get("Range")
        if self.ranges and asked and request.headers["If-Range"] in self.headers.values():
            first, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            headers["Content-Range"] = f"bytes {first}-{len(self.content) - 1}/{len(self.content)}"
        body = self.content[first:]
        response = web.StreamResponse(status=status, headers=headers)
        if "Transfer-Encoding" not in headers:
            response.content_length = len(body)
        await response.prepare(request)
        if not self.cuts:
            await response.write(body)
            return response
        await response.write(body[: self.cuts.popleft()])
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.close()
        return response


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def redirect(location: str) -> Answer:
    """Point elsewhere."""
    return lambda _: web.Response(status=302, headers={"Location": location})


def part(content: bytes, content_range: str) -> Answer:
    """Send a part that nobody may have asked for."""
    return lambda _: web.Response(status=206, body=content, headers={"Content-Range": content_range})


def unavailable(seconds: Iterable[str]) -> list[Answer]:
    """Say that it is a bad moment, and how long that will last."""
    return [lambda _, s=s: web.Response(status=503, headers={"Retry-After": s}) for s in seconds]  # type: ignore[misc]
