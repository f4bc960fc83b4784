"""One wait for many tasks, from its first poll to its exit code."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol

from attrs import frozen

from stream_tasks._client import AsyncStream
from stream_tasks.cli import codes
from stream_tasks.cli.endings import Ending, concerns_all
from stream_tasks.cli.files.journal import Journal, JournalError
from stream_tasks.cli.files.saving import Exports
from stream_tasks.cli.files.target import Target
from stream_tasks.cli.signals import Stop
from stream_tasks.cli.ui.hints import suggest_doctor
from stream_tasks.cli.ui.log import ERROR, INFO, say
from stream_tasks.cli.ui.output import describe, is_terminal
from stream_tasks.cli.ui.progress import Board
from stream_tasks.cli.ui.results import Results, show_unfinished
from stream_tasks.cli.ui.screen import choose_display
from stream_tasks.exceptions import (
    StreamDecodeException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import StartedTask, TaskOutcome

__all__ = ["WaitOptions", "wait_and_show"]


_FIRST_FAILURE: Final = "Stopped at the first failure"


class Again(Protocol):
    """Returns the hint for going on later."""

    def __call__(self, ids: Sequence[str], /, *, is_at_once: bool) -> str:
        """Return the hint.

        Args:
            ids: The ids that are worth another wait.
            is_at_once: Whether `fail_fast` would end that wait at once.
        """


@frozen
class WaitOptions:
    """How to wait, and what to show.

    Attributes:
        poll_interval: The shortest time between two polls of a task, in seconds.
        timeout: The time-out of the whole wait, in seconds; None for no time-out, 0 for one poll each.
        any_one: Whether to end with the first task that has ended.
        fail_fast: Whether to end with the first task that failed or could not be polled.
        as_json: Whether to print JSON lines on a terminal, too.
        quiet: Whether stderr is for errors only.
        verbose: Whether to print the server's stack traces of failed tasks.
        journal: The file of tasks that have ended.
        again: Returns the hint for going on later.
        started_here: Whether only this process knows the ids: `again` then names each that is left.
        target: Where exports are saved, if they are: a file for each task.
        operation: The operation that started the tasks of which only the ids are known, if that is known.
    """

    poll_interval: float = 1.0
    timeout: float | None = 60.0
    any_one: bool = False
    fail_fast: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    journal: Journal | None = None
    again: Again | None = None
    started_here: bool = False
    target: Target | None = None
    operation: str | None = None


async def wait_and_show(
    client: AsyncStream,
    tasks: Iterable[str | StartedTask[Any]],
    options: WaitOptions,
    stop: Stop,
    *,
    on_outcome: Callable[[TaskOutcome[Any]], object] | None = None,
) -> int:
    """Wait for tasks; show the progress on stderr, and the results on stdout.

    Ctrl-C, SIGTERM, any other cancellation or a full disk ends the wait, but not the program: what was not
    finished is printed, and the exit code returned.

    Args:
        client: The client to wait with; it stays open.
        tasks: Ids, or what starting operations returned; each id once.
        options: How to wait, and what to show.
        stop: The signal that ends it.
        on_outcome: Called with each outcome, before it is printed.

    Returns:
        The exit code: 0 all completed, 1 one failed, 3 the time-out was reached, 4 one could not be polled
        or its export not saved, whichever is highest; 2 if stdout or the journal cannot be written; 130
        after Ctrl-C, 143 after SIGTERM.
    """
    return await _Wait(client, list(tasks), options, stop, on_outcome).run()


@frozen
class _Early:
    """Why a wait ended before all tasks had ended.

    Attributes:
        code: The exit code, or None for that of the worst ending.
        words: What people are told; empty if they need not be told.
        is_refusal: Whether all other polls would fail, too.
        is_unread: Whether results may not have been read.
    """

    code: int | None = None
    words: str = ""
    is_refusal: bool = False
    is_unread: bool = False


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
        self._client = client
        self._options = options
        self._stop = stop
        self._on_outcome = on_outcome
        self._tasks = tasks  # several can have no id
        earlier = _earlier(self._ids, options)
        # Tasks whose end is known: it was seen in this run, or the journal has it.
        self._final: set[str | None] = {ending.task_id for ending in earlier}
        self._early = _Early()
        self._is_cut_off = False
        self._exports = Exports(self._ids, options.target)
        unfinished = [task_id for task_id in self._ids if task_id not in self._final]
        self._board = Board(unfinished, options.timeout, len(tasks))
        self._results = Results(self._ids, len(tasks), as_json=options.as_json, any_one=options.any_one)
        for ending in earlier:
            self._board.end(ending, is_new=False)
            self._take(ending)

    @property
    def _ids(self) -> list[str]:
        return [task_id for task in self._tasks if (task_id := _id_of(task)) is not None]

    async def run(self) -> int:
        """Wait, and report."""
        try:
            if not (self._options.any_one and self._final):
                with self._stoppable():
                    await self._wait()
            if (self._early.code or 0) < codes.SIGNAL and self._exports.unsaved:
                with self._stoppable():
                    await self._save()
        finally:
            # Results that are known are printed, whatever ended the wait.
            for ending in self._exports.unsaved.values():
                self._results.add(ending)
            if not self._stop.is_stuck:
                with self._stoppable():
                    await self._results.show(self._board, self._stop)
        return self._report()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Note what ends the body early."""
        try:
            yield
        except asyncio.CancelledError:
            self._early = _Early(self._stop.code, self._stop.word)
        except JournalError as error:
            self._early = _Early(error.exit_code, f"Error: {error.message}")
        except BrokenPipeError:
            self._early = _Early(is_unread=True)
            if self._options.started_here:
                self._hint()
            raise
        except OSError as error:
            self._early = _Early(codes.USAGE, f"Error: {describe(error)}", is_unread=True)

    async def _wait(self) -> None:
        display = choose_display(self._board, quiet=self._options.quiet, as_json=self._results.as_json)
        with display:
            async with _beside(
                self._tick(display.every, display.tick), self._results.print_lines(self._stop)
            ):
                await self._follow()

    async def _follow(self) -> None:
        options = self._options
        tasks = [task for task in self._tasks if _id_of(task) not in self._final]
        outcomes = self._client.as_completed(
            tasks,
            options.poll_interval,
            options.timeout,
            operation=options.operation,
            on_update=self._board.see,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                ending = Ending.of(outcome)
                if options.journal is not None:
                    # First: what is printed is in the journal.
                    options.journal.add(ending)
                if self._on_outcome is not None:
                    self._on_outcome(outcome)
                self._board.end(ending)
                self._take(ending)
                if ending.is_final:
                    self._final.add(outcome.task_id)
                if self._is_over(outcome, ending):
                    return

    def _is_over(self, outcome: TaskOutcome[Any], ending: Ending) -> bool:
        failure = outcome.exception()
        self._is_cut_off |= _is_about_connection(failure)
        if concerns_all(failure):
            self._early = _Early(codes.ERROR, is_refusal=True)
        elif self._options.any_one and ending.is_final:
            self._early = _Early(ending.exit_code)
        elif self._options.fail_fast and ending.status in ("failed", "error"):
            self._early = _Early(words=_FIRST_FAILURE)
        else:
            return False
        return True

    def _take(self, ending: Ending) -> None:
        """Print how a wait ended; if there is an export to save, later."""
        if not self._exports.take(ending):
            self._results.add(ending)

    async def _save(self) -> None:
        saving = self._exports.save(self._client, quiet=self._options.quiet)
        async with _beside(self._results.print_lines(self._stop)), aclosing(saving):
            async for ending in saving:
                if self._options.journal is not None:
                    self._options.journal.add(ending)
                self._results.add(ending)

    async def _tick(self, every: float, show: Callable[[], None]) -> None:
        while True:
            self._board.tick(self._client.obstacle)
            if self._options.journal is not None:
                self._options.journal.sync()
            show()
            await asyncio.sleep(every)

    def _report(self) -> int:
        board, options, early = self._board, self._options, self._early
        self._results.complain(board, verbose=options.verbose)
        unfinished = len(board.unfinished)
        if early.is_refusal and unfinished:
            say(f"Not polled: {unfinished:,} of {board.total:,} tasks.", ERROR)
        if early.words:
            say(f"\n{early.words}{'; tasks on the server go on' if unfinished else ''}.", ERROR)
            show_unfinished(board, is_short=options.started_here or is_terminal(sys.stderr))
        if self._results.is_cut and options.journal is None and board.counts["completed"]:
            say("To get the results of completed tasks, use --json or --journal FILE.")
        if early.is_refusal or self._is_cut_off:
            suggest_doctor(INFO)
        self._hint()
        code = self._results.worst if early.code is None else early.code
        return max(code, codes.ERROR if self._exports.unsaved else 0)

    def _hint(self) -> None:
        """Tell how to go on, if another wait may help."""
        options, early, board, unsaved = self._options, self._early, self._board, self._exports.unsaved
        may_help = (
            board.counts["timed_out"] or early.words or unsaved or (early.is_refusal and board.done > 1)
        )
        is_unread = self._stop.is_stuck or early.is_unread
        left = [each for each in self._ids if is_unread or each in unsaved or each not in self._final]
        if not left or not (options.started_here or may_help):
            return
        # The ids of tasks that were started here are nowhere else.
        level = ERROR if options.started_here else INFO
        if options.target is not None and options.journal is None:
            say(self._exports.hint(left), level)
        elif options.again:
            is_at_once = early.words == _FIRST_FAILURE and options.journal is None
            say(options.again(left, is_at_once=is_at_once), level)


def _id_of(task: str | StartedTask[Any]) -> str | None:
    return task.task_id if isinstance(task, StartedTask) else task


def _earlier(ids: Sequence[str], options: WaitOptions) -> list[Ending]:
    """Return the endings that the journal has; with `any_one`, only the first."""
    endings = {} if options.journal is None else options.journal.endings
    wanted = set(ids)
    earlier = [ending for task_id, ending in endings.items() if task_id in wanted]
    return earlier[:1] if options.any_one else earlier


def _is_about_connection(failure: Exception | None) -> bool:
    """Whether the time-out was reached while the server could not be reached, or something else answered."""
    return (
        isinstance(failure, StreamWaitTimeoutException)
        and failure.reason == "unreachable"
        and isinstance(failure.__cause__, StreamTransportException | StreamDecodeException)
    )


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
