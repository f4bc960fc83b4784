"""Workers in processes of their own, which can be killed. Run as a program, this is one of them."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream_tasks import AsyncStream
from stream_tasks.durable import DurableWaits, TaskEnd
from stream_tasks.testing import FakeStream


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
        self._running: list[subprocess.Popen[str]] = []

    def start(self, database: str, worker_id: str = "", **options: Any) -> subprocess.Popen[str]:
        """Start a worker, and wait until it runs."""
        name = f"worker-{len(self._running)}"
        settings = {"database": database, "worker_id": worker_id or None, "effects": str(self._effects)}
        environment = {
            **os.environ,
            **self._fake.environment,
            "SETTINGS": json.dumps({**settings, **options}),
        }
        with (self._directory / f"{name}.log").open("w") as log:
            worker = subprocess.Popen(
                [sys.executable, __file__], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._running.append(worker)
        assert worker.stdout is not None
        first = worker.stdout.readline()
        assert first == "ready\n", (self._directory / f"{name}.log").read_text()
        return worker

    def log(self, number: int) -> str:
        return (self._directory / f"worker-{number}.log").read_text()

    def kill_all(self) -> None:
        for worker in self._running:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()

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


async def work(database: str, effects: str, raises: int = 0, slow: float = 0.0, **options: Any) -> None:
    """Run waits until SIGTERM."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    client = AsyncStream()
    waits = DurableWaits(client, database, **options)
    raised: Counter[str] = Counter()
    file = os.open(effects, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    @waits.on_end("write")
    async def write(end: TaskEnd[Any]) -> None:
        await asyncio.sleep(slow)
        raised[end.key] += 1
        if raised[end.key] <= raises:
            raise RuntimeError("not yet")
        os.write(file, json.dumps({**end.to_dict(), "worker": os.getpid()}).encode() + b"\n")

    async with client, waits:
        os.write(1, b"ready\n")
        await asked.wait()


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    asyncio.run(work(**json.loads(os.environ["SETTINGS"])))
