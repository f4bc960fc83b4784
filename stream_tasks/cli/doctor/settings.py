"""Whether the configuration can be right, before anything is sent."""

import os
import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from stream_tasks import _arguments
from stream_tasks._arguments import (
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    DEFAULT_REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_VARIABLE,
    check_request_timeout,
)
from stream_tasks._http.auth import SHORTEST_SECRET, are_swapped
from stream_tasks._http.protocol import is_plain_http_beyond_loopback
from stream_tasks._secret import Secret
from stream_tasks.cli.doctor.report import Report

__all__ = ["Setting", "check_base_url", "check_environment", "check_key", "check_secret"]

_WRONG_URL: Final = "the base URL is wrong"
_DASHBOARD: Final = "Stream's dashboard (https://dashboard.getstream.io) shows it."
_TOKEN: Final = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*")
_PLAIN: Final = re.compile(r"[!#-&(-;=?-_a-z|~]+")  # no blanks, no quotes, no <placeholder>, no {placeholder}


class Setting(NamedTuple):
    """A value, and the option or variable that it came from.

    Attributes:
        text: The value, or None.
        source: The option if one was given, else the variable.
        option: The option that can give it.
    """

    text: Secret | None
    source: str
    option: str

    @classmethod
    def of(cls, given: str | None, option: str, variable: str) -> "Setting":
        """Take the value of an option, else that of a variable in the environment."""
        text = os.environ.get(variable) if given is None else given
        return cls(None if text is None else Secret(text), variable if given is None else option, option)

    @property
    def size(self) -> str:
        """How long the value is, in place of the value."""
        return f"{len(self.text or '')} characters, from {self.source}"


def check_key(report: Report, key: Setting, secret: Setting) -> bool:
    """Check whether the key can be one."""
    flaw = _flaw(key)
    if flaw is None and are_swapped(key.text or "", secret.text or ""):
        flaw = f"{key.size}: that looks like a secret; are key and secret swapped?"
    elif flaw is None and key.text == secret.text:
        flaw = f"{key.size}: the same text as the secret"
    if flaw is None:
        report.ok("api_key", key.size)
    else:
        report.failed("api_key", flaw, _remedy(key))
    return flaw is None


def check_secret(report: Report, secret: Setting, key: Setting) -> bool:
    """Check whether the secret can be one."""
    flaw = _flaw(secret)
    if flaw is None and are_swapped(key.text or "", secret.text or ""):
        flaw = f"{secret.size}: that looks like a key; are key and secret swapped?"
    if flaw is not None:
        report.failed("api_secret", flaw, _remedy(secret))
    elif len(secret.text or "") < SHORTEST_SECRET:
        report.warning("api_secret", f"{secret.size}; Stream's have 64", f"Is it complete? {_DASHBOARD}")
    else:
        report.ok("api_secret", secret.size)
    return flaw is None


def _flaw(setting: Setting) -> str | None:
    """Return what is wrong with a key or a secret, whichever it is."""
    if setting.text is None:
        return "missing"
    if not setting.text.strip():
        return f"{setting.source} is set, but empty"
    if _TOKEN.fullmatch(setting.text):
        return f"{setting.size}: that is a token (JWT)"
    if not _PLAIN.fullmatch(setting.text):
        return f"{setting.size}: blanks, line breaks, quotes, brackets or other strange characters in it"
    return None


def _remedy(setting: Setting) -> str:
    if setting.text is None:
        return f"Set {setting.source} in the environment, or give {setting.option}. {_DASHBOARD}"
    return f"Correct {setting.source}. {_DASHBOARD}"


def check_base_url(report: Report, url: Setting) -> str:
    """Check the base URL, and return it.

    Raises:
        BlockedError: It is invalid.
    """
    # As in the client: an empty variable counts as unset, an empty option does not.
    is_default = not url.text and url.source == BASE_URL_VARIABLE
    source = "the default" if is_default else f"from {url.source}"
    advice = f"Correct {url.source}, or leave it out for Stream's own address, {DEFAULT_BASE_URL}."
    try:
        base = _arguments.check_base_url(DEFAULT_BASE_URL if is_default else url.text)
    except ValueError as error:
        # Without a scheme, it may be a secret in the wrong place.
        what = str(error) if "://" in (url.text or "") else f"{url.size}: it does not begin with https://"
        report.blocked("base_url", what, advice, _WRONG_URL)
    message = f"{base}, {source}"
    if is_plain_http_beyond_loopback(base):
        advice = "Use https://, or others on the way can read the token and use it."
        report.warning("base_url", f"{message}: not encrypted", advice)
    else:
        report.ok("base_url", message)
    return base


def check_environment(report: Report, base_url: str) -> None:
    """Check the other variables that matter: the request time-out, and proxies."""
    is_set = bool(os.environ.get(REQUEST_TIMEOUT_VARIABLE))
    try:
        limit = check_request_timeout(DEFAULT_REQUEST_TIMEOUT)
    except ValueError:
        message = f"{REQUEST_TIMEOUT_VARIABLE} is not a number of seconds above 0"
        report.failed(
            "request_timeout", message, f"Correct it, or unset it for {DEFAULT_REQUEST_TIMEOUT:g} s."
        )
    else:
        source = f"from {REQUEST_TIMEOUT_VARIABLE}" if is_set else "the default"
        report.ok("request_timeout", f"{limit:g} s for each request, {source}")
    parts = urlsplit(base_url)
    proxies = getproxies_environment()
    if not (proxies.get(parts.scheme) or proxies.get("all")) or proxy_bypass(parts.hostname or ""):
        report.ok("proxy", "the environment names none for this host")
    else:
        name = f"{parts.scheme if proxies.get(parts.scheme) else 'all'}_proxy".upper()
        report.warning(
            "proxy",
            f"{name} is set, but not used: connections go straight to the host",
            "If a check below fails, allow connections to the host; in Python, AsyncStream(trust_env=True) "
            "uses the proxy.",
        )
