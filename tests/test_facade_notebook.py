"""A real Jupyter kernel: cells block, await, and are interrupted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import environment

from stream_tasks.testing import FakeStream

pytest.importorskip("ipykernel", reason="there is no Jupyter kernel here")

# In a process of its own, since Jupyter's client leaves sockets and loops behind.
DRIVER = """
import json, sys, threading
from jupyter_client.manager import start_new_kernel

manager, kernel = start_new_kernel(kernel_name="python3", startup_timeout=50)
cells = []
try:
    for code in json.load(sys.stdin):
        said = []

        def hear(message, said=said):
            content = message["content"]
            text = content.get("text", "")
            if message["msg_type"] == "execute_result":
                text = content["data"]["text/plain"]
            if "waiting" in text and "waiting" not in said:
                threading.Timer(0.3, manager.interrupt_kernel).start()
            said.extend(text.split())

        reply = kernel.execute_interactive(code, timeout=50, output_hook=hear)["content"]
        cells.append({"said": " ".join(said), "error": reply.get("ename"), "lines": reply.get("traceback")})
finally:
    kernel.stop_channels()
    manager.shutdown_kernel()
print(json.dumps(cells))
"""
SETUP = """
import json, os
from stream_tasks import AsyncStream, Stream
settings = json.loads(os.environ["SETTINGS"])
options = {"api_key": settings["key"], "api_secret": settings["secret"], "base_url": settings["url"]}
client = Stream(**options)
"""


def run_cells(server: FakeStream, folder: Path, *cells: str) -> list[dict[str, Any]]:
    """Run cells one after another; one that says "waiting" is interrupted."""
    places = {f"JUPYTER_{name}_DIR": str(folder) for name in ("CONFIG", "DATA", "RUNTIME")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([SETUP, *cells]),
        env=environment(server) | places | {"IPYTHONDIR": str(folder), "JUPYTER_PLATFORM_DIRS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found[0]["error"] is None
    return found[1:]


@pytest.mark.slow
def test_a_notebook(threaded_server: FakeStream, tmp_path: Path) -> None:
    """A cell may block, await, and be interrupted, which ends its wait and leaves the kernel fit for more."""
    threaded_server.add_task("t", statuses=["running"], result={"a": 1})
    threaded_server.add_task("never", never=True)
    blocked, awaited, interrupted, after = run_cells(
        threaded_server,
        tmp_path,
        "client.wait_for_task('t', 0)",
        "async with AsyncStream(**options) as other:\n    print(await other.wait_for_task('t', 0))",
        "client.wait_for_task('never', 0.05, None, on_update=lambda _: print('waiting', flush=True))",
        "client.get_task('t').data.status",
    )
    assert (blocked["said"], blocked["error"]) == ("{'a': 1}", None)
    assert (awaited["said"], awaited["error"]) == ("{'a': 1}", None)
    assert interrupted["error"] == "KeyboardInterrupt"
    told = "\n".join(interrupted["lines"])
    assert "_loop_thread.py" in told
    assert "asyncio" not in told
    assert (after["said"], after["error"]) == ("'completed'", None)
