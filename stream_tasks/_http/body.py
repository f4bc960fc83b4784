"""Reading the body of an answer: whole, decoded, and not without end."""

from __future__ import annotations

from typing import Final

import aiohttp
from multidict import istr

from stream_tasks._content_coding import CodingError, inflate, inflater
from stream_tasks._http.protocol import FIRST_ERROR
from stream_tasks.exceptions import StreamDecodeException

__all__ = ["MAX_BODY", "read"]

MAX_BODY: Final = 16 * 2**20
"""The largest body that is taken, in bytes, compressed or not."""

_CONTENT_ENCODING: Final = istr("Content-Encoding")
_CONTENT_LENGTH: Final = istr("Content-Length")


async def read(response: aiohttp.ClientResponse) -> bytes:
    """Read a whole body, and undo its content coding. Of an error's body that is too large, read a part.

    Raises:
        StreamDecodeException: It is larger than `MAX_BODY`, and the status is a good one.
        aiohttp.ClientError: It breaks off, or its coding is broken, not whole or unknown.
    """
    stream = response.content
    body = await stream.readany()
    if not stream.at_eof():
        parts = bytearray(body)
        while not stream.at_eof() and len(parts) <= MAX_BODY:
            parts += await stream.readany()
        body = bytes(parts)
        del parts
    coding = response.headers.get(_CONTENT_ENCODING)
    if coding is not None and len(body) <= MAX_BODY:
        body = _decoded(body, coding, response)
    if len(body) > MAX_BODY:
        if response.status < FIRST_ERROR:
            del body, response  # or the error's traceback would hold them
            raise StreamDecodeException(f"the body is larger than {MAX_BODY >> 20} MiB", path="$")
        response.close()
    return body


def _decoded(body: bytes, coding: str, response: aiohttp.ClientResponse) -> bytes:
    """Undo a content coding."""
    if not body and response.headers.get(_CONTENT_LENGTH) == "0":
        return body  # the server says that there is nothing
    try:
        made = inflater(coding)
    except CodingError as exc:
        if response.status >= FIRST_ERROR:
            return body
        raise aiohttp.ClientError(str(exc)) from exc
    try:
        return body if made is None else inflate(made, body, MAX_BODY)
    except CodingError as exc:
        if response.status >= FIRST_ERROR:
            return body
        raise aiohttp.ClientPayloadError(str(exc)) from exc
