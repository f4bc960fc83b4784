"""What the server's answer to a request for its rate limits means."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from stream_tasks import _json
from stream_tasks._arguments import API_PREFIX
from stream_tasks._http import protocol
from stream_tasks._http.auth import Credentials
from stream_tasks._http.transport import Answer
from stream_tasks.cli.doctor.report import Report
from stream_tasks.exceptions import StreamApiException, StreamDecodeException

__all__ = ["QUESTION", "check_answer"]

QUESTION: Final = (f"{API_PREFIX}/rate_limits", {"server_side": True, "endpoints": "GetTask"})
"""The request: path and parameters."""

_REFUSED: Final = (401, 403)
_INVALID_TIME: Final = (40, 41, 42)  # codes: expired, not valid yet, issued in the future
_BACK_DATED: Final = 5.0  # seconds by which tokens are older than this machine's clock says
_CLOCKS_AGREE: Final = 2.0  # seconds; the Date header has whole ones, and takes time to arrive
_MAX_QUOTE: Final = 200
_TASKS: Final = 1_000
_SCARCE: Final = 0.1  # of the limit


def check_answer(report: Report, answer: Answer, took: float, credentials: Credentials) -> None:
    """Check what the answer says, and who sent it.

    Raises:
        BlockedError: It says nothing about the credentials, or they are refused.
    """
    error = _error_of(answer)
    quota = _quota_of(answer) if error is None else None
    is_refusal = error is not None and error.status_code in _REFUSED and error.code != 0
    if error is None and quota is None:
        advice = "Is the base URL right? Does a proxy, or a network's login page, answer?"
        report.blocked(
            "http", f"HTTP {answer.status}, but not Stream's answer", advice, "Stream did not answer"
        )
    if error is not None and not is_refusal:
        why = f"HTTP {answer.status}"
        if error.code:
            why += f": {_quote(error.message, credentials)}"
        advice = "Is the base URL right? Does the server need https://? Else try again later."
        report.blocked("http", why, advice, "Stream did not answer the question")
    report.ok("http", f"HTTP {answer.status} in {took * 1000:.0f} ms")
    ahead = _clock_ahead(answer.headers.get("Date"), took)
    _check_clock(report, ahead, is_accepted=error is None)
    if error is not None:
        what = f"{_quote(error.message, credentials)} (HTTP {error.status_code}, code {error.code})"
        advice = "Copy the key and the secret again, both from the same app in Stream's dashboard."
        if error.code in _INVALID_TIME:
            advice = "Set this machine's clock: each run signs a new token with its time."
        report.blocked("authentication", what, advice, "the server refuses the key or the secret")
    report.ok("authentication", f"the key {credentials.api_key} and its secret are accepted")
    _check_quota(report, quota or {}, time.time() - (ahead or 0))


def _error_of(answer: Answer) -> StreamApiException | None:
    """Return the error that the client would raise for an answer."""
    try:
        protocol.check_status(answer.status, answer.headers, answer.body)
    except StreamApiException as error:
        return error
    return None


def _quota_of(answer: Answer) -> dict[str, Any] | None:
    """Return the quotas in an answer, or None if it is not Stream's."""
    try:
        data = _json.loads(answer.body)
    except StreamDecodeException:
        return None
    limits = data.get("server_side") if isinstance(data, dict) else None
    return limits if isinstance(limits, dict) else None


def _quote(message: str, credentials: Credentials) -> str:
    """Return a message of the server without what it must not show."""
    for secret in (credentials.token, credentials.api_key):
        message = message.replace(secret, "***")
    return message[:_MAX_QUOTE] or "the server gives no reason"


def _clock_ahead(date: str | None, took: float) -> float | None:
    """Return how far this machine's clock is ahead of the server's, in seconds; None if that is not known."""
    try:
        when = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    theirs = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    # A Date has whole seconds, so it is half a second old on average.
    return time.time() - took / 2 - theirs - 0.5


def _check_clock(report: Report, ahead: float | None, *, is_accepted: bool) -> None:
    advice = "Set this machine's clock, for example with NTP."
    if ahead is None:
        report.skip("clock", "the server did not say what time it is")
    elif abs(ahead) <= _CLOCKS_AGREE:
        report.ok("clock", "agrees with the server's")
    elif ahead < 0:
        report.warning("clock", f"{_time(-ahead)} behind the server's; tokens still work", advice)
    elif ahead <= _BACK_DATED or is_accepted:
        report.warning("clock", f"{_time(ahead)} ahead of the server's; tokens may be refused", advice)
    else:
        report.failed(
            "clock", f"{_time(ahead)} ahead of the server's: tokens are not valid there yet", advice
        )


def _check_quota(report: Report, quotas: dict[str, Any], now: float) -> None:
    """Say what the quota for polling tasks means."""
    quota = quotas.get("GetTask")
    if quota is None:
        report.ok("quota", "the server names no limit for GetTask")
        return
    try:
        limit, remaining, reset = (int(quota[name]) for name in ("limit", "remaining", "reset"))
        meaning = (
            f"at {limit:,} a minute, {_TASKS:,} tasks are each polled every {_time(_TASKS * 60 / limit)}"
        )
    except (TypeError, KeyError, ValueError, OverflowError, ZeroDivisionError):
        report.warning("quota", "the server's limit for GetTask cannot be used", "Ask Stream's support.")
        return
    if remaining < limit * _SCARCE:
        advice = f"Other programs of this app use it, too; it is renewed in {max(reset - now, 0):.0f} s."
        report.warning("quota", f"{meaning}; only {remaining:,} are left in this one", advice)
    else:
        report.ok("quota", f"{meaning} ({remaining:,} left now)")


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
