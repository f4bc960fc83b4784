"""The tests that the page on pytest shows run as a user's tests would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import files

TESTS = list(files("docs/how-to/testing-pytest.rst").values())

# pytest-asyncio makes, and leaks, a loop of its own on Python 3.11.
SCOPE = "asyncio_default_fixture_loop_scope=function"

CONFTEST = """
import asyncio
import pytest

def pytest_configure():
    asyncio.set_event_loop(None)

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def run(directory: Path, *arguments: str) -> str:
    """Run Python in a directory, with all warnings as errors, and return what it said."""
    command = [sys.executable, "-W", "error", *arguments]
    # The other plugins that the suite has would be in the way.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        pytest.param("asyncio", ("asyncio_mode=strict", SCOPE), id="pytest-asyncio, strict"),
        pytest.param("asyncio", ("asyncio_mode=auto", SCOPE), id="pytest-asyncio, auto"),
        pytest.param("anyio", (), id="anyio"),
    ],
)
@pytest.mark.slow
def test_examples_for_pytest_pass(tmp_path: Path, plugin: str, options: tuple[str, ...]) -> None:
    """They pass in each mode of pytest-asyncio, and with anyio's plugin."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number, block in enumerate(TESTS):
        (tmp_path / f"test_{number}.py").write_text(block.replace("mark.asyncio", f"mark.{plugin}"))
    settings = [f"-o{option}" for option in options]
    said = run(
        tmp_path, "-m", "pytest", "-q", "-pno:cacheprovider", "-pstream_tasks", f"-p{plugin}", *settings
    )
    tests = sum(block.count("def test_") for block in TESTS)
    assert tests >= 6
    assert f"{tests} passed" in said
