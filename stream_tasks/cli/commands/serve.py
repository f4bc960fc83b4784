"""``serve``: run a fake Stream server on this machine."""

import errno
import os
import shlex
from typing import TYPE_CHECKING

import click

from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.hints import program

if TYPE_CHECKING:
    from stream_tasks.testing import FakeStream

__all__ = ["command"]


@click.command(
    "serve",
    help="Run a fake Stream server until Ctrl-C.\n\n"
    "It answers any client as Stream's task endpoints do. Each task is first pending, then running, then "
    "completed. Nothing leaves this machine.",
    epilog=epilog("stream-tasks serve --port 8080"),
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
def command(host: str, port: int) -> None:
    """Run a fake server until Ctrl-C."""
    from stream_tasks.cli.signals import run
    from stream_tasks.testing import FakeStream

    run(lambda _: _serve(FakeStream(host=host, port=port)))


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
