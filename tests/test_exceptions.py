"""Exceptions carry data, build their own message, and survive pickling and copying."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream_tasks import exceptions
from stream_tasks.exceptions import (
    StreamApiException,
    StreamBatchException,
    StreamDecodeException,
    StreamDownloadException,
    StreamException,
    StreamRateLimitException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import RateLimit, Task, TaskError

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
QUOTA = RateLimit(60, 0, NOON)
RUNNING = Task("t-1", "running", NOON, NOON)
FAILED = Task("t-1", "failed", NOON, NOON, error=TaskError("boom", "it broke", "line 1", "v1"))

EXAMPLES: list[StreamException] = [
    StreamException("something"),
    StreamApiException(
        status_code=400,
        code=4,
        message="bad input",
        exception_fields={"id": "too long"},
        unrecoverable=True,
        more_info="https://docs.example",
        details=[1, 2],
        raw_response_body="{}",
        rate_limit=QUOTA,
        _hold=timedelta(seconds=3),
    ),
    StreamRateLimitException(retry_after=timedelta(seconds=7), code=9, message="slow down", rate_limit=QUOTA),
    StreamTransportException("dns_failure", "no such host"),
    StreamWaitTimeoutException(
        task_id="t-1", timeout=60.0, elapsed=60.01, polls=57, task=RUNNING, reason="rate_limited"
    ),
    StreamDecodeException("expected str, not int", path="$.status", body="{"),
    StreamTaskException.from_task("t-1", FAILED),
    StreamBatchException(
        operation="delete_users",
        batch=["jane"],
        position=100,
        may_have_started=True,
        task_ids=["t-1"],
        reason="HTTP 503",
    ),
    StreamDownloadException("files.example answered HTTP 403", task_id="t-1", status_code=403),
]

COPIES: list[Any] = [
    pytest.param(lambda value: pickle.loads(pickle.dumps(value)), id="a pickled copy"),
    pytest.param(copy.copy, id="a copy"),
    pytest.param(copy.deepcopy, id="a deep copy"),
]


def name_of(value: Any) -> str:
    return type(value).__name__


def public_classes() -> dict[str, type[Any]]:
    return {
        name: value
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and value.__module__ == exceptions.__name__
    }


def tree_as_drawn() -> dict[str, str | None]:
    """Read each class and its parent off the module's docstring."""
    branch = re.compile(r"( *[│ ]*)(?:[├└]── )?(Stream\w+)")
    above: list[tuple[int, str]] = []
    found: dict[str, str | None] = {}
    for line in (exceptions.__doc__ or "").splitlines():
        match = branch.match(line)
        if match is None:
            continue
        depth = match.start(2)
        above = [(d, name) for d, name in above if d < depth]
        found[match[2]] = above[-1][1] if above else None
        above.append((depth, match[2]))
    return found


def documented(kind: type) -> set[str]:
    """Name what the `Attributes:` sections of a class and its bases list."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base.__module__ == exceptions.__name__:
            _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
            names |= set(re.findall(r"^ {4}(\w+):", section, re.MULTILINE))
    return names


def test_every_class_is_public_and_has_an_example() -> None:
    """`__all__` lists each constant and class, sorted, and each class takes part in the tests below."""
    constants = {name for name in vars(exceptions) if name.startswith("TRANSPORT_ERROR_")}
    assert set(exceptions.__all__) == set(public_classes()) | constants
    assert exceptions.__all__ == sorted(exceptions.__all__, key=lambda name: (not name.isupper(), name))
    assert {type(example) for example in EXAMPLES} == set(public_classes().values())


def test_the_tree_is_as_drawn() -> None:
    """The drawing in the module's docstring names every class under its real parent."""
    assert tree_as_drawn() == {
        name: None if kind is StreamException else kind.__bases__[0].__name__
        for name, kind in public_classes().items()
    }


def test_the_tree_is_as_promised() -> None:
    """Callers may catch by these parents."""
    assert StreamException.__bases__ == (Exception,)
    assert issubclass(StreamRateLimitException, StreamApiException)
    assert issubclass(StreamWaitTimeoutException, StreamTransportException)
    assert issubclass(StreamWaitTimeoutException, TimeoutError)
    for kind in (
        StreamApiException,
        StreamTransportException,
        StreamDecodeException,
        StreamTaskException,
    ):
        assert kind.__bases__ == (StreamException,)


