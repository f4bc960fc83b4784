"""``completion``: complete this command line in a shell."""

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from stream_tasks.cli.ui.help import epilog

__all__ = ["command"]

_SHELLS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    "completion",
    help="Print the script with which SHELL - bash, zsh or fish - completes commands and options.\n\n"
    "Load it from the shell's start-up file, as below. It runs this program whenever Tab is pressed.",
    epilog=epilog(
        "# bash (4.4 or newer): add this line to ~/.bashrc",
        'eval "$(stream-tasks completion bash)"',
        "# zsh: add this line to ~/.zshrc, below compinit",
        'eval "$(stream-tasks completion zsh)"',
        "# fish: run this once",
        "stream-tasks completion fish > ~/.config/fish/completions/stream-tasks.fish",
    ),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(list(_SHELLS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a shell's completion script."""
    script = _SHELLS[shell](context.find_root().command, {}, "stream-tasks", "_STREAM_TASKS_COMPLETE")
    click.echo(script.source())
