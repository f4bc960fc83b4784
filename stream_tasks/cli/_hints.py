"""What to do next, as commands that can be pasted."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

import click

from stream_tasks._http import auth
from stream_tasks.cli._ids import STDIN, is_lasting

__all__ = ["Remembering", "go_on", "go_on_with", "link_of", "name", "point_to_doctor", "program"]

LONGEST: Final = 2000
"""A command of more characters is no good on a screen."""

_SCRIPT: Final = "stream-tasks"
_TYPED: Final = "stream_tasks.typed"
_CONNECTION: Final = ("api_key", "api_secret_file", "base_url")
_OF_A_WAIT: Final = (
    "poll_interval",
    "timeout",
    "any_one",
    "fail_fast",
    "journal",
    "as_json",
    "quiet",
    "verbose",
    *_CONNECTION,
)


class Remembering(click.Command):
    """A command that remembers what was typed for each of its parameters, also for the group above it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed, and keep it as it was before it is converted."""
        typed, *_ = self.make_parser(ctx).parse_args(list(args))
        flags = {parameter.name: max(parameter.opts, key=len) for parameter in self.get_params(ctx)}
        ctx.meta[_TYPED] = {option: (flags[option], value) for option, value in typed.items()}
        return super().parse_args(ctx, args)


def name() -> str:
    """Return what this program was called by, for the help."""
    return "python -m stream_tasks" if _is_module() else _SCRIPT


def program() -> str:
    """Return what runs this program where it is pasted."""
    path = sys.argv[0]
    if _is_module():
        return f"{_quote(sys.executable)} -m stream_tasks"
    found = shutil.which(_SCRIPT)
    # Whatever else calls the command line has no name to paste.
    if PurePath(path).stem != _SCRIPT or (found and os.path.realpath(found) == os.path.realpath(path)):
        return _SCRIPT
    return _quote(os.path.abspath(path))  # noqa: PTH100 - pathlib keeps '..'


def go_on(ctx: click.Context, *, without: str | None = None) -> str:
    """Tell how to go on with the wait that was typed, perhaps without one of its options."""
    ids, sources = ctx.params["ids"], ctx.params["sources"]
    files = [source for source in sources if is_lasting(source)]
    if len(files) < len(sources) and STDIN not in ids:
        files.append(STDIN)
    options = [option for option in _OF_A_WAIT if option != without]
    command = _command(ctx, "wait", options, ids, files)
    if len(command) > LONGEST:
        command = "the same command again"
    has_stdin = STDIN in (*ids, *files) or not (ids or sources)
    how = "To go on, with the same ids on stdin:" if has_stdin else "To go on:"
    hint = f"{how}\n  {command}{_without_secret(ctx)}"
    if ctx.params["journal"] is None:
        hint += "\nWith --journal FILE, only what has not ended is asked for again."
    return hint


def go_on_with(ctx: click.Context, ids: Sequence[str]) -> str:
    """Tell how to wait for tasks that were started here: all their ids, in a command or a line for each."""
    command = _command(ctx, "wait", _OF_A_WAIT, ids)
    if len(command) <= LONGEST:
        return f"To go on waiting:\n  {command}{_without_secret(ctx)}"
    command = _command(ctx, "wait", _OF_A_WAIT, [STDIN])
    lines = "\n".join(map(_line, ids))
    return (
        f"# started, and not known to have ended: {len(ids):,} tasks\n{lines}\n"
        f"To go on waiting, give these lines to:\n  {command}{_without_secret(ctx)}"
    )


def link_of(ctx: click.Context, task_id: str) -> str:
    """Tell how to get an export that was not saved."""
    command = _command(ctx, "get", _CONNECTION, [task_id])
    return f"The export is still there: {command} tells its link.{_without_secret(ctx)}"


def point_to_doctor() -> None:
    """Tell on stderr what finds out why the server cannot be asked."""
    ctx = click.get_current_context(silent=True)
    command = f"{program()} doctor" if ctx is None else _command(ctx, "doctor", _CONNECTION)
    click.echo(f"{command} looks for the cause.", err=True)


def _is_module() -> bool:
    return PurePath(sys.argv[0]).parts[-2:] == ("stream_tasks", "__main__.py")


def _command(
    ctx: click.Context,
    command: str,
    options: Sequence[str],
    ids: Sequence[str] = (),
    files: Sequence[str] = (),
) -> str:
    """Write a command with those of the options that were typed."""
    words = [command]
    for option, (flag, value) in ctx.meta[_TYPED].items():
        if option in options:
            words += [flag] if value is True else [flag, value]
    for file in files:
        words += ["--from", file]
    if any(task_id.startswith("-") and task_id != STDIN for task_id in ids):
        words.append("--")
    return " ".join([program(), *map(_quote, [*words, *ids])])


def _without_secret(ctx: click.Context) -> str:
    """Say that a secret which was typed is left out: it would stay in a log or on a screen."""
    is_typed = "api_secret" in ctx.meta[_TYPED]
    return f"\nThe secret is left out: set {auth.SECRET_VARIABLE}." if is_typed else ""


def _quote(word: str) -> str:
    """Quote a word for a shell; what cannot be printed is written as bash, zsh and ksh read it."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (
        c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))
        for c in word.replace("\\", "\\\\").replace("'", "\\'")
    )
    return f"$'{''.join(escaped)}'"


def _line(task_id: str) -> str:
    """Write an id as a line for ``wait -``."""
    is_plain = task_id.isprintable() and task_id == task_id.strip() and not task_id.startswith(("#", "{"))
    return task_id if is_plain else json.dumps({"task_id": task_id})
