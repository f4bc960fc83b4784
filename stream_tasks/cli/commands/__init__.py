"""One module for each command, with its options, its help and what it does.

A module is imported when its command is used, and imports the client when the command runs: ``--help``, usage
errors and completion are fast.
"""

from importlib import import_module
from typing import Any, Final

import click

__all__ = ["COMMANDS", "LazyCommand"]

COMMANDS: Final = {
    "completion": "Print a script that completes commands and options.",
    "create-import": "Import an uploaded file.",
    "create-import-v2-task": "Import an uploaded file by the second version.",
    "deactivate-users": "Deactivate users: they can no longer connect.",
    "delete-channels": "Delete channels, each given as type:id.",
    "delete-users": "Delete users and their data.",
    "demo": "Show the library at work, without an account.",
    "doctor": "Check the configuration and the connection.",
    "export-channels": "Export channels, each given as type:id.",
    "export-users": "Export all data of users.",
    "get": "Look at one task, and print it as JSON.",
    "pending": "List the durable waits that have not ended.",
    "reactivate-users": "Let deactivated users connect again.",
    "report": "Report on waits that have ended.",
    "serve": "Run a fake Stream server until Ctrl-C.",
    "wait": "Wait for tasks, and print their results.",
    "worker": "Run durable waits until it is told to stop.",
}
"""All commands, and what each does."""


class LazyCommand(click.Command):
    """Stands for a command until it is used: only its name and short help are known."""

    def load(self) -> click.Command:
        """Import the command."""
        module = import_module(f"{__name__}.{str(self.name).replace('-', '_')}")
        command: click.Command = module.command
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Begin to use the command; the context is that of the real one."""
        return self.load().make_context(*args, **kwargs)
