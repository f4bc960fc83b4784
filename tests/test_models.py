"""Models are frozen values; a task's result is a dict that remembers its task."""

import copy
import enum
import json
import pickle
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_tasks import models
from stream_tasks.exceptions import (
    StreamApiException,
    StreamDecodeException,
    StreamRateLimitException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import (
    ChannelBatchFailure,
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    ImportResult,
    ImportStep,
    ImportV2Result,
    ItemResult,
    Obstacle,
    RateLimit,
    Snapshot,
    StartedTask,
    Stats,
    StreamResponse,
    Task,
    TaskError,
    TaskOutcome,
    TaskResult,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ERROR = TaskError("boom", "it broke", "line 1", "v1")
TASK = Task("t-1", "completed", NOON, NOON, result={"url": "https://payload.example"})
FAILED = Task("t-2", "failed", NOON, NOON, error=ERROR)
GONE = ItemResult("error", "no such user")

EXAMPLES: list[Any] = [
    ERROR,
    TASK,
    FAILED,
    Obstacle("rate_limited", 1.5),
    RateLimit(60, 59, NOON),
    Stats(waiting=3, in_flight=1, quota=RateLimit(60, 59, NOON), polls=8),
    StreamResponse(TASK, 200, {"X": "1"}),
    StartedTask("t-1", {"task_id": "t-1"}, TaskResult),
    TaskOutcome("t-1", TASK, 3, 2.5, value=TaskResult({"a": 1}, TASK)),
    Snapshot("i-1", "analyzing", NOON, NOON, {"id": "i-1"}),
    ImportStep(NOON, "uploaded", "analyzing"),
    ImportResult("i-1", "completed", [ImportStep(NOON)]),
    ImportV2Result("i-2", 3, "chat"),
    GONE,
    DeleteChannelsResult({"messaging:a": GONE}),
    DeleteUsersResult({"amy": GONE}),
    DeleteCallResult({"default:a": GONE}),
    ExportChannelsResult("https://x.example", "a/b", "bucket", {"more": 1}),
    ExportUsersResult("https://x.example", {"more": 1}),
    DeactivateUsersResult([{"id": "amy"}], {"more": 1}),
    ChannelBatchFailure("no access", ["messaging:a"]),
    ChannelBatchResult("addMembers", "completed", 1, [ChannelBatchFailure("no access", ["messaging:a"])]),
]


class Kind(str, enum.Enum):  # noqa: UP042 - the kind that shows its name
    """A text that shows itself otherwise."""

    WORD = "word"


COPIES: list[Any] = [
    pytest.param(lambda value: pickle.loads(pickle.dumps(value)), id="a pickled copy"),
    pytest.param(copy.copy, id="a copy"),
    pytest.param(copy.deepcopy, id="a deep copy"),
]


def name_of(value: Any) -> str:
    return type(value).__name__


@pytest.mark.parametrize(
    ("status", "completed", "failed"),
    [
        pytest.param("pending", False, False, id="pending is not final"),
        pytest.param("waiting", False, False, id="waiting is not final"),
        pytest.param("running", False, False, id="running is not final"),
        pytest.param("completed", True, False, id="completed is final"),
        pytest.param("failed", False, True, id="failed is final"),
        pytest.param("Completed", False, False, id="a status is compared as it is written"),
        pytest.param("cancelled", False, False, id="an unknown status is not final"),
        pytest.param("", False, False, id="no status is not final"),
    ],
)
def test_only_completed_and_failed_are_final(status: str, completed: bool, failed: bool) -> None:
    """A task's flags follow its status, and an unknown status is not the end."""
    task = Task("t", status, NOON, NOON)
    assert (task.is_completed, task.is_failed, task.is_final) == (completed, failed, completed or failed)


@given(st.text())
def test_a_final_task_either_completed_or_failed(status: str) -> None:
    """Whatever the status, a final task is one of the two and no other task is."""
    task = Task("t", status, NOON, NOON)
    assert task.is_final == (task.is_completed != task.is_failed)


def test_a_task_needs_neither_result_nor_error() -> None:
    """A task that is under way has no result and no error."""
    task = Task("t", "running", NOON, NOON)
    assert task.result is None
    assert task.error is None


def test_a_task_result_is_a_dict() -> None:
    """Code that expects the plain payload gets it."""
    result = TaskResult({"a": 1, "b": [2]}, TASK)
    assert isinstance(result, dict)
    assert result == {"a": 1, "b": [2]}
    assert result["a"] == 1
    assert result.get("c") is None
    assert list(result) == ["a", "b"]
    assert {**result} == result | {}
    with pytest.raises(KeyError):
        result["c"]


def test_a_task_result_can_be_changed_without_changing_the_snapshot() -> None:
    """The payload is the caller's own; the task keeps what the server said."""
    assert TASK.result is not None
    result = TaskResult(TASK.result, TASK)
    result["mine"] = True
    assert "mine" not in TASK.result


@pytest.mark.parametrize(
    "payload",
    [pytest.param(None, id="the server sent none"), pytest.param({}, id="the server sent an empty one")],
)
def test_a_task_result_without_payload_is_empty(payload: dict[str, Any] | None) -> None:
    """No payload is an empty dict, which is falsy, and never None."""
    result = TaskResult(payload, TASK)
    assert result == {}
    assert not result
    assert TaskResult() == {}


def test_a_task_result_remembers_its_task() -> None:
    """`task` and getstream's `data` are the same snapshot."""
    result = TaskResult({}, TASK)
    assert result.task is TASK
    assert result.data is TASK
    assert result.data.status == "completed"


def test_a_task_result_without_a_task_says_so() -> None:
    """Work that the server did at once has no task, and asking for it is an AttributeError."""
    result = TaskResult({"a": 1})
    with pytest.raises(AttributeError, match="no task: the server did this work at once"):
        _ = result.task
    assert not hasattr(result, "data")


def test_a_task_result_takes_no_further_attributes() -> None:
    """A misspelt attribute is an error, not a silent note."""
    result: Any = TaskResult()
    with pytest.raises(AttributeError):
        result.taks = TASK


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize(
    "result",
    [
        pytest.param(TaskResult({"a": {"b": 1}}, TASK), id="with a task"),
        pytest.param(TaskResult({"a": 1}), id="without"),
    ],
)
def test_a_task_result_survives_copying(result: TaskResult, duplicate: Callable[[Any], Any]) -> None:
    """A copy is a TaskResult again, with the same payload and the same task."""
    again = duplicate(result)
    assert type(again) is TaskResult
    assert again == result
    assert again is not result
    assert getattr(again, "task", None) == getattr(result, "task", None)


def test_the_examples_cover_every_model() -> None:
    """Each public model takes part in the tests below."""
    assert {type(example).__name__ for example in EXAMPLES} | {"TaskResult"} == set(models.__all__)
    assert models.__all__ == sorted(models.__all__)


@pytest.mark.parametrize("model", EXAMPLES, ids=name_of)
def test_models_are_frozen(model: Any) -> None:
    """No attribute of a model can be set, and none can be added."""
    for attribute in attrs.fields(type(model)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, attribute.name, None)
    with pytest.raises(AttributeError):
        model.unheard_of = 1


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("model", EXAMPLES, ids=name_of)
def test_models_survive_copying(model: Any, duplicate: Callable[[Any], Any]) -> None:
    """A copy of a model is equal to it and of the same type."""
    again = duplicate(model)
    assert again == model
    assert type(again) is type(model)


@pytest.mark.parametrize("model", EXAMPLES, ids=name_of)
def test_models_describe_their_attributes(model: Any) -> None:
    """Each attribute of a model has a line in its docstring, or in that of the base that has it."""
    told = "\n".join(kind.__doc__ or "" for kind in type(model).__mro__[:-1])
    assert "Attributes:" in told
    for attribute in attrs.fields(type(model)):
        assert attribute.name.startswith("_") or f"    {attribute.name}: " in told


def test_models_do_not_share_their_defaults() -> None:
    """What is put into one model's list or dict does not turn up in another's."""
    ExportUsersResult("u").extra["a"] = 1
    DeactivateUsersResult().users.append(1)
    assert ExportUsersResult("u").extra == {}
    assert DeactivateUsersResult().users == []


@pytest.mark.parametrize(
    "kind",
    [DeleteChannelsResult, DeleteUsersResult, DeleteCallResult],
    ids=["a deletion of channels", "a deletion of users", "a deletion of a call"],
)
def test_a_per_item_result_says_what_failed(
    kind: type[DeleteChannelsResult | DeleteUsersResult | DeleteCallResult],
) -> None:
    """`failed` holds the items whose status is not ok, in order, and only those."""
    odd = ItemResult("skipped")
    result = kind({"a": ItemResult("ok"), "b": GONE, "c": odd})
    assert result.failed == {"b": GONE, "c": odd}
    assert list(result.failed) == ["b", "c"]
    assert kind({"a": ItemResult("ok")}).failed == {}
    assert kind({}).failed == {}


@given(st.dictionaries(st.text(), st.sampled_from(["ok", "error", "", "OK"])))
def test_every_item_either_succeeded_or_is_among_the_failed(statuses: dict[str, str]) -> None:
    """No item is lost between the two."""
    result = DeleteUsersResult({key: ItemResult(status) for key, status in statuses.items()})
    assert result.items is not None
    assert set(result.failed) == {key for key, item in result.items.items() if not item.ok}
    assert {key for key, status in statuses.items() if status == "ok"} == set(statuses) - set(result.failed)


def test_a_channel_batch_result_says_what_failed() -> None:
    """`failed` of a batch update is the server's list of failed channels."""
    failure = ChannelBatchFailure("no access", ["messaging:a"])
    assert ChannelBatchResult(failed_channels=[failure]).failed == [failure]
    assert ChannelBatchResult().failed == []


def test_a_task_s_repr_does_not_dump_its_result() -> None:
    """A task in a log line tells its id and status, not its payload."""
    assert "t-1" in repr(TASK)
    assert "completed" in repr(TASK)
    assert "payload.example" not in repr(TASK)
    assert "it broke" in repr(FAILED)


def test_a_response_s_repr_does_not_dump_its_headers() -> None:
    """A response in a log line tells its status, not its headers."""
    shown = repr(StreamResponse(TASK, 200, {"Set-Cookie": "crumbs"}))
    assert "status_code=200" in shown
    assert "crumbs" not in shown


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        pytest.param(TaskResult, "result_type=TaskResult", id="a class by its name"),
        pytest.param(list[int], "result_type=list", id="an alias by its origin's name"),
        pytest.param(int | str, "result_type=int | str", id="what has no name as it is"),
    ],
)
def test_a_started_task_s_repr_is_one_informative_line(kind: Any, shown: str) -> None:
    """A started task tells its id and what waiting for it returns, not the server's answer."""
    started: StartedTask[Any] = StartedTask("t-1", {"duration": "36.23ms"}, kind)
    assert "'t-1'" in repr(started)
    assert shown in repr(started)
    assert "36.23ms" not in repr(started)


