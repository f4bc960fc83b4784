"""What to do next: commands that can be pasted."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from stream_tasks.cli.files.ids import STDIN, can_be_read_again
from stream_tasks.cli.ui.log import ERROR, say
from stream_tasks.cli.ui.output import printable

__all__ = ["go_on", "go_on_with", "name", "program", "remember_connection", "save_later", "suggest_doctor"]

_SCRIPT: Final = "stream-tasks"
_CONNECTION: Final = "stream_tasks.connection"
_MAX_IDS: Final = 10  # in one command; more ids are printed one a line


def name() -> str:
    """Return how this program was called, for its help."""
    return "python -m stream_tasks" if _is_module() else _SCRIPT


def program() -> str:
    """Return what runs this program when it is pasted."""
    import shlex
    import shutil

    path = sys.argv[0]
    if _is_module():
        return f"{shlex.quote(sys.executable)} -m stream_tasks"
    found = shutil.which(_SCRIPT)
    is_script = os.path.basename(path).removesuffix(".exe") == _SCRIPT  # noqa: PTH119 - for --help
    # Another program that runs the commands has no name to paste.
    if not is_script or (found and os.path.realpath(found) == os.path.realpath(path)):
        return _SCRIPT
    return shlex.quote(os.path.abspath(path))  # noqa: PTH100 - pathlib keeps '..'


def remember_connection(options: Mapping[str, object]) -> None:
    """Remember the connection options of a command, for the commands that hints name."""
    click.get_current_context().meta[_CONNECTION] = dict(options)


def go_on(ids: Sequence[str], sources: Sequence[str], *, has_journal: bool, without_fail_fast: bool) -> str:
    """Tell how to go on with a wait.

    Args:
        ids: The ids that were typed, or ``-``.
        sources: The files of ids that were typed.
        has_journal: Whether the wait had a journal.
        without_fail_fast: Whether ``--fail-fast`` would end the next wait at once.
    """
    has_stdin = STDIN in ids or not (ids or sources) or not all(map(can_be_read_again, sources))
    hint = "To go on, run the same command again"
    hint += ", with the same ids on stdin" * has_stdin + ", without --fail-fast" * without_fail_fast + "."
    if not has_journal:
        hint += "\nWith --journal FILE, only tasks that have not ended are polled again."
    return hint


def go_on_with(ids: Sequence[str], options: Sequence[str] = ()) -> str:
    """Tell how to wait for tasks that were started here, and name each of them.

    Args:
        ids: The tasks.
        options: Options of the command that waits.
    """
    if len(ids) <= _MAX_IDS:
        return f"To go on waiting:\n  {_command('wait', *ids, options=options)}{_secret_note()}"
    lines = "\n".join(map(_line, ids))
    command = _command("wait", STDIN, options=options)
    return (
        f"# started, and not known to have ended: {len(ids):,} tasks\n{lines}\n"
        f"To go on waiting, give these lines to:\n  {command}{_secret_note()}"
    )


def save_later(files: Mapping[str, str], *, overwrite: bool) -> str:
    """Tell how to save exports that were not saved: a command for each.

    Args:
        files: The file of each export, by its task.
        overwrite: Whether they may be replaced.
    """
    lines = [
        f"\n  {_command('wait', task_id, options=('--output', path, *['--overwrite'] * overwrite))}"
        for task_id, path in files.items()
    ]
    return f"To go on, and save what is exported:{''.join(lines)}{_secret_note()}"


def suggest_doctor(level: int = ERROR) -> None:
    """Name on stderr the command that finds out why the server cannot be reached."""
    say(f"{_command('doctor')} looks for the cause.", level)


def _is_module() -> bool:
    return sys.argv[0].replace(os.sep, "/").endswith("stream_tasks/__main__.py")


def _connection() -> Mapping[str, object]:
    ctx = click.get_current_context(silent=True)
    return {} if ctx is None else ctx.meta.get(_CONNECTION, {})


def _command(command: str, *ids: str, options: Sequence[str] = ()) -> str:
    """Write a command that reaches the same app; secrets are left out."""
    import shlex

    words = [command, *options]
    for option, value in _connection().items():
        if value is not None and option != "api_secret":
            words += [f"--{option.replace('_', '-')}", str(value)]
    if any(task_id.startswith("-") and task_id != STDIN for task_id in ids):
        words.append("--")
    return " ".join([program(), *(shlex.quote(printable(word)) for word in (*words, *ids))])


def _secret_note() -> str:
    is_typed = _connection().get("api_secret") is not None
    return "\nThe secret is left out: set STREAM_API_SECRET." if is_typed else ""


def _line(task_id: str) -> str:
    """Write an id as a line for ``wait -``."""
    import json

    is_plain = task_id.isprintable() and task_id == task_id.strip() and not task_id.startswith(("#", "{"))
    return task_id if is_plain else json.dumps({"task_id": task_id})
