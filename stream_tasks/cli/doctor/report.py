"""What the checks found."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, NoReturn

__all__ = ["CHECKS", "EXIT_CODES", "BlockedError", "Finding", "Report", "State"]

State = Literal["ok", "warning", "failed", "skipped"]


class Check(NamedTuple):
    """The name of a check for people, and the exit code if it fails."""

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
    0: "nothing failed; there may be warnings",
    2: "wrong usage of this command",
    10: "configuration: key, secret, base URL or time-out is missing or wrong",
    11: "DNS: the host has no address",
    12: "TCP: no connection to the host",
    13: "TLS: no trusted encryption",
    14: "HTTP: no answer, or an answer that is not Stream's",
    15: "clock: this machine's clock is too far ahead",
    16: "authentication: the server refuses the key or the secret",
}


class BlockedError(Exception):
    """Raised when a check failed so that the next ones cannot be made; its message says why."""


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        check: The check's name, a key of `CHECKS`.
        state: Its result.
        message: What was found, in one line.
        advice: What to do about it; empty if there is nothing to do.
    """

    check: str
    state: State
    message: str
    advice: str = ""


class Report:
    """Collects findings.

    Args:
        show: Called with each finding.

    Attributes:
        findings: All findings so far.
    """

    def __init__(self, show: Callable[[Finding], None]) -> None:
        self.findings: list[Finding] = []
        self._show = show

    def ok(self, check: str, message: str) -> None:
        """Add a check that found nothing wrong."""
        self._add(Finding(check, "ok", message))

    def warning(self, check: str, message: str, advice: str) -> None:
        """Add a check that found something that may do harm."""
        self._add(Finding(check, "warning", message, advice))

    def failed(self, check: str, message: str, advice: str) -> None:
        """Add a check that found something that must be corrected."""
        self._add(Finding(check, "failed", message, advice))

    def blocked(self, check: str, message: str, advice: str, why: str) -> NoReturn:
        """Add a check that failed so that the next ones cannot be made.

        Args:
            check: The check.
            message: What is wrong.
            advice: What to do.
            why: Why the next checks cannot be made.

        Raises:
            BlockedError: Always.
        """
        self.failed(check, message, advice)
        raise BlockedError(why)

    def skip(self, check: str, why: str) -> None:
        """Add a check that was not made."""
        self._add(Finding(check, "skipped", why))

    def skip_rest(self, why: str) -> None:
        """Add all checks that were not made."""
        made = {finding.check for finding in self.findings}
        for check in CHECKS:
            if check not in made:
                self.skip(check, why)

    @property
    def failures(self) -> list[str]:
        """The checks that failed."""
        return [finding.check for finding in self.findings if finding.state == "failed"]

    @property
    def exit_code(self) -> int:
        """The exit code of the first check that failed."""
        return CHECKS[self.failures[0]].exit_code if self.failures else 0

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._show(finding)
