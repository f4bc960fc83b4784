"""Event loops: which one the blocking client takes, and one asynchronous client on several."""

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from scripts import PROMPT, STRICT, run, run_quietly

from stream_tasks import AsyncStream
from stream_tasks._loop_thread import new_loop
from stream_tasks.testing import FakeStream

# The blocking client's


def test_it_is_uvloops_where_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAM_UVLOOP=1 is the word."""
    made = object()
    monkeypatch.setenv("STREAM_UVLOOP", "1")
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=lambda: made))
    assert new_loop() is made


def test_it_must_then_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask for what is not there is an error that names it."""
    monkeypatch.setenv("STREAM_UVLOOP", "1")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ImportError, match="uvloop"):
        new_loop()


@pytest.mark.parametrize("value", [None, "", "0"])
def test_it_is_asyncios_otherwise(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """To have uvloop installed, perhaps for a web server, is no such word: who forks could not use it."""
    monkeypatch.delenv("STREAM_UVLOOP", raising=False)
    if value is not None:
        monkeypatch.setenv("STREAM_UVLOOP", value)
    loop = new_loop()
    loop.close()
    assert isinstance(loop, asyncio.BaseEventLoop)


# The asynchronous client's


ONE_AFTER_ANOTHER = """
    client = make(AsyncStream)

    async def main():
        return (await client.wait_for_task("t", 0)).data.status

    print(asyncio.run(main()), asyncio.run(main()))
"""
AT_ONCE = """
    client = make(AsyncStream)
    barrier = threading.Barrier(4)

    async def main():
        barrier.wait()
        outcomes = await client.wait_for_tasks([f"t-{number}" for number in range(50)], 0)
        barrier.wait()
        assert len(outcomes) == 50
        assert all(outcome.ok for outcome in outcomes.values())

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("completed completed")
"""
BY_ANYIO = """
    import anyio
    client = make(AsyncStream)

    async def main():
        with anyio.fail_after(20):
            return (await client.wait_for_task("t", 0)).data.status

    print(anyio.run(main), anyio.run(main, backend="asyncio"))
"""
CLOSED_IN_BETWEEN = """
    client = make(AsyncStream)

    async def main():
        async with client:
            return (await client.wait_for_task("t", 0)).data.status

    first = asyncio.run(main())
    try:
        asyncio.run(main())
    except RuntimeError as exc:
        assert "closed" in str(exc)
        print(first, "completed")
"""
RUNS = {
    "asyncio.run twice": ONE_AFTER_ANOTHER,
    "loops of four threads at once": AT_ONCE,
    "anyio.run": BY_ANYIO,
    "asyncio.run again after the client was closed": CLOSED_IN_BETWEEN,
}


@pytest.mark.parametrize("code", RUNS.values(), ids=RUNS)
def test_a_client_of_a_module_serves_any_loop(threaded_server: FakeStream, code: str) -> None:
    """A client made at import works on each loop with connections of its own, and Python warns of none."""
    threaded_server.add_task("t", statuses=["running"])
    for number in range(50):
        threaded_server.add_task(f"t-{number}", statuses=["running"])
    flags = PROMPT if code == AT_ONCE else STRICT
    assert run_quietly(threaded_server, code, *flags) == "completed completed\n"


LEFT_HALF_WAY = """
    ids = ["t", *(f"never-{number}" for number in range(500))]
    client = make(AsyncStream)

    async def main():
        global outcomes
        outcomes = client.as_completed(ids, 0, 60)
        status = (await anext(outcomes)).task.status
        await asyncio.sleep(0.1)
        return status

    status = asyncio.run(main())
    blocking = make()
    others = blocking.as_completed(ids, 0, 60)
    print(status, next(others).task.status)
    others.close()
"""


def test_what_was_left_half_way_ends_with_the_loop(threaded_server: FakeStream) -> None:
    """That its connections are closed first is no trouble to tell of."""
    threaded_server.add_task("t")
    for number in range(500):
        threaded_server.add_task(f"never-{number}", never=True)
    assert run_quietly(threaded_server, LEFT_HALF_WAY, *PROMPT) == "completed completed\n"


def test_loops_come_and_go_in_other_threads(threaded_server: FakeStream) -> None:
    """A client that forgets the loops that are gone does not mind that another thread brings one."""
    server = threaded_server
    server.add_task("t")
    client = AsyncStream(server.api_key, server.api_secret, base_url=server.url)
    engines: dict[Any, Any] = client._engines

    class Loop:
        def __init__(self, other: "Loop | None" = None) -> None:
            self.other = other

        def is_closed(self) -> bool:
            if self.other is not None:
                engines[self.other] = None
            return True

    late = Loop()
    engines[Loop(late)] = None

    async def look() -> bool:
        await client.get_task("t")
        return set(engines) == {asyncio.get_running_loop(), late}

    assert asyncio.run(look())


CALLS = {
    "a look": lambda client: client.get_task("t"),
    "a wait": lambda client: client.wait_for_task("t"),
    "many waits": lambda client: client.wait_for_tasks(["t"]),
    "outcomes as they come": lambda client: anext(client.as_completed(["t"])),
    "an operation": lambda client: client.delete_users(["u"]),
    "a request": lambda client: client.request("GET", "/app"),
    "a block": lambda client: client.__aenter__(),
    "its end": lambda client: client.aclose(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_under_trio(call: Any) -> None:
    """Where asyncio does not run, an error says what to do."""
    client = AsyncStream("k", token="t")

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"needs asyncio.*trio\.to_thread\.run_sync"):
            await call(client)

    trio.run(main)


def test_without_a_loop() -> None:
    """So does an iterator that is asked for outside any loop."""
    with pytest.raises(RuntimeError, match="needs asyncio"):
        AsyncStream("k", token="t").watch_task("t")


def test_the_blocking_client_serves_trio(threaded_server: FakeStream) -> None:
    """What the error says to do is what works."""
    threaded_server.add_task("t", result={"a": 1})
    out = run_quietly(
        threaded_server,
        """
        import trio

        async def main():
            return await trio.to_thread.run_sync(client.wait_for_task, "t", 0)

        print(trio.run(main))
        """,
    )
    assert out == "{'a': 1}\n"


# Task factories


def of_two_arguments(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop)


class Giving:
    """A task factory that fails after so many tasks."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        self.left -= 1
        if self.left < 0:
            coroutine.close()
            raise LookupError("no more tasks")
        return asyncio.Task(coroutine, loop=loop, **options)


async def wait_in_all_ways(server: FakeStream, client: AsyncStream, timeout: float | None) -> list[Any]:
    ids = [server.add_task(statuses=["running"] * 3) for _ in range(5)]
    found = [await client.wait_for_task(ids[0], 0.05, timeout)]
    found += [one.result() for one in (await client.wait_for_tasks(ids[1:3], 0.05, timeout)).values()]
    found += [one.result() async for one in client.as_completed(ids[3:4], 0.05, timeout)]
    return found + [one.status async for one in client.watch_task(ids[4], 0.05, timeout)]


FACTORIES = {
    "of two arguments": of_two_arguments,
    "eager": getattr(asyncio, "eager_task_factory", of_two_arguments),
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
async def test_a_task_factory_of_the_loop(threaded_server: FakeStream, factory: Any) -> None:
    """Waits without a time-out end as ever, whatever the factory takes."""
    server = threaded_server
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
        asyncio.get_running_loop().set_task_factory(factory)
        try:
            found = await wait_in_all_ways(server, client, None)
        finally:
            asyncio.get_running_loop().set_task_factory(None)
    assert found == [{}, {}, {}, {}, "running", "completed"]


@pytest.mark.parametrize("tasks", range(8))
async def test_a_task_factory_that_fails(threaded_server: FakeStream, tasks: int) -> None:
    """Its error reaches whoever waits, even for ever, at whichever task it comes."""
    server, loop = threaded_server, asyncio.get_running_loop()
    async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
        await client.request("GET", "/rate_limits")
        loop.set_task_factory(Giving(tasks))
        try:
            with pytest.raises(LookupError, match="no more tasks"):
                await wait_in_all_ways(server, client, None)
        finally:
            loop.set_task_factory(None)
        assert await client.wait_for_task(server.add_task(statuses=["running"]), 0.05, 20) == {}


# Loops within loops


NESTED = """
    import nest_asyncio

    async def wait(task, timeout, of=None):
        async with make(AsyncStream) as other:
            try:
                return await (of or other).wait_for_task(task, 0.05, timeout)
            except TimeoutError as exc:
                return exc.reason

    async def main():
        nest_asyncio.apply()
        run = asyncio.get_running_loop().run_until_complete
        print(client.wait_for_task("t", 0.05, 20), run(wait("t", 20)), run(wait("never", 0.2)))
        async with make(AsyncStream) as outer:
            waits = asyncio.create_task(wait("never", 0.5, of=outer))
            await asyncio.sleep(0.1)
            print(run(wait("t", 20, of=outer)), run(wait("never", 0.2, of=outer)), await waits)

            def update(task):
                assert client.get_task("t").data.is_completed
                assert run(outer.get_task("t")).data.is_completed

            print(await outer.wait_for_task("t", 0, 20, on_update=update))

    asyncio.run(main())
    print(asyncio.run(wait("t", 20)), client.wait_for_task("t", 0.05, 20))
"""


@pytest.mark.slow
@pytest.mark.parametrize("package", ["nest_asyncio", "nest_asyncio2"])
def test_loops_may_be_nested(threaded_server: FakeStream, package: str) -> None:
    """Where asyncio was patched to run within itself, both clients work at any depth, or say what to do."""
    pytest.importorskip(package)
    threaded_server.add_task("t", statuses=["running"] * 3, result={"a": 1})
    threaded_server.add_task("never", never=True)
    code = NESTED.replace("import nest_asyncio", f"import {package} as nest_asyncio")
    if package == "nest_asyncio" and sys.version_info >= (3, 14):
        done = run(threaded_server, "import nest_asyncio\nnest_asyncio.apply()\nclient.get_task('t')", "-I")
        assert "use nest_asyncio2 in its place" in done.stderr
        return
    out = run(threaded_server, code, forks=True).stdout
    result, reason = "{'a': 1}", "still_running"
    assert out.splitlines() == [
        f"{result} {result} {reason}",
        f"{result} {reason} {reason}",
        result,
        f"{result} {result}",
    ]


async def test_a_loop_on_which_no_task_is_known_to_run(
    client: AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what nest_asyncio makes of new Pythons: what works there is named."""
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    client._engines.clear()
    errors: list[Exception] = []

    def call() -> None:
        try:
            client.watch_task("t")
        except RuntimeError as exc:
            errors.append(exc)

    asyncio.get_running_loop().call_soon(call)
    await asyncio.sleep(0)
    assert "use nest_asyncio2 in its place" in str(errors[0])
