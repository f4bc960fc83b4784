"""The end of the interpreter, forgotten clients, forks, and servers that fork their workers."""

import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forking import AT_ONCE
from scripts import PRELUDE, STRICT, TOLERANT, environment, run, run_quietly

from stream_tasks.testing import FakeStream, Fault

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# The end of the interpreter


ENDS = {
    "nothing under way": "client.request('GET', '/rate_limits')",
    "nothing ever done": "",
    "a wait in a daemon thread": """
        thread = threading.Thread(target=client.wait_for_task, args=("t", 0.05, None), daemon=True)
        thread.start()
        time.sleep(0.2)
    """,
    "a wait in another thread": """
        thread = threading.Thread(target=client.wait_for_task, args=("t", 0.05, None))
        thread.start()
        time.sleep(0.2)
    """,
    "a poll in flight in a daemon thread": """
        thread = threading.Thread(target=client.wait_for_task, args=("hangs", 0.05, None), daemon=True)
        thread.start()
        time.sleep(0.2)
    """,
    "a poll in flight in another thread": """
        thread = threading.Thread(target=client.wait_for_task, args=("hangs", 0.05, None))
        thread.start()
        time.sleep(0.2)
    """,
    "waits in many threads": """
        for number in range(16):
            threading.Thread(target=client.wait_for_task, args=(f"n-{number}",)).start()
        time.sleep(0.3)
    """,
    "a watch half-way": """
        watch = client.watch_task("t", 0.05)
        next(watch)
    """,
    "waits of two clients": """
        clients = [client, make()]
        for one in clients:
            threading.Thread(target=one.wait_for_task, args=("t", 0.05, None)).start()
        time.sleep(0.2)
    """,
    "a wait in a timer": """
        threading.Timer(0, client.wait_for_task, ("t", 0.05, None)).start()
        time.sleep(0.2)
    """,
    "a wait in a thread without an object": """
        import _thread
        _thread.start_new_thread(client.wait_for_task, ("t", 0.05, None))
        time.sleep(0.2)
    """,
    "waits in a pool, and more in its queue": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(4)
        for number in range(16):
            pool.submit(client.wait_for_task, f"n-{number}", 0.05, None)
        time.sleep(0.3)
    """,
    "iterations in a pool": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        pool.submit(lambda: list(client.watch_task("t", 0.05, None)))
        pool.submit(lambda: list(client.as_completed(["t"], 0.05, None)))
        time.sleep(0.3)
    """,
    "waits in a pool of multiprocessing": """
        from multiprocessing.pool import ThreadPool
        pool = ThreadPool(4)
        for number in range(16):
            pool.apply_async(client.wait_for_task, (f"n-{number}", 0.05, None))
        time.sleep(0.3)
    """,
    "a thread that tries again after any error": """
        def persist():
            while True:
                try:
                    client.wait_for_task("t", 0.05, None)
                except Exception:
                    pass

        threading.Thread(target=persist).start()
        time.sleep(0.2)
    """,
    "a thread that comes too late": """
        def come(ended):
            ended.wait()
            make().wait_for_task("t", 0.05, None)

        ended = threading.Event()
        threading._register_atexit(ended.set)
        threading.Thread(target=come, args=(ended,)).start()
    """,
    "a wait in a thread that trio has given up": """
        import trio

        async def main():
            with trio.move_on_after(0.2):
                wait = lambda: client.wait_for_task("t", 0.05, None)
                await trio.to_thread.run_sync(wait, abandon_on_cancel=True)

        trio.run(main)
    """,
    "a wait in a thread that anyio has given up": """
        import anyio.to_thread

        async def main():
            with anyio.move_on_after(0.2):
                wait = lambda: client.wait_for_task("t", 0.05, None)
                await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)

        anyio.run(main)
    """,
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_a_script_that_never_closes_ends(threaded_server: FakeStream, code: str) -> None:
    """The end of the main thread ends all waits, in any kind of thread, within a second and in silence."""
    threaded_server.add_task("t", never=True)
    for number in range(16):
        threaded_server.add_task(f"n-{number}", never=True)
    threaded_server.inject(Fault.hang(), math.inf, task_id="hangs")
    end = "\nimport atexit\natexit.register(lambda: print(time.time(), flush=True))\nprint(time.time())"
    out = run_quietly(threaded_server, textwrap.dedent(code) + end)
    begun, ended = map(float, out.split())
    assert ended - begun < AT_ONCE
    assert time.time() - ended < 5.0  # what Python does after that takes its time on a busy machine


@pytest.mark.parametrize("pool", [None, "ThreadPoolExecutor(2)"], ids=["its own pool", "one it was given"])
def test_a_loop_that_ends_waits_for_no_wait(threaded_server: FakeStream, pool: str | None) -> None:
    """`asyncio.run` joins the threads of its pool: waits whose awaiting was cancelled end within a second."""
    threaded_server.add_task("t", never=True)
    out = run_quietly(
        threaded_server,
        f"""
        from concurrent.futures import ThreadPoolExecutor

        async def main():
            if {pool}:
                asyncio.get_running_loop().set_default_executor({pool})
            left = asyncio.create_task(asyncio.to_thread(client.wait_for_task, "t", 0.05, None))
            await asyncio.sleep(0.3)
            print(time.time(), flush=True)

        asyncio.run(main())
        print(time.time(), flush=True)
        """,
    )
    begun, ended = map(float, out.split())
    assert ended - begun < AT_ONCE


def test_a_loop_that_ends_waits_for_no_wait_in_a_new_thread(threaded_server: FakeStream) -> None:
    """That a pool comes to know a thread only after its start makes no difference."""
    threaded_server.add_task("t", never=True)
    out = run_quietly(
        threaded_server,
        """
        start = threading.Thread.start

        def start_and_rest(thread):
            start(thread)
            time.sleep(0.3 if "asyncio" in thread.name else 0)

        threading.Thread.start = start_and_rest

        async def main():
            asyncio.create_task(asyncio.to_thread(client.wait_for_task, "t", 0.05, None))
            await asyncio.sleep(0)

        asyncio.run(main())
        print("ended")
        """,
    )
    assert out == "ended\n"


def test_whoever_shuts_a_pool_down_waits_for_its_results(threaded_server: FakeStream) -> None:
    """Waits in a pool whose block ends, and whatever a loop still awaits, go on to their ends."""
    threaded_server.add_task("t", after=1.0, result={"a": 1})
    out = run_quietly(
        threaded_server,
        """
        from concurrent.futures import ThreadPoolExecutor

        async def main():
            return await asyncio.to_thread(client.wait_for_task, "t", 0.05, 20)

        with ThreadPoolExecutor(2) as pool:
            waits = [pool.submit(client.wait_for_task, "t", 0.05, 20), pool.submit(asyncio.run, main())]
        print(*(wait.result() for wait in waits))
        """,
    )
    assert out == "{'a': 1} {'a': 1}\n"


@pytest.mark.parametrize(
    ("last", "code"), [("sys.exit(3)", 3), ("raise LookupError", 1), ("", 0)], ids=["exit", "error", "end"]
)
def test_the_exit_code_is_the_scripts_own(threaded_server: FakeStream, last: str, code: int) -> None:
    """That waits in threads are ended with the interpreter does not change it."""
    threaded_server.add_task("t", never=True)
    done = run(
        threaded_server,
        f"""
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        pool.submit(client.wait_for_task, "t", 0.05, None)
        threading.Thread(target=client.wait_for_task, args=("t", 0.05, None)).start()
        time.sleep(0.2)
        {last}
        """,
    )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1:] == (["LookupError"] if code == 1 else [])


