"""Pure: from what a caller gave to what a request carries."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any, Final, Protocol

from attrs import field, frozen

from stream_tasks._arguments import check_credential
from stream_tasks._secret import Secret, hidden

__all__ = ["Credentials", "Environment", "credentials", "from_environment", "server_token"]

KEY_VARIABLE: Final = "STREAM_API_KEY"
SECRET_VARIABLE: Final = "STREAM_API_SECRET"  # noqa: S105 - a name
_CLOCK_SKEW: Final = 5


@frozen
class Credentials:
    """What authenticates a request.

    Attributes:
        api_key: The app's public key.
        token: A JWT signed with the app's secret.
    """

    api_key: str
    token: Secret = field(repr=False)


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
    import jwt  # noqa: PLC0415 - it brings much along, and a ready token needs none of it

    # The server refuses a token that is not valid yet, and clocks differ.
    issued = int(time.time() if now is None else now) - _CLOCK_SKEW
    with warnings.catch_warnings():
        # Stream chose the secret: its length is nothing that the caller could mend.
        warnings.filterwarnings("ignore", message="The HMAC key is")
        try:
            return Secret(
                jwt.encode({"iat": issued, "server": True}, str.__str__(api_secret), algorithm="HS256")
            )
        except jwt.InvalidKeyError as exc:
            reason = str(exc)
    # Out here, since the frames of jwt's error hold the secret in the open.
    raise ValueError(f"api_secret (or {SECRET_VARIABLE} in the environment) is no secret of Stream: {reason}")


def from_environment(value: Any, variable: str, environ: Lookup) -> Any:
    """Return `value`, or when it is None what the environment says; empty variables count as unset."""
    return (environ.get(variable) or None) if value is None else value


def credentials(
    api_key: str | None, api_secret: str | None, token: str | None, environ: Lookup
) -> Credentials:
    """Check what a caller gave; the environment fills in what is missing.

    Raises:
        TypeError: One of them is no text.
        ValueError: One is missing, empty, or given beside its alternative.
    """
    if api_secret is not None and token is not None:
        raise ValueError(
            f"give api_secret or token, not both; without either, {SECRET_VARIABLE} in the environment counts"
        )
    key = check_credential("api_key", from_environment(api_key, KEY_VARIABLE, environ), KEY_VARIABLE)
    if token is not None:
        return Credentials(key, Secret(check_credential("token", token, None)))
    secret = hidden(from_environment(api_secret, SECRET_VARIABLE, environ))
    return Credentials(key, server_token(check_credential("api_secret", secret, SECRET_VARIABLE)))
