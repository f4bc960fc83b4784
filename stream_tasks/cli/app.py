"""The group of all commands, and what becomes of their errors."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from stream_tasks._version import __version__
from stream_tasks.cli import codes
from stream_tasks.cli.commands import COMMANDS, LazyCommand
from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.hints import name, suggest_doctor
from stream_tasks.cli.ui.log import ERROR, default_style, say, say_error
from stream_tasks.cli.ui.output import describe, prepare
from stream_tasks.exceptions import StreamException

__all__ = ["commands", "main"]


class Commands(click.Group):
    """Turns errors into exit codes.

    click exits with 1 after a broken pipe or Ctrl-C. It handles both in `main`, so they are handled here in
    `make_context` and `invoke`, which run inside it.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments and run the command."""
        try:
            with default_style(), _exit_codes():
                return super().main(*args, **kwargs)
        finally:
            _discard_unwritable()

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the group's own options."""
        with _exit_codes():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse the command's arguments and run it."""
        with _exit_codes():
            try:
                return super().invoke(ctx)
            except StreamException as error:
                from stream_tasks.cli.endings import concerns_all, exit_code_of

                say_error(str(error))
                if concerns_all(error):
                    suggest_doctor()
                ctx.exit(exit_code_of(error))


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Exit on Ctrl-C, and when the system refuses something."""
    try:
        yield
    except KeyboardInterrupt:
        _ignore_signals()
        with suppress(OSError):
            say("\nInterrupted.", ERROR)
        sys.exit(codes.SIGINT)
    except BrokenPipeError:
        sys.exit(codes.SIGPIPE)
    except OSError as error:
        with suppress(OSError):
            say_error(describe(error))
        sys.exit(codes.USAGE)


def _ignore_signals() -> None:
    """Ignore further signals: the process is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


def _discard_unwritable() -> None:
    """Discard what could not be written: the interpreter would try again when it ends, and fail again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Wait for Stream's (getstream.io) long-running tasks.\n\n"
    "The key and the secret come from STREAM_API_KEY and STREAM_API_SECRET in the environment, or from "
    "options. There is no configuration file.",
    epilog=epilog(
        "stream-tasks demo",
        "# how to use a command",
        "stream-tasks wait --help",
    ),
)
@click.version_option(__version__, prog_name="stream-tasks")
def commands() -> None:
    """Hold the commands together."""


for _name, _about in COMMANDS.items():
    commands.add_command(LazyCommand(_name, short_help=_about))


def main() -> None:
    """Run the command line. This ends the process."""
    prepare()
    try:
        commands(prog_name=name())
    finally:
        _ignore_signals()
