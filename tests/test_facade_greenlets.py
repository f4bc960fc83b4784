"""Greenlets in place of threads: gevent and eventlet, which patch Python."""

import _thread
import asyncio
import contextlib
import importlib.util
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hostile import Front, front
from places import port_of
from scripts import PRELUDE, run
from tls import AUTHORITY, server_context

from stream_tasks import _green
from stream_tasks._loop_thread import LoopThread
from stream_tasks.testing import FakeStream

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent

def spawn(function, *args):
    return gevent.spawn(function, *args).get

def in_a_real_thread(function, *args):
    return gevent.get_hub().threadpool.spawn(function, *args).get()
"""
EVENTLET = """
import warnings
with warnings.catch_warnings(action="ignore"):  # it is deprecated
    import eventlet
eventlet.monkey_patch()

def spawn(function, *args):
    return eventlet.spawn(function, *args).wait

def in_a_real_thread(function, *args):
    from eventlet import tpool
    return tpool.execute(function, *args)
"""
PATCHES = {"gevent": GEVENT, "eventlet": EVENTLET}


@pytest.fixture(params=PATCHES)
def patches(request: pytest.FixtureRequest) -> str:
    """What a script begins with that uses greenlets."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not there for this Python")
    return PATCHES[request.param]


@pytest.fixture
def server(threaded_server: FakeStream) -> FakeStream:
    """A server of a task that ends, and one that does not."""
    threaded_server.add_task("t", statuses=["running"] * 3, result={"a": 1})
    threaded_server.add_task("never", never=True)
    return threaded_server


def run_quietly(server: FakeStream, code: str, before: str, *, exit_code: int = 0) -> str:
    """Run a script that complains of nothing, but for what eventlet says of itself on new Pythons."""
    done = run(server, code, prelude=before, forks=True)
    told = ("were not greened", "called on the thread of a running event loop")
    said = [line for line in done.stderr.splitlines() if not any(words in line for words in told)]
    assert (done.returncode, said) == (exit_code, []), done
    return done.stdout


@pytest.mark.slow
def test_greenlets_wait_side_by_side(server: FakeStream, patches: str) -> None:
    """Waits of several clients leave their thread to each other, and to whatever else runs in it."""
    out = run_quietly(
        server,
        """
        ticks = []

        def tick():
            while True:
                time.sleep(0.01)
                ticks.append(1)

        spawn(tick)
        other = make()
        waits = [spawn(one.wait_for_task, "t", 0.1, 20) for one in (client, other) for _ in range(3)]
        print([wait() for wait in waits] == [{"a": 1}] * 6, len(ticks) > 3)
        other.close()
        print(client.delete_users(["jane"]).task_id is not None)
        client.close()
        """,
        patches + PRELUDE,
    )
    assert out == "True True\nTrue\n"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="eventlet is not there")
