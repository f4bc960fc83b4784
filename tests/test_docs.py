"""Every example of the README and the site runs as it stands; see `pages` for how they are told apart."""

import ast
import asyncio
import functools
import importlib
import inspect
import json
import logging
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pages import BLOCKS, PAGES, ROOT, Block, files, read

import stream_tasks
from stream_tasks import AsyncStream, Stream, webhooks
from stream_tasks._operations import OPERATIONS
from stream_tasks.endpoints import CAMPAIGN
from stream_tasks.testing import FakeStream, Fault, TaskFailure

LANGUAGES = {"console", "python", "text", "json", "ini"}
SCRIPTS = [block for block in BLOCKS if block.language == "python" and not block.caption]
CONSOLE = [block for block in BLOCKS if block.language == "console"]
KIT = "docs/how-to/testing-pytest.rst"  # test_kit_docs.py runs its tests in many ways
DURABLE = "docs/how-to/durable.rst"
TESTED = sorted({block.page for block in BLOCKS if block.caption.startswith("test_")} - {KIT})
SITE = re.findall(r"(?<!`)`[^`<]*<((?:docs|examples)/[^>]+)>`__?", (ROOT / "README.rst").read_text())

# These need an environment, a program or a place of their own, or run until they are stopped.
NOT_RUN = re.compile(
    r"pip install|-m venv|git clone|nox|uvicorn|gunicorn|celery|jupyter|crontab|doctor|demo$|uv |completion"
)
OTHERS = re.compile("from (getstream|fastapi|django|celery|opentelemetry)")
ELSEWHERE = {
    "/chat/campaigns/spring": {"campaign": {"id": "spring", "status": "completed", "stats": {}}},
    "/imports/v2/an-id": {"id": "an-id", "state": 5},
    "/my/jobs/1": {"job": {"state": "done"}},
    "/my/jobs/2": {"job": {"state": "lost"}},
}
# pytest-asyncio makes, and leaks, a loop of its own on Python 3.11.
SCOPE = "asyncio_default_fixture_loop_scope=function"
UUID = "[0-9a-f]{8}-[0-9a-f-]{27}"


