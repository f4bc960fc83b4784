"""Pure: requests from arguments, and answers from status, headers and body."""

from __future__ import annotations

import ipaddress
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from multidict import istr

from stream_tasks import _json
from stream_tasks._arguments import check_param
from stream_tasks._version import __version__
from stream_tasks.exceptions import StreamApiException, StreamDecodeException, StreamRateLimitException
from stream_tasks.models import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_tasks._http.auth import Credentials

__all__ = [
    "FIRST_ERROR",
    "FIRST_SERVER_ERROR",
    "check_status",
    "error_code",
    "is_plain_http_beyond_loopback",
    "parse_rate_limit",
    "parse_retry_after",
    "request_headers",
    "request_target",
    "without_zone",
]

# Interned for multidict, which looks for them in each answer.
_LIMIT: Final = istr("X-RateLimit-Limit")
_REMAINING: Final = istr("X-RateLimit-Remaining")
_RESET: Final = istr("X-RateLimit-Reset")
_DATE: Final = istr("Date")

_CLOCKS_AGREE = 2  # a Date is cut to whole seconds, and takes time to arrive
FIRST_ERROR: Final = 300  # redirects are not followed
FIRST_SERVER_ERROR: Final = 500
_FIRST_CLIENT_ERROR = 400
_NOT_MODIFIED = 304
_PROXY_UNAUTHORIZED = 407
_MOST_DIGITS = 18
_TOO_MANY_REQUESTS = 429
_LONGEST_RETRY_AFTER: Final = 10**9


def is_plain_http_beyond_loopback(base_url: str) -> bool:
    """Whether tokens would cross a network unencrypted."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def without_zone(base_url: str) -> tuple[str, str | None]:
    """Return a base URL as it is connected to, and the header ``Host`` if the address has a zone.

    The zone of an IPv6 address, such as ``eth0``, is written after ``%25`` in a URL and after ``%``
    elsewhere. It means something on this machine only, and is not sent.
    """
    parts = urlsplit(base_url)
    host = (parts.hostname or "").replace("%25", "%", 1)
    if ":" not in host or "%" not in host:
        return base_url, None
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://[{host}]{port}{parts.path}", f"[{host.partition('%')[0]}]{port}"


def request_headers(credentials: Credentials) -> Mapping[str, str]:
    """Return the headers that every request carries."""
    headers = {
        "Authorization": credentials.token,
        "stream-auth-type": "jwt",
        "X-Stream-Client": f"stream_tasks-{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": f"stream_tasks/{__version__}",
    }
    # A dict would go into a JSON dump of a client as it is, and JSON asks a text for no repr.
    return MappingProxyType(headers)


def request_target(path: str, api_key: str, params: Mapping[str, Any] | None = None) -> str:
    """Return path and query, ready for the wire.

    Args:
        path: An absolute path, its segments already encoded.
        api_key: The app's public key.
        params: Further query parameters, see `check_param`; None values and empty lists are left out.

    Raises:
        TypeError: A parameter has no form in a query.
        ValueError: A parameter is not valid Unicode text, or a datetime has no zone.
    """
    query = {"api_key": api_key}
    for name, value in (params or {}).items():
        is_empty = value is None or (isinstance(value, list | tuple) and not value)
        if name != "api_key" and not is_empty:
            query[name] = check_param(f"params[{name!r}]", value)
    try:
        return f"{path}?{urlencode(query)}"
    except UnicodeEncodeError as exc:
        raise ValueError(f"params must be valid Unicode text: {exc}") from exc


def check_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what an answer's status means; nothing for a good one.

    Raises:
        StreamRateLimitException: It is 429.
        StreamApiException: It is any other error, or a redirect, which is not followed.
    """
    if status < FIRST_ERROR:
        return
    text = body.decode("utf-8", "replace")
    fields = _envelope(body)
    if not fields:
        fields = {"message": _foreign(status, text)}
    fields["rate_limit"] = parse_rate_limit(headers)
    fields["raw_response_body"] = text
    retry_after = parse_retry_after(headers.get("Retry-After"), headers.get(_DATE))
    if status == _TOO_MANY_REQUESTS:
        raise StreamRateLimitException(status_code=status, retry_after=retry_after, **fields)
    raise StreamApiException(status_code=status, _hold=retry_after, **fields)


