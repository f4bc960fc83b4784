"""`track`: what is seen while outcomes come, on a terminal, in a pipe, and in a notebook."""

import io
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from commandline import Terminal, end, full_disk, plain, serve, set_environment, start, until

from stream_tasks import AsyncStream, Obstacle, Stream, TaskOutcome, progress
from stream_tasks._origins import Origin
from stream_tasks._view.board import Board
from stream_tasks._view.lines import Lines
from stream_tasks._view.notebook import Notebook
from stream_tasks.progress import track
from stream_tasks.testing import FakeStream, Fault, RateLimitRule, TaskFailure

full = pytest.fixture(full_disk)
fake = pytest.fixture(serve)

BEGIN = """
import asyncio, os, sys, time
from stream_tasks import AsyncStream, Stream
from stream_tasks.progress import track
ids = sys.argv[1:]
"""
BLOCKING = """
with Stream() as client:
    for outcome in track(client.as_completed(ids, 0, 60), total=len(ids)):
        print(outcome.task_id)
        {}
print("after")
"""
ASYNC = """
async def main():
    async with AsyncStream() as client:
        async for outcome in track(client.as_completed(ids, 0, 60), total=len(ids)):
            print(outcome.task_id)
            {}
    print("after")
asyncio.run(main())
"""
BOTH = pytest.mark.parametrize("loop", [BLOCKING, ASYNC], ids=["blocking", "async"])


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, fake: FakeStream) -> FakeStream:
    """A server that programs find in the environment."""
    set_environment(monkeypatch, fake)
    return fake


@BOTH
class TestTerminal:
    """A bar and a table, below what the program prints."""

    def test_to_the_end(self, shop: FakeStream, loop: str) -> None:
        """It shows how far the waits are; in the end there is one line, below what was printed."""
        shop.add_task("good")
        shop.add_task("bad", error=TaskFailure("disk_full", "no room"))
        shop.add_task("late", after=3600)
        terminal = Terminal("good", "bad", "late", program=BEGIN + loop.format("pass"))
        until(lambda: "2 of 3 done, 1 failed" in terminal.shown and "disk_full: no room" in terminal.shown)
        assert "time-out in " in terminal.shown
        assert "━" in terminal.shown
        assert {"good", "bad"} <= set(terminal.shown.splitlines())
        shop.finish("late")
        assert terminal.end().code == 0
        *printed, last, after = terminal.shown.splitlines()
        assert {"bad", "good", "late"} <= set(printed)
        assert len(printed) == 4  # and what the library says of the failure
        assert last.startswith("3 of 3 done, 1 failed, in ")
        assert after == "after"
        assert not terminal.screen.cursor.hidden

    @pytest.mark.parametrize("leaving", ["break", "sys.exit(7)", "raise ValueError('mine')"])
    def test_left(self, shop: FakeStream, loop: str, leaving: str) -> None:
        """Whoever leaves the loop finds the terminal as if nothing had been drawn."""
        shop.add_task("done")
        shop.add_task("never", never=True)
        leave = f"time.sleep(0.6); {leaving}"
        program = BEGIN + "sys.excepthook = lambda *_: print('an error')" + loop.format(leave)
        terminal = Terminal("done", "never", program=program)
        until(lambda: "1 of 2 done" in terminal.shown)
        terminal.end()
        assert terminal.shown.splitlines() in (["done"], ["done", "after"], ["done", "an error"])
        assert not terminal.screen.cursor.hidden

    def test_interrupted(self, shop: FakeStream, loop: str) -> None:
        """Ctrl-C, which cancels what awaits, takes away what was drawn."""
        shop.add_task("never", never=True)
        shop.add_task("done")
        program = BEGIN + "sys.excepthook = lambda *_: print('an error')" + loop.format("pass")
        terminal = Terminal("done", "never", program=program)
        until(lambda: "1 of 2 done" in terminal.shown)
        terminal.type("\x03")
        terminal.end()
        assert [line for line in terminal.shown.splitlines() if line != "^C"] == ["done", "an error"]

    def test_held_back(self, shop: FakeStream, loop: str) -> None:
        """It says what holds the polls back."""
        shop.rate_limit = RateLimitRule(3, window=60)
        shop.spend(2)
        for name in "abcd":
            shop.add_task(name, never=True)
        terminal = Terminal(*"abcd", program=BEGIN + loop.format("pass"))
        until(lambda: "waiting for the rate limit, " in terminal.shown)
        terminal.process.kill()
        terminal.end()

    @pytest.mark.slow
    def test_in_a_pipe(self, shop: FakeStream, loop: str) -> None:
        """Lines on stderr say what holds the polls back, and how it ended."""
        shop.add_task("a")
        shop.inject(Fault.reset(), times=10_000)
        process = start("a", program=BEGIN + loop.format("pass"))
        assert process.stderr is not None
        while "cannot be reached" not in (line := process.stderr.readline()):
            assert line
        shop.heal()
        ended = end(process)
        assert (ended.code, ended.out) == (0, "a\nafter\n")
        assert ended.err.splitlines()[-1].startswith("1 of 1 done, 0 failed, in ")