def test_an_outcome_with_a_result_is_like_a_finished_future() -> None:
    """`result()` returns the payload, as often as it is asked, and there is no exception."""
    result = TaskResult({"url": "https://payload.example"}, TASK)
    outcome = TaskOutcome("t-1", TASK, 3, 2.5, value=result)
    assert outcome.ok
    assert outcome.exception() is None
    assert outcome.result() is result
    assert outcome.result() is result


ANSWER = StreamApiException(status_code=403, code=17, message="not allowed")
LATE = StreamWaitTimeoutException(task_id="t-1", timeout=5, elapsed=5, polls=2, reason="rate_limited")
LATE.__cause__ = StreamRateLimitException()


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        pytest.param(None, "completed", None, id="a result"),
        pytest.param(
            StreamTaskException.from_task("t-2", FAILED),
            "failed",
            {"type": "boom", "description": "it broke", "stacktrace": "line 1", "version": "v1"},
            id="a failed task",
        ),
        pytest.param(
            LATE, "timed_out", {"type": "rate_limited", "description": "HTTP 429"}, id="a wait that elapsed"
        ),
        pytest.param(
            ANSWER, "error", {"type": "http_403", "description": "HTTP 403, code 17: not"}, id="a refusal"
        ),
        pytest.param(
            StreamTransportException("tls_handshake_failed"),
            "error",
            {"type": "tls_handshake_failed", "description": "no answer"},
            id="no answer",
        ),
        pytest.param(
            StreamDecodeException("odd", path="$.result"),
            "error",
            {"type": "undecodable", "description": "odd at $.result"},
            id="a result that does not fit",
        ),
        pytest.param(LookupError("mine"), "error", {"type": "LookupError"}, id="a caller's own error"),
    ],
)
def test_an_outcome_tells_its_status_and_its_error(
    error: Exception | None, status: str, told: dict[str, Any] | None
) -> None:
    """Its status is one of four words, and its error is told in the same four texts whatever it is."""
    outcome: TaskOutcome[Any] = TaskOutcome("t-1", TASK, 3, 2.5, error=error)
    assert outcome.status == status
    found = outcome.to_dict()
    assert found["status"] == status
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if told is None:
        assert found["error"] is None
    else:
        assert found["result"] is None
        assert list(found["error"]) == ["type", "description", "stacktrace", "version"]
        assert found["error"]["type"] == told["type"]
        assert told.get("description", "") in found["error"]["description"]


