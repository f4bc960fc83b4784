"""``export-channels``: export the messages of channels."""

import click

from stream_tasks.cli.operation_command import OperationCommand

__all__ = ["command"]


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from datetime import UTC, datetime

    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a date, or a date and time, in ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


command = OperationCommand(
    "export_channels",
    noun="channels",
    example="stream-tasks export-channels messaging:general --output general.json",
    exports=True,
    item_options=[
        click.Option(
            [f"--messages-{word}"],
            metavar="DATE",
            callback=_moment,
            help=f"Only messages {word} then: an ISO 8601 date, perhaps with a time; UTC without a zone.",
        )
        for word in ("since", "until")
    ],
)
