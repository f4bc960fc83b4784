"""``export-users``: export all data of users."""

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]

command = OperationCommand(
    "export_users",
    noun="users",
    example="stream-tasks export-users --from users.txt --output users.json",
    exports=True,
)
