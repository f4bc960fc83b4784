"""Clocks that a test has frozen, by freezegun and by hand."""

import asyncio
import importlib.util
import time
from collections.abc import Callable

import pytest
from scripts import PRELUDE, run

from stream_tasks._clock import check_clock, real_clock
from stream_tasks._loop_thread import new_loop
from stream_tasks.testing import FakeStream, Fault

needs_freezegun = pytest.mark.skipif(
    importlib.util.find_spec("freezegun") is None, reason="freezegun is not there"
)
FREEZING = """
from freezegun import freeze_time

def frozen(**options):
    return freeze_time("2012-01-14", **options)

def told(function, *args):
    try:
        return function(*args)
    except TimeoutError as exc:
        assert 0.3 < exc.elapsed < 20, exc.elapsed
        return exc.reason

async def wait(task, timeout):
    async with make(AsyncStream) as other:
        return await other.wait_for_task(task, 0.05, timeout)
"""


@pytest.fixture
def server(threaded_server: FakeStream) -> FakeStream:
    """A server of a task that ends, one that has ended, and one that never does."""
    threaded_server.add_task("t", statuses=["running"] * 3, result={"a": 1})
    threaded_server.add_task("done", statuses=[], result={"a": 2})
    threaded_server.add_task("never", never=True)
    return threaded_server


def run_frozen(server: FakeStream, code: str, before: str = PRELUDE) -> str:
    done = run(server, code, prelude=before + FREEZING, forks=True)
    # The log's last resort shows waits that fail.
    said = [
        line
        for line in done.stderr.splitlines()
        if "time is frozen" not in line and "have failed" not in line
    ]
    assert (done.returncode, said) == (0, []), done
    return done.stdout


MODES = {"": "time stands still", "tick=True": "time goes on", "auto_tick_seconds=5": "time leaps"}


@needs_freezegun
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=MODES.values())
def test_the_blocking_client_keeps_the_real_time(server: FakeStream, mode: str) -> None:
    """Its waits end and elapse as ever, whether it was made and used before the freeze or in it."""
    out = run_frozen(
        server,
        f"""
        client.get_task("t")
        with frozen({mode}):
            for one in client, make():
                print(told(one.wait_for_task, "t", 0.05, 20), told(one.wait_for_task, "never", 0.05, 0.4))
        print(told(client.wait_for_task, "never", 0.05, 0.4))
        """,
    )
    line = "{'a': 1} still_running\n"
    assert out == f"{line}{line}still_running\n"


@needs_freezegun
@pytest.mark.slow
def test_a_freeze_amid_a_wait(server: FakeStream) -> None:
    """A blocking wait that has begun before it ends as if nothing had happened."""
    out = run_frozen(
        server,
        """
        reasons = []
        wait = lambda: reasons.append(told(client.wait_for_task, "never", 0.05, 0.6))
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        with frozen():
            time.sleep(0.2)
        thread.join()
        print(reasons)
        """,
    )
    assert out == "['still_running']\n"


@needs_freezegun
@pytest.mark.slow
def test_a_package_that_is_imported_in_a_freeze(server: FakeStream) -> None:
    """Then, too, the blocking client knows the real time, and reads times as ever."""
    code = """
    print(told(client.wait_for_task, "t", 0.05, 20), told(client.wait_for_task, "never", 0.05, 0.4))
    task = client.get_task("done").data
    freezer.stop()
    import datetime
    print(isinstance(task.updated_at, datetime.datetime), task.updated_at.year > 2012)
    print(told(client.wait_for_task, "never", 0.05, 0.4))
    """
    freezing = "from freezegun import freeze_time\nfreezer = freeze_time('2012-01-14')\nfreezer.start()\n"
    out = run_frozen(server, code, freezing + PRELUDE)
    assert out == "{'a': 1} still_running\nTrue True\nstill_running\n"


@needs_freezegun
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tick=True", "real_asyncio=True"])
def test_an_event_loop_whose_time_goes_on(server: FakeStream, mode: str) -> None:
    """Its waits end and elapse as ever."""
    out = run_frozen(
        server,
        f"""
        with frozen({mode}):
            print(asyncio.run(wait("t", 20)), told(asyncio.run, wait("never", 0.4)))
        """,
    )
    assert out == "{'a': 1} still_running\n"


@needs_freezegun
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", "auto_tick_seconds=5"], ids=["stands still", "leaps"])
def test_an_event_loop_whose_time_is_frozen(server: FakeStream, mode: str) -> None:
    """A wait on it that would have to sleep is refused with what to do; what has ended is returned."""
    server.add_task("gone", statuses=["running"])
    if not mode:
        server.inject(Fault.status(503), 20, task_id="gone")
    out = run_frozen(
        server,
        f"""
        async def main():
            async with make(AsyncStream) as other:
                with frozen({mode}):
                    if not {mode!r}:
                        print(await other.wait_for_task("done"))
                    for task in ["never", "gone"] * 5:
                        try:
                            await other.wait_for_task(task, 0.05, None)
                        except RuntimeError as exc:
                            assert "real_asyncio=True or tick=True" in str(exc)
                    outcomes = await other.wait_for_tasks(["never", "gone"], 0.05, None)
                    assert all("frozen" in str(one.exception()) for one in outcomes.values())
                print(await other.wait_for_task("t", 0.05, 20))

        asyncio.run(main())
        """,
    )
    assert out == ("{'a': 1}\n" if mode else "{'a': 2}\n{'a': 1}\n")


# Without the package


def stopped() -> float:
    return 5.0


def made_anew() -> Callable[[], float]:
    """A clock of Python's own making that goes right."""
    clock = time.monotonic
    return lambda: clock() + 1_000


def leaping() -> Callable[[], float]:
    times = iter(range(0, 10_000, 5))
    return lambda: float(next(times))


async def test_a_clock_is_judged_by_how_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was replaced may go right; one of the loop's own is not judged at all."""
    loop = asyncio.SelectorEventLoop()
    check_clock(loop)
    for clock, is_right in (made_anew(), True), (stopped, False), (leaping(), False):
        with monkeypatch.context() as patched:
            patched.setattr(time, "monotonic", clock)
            if is_right:
                check_clock(loop)
            else:
                with pytest.raises(RuntimeError, match="time is frozen on this event loop"):
                    check_clock(loop)
            patched.setattr(loop, "time", stopped)
            check_clock(loop)
    loop.close()


def test_the_private_loop_has_the_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where `time.monotonic` stands still."""
    monkeypatch.delenv("STREAM_UVLOOP", raising=False)
    loop = new_loop()
    monkeypatch.setattr(time, "monotonic", stopped)
    began = loop.time()
    asyncio.set_event_loop(None)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert 0 < loop.time() - began < 30
    loop.close()


def test_the_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `time.monotonic`, or where that was replaced the system's."""
    assert real_clock() is time.monotonic
    monkeypatch.setattr(time, "monotonic", stopped)
    clock = real_clock()
    assert clock is not stopped
    assert clock() <= clock()
    monkeypatch.delattr(time, "clock_gettime")  # as on Windows
    assert real_clock() is stopped
