"""The way to the server, step by step: DNS, TCP, TLS, HTTP."""

import asyncio
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import anyio
from attrs import frozen

from stream_tasks._http.transport import Answer, Connections, Transport
from stream_tasks.cli._doctor.finding import Finding, failed, ok, warning
from stream_tasks.exceptions import TRANSPORT_ERROR_TIMEOUT, StreamException, StreamTransportException

__all__ = ["Exchange", "ask", "connect", "encrypt", "look_up"]

_CHECK_URL: Final = "Check the spelling of the base URL"
_SOON: Final = 14  # days

_CERTIFICATE_FLAWS: Final = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and so not trusted",
    19: "comes from an authority that is not trusted",
    20: "comes from an authority that is not trusted",
    21: "comes from an authority that is not trusted",
    62: "is for another host",
    64: "is for another address",
}
_DATED: Final = {9, 10}
_ELSEWHERE: Final = {62, 64}


async def look_up(host: str, port: int, limit: float) -> tuple[Finding, list[str]]:
    """Find a host's addresses."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return ok("dns", f"not needed: {host} is an address", addresses=[host]), [host]
    began = time.monotonic()
    try:
        with anyio.fail_after(limit):
            found = await asyncio.wrap_future(_addresses(host, port))
    except TimeoutError:
        advice = "Check this machine's network and its name servers."
        return failed("dns", f"no answer about {host} within {limit:g} s", advice), []
    except (socket.gaierror, UnicodeError) as error:
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            advice = f"Check this machine's network and its name servers. {_CHECK_URL}, too."
            return failed("dns", f"the name servers cannot be asked about {host}", advice), []
        advice = f"{_CHECK_URL}, and this machine's name servers."
        return failed("dns", f"there is no host {host}", advice), []
    took = _took(began)
    shown = found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"
    return ok("dns", f"{host} is {shown} ({took})", addresses=found), found


def _addresses(host: str, port: int) -> "Future[list[str]]":
    """Ask the system in a thread that holds up nothing: nobody can interrupt such a question."""
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


async def connect(addresses: list[str], port: int, limit: float) -> tuple[Finding, str | None]:
    """Connect to all addresses at once, and return one that answers."""
    began = time.monotonic()
    tries = await asyncio.gather(*(_try(address, port, limit) for address in addresses))
    good = [address for address, error in zip(addresses, tries, strict=True) if error is None]
    if good:
        return ok("tcp", f"connected to {_place(good[0], port)} ({_took(began)})", address=good[0]), good[0]
    error = tries[0]
    advice = "Check this machine's network, and whether a firewall lets it out to that port."
    if isinstance(error, TimeoutError):
        why = f"no answer within {limit:g} s"
    elif isinstance(error, ConnectionRefusedError):
        why = "refused: nothing listens there"
        advice = "Check host and port of the base URL; is the server running?"
    else:
        why = os.strerror(error.errno).lower() if error and error.errno else "no connection"
    return failed("tcp", f"{_place(addresses[0], port)}: {why}", advice), None


async def _try(address: str, port: int, limit: float) -> OSError | None:
    try:
        with anyio.fail_after(limit):
            _, writer = await asyncio.open_connection(address, port)
    except OSError as error:  # also a TimeoutError
        return error
    writer.transport.abort()
    return None


async def encrypt(host: str, address: str, port: int, context: ssl.SSLContext, limit: float) -> Finding:
    """Shake hands as clients do, and say what is wrong with the certificate."""
    try:
        with anyio.fail_after(limit):
            _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return _distrust(host, error)
    except TimeoutError:
        return failed("tls", f"no handshake within {limit:g} s", "Is the port of the base URL one for https?")
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            advice = "If it is a server of your own without TLS, begin the base URL with http://."
            return failed("tls", "the server does not speak TLS on that port", advice)
        why = (error.reason or "the handshake broke off").replace("_", " ").lower()
        return failed("tls", f"no handshake: {why}", "Does a firewall or a proxy on the way break it off?")
    except OSError:
        return failed(
            "tls", "the handshake was cut off", "Does a firewall or a proxy on the way break it off?"
        )
    session = writer.get_extra_info("ssl_object")
    certificate = session.getpeercert()
    version = session.version()
    writer.transport.abort()
    return _trust(version, certificate, time.time())


def _distrust(host: str, error: ssl.SSLCertVerificationError) -> Finding:
    code = error.verify_code
    flaw = _CERTIFICATE_FLAWS.get(code, f"is refused: {error.verify_message}")
    if code in _DATED:
        now = datetime.now(UTC)
        advice = (
            f"This machine's clock says {now:%Y-%m-%d %H:%M} UTC: if that is right, the server must renew it."
        )
    elif code in _ELSEWHERE:
        advice = f"{_CHECK_URL}; else something on the way answers in place of {host}."
    elif named := [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]:
        advice = (
            f"{named[0]} is set, and takes the place of the system's authorities: does it name the right one?"
        )
    else:
        advice = (
            "Does a proxy on the way decrypt? Then let SSL_CERT_FILE name a file with its authority's "
            "certificate. Are the system's authorities installed (ca-certificates)?"
        )
    return failed("tls", f"the certificate {flaw}", advice, verify_code=code)


def _trust(version: str, certificate: Mapping[str, Any], now: float) -> Finding:
    end = ssl.cert_time_to_seconds(certificate["notAfter"])
    until = datetime.fromtimestamp(end, UTC)
    message = f"{version}, certificate good until {until:%Y-%m-%d}"
    details = {"version": version, "not_after": until.isoformat()}
    if end - now < _SOON * 86400:
        return warning("tls", message, "Tell who runs the server: it expires soon.", **details)
    return ok("tls", message, **details)


@frozen
class Exchange:
    """A question and its answer.

    Attributes:
        answer: What came back.
        took: How long that took, in seconds.
        ahead: How far this machine's clock is ahead of the server's, in seconds, None when it told no time.
    """

    answer: Answer
    took: float
    ahead: float | None


async def ask(
    origin: str, target: str, headers: Mapping[str, str], context: ssl.SSLContext, limit: float
) -> Exchange | Finding:
    """Send one request; return what came back, or what went wrong."""
    transport = Transport(Connections(limit, limit, 1, context), origin, headers, None)
    sent, began = time.time(), time.monotonic()
    try:
        answer = await transport.exchange("GET", target)
    except StreamTransportException as error:
        advice = "Try again; if it stays so, does a firewall or a proxy on the way break it off?"
        if origin.startswith("http:"):
            advice = f"Does the server want https:// there? {advice}"
        why = "the connection ended without a whole answer"
        if error.error_type == TRANSPORT_ERROR_TIMEOUT:
            why, advice = f"no answer within {limit:g} s", "Try again, or give more time with --timeout."
        return failed("http", why, advice)
    except StreamException as error:
        return failed("http", f"the answer cannot be used: {error}", "Is the base URL right?")
    finally:
        await transport.aclose()
    took = time.monotonic() - began
    return Exchange(answer, took, _ahead(sent + took / 2, answer.headers.get("Date")))


def _ahead(now: float, date: str | None) -> float | None:
    try:
        when = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    theirs = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    # A Date is cut to whole seconds: half a second later is the best guess.
    return now - theirs - 0.5


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _took(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
