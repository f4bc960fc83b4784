"""Bodies and answers, whole and broken, on aiohttp's connections."""

import socket
import struct
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from aiohttp import web
from attrs import evolve

from stream_tasks.testing._answers import Answer, error_answer

__all__ = ["cut", "read_body", "reset", "respond"]

_WORTH_GZIP: Final = 1024  # bytes


async def read_body(http: web.BaseRequest) -> tuple[bytes, Answer | None]:
    """Return the body of a request, and the answer if it is not a body that anybody can use."""
    try:
        return await http.read() if http.body_exists else b"", None
    except web.HTTPRequestEntityTooLarge:
        return b"", evolve(error_answer(413, "the body is too large"), closes=True)
    except web.RequestPayloadError:
        http.content.feed_eof()  # else aiohttp would try to read the rest
        answer = error_answer(400, "the body is not what its Content-Encoding says")
        return b"", evolve(answer, closes=True)


def respond(http: web.BaseRequest, answer: Answer, now: float) -> web.StreamResponse:
    """Return the whole answer, compressed if that is worth it; `now` is the Unix time that it tells."""
    response = web.Response(status=answer.status, body=answer.body)
    _add_headers(response, answer, now)
    if answer.closes:
        response.force_close()
    if len(answer.body) > _WORTH_GZIP and "gzip" in http.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def cut(http: web.BaseRequest, answer: Answer, now: float) -> web.StreamResponse:
    """Send half of an answer whose whole length was promised, and close the connection; see `respond`."""
    response = web.StreamResponse(status=answer.status)
    _add_headers(response, answer, now)
    response.content_length = len(answer.body)
    await response.prepare(http)
    await response.write(answer.body[: len(answer.body) // 2])
    http.protocol.force_close()
    return response


def reset(http: web.BaseRequest) -> web.StreamResponse:
    """End the connection as a crashed host would, without an answer."""
    transport = http.transport
    if transport is not None:
        # A linger time of 0 turns the end of the connection into a reset.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()  # never sent: aiohttp finds the connection gone


def _add_headers(response: web.StreamResponse, answer: Answer, now: float) -> None:
    response.content_type = answer.content_type
    response.headers["Date"] = _date(int(now))
    for name in {name for name, _ in answer.headers}:
        response.headers.popall(name, None)
    for name, value in answer.headers:
        response.headers.add(name, value)


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