LOOKUPS = {
    "after a wait": "wait(0.3)",
    "after a wait, and closed": "wait(0.3); client.close()",
    "amid a wait in another thread": "threading.Thread(target=wait, args=(30,)).start()",
}


@pytest.mark.parametrize("code", LOOKUPS.values(), ids=LOOKUPS)
def test_a_lookup_that_hangs_holds_nobody_up(threaded_server: FakeStream, code: str) -> None:
    """The interpreter does not end later for a name that is still looked up."""
    if os.environ.get("STREAM_UVLOOP") == "1":
        pytest.skip("uvloop resolves names by itself")
    out = run_quietly(
        threaded_server,
        f"""
        import socket
        from stream_tasks import StreamWaitTimeoutException

        def hang(*args, **kwargs):
            looked.append(args)
            time.sleep(20)

        def wait(seconds):
            try:
                client.wait_for_task("t", 0.05, seconds)
            except StreamWaitTimeoutException:
                pass

        looked = []
        socket.getaddrinfo = hang
        client = Stream("key", "secret", base_url="https://slow.invalid")
        {code}
        while not looked:
            time.sleep(0.01)
        print(len(looked), time.time(), flush=True)
        """,
    )
    looked, end = out.split()
    assert looked == "1"
    assert time.time() - float(end) < 5.0  # the lookup takes 20 s


def test_a_call_as_the_interpreter_ends(threaded_server: FakeStream) -> None:
    """What `atexit` calls is told that the client is closed, one that it makes itself too."""
    code = """
    import atexit

    def call():
        for one in client, make():
            try:
                one.wait_for_task("t", 0.05, None)
            except RuntimeError as exc:
                print(exc)

    atexit.register(call)
    client.request("GET", "/rate_limits")
    """
    told = "this client is closed\n"
    assert run_quietly(threaded_server, textwrap.dedent(code)) == told * 2