def test_an_outcome_is_a_row_of_a_table() -> None:
    """It is one flat object that JSON can hold, whatever the payload."""
    outcome = TaskOutcome(
        "t-1", TASK, 3, 2.51234, value=TaskResult(TASK.result, TASK), operation="export_users", items=("amy",)
    )
    assert outcome.to_dict() == {
        "task_id": "t-1",
        "operation": "export_users",
        "items": ["amy"],
        "status": "completed",
        "last_status": "completed",
        "result": {"url": "https://payload.example"},
        "error": None,
        "polls": 3,
        "elapsed": 2.512,
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(DeleteUsersResult({"amy": GONE}), {"amy": {"status": "error"}}, id="items"),
        pytest.param(DeleteUsersResult(None), None, id="unknown items"),
        pytest.param(
            ChannelBatchResult("hide", finished_at=NOON, extra={"a": 1, "operation": "other"}),
            {"operation": "hide", "finished_at": "2026-05-01T12:00:00+00:00", "a": 1},
            id="times and unknown keys",
        ),
        pytest.param(
            TaskResult({"a": float("nan"), "b": (1, Fraction(1))}), {"a": None}, id="what JSON lacks"
        ),
        pytest.param(
            {"a": uuid.UUID(int=1), Kind.WORD: Kind.WORD}, {"word": "word"}, id="texts of all kinds"
        ),
        pytest.param(object, "<class 'object'>", id="anything else by its text"),
    ],
)
def test_a_result_at_once_is_told_as_the_server_would(value: Any, told: Any) -> None:
    """Models become plain objects, and what JSON cannot hold the nearest that it can."""
    outcome: TaskOutcome[Any] = TaskOutcome(None, None, 0, 0.0, value=value)
    found = outcome.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["last_status"] is None
    if isinstance(told, dict) and "amy" in told:
        assert found["result"]["amy"]["status"] == told["amy"]["status"]
    elif isinstance(told, dict):
        assert found["result"].items() >= told.items()
    else:
        assert found["result"] == told


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        pytest.param(
            TaskOutcome("t-1", TASK, 3, 2.5, value=TaskResult({"url": "u"}, TASK)),
            "TaskOutcome(task_id='t-1', status='completed', result={'url': 'u'}, polls=3, elapsed=2.500)",
            id="a result",
        ),
        pytest.param(
            TaskOutcome("t-2", FAILED, 1, 0.5, error=StreamTaskException.from_task("t-2", FAILED)),
            "TaskOutcome(task_id='t-2', status='failed', error=StreamTaskException("
            "'task t-2 failed (boom): it broke'), polls=1, elapsed=0.500)",
            id="an error",
        ),
    ],
)
def test_an_outcome_shows_itself(outcome: TaskOutcome[Any], shown: str) -> None:
    """Its repr holds what came of the wait."""
    assert repr(outcome) == shown


