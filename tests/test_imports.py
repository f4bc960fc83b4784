"""What is imported when: the package and the help of the command line are light, and nothing is missing."""

import ast
import inspect
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

import stream_tasks

HEAVY = {"aiohttp", "anyio", "asyncio", "cattrs", "jwt", "rich", "stream_tasks._client"}
REPORT = f"""
import atexit, sys
atexit.register(lambda: print("imported:", *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))
"""


def imported(program: str, *args: str, **variables: str) -> tuple[int, set[str]]:
    """Run a program, and return its exit code and which heavy modules it imported."""
    ended = subprocess.run(
        [sys.executable, "-c", REPORT + program, *args],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, set(ended.stderr.rpartition("imported:")[2].split())


@pytest.mark.parametrize(
    ("args", "code"),
    [
        pytest.param(["--help"], 0, id="the help"),
        pytest.param([], 2, id="no command"),
        pytest.param(["--version"], 0, id="the version"),
        pytest.param(["wait", "--help"], 0, id="the help of a wait"),
        pytest.param(["doctor", "--help"], 0, id="the help of the doctor"),
        pytest.param(["delete-users", "--help"], 0, id="the help of an operation"),
        pytest.param(["completion", "bash"], 0, id="a completion script"),
        pytest.param(["nosuch"], 2, id="an unknown command"),
        pytest.param(["wait", "--nosuch"], 2, id="an unknown option"),
        pytest.param(["wait", "a", "--timeout", "soon"], 2, id="an invalid option"),
        pytest.param(["wait", ".."], 2, id="an invalid id"),
        pytest.param(["wait", "a", "--from", "/no/such"], 2, id="a file of ids that is missing"),
        pytest.param(["get"], 2, id="a missing argument"),
        pytest.param(["export-users", "--nosuch"], 2, id="an unknown option of an operation"),
        pytest.param(["export-users", "a", "--overwrite"], 2, id="options that do not fit together"),
        pytest.param(["delete-users", "a", "--user", "harder"], 2, id="a choice that there is not"),
    ],
)
def test_help_and_usage_errors_are_light(args: list[str], code: int) -> None:
    """They import neither aiohttp nor the client, nor rich."""
    program = "from stream_tasks.__main__ import main; main()"
    assert imported(program, *args, STREAM_API_KEY="k", STREAM_API_SECRET="s") == (code, set())


def test_missing_credentials_are_light() -> None:
    """They are a usage error like any other."""
    program = "from stream_tasks.__main__ import main; main()"
    assert imported(program, "wait", "a", STREAM_API_KEY="", STREAM_API_SECRET="") == (2, set())


@pytest.mark.parametrize(
    "words", ["stream-tasks ", "stream-tasks wait --t", "stream-tasks delete-users --us"]
)
def test_completion_is_light(words: str) -> None:
    """A press of Tab imports as little as the help."""
    program = "import sys; sys.argv[0] = 'stream-tasks'; from stream_tasks.__main__ import main; main()"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert imported(program, _STREAM_TASKS_COMPLETE="bash_complete", **asked) == (0, set())


@pytest.mark.parametrize("module", ["stream_tasks", "stream_tasks.exceptions", "stream_tasks.cli"])
def test_modules_that_are_light(module: str) -> None:
    """They import nothing large."""
    assert imported(f"import {module}") == (0, set())


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import stream_tasks; stream_tasks.AsyncStream", id="an attribute"),
        pytest.param("from stream_tasks import AsyncStream, Stream, Task, __version__", id="a name"),
        pytest.param("from stream_tasks import *; AsyncStream, StreamException, Backoff", id="all names"),
        pytest.param("import stream_tasks; stream_tasks.exceptions.StreamException", id="the exceptions"),
        pytest.param("import stream_tasks; stream_tasks.models.Task", id="the models"),
        pytest.param("from stream_tasks import exceptions, models, webhooks, testing", id="modules"),
    ],
)
def test_public_names_are_found_at_first_use(program: str) -> None:
    """However they are asked for, in a process that has imported nothing yet."""
    assert imported(program)[0] == 0


@pytest.mark.parametrize("name", stream_tasks.__all__)
def test_public_names_are_those_of_their_modules(name: str) -> None:
    """A name is one object, wherever it is imported from, and can be pickled."""
    value = getattr(stream_tasks, name)
    assert name in dir(stream_tasks)
    if inspect.isclass(value):
        assert getattr(sys.modules[value.__module__], name) is value
        assert pickle.loads(pickle.dumps(value)) is value


def test_unknown_names() -> None:
    """A name that there is not is an AttributeError as in any module."""
    missing: Any = stream_tasks
    with pytest.raises(AttributeError, match="module 'stream_tasks' has no attribute 'AsyncStreams'"):
        _ = missing.AsyncStreams
    assert not hasattr(stream_tasks, "import_module_that_is_not_there")
    assert {"exceptions", "models", "Stream", "__doc__"} <= set(dir(stream_tasks))


def test_type_checkers_see_all_names() -> None:
    """What is imported for them, and what is found at run time, are the same."""
    (guarded,) = [
        node for node in ast.parse(inspect.getsource(stream_tasks)).body if isinstance(node, ast.If)
    ]
    seen = {
        alias.name for node in ast.walk(guarded) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {*stream_tasks.__all__, "exceptions", "models"} - {"__version__"}
