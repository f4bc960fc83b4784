"""The way to the server: DNS, then one request."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final

import aiohttp
import anyio

from stream_tasks._http.transport import Answer, Connections, Transport
from stream_tasks.cli.doctor.report import Report
from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    StreamException,
    StreamTransportException,
)

__all__ = ["ask", "look_up"]

_NOT_CONNECTED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_ADVICE: Final = {
    "tcp": "Check host and port of the base URL. Is the server running? Does a firewall block the port?",
    "tls": "Is the port of the base URL one for https://? Is this machine's clock right? If a proxy "
    "decrypts, set SSL_CERT_FILE to a file with its authority's certificate; is it the right file?",
    "http": "Try again, perhaps with a longer --timeout. Does the server need https://?",
}


async def look_up(report: Report, host: str, port: int, limit: float) -> None:
    """Find a host's addresses.

    Raises:
        BlockedError: There are none.
    """
    began = time.monotonic()
    try:
        with anyio.fail_after(limit):
            addresses = await asyncio.wrap_future(_addresses(host, port))
    except TimeoutError:
        why = f"no answer about {host} within {limit:g} s"
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        why = f"the host {host} has no address: {reason.lower()}"
    else:
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        took = (time.monotonic() - began) * 1000
        report.ok("dns", f"{host} is {addresses[0]}{more} ({took:.0f} ms)")
        return
    advice = "Check the spelling of the base URL, and this machine's network and name servers."
    report.blocked("dns", why, advice, "the host has no address")


def _addresses(host: str, port: int) -> "Future[list[str]]":
    """Ask the system in a daemon thread: nothing can interrupt the call, but the process can end."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result(list(dict.fromkeys(str(place[4][0]) for place in found)))
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)

    answer.set_running_or_notify_cancel()  # a time-out must not cancel what the thread will set
    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return answer


async def ask(
    report: Report, origin: str, target: str, headers: Mapping[str, str], limit: float
) -> tuple[Answer, float]:
    """Send one request as the client does, and return the answer and how long it took, in seconds.

    Raises:
        BlockedError: There is no answer.
    """
    context = ssl.create_default_context()
    transport = Transport(Connections(limit, limit, 1, context), origin, headers, None)
    began = time.monotonic()
    try:
        answer = await transport.exchange("GET", target)
    except StreamException as error:
        step = _step_of(error)
        if step != "tcp":
            _connected(report, origin, step)
        report.blocked(step, str(error), _ADVICE[step], "there is no answer")
    finally:
        await transport.aclose()
    _connected(report, origin)
    return answer, time.monotonic() - began


def _step_of(error: StreamException) -> str:
    """Return the check that an error belongs to."""
    if isinstance(error, StreamTransportException):
        if error.error_type == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED:
            return "tls"
        if isinstance(error.__cause__, _NOT_CONNECTED):
            return "tcp"
    return "http"


def _connected(report: Report, origin: str, failed: str = "") -> None:
    report.ok("tcp", "connected")
    if not origin.startswith("https:"):
        report.skip("tls", "http:// does without")
    elif failed != "tls":
        report.ok("tls", "encrypted, and the certificate is trusted")
