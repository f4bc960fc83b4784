"""``serve``: a Stream server on your machine."""

import asyncio
import errno
import os
import shlex
from typing import TYPE_CHECKING

import click

from stream_tasks._http import auth, protocol
from stream_tasks.cli import _signals
from stream_tasks.cli._help import epilog
from stream_tasks.cli._hints import program

if TYPE_CHECKING:
    from stream_tasks.testing import FakeStream

__all__ = ["serve"]


@click.command(
    help="Run a fake Stream server until Ctrl-C.\n\n"
    "It speaks the wire of Stream's task endpoints to any client. Each task is seen pending, then running, "
    "then completed. Nothing leaves your machine.",
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
def serve(host: str, port: int) -> None:
    """Run a fake server until Ctrl-C."""
    from stream_tasks.testing import FakeStream  # noqa: PLC0415 - other commands begin sooner without

    _signals.run(lambda _: _serve(FakeStream(host=host, port=port)))


async def _serve(server: "FakeStream") -> None:
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
        # asyncio's text says more, and not the same on every Python.
        why = str(error.strerror)
        if error.errno and error.errno > 0:  # not a resolver's
            why = os.strerror(error.errno).lower()
        if error.errno == errno.EADDRINUSE:
            why += "; --port 0 takes a free one"
        raise click.UsageError(f"cannot listen there: {why}") from None


def _introduction(server: "FakeStream") -> str:
    environment = {
        protocol.BASE_URL_VARIABLE: server.url,
        auth.KEY_VARIABLE: server.api_key,
        auth.SECRET_VARIABLE: server.api_secret,
    }
    exports = "\n".join(f"  export {name}={shlex.quote(value)}" for name, value in environment.items())
    name = program()
    return f"""\
A fake Stream server listens on {server.url}. Ctrl-C stops it.

Point clients to it; the secret opens nothing but this server:

{exports}

Then start a task, and wait for it:

  {name} export-channels messaging:general

Or start many, and wait for them later:

  seq 5000 | {name} export-users - --no-wait > ids.txt
  {name} wait --from ids.txt
"""
