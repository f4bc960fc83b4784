"""Draws the pictures of the README: what two commands really show on a terminal of eighty columns.

`nox -s pictures` runs it. Each command runs on a pseudo-terminal; what stands there becomes an SVG.
"""

import os
import random
import re
import sys
import tempfile
import time
import uuid
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import commandline  # noqa: E402 - it is beside this folder

from stream_tasks.testing import FakeStream, RateLimitRule, TaskFailure  # noqa: E402

COLUMNS = 80
TASKS = 200
FAILURE = TaskFailure("storage_unavailable", "the bucket for exports refused the file")

# rich's own format fetches a font, which a picture inside a page may not.
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def demo() -> None:
    """Draw what the demo leaves on the screen."""
    terminal = commandline.Terminal("demo", columns=COLUMNS, lines=50, is_forked=False)
    ended = terminal.end()
    if ended.code:
        sys.exit(ended.out)
    draw("demo", "stream-tasks demo", terminal.screen)


def wait() -> None:
    """Draw a wait half way, with failures, and a quota that it has to keep to."""
    dice = random.Random(3)
    ids = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(TASKS)]
    rule = RateLimitRule(1200, per_second=40)
    with FakeStream(rate_limit=rule) as server, tempfile.TemporaryDirectory() as folder:
        for number, task_id in enumerate(ids):
            error = FAILURE if number % 13 == 5 else None
            server.add_task(task_id, after=dice.uniform(1, 25), error=error)
        os.environ |= server.environment
        os.chdir(folder)
        Path("ids.txt").write_text("\n".join(ids))
        terminal = commandline.Terminal(
            "wait", "--from", "ids.txt", columns=COLUMNS, lines=24, is_forked=False
        )
        while not is_telling(terminal.shown):
            if terminal.process.poll() is not None:
                sys.exit(terminal.shown)
            time.sleep(0.05)
        draw("wait", "stream-tasks wait --from ids.txt", terminal.screen)
        terminal.process.kill()
        terminal.end()


def is_telling(shown: str) -> bool:
    """Whether a screen shows what there is to be seen."""
    done = re.search(r"^(\d+) of", shown, re.MULTILINE)
    return done is not None and int(done[1]) > TASKS / 2 and "rate limit" in shown and "storage_" in shown


def draw(name: str, command: str, screen: pyte.Screen) -> None:
    """Write a screen as an SVG."""
    lines = [as_text(screen, number) for number in range(screen.lines)]
    while not lines[-1].plain.strip():
        lines.pop()
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.assemble(("$ ", "bold"), command))
    for line in lines:
        console.print(line, no_wrap=True)
    svg = console.export_svg(title="", code_format=SVG, unique_id=name)
    (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")


def as_text(screen: pyte.Screen, number: int) -> Text:
    """Return a line of a screen in its colours."""
    line = Text()
    chars = [screen.buffer[number][column] for column in range(screen.columns)]
    for (foreground, is_bold), same in groupby(chars, key=lambda char: (char.fg, char.bold)):
        style = Style(color=colour(foreground), bold=is_bold)
        # Words have places of their own: not every viewer keeps spaces, or heeds the length of a text.
        for part in re.findall(r" +|[^ ]+(?: [^ ]+)*", "".join(char.data for char in same)):
            line.append(part, style)
    line.rstrip()
    return line


def colour(name: str) -> str:
    """Return rich's name of a colour of pyte's."""
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return {"brown": "yellow"}.get(name, name)


if __name__ == "__main__":
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(variable, None)
    os.environ["TERM"] = "xterm-256color"
    # As it is installed; the tests make the demo shorter.
    commandline.PROGRAM = "from stream_tasks_script import main; main()"
    demo()
    wait()
