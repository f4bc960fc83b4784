"""Tokens that a caller's function gives, and a transport that asks for a new one when one has expired."""

from __future__ import annotations

import asyncio
import inspect
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from stream_tasks._arguments import check_credential
from stream_tasks._http import protocol
from stream_tasks._http.transport import Answer, Transport
from stream_tasks._secret import Secret
from stream_tasks.exceptions import TRANSPORT_ERROR_TIMEOUT, StreamTransportException

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

    from stream_tasks._http.transport import Connections

__all__ = ["RenewingTransport", "Tokens"]

_UNAUTHORIZED: Final = 401
_EXPIRED: Final = 40
_NOTE: Final = "raised by the function that the client was given as token"


class Tokens:
    """Asks a caller's function for tokens, once for all requests that need a new one.

    A coroutine function is called on the event loop, and any other one in a worker thread, as it may block.

    Args:
        function: The function.
        limit: How long a request waits for it, in seconds.
    """

    def __init__(self, function: Callable[[], Any], limit: float) -> None:
        self._function = function
        self._limit = limit
        self._current: Secret | None = None
        # For each event loop, as the requests of a loop can only wait for what runs there.
        self._asking: dict[asyncio.AbstractEventLoop, asyncio.Task[Secret]] = {}

    async def other_than(self, refused: Secret | None) -> Secret:
        """Return a token that is not the one that was refused; None stands for no token.

        Raises:
            StreamTransportException: The function takes too long.
            Exception: Whatever it raises, or that it returned no token; a note says where that comes from.
        """
        if self._current is not None and self._current is not refused:
            return self._current
        loop = asyncio.get_running_loop()
        asking = self._asking.get(loop)
        if asking is None:
            asking = self._asking[loop] = loop.create_task(self._ask())
            asking.add_done_callback(self._end)
        # Not awaited itself: those who leave must not cancel it for the others.
        await asyncio.wait([asking], timeout=self._limit)
        if asking.cancelled():
            raise RuntimeError("this client is closed")
        if not asking.done():
            raise StreamTransportException(
                TRANSPORT_ERROR_TIMEOUT,
                f"the function that the client was given as token did not return within {self._limit:g} s",
            )
        return asking.result()

    def close(self) -> None:
        """Stop asking on this event loop."""
        asking = self._asking.get(asyncio.get_running_loop())
        if asking is not None:
            asking.cancel()

    def _end(self, asking: asyncio.Task[Secret]) -> None:
        self._asking.pop(asking.get_loop(), None)
        _ = asking.cancelled() or asking.exception()  # else asyncio would say that nobody looked

    def _call(self) -> Any:
        # Else a dump of anyio's frames would show the arguments of a `functools.partial`.
        return self._function()

    async def _ask(self) -> Secret:
        try:
            if inspect.iscoroutinefunction(self._function):
                given = await self._function()
            else:
                given = await anyio.to_thread.run_sync(self._call, abandon_on_cancel=True)
                if inspect.isawaitable(given):
                    given = await given
            self._current = Secret(check_credential("what the token function returns", given, None))
        except Exception as exc:
            if _NOTE not in getattr(exc, "__notes__", ()):
                exc.add_note(_NOTE)
            raise
        return self._current


class RenewingTransport(Transport):
    """A transport whose token is asked for at first, and again when the server says that it has expired."""

    def __init__(
        self,
        connections: Connections,
        origin: str,
        headers: Mapping[str, str],
        session: aiohttp.ClientSession | None,
        tokens: Tokens,
    ) -> None:
        super().__init__(connections, origin, headers, session)
        self._tokens = tokens

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        limit: float = math.inf,
        shows_headers: bool = True,
    ) -> Answer:
        """Do the same as `Transport.exchange`, once more with another token if this one has expired.

        Raises:
            Exception: The token function raised it.
        """
        token = await self._tokens.other_than(None)
        self._authorize(token)
        answer = await super().exchange(method, target, body=body, limit=limit, shows_headers=shows_headers)
        if answer.status == _UNAUTHORIZED and protocol.error_code(answer.body) == _EXPIRED:
            self._authorize(await self._tokens.other_than(token))
            answer = await super().exchange(
                method, target, body=body, limit=limit, shows_headers=shows_headers
            )
        return answer

    async def aclose(self) -> None:
        """Close what was opened here, and stop asking."""
        self._tokens.close()
        await super().aclose()

    def _authorize(self, token: Secret) -> None:
        if self._headers["Authorization"] is not token:
            self._use_headers(MappingProxyType({**self._headers, "Authorization": token}))
