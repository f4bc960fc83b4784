"""``serve``: run a fake Stream server on this machine."""

import errno
import math
import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from stream_tasks.cli.options import seconds
from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.hints import program

if TYPE_CHECKING:
    from stream_tasks.testing import FakeStream, Fault

__all__ = ["command"]

_FAULTY_SHARE = "0.1"  # of polls, unless the option says otherwise
_BURST = 30  # Stream allows one of so many parts of a minute's calls in one second


def _share(value: str) -> float:
    """Read a share.

    Raises:
        click.BadParameter: It is not a number, or out of range.
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1:
        raise click.BadParameter(f"{value!r} is not a share greater than 0, and 1 or less, such as 0.2")
    return number


def _faulty(value: str) -> "tuple[Fault, float]":
    """Read a fault, and the share of polls that meet it.

    Raises:
        click.BadParameter: It is neither a status nor the name of a fault.
    """
    from stream_tasks.testing import Fault

    fault, _, part = value.partition(":")
    kind, _, number = fault.partition("=")
    makers: dict[str, Any] = {
        "cut": Fault.cut,
        "hang": Fault.hang,
        "html": Fault.html,
        "malformed": Fault.malformed,
        "reset": Fault.reset,
    }
    try:
        if kind == "delay":
            made = Fault.delay(float(number))
        elif fault in makers:
            made = makers[fault]()
        else:
            made = Fault.status(int(fault))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not an HTTP status, {', '.join(makers)} or delay=SECONDS,"
            " nor one of these with a share, such as 503:0.5"
        ) from None
    return made, _share(part or _FAULTY_SHARE)


@click.command(
    "serve",
    help="Run a fake Stream server until Ctrl-C.\n\n"
    "It answers any client as Stream's task endpoints do. Each task is first pending, then running, then "
    "completed: at its third poll, or with --after by time. Nothing leaves this machine.",
    epilog=epilog(
        "stream-tasks serve --port 8080",
        "stream-tasks serve --after 30 --fail 0.2 --quota 600 --fault 503:0.5",
    ),
)
@click.option(
    "--host", metavar="HOST", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    metavar="PORT",
    show_default=True,
    help="The port to listen on; 0 for any free one.",
)
@click.option("--after", type=seconds, metavar="SECONDS", help="How long each task takes.")
@click.option(
    "--fail",
    type=_share,
    metavar="SHARE",
    is_flag=False,
    flag_value="1",
    help="The share of tasks that fail, such as 0.2; all of them without a number.",
)
@click.option(
    "--quota",
    type=click.IntRange(1),
    metavar="CALLS",
    help="How many polls are allowed in a minute, and a thirtieth of them in a second.",
)
@click.option(
    "--fault",
    "faults",
    type=_faulty,
    metavar="FAULT",
    multiple=True,
    help="What one poll in ten meets: an HTTP status, cut, hang, html, malformed, reset or delay=SECONDS. "
    "Another share goes behind a colon: 503:0.5. May be given more than once.",
)
def command(host: str, port: int, quota: int | None, **bad_day: Any) -> None:
    """Run a fake server until Ctrl-C."""
    from stream_tasks.cli.signals import run
    from stream_tasks.testing import FakeStream, RateLimitRule

    rule = None if quota is None else RateLimitRule(quota, per_second=quota / _BURST)
    server = FakeStream(host=host, port=port, rate_limit=rule)
    _script(server, **bad_day)
    run(lambda _: _serve(server))


def _script(
    server: "FakeStream", *, after: float | None, fail: float | None, faults: "list[tuple[Fault, float]]"
) -> None:
    """Let tasks and polls go wrong as the options say."""
    from stream_tasks._operations import OPERATIONS
    from stream_tasks.testing import TaskFailure

    for name in OPERATIONS:
        if fail is not None:
            failure = TaskFailure("fake_failure", "the option --fail made this task fail")
            server.script_operation(name, times=math.inf, share=fail, after=after, error=failure)
        server.script_operation(name, times=math.inf, after=after)
    for fault, part in faults:
        server.inject(fault, math.inf, share=part, path="/tasks/")


async def _serve(server: "FakeStream") -> None:
    import asyncio

    try:
        await _listen(server)
        click.echo(_introduction(server))
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        click.echo("\nStopped.", err=True)
    finally:
        await server.stop()


async def _listen(server: "FakeStream") -> None:
    try:
        await server.start()
    except OSError as error:
        # asyncio's own text differs between versions of Python.
        why = str(error.strerror)
        if error.errno and error.errno > 0:  # a resolver's numbers are negative
            why = os.strerror(error.errno).lower()
        if error.errno == errno.EADDRINUSE:
            why += "; --port 0 takes a free one"
        raise click.UsageError(f"cannot listen there: {why}") from None


def _introduction(server: "FakeStream") -> str:
    environment = {
        "STREAM_BASE_URL": server.url,
        "STREAM_API_KEY": server.api_key,
        "STREAM_API_SECRET": server.api_secret,
    }
    exports = "\n".join(f"  export {name}={shlex.quote(value)}" for name, value in environment.items())
    name = program()
    return f"""\
A fake Stream server listens on {server.url}. Ctrl-C stops it.

Point clients to it; the secret is valid for this server only:

{exports}

Then start a task, and wait for it:

  {name} export-channels messaging:general

Or start many, and wait for them later:

  seq 5000 | {name} export-users - --no-wait > ids.txt
  {name} wait --from ids.txt
"""