def test_what_is_printed_is_whole(shop: FakeStream) -> None:
    """A line that has no end yet when the loop ends is not lost."""
    shop.add_task("a")
    program = BEGIN + BLOCKING.format("print('half', end=''); time.sleep(0.3)").replace(
        ", total=len(ids)", ""
    )
    terminal = Terminal("a", program=program)
    assert terminal.end().code == 0
    assert "half" in terminal.shown


def test_stdout_elsewhere(shop: FakeStream, tmp_path: Path) -> None:
    """What is printed goes to its file while the terminal shows the bar."""
    for name in "ab":
        shop.add_task(name)
    with (tmp_path / "out").open("wb") as out:
        terminal = Terminal("a", "b", program=BEGIN + BLOCKING.format("time.sleep(0.3)"), stdout=out.fileno())
        ended = terminal.end()
    assert "━" in ended.out
    assert set((tmp_path / "out").read_text().split()) == {"a", "b", "after"}
    piped = Terminal("a", "b", program=BEGIN + BLOCKING.format("time.sleep(0.3)"), stdout=subprocess.PIPE)
    assert "━" not in piped.end().out


def test_narrow(shop: FakeStream) -> None:
    """In a narrow terminal, what does not fit on one line is on the next."""
    for name in "ab":
        shop.add_task(name)
    terminal = Terminal("a", "b", program=BEGIN + BLOCKING.format("time.sleep(0.4)"), columns=24)
    until(lambda: "time-out in" in terminal.shown and "of 2 done" in terminal.shown)
    assert terminal.end().code == 0


def test_two_at_once(shop: FakeStream) -> None:
    """A second loop in a terminal that is drawn on has a line of its own above."""
    program = """
    with Stream() as client:
        for first in track(client.as_completed(ids, 0), total=2):
            for second in track(client.as_completed(["b"], 0)):
                time.sleep(0.3)
    """.replace("\n    ", "\n")
    for name in "ab":
        shop.add_task(name)
    terminal = Terminal("a", "b", program=BEGIN + program)
    assert terminal.end().code == 0
    assert [line.partition(",")[0] for line in terminal.shown.splitlines()] == [
        "1 done",
        "1 done",
        "2 of 2 done",
    ]


def test_a_forked_child(shop: FakeStream) -> None:
    """A child that inherits the loop leaves the terminal to its parent."""
    program = """
    with Stream() as client:
        outcomes = track(client.as_completed(ids, 0), total=2)
        next(outcomes)
        if (child := os.fork()) == 0:
            del outcomes
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.5)
        os.write(1, b"child has ended")
        next(outcomes)
    """.replace("\n    ", "\n")
    shop.add_task("a")
    shop.add_task("b", after=3600)
    terminal = Terminal("a", "b", program=BEGIN + program)
    until(lambda: "child has ended" in terminal.shown and "1 of 2 done" in terminal.shown)
    shop.finish("b")
    assert terminal.end().code == 0


def test_a_stderr_that_is_broken(shop: FakeStream, full: Any) -> None:
    """Waits go on if nothing can be shown."""
    shop.add_task("a")
    shop.inject(Fault.reset(), times=3)
    program = BEGIN + BLOCKING.format("pass")
    assert end(start("a", program=program, stderr=full)).out == "a\nafter\n"
    assert end(start("a", program=program, closed=(2,))).out == "a\nafter\n"
    hidden = "sys.stderr.close()\n"
    assert end(start("a", program=BEGIN + hidden + BLOCKING.format("pass"))).out == "a\nafter\n"


@pytest.mark.slow
def test_a_reader_that_leaves(shop: FakeStream) -> None:
    """Waits go on when nobody reads the lines any more."""
    shop.add_task("a")
    shop.inject(Fault.reset(), times=10_000)
    program = BEGIN + "import logging; logging.disable()" + BLOCKING.format("pass")
    process = start("a", program=program)
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    time.sleep(2.5)  # in the meantime, it says that the server is away
    shop.heal()
    with process.stdout:
        assert process.stdout.read() == "a\nafter\n"
    assert process.wait() in (0, 120)  # Python could not flush stderr


