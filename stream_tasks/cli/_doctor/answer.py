"""Pure: what the server's answer to the question about its rate limits means."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from stream_tasks import _json
from stream_tasks._http import protocol
from stream_tasks._http.auth import Credentials
from stream_tasks._http.transport import Answer
from stream_tasks.cli._doctor.finding import Finding, failed, ok, skipped, warning
from stream_tasks.exceptions import StreamApiException, StreamDecodeException

__all__ = ["QUESTION", "check_authentication", "check_clock", "check_http", "check_quota", "refusal_of"]

QUESTION: Final = (f"{protocol.API_PREFIX}/rate_limits", {"server_side": True, "endpoints": "GetTask"})
"""What is asked: path and parameters."""

_REDIRECTS: Final = range(300, 400)
_BAD_REQUEST: Final = 400
_REFUSED: Final = (401, 403)
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429
_BAD_SIGNATURE: Final = 43

_BACK_DATED: Final = 5.0  # seconds by which tokens are older than this machine's clock says
_AGREE: Final = 2.0  # seconds; the Date header has whole ones, and takes time to arrive

_LONGEST_QUOTE: Final = 200
_TASKS: Final = 1_000
_SCARCE: Final = 0.1  # of the limit

_SAME_APP: Final = "Copy key and secret anew from one and the same app in Stream's dashboard."
_REFUSALS: Final = {
    2: ("the server does not know the API key", f"{_SAME_APP} Does the base URL belong to it?"),
    5: ("the server does not take the token that the secret signs", _SAME_APP),
    17: ("the server does not allow it", "Does the app have the server-side API? Ask Stream's support."),
    40: ("the token has expired", "Set this machine's clock: it signs a new token for each run."),
    41: ("the token is not valid yet", "Set this machine's clock: it is ahead of the server's."),
    42: ("the token is not valid yet", "Set this machine's clock: it is ahead of the server's."),
    43: ("the secret does not belong to the API key", _SAME_APP),
    99: ("the app is suspended", "See Stream's dashboard, or ask Stream's support."),
}


def refusal_of(answer: Answer) -> StreamApiException | None:
    """Return what the client would raise for an answer."""
    try:
        protocol.check_status(answer.status, answer.headers, answer.body)
    except StreamApiException as error:
        return error
    return None


def check_http(base: str, answer: Answer, took: float, credentials: Credentials | None) -> Finding:
    """Tell whether it was Stream that answered, and answered the question."""
    error = refusal_of(answer)
    status = f"HTTP {answer.status}"
    if error is None:
        if _limits(answer) is not None:
            return ok("http", f"{status} in {took * 1000:.0f} ms", status=answer.status)
        advice = "Is the base URL right? Does a proxy, or a network's login page, answer in its place?"
        return failed("http", f"{status}, but not Stream's answer", advice, status=answer.status)
    said = f": {_said(error, credentials)}" if error.code and error.message else ""
    if answer.status in _REFUSED and error.code:
        return ok("http", f"{status} in {took * 1000:.0f} ms", status=answer.status)
    if answer.status == _TOO_MANY:
        advice = "Too many questions in this minute, by any program of this app. Try again in the next."
    elif answer.status >= _SERVER_ERROR:
        advice = "Stream, or a gateway before it, is in trouble. Try again; see https://status.getstream.io."
    else:
        advice = f"Is the base URL right? Stream's own is {protocol.DEFAULT_BASE_URL}."
        target = _redirect_target(answer)
        wants_tls = target.startswith("https://") or (answer.status == _BAD_REQUEST and not said)
        if wants_tls and base.startswith("http://"):
            advice = f"Does the server want https:// there? Then begin the base URL with it. {advice}"
        if target:
            said = f", a redirect to {_hidden(target, credentials)}"
        said = said or " from something that is not Stream"
    return failed("http", f"{status}{said}", advice, status=answer.status)


def check_clock(ahead: float | None, *, is_accepted: bool) -> Finding:
    """Compare this machine's clock with the server's.

    Args:
        ahead: By how many seconds this machine's is ahead, None when the server told no time.
        is_accepted: Whether the server accepted a token signed by that clock.
    """
    if ahead is None:
        return skipped("clock", "the server did not say what time it is")
    details = {"ahead_seconds": round(ahead, 1)}
    if abs(ahead) <= _AGREE:
        return ok("clock", "agrees with the server's", **details)
    advice = "Set this machine's clock (NTP does it for you)."
    if ahead < 0:
        return warning("clock", f"{_time(-ahead)} behind the server's; tokens still work", advice, **details)
    message = f"{_time(ahead)} ahead of the server's"
    if ahead <= _BACK_DATED:
        return warning("clock", f"{message}; beyond 5 s tokens are not valid yet", advice, **details)
    if is_accepted:
        return warning("clock", f"{message}; the server let it pass this time", advice, **details)
    return failed("clock", f"{message}: tokens are not valid there yet", advice, **details)


def check_authentication(error: StreamApiException | None, credentials: Credentials) -> Finding:
    """Say whether the server takes key and secret, and what its refusal means."""
    api_key = credentials.api_key  # shown where it is sure that it is no secret in the wrong place
    if error is None:
        return ok("authentication", f"the key {api_key} and its secret are accepted", api_key=api_key)
    what, advice = _REFUSALS.get(error.code, (_said(error, credentials), _SAME_APP))
    details = {"status": error.status_code, "code": error.code}
    if error.code == _BAD_SIGNATURE:
        what += f" {api_key}"
    return failed(
        "authentication", f"{what} (HTTP {error.status_code}, code {error.code})", advice, **details
    )


def check_quota(answer: Answer, now: float) -> Finding:
    """Say what the quota for looking at tasks means."""
    quota = (_limits(answer) or {}).get("GetTask")
    if quota is None:
        return ok("quota", "the server names no limit for GetTask")
    try:
        limit, remaining, reset = (int(quota[name]) for name in ("limit", "remaining", "reset"))
        end = datetime.fromtimestamp(reset, UTC)
    except (TypeError, KeyError, ValueError, OverflowError, OSError):
        return warning(
            "quota", "the server's answer about GetTask does not fit", "Waits find out by themselves."
        )
    details = {"limit": limit, "remaining": remaining, "reset": end.isoformat()}
    if limit <= 0:
        advice = "Ask Stream's support to raise the limit of GetTask."
        return warning("quota", "GetTask may not be called at all", advice, **details)
    every = _time(_TASKS * 60 / limit)
    meaning = f"at {limit:,} a minute, {_TASKS:,} waiting tasks are each looked at every {every}"
    if remaining < limit * _SCARCE:
        advice = f"Other programs of this app spend it, too; it is renewed in {max(reset - now, 0):.0f} s."
        return warning("quota", f"{meaning}; only {remaining:,} are left in this one", advice, **details)
    return ok("quota", f"{meaning} ({remaining:,} left now)", **details)


def _limits(answer: Answer) -> dict[str, Any] | None:
    try:
        data = _json.loads(answer.body)
    except StreamDecodeException:
        return None
    limits = data.get("server_side") if isinstance(data, dict) else None
    return limits if isinstance(limits, dict) else None


def _redirect_target(answer: Answer) -> str:
    """Return scheme and host of where a redirect leads; empty when that is no other place."""
    try:
        scheme, place, *_ = urlsplit(answer.headers.get("Location", ""))
    except ValueError:
        return ""
    is_elsewhere = answer.status in _REDIRECTS and scheme and place
    return f"{scheme}://{place.rpartition('@')[2]}" if is_elsewhere else ""


def _said(error: StreamApiException, credentials: Credentials | None) -> str:
    return _hidden(error.message or "the server gives no reason", credentials)


def _hidden(text: str, credentials: Credentials | None) -> str:
    if credentials is not None:
        for secret in (credentials.token, credentials.api_key):
            text = text.replace(secret, "***")
    return text[:_LONGEST_QUOTE]


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