def test_forgotten_clients_leave_nothing(threaded_server: FakeStream) -> None:
    """Clients that nobody closed are collected with their threads and sockets, in cycles and anywhere."""
    threaded_server.add_task("t", statuses=[])
    out = run_quietly(
        threaded_server,
        """
        def files():
            return len(os.listdir("/dev/fd"))

        def settled():
            gc.collect()
            end = time.monotonic() + 10
            while (left := (threading.active_count(), files())) != before and time.monotonic() < end:
                time.sleep(0.01)
            return left

        client.get_task("t")
        before = threading.active_count(), files()
        for number in range(20):
            made = make()
            made.get_task("t")
            made.me = [made]
            del made
        assert settled() == before, "in cycles"

        async def drop(box):
            box.clear()
            gc.collect()
            await asyncio.sleep(60)

        box = [make()]
        box[0].get_task("t")
        loop = box[0]._loop
        try:
            loop.run(lambda: drop(box))
        except RuntimeError:
            print("dropped on its own loop")
        del loop
        assert settled() == before, "on its own loop"
        """,
    )
    assert out == "dropped on its own loop\n"


# Forks


FORK = """
def fork():
    child = os.fork()
    if not child:
        signal.alarm(20)
    return child

def ends_well(child, told=None):
    assert os.waitpid(child, 0)[1] == 0, told
"""
FAMILIES = """
for told, work in json.loads(os.environ["CHILDREN"]).items():
    client = make()
    {before}
    if not (child := fork()):
        exec(work)
        sys.exit()
    ends_well(child, told)
    assert client.get_task("t").data.status == "completed", told
    {after}
"""
WAITS = """
    never = threading.Thread(target=client.wait_for_task, args=(told, 0.05, None), daemon=True)
    never.start()
    watch = client.watch_task(told, 0.05)
    seen = next(watch).status
"""
GOES_ON = """
    assert next(watch).status != seen, told
    assert never.is_alive(), told
"""
USE = "client.get_task('t')"
PARENTS = {
    "an unused parent": FAMILIES.format(before="", after=""),
    "an idle parent": FAMILIES.format(before=USE, after=""),
    "a parent that waits": FAMILIES.format(before=f"idle = make(); {USE}{WAITS}", after=GOES_ON),
}
CHILDREN = {
    "it ends at once": "",
    "it calls, and never closes": """
        assert client.get_task("t").data.status == "completed"
        assert client.wait_for_task("t", 0, 5).data.status == "completed"
    """,
    "it calls, and closes": """
        assert client.get_task("t").data.status == "completed"
        client.close()
    """,
    "it closes": "client.close()",
    "it drops the client": """
        client = watch = None
        gc.collect()
    """,
    "it has a client of its own": """
        client = watch = None
        gc.collect()
        assert make().get_task("t").data.status == "completed"
    """,
    "it never returns to Python": """
        client.get_task("t")
        os._exit(0)
    """,
    "it forks again": """
        client.get_task("t")
        child = fork()
        assert client.get_task("t").data.status == "completed"
        if child:
            ends_well(child)
    """,
}


