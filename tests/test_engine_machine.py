"""Random joins, leaves, answers, cancellations and times: the engine's rules hold after each step."""

import asyncio
import itertools
import time
from collections import Counter
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scripted import EPOCH, VirtualLoop, assert_rests

from stream_tasks import (
    Backoff,
    StreamApiException,
    StreamException,
    StreamRateLimitException,
    StreamTransportException,
    StreamWaitTimeoutException,
    Task,
)
from stream_tasks._backoff import as_backoff
from stream_tasks._engine.calls import follow, wait_for_all, wait_for_end
from stream_tasks._engine.durations import Durations
from stream_tasks._engine.engine import Engine, Limits
from stream_tasks._engine.inbox import Inbox, unwound
from stream_tasks._engine.pacing import Pacer
from stream_tasks._engine.poll import Look
from stream_tasks._engine.sighting import Origin
from stream_tasks._engine.tracked import Wait
from stream_tasks._engine.tuning import MIN_ENDS_TO_SKIP

PLACES = 3
GRACE = 0.05  # by so much a wait may end late

ANSWERS: dict[str, Any] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "away": StreamApiException(status_code=503),
    "refused": StreamRateLimitException(),
    "reset": StreamTransportException("connection_reset"),
    "missing": StreamApiException(status_code=404),
    "denied": StreamApiException(status_code=403),
}
FINAL = {"completed", "failed", "denied", "missing"}


@define(eq=False)
class Call:
    """A caller: what it waits for, until when, and what it said on its way."""

    ids: list[str]
    deadline: float
    task: asyncio.Task[Any] = field(init=False)


