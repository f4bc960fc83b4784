"""A command that imports a file."""

from typing import Any, Final

import click

from stream_tasks.cli import operations
from stream_tasks.cli.commands import COMMANDS
from stream_tasks.cli.options import (
    begin_log,
    client_options,
    connection_options,
    output_options,
    pace_options,
    wait_option,
)
from stream_tasks.cli.ui.help import epilog

__all__ = ["ImportCommand"]

_EXIT_CODES: Final = {
    0: "the import has completed; with --no-wait, it was started",
    1: "the import failed",
    2: "wrong usage, no credentials, or stdout cannot be used",
    3: "the time-out was reached; the import may still be running",
    4: "the server could not be reached, or refused",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output has gone",
    143: "ended by SIGTERM",
}


class ImportCommand(click.Command):
    """A command that starts an import, and waits for it.

    Args:
        operation: The operation's name, such as ``create_import``.
        example: A command line that shows it.
    """

    def __init__(self, operation: str, *, example: str) -> None:
        name = operation.replace("_", "-")
        self.operation = operation
        self.own_options = operations.options_of(operation)
        super().__init__(
            name,
            callback=click.pass_context(self._run),
            params=[
                *self.own_options,
                wait_option("Wait for the import, the default; or print its id."),
                *pace_options(
                    timeout=3600, about="The time-out of the wait; 0 for one poll, 'none' for no time-out."
                ),
                *output_options(),
                *connection_options(),
            ],
            help=f"{COMMANDS[name]}\n\n"
            "The file must have been uploaded before. The result has the import's state and its steps. "
            f"'stream-tasks wait --operation {name} ID' waits for an import that was started before.",
            epilog=epilog(example, exit_codes=_EXIT_CODES),
        )

    def _run(self, ctx: click.Context, /, **given: Any) -> None:
        begin_log(given)
        connection = client_options(given)
        own = {str(option.name): given.pop(str(option.name)) for option in self.own_options}
        try:
            operations.check(self.operation, **own)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        from stream_tasks.cli.client import make_client
        from stream_tasks.cli.running import start_import

        ctx.exit(
            start_import(make_client(connection), self.operation, own, is_waiting=given.pop("wait"), **given)
        )