def test_an_outcome_s_repr_is_short() -> None:
    """Of a large payload it shows the beginning."""
    outcome = TaskOutcome("t", TASK, 1, 0.5, value=TaskResult({f"key-{n}": n for n in range(10_000)}))
    assert len(repr(outcome)) < 400
    assert "'key-0': 0" in repr(outcome)


# A started task as JSON


@attrs.frozen
class Mine:
    """A caller's own result."""

    url: str


STARTED: list[Any] = [
    pytest.param(
        StartedTask("t", {"task_id": "t"}, ExportUsersResult, None, "export_users", ["amy"]), id="a task"
    ),
    pytest.param(StartedTask("t", {}, TaskResult), id="a task of an operation without a method"),
    pytest.param(StartedTask("t", {}, dict), id="a task with a plain result"),
    pytest.param(
        StartedTask(
            None,
            {"result": {"a:b": {"status": "ok"}}},
            DeleteChannelsResult,
            DeleteChannelsResult({"a:b": ItemResult("ok", extra={"more": [1]})}),
            "delete_channels",
            ("a:b",),
        ),
        id="items at once",
    ),
    pytest.param(StartedTask(None, {}, DeleteCallResult, DeleteCallResult(None)), id="unknown items at once"),
    pytest.param(
        StartedTask(
            None, {}, ChannelBatchResult,
            ChannelBatchResult("hide", None, 1, [ChannelBatchFailure("no", ["a:b"])], NOON, extra={"a": 1}),
        ),
        id="a batch at once",
    ),
    pytest.param(StartedTask(None, {}, TaskResult, TaskResult({"a": 1})), id="a payload at once"),
]  # fmt: skip


