"""The soak in short, and what it looks at."""

import subprocess
import sys

import pytest
import soak
from soak import Ledger, Sample, growth

from stream_tasks import StreamTaskException

MEBIBYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.slow
def test_nothing_is_lost_and_nothing_grows_among_faults() -> None:
    """Hundreds of waits at a time, where one poll in ten fails, are each answered once."""
    command = [sys.executable, "-W", "error", soak.__file__, "--seconds", "3", "--waits", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "PROBLEM" not in done.stdout


def test_a_wait_is_answered_rightly_once() -> None:
    """The ledger notes wrong answers and second ones, and knows whom it has lost."""
    ledger = Ledger()
    for _ in range(20):
        ledger.begin()
    ledger.end("1", {"url": "1"})
    ledger.end("20", StreamTaskException(task_id="20", description="20"))
    assert not ledger.problems
    assert len(ledger.waiting) == 18
    ledger.end("1", {"url": "1"})
    ledger.end("2", {"url": "3"})
    ledger.end("3", StreamTaskException(task_id="3", description="3"))
    assert len(ledger.problems) == 3
    assert ledger.finished == 4


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({}, None, id="nothing grows"),
        pytest.param({"memory": 60 * MEBIBYTE}, "memory grew from 50.0 to 60.0 MiB", id="memory grows"),
        pytest.param({"descriptors": 300}, "more descriptors than connections", id="descriptors grow"),
        pytest.param({"tasks": 3000}, "more asyncio tasks than waits and polls", id="tasks grow"),
    ],
)
def test_what_grows_is_told(change: dict[str, int], problem: str | None) -> None:
    """Memory, descriptors and tasks are each looked at."""
    idle, busy = Sample(40 * MEBIBYTE, 10, 1), Sample(50 * MEBIBYTE, 110, 2000)
    late = Sample(
        **{name: change.get(name, getattr(busy, name)) for name in ("memory", "descriptors", "tasks")}
    )
    found = list(growth([idle, *[busy] * 5, *[late] * 3, idle], 2000))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_what_is_left_is_told() -> None:
    """Descriptors and tasks go back to what they were."""
    idle, left = Sample(0, 10, 1), Sample(0, 12, 2)
    assert list(growth([idle] * 8, 10)) == []
    assert list(growth([*[idle] * 8, left], 10)) == ["2 descriptors are left", "1 asyncio tasks are left"]
