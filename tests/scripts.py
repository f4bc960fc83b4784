"""Runs scripts in processes of their own, as users run theirs."""

import json
import os
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from forking import AT_ONCE, PATIENCE, PIPES, Forked, fork_server

from stream_tasks.testing import FakeStream

STRICT = ("-X", "dev", "-W", "error")
"""What makes Python complain of all it can."""

PROMPT = ("-W", "error")
"""Without asyncio's debug mode, which makes hundreds of tasks slow."""

TOLERANT = ("-W", "ignore:This process:DeprecationWarning")
"""Newer Pythons warn of any fork beside threads."""

PRELUDE = f"""
import asyncio, gc, json, logging, os, random, signal, sys, threading, time, warnings
from stream_tasks import AsyncStream, Stream, StreamTransportException, _loop_thread

# It was forked for speed alone, before there was any client.
_loop_thread._is_child = False

# A background job starts with Ctrl-C ignored, and so would this.
signal.signal(signal.SIGINT, signal.default_int_handler)
# That a busy machine is slow is no complaint.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
SETTINGS = json.loads(os.environ["SETTINGS"])
AT_ONCE = {AT_ONCE}
fired = []

def make(kind=Stream):
    return kind(SETTINGS["key"], SETTINGS["secret"], base_url=SETTINGS["url"])

def interrupt(*moments, sign=signal.SIGINT):
    def fire():
        fired.append(time.monotonic())
        os.kill(os.getpid(), sign)
    for moment in moments:
        timer = threading.Timer(moment, fire)
        timer.daemon = True
        timer.start()

def unfinished(client):
    loop = client._loop._loop
    return [task for task in asyncio.all_tasks(loop) if not task.done()] if loop else []

client = make()
"""


def environment(server: FakeStream) -> dict[str, str]:
    """What a script needs to know of a server."""
    settings = {"key": server.api_key, "secret": server.api_secret, "url": server.url}
    return os.environ | {"SETTINGS": json.dumps(settings)}


def run(
    server: FakeStream, code: str, *flags: str, prelude: str = PRELUDE, forks: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end.

    Args:
        server: Whom it asks.
        code: The script, after `prelude`.
        flags: For Python, by default `STRICT`.
        prelude: What it begins with.
        forks: Whether it forks, which only asyncio's loop allows.
    """
    env = environment(server)
    if forks:
        env.pop("STREAM_UVLOOP", None)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(prelude + textwrap.dedent(code))
        options: dict[str, Any] = {"env": env, "stdin": subprocess.DEVNULL, **PIPES}
        code = script.read_text()
        with Forked(fork_server(), code, path=str(script), flags=flags or STRICT, **options) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_quietly(server: FakeStream, code: str, *flags: str, forks: bool = False) -> str:
    """Run a script that must succeed and complain of nothing; return what it prints."""
    done = run(server, code, *flags, forks=forks)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout
