"""Models are frozen values; a task's result is a dict that remembers its task."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_tasks import models
from stream_tasks.exceptions import StreamTaskException
from stream_tasks.models import (
    ChannelBatchFailure,
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    ItemResult,
    Obstacle,
    RateLimit,
    StartedTask,
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
    StreamResponse(TASK, 200, {"X": "1"}),
    StartedTask("t-1", {"task_id": "t-1"}, TaskResult),
    TaskOutcome("t-1", TASK, 3, 2.5, value=TaskResult({"a": 1}, TASK)),
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
    assert "payload.example" not in repr(outcome)


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