@pytest.mark.parametrize("started", STARTED)
@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_a_started_task_goes_through_json(started: StartedTask[Any], kind: Callable[[str], Any]) -> None:
    """It comes back equal, its result typed, and is one line."""
    text = started.to_json()
    assert "\n" not in text
    again = StartedTask.from_json(kind(text))
    assert again == started
    assert again.result_type is started.result_type
    assert type(again.result) is type(started.result)


def test_a_caller_s_own_result_type_is_given_again() -> None:
    """JSON cannot hold a class: who reads it says which, and is told so if not."""
    text = StartedTask("t", {}, Mine).to_json()
    assert StartedTask.from_json(text, Mine) == StartedTask("t", {}, Mine)
    with pytest.raises(
        ValueError, match=r"^result_type must be given: the task was started with '.*\.Mine'$"
    ):
        StartedTask.from_json(text)
    at_once = StartedTask(None, {}, Mine, Mine("u")).to_json()
    assert StartedTask.from_json(at_once, Mine).result == Mine("u")
    listed: StartedTask[list[int]] = StartedTask("t", {}, list[int])
    assert StartedTask.from_json(listed.to_json(), list[int]) == listed


def test_a_line_without_a_type_is_a_plain_task() -> None:
    """What the command line prints of a started task is enough to wait for it."""
    started = StartedTask.from_json('{"task_id": "t", "operation": "delete_users", "items": ["amy"]}')
    assert started == StartedTask("t", {}, TaskResult, None, "delete_users", ("amy",))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("", ValueError, id="nothing"),
        pytest.param("t-1", ValueError, id="an id"),
        pytest.param("[]", ValueError, id="a list"),
        pytest.param("{}", ValueError, id="an empty object"),
        pytest.param('{"task_id": 5}', ValueError, id="an id that is a number"),
        pytest.param("[" * 100_000, ValueError, id="too deep"),
        pytest.param(None, TypeError, id="None"),
        pytest.param({"task_id": "t"}, TypeError, id="a dict"),
    ],
)
def test_what_is_no_started_task_is_refused(text: Any, kind: type[Exception]) -> None:
    """The error names the parameter."""
    with pytest.raises(kind, match=r"^text must be "):
        StartedTask.from_json(text)


def test_a_started_task_shows_a_few_items() -> None:
    """A hundred ids do not fill a line."""
    started = StartedTask("t", {}, TaskResult, None, "delete_users", map(str, range(100)))
    assert "items=<100 items: '0', '1', '2', …>" in repr(started)
    assert "items=('amy',)" in repr(StartedTask("t", {}, TaskResult, items=["amy"]))


@pytest.mark.parametrize("duplicate", [pytest.param(lambda value: value, id="the outcome itself"), *COPIES])
def test_an_outcome_without_a_result_raises_what_the_wait_raised(duplicate: Callable[[Any], Any]) -> None:
    """`result()` raises the error, `exception()` returns it, and copies do the same."""
    error = StreamTaskException.from_task("t-2", FAILED)
    outcome = duplicate(TaskOutcome("t-2", FAILED, 3, 2.5, error=error))
    assert not outcome.ok
    assert outcome.exception().task_id == "t-2"
    with pytest.raises(StreamTaskException, match="task t-2 failed") as caught:
        outcome.result()
    assert caught.value is outcome.exception()


def test_generic_models_can_be_made_with_their_parameter() -> None:
    """The parameter of a generic model costs nothing and changes nothing."""
    assert StreamResponse[Task](TASK, 200, {}) == StreamResponse(TASK, 200, {})
    assert StartedTask[TaskResult]("t", {}, TaskResult) == StartedTask("t", {}, TaskResult)
