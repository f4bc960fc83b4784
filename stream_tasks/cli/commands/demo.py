"""``demo``: show the library at work."""

from typing import Final

import click

from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]

SECONDS: Final = 4.0
"""How long the demo lasts."""


@click.command(
    "demo",
    help="Show the library at work, in four seconds and without an account.\n\n"
    "A fake Stream server runs in this process. Four tasks are started and waited for at the same time: an "
    "export, a hard delete with one channel that fails, a task that fails, and a task that outlasts its "
    "time-out. At the end you see what each wait returned or raised.",
    epilog=epilog("stream-tasks demo"),
)
def command() -> None:
    """Show the library at work."""
    from stream_tasks.cli import demonstration, signals

    signals.run(lambda _: demonstration.run(SECONDS))
