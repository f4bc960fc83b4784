"""The commands together, and what their errors become."""

import os
import sys
from typing import Any, Final

import click

from stream_tasks._version import __version__
from stream_tasks.cli._completion import completion
from stream_tasks.cli._demo import demo
from stream_tasks.cli._doctor import doctor
from stream_tasks.cli._help import epilog
from stream_tasks.cli._operations import operations
from stream_tasks.cli._output import complain
from stream_tasks.cli._serve import serve
from stream_tasks.cli._wait import get, wait
from stream_tasks.exceptions import (
    StreamApiException,
    StreamException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)

__all__ = ["commands", "main"]

# The most specific first.
_EXIT_CODES: Final = ((StreamTaskException, 1), (StreamWaitTimeoutException, 3), (StreamException, 4))
_REFUSED: Final = (401, 403)
_SIGINT: Final = 128 + 2
_SIGPIPE: Final = 128 + 13


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StreamException as error:
            complain(error)
            if _is_about_connection(error):
                click.echo("stream-tasks doctor looks for the cause.", err=True)
            code = next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            code = _SIGINT
        except BrokenPipeError:
            # What is still buffered would fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = _SIGPIPE
        raise click.exceptions.Exit(code)


def _is_about_connection(error: StreamException) -> bool:
    if isinstance(error, StreamApiException):
        return error.status_code in _REFUSED
    return isinstance(error, StreamTransportException) and not isinstance(error, StreamWaitTimeoutException)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Wait on Stream's (getstream.io) long-running tasks.\n\n"
    "Key and secret come from STREAM_API_KEY and STREAM_API_SECRET in the environment, or from options; "
    "there is no configuration file.",
    epilog=epilog(
        "stream-tasks demo",
        "# how a command is used",
        "stream-tasks wait --help",
    ),
)
@click.version_option(__version__, prog_name="stream-tasks")
def commands() -> None:
    """Hold the commands together."""


for _command in (completion, demo, doctor, get, *operations(), serve, wait):
    commands.add_command(_command)


def main() -> None:
    """Run the command line; ends the process."""
    commands(prog_name="stream-tasks")
