"""What a command that starts an operation does, from its ids to its exit code."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
from attrs import frozen

from stream_tasks import _operations
from stream_tasks._client import AsyncStream
from stream_tasks._http import auth
from stream_tasks.cli import _codes, _signals
from stream_tasks.cli._hints import go_on_with, link_of
from stream_tasks.cli._ids import read_ids
from stream_tasks.cli._options import make_client
from stream_tasks.cli._output import is_terminal, printable
from stream_tasks.cli._saving import Target, save
from stream_tasks.cli._signals import Stop
from stream_tasks.cli._starting import Job, complain_of_items, show_started, start
from stream_tasks.cli._waiting import WaitOptions, wait_and_show
from stream_tasks.cli._warnings import warnings_on_stderr
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["Kind", "run"]


@frozen
class Kind:
    """What a command is about.

    Attributes:
        verb: What it does to them.
        noun: What its items are.
        about: Its help.
        example: A line that shows it.
        asks: Whether it asks before it starts anything.
        exports: Whether its tasks result in a link to a file.
    """

    verb: str
    noun: str
    about: str
    example: str
    asks: bool = False
    exports: bool = False


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


def run(
    ctx: click.Context,
    /,
    operation: str,
    kind: Kind,
    own: Sequence[str],
    connection: Sequence[str],
    **given: Any,
) -> None:
    """Do what a command says.

    Args:
        ctx: The command's context.
        operation: The operation.
        kind: What it is about.
        own: Which of the command's options are the operation's own.
        connection: Which of them say how to reach the API.
        given: What was given for all options.
    """
    reached = {name: given.pop(name) for name in connection}
    client = make_client(AsyncStream, **reached)
    options = {name: given[name] for name in own}
    ids = read_ids(
        given["ids"],
        given["sources"],
        what=kind.noun.removesuffix("s"),
        check=_cid if kind.noun == "channels" else _text,
    )
    if not ids:
        click.echo("No ids: there is nothing to start.", err=True)
        return
    job = _job(operation, kind, ids, options)
    target = _target(given, job)
    if kind.asks and not given["yes"]:
        what = f"{kind.verb} {job.told(len(ids))}{_named(ctx, options)}"
        if not is_terminal(sys.stdin):
            raise click.UsageError(f"this {what}: with no terminal to ask on, give --yes if that is meant")
        _ask(ctx, f"This {what} of the app {reached['api_key'] or os.environ[auth.KEY_VARIABLE]}.")
    with warnings_on_stderr(quiet=given["quiet"]):
        code = _signals.run(lambda stop: _start(ctx, client, job, given, target, stop=stop))
    ctx.exit(code)


def _job(operation: str, kind: Kind, ids: Sequence[str], options: dict[str, Any]) -> Job:
    """Return what is to be started, after a look whether it can be."""
    names = ("messages_since", "messages_until")
    period = {name: moment for name in names if (moment := options.pop(name, None)) is not None}

    def as_item(item_id: str) -> Any:
        return {"cid": item_id, **period} if operation == "export_channels" else item_id

    job = Job(operation, kind.noun, ids, options, as_item)
    try:
        getattr(_operations, operation)([as_item(ids[0])], **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return job


def _target(given: dict[str, Any], job: Job) -> Target | None:
    path = given.get("output")
    if path is None:
        if given.get("overwrite"):
            raise click.UsageError("--overwrite is of no use without --output")
        return None
    if not given["wait"]:
        raise click.UsageError("--output waits for the export: it cannot be given with --no-wait")
    return Target.of(path, job.batches, overwrite=given["overwrite"])


def _ask(ctx: click.Context, what: str) -> None:
    """Ask whether this is meant, and exit if it is not."""
    click.echo(printable(what), err=True)
    try:
        is_meant = click.confirm("Go on?", err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            click.echo("\nInterrupted; nothing was started.", err=True)
            ctx.exit(_codes.SIGINT)
        click.echo(err=True)  # Ctrl-D ends no line
        is_meant = False
    if not is_meant:
        click.echo("Nothing was started.", err=True)
        ctx.exit(_codes.USAGE)


def _named(ctx: click.Context, options: dict[str, Any]) -> str:
    """Write the options that were given as they were typed."""
    typed = [
        parameter.opts[0]
        if options[parameter.name] is True
        else f"{parameter.opts[0]} {options[parameter.name]}"
        for parameter in ctx.command.params
        if parameter.name in options and options[parameter.name] is not None
    ]
    return f" ({' '.join(typed)})" if typed else ""


async def _start(
    ctx: click.Context,
    client: AsyncStream,
    job: Job,
    given: dict[str, Any],
    target: Target | None,
    *,
    stop: Stop,
) -> int:
    """Start a job, and wait for its tasks unless that is not wanted."""

    def tell(task: StartedTask[Any], ids: Sequence[str]) -> None:
        if not given["wait"]:
            show_started(job, task, ids, as_json=given["as_json"], quiet=given["quiet"])
        elif task.task_id is not None and not given["quiet"]:
            click.echo(f"Started {printable(task.task_id)} for {job.told(len(ids))}.", err=True)

    async with client:
        started = await start(client, job, tell, stop, partial(go_on_with, ctx))
        if not given["wait"]:
            failed = complain_of_items(job, (task.result for task in started.tasks))
            return max(started.code, _codes.FAILED if failed else 0)
        if not started.tasks or started.code > _codes.SIGNAL:
            return started.code
        code = await _wait(ctx, client, job, started.tasks, given, target=target, stop=stop)
        return max(started.code, code)


async def _wait(
    ctx: click.Context,
    client: AsyncStream,
    job: Job,
    tasks: Sequence[StartedTask[Any]],
    given: dict[str, Any],
    *,
    target: Target | None,
    stop: Stop,
) -> int:
    """Wait for tasks, say what came of them, and save what they exported."""
    outcomes: list[TaskOutcome[Any]] = []

    names = ("poll_interval", "timeout", "as_json", "quiet", "verbose")
    options = WaitOptions(
        again=lambda ids, _: go_on_with(ctx, ids),
        started_here=True,
        **{name: given[name] for name in names},
    )
    code = await wait_and_show(client, tasks, options, stop, on_outcome=outcomes.append)
    failed = complain_of_items(job, (outcome.result() for outcome in outcomes if outcome.ok))
    if failed:
        code = max(code, _codes.FAILED)
    if target is not None and code < _codes.SIGNAL:
        tell_link = partial(link_of, ctx)
        saved = await save(client, tasks, outcomes, target, stop, link_of=tell_link, quiet=given["quiet"])
        code = max(code, saved)
    return code
