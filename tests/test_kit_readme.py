"""The README's section on testing runs as a user's tests would."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

README = (Path(__file__).parent.parent / "README.rst").read_text()
SECTION = README.partition("Testing your code\n=====")[2].partition("\n=====")[0]
BLOCKS = [dedent(block) for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", SECTION)]
UNITTESTS = [block for block in BLOCKS if "unittest.TestCase" in block]
TESTS = [block for block in BLOCKS if "def test" in block and block not in UNITTESTS]

# pytest-asyncio makes, and leaks, a loop of its own on Python 3.11.
CONFTEST = "import asyncio\n\ndef pytest_configure():\n    asyncio.set_event_loop(None)\n"


def run(directory: Path, *arguments: str) -> str:
    """Run Python in a directory, with all warnings as errors, and return what it said."""
    command = [sys.executable, "-W", "error", *arguments]
    ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        pytest.param("asyncio", ["-o", "asyncio_mode=strict"], id="pytest-asyncio, strict"),
        pytest.param("asyncio", ["-o", "asyncio_mode=auto"], id="pytest-asyncio, auto"),
        pytest.param("anyio", ["-p", "no:asyncio"], id="anyio"),
    ],
)
def test_examples_for_pytest_pass(tmp_path: Path, plugin: str, options: list[str]) -> None:
    """They pass in each mode of pytest-asyncio, and with the plugin of anyio in its place."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number, block in enumerate(TESTS):
        (tmp_path / f"test_{number}.py").write_text(block.replace("mark.asyncio", f"mark.{plugin}"))
    if plugin == "asyncio":
        options = [*options, "-o", "asyncio_default_fixture_loop_scope=function"]
    said = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:looptime", *options)
    tests = sum(block.count("def test_") for block in TESTS)
    assert tests >= 6
    assert f"{tests} passed" in said


def test_examples_for_unittest_pass(tmp_path: Path) -> None:
    """They need no pytest."""
    for number, block in enumerate(UNITTESTS):
        (tmp_path / f"test_{number}.py").write_text(block)
    assert "\nOK" in run(tmp_path, "-m", "unittest")
    assert UNITTESTS
