"""Ctrl-C and other signals: the call is unwound first, then the caller hears of it, at once."""

import signal
import sys

import pytest
from scripts import PROMPT, run, run_quietly

from stream_tasks.testing import FakeStream, Fault

CALLS = {
    "a wait": "client.wait_for_task('t', 0.05)",
    "a wait with a callback": "client.wait_for_task('t', 0.05, on_update=print)",
    "a thousand waits": "client.wait_for_tasks(['t', *(f't-{number}' for number in range(999))])",
    "a watch": "list(client.watch_task('t', 0.05))",
    "outcomes as they come": "list(client.as_completed(['t'], 0.05))",
    "a look": "client.get_task('hangs')",
}


@pytest.fixture
def never(threaded_server: FakeStream) -> FakeStream:
    """A server of a thousand tasks that do not end, and one that does not answer."""
    threaded_server.add_task("t", never=True)
    for number in range(999):
        threaded_server.add_task(f"t-{number}", never=True)
    threaded_server.inject(Fault.hang(), task_id="hangs")
    return threaded_server


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupt_unwinds_the_call_first(never: FakeStream, call: str) -> None:
    """Ctrl-C cancels the coroutine, then raises KeyboardInterrupt at once; nothing polls on."""
    out = run_quietly(
        never,
        f"""
        client.request("GET", "/rate_limits")
        interrupt(0.5)
        try:
            {call.replace("print", "fired.count")}
        except KeyboardInterrupt:
            print(time.monotonic() - fired[0] < AT_ONCE, len(unfinished(client)))
        client.request("GET", "/rate_limits")
        time.sleep(0.2)
        client.request("GET", "/rate_limits")
        """,
        *PROMPT,
    )
    assert out == "True 0\n"
    asked = [request.task_id for request in never.requests]
    assert asked[0] is asked[-1] is asked[-2] is None
    assert len(asked) > 3
    assert None not in asked[1:-2]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupt_is_told_in_few_words(never: FakeStream, call: str) -> None:
    """A script that Ctrl-C ends prints the caller's line and few of this package, and nothing of asyncio."""
    done = run(never, f"interrupt(0.3)\n{call.replace('print', 'fired.count')}")
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyboardInterrupt"
    assert call.replace("print", "fired.count") in lines[2]
    frames = [line for line in lines if line.startswith("  File ")]
    assert len(frames) <= 5
    assert all("script.py" in frame or "stream_tasks" in frame for frame in frames)
    assert done.returncode == -signal.SIGINT


def test_a_second_interrupt_breaks_the_unwinding(threaded_server: FakeStream) -> None:
    """A coroutine that does not let itself be cancelled is left by a second Ctrl-C, not by the first."""
    out = run_quietly(
        threaded_server,
        """
        async def stubborn():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        interrupt(0.3, 0.8)
        try:
            client._loop.run(stubborn)
        except KeyboardInterrupt:
            print(len(fired), time.monotonic() - fired[-1] < AT_ONCE)
        """,
    )
    assert out == "2 True\n"


def test_two_interrupts_in_a_row(never: FakeStream) -> None:
    """Ctrl-C pressed twice at once ends a wait as once does, and the client works on."""
    out = run_quietly(
        never,
        """
        interrupt(0.5, 0.5)
        try:
            try:
                client.wait_for_tasks(["t", *(f"t-{number}" for number in range(999))])
            finally:
                while len(fired) < 2:
                    time.sleep(0.001)
        except KeyboardInterrupt:
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:
                pass
        print(time.monotonic() - fired[0] < AT_ONCE, client.get_task("t").data.task_id)
        """,
        *PROMPT,
    )
    assert out == "True t\n"


def test_an_interrupt_that_meets_a_failure(threaded_server: FakeStream) -> None:
    """What the coroutine raises while it unwinds does not take the place of KeyboardInterrupt."""
    out = run_quietly(
        threaded_server,
        """
        async def fails():
            try:
                await asyncio.sleep(60)
            finally:
                raise ValueError

        interrupt(0.15)
        try:
            client._loop.run(fails)
        except KeyboardInterrupt:
            print("interrupted")
        gc.collect()
        """,
    )
    assert out == "interrupted\n"