def error_code(body: bytes) -> int:
    """Return the code of an error envelope, 0 if it is none."""
    code: int = _envelope(body).get("code", 0)
    return code


def _foreign(status: int, text: str) -> str:
    """Describe an error that Stream did not write."""
    if status == _NOT_MODIFIED:
        return "not modified: a cache answers a question that was not asked"
    if status < _FIRST_CLIENT_ERROR:
        return "a redirect, which is not followed: is base_url right?"
    if status == _PROXY_UNAUTHORIZED:
        return "a proxy asks for credentials: are those in HTTP_PROXY or HTTPS_PROXY right?"
    return f"the answer is no error envelope of Stream: {text[:200]!r}"


def _envelope(body: bytes) -> dict[str, Any]:
    """Read an error envelope; empty when the body is none."""
    try:
        data = _json.loads(body)
    except StreamDecodeException:
        return {}
    if not isinstance(data, dict) or type(data.get("code")) is not int:
        return {}
    exception_fields = data.get("exception_fields")
    details = data.get("details")
    return {
        "code": data["code"],
        "message": str(data.get("message") or ""),
        "exception_fields": {str(k): str(v) for k, v in exception_fields.items()}
        if isinstance(exception_fields, dict)
        else {},
        "unrecoverable": data.get("unrecoverable") is True,
        "more_info": str(data.get("more_info") or ""),
        "details": details if isinstance(details, list) else [],
    }


def parse_rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Read the quota's headers; None unless all three make sense."""
    limit = headers.get(_LIMIT)
    if limit is None:
        return None
    try:
        count, end, when, theirs = _window(limit, headers[_RESET], headers.get(_DATE))
        now = time.time()
        if theirs is not None and not -_CLOCKS_AGREE <= now - theirs <= _CLOCKS_AGREE:
            # The server's wall clock counts where it is not ours.
            now = theirs
        return RateLimit(count, _count(headers[_REMAINING]), when, end - now)
    except (KeyError, ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=8)
def _window(limit: str, reset: str, date: str | None) -> tuple[int, int, datetime, float | None]:
    """Read what all answers of one second share."""
    end = _count(reset)
    return _count(limit), end, datetime.fromtimestamp(end, UTC), _parse_date(date)


def _count(text: str) -> int:
    if len(text) > _MOST_DIGITS or not (text.isascii() and text.strip().isdigit()):
        raise ValueError("no count")
    return int(text)


def _parse_date(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        when = parsedate_to_datetime(date)
        return (when.replace(tzinfo=UTC) if when.tzinfo is None else when).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_retry_after(
    value: str | None, date: str | None = None, *, now: datetime | None = None
) -> timedelta | None:
    """Read ``Retry-After``: seconds or an HTTP date.

    Args:
        value: The header's value, if it was there.
        date: The answer's ``Date``, if it was there: what the server's clock showed.
        now: What ours shows; it counts where the server's is not known.

    Returns:
        How long to wait, zero for a date in the past, None for what makes no sense.
    """
    if value is None:
        return None
    try:
        if "_" in value or not value.isascii():
            return None
        seconds = float(value)
    except ValueError:
        until, theirs = _parse_date(value), _parse_date(date)
        if until is None:
            return None
        ours = time.time() if now is None else now.timestamp()
        return timedelta(seconds=max(until - (ours if theirs is None else theirs), 0.0))
    if not 0 <= seconds <= _LONGEST_RETRY_AFTER:
        return None
    return timedelta(seconds=seconds)
