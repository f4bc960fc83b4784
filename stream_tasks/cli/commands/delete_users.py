"""``delete-users``: delete users and their data."""

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]

command = OperationCommand(
    "delete_users",
    noun="users",
    verb="deletes",
    example="stream-tasks delete-users --from users.txt --user soft --yes",
)
