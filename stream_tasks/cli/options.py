"""The options that commands share."""

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from stream_tasks._secret import Secret
from stream_tasks.cli.ui.hints import remember_connection
from stream_tasks.cli.ui.log import ERROR, INFO, LEVELS, WARNING, Style, say, set_style

__all__ = [
    "FILE",
    "begin_log",
    "check_export_options",
    "client_options",
    "connection_options",
    "database_options",
    "export_options",
    "output_options",
    "pace_options",
    "positive_seconds",
    "read_secret",
    "seconds",
    "seconds_or_none",
    "source_options",
    "task_id",
    "wait_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(readable=False)
"""A path as it was typed, which shells complete. It is checked when it is opened."""

_MAX_SECRET_FILE = 4096  # characters; a secret has 64


def seconds(value: str | float) -> float:
    """Read a number of seconds.

    Raises:
        click.BadParameter: It is not a number, or negative or infinite.
    """
    return _seconds(value, lambda number: number >= 0, "0 or more")


def positive_seconds(value: str | float) -> float:
    """Read a number of seconds above 0.

    Raises:
        click.BadParameter: It is not a number, or 0, negative or infinite.
    """
    return _seconds(value, lambda number: number > 0, "greater than 0")


def _seconds(value: str | float, is_allowed: Callable[[float], bool], allowed: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not is_allowed(number):
        raise click.BadParameter(f"{value!r} is not a finite number of seconds, {allowed}")
    return number


def seconds_or_none(value: str | float) -> float | None:
    """Read a number of seconds, or ``none`` for no limit.

    Raises:
        click.BadParameter: It is neither.
    """
    return None if value == "none" else seconds(value)


def task_id(value: str) -> str:
    """Return a task's id unchanged.

    Raises:
        click.BadParameter: It is not a valid id.
    """
    from stream_tasks._arguments import check_task_id

    if value == "-":
        raise click.BadParameter("'-' is not an id; 'wait -' reads ids from stdin")
    try:
        return check_task_id(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def source_options() -> list[click.Option]:
    """Return the options for files of ids, ``sources`` and ``column``."""
    about = "A file of ids, one a line; '-' for stdin. May be given more than once."
    return [
        click.Option(["--from", "sources"], type=FILE, metavar="FILE", multiple=True, help=about),
        click.Option(
            ["--column"],
            metavar="NAME",
            help="The column of the ids, if files and stdin are tables (CSV) with a line of headings.",
        ),
    ]


def wait_option(about: str) -> click.Option:
    """Return the option that says whether to wait for what was started, ``wait``.

    Args:
        about: The help for it.
    """
    return click.Option(["--wait/--no-wait"], default=True, help=about)


def pace_options(*, timeout: float, about: str) -> list[click.Option]:
    """Return the options of a wait, ``poll_interval`` and ``timeout``.

    Args:
        timeout: The default time-out, in seconds.
        about: The help for it.
    """
    return [
        click.Option(
            ["--poll-interval"],
            type=seconds,
            metavar="SECONDS",
            default=1,
            show_default=True,
            help="The shortest time between two polls of a task.",
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
    """Return the options for what is printed; `begin_log` takes those of the log."""
    about = "Print the server's stack traces of failed tasks."
    formats, levels = click.Choice(["text", "json"]), click.Choice(list(LEVELS))
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON lines on a terminal, too."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors on stderr."),
        click.Option(["-v", "--verbose"], is_flag=True, help=about),
        click.Option(["--log-format"], type=formats, help="Write stderr as log records with times."),
        click.Option(["--log-level"], type=levels, help="The lowest level of what is written to stderr."),
    ]


def export_options() -> list[click.Option]:
    """Return the options for the files of exports, ``output`` and ``overwrite``."""
    return [
        click.Option(
            ["-o", "--output"],
            metavar="FILE",
            type=FILE,
            callback=_output_path,
            help="Download the export to FILE once it is complete. With several tasks, each has its own "
            "file, in the order of the ids: users.json becomes users-1.json, users-2.json and so on.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Let --output replace files."),
    ]


def check_export_options(output: str | None, *, overwrite: bool) -> None:
    """Check whether the options fit together.

    Raises:
        click.UsageError: They do not.
    """
    if overwrite and output is None:
        raise click.UsageError("--overwrite needs --output")


def _output_path(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if value == "-":
        raise click.BadParameter("'-' is stdout, which gets the results of the tasks: name a file")
    if os.path.basename(value) in ("", ".", ".."):  # noqa: PTH119 - pathlib drops a slash at the end
        raise click.BadParameter(f"{value!r} is a directory: name a file")
    return value


def database_options() -> list[click.Option]:
    """Return the option that says where durable waits are kept."""
    return [
        click.Option(
            ["--database"],
            metavar="FILE|URL",
            help="Where the waits are: a file of SQLite, or the URL of a Postgres database. The default is "
            "STREAM_DATABASE in the environment.",
        )
    ]


def begin_log(given: dict[str, Any]) -> None:
    """Take the options of the log out of a command's options, and set how stderr is written."""
    form, name = given.pop("log_format"), given.pop("log_level")
    level = ERROR if given["quiet"] else LEVELS.get(name, INFO)
    # People are not told each start and end of a wait unless they ask for that.
    is_chatty = name is not None or form is not None
    set_style(Style(form, level, level if is_chatty else max(level, WARNING)))


def connection_options() -> list[click.Option]:
    """Return the options that say which app to use and where the API is. `client_options` takes them."""
    return [
        click.Option(
            ["--api-key"],
            metavar="KEY",
            help="The app's key. The default is STREAM_API_KEY in the environment.",
        ),
        click.Option(
            ["--api-secret"],
            metavar="SECRET",
            type=Secret,
            help="The app's secret. The default is STREAM_API_SECRET in the environment, which is safer: "
            "other users can read options in the list of processes.",
        ),
        click.Option(
            ["--api-secret-file"],
            metavar="FILE",
            type=click.Path(),
            help="A file that holds the app's secret and nothing else.",
        ),
        click.Option(
            ["--base-url"],
            metavar="URL",
            help="Where the API is. The default is STREAM_BASE_URL in the environment, else Stream's own.",
        ),
    ]


def read_secret(api_secret: str | None, api_secret_file: str | None) -> Secret | None:
    """Return the secret from the options, None without one; warn if others can see it.

    Raises:
        click.UsageError: Both options are given, or the file cannot be read.
    """
    if api_secret is None and api_secret_file is None:
        return None
    if api_secret_file is None:
        say(
            "Warning: other users can read the value of --api-secret in the list of\n"
            "processes; set STREAM_API_SECRET instead, or give --api-secret-file.",
            WARNING,
        )
        return Secret(api_secret)
    if api_secret is not None:
        raise click.UsageError("give --api-secret or --api-secret-file, not both")
    try:
        with open(api_secret_file, encoding="utf-8-sig") as file:  # noqa: PTH123 - --help does without pathlib
            return Secret(file.read(_MAX_SECRET_FILE).strip())
    except (OSError, UnicodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is not a text file"
        raise click.UsageError(f"--api-secret-file {api_secret_file!r} cannot be read: {why}") from None


def client_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take the connection options out of a command's options, and return the client's arguments.

    Raises:
        click.UsageError: The key or the secret is missing, also from the environment.
    """
    connection = {name: given.pop(name) for name in ("api_key", "api_secret", "api_secret_file", "base_url")}
    remember_connection(connection)
    secret = read_secret(connection.pop("api_secret"), connection.pop("api_secret_file"))
    if connection["api_key"] is None and not os.environ.get("STREAM_API_KEY"):
        raise click.UsageError("api_key is missing: give --api-key, or set STREAM_API_KEY in the environment")
    if secret is None and not os.environ.get("STREAM_API_SECRET"):
        raise click.UsageError(
            "api_secret is missing: set STREAM_API_SECRET in the environment, or give --api-secret-file"
        )
    return {**connection, "api_secret": secret}
