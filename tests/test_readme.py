"""Every Python example in the README runs as it stands."""

import functools
import json
import math
import re
import warnings
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest

from stream_tasks.testing import FakeStream, Fault, TaskFailure

README = (Path(__file__).parent.parent / "README.rst").read_text()
BLOCKS = [dedent(block) for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README)]
EXAMPLES = [block for block in BLOCKS if "def test_" not in block]  # tests run in test_kit_readme.py
ELSEWHERE = {
    "/chat/campaigns/spring": {"campaign": {"id": "spring", "status": "completed", "stats": {}}},
    "/imports/v2/an-id": {"id": "an-id", "state": 5},
    "/my/jobs/1": {"job": {"state": "done"}},
    "/my/jobs/2": {"job": {"state": "lost"}},
}
OTHERS = re.compile("from (getstream|fastapi|django)")


@pytest.mark.parametrize(
    "example",
    [pytest.param(block, marks=[pytest.mark.slow] * bool(OTHERS.search(block))) for block in EXAMPLES],
    ids=lambda example: example.split("\n")[-2].strip()[:40],
)
def test_the_readmes_examples_run(
    example: str, threaded_server: FakeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are pasted, not adapted."""
    server = threaded_server
    monkeypatch.setenv("STREAM_API_KEY", server.api_key)
    monkeypatch.setenv("STREAM_API_SECRET", server.api_secret)
    monkeypatch.setenv("STREAM_BASE_URL", server.url)
    if "from getstream" in example:  # the official client's default address is no variable
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import getstream
        official = functools.partial(getstream.Stream, base_url=server.url)
        monkeypatch.setattr(getstream, "Stream", official)
    ids = re.findall(r'"([0-9a-f]{8}-[0-9a-f-]+)"', README)
    server.add_task(ids[0], result={"url": "https://example.com/export"})
    server.add_task(ids[1], error=TaskFailure("ImportFailed", "bad rows"))
    server.fail_items("messaging:general")
    for operation in (
        "export_channels",
        "delete_channels",
        "delete_users",
        "deactivate_users",
        "export_users",
    ):
        server.script_operation(operation, times=9, statuses=[])
    for path, body in ELSEWHERE.items():
        server.inject(Fault.body(json.dumps(body).encode()), times=math.inf, path=path)
    exec(compile(example, "README.rst", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", re.findall(r"^\.\. image:: (\S+)", README, re.MULTILINE))
def test_the_readmes_pictures_are_there(path: str) -> None:
    """Each is a small SVG that fetches nothing, and has words for those who do not see it."""
    picture = Path(__file__).parents[1] / path
    svg = picture.read_text(encoding="utf-8")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg) < 100_000
    assert not re.search(r"@import|@font-face|href=", svg)
    assert re.search(rf"image:: {re.escape(path)}\n +:alt: \w", README)


@pytest.mark.parametrize("command", ["demo", "wait"])
def test_the_readme_shows_the_command_line(command: str) -> None:
    """Two commands can be seen before anything is installed."""
    assert f".. image:: tests/pictures/{command}.svg" in README


def test_there_are_examples_to_run() -> None:
    """The pattern that finds them has not gone blind."""
    assert len(BLOCKS) == README.count("code-block:: python")
    assert len(EXAMPLES) >= 7
