"""``stream-tasks serve`` lets a shell try a bad day."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commandline import end, run_here, start

from stream_tasks import Stream, StreamApiException, StreamException, StreamTaskException


@contextmanager
def serving(*options: str) -> Iterator[Stream]:
    """Run the command, and give a client of its server."""
    process = start("serve", "--port", "0", *options)
    assert process.stdout is not None
    variables: dict[str, str] = {}
    while len(variables) < 3:
        _, found, line = process.stdout.readline().partition("  export STREAM_")
        if found:
            name, _, value = line.strip().partition("=")
            variables[name] = value
    with Stream(
        variables["API_KEY"], variables["API_SECRET"], base_url=variables["BASE_URL"], pacing=False
    ) as client:
        yield client
    process.send_signal(signal.SIGINT)
    assert end(process).code == 0


def statuses(client: Stream, polls: int, path: str = "/tasks/nobody") -> list[int]:
    """Return the HTTP statuses of some requests."""
    found = []
    for _ in range(polls):
        try:
            found.append(client.request("GET", path).status_code)
        except StreamApiException as error:
            found.append(error.status_code)
    return found


def test_tasks_take_their_time() -> None:
    """With --after a task has not ended before, however often it is polled."""
    with serving("--after", "3600") as client:
        started = client.export_users(["jane"])
        seen = [client.get_task(str(started.task_id)).data.status for _ in range(4)]
    assert seen == ["pending"] * 4


def test_a_share_of_tasks_fails() -> None:
    """With --fail 0.5 every other task of each operation fails, and the others have their results."""
    ended = []
    with serving("--fail", "0.5", "--after", "0") as client:
        for _ in range(2):
            for start_one in (client.export_users, client.delete_users):
                try:
                    ended.append(type(client.wait_for_task(start_one(["jane"]), 0.05)).__name__)
                except StreamTaskException as error:
                    ended.append(error.error_type)
    assert ended == ["ExportUsersResult", "DeleteUsersResult", "fake_failure", "fake_failure"]


def test_all_tasks_fail() -> None:
    """A --fail without a number is for all tasks."""
    with serving("--fail", "--after", "0") as client:
        started = client.export_users(["jane"])
        with pytest.raises(StreamTaskException, match="the option --fail made this task fail"):
            client.wait_for_task(started, 0.05)


def test_polls_have_a_quota() -> None:
    """With --quota as many polls are allowed in a minute, and a thirtieth of them in a second."""
    with serving("--quota", "60") as client:
        assert 429 in statuses(client, 6)
        limit = client.request("GET", "/rate_limits").data["server_side"]["GetTask"]["limit"]
    assert limit == 60


def test_polls_meet_faults() -> None:
    """One poll in ten meets a --fault, or another share; nothing else does."""
    with serving("--fault", "503", "--fault", "418:1") as client:
        assert statuses(client, 10) == [418] * 9 + [503]
        assert client.export_users(["jane"]).task_id
        assert statuses(client, 2, "/rate_limits") == [200, 200]


@pytest.mark.parametrize("fault", ["html:1", "malformed:1", "cut:1", "reset:1", "delay=0.01:1"])
def test_faults_have_names(fault: str) -> None:
    """Each kind of fault has a name."""
    with serving("--fault", fault) as client:
        started = client.export_users(["jane"])
        if fault.startswith("delay"):
            assert client.get_task(str(started.task_id)).data.status == "pending"
        else:
            with pytest.raises(StreamException):
                client.get_task(str(started.task_id))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--after", "-1"], "'-1' is not a finite number of seconds, 0 or more"),
        (["--fail", "2"], "'2' is not a share greater than 0, and 1 or less, such as 0.2"),
        (["--fail", "nan"], "'nan' is not a share"),
        (["--fail", "some"], "'some' is not a share"),
        (["--quota", "0"], "0 is not in the range x>=1"),
        (["--fault", "bad"], "'bad' is not an HTTP status, cut, hang, html, malformed, reset or delay="),
        (["--fault", "99"], "'99' is not an HTTP status"),
        (["--fault", "delay"], "'delay' is not an HTTP status"),
        (["--fault", "503:2"], "'2' is not a share"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_bad_days_must_make_sense(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """A wrong option is a usage error, and the server does not start."""
    ended = run_here(capsys, "serve", *options)
    assert (ended.code, ended.out) == (2, "")
    assert message in " ".join(ended.err.replace("\u2502", " ").split())