@pytest.mark.parametrize("kind", public_classes().values(), ids=public_classes())
def test_every_class_says_when_it_is_raised(kind: type[StreamException]) -> None:
    """A docstring's first line starts with "Raised when" and is whole."""
    first = (kind.__doc__ or "").splitlines()[0]
    assert first.startswith("Raised when ")
    assert first.endswith(".")


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_every_attribute_is_documented(error: StreamException) -> None:
    """The attributes of an error are those that its docstring lists."""
    assert {name for name in vars(error) if not name.startswith("_")} == documented(type(error))


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_errors_survive_copying(error: StreamException, duplicate: Callable[[Any], Any]) -> None:
    """A copy has the same type, message and attributes."""
    again = duplicate(error)
    assert again is not error
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)
    assert again.__cause__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_errors_survive_every_pickle_protocol(error: StreamException, protocol: int) -> None:
    """Old protocols do as well as new ones."""
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), vars(again)) == (type(error), vars(error))


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_a_copy_keeps_a_cause_of_our_own(error: StreamException, duplicate: Callable[[Any], Any]) -> None:
    """The last failure of a wait reaches the process that unpickles it."""
    parent = copy.copy(error)
    parent.__cause__ = StreamRateLimitException(retry_after=timedelta(seconds=1))
    again = duplicate(parent)
    assert isinstance(again.__cause__, StreamRateLimitException)
    assert again.__cause__.retry_after == timedelta(seconds=1)


def test_a_copy_leaves_a_foreign_cause_behind() -> None:
    """A lower library's error may not pickle, and does not keep ours from pickling."""

    class Unpicklable(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            raise TypeError("not me")

    error = StreamTransportException("unknown")
    error.__cause__ = Unpicklable()
    assert pickle.loads(pickle.dumps(error)).__cause__ is None


def test_a_copy_keeps_notes() -> None:
    """What a caller noted on an error travels with it."""
    error = StreamTransportException("unknown")
    error.add_note("while exporting")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while exporting"]


def test_a_copy_keeps_a_subclass() -> None:
    """A caller's own subclass comes back as itself."""
    error = Refined("timeout")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is Refined
    assert again.error_type == "timeout"


class Refined(StreamTransportException):
    """Raised when a test wants a subclass."""


def test_a_copy_hides_no_context() -> None:
    """A copy raised while another error is handled shows that one, as the original would."""
    assert copy.copy(StreamException("x")).__suppress_context__ is False


def test_a_wait_time_out_is_a_time_out_error() -> None:
    """Code that catches TimeoutError catches it, and it is no operating system error with a number."""
    with pytest.raises(TimeoutError) as caught:
        raise EXAMPLES[4]
    assert caught.value.errno is None
    assert isinstance(caught.value, StreamTransportException)
    assert caught.value.error_type == exceptions.TRANSPORT_ERROR_TIMEOUT


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(StreamApiException(status_code=502), "HTTP 502", id="a bare status"),
        pytest.param(
            StreamApiException(status_code=500, code=-1), "HTTP 500, code -1", id="a code without message"
        ),
        pytest.param(
            StreamApiException(status_code=502, message="bad gateway"), "HTTP 502: bad gateway", id="no code"
        ),
        pytest.param(EXAMPLES[1], "HTTP 400, code 4: bad input (id: too long)", id="a whole envelope"),
        pytest.param(
            StreamApiException(status_code=400, exception_fields={"a": "x", "b": "y"}),
            "HTTP 400 (a: x; b: y)",
            id="fields without message",
        ),
        pytest.param(EXAMPLES[2], "HTTP 429, code 9: slow down", id="a spent quota"),
        pytest.param(
            StreamTransportException("timeout"), "no answer from Stream: timeout", id="no message given"
        ),
        pytest.param(EXAMPLES[3], "no such host", id="a message given"),
        pytest.param(
            EXAMPLES[4],
            "task t-1 did not finish within 60 s (rate limited; last status 'running'; polls: 57); "
            "it may still be running on the server",
            id="a wait that ran out of quota",
        ),
        pytest.param(
            StreamWaitTimeoutException(
                task_id="t-1", timeout=0.25, elapsed=0.3, polls=1, reason="unreachable"
            ),
            "task t-1 did not finish within 0.25 s (unreachable; never seen; polls: 1); "
            "it may still be running on the server",
            id="a wait that saw nothing",
        ),
        pytest.param(EXAMPLES[5], "expected str, not int at $.status", id="a body that does not fit"),
        pytest.param(
            StreamDecodeException("the body is not JSON"), "the body is not JSON", id="a body without path"
        ),
        pytest.param(EXAMPLES[6], "task t-1 failed (boom): it broke", id="a failed task"),
        pytest.param(
            StreamTaskException(task_id="t-1"), "task t-1 failed (unknown)", id="a task that failed silently"
        ),
        pytest.param(
            EXAMPLES[7],
            "delete_users: the batch of 1 from item 101 on may or may not have been started: HTTP 503",
            id="a batch that may have been started",
        ),
        pytest.param(
            StreamBatchException(operation="delete_users", batch=["amy", "bob"]),
            "delete_users: the batch of 2 from item 1 on was not started",
            id="a batch that was not started",
        ),
    ],
)
def test_errors_build_their_message(error: StreamException, message: str) -> None:
    """A message is one line that says what happened, to which task, and how."""
    assert str(error) == message
    assert error.args == (message,)


