"""The blocking client: the same engine, called from threads, interrupted, forked, forgotten."""

import asyncio
import contextvars
import errno
import gc
import inspect
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
from forking import AT_ONCE

from stream_tasks import (
    AsyncStream,
    DeleteChannelsResult,
    ExportUsersResult,
    Stream,
    StreamApiException,
    StreamBatchException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
    TaskOutcome,
    _green,
    _loop_thread,
)
from stream_tasks._loop_thread import LoopThread
from stream_tasks.testing import FakeStream, Fault, TaskFailure, VirtualClock


def make(server: FakeStream) -> Stream:
    return Stream(server.api_key, server.api_secret, base_url=server.url)


def until(condition: Callable[[], object], limit: float = 5.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def assert_quiet(client: Stream, server: FakeStream) -> None:
    """Nothing polls task ``t`` any more."""
    client.request("GET", "/rate_limits")  # whatever was scheduled before is done by now
    polls = len(server.polls("t"))
    time.sleep(0.15)
    assert len(server.polls("t")) == polls


class Call(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.result: Any = None
        self._function = function
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as exc:  # noqa: BLE001 - the test looks at it
            self.error = exc

    def ended(self, limit: float = 5.0) -> "Call":
        self.join(limit)
        assert not self.is_alive(), "the call hangs"
        return self


# The two call styles are one


def methods(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


OTHER_NAMES = {"aclose": "close"}
DIFFERENT_TYPES = {"as_completed", "start_in_batches"}  # a blocking caller has nothing asynchronous
PROPERTIES = {"durations", "obstacle"}
SHARED = sorted(set(methods(AsyncStream)) - set(OTHER_NAMES) - PROPERTIES)


def test_both_clients_have_the_same_methods() -> None:
    """Each public method of one client is there in the other."""
    assert {OTHER_NAMES.get(name, name) for name in methods(AsyncStream)} == set(methods(Stream))
    assert {"__enter__", "__exit__"} < set(vars(Stream))
    assert {"__aenter__", "__aexit__"} < set(vars(AsyncStream))


def parameters(function: Callable[..., Any], *, typed: bool = True) -> list[Any]:
    return [
        (p.name, p.kind, p.default, str(p.annotation) if typed else None)
        for p in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("name", ["__init__", *SHARED])
def test_both_clients_have_the_same_signatures(name: str) -> None:
    """Names, order, kinds, defaults and types of the parameters are the same in both."""
    typed = name not in DIFFERENT_TYPES
    assert parameters(getattr(Stream, name), typed=typed) == parameters(
        getattr(AsyncStream, name), typed=typed
    )


@pytest.mark.parametrize("name", [*SHARED, "close"])
def test_methods_of_the_blocking_client_block(name: str) -> None:
    """No method of the blocking client returns a coroutine, and each is documented."""
    method = getattr(Stream, name)
    assert not inspect.iscoroutinefunction(method)
    assert method.__doc__
    assert method.__name__ == name


def test_the_repr_names_the_client(blocking: Stream, threaded_server: FakeStream) -> None:
    """The blocking client shows its key and its base URL, and no secret."""
    assert repr(blocking) == f"Stream(api_key='fake-key', base_url={threaded_server.url!r})"


def test_the_repr_of_a_subclass_is_its_own() -> None:
    """A subclass is shown as one."""

    class Mine(Stream):
        pass

    assert repr(Mine("k", token="t")).startswith("Mine(")


# The flows


def test_a_look_at_a_task(threaded_server: FakeStream, blocking: Stream) -> None:
    """One look returns the snapshot."""
    threaded_server.add_task("t", statuses=["waiting"])
    assert blocking.get_task("t").data.status == "waiting"
    with pytest.raises(StreamApiException):
        blocking.get_task("nothing")


def test_a_wait_for_a_task(threaded_server: FakeStream, blocking: Stream) -> None:
    """A wait returns the payload, which remembers its task."""
    threaded_server.add_task("t", statuses=["running"], result={"a": 1})
    result = blocking.wait_for_task("t", 0, 5)
    assert (result, result.task.task_id) == ({"a": 1}, "t")


def test_a_wait_that_elapses(threaded_server: FakeStream, blocking: Stream) -> None:
    """A wait elapses in time, and says how it went."""
    threaded_server.add_task("t", never=True)
    started = time.monotonic()
    with pytest.raises(StreamWaitTimeoutException) as info:
        blocking.wait_for_task("t", 0.05, 0.15)
    assert 0.14 < time.monotonic() - started < AT_ONCE
    assert (info.value.task_id, info.value.reason) == ("t", "still_running")


def test_an_operation(threaded_server: FakeStream, blocking: Stream) -> None:
    """An operation is started, waited for, and has its typed result."""
    threaded_server.fail_items("a:2", error="broken")
    started = blocking.delete_channels(["a:1", "a:2"], hard_delete=True)
    result = blocking.wait_for_task(started, 0)
    assert isinstance(result, DeleteChannelsResult)
    assert list(result.failed) == ["a:2"]


def test_any_operation(threaded_server: FakeStream, blocking: Stream) -> None:
    """So is an operation by its path, and any endpoint can be called."""
    started = blocking.start_task(
        "POST", "/export/users", json={"user_ids": ["u"]}, result_type=ExportUsersResult
    )
    assert blocking.wait_for_task(started, 0).url.startswith("http://")
    assert blocking.wait_for_task(started, 0, result_type=dict)["url"].startswith("http://")
    assert blocking.request("GET", "/rate_limits").status_code == 200


def test_arguments_are_checked_in_the_callers_thread(threaded_server: FakeStream, blocking: Stream) -> None:
    """Wrong arguments are refused before any request."""
    with pytest.raises(ValueError, match="task_id"):
        blocking.get_task("..")
    with pytest.raises(ValueError, match="timeout"):
        blocking.wait_for_task("t", timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        blocking.watch_task("t", timeout=-1)
    with pytest.raises(TypeError):
        blocking.get_task()  # type: ignore[call-arg]
    assert not threaded_server.requests


def test_a_task_is_watched(threaded_server: FakeStream, blocking: Stream) -> None:
    """Each new snapshot is yielded once; a failed task is yielded like any other."""
    threaded_server.add_task("t", statuses=["pending", "pending", "running"], error=TaskFailure("Kind"))
    assert [task.status for task in blocking.watch_task("t", 0)] == ["pending", "running", "failed"]


def test_a_watch_elapses(threaded_server: FakeStream, blocking: Stream) -> None:
    """A watch of a task that never ends elapses as a wait does."""
    threaded_server.add_task("t", never=True)
    with pytest.raises(StreamWaitTimeoutException):
        list(blocking.watch_task("t", 0.05, 0.15))


def test_the_client_can_be_called_amid_a_watch(threaded_server: FakeStream, blocking: Stream) -> None:
    """Between two snapshots the caller does as it likes, and need not hurry."""
    threaded_server.add_task("t", statuses=["pending"])
    seen = [(task.status, blocking.get_task("t").data.status) for task in blocking.watch_task("t", 0)]
    assert seen == [("pending", "completed"), ("completed", "completed")]


@pytest.mark.parametrize("how", ["del", "close", "break"])
def test_a_watch_that_is_dropped_stops(threaded_server: FakeStream, blocking: Stream, how: str) -> None:
    """After an iterator is dropped half-way, its task is not looked at again."""
    threaded_server.add_task("t", never=True)
    watch: Any = blocking.watch_task("t", 0.05)
    assert next(watch).status == "pending"
    if how == "break":
        for _ in watch:
            break
    if how == "close":
        watch.close()
    del watch
    assert_quiet(blocking, threaded_server)


def test_a_watch_that_never_began_costs_nothing(threaded_server: FakeStream, blocking: Stream) -> None:
    """An iterator that nobody asks does not look."""
    watch = blocking.watch_task("t")
    del watch
    assert not threaded_server.requests


def test_a_watch_outlives_its_client_in_silence(threaded_server: FakeStream) -> None:
    """An iterator that is dropped after the client was closed is no trouble."""
    threaded_server.add_task("t", never=True)
    client = make(threaded_server)
    watch = client.watch_task("t", 0.05)
    next(watch)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(watch)
    del watch, client
    gc.collect()


# Callbacks


def test_callbacks_run_in_the_callers_thread(threaded_server: FakeStream, blocking: Stream) -> None:
    """`on_update` is called in the thread that waits, once for each snapshot, and may call the client."""
    threaded_server.add_task("t", statuses=["pending"])
    threaded_server.add_task("other", statuses=[])
    seen = []

    def note(task: Task) -> None:
        other = blocking.wait_for_task("other", on_update=lambda _: None)
        seen.append((task.status, threading.current_thread(), other.data.status))

    blocking.wait_for_task("t", 0, on_update=note)
    here = threading.current_thread()
    assert seen == [("pending", here, "completed"), ("completed", here, "completed")]


def test_an_error_of_a_callback_reaches_the_caller(threaded_server: FakeStream, blocking: Stream) -> None:
    """What a callback raises ends the wait, and nothing polls on."""
    threaded_server.add_task("t", never=True)

    def fail(_: Task) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        blocking.wait_for_task("t", 0.05, on_update=fail)
    assert_quiet(blocking, threaded_server)


def test_a_coroutine_function_is_no_callback(threaded_server: FakeStream, blocking: Stream) -> None:
    """A blocking caller has no loop for a coroutine function."""
    threaded_server.add_task("t", never=True)

    async def note(_: Task) -> None:
        raise AssertionError("it must not run")

    with pytest.raises(TypeError, match="must not be a coroutine function"):
        blocking.wait_for_task("t", on_update=note)


def test_a_callback_that_closes_the_client(threaded_server: FakeStream, blocking: Stream) -> None:
    """A callback may close the client; that ends the wait as it would from elsewhere."""
    threaded_server.add_task("t", never=True)
    with pytest.raises(StreamTransportException, match="closed"):
        blocking.wait_for_task("t", 0.05, on_update=lambda _: blocking.close())


def test_a_callback_that_closes_the_client_and_fails(threaded_server: FakeStream, blocking: Stream) -> None:
    """The callback's own error comes first."""
    threaded_server.add_task("t", never=True)

    def leave(_: Task) -> None:
        blocking.close()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        blocking.wait_for_task("t", 0.05, on_update=leave)


def test_outcomes_are_told_in_the_callers_thread(threaded_server: FakeStream, blocking: Stream) -> None:
    """`on_outcome` is called, and `tasks` is pulled, in the thread that waits; both may call the client."""
    threaded_server.add_task("good", statuses=[], result={"a": 1})
    threaded_server.add_task("bad", statuses=[], error=TaskFailure("Kind"))
    told = []

    def names() -> Iterator[str]:
        for name in ("good", "bad", "good"):
            blocking.get_task(name)
            yield name

    def note(outcome: TaskOutcome[Any]) -> None:
        blocking.get_task("good")
        told.append((outcome.task_id, outcome.ok, threading.current_thread()))

    outcomes = blocking.wait_for_tasks(names(), 0, 5, on_outcome=note)
    assert list(outcomes) == ["good", "bad"]
    assert outcomes["good"].result() == {"a": 1}
    assert isinstance(outcomes["bad"].exception(), StreamTaskException)
    here = threading.current_thread()
    assert sorted(told, key=str) == [("bad", False, here), ("good", True, here)]


def test_updates_of_many_tasks_run_in_the_callers_thread(
    threaded_server: FakeStream, blocking: Stream
) -> None:
    """`on_update` may call the client, and nothing holds the polls back meanwhile."""
    threaded_server.add_task("t", statuses=["running"], result={"a": 1})
    told: list[tuple[str, threading.Thread]] = []

    def note(task: Task) -> None:
        assert blocking.get_task("other").data.is_completed
        assert blocking.obstacle is None
        told.append((task.status, threading.current_thread()))

    threaded_server.add_task("other", statuses=[])
    blocking.wait_for_tasks(["t"], 0, 5, on_update=note)
    list(blocking.as_completed(["t"], 0, 5, on_update=note))
    here = threading.current_thread()
    assert told == [("running", here), ("completed", here), ("completed", here)]
    with pytest.raises(TypeError, match="on_update must be callable, not int"):
        blocking.wait_for_tasks(["u"], on_update=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_update must be callable, not int"):
        blocking.as_completed(["u"], on_update=5)  # type: ignore[arg-type]


def test_outcomes_come_as_they_are_completed(threaded_server: FakeStream, blocking: Stream) -> None:
    """The iterator yields what ends first, and pulls its tasks lazily in the caller's thread."""
    threaded_server.add_task("slow", after=0.15)
    threaded_server.add_task("fast", after=0.0)
    pulled = []

    def names() -> Iterator[str]:
        for name in ("slow", "fast"):
            pulled.append((blocking.get_task(name).data.task_id, threading.current_thread()))
            yield name

    found = blocking.as_completed(names(), 0.05, 5)
    assert pulled == []
    assert [outcome.task_id for outcome in found] == ["fast", "slow"]
    here = threading.current_thread()
    assert pulled == [("slow", here), ("fast", here)]


def test_an_error_of_the_tasks_reaches_the_caller(threaded_server: FakeStream, blocking: Stream) -> None:
    """After the outcomes that `as_completed` has for it, at once from `wait_for_tasks`; nothing polls on."""
    threaded_server.add_task("t", after=0.3)

    def names() -> Iterator[str]:
        yield "t"
        raise LookupError("mine")

    outcomes = blocking.as_completed(names(), 0.05)
    assert next(outcomes).ok
    with pytest.raises(LookupError, match="mine"):
        next(outcomes)
    with pytest.raises(LookupError, match="mine"):
        blocking.wait_for_tasks(names())
    assert_quiet(blocking, threaded_server)


def test_an_error_of_the_tasks_comes_after_the_outcomes_that_are_there(
    fake_stream: FakeStream, stream_client: Stream, virtual_clock: VirtualClock
) -> None:
    """A batch that is refused hides none of those that have ended."""
    fake_stream.script_operation("delete_users", after=30, times=2)
    fake_stream.inject(Fault.delay(0), 2, path="/users/delete")
    fake_stream.inject(Fault.status(400), path="/users/delete")
    started = stream_client.start_in_batches(stream_client.delete_users, map(str, range(300)))
    found = []
    with pytest.raises(StreamBatchException) as caught:  # noqa: PT012 - the loop is what is tested
        for outcome in stream_client.as_completed(started, max_waiting=2):
            found.append(outcome.task_id)
            assert outcome.ok
    assert sorted(map(str, found)) == sorted(caught.value.task_ids)
    assert len(found) == 2


def test_an_interrupt_in_the_tasks_reaches_the_caller_at_once(
    threaded_server: FakeStream, blocking: Stream
) -> None:
    """What is no error waits for no outcome, and nothing polls on."""
    threaded_server.add_task("t", never=True)

    def names() -> Iterator[str]:
        yield "t"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(blocking.as_completed(names(), 0.05))
    assert_quiet(blocking, threaded_server)


def test_outcomes_that_are_dropped_stop(threaded_server: FakeStream, blocking: Stream) -> None:
    """After an iterator over outcomes is dropped half-way, its tasks are not looked at again."""
    threaded_server.add_task("t", never=True)
    threaded_server.add_task("done", statuses=[])
    found = blocking.as_completed(["done", "t"], 0.05)
    assert next(found).task_id == "done"
    del found
    assert_quiet(blocking, threaded_server)


def test_many_tasks_are_an_iterable(blocking: Stream) -> None:
    """One task is not many."""
    with pytest.raises(TypeError, match="tasks"):
        blocking.wait_for_tasks("t")
    with pytest.raises(TypeError, match="tasks"):
        blocking.as_completed("t")


def test_work_in_threads_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and errors of what runs beside the loop reach it, and nobody who has gone on or ended."""
    monkeypatch.delenv("STREAM_UVLOOP", raising=False)  # its loops resolve names by themselves
    runner = LoopThread()
    go_on = threading.Event()
    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)

    async def work(function: Callable[..., Any], limit: float | None = None, pool: Any = None) -> Any:
        done = asyncio.get_running_loop().run_in_executor(pool, function)
        return await asyncio.wait_for(done, limit)

    def fail() -> None:
        go_on.wait(5)
        raise LookupError("mine")

    def lookups() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "stream_tasks-lookup"]

    assert runner.run(lambda: work(lambda: threading.current_thread().daemon))
    with ThreadPoolExecutor(thread_name_prefix="mine") as pool:
        named = runner.run(lambda: work(lambda: threading.current_thread().name, pool=pool))
    assert named.startswith("mine")
    with pytest.raises(TimeoutError):
        runner.run(lambda: work(fail, 0.01))
    go_on.set()
    until(lambda: not lookups())
    with pytest.raises(LookupError, match="mine"):
        runner.run(lambda: work(fail))
    go_on.clear()
    with pytest.raises(TimeoutError):
        runner.run(lambda: work(fail, 0.01))
    runner.close()
    go_on.set()
    until(lambda: not lookups())
    assert not errors


def test_a_callback_that_nobody_waits_for_any_more(caplog: pytest.LogCaptureFixture) -> None:
    """A callback may return after the coroutine that asked for it has gone on."""
    runner = LoopThread()
    calls: SimpleQueue[Any] = SimpleQueue()
    slow = runner.in_caller(lambda: time.sleep(0.1), calls)

    async def work() -> str:
        try:
            await asyncio.wait_for(slow(), 0.02)
        except TimeoutError:
            return "gone on"
        return "waited"

    assert runner.run(work, calls) == "gone on"
    runner.close()
    assert not caplog.records


def test_stray_errors_on_the_loop_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The private loop reports what nobody catches, as any loop does."""
    runner = LoopThread()

    async def stray() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a stray error"})

    runner.run(stray)
    runner.close()
    assert [record.getMessage() for record in caplog.records] == ["a stray error"]


# Threads and loops


def test_many_threads_share_a_client(threaded_server: FakeStream, blocking: Stream) -> None:
    """Waits from many threads run side by side, the first calls too."""
    names = [f"t-{number}" for number in range(32)]
    for name in names:
        threaded_server.add_task(name, after=0.2, result={"name": name})
    started = time.monotonic()
    with ThreadPoolExecutor(len(names)) as pool:
        results = list(pool.map(lambda name: blocking.wait_for_task(name, 0.1, 10), names))
    assert [result["name"] for result in results] == names
    assert time.monotonic() - started < 0.2 * len(names)
    assert sum(thread.name == "stream_tasks" for thread in threading.enumerate()) == 1


async def test_a_running_loop_is_no_hindrance(threaded_server: FakeStream, blocking: Stream) -> None:
    """Inside a running event loop, as in a notebook, a call blocks and works."""
    threaded_server.add_task("t", statuses=[])
    assert blocking.wait_for_task("t") == {}
    assert [task.status for task in blocking.watch_task("t")] == ["completed"]


def test_a_call_from_the_own_loop_is_refused(threaded_server: FakeStream, blocking: Stream) -> None:
    """In the client's own loop thread a call would wait for itself: it is a clear error."""
    errors = []

    class Handler(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            try:
                blocking.get_task("t")
            except RuntimeError as exc:
                errors.append(str(exc))

    handler = Handler()
    logger = logging.getLogger("stream_tasks")
    logger.addHandler(handler)
    try:
        threaded_server.add_task("t", statuses=["odd"])
        assert blocking.wait_for_task("t", 0) == {}
    finally:
        logger.removeHandler(handler)
    [error] = errors
    assert "own event loop's thread" in error
    assert "AsyncStream" in error


REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


def test_context_variables_reach_the_coroutine(threaded_server: FakeStream, blocking: Stream) -> None:
    """A log record written on the private loop sees the context of the call that it is about."""
    seen = []

    class Filter(logging.Filter):
        def filter(self, _: logging.LogRecord) -> bool:
            seen.append((REQUEST_ID.get(), threading.current_thread().name))
            return True

    logger = logging.getLogger("stream_tasks")
    note = Filter()
    logger.addFilter(note)
    try:
        for number in ("1", "2"):
            threaded_server.add_task(number, statuses=["pending", f"odd {number}"])
            REQUEST_ID.set(number)
            blocking.wait_for_task(number, 0)
    finally:
        logger.removeFilter(note)
        REQUEST_ID.set("none")
    assert seen == [("1", "stream_tasks"), ("2", "stream_tasks")]


def test_what_a_coroutine_sets_stays_in_it() -> None:
    """The caller's own variables are not changed by what it calls."""

    async def change() -> str:
        before = REQUEST_ID.get()
        REQUEST_ID.set("changed")
        return before

    runner = LoopThread()
    assert (runner.run(change), REQUEST_ID.get()) == ("none", "none")
    runner.close()


# Closing


def test_closing_twice_is_fine(threaded_server: FakeStream) -> None:
    """A closed client can be closed again, one that was never used too."""
    for use in (True, False):
        client = make(threaded_server)
        if use:
            client.request("GET", "/rate_limits")
        client.close()
        client.close()


def test_a_block_closes(threaded_server: FakeStream) -> None:
    """The block's end closes the client and ends its thread, also after an error."""
    client = make(threaded_server)
    client.request("GET", "/rate_limits")
    thread = client._loop._thread
    with pytest.raises(KeyError), client as entered:
        raise KeyError(entered is client)
    assert thread is not None
    assert not thread.is_alive()


def test_a_closed_client_is_closed(threaded_server: FakeStream) -> None:
    """After close every call is a clear error, with no request and no coroutine left behind."""
    client = make(threaded_server)
    client.close()
    calls: list[Callable[[], object]] = [
        lambda: client.get_task("t"),
        lambda: client.wait_for_task("t"),
        lambda: client.wait_for_task("t", on_update=print),
        lambda: client.request("GET", "/app"),
        lambda: client.start_task("POST", "/app"),
        lambda: client.delete_users(["u"]),
        lambda: next(client.watch_task("t")),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="this client is closed"):
            call()
    gc.collect()
    assert not threaded_server.requests


@pytest.mark.parametrize("fault", [None, Fault.hang()], ids=["between two looks", "during a look"])
def test_closing_ends_waits_in_other_threads(
    threaded_server: FakeStream, blocking: Stream, fault: Fault | None
) -> None:
    """A wait in another thread ends with an error that names its task."""
    threaded_server.add_task("t-1", never=True)
    if fault is not None:
        threaded_server.inject(fault)
    call = Call(lambda: blocking.wait_for_task("t-1", 30, None))
    until(lambda: threaded_server.polls("t-1"))
    time.sleep(0.05)
    blocking.close()
    error = call.ended().error
    assert isinstance(error, StreamTransportException)
    assert not isinstance(error, TimeoutError)
    assert "closed while it waited for task t-1" in str(error)


def test_closing_ends_other_calls(threaded_server: FakeStream, blocking: Stream) -> None:
    """A request under way in another thread ends with a transport error."""
    threaded_server.inject(Fault.hang())
    call = Call(lambda: blocking.get_task("t"))
    until(lambda: threaded_server.requests)
    blocking.close()
    assert isinstance(call.ended().error, StreamTransportException)


def test_closing_cancels_what_is_left() -> None:
    """Whatever still runs on the loop when it is closed is cancelled, and its caller told."""
    runner = LoopThread()
    begun = threading.Event()

    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(60)

    call = Call(lambda: runner.run(sleep))
    begun.wait(5)
    runner.close()
    error = call.ended().error
    assert isinstance(error, StreamTransportException)
    assert (error.error_type, str(error)) == ("unknown", "the client was closed during this call")


def test_two_threads_close_at_once(threaded_server: FakeStream) -> None:
    """Closing from many threads at the same moment is fine."""
    for _ in range(10):
        client = make(threaded_server)
        client.request("GET", "/rate_limits")
        barrier = threading.Barrier(4)

        def close(client: Stream = client, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5)
            client.close()

        for call in [Call(close) for _ in range(4)]:
            assert call.ended().error is None


def test_a_call_that_begins_while_the_client_is_closed() -> None:
    """A call that was let in just before the close ends with an error, and hangs not."""
    runner = LoopThread()
    runner.run(lambda: asyncio.sleep(0))
    loop: Any = runner._loop
    on_the_loop = loop.call_soon_threadsafe
    closers: list[Call] = []

    def late(*args: Any) -> None:
        if not closers:
            closers.append(Call(runner.close))
            closers[0].join(0.1)
        on_the_loop(*args)

    loop.call_soon_threadsafe = late
    call = Call(lambda: runner.run(lambda: asyncio.sleep(60))).ended()
    closers[0].ended()
    assert isinstance(call.error, StreamTransportException)
    assert "closed" in str(call.error)
    gc.collect()


def test_a_client_that_is_dropped_takes_its_thread_along(threaded_server: FakeStream) -> None:
    """A client that nobody closed and nobody holds leaves neither thread nor warning."""
    client = make(threaded_server)
    client.request("GET", "/rate_limits")
    thread, gone = client._loop._thread, weakref.ref(client)
    assert thread is not None
    assert thread.daemon
    del client
    gc.collect()
    assert gone() is None
    assert not thread.is_alive()


def test_a_client_that_was_never_used_has_no_thread(threaded_server: FakeStream) -> None:
    """The thread begins with the first call."""
    client = make(threaded_server)
    assert client._loop._thread is None
    client._loop.close()
    assert client._loop._thread is None


def test_a_client_may_be_closed_from_its_own_loop(threaded_server: FakeStream) -> None:
    """A client that is collected on its own loop's thread does not wait for itself."""
    client = make(threaded_server)

    async def close() -> None:
        client.close()

    with pytest.raises(StreamTransportException, match="closed"):
        client._loop.run(lambda: forever(close))
    thread = client._loop._thread
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()


async def forever(first: Callable[[], Any]) -> None:
    await first()
    await asyncio.sleep(60)


def test_a_failure_is_raised_in_the_callers_thread(threaded_server: FakeStream, blocking: Stream) -> None:
    """A failed task's error comes with the caller's frame in its traceback."""
    threaded_server.add_task("t", statuses=[], error=TaskFailure("Kind", "words"))
    with pytest.raises(StreamTaskException) as info:
        blocking.wait_for_task("t")
    assert info.traceback[0].name == "test_a_failure_is_raised_in_the_callers_thread"


def test_an_interrupt_that_comes_with_the_result() -> None:
    """An interrupt in the very moment in which the call ends is raised; nobody waits for a second end."""

    class Interrupted(SimpleQueue[Any]):
        def get(self, *_: Any, **__: Any) -> Any:
            super().get()
            raise KeyboardInterrupt

    runner = LoopThread()
    call = Call(lambda: runner.run(lambda: asyncio.sleep(0), Interrupted())).ended(1.0)
    assert isinstance(call.error, KeyboardInterrupt)
    runner.close()


@pytest.mark.parametrize("is_late", [False, True], ids=["it never comes", "it comes late"])
def test_an_interrupt_while_the_call_is_handed_over(is_late: bool) -> None:
    """A call that an interrupt kept from the loop is not run, even if the loop hears of it after all."""
    runner = LoopThread()
    runner.run(lambda: asyncio.sleep(0))
    loop: Any = runner._loop
    on_the_loop = loop.call_soon_threadsafe
    handed: list[Callable[[], object]] = []
    ran: list[bool] = []

    def interrupted(callback: Callable[[], object]) -> None:
        if handed:
            on_the_loop(callback)
            if is_late:
                on_the_loop(handed[0])
            return
        handed.append(callback)
        raise KeyboardInterrupt

    async def work() -> None:
        ran.append(True)

    loop.call_soon_threadsafe = interrupted
    call = Call(lambda: runner.run(work)).ended()
    loop.call_soon_threadsafe = on_the_loop
    assert isinstance(call.error, KeyboardInterrupt)
    runner.run(lambda: asyncio.sleep(0))
    runner.close()
    assert ran == []


@pytest.mark.parametrize(
    ("error", "begins"), [(RuntimeError("can't start new thread"), False), (KeyboardInterrupt(), True)]
)
def test_a_thread_that_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, *, begins: bool
) -> None:
    """A first call that fails or is interrupted as the thread begins leaves nothing; the next begins anew."""
    runner = LoopThread()
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name != "stream_tasks":
            return start(thread)
        if begins:
            start(thread)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(type(error)):
            runner.run(lambda: asyncio.sleep(0))
    until(lambda: not any(thread.name == "stream_tasks" for thread in threading.enumerate()))
    assert runner.run(lambda: asyncio.sleep(0, "works")) == "works"
    runner.close()


def test_a_loop_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told why, and the next call begins anew."""
    runner = LoopThread()

    def fail() -> asyncio.AbstractEventLoop:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(_loop_thread, "new_loop", fail)
        with pytest.raises(OSError, match="Too many open files"):
            runner.run(lambda: asyncio.sleep(0))
    assert runner.run(lambda: asyncio.sleep(0, "works")) == "works"
    runner.close()


def test_an_interrupt_as_the_loop_begins_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of that loop, and the next call begins anew."""
    runner = LoopThread()

    class Interrupted(SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            super().put(item, block, timeout)
            if item is True:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_green, "new_queue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.run(lambda: asyncio.sleep(0))
    until(lambda: not any(thread.name == "stream_tasks" for thread in threading.enumerate()))
    assert runner.run(lambda: asyncio.sleep(0, "works")) == "works"
    runner.close()


@pytest.mark.parametrize("is_own", [True, False], ids=["of its own", "of another"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_on_the_loop_itself(interrupt: type[BaseException], *, is_own: bool) -> None:
    """Whoever waits is told, whichever task it struck, and the next call begins anew."""
    runner = LoopThread()

    def strike() -> None:
        raise interrupt

    async def struck() -> None:
        if is_own:
            strike()
        asyncio.get_running_loop().call_soon(strike)
        await asyncio.sleep(60)

    other = Call(lambda: runner.run(lambda: asyncio.sleep(60)))
    until(lambda: runner._loop and asyncio.all_tasks(runner._loop))
    call = Call(lambda: runner.run(struck))
    assert type(call.ended().error) is type(other.ended().error) is interrupt
    assert runner.run(lambda: asyncio.sleep(0, "works")) == "works"
    runner.close()


def test_a_fork_with_another_kind_of_loop() -> None:
    """A child lets go of uvloop's loop too, and begins anew."""
    runner = LoopThread()
    parents = runner._loop = asyncio.SelectorEventLoop()
    runner._forget()
    assert runner.run(lambda: asyncio.sleep(0, "works")) == "works"
    runner.close()
    parents.close()


def test_a_blocking_call_costs_little(blocking: Stream) -> None:
    """The way to the loop and back takes no more than a few times what asyncio's own takes."""

    def least(call: Callable[[], object]) -> float:
        took = []
        for _ in range(300):
            began = time.perf_counter()
            call()
            took.append(time.perf_counter() - began)
        return min(took)

    runner = blocking._loop
    runner.run(lambda: asyncio.sleep(0))
    loop: Any = runner._loop
    plain = least(lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result())
    assert least(lambda: runner.run(lambda: asyncio.sleep(0))) < 5 * plain
