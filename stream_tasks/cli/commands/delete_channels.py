"""``delete-channels``: delete channels, each given as type:id."""

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]

command = OperationCommand(
    "delete_channels",
    noun="channels",
    verb="deletes",
    example="stream-tasks delete-channels --from channels.txt --hard-delete --yes",
)