class Machine(RuleBasedStateMachine):
    """A model that knows only what callers and the server see."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        self.trouble: list[Any] = []
        self.polls: dict[str, asyncio.Future[Look]] = {}
        self.said: dict[str, set[str]] = {}
        self.calls: list[Call] = []
        self.engine: Engine = self.loop.run_until_complete(self._make())

    async def _make(self) -> Engine:
        durations = Durations()
        for _ in range(MIN_ENDS_TO_SKIP):
            durations.of("x", 1).ended(0, 40)
        return Engine(self._fetch, Pacer, Limits(PLACES, 5.0, 2.0), durations)

    async def _fetch(self, task_id: Any, limit: float) -> Look:
        assert task_id not in self.polls, "two polls of one task at once"
        poll = self.polls[task_id] = self.loop.create_future()
        try:
            async with asyncio.timeout(min(limit, 5.0)):
                answer: Look = await poll
                return answer
        except TimeoutError:
            raise StreamTransportException("timeout") from None
        finally:
            del self.polls[task_id]

    @rule(
        ids=st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True),
        kind=st.sampled_from(["one", "all", "follow"]),
        interval=st.sampled_from([0.0, 0.5, 1.0, 7.0, Backoff(0.5, 4)]),
        timeout=st.sampled_from([None, 0.0, 0.3, 2.0, 30.0]),
    )
    def join(self, ids: list[str], kind: str, interval: Any, timeout: float | None) -> None:
        """Somebody begins to wait."""
        ids = ids if kind == "all" else ids[:1]
        limit = float("inf") if timeout is None else timeout or 5.0
        call = Call(ids, self.loop.time() + limit)
        call.task = self.loop.create_task(self._wait(call, kind, interval, timeout))
        self.calls.append(call)
        self.loop.run_for(0)

    async def _wait(self, call: Call, kind: str, interval: Any, timeout: float | None) -> None:
        terms = self.engine.terms(as_backoff(interval), timeout)
        if kind == "one":
            origin = Origin("x", 1, time.time())
            await self._judge(call.ids[0], wait_for_end(self.engine, call.ids[0], terms, None, origin))
        elif kind == "follow":
            await self._judge(call.ids[0], self._last(follow(self.engine, call.ids[0], terms)))
        else:
            inbox, ended = Inbox(self.engine), []
            try:
                waits = (Wait(task_id, terms, inbox) for task_id in call.ids)
                await wait_for_all(inbox, waits, terms.deadline, lambda wait: ended.append(wait))  # noqa: PLW0108
            finally:
                await inbox.close()
            assert Counter(wait.task_id for wait in ended) == Counter(call.ids)
            for wait in ended:
                await self._judge(wait.task_id, self._final(wait))
        assert self.loop.time() <= call.deadline + GRACE

    @staticmethod
    async def _last(snapshots: Any) -> Task:
        seen = [snapshot async for snapshot in snapshots]
        assert all(one != other for one, other in itertools.pairwise(seen))
        assert isinstance(seen[-1], Task)
        return seen[-1]

    @staticmethod
    async def _final(wait: Wait) -> Task:
        return wait.final()

    async def _judge(self, task_id: str, wait: Any) -> None:
        """A wait ends as the server said, or with its deadline."""
        said = self.said.setdefault(task_id, set())
        try:
            task = await wait
        except StreamWaitTimeoutException as error:
            assert error.task_id == task_id  # noqa: PT017 - either is right
        except StreamApiException as error:
            assert {403: "denied", 404: "missing"}[error.status_code] in said  # noqa: PT017
        else:
            assert task.task_id == task_id
            assert task.is_final
            assert task.status in said

    @precondition(lambda self: self.polls)
    @rule(data=st.data(), name=st.sampled_from(list(ANSWERS)))
    def answer(self, data: st.DataObject, name: str) -> None:
        """The server answers one of the polls."""
        task_id = data.draw(st.sampled_from(sorted(self.polls)))
        poll, answer = self.polls[task_id], ANSWERS[name]
        if poll.done():
            return
        self.said.setdefault(task_id, set()).add(name)
        if isinstance(answer, StreamException):
            poll.set_exception(answer)
        else:
            poll.set_result((Task(task_id, answer, EPOCH, EPOCH), None))
        self.loop.run_for(0)

    @rule(task_id=st.sampled_from("abcde"))
    def hint(self, task_id: str) -> None:
        """Somebody says that a task has ended."""
        self.engine.hint(task_id)
        self.loop.run_for(0)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody's wait is cancelled."""
        call = data.draw(st.sampled_from(self.calls))
        call.task.cancel()
        self.loop.run_for(0)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.25, 1.0, 2.5, 12.0, 70.0]))
    def let_pass(self, seconds: float) -> None:
        """Time passes."""
        self.loop.run_for(seconds)

    @invariant()
    def nothing_is_lost(self) -> None:
        """All calls end in time, and what goes on is looked at."""
        engine, now = self.engine, self.loop.time()
        assert not self.trouble
        runner = self.engine._alarm._runner
        assert runner is None or not runner.done() or runner.cancelled()
        for call in list(self.calls):
            if call.task.done():
                self.calls.remove(call)
                assert call.task.cancelled() or call.task.exception() is None
            else:
                assert now <= call.deadline + GRACE
        assert len(engine._in_flight) <= PLACES
        assert self.polls.keys() <= {poll.tracked.task_id for poll in engine._in_flight}
        for task_id, tracked in engine._tasks.items():
            wanted = any(wait.ended_at is None for wait in tracked.waits)
            if wanted and tracked.poll is None and tracked.next_look() < float("inf"):
                assert tracked in engine._due, task_id
            assert (tracked.poll is not None) == (tracked in {poll.tracked for poll in engine._in_flight})

    def teardown(self) -> None:
        """After the last call, nothing is left."""
        tasks = [call.task for call in self.calls]
        for task in tasks:
            task.cancel()

        async def end() -> None:
            if tasks:
                await unwound(tasks)
            assert_rests(self.engine)

        self.loop.run_until_complete(end())
        self.nothing_is_lost()
        self.loop.close()


Machine.TestCase.settings = settings(deadline=None, stateful_step_count=40)
TestEngine = Machine.TestCase
