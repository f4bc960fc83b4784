"""``deactivate-users``: deactivate users: they can no longer connect."""

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]

command = OperationCommand(
    "deactivate_users",
    noun="users",
    verb="deactivates",
    example="stream-tasks deactivate-users jane joe --mark-messages-deleted",
)
