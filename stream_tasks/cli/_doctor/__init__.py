"""``doctor``: what is wrong with the configuration or the connection, and what to do.

- ``finding``: what a check found, and the exit codes
- ``settings``: key, secret, base URL and the environment (pure)
- ``network``: DNS, TCP, TLS and one request
- ``answer``: what the answer says of the clock, the credentials and the quota (pure)
"""

import os
import ssl
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import attrs
import click
from rich.console import Console
from rich.text import Text

from stream_tasks._http import auth, protocol
from stream_tasks.cli import _options, _signals
from stream_tasks.cli._doctor import answer, network, settings
from stream_tasks.cli._doctor.finding import CHECKS, EXIT_CODES, Finding, skipped
from stream_tasks.cli._doctor.settings import Setting
from stream_tasks.cli._help import epilog
from stream_tasks.cli._output import PipeConsole, is_live, printable, show_json

__all__ = ["doctor"]

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_MARGIN: Final = " " * 25
_NEVER_WRAP: Final = 10_000
_ANONYMOUS: Final = {"stream-auth-type": "jwt", "Accept-Encoding": "gzip"}

Tell = Callable[[Finding], None]


@click.command(
    help="Check the configuration and the connection, and say what is wrong and what to do.\n\n"
    "Key, secret, base URL, proxy, DNS, TCP, TLS, HTTP, clock, authentication, and the quota for looking at "
    "tasks: one line each. The server is asked one question, and nothing is changed there. Secrets are "
    "never shown.",
    short_help="Check configuration and connection, and say what to do.",
    epilog=epilog(
        "stream-tasks doctor",
        "stream-tasks doctor --json | jq .checks",
        "stream-tasks doctor --base-url http://127.0.0.1:8080 --timeout 1",
        exit_codes=EXIT_CODES,
    ),
)
@click.option(
    "--timeout",
    type=_options.positive_seconds,
    metavar="SECONDS",
    default=5,
    show_default=True,
    help="How long each step of the connection may take.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object in place of the lines.")
@_options.connection_options
@click.pass_context
def doctor(context: click.Context, /, timeout: float, is_json: bool, **connection: Any) -> None:
    """Make all checks, and exit with the code of the first that failed."""
    given = _gather(**connection)
    console = PipeConsole(highlight=False)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not is_json:
            _show(console, finding)

    _signals.run(lambda _: _examine(tell, given, timeout))
    failures = [finding.check for finding in findings if finding.state == "failed"]
    code = CHECKS[failures[0]].exit_code if failures else 0
    if is_json:
        checks = [attrs.asdict(finding) for finding in findings]
        show_json({"ok": not failures, "exit_code": code, "checks": checks})
    else:
        _conclude(console, findings)
    context.exit(code)


class _Given(NamedTuple):
    """What options and environment say."""

    key: Setting
    secret: Setting
    url: Setting


def _gather(
    *, api_key: str | None, api_secret: str | None, api_secret_file: Path | None, base_url: str | None
) -> _Given:
    secret = _options.read_secret(api_secret, api_secret_file)
    option = "--api-secret" if api_secret_file is None else "--api-secret-file"
    return _Given(
        Setting.find(api_key, "--api-key", auth.KEY_VARIABLE, os.environ),
        Setting.find(secret, option, auth.SECRET_VARIABLE, os.environ),
        Setting.find(base_url, "--base-url", protocol.BASE_URL_VARIABLE, os.environ),
    )


async def _examine(tell: Tell, given: _Given, limit: float) -> None:
    """Make all checks, in the order of `CHECKS`; what cannot be checked is skipped."""
    told = set()

    def tell_once(finding: Finding) -> None:
        told.add(finding.check)
        tell(finding)

    key, secret, url = given
    of_key, of_secret = settings.check_key(key, secret), settings.check_secret(secret, key)
    of_url = settings.check_base_url(url)
    for finding in (of_key, of_secret, of_url, settings.check_request_timeout(os.environ)):
        tell_once(finding)
    if of_url.state == "failed":
        why = "the base URL is wrong"
    else:
        base = of_url.details["url"]
        tell_once(settings.check_proxy(base))
        credentials = None
        if "failed" not in (of_key.state, of_secret.state):
            credentials = auth.credentials(key.text, secret.text, None, {})
        why = await _connection(tell_once, base, credentials, limit)
    for check in CHECKS:
        if check not in told:
            tell(skipped(check, why))


async def _connection(tell: Tell, base: str, credentials: auth.Credentials | None, limit: float) -> str:
    """Go the way to the server, as far as it goes; return why the rest cannot be checked."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)

    finding, addresses = await network.look_up(host, port, limit)
    tell(finding)
    if not addresses:
        return "the host has no address"
    finding, address = await network.connect(addresses, port, limit)
    tell(finding)
    if address is None:
        return "there is no connection"
    context = ssl.create_default_context()
    finding = skipped("tls", "http:// does without")
    if is_tls:
        finding = await network.encrypt(host, address, port, context, limit)
    tell(finding)
    why = "there is no trusted connection"
    return why if finding.state == "failed" else await _question(tell, base, credentials, context, limit)


async def _question(
    tell: Tell, base: str, credentials: auth.Credentials | None, context: ssl.SSLContext, limit: float
) -> str:
    """Ask for the quota, without credentials if they are wrong; return why the rest cannot be checked."""
    path, params = answer.QUESTION
    headers = _ANONYMOUS if credentials is None else protocol.request_headers(credentials)
    target = protocol.request_target(path, "" if credentials is None else credentials.api_key, params)
    exchange = await network.ask(base, target, headers, context, limit)
    if isinstance(exchange, Finding):
        tell(exchange)
        return "there is no answer"
    refusal = answer.refusal_of(exchange.answer)
    finding = answer.check_http(base, exchange.answer, exchange.took, credentials)
    tell(finding)
    is_accepted = finding.state == "ok" and refusal is None and credentials is not None
    tell(answer.check_clock(exchange.ahead, is_accepted=is_accepted))
    if finding.state == "failed":
        return "the answer says nothing of it"
    if credentials is None:
        return "key or secret is wrong, and was not sent"
    tell(answer.check_authentication(refusal, credentials))
    if refusal is not None:
        return "the server refuses key or secret"
    tell(answer.check_quota(exchange.answer, time.time() - (exchange.ahead or 0)))
    return ""


def _show(console: Console, finding: Finding) -> None:
    """Print a finding as a line, and below it what to do."""
    label = CHECKS[finding.check].label
    start = f"{finding.state:<7}  {label:<14}  "
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


def _conclude(console: Console, findings: list[Finding]) -> None:
    """Print what it comes to."""
    failures = [CHECKS[finding.check].label for finding in findings if finding.state == "failed"]
    warnings = sum(finding.state == "warning" for finding in findings)
    if failures:
        many = f"{len(failures)} checks" if len(failures) > 1 else "1 check"
        after = " Begin with the first." if len(failures) > 1 else ""
        line = Text(f"{many} failed: {', '.join(failures)}.{after}", _STYLES["failed"])
    else:
        aside = f", with {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
        line = Text(f"Ready{aside}.", _STYLES["warning" if warnings else "ok"])
    console.print()
    console.print(line, soft_wrap=True)
