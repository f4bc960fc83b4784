"""A command that starts an operation for many items."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from stream_tasks.cli import codes, operations
from stream_tasks.cli.commands import COMMANDS
from stream_tasks.cli.files.ids import read_ids
from stream_tasks.cli.job import Job
from stream_tasks.cli.options import (
    begin_log,
    check_export_options,
    client_options,
    connection_options,
    export_options,
    output_options,
    pace_options,
    source_options,
    wait_option,
)
from stream_tasks.cli.ui.help import epilog
from stream_tasks.cli.ui.log import say
from stream_tasks.cli.ui.output import is_terminal, printable, to_json

__all__ = ["OperationCommand"]

_EXIT_CODES: Final = {
    0: "everything was done; with --no-wait, everything was started",
    1: "a task failed, or an item of a completed task",
    2: "wrong usage, no credentials, not confirmed, or stdout cannot be used",
    3: "the time-out was reached; tasks may still be running",
    4: "the server could not be reached, or refused; or a download failed",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output has gone",
    143: "ended by SIGTERM",
}


class OperationCommand(click.Command):
    """A command that starts an operation for many items, and waits for its tasks.

    Args:
        operation: The operation's name, such as ``delete_users``.
        noun: What its items are, such as ``users``.
        verb: What it does to them, in the third person. It asks before it does that.
        example: A command line that shows it.
        exports: Whether its result is a link to a file.
        item_options: Options that go into each item rather than into the request.
    """

    def __init__(
        self,
        operation: str,
        *,
        noun: str,
        example: str,
        verb: str | None = None,
        exports: bool = False,
        item_options: Sequence[click.Option] = (),
    ) -> None:
        name = operation.replace("_", "-")
        self.operation = operation
        self.noun = noun
        self.verb = verb
        self.item_options = item_options
        self.own_options = operations.options_of(operation)
        super().__init__(
            name,
            callback=click.pass_context(self._run),
            params=[
                click.Argument(["ids"], nargs=-1, metavar="[ID]..."),
                *source_options(),
                *self.own_options,
                *item_options,
                *_confirmation_options(asks=verb is not None),
                click.Option(
                    ["--dry-run"], is_flag=True, help="Print what would be started, and start nothing."
                ),
                *(export_options() if exports else []),
                wait_option("Wait for the tasks, the default; or print their ids, one a line, for 'wait -'."),
                click.Option(
                    ["--durable"],
                    metavar="FILE|URL",
                    help="Leave starting and waiting to a 'stream-tasks worker': put it in its database, a "
                    "file of SQLite or the URL of a Postgres one, and print a key for each task, one a line.",
                ),
                click.Option(
                    ["--key"],
                    help="The key of the durable wait; the same key twice is one wait. Several tasks have "
                    "KEY-1, KEY-2 and so on.",
                ),
                *pace_options(
                    timeout=600,
                    about="The time-out of the wait, counted from the start of the last task; 0 for one poll "
                    "of each task, 'none' for no time-out.",
                ),
                *output_options(),
                *connection_options(),
            ],
            help=f"{COMMANDS[name]}\n\n"
            f"Ids of {noun} come from the command line, from files, or with '-' from stdin, one a line. "
            "Blank lines and lines that begin with '#' are ignored, and an id that comes twice counts once. "
            f"A task is started for each {operations.max_items(operation)} of them, as many as the API "
            "allows.\n\n"
            "After a 429 the command waits and tries again. After any other error it starts nothing more, "
            "and names on stderr what it did not start.",
            epilog=epilog(example, exit_codes=_EXIT_CODES),
        )

    def _run(
        self,
        ctx: click.Context,
        /,
        *,
        ids: Sequence[str],
        sources: Sequence[str],
        column: str | None,
        dry_run: bool,
        **given: Any,
    ) -> None:
        begin_log(given)
        database, key = given.pop("durable"), given.pop("key")
        api_key = given["api_key"] or os.environ.get("STREAM_API_KEY")
        connection = {} if dry_run or database is not None else client_options(given)
        check_export_options(given.get("output"), overwrite=given.get("overwrite", False))
        _check_use(given, database, key)
        check = _cid if self.noun == "channels" else _text
        found = read_ids(ids, sources, what=self.noun.removesuffix("s"), check=check, column=column)
        if not found:
            say("No ids: there is nothing to start.")
            return
        job = self._job(found, given)
        target = None
        if given.get("output") is not None:
            from pathlib import Path

            from stream_tasks.cli.files.target import Target

            target = Target.of(Path(given["output"]), job.batches, overwrite=given["overwrite"])
        what = f"{self.verb} {job.counted(len(found))}{self._typed(job)}"
        if dry_run:
            _show_plan(job, as_json=given["as_json"])
            return
        must_ask = self.verb is not None and not given["yes"]
        if must_ask and not is_terminal(sys.stdin):
            raise click.UsageError(f"this {what}: with no terminal to ask on, give --yes if that is meant")
        if database is not None:
            from stream_tasks.cli.durable import enqueue

            if must_ask:
                _confirm(ctx, f"This {what}, as soon as a worker gets to it.")
            pace = {name: given[name] for name in ("poll_interval", "timeout")}
            enqueue(database, job, key, as_json=given["as_json"], **pace)
            return
        from stream_tasks.cli.client import make_client
        from stream_tasks.cli.running import start_and_wait

        client = make_client(connection)  # before the key is shown: it may be the secret in its place
        if must_ask:
            _confirm(ctx, f"This {what} of the app {api_key}.")
        shown = {name: given[name] for name in ("poll_interval", "timeout", "as_json", "quiet", "verbose")}
        ctx.exit(start_and_wait(client, job, target, is_waiting=given["wait"], **shown))

    def _job(self, ids: Sequence[str], given: dict[str, Any]) -> Job:
        """Take the operation's arguments out of the options, and check them."""
        own = {str(option.name): given.pop(str(option.name)) for option in self.own_options}
        of_items = {str(option.name): given.pop(str(option.name)) for option in self.item_options}
        of_items = {name: value for name, value in of_items.items() if value is not None}

        def as_item(item_id: str) -> Any:
            return {"cid": item_id, **of_items} if self.operation == "export_channels" else item_id

        job = Job(self.operation, self.noun, ids, own, as_item, operations.max_items(self.operation))
        try:
            operations.check(self.operation, [as_item(ids[0])], **own)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return job

    def _typed(self, job: Job) -> str:
        """Return the operation's options as they were typed."""
        typed = [
            option.opts[0] if job.options[name] is True else f"{option.opts[0]} {job.options[name]}"
            for option in self.own_options
            if job.options[name := str(option.name)] is not None
        ]
        return f" ({' '.join(typed)})" if typed else ""


