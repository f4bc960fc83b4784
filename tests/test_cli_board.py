"""What people see of a wait: counts, rates, rows, and what holds it up."""

import threading
from datetime import UTC, datetime

import pytest
from rich.console import Console

from stream_tasks import Obstacle, Task
from stream_tasks._view.board import Ended
from stream_tasks._view.text import about
from stream_tasks.cli.endings import Ending
from stream_tasks.cli.ui.progress import Board, Row, explain
from stream_tasks.cli.ui.screen import Lines, row_table


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def task(task_id: str, status: str) -> Task:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Task(task_id, status, moment, moment)


def board(clock: Clock, count: int, timeout: float | None = 60.0) -> Board:
    return Board(map(str, range(count)), timeout, count, clock)


class TestBoard:
    def test_counts(self, clock: Clock) -> None:
        """It counts what is done, what failed, and what could not be polled."""
        wait = board(clock, 10_000)
        assert wait.progress == "0 of 10,000 done, 0 failed, time-out in 1:00"
        for number in range(1234):
            wait.end(Ending(str(number), "completed"))
        wait.end(Ending("2000", "failed"))
        wait.end(Ending("2001", "error"))
        wait.end(Ending("9999", "completed"), is_new=False)
        clock.now += 59.9
        assert wait.progress == "1,237 of 10,000 done, 1 failed, 1 could not be polled, time-out in 0 s"
        clock.now += 10
        assert wait.time_left == "time-out in 0 s"
        assert len(wait.unfinished) == 10_000 - 1236

    @pytest.mark.parametrize(
        ("timeout", "text"), [(None, "5 s so far"), (0, "one poll of each"), (3725, "time-out in 1:02:00")]
    )
    def test_time(self, clock: Clock, timeout: float | None, text: str) -> None:
        """Without a deadline the time that has passed is shown."""
        wait = board(clock, 1, timeout)
        clock.now += 5
        assert wait.time_left == text

    def test_rate(self, clock: Clock) -> None:
        """The rate is that of the last ten seconds."""
        wait = board(clock, 1000)
        for second in range(20):
            wait.tick(None)
            for number in range(5):
                wait.end(Ending(str(second * 5 + number), "completed"))
            clock.now += 1
        assert ", 5 a second, " in wait.progress
        for _ in range(11):
            wait.tick(None)
            clock.now += 1
        wait.tick(None)
        assert "a second" not in wait.progress
        wait.end(Ending("900", "completed"))
        clock.now += 2
        assert ", 5 a minute, " in wait.progress

    def test_time_left(self, clock: Clock) -> None:
        """The rest is estimated by the rate of the last minute, and by nothing older."""
        wait = board(clock, 1000, None)
        for second in range(300):
            wait.tick(None)
            if second < 120:
                wait.end(Ending(str(second), "completed"))
            if second == 1:
                assert wait.seconds_left is None
            clock.now += 1
            if second == 119:
                assert wait.seconds_left == pytest.approx(880)
                assert (
                    wait.progress == "120 of 1,000 done, 0 failed, 1 a second, about 15 min left, 2:00 so far"
                )
            if second == 149:
                assert wait.seconds_left == pytest.approx(880 * 2, rel=0.1)
        assert wait.seconds_left is None
        assert "left" not in wait.progress

    def test_no_time_left(self, clock: Clock) -> None:
        """Nothing is estimated of a total that is not known, and when all are done."""
        unknown, over = Board((), None, None, clock), board(clock, 1)
        for wait in (unknown, over):
            wait.tick(None)
            wait.end(Ended("0", "timed_out", "still running"))
        clock.now += 3
        assert unknown.seconds_left is None
        assert over.seconds_left is None
        assert unknown.progress == "1 done, 0 failed, 1 timed out, 20 a minute, 3 s so far"
        assert over.end_line == "1 of 1 done, 0 failed, 1 timed out, in 3.0 s"
        assert [row.note for row in unknown.rows(5)] == ["still running"]

    def test_threads(self, clock: Clock) -> None:
        """One thread may show what another one counts."""
        wait = Board((), None, None, clock)
        is_over = threading.Event()

        def show() -> None:
            while not is_over.is_set():
                wait.tick(None)
                _ = wait.progress, wait.rows(20), wait.end_line
                clock.now += 1

        shower = threading.Thread(target=show)
        shower.start()
        for number in range(20_000):
            wait.end(Ended(str(number), f"status {number}", ""))
        is_over.set()
        shower.join()
        assert wait.done == 20_000

    def test_few_rows(self, clock: Clock) -> None:
        """Few tasks keep their places."""
        wait = board(clock, 3)
        clock.now += 1
        wait.see(task("1", "running"))
        assert [(row.task_id, row.status, row.at) for row in wait.rows(10)] == [
            ("0", "not seen", None),
            ("1", "running", 1.0),
            ("2", "not seen", None),
        ]
        assert wait.unfinished == {"0": "", "1": "running", "2": ""}

    def test_many_rows(self, clock: Clock) -> None:
        """Of many tasks those that moved last come first, and no others are remembered."""
        wait = board(clock, 1000)
        for number in range(100):
            wait.see(task(str(number), "pending"))
        wait.see(task("7", "pending"))
        wait.see(task("98", "running"))
        wait.end(Ending("42", "failed", error={"type": "a", "description": "b"}))
        rows = wait.rows(4)
        assert [row.task_id for row in rows] == ["42", "98", "99", "97"]
        assert [row.note for row in rows] == ["a: b", "", "", ""]
        assert len(wait.rows(1000)) == 50

    def test_foreign_snapshots(self, clock: Clock) -> None:
        """Final snapshots wait for their outcome, and a server that calls a task otherwise is not heeded."""
        wait = board(clock, 1)
        wait.see(task("0", "completed"))
        wait.see(task("other", "running"))
        assert wait.unfinished == {"0": ""}
        assert [row.status for row in wait.rows(5)] == ["not seen"]

    def test_obstacles_stay(self, clock: Clock) -> None:
        """An obstacle that comes and goes many times a second does not flicker."""
        wait = board(clock, 1)
        obstacle = Obstacle("rate_limited", 0.1)
        wait.tick(obstacle)
        clock.now += 1
        wait.tick(None)
        assert wait.obstacle is obstacle
        clock.now += 1
        wait.tick(None)
        assert wait.obstacle is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1, "5 s"), (41, "45 s"), (55.1, "1 min"), (61, "2 min"), (3599, "1 h 0 min"), (7801, "2 h 11 min"),
        (1e9, "277,777 h 47 min"),
    ],
)  # fmt: skip
def test_rough_times(seconds: float, text: str) -> None:
    """An estimate is rounded up, to what can be known."""
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("obstacle", "text"),
    [
        (Obstacle("rate_limited", 11.2), "waiting for the rate limit, 12 s"),
        (Obstacle("rate_limited", 0.4), "slowed by the rate limit"),
        (Obstacle("unreachable", 3.5), "the server cannot be reached, trying again in 4 s"),
        (Obstacle("unreachable", 0.0), "the server cannot be reached, trying again"),
    ],
    ids=lambda value: value.reason if isinstance(value, Obstacle) else value,
)
def test_explanations(obstacle: Obstacle, text: str) -> None:
    """What holds polls back is told in words that need no manual."""
    assert explain(obstacle) == text


def test_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal there is a line every half minute, and one when something begins to hold the wait up."""
    wait = board(clock, 2, None)
    shown = Lines(wait)
    said = []
    for second in range(100):
        wait.tick(Obstacle("unreachable", 0.0) if 40 <= second < 75 else None)
        with shown:
            shown.tick()
        said += [f"{second}: {line}" for line in capsys.readouterr().err.splitlines()]
        clock.now += 1
    assert said == [
        "30: 0 of 2 done, 0 failed, 30 s so far",
        "40: The server cannot be reached, trying again.",
        "60: 0 of 2 done, 0 failed, 1:00 so far",
        "70: The server cannot be reached, trying again.",
        "90: 0 of 2 done, 0 failed, 1:30 so far",
    ]


def test_a_line_for_each_task() -> None:
    """A note of several lines takes one line of the table."""
    rows = [Row("a", "failed", 1.0, "disk: it broke\n\n  at once\n"), Row("b", "running", 1.0)]
    console = Console(width=60, color_system=None)
    with console.capture() as capture:
        console.print(row_table(rows, 60))
    assert [line.rstrip() for line in capture.get().splitlines()] == [
        "a  failed      1.0 s  disk: it broke    at once",
        "b  running     1.0 s",
    ]
