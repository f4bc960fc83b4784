"""Pure: whether the configuration can be right, before anything is sent."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from attrs import field, frozen

from stream_tasks import _arguments
from stream_tasks._arguments import DEFAULT_REQUEST_TIMEOUT, REQUEST_TIMEOUT_VARIABLE
from stream_tasks._http import auth, protocol
from stream_tasks._secret import Secret
from stream_tasks.cli._doctor.finding import Finding, failed, ok, warning

__all__ = ["Setting", "check_base_url", "check_key", "check_proxy", "check_request_timeout", "check_secret"]

_SHORTEST_SECRET: Final = 32  # Stream's keys have 12 characters, its secrets 64
_DASHBOARD: Final = "Stream's dashboard (https://dashboard.getstream.io) shows it."
_PLACEHOLDER: Final = re.compile(
    r"\$\{?\w+\}?|%\w+%|<.*>|\{\{.*\}\}|x+|(your|my)[-_ ].*|change_?me", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*")


@frozen
class Setting:
    """A value, and where it came from.

    Attributes:
        text: The value, None when it is not given.
        source: The option or the environment variable that gave it.
        remedy: How it can be given.
    """

    text: Secret | None
    source: str
    remedy: str = field(repr=False)

    @classmethod
    def find(cls, given: str | None, option: str, variable: str, environ: Mapping[str, str]) -> "Setting":
        """Take what an option gave, else what the environment says."""
        safest = "--api-secret-file" if variable == auth.SECRET_VARIABLE else option
        remedy = f"Set {variable} in the environment, or give {safest}."
        if given is not None:
            return cls(Secret(given), option, remedy)
        value = environ.get(variable)
        return cls(None if value is None else Secret(value), variable, remedy)


def check_key(key: Setting, secret: Setting) -> Finding:
    """Check that the key can be one."""
    text, size = key.text or "", _size(key)
    details: dict[str, Any] = {"source": key.source, "length": len(text)}
    wrong = _flaw(key)
    if wrong is None and _TOKEN.fullmatch(text):
        wrong = f"{size}: that is a token (JWT)", _DASHBOARD
    elif wrong is None and _are_swapped(key, secret):
        advice = f"Keys are short, secrets are long: are they swapped? {_DASHBOARD}"
        wrong = f"{size}: that looks like a secret", advice
    elif wrong is None and text == secret.text:
        wrong = f"{size}: the same text as the secret", _DASHBOARD
    if wrong is not None:
        return failed("api_key", *wrong, **details)
    return ok("api_key", size, **details)


def check_secret(secret: Setting, key: Setting) -> Finding:
    """Check that the secret can be one."""
    text, size = secret.text or "", _size(secret)
    details: dict[str, Any] = {"source": secret.source, "length": len(text)}
    wrong = _flaw(secret)
    if text.strip() and _is_of_another_kind(text):
        wrong = f"{size}: that is a key of another kind (PEM or SSH)", _DASHBOARD
    elif wrong is None and _TOKEN.fullmatch(text):
        wrong = (
            f"{size}: that is a token (JWT)",
            f"The secret, which signs tokens, is needed here. {_DASHBOARD}",
        )
    elif wrong is None and _are_swapped(key, secret):
        wrong = f"{size}: that looks like a key", _DASHBOARD
    if wrong is not None:
        return failed("api_secret", *wrong, **details)
    if len(text) < _SHORTEST_SECRET:
        return warning("api_secret", f"{size}; Stream's have 64", f"Is it whole? {_DASHBOARD}", **details)
    return ok("api_secret", size, **details)


def _is_of_another_kind(text: str) -> bool:
    """Whether PyJWT refuses to sign with it: it knows public keys by their look."""
    try:
        auth.server_token(text)
    except ValueError:
        return True
    return False


def _are_swapped(key: Setting, secret: Setting) -> bool:
    return len(key.text or "") >= _SHORTEST_SECRET > len(secret.text or "")


def _flaw(setting: Setting) -> tuple[str, str] | None:
    """Return what is wrong with any text, and what to do."""
    text, source = setting.text, setting.source
    if text is None:
        return "missing", f"{setting.remedy} {_DASHBOARD}"
    if not text.strip():
        return f"{source} is set, but {'blank' if text else 'empty'}", f"{setting.remedy} {_DASHBOARD}"
    first, last = text[0], text[-1]
    if first.isspace() or last.isspace():
        what = "a line break" if {first, last} & {"\n", "\r"} else "a blank"
        flaw = f"{what} at the {'start' if first.isspace() else 'end'}"
        advice = f"Take it out of {source}."
    elif first == last and first in "\"'`":
        flaw = "quotes around it"
        advice = f"They count as part of it: take them out of {source}."
    elif _PLACEHOLDER.fullmatch(text):
        flaw = "a placeholder"
        advice = f"Put the real one there. {_DASHBOARD}"
    elif " " in text or not text.isascii() or not text.isprintable():
        flaw = "blanks or strange characters in it"
        advice = f"Copy it anew. {_DASHBOARD}"
    else:
        return None
    return f"{_size(setting)}: {flaw}", advice


def _size(setting: Setting) -> str:
    return f"{len(setting.text or '')} characters, from {setting.source}"


def check_base_url(url: Setting) -> Finding:
    """Check that the base URL is one."""
    # As for the client: an empty variable counts as unset, an empty option does not.
    is_default = not url.text and url.source == protocol.BASE_URL_VARIABLE
    source = "default" if is_default else url.source
    try:
        base = protocol.check_base_url(protocol.DEFAULT_BASE_URL if is_default else url.text)
    except ValueError as error:
        advice = f"Mend {source}, or leave it out for Stream's own address, {protocol.DEFAULT_BASE_URL}."
        what = str(error)
        if "://" not in (url.text or ""):
            # It may be a secret that strayed.
            what = f"{_size(url)}: no http(s) URL"
            advice = f"It must begin with http:// or https://. {advice}"
        return failed("base_url", what, advice, source=source)
    message = f"{base}, {_origin(source)}"
    details = {"source": source, "url": base}
    if re.search(r"/api(/v\d+)?$", base):
        advice = f"Take the path out of {source}: {protocol.API_PREFIX} is added to it."
        return failed("base_url", message, advice, **details)
    if protocol.is_plain_http_beyond_loopback(base):
        advice = "Use https://, else others on the way can read the token and use it."
        return warning("base_url", f"{message}: not encrypted", advice, **details)
    return ok("base_url", message, **details)


def check_request_timeout(environ: Mapping[str, str]) -> Finding:
    """Check the request time-out, which the environment may set."""
    source = REQUEST_TIMEOUT_VARIABLE if environ.get(REQUEST_TIMEOUT_VARIABLE) else "default"
    try:
        limit = _arguments.check_request_timeout(DEFAULT_REQUEST_TIMEOUT)
    except ValueError:
        advice = f"Mend {source}, or leave it out for {DEFAULT_REQUEST_TIMEOUT:g} s."
        return failed("request_timeout", f"{source} is no number of seconds above 0", advice, source=source)
    message = f"{limit:g} s for each request, {_origin(source)}"
    return ok("request_timeout", message, source=source, seconds=limit)


def check_proxy(base_url: str) -> Finding:
    """Say whether the environment names a proxy for the host, which this command line does not use."""
    parts = urlsplit(base_url)
    proxies = getproxies_environment()
    name = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if name is None or proxy_bypass(parts.hostname or ""):
        return ok("proxy", "the environment names none for this host")
    variable = _variable(f"{name}_proxy", proxies[name])
    advice = "Nothing, if what follows is ok. Else let the host be reached from here"
    if name == parts.scheme:  # aiohttp knows none for all
        advice += "; in Python, AsyncStream(trust_env=True) uses that proxy"
    return warning(
        "proxy",
        f"{variable} is set, but not used: connections go straight to the host",
        f"{advice}.",
        variable=variable,
    )


def _variable(name: str, value: str) -> str:
    """Return a variable's name as the environment spells it; of several, small letters win."""
    return next(
        each for each in (name, *os.environ) if each.lower() == name and os.environ.get(each) == value
    )


def _origin(source: str) -> str:
    return "the default" if source == "default" else f"from {source}"