def _check_use(given: dict[str, Any], database: str | None, key: str | None) -> None:
    """Refuse options that do not go together."""
    if key is not None and database is None:
        raise click.UsageError("--key needs --durable")
    if database is not None and (given.get("output") is not None or not given["wait"]):
        raise click.UsageError("--durable leaves the wait to a worker: give neither --output nor --no-wait")
    if given.get("output") is not None and not given["wait"]:
        raise click.UsageError("--output waits for the export: it cannot be given with --no-wait")


def _show_plan(job: Job, *, as_json: bool) -> None:
    """Print on stdout what would be started: a line for each task."""
    for start in range(0, len(job.ids), job.max_items):
        ids = job.ids[start : start + job.max_items]
        if as_json or not is_terminal(sys.stdout):
            given = {name: value for name, value in job.options.items() if value is not None}
            items = [job.as_item(each) for each in ids]
            click.echo(to_json({"operation": job.operation, "items": items, "options": given}))
        else:
            more = f" to {ids[-1]}" if len(ids) > 1 else ""
            click.echo(printable(f"{job.operation}: {job.counted(len(ids))}, {ids[0]}{more}"))
    tasks = "1 task" if job.batches == 1 else f"{job.batches:,} tasks"
    say(f"Nothing was started. Without --dry-run, {tasks} would be, for {job.counted(len(job.ids))}.")


def _confirm(ctx: click.Context, what: str) -> None:
    """Ask whether this is meant, and exit if it is not."""
    click.echo(printable(what), err=True)
    try:
        is_meant = click.confirm("Go on?", err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            click.echo("\nInterrupted; nothing was started.", err=True)
            ctx.exit(codes.SIGINT)
        click.echo(err=True)  # Ctrl-D ends no line
        is_meant = False
    if not is_meant:
        click.echo("Nothing was started.", err=True)
        ctx.exit(codes.USAGE)


def _confirmation_options(*, asks: bool) -> list[click.Option]:
    about = "Do not ask. Without it, nothing is started when there is no terminal to ask on."
    return [click.Option(["-y", "--yes"], is_flag=True, help=about)] if asks else []


def _text(value: str) -> str:
    if not value:
        raise ValueError("an id must not be empty")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"an id must be valid Unicode text, not {value!r}")
    return value


def _cid(value: str) -> str:
    kind, _, name = value.partition(":")
    if not kind or not name:
        raise ValueError(f"a channel must be given as type:id, not {value!r}")
    return _text(value)
