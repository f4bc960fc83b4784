"""The commands that start operations: exports, deletions, and users' comings and goings."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click

from stream_tasks import _operations
from stream_tasks.cli._flags import flags
from stream_tasks.cli._help import epilog
from stream_tasks.cli._hints import Remembering
from stream_tasks.cli._options import FILE, connection_options, from_option, output_options, pace_options
from stream_tasks.cli._running import Kind, run

__all__ = ["operations"]

_EXIT_CODES: Final = {
    0: "all was done; with --no-wait, all was started",
    1: "a task failed, or one of the items did",
    2: "wrong usage, no credentials, not confirmed, or stdout cannot be used",
    3: "the time ran out; tasks may still be running",
    4: "the server could not be asked, or refused; or a download failed",
    130: "interrupted by Ctrl-C",
    141: "whoever read the output has gone",
    143: "ended by SIGTERM",
}
"""The highest that applies is the one."""

_KINDS: Final = {
    "export_channels": Kind(
        "exports",
        "channels",
        "Export the messages of channels, each given as type:id.",
        "stream-tasks export-channels messaging:general --output general.json",
        exports=True,
    ),
    "export_users": Kind(
        "exports",
        "users",
        "Export all that is known of users.",
        "stream-tasks export-users --from users.txt --output users.json",
        exports=True,
    ),
    "delete_channels": Kind(
        "deletes",
        "channels",
        "Delete channels, each given as type:id.",
        "stream-tasks delete-channels --from channels.txt --hard-delete --yes",
        asks=True,
    ),
    "delete_users": Kind(
        "deletes",
        "users",
        "Delete users and what is theirs.",
        "stream-tasks delete-users --from users.txt --user soft --yes",
        asks=True,
    ),
    "deactivate_users": Kind(
        "deactivates",
        "users",
        "Deactivate users: they can no longer connect.",
        "stream-tasks deactivate-users jane joe --mark-messages-deleted",
        asks=True,
    ),
    "reactivate_users": Kind(
        "reactivates",
        "users",
        "Let deactivated users connect again.",
        "stream-tasks reactivate-users amy joe --no-wait | stream-tasks wait -",
    ),
}


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date, or date and time, as of ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _file(_: click.Context, __: click.Parameter, value: str | None) -> Path | None:
    if value is None:
        return None
    if value == "-":
        raise click.BadParameter("'-' is stdout, which tells what came of the tasks: name a file")
    if os.path.basename(value) in ("", ".", ".."):  # noqa: PTH119 - pathlib drops a slash at the end
        raise click.BadParameter(f"{value!r} is a directory's name: name a file")
    return Path(value)


def operations() -> list[click.Command]:
    """Make a command for each kind of operation."""
    return [_command(name, kind) for name, kind in _KINDS.items()]


def _command(name: str, kind: Kind) -> click.Command:
    most = _operations.MOST_ITEMS[name]
    own = flags(getattr(_operations, name))
    if name == "export_channels":
        own += _periods()
    command = Remembering(
        name.replace("_", "-"),
        params=[
            click.Argument(["ids"], nargs=-1, metavar="[ID]..."),
            from_option(),
            *own,
            *_around(kind),
            *_waiting(),
        ],
        help=f"{kind.about}\n\n"
        f"Ids of {kind.noun} come from the command line, from files, or with '-' from stdin: one a line; "
        "blank lines and lines that begin with '#' are passed over, and an id that comes twice counts once. "
        f"A task is started for each {most} of them, the most that the API takes at once.\n\n"
        "A 429 is waited out. After any other failure no more is started, and stderr names what was not.",
        epilog=epilog(kind.example, exit_codes=_EXIT_CODES),
    )
    before = len(command.params)
    connection_options(command)
    names = {"own": _names(own), "connection": _names(command.params[before:])}
    command.callback = click.pass_context(partial(run, operation=name, kind=kind, **names))
    return command


def _names(parameters: Sequence[click.Parameter]) -> list[str]:
    return [str(parameter.name) for parameter in parameters]


def _periods() -> list[click.Option]:
    return [
        click.Option(
            [f"--messages-{word}"],
            metavar="DATE",
            callback=_moment,
            help=f"Only messages {word} then: an ISO 8601 date, perhaps with a time; without a zone, of UTC.",
        )
        for word in ("since", "until")
    ]


def _around(kind: Kind) -> list[click.Option]:
    """Return what some commands take besides."""
    if kind.asks:
        about = "Do not ask. Without it, nothing is started when there is no terminal to ask on."
        return [click.Option(["-y", "--yes"], is_flag=True, help=about)]
    if not kind.exports:
        return []
    return [
        click.Option(
            ["-o", "--output"],
            metavar="FILE",
            type=FILE,
            callback=_file,
            help="Download the export to FILE, once it is complete. Of several tasks, each has a file of its "
            "own, in the order of the ids: users.json becomes users-1.json, users-2.json and so on.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Let --output replace files."),
    ]


def _waiting() -> list[click.Option]:
    return [
        click.Option(
            ["--wait/--no-wait"],
            default=True,
            help="Wait for the tasks, which is the default; or print their ids, one a line, for 'wait -'.",
        ),
        *pace_options(
            timeout=600,
            about="How long to wait at the most, once all are started; 0 for one look at each, "
            "'none' for no limit.",
        ),
        *output_options(),
    ]
