"""``create-import-v2-task``: import a file by the second version of imports."""

from stream_tasks.cli.import_command import ImportCommand

__all__ = ["command"]

command = ImportCommand(
    "create_import_v2_task",
    example='stream-tasks create-import-v2-task --product chat --settings "$SETTINGS"',
)
