"""``doctor``: check the configuration and the connection."""

import click

from stream_tasks.cli.doctor.report import EXIT_CODES
from stream_tasks.cli.options import connection_options, positive_seconds, read_secret
from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]


@click.command(
    "doctor",
    params=[
        click.Option(
            ["--timeout"],
            type=positive_seconds,
            metavar="SECONDS",
            default=5,
            show_default=True,
            help="How long each step of the connection may take.",
        ),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="Print one JSON object instead of lines for people."
        ),
        *connection_options(),
    ],
    help="Check the configuration and the connection, and say what is wrong and what to do.\n\n"
    "It checks key, secret, base URL, time-out, proxy, DNS, TCP, TLS, HTTP, clock, authentication, and the "
    "quota for polling tasks. It sends one request, which changes nothing, and never shows a secret.",
    epilog=epilog(
        "stream-tasks doctor",
        "stream-tasks doctor --json | jq .checks",
        "stream-tasks doctor --base-url http://127.0.0.1:8080 --timeout 1",
        exit_codes=EXIT_CODES,
    ),
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    timeout: float,
    as_json: bool,
    api_key: str | None,
    api_secret: str | None,
    api_secret_file: str | None,
    base_url: str | None,
) -> None:
    """Make all checks, and exit with the code of the first that failed."""
    given = read_secret(api_secret, api_secret_file)
    from stream_tasks.cli.doctor.examination import examine
    from stream_tasks.cli.doctor.settings import Setting

    key = Setting.of(api_key, "--api-key", "STREAM_API_KEY")
    option = "--api-secret-file" if api_secret is None else "--api-secret"
    secret = Setting.of(given, option, "STREAM_API_SECRET")
    url = Setting.of(base_url, "--base-url", "STREAM_BASE_URL")
    ctx.exit(examine(key, secret, url, limit=timeout, as_json=as_json))
