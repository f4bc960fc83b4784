"""aiohttp's sessions: the client's own and a caller's, and what each request over them is given."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from stream_tasks._http.body import read
from stream_tasks._http.pool import Connector, Request, send_on_silent_connections
from stream_tasks._secret import plain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

__all__ = ["MAX_HEADER", "BrokenError", "Requests", "open_session"]

MAX_HEADER: Final = 64 * 2**10
"""The largest header that is taken, in bytes. Gateways add some that are larger than aiohttp's 8,190."""

_KEEP_ALIVE: Final = 55.0  # Stream's load balancers cut idle connections at 60 s

_LARGE: Final = 2**20  # aiohttp warns of bytes as large as this


class Headers:
    """Headers as aiohttp takes them: whoever iterates gets plain texts, whoever shows variables nothing."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self._headers, map(plain, self._headers.values()), strict=True)


class Requests:
    """What each request is given, over the client's own session or a caller's.

    Args:
        headers: What each request over a caller's session carries; the own session carries it itself.
        session: The caller's session, or None.
        ssl_context: What a caller's session is to trust, or None for what its connector trusts.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        session: aiohttp.ClientSession | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        options: dict[str, Any] = {"allow_redirects": False, "raise_for_status": False}
        json_headers = {"Content-Type": "application/json"}
        outer: tuple[aiohttp.ClientMiddlewareType, ...] = ()
        inner: tuple[aiohttp.ClientMiddlewareType, ...] = ()
        if session is not None:
            # What is given for one request takes the place of the session's own.
            outer = getattr(session, "_middlewares", ())
            inner = (_read_early, send_on_silent_connections)
            if session.trust_env or session.auth is not None:
                inner = (_authorize_with(headers), *inner)
                headers = _without_authorization(headers)
            options |= _limits(session) | {"headers": Headers(headers)}
            json_headers |= headers
            if ssl_context is not None:
                options["ssl"] = ssl_context
        self._json_headers = Headers(json_headers)
        self._twice = options | {"middlewares": (*outer, *inner)}
        self._once = options | {"middlewares": (*outer, _send_once, *inner)}

    def options(self, method: str, body: bytes | None, *, may_be_stale: bool) -> dict[str, Any]:
        """Return aiohttp's options for a request.

        Args:
            method: Its method.
            body: Its body, which is JSON, or None.
            may_be_stale: Whether the server may have closed the connection while it was idle: aiohttp,
                which cannot tell that from an outage, then may send a GET again.
        """
        # aiohttp sends no POST again.
        options = self._twice if method == "POST" or (method == "GET" and may_be_stale) else self._once
        if body is None:
            return options
        # An explicit type, since aiohttp would guess octet-stream for bytes.
        return options | {
            "headers": self._json_headers,
            "data": body if len(body) < _LARGE else io.BytesIO(body),
        }


def open_session(
    headers: Mapping[str, str], *, connections: int, trust_env: bool, ssl_context: ssl.SSLContext | None
) -> aiohttp.ClientSession:
    """Open the client's own session.

    Args:
        headers: What each request carries.
        connections: Open connections at the most.
        trust_env: Whether to heed proxies and passwords of the environment.
        ssl_context: What to trust, or None for the system's authorities.
    """
    return aiohttp.ClientSession(
        connector=Connector(
            headers["Authorization"],
            limit=connections,
            keepalive_timeout=_KEEP_ALIVE,
            ssl=True if ssl_context is None else ssl_context,
        ),
        request_class=Request,
        headers=_without_authorization(headers),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=trust_env,
        auto_decompress=False,  # aiohttp takes content for whole that ends in the middle of its coding
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
    )


def _without_authorization(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what may be kept, and shown, by those who look at a session."""
    return {name: value for name, value in headers.items() if name != "Authorization"}


def _limits(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return for a caller's session what the own one is made with."""
    limits = {
        f"max_{name}_size": max(MAX_HEADER, getattr(session, f"_max_{name}_size", 0))
        for name in ("line", "field")
    }
    return {"auto_decompress": False, **limits}


def _authorize_with(headers: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    """Put the token into a request at last: aiohttp would refuse it beside a password.

    The password may be the session's own, or one in .netrc.
    """

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = plain(headers["Authorization"])
        return await handler(request)

    return authorize


class BrokenError(Exception):
    """Carries an error past aiohttp, which sends all but a POST again when a connection breaks."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        broken = BrokenError(exc)
    raise broken


async def _read_early(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Read a body before the session's own middlewares do: they find it decoded, and checked."""
    response = await handler(request)
    try:
        response._body = await read(response)  # noqa: SLF001 - what `read` of a response returns from then on
    except BaseException:
        response.close()
        raise
    return response