@pytest.mark.slow
def test_interrupts_at_random_moments(threaded_server: FakeStream) -> None:
    """From before the first request to after the end, Ctrl-C ends the wait and leaves the client in order."""
    for number in range(30):
        threaded_server.add_task(f"t-{number}", statuses=["running"])
    out = run_quietly(
        threaded_server,
        """
        seed = random.randrange(10**6)
        chance = random.Random(seed)
        for number in range(30):
            fired.clear()
            client = make()
            try:
                interrupt(chance.uniform(0, 0.1))
                client.wait_for_task(f"t-{number}", 0, 5)
                while True:
                    time.sleep(0.001)
            except KeyboardInterrupt:
                late = time.monotonic() - fired[0]
            assert late < AT_ONCE, (seed, number, late)
            assert not unfinished(client), (seed, number)
            assert client.wait_for_task(f"t-{number}", 0, 5).data.is_completed
            client.close()
        # Python lists for ever what was interrupted just before it began.
        running = [thread for thread in threading.enumerate() if thread.ident]
        for thread in running:
            if thread.name == "stream_tasks" or type(thread) is threading.Timer:
                thread.join(10)
        print(sorted(thread.name for thread in running if thread.is_alive()))
        """,
    )
    assert out == "['MainThread']\n"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="newer Pythons do not report each opcode")
def test_an_interrupt_at_every_step(threaded_server: FakeStream) -> None:
    """Wherever in a call Python heeds an interrupt, the coroutine is unwound and the next call works."""
    threaded_server.add_task("t", statuses=[])
    threaded_server.add_task("never", never=True)
    out = run_quietly(
        threaded_server,
        """
        import dis, functools
        from stream_tasks import StreamWaitTimeoutException, _blocking, _loop_thread

        FILES = {_blocking.__file__, _loop_thread.__file__}

        @functools.cache
        def names(code):
            return {step.offset: step.opname for step in dis.get_instructions(code)}

        class Interrupts:
            # Python heeds a signal after a call, at a function's begin and when it jumps back.
            def __init__(self, at):
                self.left, self.struck = at, False

            def __call__(self, frame, *_):
                if frame.f_code.co_filename not in FILES:
                    return None
                frame.f_trace_opcodes, last = True, ""

                def step(frame, event, _):
                    nonlocal last
                    if event == "opcode":
                        before, last = last, names(frame.f_code)[frame.f_lasti]
                        if before.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):
                            self.left -= 1
                            if self.left == 0:
                                self.struck = True
                                raise KeyboardInterrupt
                    return step

                return step

        def strike(client, at, task):
            interrupts = Interrupts(at)
            tracing = sys.gettrace()
            sys.settrace(interrupts)
            try:
                client.wait_for_task(task, 0, 0.06)
            except (KeyboardInterrupt, StreamWaitTimeoutException):
                pass
            finally:
                sys.settrace(tracing)
            left = unfinished(client)
            looks = []
            look = threading.Thread(target=lambda: looks.append(client.get_task("t")), daemon=True)
            look.start()
            look.join(10)
            assert (left, len(looks)) == ([], 1), (at, task)
            return interrupts.struck

        for task in "t", "never":
            at = 1
            while strike(client, at, task):
                at += 1
            print(at > 10)
        at = 1
        while strike(fresh := make(), at, "t"):
            fresh.close()
            at += 1
        print(at > 15)
        gc.collect()
        """,
        "-B",
    )
    assert out == "True\nTrue\nTrue\n"


def test_a_signal_handler_may_close(never: FakeStream) -> None:
    """A handler that closes the client ends the wait that it interrupts."""
    out = run_quietly(
        never,
        """
        signal.signal(signal.SIGTERM, lambda *_: client.close())
        interrupt(0.3, sign=signal.SIGTERM)
        try:
            client.wait_for_task("t", 0.05, None)
        except StreamTransportException as exc:
            print("closed" in str(exc))
        """,
    )
    assert out == "True\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_end_the_process(never: FakeStream, name: str) -> None:
    """A signal that Python leaves alone ends a waiting process, as it does any."""
    code = f"""
    signal.signal(signal.{name}, signal.SIG_DFL)  # nohup would have it ignored
    interrupt(0.3, sign=signal.{name})
    client.wait_for_task("t", 0.05, None)
    """
    done = run(never, code)
    assert (done.returncode, done.stderr) == (-getattr(signal, name), "")