def test_defaults_are_empty_values() -> None:
    """What the server did not say is empty, of the documented type, and never missing."""
    error = StreamApiException(status_code=500)
    assert (error.code, error.message, error.exception_fields, error.unrecoverable) == (0, "", {}, False)
    assert (error.more_info, error.details, error.raw_response_body, error.rate_limit) == ("", [], "", None)
    limited = StreamRateLimitException()
    assert (limited.status_code, limited.retry_after) == (429, None)
    timeout = StreamWaitTimeoutException(task_id="t", timeout=1, elapsed=1, polls=1)
    assert (timeout.task, timeout.reason) == (None, "still_running")


def test_an_error_says_how_long_the_server_asked_to_wait() -> None:
    """Any status may come with a wait, in seconds; without one it is None."""
    assert StreamApiException(status_code=503, _hold=timedelta(seconds=1.5)).hold == 1.5
    assert StreamApiException(status_code=503).hold is None
    assert StreamRateLimitException(retry_after=timedelta(0)).hold == 0
    assert StreamRateLimitException().hold is None


def test_an_error_keeps_its_own_copies() -> None:
    """What the caller does to the arguments later does not change the error."""
    fields, details = {"id": "too long"}, [1]
    error = StreamApiException(status_code=400, exception_fields=fields, details=details)
    fields.clear()
    details.clear()
    assert error.exception_fields == {"id": "too long"}
    assert error.details == [1]


def test_a_failed_task_tells_what_the_server_said() -> None:
    """The error of the snapshot becomes the error's attributes, under the id that the caller knows."""
    error = StreamTaskException.from_task("my-id", FAILED)
    assert error.task_id == "my-id"
    assert (error.error_type, error.description) == ("boom", "it broke")
    assert (error.stack_trace, error.version) == ("line 1", "v1")
    assert error.task is FAILED


def test_a_failed_task_without_error_is_unknown() -> None:
    """A task that failed without a word has the type unknown and no description."""
    task = Task("t-1", "failed", NOON, NOON)
    error = StreamTaskException.from_task("t-1", task)
    assert (error.error_type, error.description) == ("unknown", "")
    assert (error.stack_trace, error.version, error.task) == (None, None, task)


def test_the_transport_errors_have_their_names() -> None:
    """The words that users compare `error_type` with are these."""
    constants = {value for name, value in vars(exceptions).items() if name.startswith("TRANSPORT_ERROR_")}
    assert constants == {"connection_reset", "timeout", "dns_failure", "tls_handshake_failed", "unknown"}
    for name in exceptions.__all__:
        if name.startswith("TRANSPORT_ERROR_"):
            assert getattr(exceptions, name) == name.removeprefix("TRANSPORT_ERROR_").lower()
