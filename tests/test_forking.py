"""A forked process is like one that Python starts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import PIPES, Forked, fork_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

LOOK = """
import json, os, signal, sys
seen = {
    "streams": [
        stream and [stream.encoding, stream.errors, stream.line_buffering, stream.isatty(), stream.mode]
        for stream in (sys.stdin, sys.stdout, sys.stderr)
    ],
    "arguments": sys.argv[2:],
    "path": sys.path[0],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "descriptors": [number for number in range(20) if os.path.exists(f"/dev/fd/{number}")],
    "signals": [repr(signal.getsignal(number)) for number in range(1, 30)],
    "group": os.getpgrp(),
    "is main": sys.modules["__main__"].__dict__ is globals() and __name__ == "__main__",
}
with open(sys.argv[1], "w") as told:
    json.dump(seen, told)
"""
ENDS = {
    "it returns": "print(ascii(input()))",
    "it exits": "raise SystemExit(7)",
    "it fails": "def fail():\n    raise ValueError('no')\nfail()",
    "it is interrupted": "import os\nos.kill(os.getpid(), 2)",
    "it is killed": "import os\nos.kill(os.getpid(), 9)",
    "it leaves": "import os\nprint('unwritten')\nos._exit(9)",
    "it is waited for": "import threading\nthreading.Timer(0.05, print, ['late']).start()",
    "it says goodbye": "import atexit\natexit.register(print, 'bye')",
    "what it leaves goes first": """
import stream_tasks.exceptions
class Left:
    def __del__(self, name=stream_tasks.exceptions.__dict__):
        print(name["StreamException"])
left = Left()
""",
    "it cannot write": "import os\nprint('lost')\nos.close(1)",
}


def in_both_ways(
    code: str,
    *args: str,
    closed: tuple[int, ...] = (),
    flags: tuple[str, ...] = (),
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program, forked and started."""
    unknown = ("COVERAGE_", "PYTHONUNBUFFERED")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unknown)} | {"A": "ü"}
    options: dict[str, Any] = {"cwd": cwd, "env": env, "stdin": subprocess.PIPE, **PIPES}
    yield Forked(fork_server(), code, *args, closed=closed, flags=flags, **options)

    def close() -> None:
        for number in closed:
            os.close(number)

    begin = [sys.executable, *flags, "-c", code, *args]
    yield subprocess.Popen(begin, text=True, preexec_fn=close, **options)  # noqa: PLW1509


@pytest.mark.parametrize("closed", [(), (0,), (1, 2)], ids=["", "no stdin", "no stdout and stderr"])
def test_it_begins_as_any(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """It finds streams, arguments, folder, environment, descriptors and signals as if it had been started."""
    told = tmp_path / "told"
    seen = []
    for process in in_both_ways(LOOK, str(told), "a b", "é", closed=closed, cwd=tmp_path):
        assert process.communicate() == ("", "")
        assert process.returncode == 0
        seen.append(json.loads(told.read_text()))
    assert seen[0] == seen[1]
    assert seen[0]["is main"]


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_it_ends_as_any(code: str) -> None:
    """What it writes, which traceback it shows, what it waits for and its exit code are the same."""
    forked, started = [
        (*process.communicate("in\r\n", timeout=50), process.returncode) for process in in_both_ways(code)
    ]
    assert forked == started


def test_it_hears_signals() -> None:
    """It is interrupted, as a process that runs, and is waited for no longer than asked."""
    code = "import time\nprint('here', flush=True)\ntime.sleep(50)"
    for process in in_both_ways(code):
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1].endswith("KeyboardInterrupt\n")
        assert process.poll() == -signal.SIGINT


def test_it_has_flags() -> None:
    """Warnings are errors, and asyncio debugs, where it is asked to."""
    code = """
import asyncio, warnings
loop = asyncio.new_event_loop()
print(loop.get_debug())
loop.close()
warnings.warn("no")
"""
    forked, started = [
        (*process.communicate(), process.returncode)
        for process in in_both_ways(code, flags=("-X", "dev", "-W", "error"))
    ]
    assert forked == started
    assert forked[0] == "True\n"
