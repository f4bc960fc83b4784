"""``reactivate-users``: let deactivated users connect again."""

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]

command = OperationCommand(
    "reactivate_users",
    noun="users",
    example="stream-tasks reactivate-users amy joe --no-wait | stream-tasks wait -",
)
