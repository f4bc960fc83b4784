"""The examples of the README and of the site: where they are, and what stands in them.

Each is a ``code-block``. One with a caption is a file of that name. The commands of a page run in a folder
that holds the page's files. A Python example without a caption is a script of its own, or, if there are tests
in it, a file of tests: the README has no captions, which plain docutils does not know.
"""

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.rst", *sorted(ROOT.joinpath("docs").rglob("*.rst"))]

_BLOCK = re.compile(r"\.\. code-block:: (\w+)\n((?:    ?:\w+:.*\n)*)\n((?:    .*\n|\n)+)")
_CAPTION = re.compile(r":caption: (\S+)")


class Block(NamedTuple):
    """An example."""

    page: str
    line: int
    language: str
    caption: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read(path: Path) -> list[Block]:
    """Return the examples of a page."""
    text = path.read_text(encoding="utf-8")
    page = str(path.relative_to(ROOT))
    found = []
    for match in _BLOCK.finditer(text):
        given = _CAPTION.search(match[2])
        caption = given[1] if given else "test_example.py" if "def test_" in match[3] else ""
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], caption, dedent(match[3]).strip("\n") + "\n"))
    return found


BLOCKS = [block for path in PAGES for block in read(path)]


def files(page: str) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    return {block.caption: block.code for block in BLOCKS if block.page == page and block.caption}
