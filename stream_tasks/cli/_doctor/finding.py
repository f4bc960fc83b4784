"""What a check found."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from attrs import field, frozen

__all__ = ["CHECKS", "EXIT_CODES", "Finding", "State", "failed", "ok", "skipped", "warning"]

State = Literal["ok", "warning", "failed", "skipped"]


class Check(NamedTuple):
    """How people see a check, and the exit code of its failure."""

    label: str
    exit_code: int


CHECKS: Final = {
    "api_key": Check("API key", 10),
    "api_secret": Check("API secret", 10),
    "base_url": Check("base URL", 10),
    "request_timeout": Check("time-out", 10),
    "proxy": Check("proxy", 10),
    "dns": Check("DNS", 11),
    "tcp": Check("TCP", 12),
    "tls": Check("TLS", 13),
    "http": Check("HTTP", 14),
    "clock": Check("clock", 15),
    "authentication": Check("authentication", 16),
    "quota": Check("quota", 16),
}
"""Each check by its name in JSON, in order."""

EXIT_CODES: Final = {
    0: "all is well, warnings aside",
    2: "wrong usage of this command",
    10: "configuration: key, secret, base URL or time-out is missing or wrong",
    11: "DNS: the host has no address",
    12: "TCP: no connection to the host",
    13: "TLS: no trusted encryption",
    14: "HTTP: no answer, or none of Stream's",
    15: "clock: this machine's is too far ahead",
    16: "authentication: the server refuses key or secret",
}


@frozen
class Finding:
    """What a check found.

    Attributes:
        check: The check's name, a key of `CHECKS`.
        state: How it ended.
        message: What was found, in one line.
        advice: What to do about it; empty when there is nothing to do.
        details: The same for programs.
    """

    check: str
    state: State
    message: str
    advice: str = ""
    details: Mapping[str, Any] = field(factory=dict)


def ok(check: str, message: str, **details: Any) -> Finding:
    """Report that all is well."""
    return Finding(check, "ok", message, details=details)


def warning(check: str, message: str, advice: str, **details: Any) -> Finding:
    """Report what may do harm."""
    return Finding(check, "warning", message, advice, details)


def failed(check: str, message: str, advice: str, **details: Any) -> Finding:
    """Report what must be mended."""
    return Finding(check, "failed", message, advice, details)


def skipped(check: str, why: str) -> Finding:
    """Report that a check could not be made."""
    return Finding(check, "skipped", why)
