"""Notebooks: the one in ``examples`` runs, and `track` shows a table below a cell."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from scripts import environment

from stream_tasks.testing import FakeStream

pytest.importorskip("nbclient", reason="there is nothing to run notebooks with")

ROOT = Path(__file__).parents[1]
EXPORTS = ROOT / "examples" / "exports.ipynb"
SETUP = """
import json, os
from stream_tasks import AsyncStream, Stream
from stream_tasks.progress import track
settings = json.loads(os.environ["SETTINGS"])
options = {"api_key": settings["key"], "api_secret": settings["secret"], "base_url": settings["url"]}
"""


def execute(notebook: Path, folder: Path, env: dict[str, str]) -> list[dict[str, Any]]:
    """Execute a notebook in a process of its own, and return its cells of code."""
    places = {f"JUPYTER_{name}_DIR": str(folder) for name in ("CONFIG", "DATA", "RUNTIME")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "notebooks.py"), str(notebook), str(folder / "done.ipynb")],
        env=env | places | {"IPYTHONDIR": str(folder), "JUPYTER_PLATFORM_DIRS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return code_cells(folder / "done.ipynb")


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def shown(cell: dict[str, Any], kind: str = "text/plain") -> list[str]:
    """What a cell shows, one output after another."""
    return ["".join(each.get("data", {}).get(kind, each.get("text", ""))) for each in cell["outputs"]]


@pytest.mark.slow
def test_the_example(tmp_path: Path, threaded_server: FakeStream) -> None:
    """The example runs from its first cell to its last, and shows what its stored outputs show."""
    stored, fresh = code_cells(EXPORTS), execute(EXPORTS, tmp_path, environment(threaded_server))
    assert [cell["execution_count"] for cell in stored] == list(range(1, len(stored) + 1))
    for before, after in zip(stored, fresh, strict=True):
        kinds = [
            sorted((out["output_type"], *out.get("data", {})) for out in cell["outputs"])
            for cell in (before, after)
        ]
        assert kinds[0] == kinds[1]
    text = "\n".join(line for cell in fresh for line in shown(cell))
    assert "12 of 12 done, 1 failed, in " in text
    assert "11 files, " in text
    assert "12 tasks: 11 completed, 1 failed" in text
    html = "".join(line for cell in fresh for line in shown(cell, "text/html"))
    assert "<svg " in html
    assert "<progress " in html
    for notebook in (EXPORTS, tmp_path / "done.ipynb"):
        assert "Signature" not in notebook.read_text()
        assert "Traceback" not in notebook.read_text()


def write(path: Path, *cells: str) -> Path:
    """Write a notebook."""
    sources: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": cell,
        }
        for number, cell in enumerate([SETUP, *cells])
    ]
    path.write_text(json.dumps({"cells": sources, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.slow
def test_track(tmp_path: Path, threaded_server: FakeStream) -> None:
    """A table below the cell is replaced in place, for both clients. It needs no rich."""
    threaded_server.add_task("good", result={"a": 1})
    threaded_server.add_task("<b>bad</b>", error={"type": "<i>disk</i>", "description": "full & done"})
    threaded_server.add_task("slow", after=2.5)
    threaded_server.add_task("never", never=True)
    blocking = """
        with Stream(**options) as client:
            for outcome in track(client.as_completed(["good", "<b>bad</b>", "slow"], 0.2, 30), total=3):
                pass
        """
    left = """
        import time
        async with AsyncStream(**options) as client:
            async for outcome in track(client.as_completed(["good", "never"], 0.2, 30)):
                time.sleep(1)
                break
        """
    without_rich = """
        import sys
        for name in [name for name in sys.modules if name.partition(".")[0] in ("rich", "stream_tasks")]:
            del sys.modules[name]
        sys.modules["rich"] = None
        from stream_tasks import Stream
        from stream_tasks.progress import track
        with Stream(**options) as client:
            for outcome in track(client.as_completed(["good"]), total=1):
                pass
        """
    notebook = write(tmp_path / "track.ipynb", *map(textwrap.dedent, (blocking, left, without_rich)))
    cells = execute(notebook, tmp_path, environment(threaded_server))[1:]
    for cell in cells:
        cell["outputs"] = [each for each in cell["outputs"] if each["output_type"] != "stream"]
    whole, part, plain = cells
    (html,) = shown(whole, "text/html")
    assert '<progress value="3" max="3"' in html
    assert "3 of 3 done, 1 failed, in " in html
    assert "&lt;b&gt;bad&lt;/b&gt;" in html
    assert "&lt;i&gt;disk&lt;/i&gt;: full &amp; done" in html
    assert "<b>" not in html
    assert shown(part) == [shown(part)[0]]
    assert shown(part)[0].startswith("1 done, 0 failed, in ")
    assert "<progress" not in shown(part, "text/html")[0]
    assert shown(plain)[0].startswith("1 of 1 done, 0 failed, in ")
