"""What editors show while code is being written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from stream_tasks import AsyncStream

async def main():
    async with AsyncStream() as client:
        started = await client.export_users(["jane"])
        export = await client.wait_for_task(started)
        result = await client.wait_for_task("an-id")
        reveal_type(export)
        reveal_type(result)
        {}
"""


@pytest.mark.slow
def test_jedi_shows_what_an_awaited_wait_returns() -> None:
    """IPython, Jupyter and other editors that ask jedi complete the result of a wait for an id."""
    jedi = pytest.importorskip("jedi")
    script = jedi.Script(CODE.format("result."))
    names = [name for name in script.get_names(all_scopes=True) if name.name == "result"]
    assert [found.full_name for found in names[0].infer()] == ["stream_tasks.models.TaskResult"]
    offered = {each.name for each in script.complete(line=CODE.count("\n"), column=len("        result."))}
    assert {"get", "items", "task"} <= offered


@pytest.mark.slow
def test_pyright_shows_what_an_awaited_wait_returns(tmp_path: Path) -> None:
    """VS Code and others that ask pyright show the operation's own result, and a payload for a bare id."""
    pytest.importorskip("pyright")
    file = tmp_path / "code.py"
    file.write_text(CODE.format("pass"))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [each["message"] for each in json.loads(ended.stdout)["generalDiagnostics"]]
    assert told == ['Type of "export" is "ExportUsersResult"', 'Type of "result" is "TaskResult"']
