"""``completion``: what makes a shell complete this command line."""

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from stream_tasks.cli._help import epilog

__all__ = ["completion"]

_SHELLS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    help="Print the script that makes SHELL - bash, zsh or fish - complete commands and options.\n\n"
    "Load it from the shell's start-up file, as below; it then asks this program whenever Tab is pressed.",
    short_help="Print what makes a shell complete commands and options.",
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
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script."""
    script = _SHELLS[shell](context.find_root().command, {}, "stream-tasks", "_STREAM_TASKS_COMPLETE")
    click.echo(script.source())