@pytest.fixture(autouse=True)
def _the_log_as_before() -> Iterator[None]:
    """Take back what an example sets of the log."""
    loggers = [logging.getLogger(), logging.getLogger("stream_tasks")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def prepare(server: FakeStream, text: str) -> None:
    """Put on a server what a page's examples ask for: tasks end at once, and those named in `text` exist."""
    for task_id in sorted(set(re.findall(UUID, text))):
        failure = TaskFailure("ImportFailed", "bad rows") if task_id.startswith("6d1c39ec") else None
        result = {"url": f"{server.url}/files/export"} if failure is None else None
        server.add_task(task_id, statuses=[], result=result, error=failure)
    server.fail_items("messaging:general")
    for operation in OPERATIONS:
        server.script_operation(operation, times=99, statuses=[])
    for path, body in ELSEWHERE.items():
        server.inject(Fault.body(json.dumps(body).encode()), times=math.inf, path=path)


def point(monkeypatch: pytest.MonkeyPatch, server: FakeStream) -> None:
    """Let clients that are given nothing find the server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=[pytest.mark.slow] * bool(OTHERS.search(block.code))) for block in SCRIPTS],
    ids=str,
)
def test_scripts_run(
    block: Block, threaded_server: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are pasted, not adapted."""
    prepare(threaded_server, "".join([block.code, *files(block.page).values()]))
    point(monkeypatch, threaded_server)
    monkeypatch.chdir(tmp_path)
    for name, content in files(block.page).items():
        Path(name).write_text(content)
    if "from getstream" in block.code:  # the official client's default address is no variable
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import getstream
        for name in ("Stream", "AsyncStream"):
            official = functools.partial(getattr(getstream, name), base_url=threaded_server.url)
            monkeypatch.setattr(getstream, name, official)
    exec(compile(block.code, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.slow
@pytest.mark.parametrize("page", TESTED)
def test_tests_pass(page: str, tmp_path: Path) -> None:
    """The tests that a page shows pass beside the files that it shows."""
    shown = files(page)
    for name, content in shown.items():
        (tmp_path / name).write_text(content)
    cases = [name for name in shown if name.startswith("test_")]
    if "unittest.TestCase" in "".join(shown[name] for name in cases):
        run_python(tmp_path, "-m", "unittest")
        return
    plugins = ["-pstream_tasks", "-pasyncio", "-oasyncio_mode=auto", f"-o{SCOPE}"]
    said = run_python(tmp_path, "-m", "pytest", "-q", "-pno:cacheprovider", *plugins)
    tests = sum(shown[name].count("def test_") for name in cases)
    assert f"{tests} passed" in said


def run_python(folder: Path, *arguments: str) -> str:
    """Run Python in a folder, with all warnings as errors, and return what it said."""
    # The other plugins that the suite has would be in the way.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-W", "error", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.durable] * (page == DURABLE))
        for page in sorted({block.page for block in CONSOLE})
    ],
)
def test_commands_run(page: str, threaded_server: FakeStream, tmp_path: Path) -> None:
    """A page's commands run one after another, and print what the page shows but for numbers and ids."""
    if page == DURABLE:
        pytest.importorskip("dbos", reason="`nox -s durable` runs the commands of durable waits")
    blocks = [block for block in CONSOLE if block.page == page]
    prepare(threaded_server, "".join([*files(page).values(), *(block.code for block in blocks)]))
    for name, content in files(page).items():
        (tmp_path / name).write_text(content)
    programs = str(Path(sys.executable).parent)
    environment = os.environ | threaded_server.environment
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "80"}
    for block in blocks:
        for command, shown in commands(block):
            if NOT_RUN.search(command):
                continue
            if command.startswith("stream-tasks serve"):
                printed = begin_of(command, len(shown), tmp_path, environment)
            else:
                ended = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ended.returncode == 0, f"{block}: {command}\n{ended.stdout}{ended.stderr}"
                printed = ended.stdout + ended.stderr
            unseen = iter(printed.splitlines())
            for line in shown:
                assert any(as_pattern(line).fullmatch(other) for other in unseen), (
                    f"{block}: {line}\n{printed}"
                )


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return each command of a block, and the lines that it is said to print."""
    found = []
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, *shown = re.sub(r"\\\n\s*", "", part).strip().split("\n")
        found.append((command, [line for line in shown if line.strip()]))
    return found


def as_pattern(line: str) -> re.Pattern[str]:
    """Return what a printed line must look like: ids, numbers and spaces may differ."""
    pattern = re.sub(UUID, "uuid", line.strip())
    pattern = re.sub(r"\d+(\.\d+)?", "number", pattern)
    pattern = re.sub(r"\s+", "space", pattern)
    pattern = re.escape(pattern).replace("\\.\\.\\.", ".*").replace("…", ".*")
    pattern = pattern.replace("uuid", UUID).replace("number", r"[\d.]+").replace("space", r"\s+")
    return re.compile(rf"\s*{pattern}\s*")


def begin_of(command: str, lines: int, folder: Path, environment: dict[str, str]) -> str:
    """Return the first lines that a server prints, and stop it."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command} --port 0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        printed: list[str] = []
        while len([line for line in printed if line.strip()]) < lines:
            printed.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
    return "".join(printed)


