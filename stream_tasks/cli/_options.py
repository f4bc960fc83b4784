"""What commands take alike, and the client that comes of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stream_tasks._arguments import check_seconds
from stream_tasks._client import AsyncStream
from stream_tasks._http import auth, protocol
from stream_tasks._secret import Secret

__all__ = [
    "FILE",
    "connection_options",
    "from_option",
    "make_client",
    "output_options",
    "pace_options",
    "positive_seconds",
    "read_secret",
    "seconds",
    "seconds_or_none",
    "task_id",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Client = TypeVar("Client", bound=AsyncStream)

FILE = click.Path(readable=False)
"""A path as it was typed, which shells complete; whether it can be used shows when it is opened."""

_LONGEST_SECRET_FILE = 4096  # characters; far more than a secret has


def seconds(value: str | float) -> float:
    """Read a number of seconds.

    Raises:
        click.BadParameter: It is none, or negative or infinite.
    """
    try:
        return check_seconds("it", float(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no finite number of seconds, 0 or more") from None


def positive_seconds(value: str | float) -> float:
    """Read a number of seconds above 0.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return check_seconds("it", float(value), positive=True)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no finite number of seconds above 0") from None


def seconds_or_none(value: str | float) -> float | None:
    """Read a number of seconds, or ``none`` for no limit.

    Raises:
        click.BadParameter: It is neither.
    """
    return None if value == "none" else seconds(value)


def task_id(value: str) -> str:
    """Return a task's id as it stands.

    Raises:
        click.BadParameter: It cannot be one.
    """
    if value == "-":
        raise click.BadParameter("'-' is none; 'wait -' reads ids from stdin")
    try:
        return protocol.check_task_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def from_option() -> click.Option:
    """Make the option for files of ids, ``sources``."""
    about = "A file of ids, one a line; '-' for stdin. May be given more than once."
    return click.Option(["--from", "sources"], type=FILE, metavar="FILE", multiple=True, help=about)


def pace_options(*, timeout: float, about: str) -> list[click.Option]:
    """Make the options of a wait, ``poll_interval`` and ``timeout``.

    Args:
        timeout: The default limit, in seconds.
        about: What is limited, for the help.
    """
    return [
        click.Option(
            ["--poll-interval"],
            type=seconds,
            metavar="SECONDS",
            default=1,
            show_default=True,
            help="The least time between two looks at a task.",
        ),
        click.Option(
            ["--timeout"],
            type=seconds_or_none,
            metavar="SECONDS",
            default=timeout,
            show_default=True,
            help=about,
        ),
    ]


def output_options() -> list[click.Option]:
    """Make the options of what is printed, ``as_json``, ``quiet`` and ``verbose``."""
    about = "Print the server's stack traces of failed tasks."
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON lines on a terminal, too."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors on stderr."),
        click.Option(["-v", "--verbose"], is_flag=True, help=about),
    ]


def connection_options(command: Command) -> Command:
    """Add the options that say which app is asked, and where; `make_client` takes them."""
    options = [
        click.option(
            "--api-key",
            metavar="KEY",
            help=f"The app's key; without it, {auth.KEY_VARIABLE} in the environment.",
        ),
        click.option(
            "--api-secret",
            metavar="SECRET",
            type=Secret,
            help=f"The app's secret; without it, {auth.SECRET_VARIABLE} in the environment, which is safer: "
            "other users can read options in the list of processes.",
        ),
        click.option(
            "--api-secret-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="A file that holds the app's secret and nothing else.",
        ),
        click.option(
            "--base-url",
            metavar="URL",
            help=f"Where the API is; without it, {protocol.BASE_URL_VARIABLE} in the environment, "
            "else Stream's own address.",
        ),
    ]
    # click reverses what decorates a function, but not what is added to a finished command.
    for option in options if isinstance(command, click.Command) else reversed(options):
        command = option(command)
    return command


def read_secret(api_secret: str | None, api_secret_file: Path | None) -> Secret | None:
    """Return the secret that the options give, None when they give none; warn if others can see it.

    Raises:
        click.UsageError: Both are given, or the file cannot be read.
    """
    if api_secret is None and api_secret_file is None:
        return None
    if api_secret_file is None:
        click.echo(
            "Warning: other users can read the value of --api-secret in the list of\n"
            f"processes; set {auth.SECRET_VARIABLE} instead, or give --api-secret-file.",
            err=True,
        )
        return Secret(api_secret)
    if api_secret is not None:
        raise click.UsageError("give --api-secret or --api-secret-file, not both")
    try:
        with api_secret_file.open(encoding="utf-8-sig") as file:
            return Secret(file.read(_LONGEST_SECRET_FILE).strip())
    except (OSError, UnicodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is no text"
        raise click.UsageError(f"--api-secret-file {str(api_secret_file)!r} cannot be read: {why}") from None


def make_client(
    kind: type[Client],
    *,
    api_key: str | None,
    api_secret: str | None,
    api_secret_file: Path | None,
    base_url: str | None,
) -> Client:
    """Make a client of what `connection_options` gave and of the environment.

    Raises:
        click.UsageError: Something is missing or wrong.
    """
    secret = read_secret(api_secret, api_secret_file)
    if api_key is None and not os.environ.get(auth.KEY_VARIABLE):
        raise click.UsageError(
            f"api_key is missing: give --api-key, or set {auth.KEY_VARIABLE} in the environment"
        )
    if secret is None and not os.environ.get(auth.SECRET_VARIABLE):
        raise click.UsageError(
            f"api_secret is missing: set {auth.SECRET_VARIABLE} in the environment, or give --api-secret-file"
        )
    try:
        return kind(api_key, secret, base_url=base_url)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
