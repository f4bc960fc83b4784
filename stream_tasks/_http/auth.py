"""Pure: from what a caller gave to what a request carries."""

from __future__ import annotations

import base64
import hmac
import os
import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import field, frozen

from stream_tasks._arguments import check_credential
from stream_tasks._secret import Function, Secret, hidden, plain

__all__ = [
    "SHORTEST_SECRET",
    "Credentials",
    "Environment",
    "are_swapped",
    "credentials",
    "from_environment",
    "server_token",
]

KEY_VARIABLE: Final = "STREAM_API_KEY"
SECRET_VARIABLE: Final = "STREAM_API_SECRET"  # noqa: S105 - a name
SHORTEST_SECRET: Final = 32
"""What is shorter is no secret of Stream's, in characters."""

_TOKEN: Final = re.compile(r"eyJ[\w-]*\.[\w-]*\.")
_CLOCK_SKEW: Final = 5
_KEY_FILE: Final = re.compile(r"-----BEGIN |ssh-|ecdsa-")


@frozen
class Credentials:
    """What authenticates a request.

    Attributes:
        api_key: The app's public key.
        token: A JWT signed with the app's secret; empty if it must be asked for.
        ask: Returns the token, if that must be asked for.
    """

    api_key: str
    token: Secret = field(repr=False)
    ask: Callable[[], Any] | None = field(default=None, repr=False)


class Lookup(Protocol):
    """Where variables are looked up: `Environment`, or a mapping."""

    def get(self, key: str, /) -> str | None:
        """Return a variable's value, or None."""
        ...


class Environment:
    """The process's environment, without a repr that shows it all."""

    def get(self, key: str, /) -> str | None:
        """Return a variable's value, or None."""
        return os.environ.get(key)


def server_token(api_secret: str, *, now: float | None = None) -> Secret:
    """Sign a token that speaks for the app's server side.

    Args:
        api_secret: The app's secret.
        now: The wall clock, in seconds since the epoch.

    Returns:
        A JWT that does not expire.
    """
    if _KEY_FILE.match(api_secret):
        raise ValueError(
            f"api_secret (or {SECRET_VARIABLE} in the environment) is not a secret of Stream: it looks like"
            " the key of a certificate, or of SSH"
        )
    # The server refuses a token that is not valid yet, and clocks differ.
    issued = int(time.time() if now is None else now) - _CLOCK_SKEW
    # By hand: PyJWT takes long to import, and its warnings of short secrets can only be silenced for all
    # threads at once.
    claims = _base64(b'{"iat":%d,"server":true}' % issued)
    signed = b"%b.%b" % (_HEADER, claims)
    signature = hmac.digest(plain(api_secret).encode(), signed, "sha256")
    return Secret(b"%b.%b" % (signed, _base64(signature)), "ascii")


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


_HEADER: Final = _base64(b'{"alg":"HS256","typ":"JWT"}')


def from_environment(value: Any, variable: str, environ: Lookup) -> Any:
    """Return `value`, or when it is None what the environment says; empty variables count as unset."""
    return (environ.get(variable) or None) if value is None else value


def credentials(api_key: str | None, api_secret: str | None, token: Any, environ: Lookup) -> Credentials:
    """Check what a caller gave; the environment fills in what is missing.

    Raises:
        TypeError: One of them is no text.
        ValueError: One is missing, empty, or given beside its alternative.
    """
    if api_secret is not None and token is not None:
        raise ValueError(
            f"give api_secret or token, not both; without either, {SECRET_VARIABLE} in the environment counts"
        )
    # Hidden as well: it may be the secret in its place.
    given = hidden(from_environment(api_key, KEY_VARIABLE, environ))
    key = Secret(check_credential("api_key", given, KEY_VARIABLE))
    if isinstance(token, Function):
        _check_key(key, Secret())
        return Credentials(plain(key), Secret(), token.call)
    if token is not None:
        signed = Secret(check_credential("token", token, None))
        _check_key(key, signed)
        return Credentials(plain(key), signed)
    secret = hidden(from_environment(api_secret, SECRET_VARIABLE, environ))
    secret = Secret(check_credential("api_secret", secret, SECRET_VARIABLE))
    _check_key(key, secret)
    return Credentials(plain(key), server_token(secret))


def _check_key(key: Secret, other: Secret) -> None:
    """Check that a key is not a secret or a token in its place; neither is shown.

    Raises:
        ValueError: It is.
    """
    if are_swapped(key, other):
        raise ValueError(
            f"api_key (or {KEY_VARIABLE} in the environment) looks like a secret, and api_secret (or"
            f" {SECRET_VARIABLE}) like a key: are they swapped?"
        )
    if key == other or _TOKEN.match(key):
        raise ValueError(
            f"api_key (or {KEY_VARIABLE} in the environment) is a secret or a token: give the app's key"
        )


def are_swapped(key: str, secret: str) -> bool:
    """Whether a key and a secret look as if each were the other. Keys have 12 characters, secrets 64."""
    return len(key) >= SHORTEST_SECRET > len(secret)
