"""The commands together, and what their errors become."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from stream_tasks._version import __version__
from stream_tasks.cli import _codes
from stream_tasks.cli._completion import completion
from stream_tasks.cli._demo import demo
from stream_tasks.cli._doctor import doctor
from stream_tasks.cli._endings import concerns_all
from stream_tasks.cli._help import epilog
from stream_tasks.cli._hints import name, point_to_doctor
from stream_tasks.cli._operations import operations
from stream_tasks.cli._output import complain, prepare, refused
from stream_tasks.cli._serve import serve
from stream_tasks.cli._signals import deafen
from stream_tasks.cli._wait import get, wait
from stream_tasks.exceptions import (
    StreamException,
    StreamTaskException,
    StreamWaitTimeoutException,
)

__all__ = ["commands", "main"]

# The most specific first.
_EXIT_CODES: Final = (
    (StreamTaskException, _codes.FAILED),
    (StreamWaitTimeoutException, _codes.TIMED_OUT),
    (StreamException, _codes.ERROR),
)


class _Commands(click.Group):
    # click catches broken pipes and Ctrl-C in `main`, around the other two, and exits with 1 for them.

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with _told():
                return super().main(*args, **kwargs)
        finally:
            _drop_unwritable()

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _told():
            try:
                return super().invoke(ctx)
            except StreamException as error:
                complain(error)
                if concerns_all(error):
                    point_to_doctor()
                ctx.exit(next(code for kind, code in _EXIT_CODES if isinstance(error, kind)))


@contextmanager
def _told() -> Iterator[None]:
    """Exit on Ctrl-C, and on what the system refuses."""
    try:
        yield
    except KeyboardInterrupt:
        deafen()
        with suppress(OSError):
            click.echo("\nInterrupted.", err=True)
        sys.exit(_codes.SIGINT)
    except BrokenPipeError:
        sys.exit(_codes.SIGPIPE)
    except OSError as error:
        with suppress(OSError):
            click.echo(refused(error), err=True)
        sys.exit(_codes.USAGE)


def _drop_unwritable() -> None:
    """Drop what could not be written: still buffered, it would fail again when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
    prepare()
    try:
        commands(prog_name=name())
    finally:
        deafen()