def examples(kind: type[Any]) -> dict[str, str]:
    """Return the example of each public attribute of a class, and of the class itself, by name."""
    found = {}
    for name in ["__doc__", *(name for name in vars(kind) if not name.startswith("_"))]:
        words = kind.__doc__ if name == "__doc__" else getattr(kind, name).__doc__
        found[name] = "\n".join(line[4:] for line in re.findall(r"(?:>>>|\.\.\.) .*", words or ""))
    return found


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in (AsyncStream, Stream) for name in examples(kind)]
)
def test_examples_of_docstrings_run(
    kind: type[Any], name: str, threaded_server: FakeStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both clients, and each of their methods, have an example in the docstring, and it runs."""
    example = examples(kind)[name]
    assert example, f"{kind.__name__}.{name} has no example"
    server = threaded_server
    prepare(server, "")
    point(monkeypatch, server)
    monkeypatch.chdir(tmp_path)
    ids = [server.add_task(statuses=[], result={}), server.add_task(statuses=[], result={})]
    with Stream() as other:
        body, headers = server.webhook(other.export_users(["jane"]))
    client = kind()
    names = {
        kind.__name__: kind,
        "client": client,
        "ids": ids,
        "task_id": ids[0],
        "user_ids": ["jane", "joe"],
        "official": SimpleNamespace(api_key="key", token="a.b.c", base_url=server.url),
        "CAMPAIGN": CAMPAIGN,
        "webhooks": webhooks,
        "body": body,
        "signature": headers["X-Signature"],
        "api_secret": server.api_secret,
        "upload": upload if kind is AsyncStream else bytes,
    }
    asyncio.run(run_example(example, names)) if kind is AsyncStream else exec(example, names)
    if kind is Stream:
        client.close()


async def upload(chunk: bytes) -> None:
    """Stand for what stores a piece of an export."""
    await asyncio.sleep(0)
    assert chunk


async def run_example(example: str, names: dict[str, Any]) -> None:
    """Run an example that awaits."""
    code = compile(example, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, names) if code.co_flags & inspect.CO_COROUTINE else exec(code, names)
    await names["client"].aclose()


def test_all_examples_are_found() -> None:
    """No page has an example that the pattern misses, and each is of a kind that is checked."""
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        found = [block for block in BLOCKS if block.page == page]
        assert len(found) == path.read_text().count("code-block::"), page
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert len(SCRIPTS) > 30


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.caption.endswith(".py")], ids=str)
def test_files_are_used(block: Block) -> None:
    """A Python file that a page shows is run: by a command, or by a test beside it."""
    beside = files(block.page)
    module = Path(block.caption).stem
    used = [f"python {block.caption}", f"from {module} import", f"import {module}", f'"{module}"']
    told = "".join([*beside.values(), *(other.code for other in CONSOLE if other.page == block.page)])
    assert block.caption.startswith("test_") or any(word in told for word in used)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_share_one_client(path: Path) -> None:
    """No function that serves a request makes a client of its own."""
    for block in read(path):
        if block.language != "python":
            continue
        tree = ast.parse(block.code)
        for function in [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]:
            made = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Stream", "AsyncStream")
            ]
            takes_turns = function.name in ("main", "lifespan", "keep_client") or function.decorator_list
            assert not made or takes_turns or function.name.startswith("test"), f"{block}: {function.name}"


@pytest.mark.parametrize(
    ("path", "picture"),
    [
        pytest.param(path, picture, id=f"{path.name}: {picture}")
        for path in PAGES
        for picture in re.findall(r"^\.\. image:: (\S+)", path.read_text(), re.MULTILINE)
    ],
)
def test_pictures_are_there(path: Path, picture: str) -> None:
    """Each is a small SVG that fetches nothing, and has words for those who do not see it."""
    svg = (path.parent / picture).read_text(encoding="utf-8")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg) < 100_000
    assert not re.search(r"@import|@font-face|href=", svg)
    assert re.search(rf"image:: {re.escape(picture)}\n +:alt: \w", path.read_text())


def test_plots_show_what_was_measured() -> None:
    """They are drawn from the results that are in the clone, not from older ones."""
    plots = runpy.run_path(str(ROOT / "docs/plots.py"))
    measured = json.loads((ROOT / "benchmarks/results/results.json").read_text(encoding="utf-8"))
    shown = (ROOT / "docs/_static/pacing.svg").read_text(encoding="utf-8")
    assert plots["pacing"](measured["simulation"]) == shown


@pytest.mark.parametrize("link", SITE)
def test_the_readme_links_to_pages_that_exist(link: str) -> None:
    """What the README says to read on is in the clone."""
    assert (ROOT / link).exists()


def test_the_readme_is_read_in_one_sitting() -> None:
    """It has at most 220 lines, and shows the two commands and both styles."""
    readme = (ROOT / "README.rst").read_text()
    assert len(readme.splitlines()) <= 220
    assert ".. image:: tests/pictures/demo.svg" in readme
    for word in ("stream-tasks demo", "nox -s tests", "async with AsyncStream() as", "with Stream() as"):
        assert word in readme


def test_the_reference_is_complete() -> None:
    """It has each public name, each argument of a client, each log event and each command."""
    pages = {path.stem: path.read_text() for path in ROOT.joinpath("docs/reference").glob("*.rst")}
    shown = set(re.findall(r"auto(?:class|function):: (\w+)", "".join(pages.values())))
    for module in ("exceptions", "endpoints"):
        assert f"automodule:: stream_tasks.{module}\n   :members:" in pages[module]
        shown |= set(importlib.import_module(f"stream_tasks.{module}").__all__)
    assert set(stream_tasks.__all__) - shown == {"__version__"}
    settings = re.findall(r"^``(\w+)``", pages["settings"], re.MULTILINE)
    assert set(inspect.signature(AsyncStream).parameters) <= set(settings)
    sources = [path.read_text() for path in ROOT.joinpath("stream_tasks").rglob("*.py")]
    events = re.findall(r'"stream_event": "(\w+)"', "".join(sources))
    assert len(events) > 3
    assert set(events) <= set(re.findall(r"^``(\w+)``", pages["log-events"], re.MULTILINE))
    assert ".. commands::" in pages["command-line"]


def test_nothing_says_to_install_from_an_index() -> None:
    """The package is not on an index: it is installed from a clone or a URL."""
    wrong = re.compile(r"""pip install (?:-\S+ )*['"]?stream[_-]tasks(?!\S* @)""")
    told = [*PAGES, *(ROOT / "stream_tasks").rglob("*.py"), *(ROOT / "examples").iterdir()]
    assert [path for path in told if wrong.search(path.read_text(encoding="utf-8"))] == []
