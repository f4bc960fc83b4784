"""Workers in processes of their own, which can be killed."""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbos import DBOS

from stream_tasks import AsyncStream
from stream_tasks.durable import DurableWaits, TaskEnd
from stream_tasks.testing import FakeStream

PROCESSES = multiprocessing.get_context("forkserver")  # importing DBOS takes a second
PROCESSES.set_forkserver_preload([__name__])


def until(is_so: Callable[[], object], timeout: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.05)


class Workers:
    """Starts workers, and reads what their handlers have written."""

    def __init__(self, fake: FakeStream, directory: Path) -> None:
        self._fake = fake
        self._effects = directory / "effects"
        self._directory = directory
        self._running: list[multiprocessing.process.BaseProcess] = []

    def start(
        self, database: str, worker_id: str | None = None, **options: Any
    ) -> multiprocessing.process.BaseProcess:
        """Start a worker, and wait until it runs."""
        name = f"worker-{len(self._running)}"
        options |= {"database": database, "worker_id": worker_id, "effects": str(self._effects)}
        is_ready = PROCESSES.Event()
        worker = PROCESSES.Process(
            target=run_worker,
            args=(str(self._directory / f"{name}.log"), self._fake.environment, is_ready, options),
        )
        worker.start()
        self._running.append(worker)
        until(lambda: is_ready.is_set() or worker.exitcode is not None)
        assert is_ready.is_set(), (self._directory / f"{name}.log").read_text()
        return worker

    def log(self, number: int) -> str:
        return (self._directory / f"worker-{number}.log").read_text()

    def kill_all(self) -> None:
        for worker in self._running:
            worker.kill()
            worker.join()

    def ends(self) -> list[dict[str, Any]]:
        """What handlers were called with, in the order of the calls."""
        if not self._effects.exists():
            return []
        lines = self._effects.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def calls(self) -> Counter[str]:
        """How often the handler was called for each key."""
        return Counter(end["key"] for end in self.ends())

    def wait_for_ends(self, number: int, timeout: float = 60) -> list[dict[str, Any]]:
        """Wait until the ends of so many waits were handled."""
        until(lambda: len(self.calls()) >= number, timeout)
        return self.ends()


def run_worker(log: str, environment: dict[str, str], is_ready: Any, options: dict[str, Any]) -> None:
    """Be a worker, until SIGTERM."""
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    logging.basicConfig(level="INFO")
    asyncio.run(_work(is_ready, **options))


async def _work(
    is_ready: Any, effects: str, raises: int = 0, *, own_workflows: bool = False, **options: Any
) -> None:
    if own_workflows:

        @DBOS.workflow()
        async def own() -> None:
            """Be a part of the app's code."""

    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    client = AsyncStream()
    waits = DurableWaits(client, **options)
    raised: Counter[str] = Counter()
    file = os.open(effects, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    @waits.on_end("write")
    async def write(end: TaskEnd[Any]) -> None:
        raised[end.key] += 1
        if raised[end.key] <= raises:
            raise RuntimeError("not yet")
        os.write(file, json.dumps({**end.to_dict(), "worker": os.getpid()}).encode() + b"\n")

    async with client, waits:
        is_ready.set()
        await asked.wait()