@needs_fork
@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS)
@pytest.mark.slow
def test_forked_children_leave_their_parent_alone(
    threaded_server: FakeStream, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    """Whatever a child does, the parent's calls go on over their own connections, and neither says a word."""
    threaded_server.add_task("t", statuses=[])
    for told in CHILDREN:
        threaded_server.add_task(told, statuses=["pending", "running"] * 500)
    children = {told: textwrap.dedent(work) for told, work in CHILDREN.items()}
    monkeypatch.setenv("CHILDREN", json.dumps(children))
    assert run_quietly(threaded_server, FORK + parent, *TOLERANT, forks=True) == ""


@needs_fork
def test_a_fork_amid_a_wait(threaded_server: FakeStream) -> None:
    """A child that a callback forked is told that the wait is not its own, and hangs not."""
    threaded_server.add_task("t", statuses=["pending"])
    code = """
    def note(task):
        if child := fork():
            ends_well(child)

    try:
        print(client.wait_for_task("t", 0, on_update=note))
    except RuntimeError as exc:
        assert "parent process" in str(exc)
        assert client.wait_for_task("t", 0, 5) == {}
    """
    out = run_quietly(threaded_server, FORK + textwrap.dedent(code), *TOLERANT, forks=True)
    assert out == "{}\n"


@needs_fork
def test_a_fork_amid_an_iteration(threaded_server: FakeStream) -> None:
    """An iterator goes on in the parent alone; a child that asks is told so, one that drops it is quiet."""
    threaded_server.add_task("t", statuses=[])
    for name in ("told", "drops"):
        threaded_server.add_task(name, statuses=["pending"] * 4)
    code = """
    for name in ("told", "drops"):
        begun = [
            client.as_completed(["t", name], 0.05),
            client.watch_task(name, 0.05),
            client.start_in_batches(client.delete_users, ["jane"] * 101),
        ]
        assert all(next(one) for one in begun)
        watch, fresh = client.watch_task("t", 0.05), client.as_completed(["t", name], 0.05)
        if not (child := fork()):
            assert client.get_task("t").data.status == "completed"
            for one in (*begun, watch) if name == "told" else ():
                try:
                    next(one)
                except RuntimeError as exc:
                    assert "parent process" in str(exc)
                else:
                    assert False, "it went on"
            begun = one = watch = None
            gc.collect()
            assert len(list(fresh)) == 2
            client.close()
            sys.exit()
        ends_well(child)
        assert all(list(one) for one in (*begun, watch, fresh))
    """
    code = FORK + textwrap.dedent(code)
    assert run_quietly(threaded_server, code, *STRICT, *TOLERANT, forks=True) == ""


@needs_fork
def test_a_fork_by_another_thread(threaded_server: FakeStream) -> None:
    """A child's only thread is its main thread, and its calls and its end are as any."""
    threaded_server.add_task("t", statuses=[])
    code = """
    client.get_task("t")

    def work():
        child = fork()
        client.get_task("t")
        if child:
            ends_well(child)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    """
    assert run_quietly(threaded_server, FORK + textwrap.dedent(code), *TOLERANT, forks=True) == ""


METHODS = ["spawn", *(["fork", "forkserver"] if hasattr(os, "fork") else [])]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.slow
def test_worker_processes(threaded_server: FakeStream, method: str) -> None:
    """Under `multiprocessing` a module's client serves the parent, its processes and its pools."""
    threaded_server.add_task("t", statuses=[], result={"a": 1})
    out = run_quietly(
        threaded_server,
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        def work(_=None):
            return client.wait_for_task("t", 0, 20)

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            work()
            process = context.Process(target=work)
            process.start()
            process.join()
            with context.Pool(2) as pool:
                print(process.exitcode, pool.map(work, range(3)))
            with ProcessPoolExecutor(2, mp_context=context) as executor:
                print(list(executor.map(work, range(3))))
            print(work())
        """,
        *TOLERANT,
        forks=True,
    )
    payloads = [{"a": 1}] * 3
    assert out == f"0 {payloads}\n{payloads}\n{payloads[0]}\n"


# A server that forks its workers


APP = """
def app(environ, start_response):
    body = f"{os.getpid()} {client.wait_for_task('t', 0, 20)['a']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def gunicorn(server: FakeStream, folder: Path, code: str) -> Iterator[Path]:
    """Serve a script's `app` from two workers, and end without complaint; yields the socket."""
    folder.joinpath("script.py").write_text(PRELUDE + code)
    address = Path(os.path.relpath(folder / "socket"))  # a socket's path must be short
    env = environment(server)
    env.pop("STREAM_UVLOOP", None)
    options = ["--preload", "--workers=2", f"--bind=unix:{folder / 'socket'}", f"--chdir={folder}"]
    with subprocess.Popen(
        [sys.executable, *TOLERANT, "-m", "gunicorn", *options, "script:app"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as master:
        try:
            yield address
        finally:
            master.send_signal(signal.SIGTERM)
            said = master.communicate(timeout=20)[1]
    assert "Shutting down: Master" in said, said
    assert not [line for line in said.splitlines() if "[INFO]" not in line], said
    assert "signal" not in said.replace("Handling signal: term", ""), said


def ask(address: Path) -> list[str]:
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(address))
        connection.request("GET", "/")
        return connection.getresponse().read().decode().split()


@needs_fork
@pytest.mark.parametrize("use", ["", "client.get_task('t')\n"], ids=["made", "made and used"])
@pytest.mark.slow
def test_a_client_that_was_made_in_the_master(threaded_server: FakeStream, tmp_path: Path, use: str) -> None:
    """Workers of a pre-fork server share the client of the module that the master has loaded."""
    threaded_server.add_task("t", statuses=[], result={"a": 1})
    workers: set[str] = set()
    with gunicorn(threaded_server, tmp_path, use + APP) as address:
        end = time.monotonic() + 30
        while not address.exists() and time.monotonic() < end:
            time.sleep(0.02)
        while len(workers) < 2 and time.monotonic() < end:
            worker, value = ask(address)
            assert value == "1"
            workers.add(worker)
    assert len(workers) == 2
