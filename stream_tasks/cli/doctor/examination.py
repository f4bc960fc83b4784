"""All checks, in order, and how they are shown."""

import textwrap
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from stream_tasks._http import auth, protocol
from stream_tasks.cli import signals
from stream_tasks.cli.doctor import answer, network, settings
from stream_tasks.cli.doctor.report import CHECKS, BlockedError, Finding, Report
from stream_tasks.cli.doctor.settings import Setting
from stream_tasks.cli.ui.console import PipeConsole, is_live, show_json
from stream_tasks.cli.ui.output import printable

__all__ = ["examine"]

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_MARGIN: Final = " " * 25
_NEVER_WRAP: Final = 10_000


def examine(key: Setting, secret: Setting, url: Setting, *, limit: float, as_json: bool) -> int:
    """Make all checks, and show what they found.

    Args:
        key: The API key.
        secret: The secret.
        url: The base URL.
        limit: How long each step of the connection may take, in seconds.
        as_json: Whether to print one JSON object.

    Returns:
        The exit code.
    """
    console = PipeConsole(highlight=False)
    report = Report((lambda _: None) if as_json else (lambda finding: _show(console, finding)))

    async def main(_: object) -> None:
        try:
            await _check(report, key, secret, url, limit)
        except BlockedError as error:
            report.skip_rest(str(error))

    signals.run(main)
    if as_json:
        checks = [finding._asdict() for finding in report.findings]
        show_json({"ok": not report.failures, "exit_code": report.exit_code, "checks": checks})
    else:
        _conclude(console, report)
    return report.exit_code


async def _check(report: Report, key: Setting, secret: Setting, url: Setting, limit: float) -> None:
    are_good = [settings.check_key(report, key, secret), settings.check_secret(report, secret, key)]
    base = settings.check_base_url(report, url)
    settings.check_environment(report, base)
    parts = urlsplit(base)
    host = parts.hostname or ""
    await network.look_up(report, host, parts.port or (443 if parts.scheme == "https" else 80), limit)
    if not all(are_good):
        raise BlockedError("the key or the secret is wrong, and nothing was sent")
    credentials = auth.credentials(key.text, secret.text, None, {})
    path, params = answer.QUESTION
    target = protocol.request_target(path, credentials.api_key, params)
    headers = protocol.request_headers(credentials)
    found, took = await network.ask(report, base, target, headers, limit)
    answer.check_answer(report, found, took, credentials)


def _show(console: Console, finding: Finding) -> None:
    """Print a finding as a line, and what to do on the next."""
    start = f"{finding.state:<7}  {CHECKS[finding.check].label:<14}  "
    text = Text(_fill(console, start, finding.message))
    text.stylize(_STYLES[finding.state], 0, len(start) if finding.state == "failed" else len(finding.state))
    console.print(text, soft_wrap=True)
    if finding.advice:
        console.print(Text(_fill(console, f"{_MARGIN}-> ", finding.advice), "italic"), soft_wrap=True)


def _fill(console: Console, start: str, text: str) -> str:
    return textwrap.fill(
        printable(text),
        console.width if is_live(console) else _NEVER_WRAP,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _conclude(console: Console, report: Report) -> None:
    """Print the result."""
    failures = [CHECKS[check].label for check in report.failures]
    warnings = sum(finding.state == "warning" for finding in report.findings)
    line, style = "Ready.", _STYLES["ok"]
    if failures:
        what = f"{len(failures)} checks" if len(failures) > 1 else "1 check"
        line = f"{what} failed: {', '.join(failures)}." + " Begin with the first." * (len(failures) > 1)
        style = _STYLES["failed"]
    elif warnings:
        line, style = f"Ready, with {warnings} warning{'s' * (warnings > 1)}.", _STYLES["warning"]
    console.print()
    console.print(Text(line, style), soft_wrap=True)
