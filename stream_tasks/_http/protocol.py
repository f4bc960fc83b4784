"""Pure: requests from arguments, and answers from status, headers and body."""

from __future__ import annotations

import ipaddress
import math
import re
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from multidict import istr

from stream_tasks import _json
from stream_tasks._secret import kind_of
from stream_tasks._version import __version__
from stream_tasks.exceptions import StreamApiException, StreamDecodeException, StreamRateLimitException
from stream_tasks.models import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_tasks._http.auth import Credentials

__all__ = [
    "FIRST_ERROR",
    "check_base_url",
    "check_status",
    "check_task_id",
    "is_plain_http_beyond_loopback",
    "parse_rate_limit",
    "parse_retry_after",
    "path_segment",
    "request_headers",
    "request_target",
]

DEFAULT_BASE_URL: Final = "https://chat.stream-io-api.com"
BASE_URL_VARIABLE: Final = "STREAM_BASE_URL"
API_PREFIX: Final = "/api/v2"

# Interned for multidict, which looks for them in each answer.
_LIMIT: Final = istr("X-RateLimit-Limit")
_REMAINING: Final = istr("X-RateLimit-Remaining")
_RESET: Final = istr("X-RateLimit-Reset")
_DATE: Final = istr("Date")

_CLOCKS_AGREE = 2  # a Date is cut to whole seconds, and takes time to arrive
FIRST_ERROR: Final = 300  # redirects are not followed
_FIRST_CLIENT_ERROR = 400
_MOST_DIGITS = 18
_TOO_MANY_REQUESTS = 429
_LONGEST_RETRY_AFTER: Final = 10**9


def check_base_url(base_url: Any) -> str:
    """Return the base URL without its trailing slash.

    Raises:
        TypeError: It is no text.
        ValueError: It is no plain http(s) address.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {kind_of(base_url)}")
    where = f"base_url (or {BASE_URL_VARIABLE} in the environment)"
    # Any part of it may be a password in the wrong place: it is not repeated.
    if "@" in unicodedata.normalize("NFKC", unquote(base_url)):
        raise ValueError(f"{where} must not hold user information")
    if "?" in base_url or "#" in base_url:
        raise ValueError(f"{where} must have no query and no fragment")
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError(f"{where} must be a plain http(s) URL in ASCII, without spaces and backslashes")
    if not _has_valid_authority(base_url):
        raise ValueError(f"{where} must name a valid host, and if any a valid port")
    if not _is_http(base_url):
        raise ValueError(f"{where} must be an http(s) URL such as {DEFAULT_BASE_URL!r}")
    return str(base_url).rstrip("/")


def _has_valid_authority(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


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


def path_segment(name: str, value: Any) -> str:
    """Percent-encode `value` as exactly one segment of a path.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, ``.`` or ``..``, which no encoding keeps in its place, or no Unicode text.
    """
    if type(value) is str and value.isascii() and value.replace("-", "").isalnum():
        return value  # as nearly all ids are
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if value in ("", ".", ".."):
        raise ValueError(f"{name} must be a non-empty text other than '.' and '..', not {value!r}")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as exc:
        raise ValueError(f"{name} must be valid Unicode text, not {value!r}") from exc


def check_task_id(value: Any, name: str = "task_id") -> str:
    """Return a task's id as it stands.

    Raises:
        TypeError: It is no text.
        ValueError: It cannot be one segment of a path.
    """
    path_segment(name, value)
    return str(value)


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
        params: Further query parameters; None values are left out, booleans become true and false.

    Raises:
        ValueError: A parameter is no Unicode text.
    """
    query: dict[str, Any] = {"api_key": api_key}
    for name, value in (params or {}).items():
        if value is not None and name != "api_key":
            query[name] = [_word(v) for v in value] if isinstance(value, list | tuple) else _word(value)
    try:
        return f"{path}?{urlencode(query, doseq=True)}"
    except UnicodeEncodeError as exc:
        raise ValueError(f"params must be valid Unicode text: {exc}") from exc


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def check_request_path(path: Any) -> str:
    """Return a path given by a caller, under the API's prefix.

    Raises:
        TypeError: It is no text.
        ValueError: It is no absolute path, or leaves its place.
    """
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    if not re.fullmatch(r"/[A-Za-z0-9/%._~:@!$&'()*+,;=-]+", path) or path.startswith("//"):
        raise ValueError(f"path must start with one / and hold neither a query nor spaces, not {path!r}")
    if any(part.lower().replace("%2e", ".") in (".", "..") for part in path.split("/")):
        raise ValueError(f"path must not hold . or .. segments, not {path!r}")
    return path if path.startswith("/api/") else API_PREFIX + path


def check_method(method: Any) -> str:
    """Return an HTTP method in capitals.

    Raises:
        TypeError: It is no text.
        ValueError: It is none that Stream's API uses.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    allowed = ("GET", "POST", "PUT", "PATCH", "DELETE")
    if method.upper() not in allowed:
        raise ValueError(f"method must be one of {', '.join(allowed)}, not {method!r}")
    return method.upper()


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
        fields = {"message": f"the answer is no error envelope of Stream: {text[:200]!r}"}
        if status < _FIRST_CLIENT_ERROR:
            fields["message"] = "a redirect, which is not followed: is base_url right?"
    fields["rate_limit"] = parse_rate_limit(headers)
    fields["raw_response_body"] = text
    retry_after = parse_retry_after(headers.get("Retry-After"))
    if status == _TOO_MANY_REQUESTS:
        raise StreamRateLimitException(status_code=status, retry_after=retry_after, **fields)
    raise StreamApiException(status_code=status, _hold=retry_after, **fields)


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


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """Read ``Retry-After``: seconds or an HTTP date.

    Args:
        value: The header's value, if it was there.
        now: The wall clock.

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
        return _until(value, now or datetime.now(UTC))
    if not math.isfinite(seconds) or seconds < 0 or seconds > _LONGEST_RETRY_AFTER:
        return None
    return timedelta(seconds=seconds)


def _until(value: str, now: datetime) -> timedelta | None:
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(when - now, timedelta(0))
