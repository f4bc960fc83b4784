"""The report on many waits: as text, as a page, and as a command."""

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commandline import SECRET, end, on_terminal, plain, run_here, serve, set_environment, start

import stream_tasks
from stream_tasks import AsyncStream, Stream, Task, TaskOutcome
from stream_tasks._report.figures import bins, quantile
from stream_tasks.testing import FakeStream, RateLimitRule, TaskFailure, VirtualClock

fake = pytest.fixture(serve)

SIGNED = "https://bucket.example/export.json?X-Amz-Signature=signed"
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, fake: FakeStream) -> FakeStream:
    """A server that the command line finds in the environment."""
    set_environment(monkeypatch, fake)
    return fake


def line(task_id: str | None = "t", status: str = "completed", **fields: Any) -> dict[str, Any]:
    """One outcome as `to_dict` writes it."""
    error = None if status == "completed" else {"type": "broken", "description": "it broke"}
    return {
        "task_id": task_id, "status": status, "last_status": status, "result": None, "error": error,
        "polls": 1, "elapsed": 1.0, "operation": None, "items": [], **fields,
    }  # fmt: skip


class Page(HTMLParser):
    """Reads a page as a browser would: its elements, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestText:
    """The report as text."""

    def test_figures(self) -> None:
        """It counts, tells the median and the 95th percentile, and names what was slowest."""
        lines = [line(f"task-{n:03}", elapsed=float(n), polls=n) for n in range(1, 101)]
        lines[41] |= line("task-042", "failed", elapsed=42.0, polls=42)
        lines[42] |= line("task-043", "timed_out", elapsed=43.0, polls=43, error={"type": "still_running"})
        lines[43] |= line("task-044", "error", elapsed=44.0, polls=44)
        told = str(stream_tasks.report(lines))
        head, times, polls, held, *rest = told.splitlines()
        assert head == "100 tasks: 97 completed, 1 failed, 1 timed out, 1 could not be polled"
        assert times == "durations: median 50.5 s, 95th percentile 1:35, longest 1:40"
        assert polls == "polls: 5,050 in all; median 50.5 a task, at most 100"
        assert held == "held by the quota: not at all"
        slowest = rest[rest.index("Slowest") + 1 :][:10]
        assert [row.split() for row in slowest] == [
            [f"task-{n:03}", f"1:{n - 60:02}", "completed"] for n in range(100, 90, -1)
        ]
        assert "Failed: broken, 1 task\n  task-042  it broke" in told
        assert "Timed out: still_running, 1 task\n  task-043" in told
        assert "Could not be polled: broken, 1 task\n  task-044  it broke" in told

    def test_failures_by_type(self) -> None:
        """Failures are grouped by type, the most frequent first; ten of each are named."""
        lines = [line(f"a{n}", "failed", error={"type": "rare", "description": ""}) for n in range(2)]
        lines += [line(f"b{n}", "failed", error={"type": "often", "description": "why"}) for n in range(12)]
        told = str(stream_tasks.report(lines))
        assert told.index("Failed: often, 12 tasks") < told.index("Failed: rare, 2 tasks\n  a0\n  a1")
        assert "  b9  why\n  … and 2 more" in told
        assert "b10" not in told.partition("Failed: often")[2]

    def test_failed_items(self) -> None:
        """Items that failed in tasks that completed are named, in either form of a result."""
        lines = [
            line("users", result={"u1": {"status": "ok"}, "u2": {"status": "error", "error": "on hold"}}),
            line("cids", result={"c:1": {"status": "gone"}}, operation="delete_channels"),
            line("batch", result={"failed_channels": [{"reason": "frozen", "cids": ["c:2", "c:3"]}, 7]}),
            line("export", result={"part": {"status": "stored"}}, operation="export_channels"),
            line("other", result={"part": {"status": "stored"}, "url": "u"}),
            line("own", result={"part": {"status": "stored"}}),
        ]
        told = str(stream_tasks.report(lines))
        assert told.partition("Completed, but not for ")[2].splitlines() == [
            "4 items", "  u2  on hold  (task users)", "  c:1  gone  (task cids)",
            "  c:2  frozen  (task batch)", "  c:3  frozen  (task batch)",
        ]  # fmt: skip

    def test_none(self) -> None:
        """No waits are a report, too."""
        found = stream_tasks.report([])
        assert str(found) == "0 tasks: 0 completed"
        assert repr(found) == "<Report: 0 tasks: 0 completed>"
        assert "0 tasks" in found.to_html()

    def test_quota(self) -> None:
        """It tells which waits timed out because of the quota, and for how long it held polls, if known."""
        late = line("a", "timed_out", error={"type": "rate_limited", "description": ""})
        assert "held by the quota: not at all; 1 task timed out because of it" in str(
            stream_tasks.report([late])
        )
        lines = [line("a", held=2.5, elapsed=6), line("b", held=61.0, elapsed=100), line("c", elapsed=21)]
        told = (
            "held by the quota: 2 tasks, for 31.8 s on average and 1:01 at most; that is 50% of all waiting"
        )
        assert told in str(stream_tasks.report(lines))
        assert "that is 0% of all waiting" in str(stream_tasks.report([line("a", held=1, elapsed=0)]))

    def test_ends_count(self) -> None:
        """Of a task that comes more than once, its end counts; work that was done at once has no id."""
        lines = [line("a", "timed_out"), line("a"), line("a", "timed_out"), line(None), line(None)]
        lines += [line("b", "error"), line("b", "timed_out")]
        told = str(stream_tasks.report(lines))
        assert told.startswith("4 tasks: 3 completed, 1 timed out\n")
        assert "(done at once)" in told

    @pytest.mark.parametrize(
        ("outcomes", "kind", "told"),
        [
            (7, TypeError, "outcomes must be a list or another iterable, not int"),
            ("ids", TypeError, "outcomes must be a list or another iterable, not str"),
            (["id"], TypeError, "must hold TaskOutcome, or what its to_dict returns, not str"),
            ([{}], ValueError, "'task_id' must be a text or null"),
            ([line(7)], ValueError, "'task_id' must be a text or null"),  # type: ignore[arg-type]
            (
                [line(status="done")],
                ValueError,
                "'status' must be one of completed, failed, timed_out, error",
            ),
            ([line(error="broken")], ValueError, "'error' must be an object"),
            ([line(polls=-1)], ValueError, "'polls' must be a number, 0 or more"),
            ([line(polls=True)], ValueError, "'polls' must be a number, 0 or more"),
            ([line(elapsed=float("nan"))], ValueError, "'elapsed' must be a number, 0 or more"),
            ([line(elapsed="1")], ValueError, "'elapsed' must be a number, 0 or more"),
        ],
    )
    def test_wrong_arguments(self, outcomes: Any, kind: type[Exception], told: str) -> None:
        """What is not an outcome is refused, with a word on what it is."""
        with pytest.raises(kind, match=told):
            stream_tasks.report(outcomes)


class TestOfWaits:
    """The report on what a client returns."""

    async def test_outcomes(self, server: FakeStream, client: AsyncStream) -> None:
        """What `wait_for_tasks` returns is taken as it is, and so are single outcomes."""
        server.add_task("good", result={"url": SIGNED})
        server.add_task("bad", error=TaskFailure("disk_full", "no room"))
        server.add_task("late", never=True)
        outcomes = await client.wait_for_tasks(["good", "bad", "late"], 0.05, 2.0)
        found = stream_tasks.report(outcomes)
        assert str(found) == str(stream_tasks.report(outcomes.values()))
        assert str(found).startswith("3 tasks: 1 completed, 1 failed, 1 timed out\n")
        assert "Failed: disk_full, 1 task\n  bad  no room" in str(found)
        assert "when it was made" in found.to_html()
        for text in (str(found), found.to_html(), found._repr_html_()):
            assert "igned" not in text
            assert "bucket" not in text

    async def test_held(self, server: FakeStream, client: AsyncStream) -> None:
        """It tells for how long the quota held back polls, also of waits that timed out."""
        server.rate_limit = RateLimitRule(60)
        ids = [server.add_task(name, statuses=["running"]) for name in "abcd"]
        with VirtualClock():
            outcomes = await client.wait_for_tasks(ids, 0.1, 30)
        assert all(outcome.ok for outcome in outcomes.values())
        assert max(outcome.held for outcome in outcomes.values()) > 0.2
        assert all(outcome.held <= outcome.elapsed for outcome in outcomes.values())
        held = [outcome for outcome in outcomes.values() if outcome.held]
        lines = [outcome.to_dict() for outcome in held]
        assert all(one["held"] == round(outcome.held, 3) for one, outcome in zip(lines, held, strict=True))
        assert f"held by the quota: {len(held)} task" in str(stream_tasks.report(outcomes))
        server.spend(60)
        server.add_task("late", never=True)
        with VirtualClock():
            late = (await client.wait_for_tasks(["late"], 0.1, 1.5))["late"]
        assert late.status == "timed_out"
        assert late.held > 0.2

    def test_items(self, threaded_server: FakeStream, blocking: Stream) -> None:
        """Failed items of an operation are found in its outcome."""
        threaded_server.fail_items("u2", error="on hold")
        started = blocking.delete_users(["u1", "u2"])
        outcomes = blocking.wait_for_tasks([started])
        assert "  u2  on hold  (task " in str(stream_tasks.report(outcomes))

    def test_times_of_the_server(self) -> None:
        """Tasks are drawn when they were there; what has not ended goes on to the last end."""
        start = datetime(2026, 1, 1, tzinfo=UTC)

        def outcome(name: str, status: str, begun: int, ended: int) -> TaskOutcome[Any]:
            task = Task(name, status, start + timedelta(seconds=begun), start + timedelta(seconds=ended))
            error = None if status == "completed" else ValueError("x")
            return TaskOutcome(name, task, 1, 1.0, {}, error)

        outcomes = [outcome("b", "running", 50, 60), outcome("a", "completed", 0, 100)]
        bars = re.findall(
            r'x="(\d+)" y="[\d.]+" width="(\d+)"',
            stream_tasks.report(outcomes).to_html().partition("Histogram")[0],
        )
        assert bars == [("0", "1000"), ("500", "500")]
        # Without the times of all, every wait begins at 0.
        html = stream_tasks.report(
            [*outcomes, TaskOutcome("c", None, 0, 1.0, None, ValueError("x"))]
        ).to_html()
        assert "from its start" in html
        epoch = Task("i", "done", datetime.fromtimestamp(0, UTC), start)
        assert "from its start" in stream_tasks.report([TaskOutcome("i", epoch, 1, 1.0, {})]).to_html()


class TestPage:
    """The report as HTML."""

    def test_hostile_texts(self) -> None:
        """Whatever tasks are called, and say, is text: no element and no attribute of theirs gets in."""
        harmless = [line("t", "failed"), line("u", result={"i": {"status": "x", "error": "e"}})]
        hostile = [
            line(EVIL, "failed", error={"type": EVIL, "description": EVIL}, operation=EVIL),
            line("u" + EVIL, result={EVIL: {"status": EVIL, "error": EVIL}}),
        ]
        good, bad = (Page(stream_tasks.report(lines).to_html()) for lines in (harmless, hostile))
        assert bad.elements == good.elements
        assert bad.attributes.keys() == good.attributes.keys()
        assert "script" not in bad.elements
        assert EVIL in bad.texts
        html = stream_tasks.report([line("a\x1b[31m\x00\ud800", "failed")]).to_html()
        assert "a\\u001b[31m\\u0000\\ud800" in html
        html.encode()

    @pytest.mark.parametrize("count", [1, 39, 500, 3000])
    def test_all_tasks_are_drawn(self, count: int) -> None:
        """Each task is in the timeline, in the table and, if it failed, among the failures."""
        lines = [line(f"id-{n}", "failed" if n % 3 else "completed", elapsed=n / 7) for n in range(count)]
        html = stream_tasks.report(lines).to_html()
        drawn = html.partition("<h2>Timeline")[2].partition("<h2>Durations")[0]
        assert drawn.count("<rect ") + drawn.count("M") == count
        assert f"Histogram of {count:,} durations" in html
        table = html.partition("<h2>All tasks")[2]
        assert all(f"<td>id-{n}<td" in table for n in range(count))

    def test_nothing_from_elsewhere(self) -> None:
        """A page asks for nothing, and its rule for browsers says so."""
        page = Page(stream_tasks.report([line("t")]).to_html())
        assert not {"script", "img", "link", "iframe", "object"} & set(page.elements)
        assert not {"src", "href", "onclick", "onload"} & page.attributes.keys()
        assert "default-src 'none'; style-src 'unsafe-inline'" in page.attributes["content"]
        assert "url(" not in "".join(page.texts)
        assert "@import" not in "".join(page.texts)
        assert "prefers-color-scheme: dark" in "".join(page.texts)

    @pytest.mark.slow
    def test_size(self) -> None:
        """Ten thousand tasks take less than 2 MB, whatever they are called, and however many items failed."""
        error = {"type": "t", "description": "d" * 5000}
        items = {f"item {n}" * 9: {"status": "error", "error": "e" * 400} for n in range(20)}
        lines = [line(f"{n:0250}", "failed", error=error) for n in range(5000)]
        lines += [line(f"{n:0251}", result=items) for n in range(5000)]
        html = stream_tasks.report(lines).to_html()
        assert len(html.encode()) < 2_000_000
        assert len(re.findall(r"… and [\d,]+ more", html)) == 3

    def test_signed_links(self) -> None:
        """A link that an error quotes loses what may be a signature."""
        html = stream_tasks.report(
            [line("t", "failed", error={"type": "x", "description": f"cannot read {SIGNED}"})]
        ).to_html()
        assert "cannot read https://bucket.example/export.json?…" in html
        assert "igned" not in html

    def test_no_time_at_all(self) -> None:
        """Waits that took no time can be drawn."""
        html = stream_tasks.report([line("a", elapsed=0), line(None, elapsed=0, polls=0)]).to_html()
        assert html.count("<rect ") == 3

    def test_in_a_notebook(self) -> None:
        """A notebook gets a part of a page, with styles for itself alone."""
        html = stream_tasks.report([line("t")])._repr_html_()
        assert html.startswith("<style>\n.stream-report ")
        assert "<body" not in html
        rules = html.partition("</style>")[0].replace("@media (prefers-color-scheme: dark) {", "")
        assert re.findall(r"(?m)^([^\s.}][^\n{]*)\{", rules.removeprefix("<style>\n")) == []


class TestCommand:
    """``stream-tasks report``."""

    @pytest.fixture
    def lines(self, tmp_path: Path) -> Path:
        path = tmp_path / "wait.jsonl"
        path.write_text("".join(json.dumps(line(f"id-{n}", elapsed=n)) + "\n" for n in range(3)))
        return path

    def test_of_a_wait(self, shop: FakeStream, tmp_path: Path) -> None:
        """It reads what a wait prints, and the journal of a wait."""
        shop.add_task("good", result={"url": SIGNED})
        shop.add_task("bad", error=TaskFailure("disk_full", "no room"))
        journal, page = tmp_path / "journal.jsonl", tmp_path / "page.html"
        waited = end(start("wait", "good", "bad", "--journal", str(journal)))
        assert waited.code == 1
        of_stdin = end(start("report", "-", stdin=subprocess.PIPE), waited.out)
        of_journal = end(start("report", str(journal), "--html", str(page)))
        assert of_stdin == of_journal
        assert of_stdin.code == 0
        assert of_stdin.out.startswith("2 tasks: 1 completed, 1 failed\n")
        assert "Failed: disk_full, 1 task\n  bad  no room" in of_stdin.out
        html = page.read_text()
        assert html.startswith("<!DOCTYPE html>")
        assert "igned" not in html
        assert SECRET not in html

    def test_on_a_terminal(self, lines: Path) -> None:
        """A terminal gets the same lines, with the headings in bold."""
        ended = on_terminal("report", str(lines))
        assert "\x1b[1m" in ended.out
        assert plain(ended.out) == end(start("report", str(lines))).out

    def test_several_files(self, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Several files make one report; blank lines are fine, and one cut off at the end is left out."""
        more = lines.with_name("more.jsonl")
        more.write_text("\n" + json.dumps(line("id-3")) + '\n{"task_id": "id-4", "sta')
        ended = run_here(capsys, "report", str(lines), str(more))
        assert ended.code == 0
        assert ended.out.startswith("4 tasks: 4 completed\n")
        assert ended.err == f"Warning: {more}, line 3 is cut off, and left out.\n"

    def test_page_on_stdout(self, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """``--html -`` prints the page, and nothing else."""
        assert run_here(capsys, "report", str(lines), "--html", "-").out.startswith("<!DOCTYPE html>")
        assert run_here(capsys, "report", str(lines), "--html", "/dev/null").code == 0

    def test_page_again(self, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A page takes the place of an earlier one, also behind a link, and leaves nothing beside it."""
        real, link = tmp_path / "real.html", tmp_path / "link.html"
        real.write_text("old")
        link.symlink_to(real)
        assert run_here(capsys, "report", str(lines), "--html", str(link)).code == 0
        assert real.read_text().startswith("<!DOCTYPE html>")
        assert link.is_symlink()
        assert len(list(tmp_path.iterdir())) == 3

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("{}\n", "line 1 is not an outcome of a wait: 'task_id' must be a text or null"),
            ("nonsense\n", "line 1 is not an outcome of a wait: it is not a JSON object in UTF-8"),
            ("[1]\n", "line 1 is not an outcome of a wait: it is not a JSON object in UTF-8"),
            ("\udcff\n", "line 1 is not an outcome of a wait: it is not a JSON object in UTF-8"),
            ("[" * 100_000 + "\n", "line 1 is not an outcome of a wait: it is not a JSON object in UTF-8"),
        ],
    )
    def test_other_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
    ) -> None:
        """A file of something else is an error that names the line."""
        path = tmp_path / "other"
        path.write_text(text, errors="surrogateescape")
        ended = run_here(capsys, "report", str(path))
        assert (ended.code, ended.out) == (2, "")
        assert told in " ".join(ended.err.split())

    def test_files_that_cannot_be_used(
        self, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A file that is missing, a folder, and a page in place of what is read are usage errors."""
        for args, told in (
            (["no-such"], "no-such cannot be read: No such file or directory"),
            ([str(lines), "--html", str(tmp_path / "no" / "page")], "cannot be written: No such file"),
            ([str(lines), "--html", str(tmp_path)], "cannot be written: Is a directory"),
            ([str(lines), "--html", str(lines)], "--html would overwrite the file that is to be read"),
            ([], "Missing argument 'FILE...'"),
        ):
            ended = run_here(capsys, "report", *args)
            assert (ended.code, ended.out) == (2, "")
            assert told in " ".join(ended.err.split())
        assert len(lines.read_text().splitlines()) == 3
        assert "stdin is closed" in end(start("report", "-", closed=(0,))).err

    def test_full_disk(
        self, lines: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page that cannot be written leaves the earlier one, and no part of itself."""
        page = lines.with_name("page.html")
        page.write_text("old")

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", refuse)
        ended = run_here(capsys, "report", str(lines), "--html", str(page))
        assert ended.code == 2
        assert page.read_text() == "old"
        assert len(list(lines.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0), ([], 0.95, 0), ([3], 0.95, 3), ([1, 2], 0.5, 1.5), (list(range(101)), 0.95, 95)],
)
def test_quantiles(values: list[float], share: float, expected: float) -> None:
    """They lie between two values in proportion, as numpy's do."""
    assert quantile(values, share) == expected


@pytest.mark.parametrize("longest", [0.0, 0.004, 0.1, 1.0, 7.3, 59.99, 60.0, 86_400.0])
def test_columns(longest: float) -> None:
    """A histogram has at most some thirty columns, of a round width, and room for the longest."""
    width, count = bins([longest], 4)
    assert f"{width:.0e}"[0] in "125"
    assert longest // width < count
    assert count <= 28
    assert count % 4 == 0
