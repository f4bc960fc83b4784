"""``create-import``: import users, channels and messages."""

from stream_tasks.cli.import_command import ImportCommand

__all__ = ["command"]

command = ImportCommand(
    "create_import", example="stream-tasks create-import --path s3://bucket/data.json --mode upsert"
)