def test_a_hub_that_is_an_event_loop(server: FakeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where eventlet itself runs on asyncio, the client's loop takes turns with that, too."""
    monkeypatch.setenv("EVENTLET_HUB", "asyncio")
    code = """
    waits = [spawn(client.wait_for_task, "t", 0.1, 20) for _ in range(3)]
    print([wait() for wait in waits] == [{"a": 1}] * 3, flush=True)
    os._exit(0)
    """
    assert run_quietly(server, code, EVENTLET + PRELUDE) == "True\n"


@pytest.mark.slow
def test_asyncio_is_left_alone(server: FakeStream, patches: str) -> None:
    """Event loops of the same thread run before, between and around the calls of clients."""
    out = run_quietly(
        server,
        """
        async def around():
            before = asyncio.current_task()
            result = client.wait_for_task("t", 0.05, 20)
            await asyncio.sleep(0)
            assert asyncio.current_task() is before
            return result

        async def between():
            wait = spawn(client.wait_for_task, "t", 0.05, 20)
            async with make(AsyncStream) as other:
                return wait(), await other.wait_for_task("t", 0.05, 20)

        async def elapses():
            async with make(AsyncStream) as other:
                try:
                    await other.wait_for_task("never", 0.05, 0.3)
                except TimeoutError as exc:
                    return exc.reason

        print(client.wait_for_task("t", 0.05, 20))
        for work in around, between, elapses:
            print(asyncio.run(work()))
        print(client.wait_for_task("t", 0.05, 20))
        """,
        patches + PRELUDE,
    )
    result = "{'a': 1}"
    assert out == f"{result}\n{result}\n({result}, {result})\nstill_running\n{result}\n"


@pytest.mark.slow
def test_an_interrupt_unwinds_the_call(server: FakeStream, patches: str) -> None:
    """Ctrl-C reaches whoever waits in the main greenlet, also where it strikes the client's own."""
    code = """
    def press(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, press)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        client.wait_for_task("never", 0.05, None)
    except KeyboardInterrupt:
        while unfinished(client):
            time.sleep(0.01)
        print("interrupted")
    print(client.wait_for_task("t", 0.05, 20))
    """
    done = run(server, code, prelude=patches + PRELUDE, forks=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n{'a': 1}\n"), done


@pytest.mark.slow
def test_the_script_ends_with_waits_pending(server: FakeStream, patches: str) -> None:
    """Waits in greenlets and in what were threads hold nobody up, and print nothing."""
    out = run_quietly(
        server,
        """
        threading.Thread(target=client.wait_for_task, args=("never", 0.05, None)).start()
        wait = spawn(client.wait_for_task, "never", 0.05, None)
        time.sleep(0.3)
        print("the end", flush=True)
        sys.exit(3)
        """,
        patches + PRELUDE,
        exit_code=3,
    )
    assert out == "the end\n"


@pytest.mark.slow
def test_python_may_be_patched_after_the_import(server: FakeStream, patches: str) -> None:
    """A client works that is first used after that; one that was used before says what to do."""
    code = """
    early, late = make(), make()
    early.get_task("t")
    with warnings.catch_warnings(action="ignore"):
        exec(PATCHES)
    print(late.wait_for_task("t", 0.05, 20))
    try:
        early.wait_for_task("t", 0.05, 20)
    except RuntimeError as exc:
        print(exc, flush=True)
    os._exit(0)  # Python's own threads end badly after that
    """
    out = run_quietly(server, code, f"PATCHES = {patches!r}\n{PRELUDE}")
    result, said = out.splitlines()
    assert result == "{'a': 1}"
    assert said.startswith("threads have been replaced by greenlets after this client was first used")


@pytest.mark.slow
def test_a_greenlet_of_another_thread(server: FakeStream, patches: str) -> None:
    """It cannot reach the client's loop, and is told so; a client of its own serves it."""
    out = run_quietly(
        server,
        """
        print(client.wait_for_task("t", 0.05, 20))

        def refusal():
            try:
                client.wait_for_task("t", 0.05, 20)
            except RuntimeError as exc:
                return exc

        print(in_a_real_thread(refusal))
        print(in_a_real_thread(lambda: make().wait_for_task("t", 0.05, 20)), flush=True)
        os._exit(0)
        """,
        patches + PRELUDE,
    )
    first, said, last = out.splitlines()
    assert first == last == "{'a': 1}"
    assert "first used in another thread" in said
    assert "make one client for each such thread" in said


@pytest.mark.slow
def test_threads_that_are_left_alone(server: FakeStream, patches: str) -> None:
    """Where all is patched but threads, the client's own is a real one."""
    out = run_quietly(
        server,
        """
        print(client.wait_for_task("t", 0.05, 20), threading.active_count())
        """,
        patches.replace("patch_all()", "patch_all(thread=False)").replace(
            "monkey_patch()", "monkey_patch(thread=False)"
        )
        + PRELUDE,
    )
    assert out == "{'a': 1} 2\n"


@pytest.fixture
def over_tls(server: FakeStream) -> Iterator[Front]:
    """The server's front, in a loop of its own, that speaks TLS."""
    runner = LoopThread()
    fronts: list[Any] = []

    async def begin() -> Front:
        fronts.append(front(port_of(server.url), tls=server_context()))
        made: Front = await fronts[0].__aenter__()
        return made

    async def end() -> None:
        await fronts[0].__aexit__(None, None, None)

    yield runner.run(begin)
    runner.run(end)
    runner.close()


@pytest.mark.slow
def test_greenlets_over_tls(server: FakeStream, over_tls: Front, patches: str, tmp_path: Any) -> None:
    """Encrypted connections are no different."""
    authority = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(authority)
    url = over_tls.url.replace("http:", "https:")
    out = run_quietly(
        server,
        f"""
        import ssl
        context = ssl.create_default_context(cafile={str(authority)!r})
        client = Stream(SETTINGS["key"], SETTINGS["secret"], base_url={url!r}, ssl_context=context)
        print(client.wait_for_task("t", 0.05, 20))
        """,
        patches + PRELUDE,
    )
    assert out == "{'a': 1}\n"
    assert over_tls.connections


# The parts, without either package


def take_turns(meanwhile: Callable[[], object]) -> list[object]:
    """Run a loop that takes turns; return what `meanwhile` does while it waits, and what it comes to."""
    loop = asyncio.SelectorEventLoop()
    selector: Any = loop._selector  # type: ignore[attr-defined]
    select = selector.select
    found: list[object] = []

    def wait(timeout: float | None = None) -> Any:
        if not found:
            found.append(meanwhile())
        return select(timeout)

    async def generate() -> AsyncIterator[str]:
        yield "generated"

    async def work() -> object:
        await asyncio.sleep(0)
        generated = [item async for item in generate()]
        await asyncio.sleep(0)
        return generated, asyncio.get_running_loop() is loop

    turns = _green.Turns(wait)
    selector.select = turns.select
    with contextlib.closing(loop), turns:
        found.append(loop.run_until_complete(work()))
    return found


async def count() -> int:
    """Yield to others, and generate."""
    return len([number async for number in numbers()])


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        await asyncio.sleep(0)
        yield number


def test_a_loop_that_waits_lets_another_one_run() -> None:
    """Both run in the same thread, neither knowing of the other."""
    assert take_turns(lambda: asyncio.run(count())) == [3, (["generated"], True)]


async def test_a_loop_that_waits_leaves_its_thread_as_it_was() -> None:
    """Another loop that is in the middle of a task finds itself there."""
    here = (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks())

    def there() -> object:
        return asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()

    assert take_turns(there) == [here, (["generated"], True)]
    assert there() == here


def test_what_ends_a_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, raw ones too, end by SystemExit; a bare greenlet ends in silence by its own exception."""
    greenlet = pytest.importorskip("greenlet")
    ended: list[type] = []

    def note() -> None:
        ended.append(type(_green.farewell()))

    def raw() -> None:
        note()
        greenlet.greenlet(note).switch()
        done.set()

    for package in greenlet, None:
        monkeypatch.setitem(sys.modules, "greenlet", package)
        done = threading.Event()
        thread = threading.Thread(target=lambda: greenlet.greenlet(note).switch())
        thread.start()
        thread.join()
        _thread.start_new_thread(raw, ())
        done.wait(10)
    assert ended == [SystemExit, SystemExit, greenlet.GreenletExit, SystemExit, SystemExit, SystemExit]
