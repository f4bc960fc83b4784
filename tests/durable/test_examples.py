import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

import pytest
from selenium import webdriver

from durable.servers import Redis, free_port
from durable.workers import until
from stream_tasks.testing import FakeStream

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example:
    """Runs the commands in the first lines of an example."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str]) -> None:
        text = (EXAMPLES / name).read_text()
        self._commands = re.findall(r"^    \$ (.+)$", text, re.MULTILINE)
        shutil.copytree(EXAMPLES, directory / "examples")
        self.directory = directory / "examples"
        self.port = free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, **environment, "PATH": path, "PYTHONUNBUFFERED": "1"}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, word: str) -> subprocess.Popen[bytes]:
        """Run the command that holds a word."""
        (command,) = (each for each in self._commands if word in each)
        with (self.directory / "log").open("ab") as log:
            running = subprocess.Popen(
                ["bash", "-c", re.sub(r"\b8000\b", str(self.port), command)],
                cwd=self.directory.parent,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(running)
        return running

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def post(self, channel: str) -> str:
        """Start an export as the example does it, and return its key."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/exports?channel={channel}", method="POST", data=b""
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 202
            return str(json.load(answer)["key"])

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def wait_for_port(self) -> None:
        def answers() -> bool:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/none", timeout=5)
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True

        until(answers)

    def kill(self) -> None:
        """End all processes of all commands, with kill -9."""
        for running in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        self._running.clear()


@pytest.fixture
def environment(fake: FakeStream) -> dict[str, str]:
    return {**fake.environment, "STREAM_DATABASE": "exports.db"}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        f"user-data-dir={tmp_path / 'chromium'}",
    ):
        options.add_argument(f"--{word}")
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    with webdriver.Chrome(options=options, service=service) as found:
        yield found


def test_the_script_survives_being_killed(
    fake: FakeStream, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Run again after kill -9, it goes on, starts nothing twice, and writes each link."""
    fake.script_operation("export_channels", times=math.inf, never=True)
    example = Example("script.py", tmp_path, environment)
    try:
        example.start("script.py")
        until(lambda: len(fake.started("export_channels")) == 2)
        ids = fake.started("export_channels")
        until(lambda: all(map(fake.polls, ids)))
        example.kill()
        for task_id in ids:
            fake.finish(task_id)
        assert example.start("script.py").wait(60) == 0, example.log()
    finally:
        example.kill()
    assert len(fake.started("export_channels")) == 2
    links = [path.read_text() for path in tmp_path.glob("*.txt")]
    assert len(links) == 2
    assert all(link.startswith(fake.url) for link in links)


def test_the_page_shows_exports_across_a_restart(
    fake: FakeStream, tmp_path: Path, environment: dict[str, str], browser: webdriver.Chrome
) -> None:
    """Two exports move to completed on the page without a reload, although the app is killed."""
    fake.script_operation("export_channels", times=math.inf, never=True)
    example = Example("fastapi_app.py", tmp_path, environment)

    def rows() -> list[str]:
        cells = "[...row.cells].map(cell => cell.textContent).join(' ')"
        found = browser.execute_script(f"return [...document.querySelectorAll('tr')].map(row => {cells})")
        return cast("list[str]", found)

    try:
        example.start("uvicorn fastapi_app")
        example.wait_for_port()
        browser.get(f"http://127.0.0.1:{example.port}/")
        browser.execute_script("window.isTheSamePage = true")
        for name in ("one", "two"):
            example.post(f"messaging:{name}")
        until(lambda: rows() == ["messaging:one started", "messaging:two started"])
        until(lambda: len(fake.started("export_channels")) == 2)
        first, second = fake.started("export_channels")
        until(lambda: fake.polls(first) and fake.polls(second))
        fake.finish(first)
        until(lambda: sum("completed download" in row for row in rows()) == 1)
        example.kill()
        fake.finish(second)
        example.start("uvicorn fastapi_app")
        until(lambda: sum("completed download" in row for row in rows()) == 2)
        assert browser.execute_script("return window.isTheSamePage")
    except AssertionError as error:
        error.add_note(example.log()[-5000:])
        raise
    finally:
        example.kill()
    assert len(fake.started("export_channels")) == 2


def test_an_end_arrives_as_a_celery_task(
    fake: FakeStream, tmp_path: Path, environment: dict[str, str], redis: Redis
) -> None:
    """A view of Django starts an export; when it has ended, a task sends one mail."""
    fake.script_operation("export_channels", times=math.inf, never=True)
    example = Example("django_celery.py", tmp_path, {**environment, "REDIS_URL": redis.url})
    try:
        for word in ("django_celery.py waits", "celery -A", "runserver"):
            example.start(word)
        example.wait_for_port()
        key = example.post("messaging:general")
        until(lambda: fake.started("export_channels"))
        assert example.get(f"/exports/{key}") == {"status": "running"}
        fake.finish(fake.started("export_channels")[0])
        mails = example.directory / "mails"
        until(lambda: mails.exists() and list(mails.iterdir()))
        (file,) = mails.iterdir()
        until(lambda: b"http" in file.read_bytes())
        end = example.get(f"/exports/{key}")
    except AssertionError as error:
        error.add_note(example.log()[-5000:])
        raise
    finally:
        example.kill()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Subject"] == "messaging:general: completed"
    assert end["result"]["url"] in mail.get_content()
