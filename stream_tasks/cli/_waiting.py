"""Waiting for many tasks, with everything around it that people and programs see."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final

import click
from attrs import frozen

from stream_tasks._client import AsyncStream
from stream_tasks.cli import _codes
from stream_tasks.cli._board import Board
from stream_tasks.cli._endings import Ending, concerns_all
from stream_tasks.cli._hints import point_to_doctor
from stream_tasks.cli._journal import Journal, JournalError
from stream_tasks.cli._live import Lines, Nothing, Screen
from stream_tasks.cli._output import (
    PipeConsole,
    is_live,
    is_terminal,
    printable,
    refused,
)
from stream_tasks.cli._results import Results
from stream_tasks.cli._signals import Stop
from stream_tasks.exceptions import (
    StreamDecodeException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["WaitOptions", "wait_and_show"]

SHOWN: Final = 10
"""So many unfinished tasks are named where what is said before them is to stay in sight."""

_REFUSAL: Final = "refused"
_FAILURE: Final = "Stopped at the first failure"


@frozen
class WaitOptions:
    """How to wait, and what to show.

    Attributes:
        poll_interval: The least time between two looks at a task, in seconds.
        timeout: The limit of the whole wait, in seconds; None for no limit, 0 for one look at each.
        any_one: Whether to end with the first task that ended.
        fail_fast: Whether to end with the first task that failed or could not be asked for.
        as_json: Whether to print JSON lines on a terminal, too.
        quiet: Whether stderr is for errors only.
        verbose: Whether to print the server's stack traces of failed tasks.
        journal: Where to keep what ended, and to look up what ended before.
        again: Makes the hint for going on later, of the ids that are worth another wait, and of whether
            `fail_fast` would end that at once.
        started_here: Whether only this process knows the ids: `again` then names each that is left.
    """

    poll_interval: float = 1.0
    timeout: float | None = 60.0
    any_one: bool = False
    fail_fast: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    journal: Journal | None = None
    again: Callable[[Sequence[str], bool], str] | None = None
    started_here: bool = False


async def wait_and_show(
    client: AsyncStream,
    tasks: Iterable[str | StartedTask[Any]],
    options: WaitOptions,
    stop: Stop,
    *,
    on_outcome: Callable[[TaskOutcome[Any]], object] | None = None,
) -> int:
    """Wait for tasks; show on stderr how far they are, and on stdout what came of them.

    Ctrl-C, a SIGTERM or any other cancellation ends the wait, not the program, and so does a full disk: what
    was not finished is printed, and the code returned.

    Args:
        client: The client to wait with; it stays open.
        tasks: Ids, or what starting operations returned; each id once.
        options: How to wait, and what to show.
        stop: Which signal ends it.
        on_outcome: Called with each outcome as it comes, before it is printed.

    Returns:
        The code to exit with: 0 all completed, 1 one failed, 3 the time ran out, 4 one could not be asked
        for, whichever is highest; 2 when stdout or the journal cannot be written; 130 after Ctrl-C, 143
        after a SIGTERM.
    """
    return await _Wait(client, list(tasks), options, stop, on_outcome).run()


class _Wait:
    """One run of `wait_and_show`."""

    def __init__(
        self,
        client: AsyncStream,
        tasks: list[str | StartedTask[Any]],
        options: WaitOptions,
        stop: Stop,
        on_outcome: Callable[[TaskOutcome[Any]], object] | None,
    ) -> None:
        ids = {_id_of(task): task for task in tasks}
        self._earlier = _earlier(ids, options.journal)
        known = {ending.task_id for ending in self._earlier}
        self._tasks = [task for task in tasks if _id_of(task) not in known]
        self._client = client
        self._options = options
        self._stop = stop
        self._on_outcome = on_outcome
        self._ids = [task_id for task_id in ids if task_id is not None]
        unfinished = [task_id for task_id in self._ids if task_id not in known]
        self._board = Board(unfinished, options.timeout, len(tasks))
        self._results = Results(map(str, ids), len(tasks), as_json=options.as_json, any_one=options.any_one)
        self._stopped_by: str | None = None
        self._code: int | None = None
        self._is_cut_off = False
        self._is_unwritable = False
        self._final: set[str | None] = set(known)

    async def run(self) -> int:
        """Wait, and report."""
        if self._options.any_one:
            del self._earlier[1:]
        for ending in self._earlier:
            self._board.end(ending, is_new=False)
            self._results.add(ending)
        if self._options.any_one and self._earlier:
            self._code = self._earlier[0].exit_code
        else:
            with self._stoppable():
                await self._wait()
        if not self._stop.is_stuck:
            with self._stoppable():
                await self._results.show(self._board, self._stop)
        return self._report()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Take note of what ends the body before its time."""
        try:
            yield
        except asyncio.CancelledError:
            self._stopped_by, self._code = self._stop.word, self._stop.code
        except JournalError as error:
            self._stopped_by, self._code = f"Error: {error.message}", error.exit_code
        except BrokenPipeError:
            self._is_unwritable = True
            if self._options.started_here:
                self._hint()
            raise
        except OSError as error:
            self._is_unwritable = True
            self._stopped_by, self._code = refused(error), _codes.USAGE

    async def _wait(self) -> None:
        display = self._display()
        with display:
            async with _beside(self._tick(display), self._results.print_lines(self._stop)):
                await self._follow()

    async def _follow(self) -> None:
        options = self._options
        outcomes = self._client.as_completed(
            self._tasks, options.poll_interval, options.timeout, on_update=self._board.see
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                ending = Ending.of(outcome)
                try:
                    if options.journal is not None:
                        options.journal.add(ending)
                finally:
                    # Also what could not be written down is known.
                    if self._on_outcome is not None:
                        self._on_outcome(outcome)
                    self._board.end(ending)
                    self._results.add(ending)
                    if outcome.task is not None and outcome.task.is_final:
                        self._final.add(outcome.task_id)
                if self._is_over(outcome, ending):
                    return

    def _is_over(self, outcome: TaskOutcome[Any], ending: Ending) -> bool:
        failure = outcome.exception()
        self._is_cut_off |= _is_about_connection(failure)
        if concerns_all(failure):
            self._stopped_by = _REFUSAL
            self._code = _codes.ERROR
        elif self._options.any_one and ending.is_final:
            self._code = ending.exit_code
        elif self._options.fail_fast and ending.status in ("failed", "error"):
            self._stopped_by = _FAILURE
        else:
            return False
        return True

    def _display(self) -> Nothing:
        console = PipeConsole(stderr=True)
        if self._options.quiet:
            return Nothing()
        if is_live(console) and _is_apart(as_json=self._results.as_json):
            return Screen(self._board, console)
        return Lines(self._board)

    async def _tick(self, display: Nothing) -> None:
        while True:
            self._board.tick(self._client.obstacle)
            if self._options.journal is not None:
                self._options.journal.sync()
            display.tick()
            await asyncio.sleep(display.every)

    def _report(self) -> int:
        board, options = self._board, self._options
        self._results.complain(board, verbose=options.verbose)
        unfinished = list(board.unfinished)
        if self._stopped_by == _REFUSAL:
            if unfinished:
                click.echo(f"Not asked for: {len(unfinished):,} of {board.total:,} tasks.", err=True)
        elif self._stopped_by is not None:
            still = "; tasks on the server go on" if unfinished else ""
            click.echo(f"\n{self._stopped_by}{still}.", err=True)
            _name(board, is_short=options.started_here or is_terminal(sys.stderr))
        if not options.quiet:
            self._advise()
        self._hint()
        return self._results.worst if self._code is None else self._code

    def _advise(self) -> None:
        options, counts = self._options, self._board.counts
        if self._results.is_cut and options.journal is None and counts["completed"]:
            click.echo("For what completed tasks returned, use --json or --journal FILE.", err=True)
        if self._stopped_by == _REFUSAL or self._is_cut_off:
            point_to_doctor()

    def _hint(self) -> None:
        """Tell how to go on, if that is worth it."""
        options, stopped_by = self._options, self._stopped_by
        is_worth_it = options.started_here or (
            not options.quiet
            and (
                self._board.counts["timed_out"]
                or (stopped_by and (stopped_by != _REFUSAL or self._board.done > 1))
            )
        )
        # Nobody may have read how the others ended.
        is_unread = self._stop.is_stuck or self._is_unwritable
        left = [task_id for task_id in self._ids if is_unread or task_id not in self._final]
        if options.again is not None and is_worth_it and left:
            is_at_once = stopped_by == _FAILURE and options.journal is None
            click.echo(options.again(left, is_at_once), err=True)


def _id_of(task: str | StartedTask[Any]) -> str | None:
    return task.task_id if isinstance(task, StartedTask) else task


def _earlier(ids: Iterable[str | None], journal: Journal | None) -> list[Ending]:
    wanted = set(ids)
    return [] if journal is None else [e for e in journal.endings.values() if e.task_id in wanted]


def _is_about_connection(failure: Exception | None) -> bool:
    """Whether the time ran out while the server could not be reached, or something else answered."""
    return (
        isinstance(failure, StreamWaitTimeoutException)
        and failure.reason == "unreachable"
        and isinstance(failure.__cause__, StreamTransportException | StreamDecodeException)
    )


def _is_apart(*, as_json: bool) -> bool:
    """Whether what stdout says cannot come in between what is drawn on stderr."""
    if is_terminal(sys.stdout):
        return not as_json
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return True  # there is no stdout
    # What reads a pipe often writes to the same terminal.
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode)


def _name(board: Board, *, is_short: bool) -> None:
    """Print what was not finished: all of it, or as much as can be seen by people."""
    unfinished = board.unfinished
    if not unfinished:
        return
    tasks = "task" if board.total == 1 else "tasks"
    click.echo(f"Not finished: {len(unfinished):,} of {board.total:,} {tasks}.", err=True)
    most = SHOWN if is_short else len(unfinished)
    for task_id, status in list(unfinished.items())[:most]:
        click.echo(printable(f"  {task_id}  {status or 'not seen yet'}"), err=True)
    if len(unfinished) > most:
        click.echo(f"  … and {len(unfinished) - most:,} more", err=True)


@asynccontextmanager
async def _beside(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines until the body ends, or one of them fails."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(job) for job in jobs]
            yield
            for task in running:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