def test_without_rich() -> None:
    """An error names the extra; the package itself does without."""
    program = """
import sys
sys.modules["rich"] = None
import stream_tasks.progress
stream_tasks.progress.track([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    told = "ImportError: track needs rich, which is in the extra stream_tasks[cli]: pip install rich"
    assert done.stderr.splitlines()[-1] == told


def test_what_is_imported() -> None:
    """Neither the client nor click is needed."""
    program = "import sys, stream_tasks.progress; print({'click', 'aiohttp', 'IPython'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


class TestOutcomes:
    """What comes out is what goes in."""

    def test_blocking(
        self, threaded_server: FakeStream, blocking: Stream, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each outcome comes as it is."""
        ids = [threaded_server.add_task(name, result={"name": name}) for name in "abc"]
        outcomes = list(track(blocking.as_completed(ids, 0), total=3))
        assert sorted(outcome.result()["name"] for outcome in outcomes) == ["a", "b", "c"]
        assert capsys.readouterr().err.startswith("3 of 3 done, 0 failed, in ")

    async def test_async(
        self, server: FakeStream, client: AsyncStream, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The same with ``async for``; the loop is not held up."""
        ids = [server.add_task(name) for name in "abc"]
        found = [outcome async for outcome in track(client.as_completed(ids, 0), total=3)]
        assert {outcome.task_id for outcome in found} == set(ids)
        assert capsys.readouterr().err.startswith("3 of 3 done, 0 failed, in ")

    async def test_left(self, server: FakeStream, client: AsyncStream) -> None:
        """Leaving the loop ends the waits that it was for."""
        server.add_task("done")
        server.add_task("never", never=True)
        outcomes = client.as_completed(["done", "never"], 0)
        async with aclosing(track(outcomes)) as tracked:
            assert (await anext(tracked)).task_id == "done"
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)

    def test_left_blocking(self, threaded_server: FakeStream, blocking: Stream) -> None:
        """Closing it closes the iterator of the client."""
        threaded_server.add_task("done")
        threaded_server.add_task("never", never=True)
        outcomes = blocking.as_completed(["done", "never"], 0)
        tracked = track(outcomes)
        next(tracked)
        tracked.close()
        assert list(outcomes) == []

    async def test_of_ones_own(self, server: FakeStream, client: AsyncStream) -> None:
        """Iterators of the caller's own are fine, asynchronous or not, and so is a list."""
        server.add_task("a")
        outcomes = list((await client.wait_for_tasks(["a"])).values())

        class Own:
            def __aiter__(self) -> AsyncIterator[TaskOutcome[Any]]:
                return self._each()

            async def _each(self) -> AsyncIterator[TaskOutcome[Any]]:
                for outcome in outcomes:
                    yield outcome

        assert [outcome async for outcome in track(Own())] == outcomes
        assert list(track(outcomes)) == outcomes
        assert list(track(iter(outcomes), total=1)) == outcomes

    def test_a_closed_client(self, blocking: Stream) -> None:
        """A client that is closed meanwhile has nothing that holds it back."""
        blocking.close()
        assert progress._View(Origin(blocking, None), None).ask() is None

    def test_an_end_during_a_question(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What ends while the client is asked what holds it back shows nothing any more."""
        monkeypatch.setattr(Lines, "every", 0.01)
        view = progress._View(None, None)
        has_asked = threading.Event()

        def ask() -> Obstacle:
            view.stop()
            has_asked.set()
            return Obstacle("unreachable", 0.0)

        view.start(ask)
        assert has_asked.wait(30)
        for thread in threading.enumerate():
            if thread.name == "stream_tasks progress":
                thread.join(30)
        assert capsys.readouterr().err == ""

    def test_a_stderr_that_is_closed_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing more is shown then."""
        monkeypatch.setattr(Lines, "every", 0.01)
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        view = progress._View(None, None)

        def ask() -> Obstacle:
            stream.close()
            return Obstacle("unreachable", 0.0)

        view.start(ask)
        assert view._has_ended.wait(30)

    def test_held_back_in_a_notebook(self) -> None:
        """A notebook tells what holds polls back, too."""
        board = Board((), None, None)
        board.tick(Obstacle("rate_limited", 7.0))
        picture = Notebook(board)._draw(board.progress)
        assert "waiting for the rate limit, 7 s</div>" in picture._repr_html_()
        assert repr(picture).endswith(", waiting for the rate limit, 7 s")

    def test_no_thread(
        self,
        threaded_server: FakeStream,
        blocking: Stream,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """If no thread can be started, only the end is told."""
        threaded_server.add_task("a")
        assert blocking.wait_for_task("a") == {}  # its own thread runs

        def refuse(_: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("threading.Thread.start", refuse)
        assert len(list(track(blocking.as_completed(["a"])))) == 1
        assert capsys.readouterr().err.startswith("1 done, 0 failed, in ")


@pytest.mark.parametrize(
    ("outcomes", "total", "kind", "told"),
    [
        (7, None, TypeError, "outcomes must be what as_completed returns, not int"),
        ([], "3", TypeError, "total must be an int, not str"),
        ([], -1, ValueError, "total must be 0 or more, not -1"),
        (["an-id"], None, TypeError, "outcomes must yield TaskOutcome, as as_completed does, not str"),
    ],
)
def test_wrong_arguments(outcomes: Any, total: Any, kind: type[Exception], told: str) -> None:
    """What is not outcomes, or not a number, is refused."""
    with pytest.raises(kind, match=told):
        list(track(outcomes, total))


def test_escapes(shop: FakeStream) -> None:
    """What the server says steers no terminal."""
    shop.add_task("a", error=TaskFailure("\x1b[31mred", "\x1b]0;title\x07"))
    shop.add_task("b", after=3600)
    terminal = Terminal("a", "b", program=BEGIN + BLOCKING.format("pass"))
    until(lambda: "\\u001b[31mred" in terminal.shown)
    shop.finish("b")
    assert "\x1b]0" not in plain(terminal.end().out)
