"""Ctrl-C and SIGTERM, at whatever moment: one end, one report, one code, and no traceback."""

import asyncio
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import click
import pytest
from commandline import (
    PROGRAM,
    SIGNALS,
    Ended,
    end,
    pty,
    run_here,
    serve,
    set_environment,
    start,
    start_python,
    until,
)

from stream_tasks.cli import app, signals
from stream_tasks.cli.commands import wait
from stream_tasks.cli.signals import Stop
from stream_tasks.testing import FakeStream, Fault

Run: TypeAlias = Callable[..., Ended]

server = pytest.fixture(serve)
env = pytest.fixture(autouse=True)(set_environment)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return functools.partial(run_here, capsys)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back what the end of a process would not."""
    before = [
        (signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)),
        (signal.SIGTERM, signal.getsignal(signal.SIGTERM)),
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


class LeftError(Exception):
    """The process would have ended."""


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes that the process would have ended with."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise LeftError

    monkeypatch.setattr(os, "_exit", leave)
    return codes


class TestRun:
    def test_returns(self) -> None:
        """Without a signal it returns what the coroutine does, and leaves the handlers as they were."""

        async def main(stop: Stop) -> bool:
            assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == stop.hear
            return stop.is_asked

        assert signals.run(main) is False
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
    def test_cancels(self, capsys: pytest.CaptureFixture[str], number: int, code: int, word: str) -> None:
        """A signal cancels the coroutine; it exits if that does nothing about it."""

        async def main(_: Stop) -> None:
            os.kill(os.getpid(), number)
            await asyncio.sleep(50)

        with pytest.raises(click.exceptions.Exit) as ended:
            signals.run(main)
        assert ended.value.exit_code == code
        assert capsys.readouterr().err == f"\n{word}.\n"

    def test_several_count_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What comes in a moment does not disturb the tidying up, nor does what comes when all is over."""
        monkeypatch.setattr(signals, "PATIENCE", 500)
        stops: list[Stop] = []

        async def main(stop: Stop) -> int:
            stops.append(stop)
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
                    os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
            return stop.code

        assert signals.run(main) == 143
        os.kill(os.getpid(), signal.SIGINT)
        app._ignore_signals()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    def test_after_the_loop(self) -> None:
        """The first one that comes when the loop is closed does nothing any more."""
        stops: list[Stop] = []

        async def main(stop: Stop) -> None:
            stops.append(stop)

        signals.run(main)
        stops[0].hear(signal.SIGINT)
        assert stops[0].is_asked

    def test_impatience(self, monkeypatch: pytest.MonkeyPatch, left: list[int]) -> None:
        """A signal that comes later ends the process at once, whatever is under way."""
        monkeypatch.setattr(signals, "PATIENCE", 0)

        async def main(_: Stop) -> None:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(50)
            finally:
                time.sleep(0.001)  # a clock may stand still that long
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(LeftError):
            signals.run(main)
        assert left == [130]

    def test_cursor(self, monkeypatch: pytest.MonkeyPatch, left: list[int]) -> None:
        """A process that ends at once gives the terminal its cursor back."""
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb", buffering=0) as terminal, os.fdopen(follower, "w") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            with pytest.raises(LeftError):
                Stop().leave()
            assert terminal.read(99) == b"\x1b[?25h"
        assert left == [130]

    def test_stuck(self, monkeypatch: pytest.MonkeyPatch, left: list[int]) -> None:
        """Writing that hangs after a signal is left behind, and so is the process."""
        monkeypatch.setattr(signals, "PATIENCE", 0.01)
        reading = threading.Event()

        async def main(stop: Stop) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await stop.write(reading.wait)
            finally:
                assert stop.is_stuck
                reading.set()

        with pytest.raises(LeftError):
            signals.run(main)
        assert left == [130]

    def test_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a signal it is waited for, also by what is cancelled."""
        monkeypatch.setattr(signals, "PATIENCE", 0.01)
        reading = threading.Event()

        async def main(stop: Stop) -> bool:
            writing = asyncio.create_task(stop.write(reading.wait))
            await asyncio.sleep(0.05)
            writing.cancel()
            await asyncio.sleep(0.05)
            assert not writing.done()
            reading.set()
            await asyncio.wait([writing])
            return writing.cancelled()

        assert signals.run(main)

    def test_in_the_background(self) -> None:
        """Signals that are ignored stay ignored."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        async def main(stop: Stop) -> bool:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)
            return stop.is_asked

        assert signals.run(main) is False
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def test_in_a_thread(self) -> None:
        """In another thread than the main one there are no signals to handle."""

        async def main(_: Stop) -> None:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        thread = threading.Thread(target=signals.run, args=(main,))
        thread.start()
        thread.join()


class TestCommands:
    def test_before_anything(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C before there is anything to cancel exits with 130, and no second one disturbs that."""

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(wait, "read_ids", interrupt)
        assert run("wait", "a") == (130, "", "\nInterrupted.\n")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    @pytest.mark.parametrize(
        ("moment", "code"),
        [("__init__", 130), ("run_until_complete", 130), ("shutdown_asyncgens", 3), ("close", 3)],
        ids=["the loop is made", "it begins", "it has ended", "the loop is closed"],
    )
    def test_two_at_once(self, server: FakeStream, moment: str, code: int) -> None:
        """Ctrl-C pressed twice at once leaves no traceback, wherever it comes, and nothing hangs."""
        server.add_task("endless", never=True)
        pressing = f"""
import asyncio, os, signal
original = asyncio.BaseEventLoop.{moment}
def pressed(*args, **kwargs):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    return original(*args, **kwargs)
asyncio.BaseEventLoop.{moment} = pressed
"""
        process = start("wait", "endless", "--timeout", "0", program=pressing + PROGRAM)
        ended = end(process)
        assert ended.code == code
        if code == 130:
            assert ended.out == ""
            assert ended.err.startswith(
                "\nInterrupted; tasks on the server go on.\n"
                "Not finished: 1 of 1 task.\n"
                "  endless  not seen yet\n"
                "To go on, run the same command again.\n"
            )
        else:
            assert "Interrupted" not in ended.err

    @pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
    @pytest.mark.parametrize(
        "command", [["get", "a"], ["doctor", "--timeout", "50"]], ids=lambda args: args[0]
    )
    def test_a_server_that_hangs(
        self, server: FakeStream, command: list[str], number: int, code: int, word: str
    ) -> None:
        """What waits for an answer ends with a word and the signal's code."""
        server.inject(Fault.hang(), times=9)
        is_python = command == ["get", "a"] and number == signal.SIGINT  # with the imports yet to come
        process = (start_python if is_python else start)(*command)
        until(lambda: server.requests)
        process.send_signal(number)
        ended = end(process)
        assert (ended.code, ended.err) == (code, f"\n{word}.\n")

    @pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
    def test_demo(self, number: int, code: int, word: str) -> None:
        """So does the demo."""
        process = start("demo", program=PROGRAM.replace("0.4", "400"))
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        ended = end(process)
        assert (ended.code, ended.err) == (code, f"\n{word}.\n")
