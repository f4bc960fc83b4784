"""Bytes become models, or an error that says where they do not fit."""

import json
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks import _json
from stream_tasks.exceptions import StreamDecodeException, StreamTaskException
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
    StartedTask,
    Task,
    TaskError,
    TaskOutcome,
    TaskResult,
)

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
EARLIEST, LATEST = (NOON.replace(year=year, tzinfo=None) for year in (2, 9998))
NOON_NS = (NOON - EPOCH) // MICROSECOND * 1000
FIRST_NS = -62_135_596_800 * 10**9
LAST_NS = 253_402_300_800 * 10**9 - 1

TASK = {
    "task_id": "t-1",
    "status": "running",
    "created_at": NOON_NS,
    "updated_at": NOON_NS,
    "duration": "1ms",
}

texts = st.text(max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(texts, values, max_size=4)


def read(value: Any) -> datetime:
    """Decode one timestamp."""
    return _json.structure(value, datetime)


def task(**changes: Any) -> Task:
    """Decode a task that differs from the usual one in these keys."""
    return _json.structure_task(json.dumps(TASK | changes).encode())


# Timestamps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0, EPOCH, id="the epoch"),
        pytest.param(NOON_NS, NOON, id="integer nanoseconds"),
        pytest.param(NOON_NS + 999, NOON, id="nanoseconds are cut to microseconds"),
        pytest.param(-1, EPOCH - MICROSECOND, id="a nanosecond before the epoch"),
        pytest.param(float(10**18), EPOCH + timedelta(seconds=10**9), id="a float of nanoseconds"),
        pytest.param(1.5e18, EPOCH + timedelta(seconds=1_500_000_000), id="a float in scientific notation"),
        pytest.param("2026-05-01T12:00:00Z", NOON.replace(microsecond=0), id="a text without fraction"),
        pytest.param("2026-05-01T12:00:00.123456Z", NOON, id="a text with microseconds"),
        pytest.param("2026-05-01T12:00:00.123456789Z", NOON, id="a text with nanoseconds"),
        pytest.param("2026-05-01T12:00:00.1Z", NOON.replace(microsecond=100_000), id="a text with tenths"),
        pytest.param("2026-05-01T14:00:00.123456+02:00", NOON, id="a zone to the east"),
        pytest.param("2026-05-01T06:30:00.123456-05:30", NOON, id="a zone to the west"),
        pytest.param("2026-05-01T12:00:00.123456-00:00", NOON, id="an unknown zone, which is UTC"),
        pytest.param("2026-05-01t12:00:00.123456z", NOON, id="small letters"),
        pytest.param("2026-05-01 12:00:00.123456Z", NOON, id="a space for the T"),
        pytest.param("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), id="Go's zero time"),
    ],
)
def test_timestamps_of_every_kind_are_understood(value: Any, expected: datetime) -> None:
    """A timestamp in nanoseconds or RFC 3339 becomes an aware datetime in UTC."""
    assert read(value) == expected
    assert read(value).tzinfo is UTC


@given(st.integers(FIRST_NS, LAST_NS))
@example(FIRST_NS)
@example(LAST_NS)
def test_every_nanosecond_of_the_calendar_is_understood(nanoseconds: int) -> None:
    """An integer is cut to microseconds, exactly, from year 1 to year 9999."""
    moment = read(nanoseconds)
    assert moment.tzinfo is UTC
    assert (moment - EPOCH) // MICROSECOND == nanoseconds // 1000


@given(st.floats(-6.2e19, 2.5e20))
@example(-0.0)
@example(0.5)
def test_a_float_is_read_as_the_integer_that_it_is(nanoseconds: float) -> None:
    """A float loses no more than its own inexactness."""
    assert read(nanoseconds) == read(int(nanoseconds))


@given(
    st.datetimes(EARLIEST, LATEST),
    st.from_regex(r"[0-9]{0,9}", fullmatch=True),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from("Tt "),
)
@example(LATEST, "", 0, "T")
@example(LATEST, "999999999", -1439, "T")
def test_every_rfc_3339_text_is_understood(local: datetime, fraction: str, offset: int, letter: str) -> None:
    """Any number of digits up to nine and any offset give the moment that they name."""
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{local:%H:%M:%S}{'.' + fraction if fraction else ''}{sign}{minutes // 60:02}:{minutes % 60:02}"
    whole = local.replace(microsecond=int((fraction + "000000")[:6]))
    moment = read(f"{local.date().isoformat()}{letter}{text}")
    assert moment == whole.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param(True, id="a boolean"),
        pytest.param([], id="a list"),
        pytest.param({}, id="an object"),
        pytest.param("", id="an empty text"),
        pytest.param("yesterday", id="a word"),
        pytest.param("1777636800", id="a number as text"),
        pytest.param("2026-05-01", id="a date only"),
        pytest.param("2026-05-01T12:00:00", id="no offset"),
        pytest.param("2026-05-01T12:00Z", id="no seconds"),
        pytest.param("2026-05-01T12:00:00.Z", id="a fraction without digits"),
        pytest.param("2026-05-01T12:00:00.1234567890Z", id="ten digits"),
        pytest.param("2026-05-01T12:00:00,5Z", id="a comma"),
        pytest.param("2026-05-01T12:00:00+0200", id="an offset without colon"),
        pytest.param("2026-05-01T12:00:00+24:00", id="an offset of a day"),
        pytest.param("2026-13-01T12:00:00Z", id="a thirteenth month"),
        pytest.param("2026-02-30T12:00:00Z", id="a day that does not exist"),
        pytest.param("2026-05-01T12:61:00Z", id="a sixty-first minute"),
        pytest.param("0001-01-01T00:00:00+01:00", id="before year 1 in UTC"),
        pytest.param("9999-12-31T23:59:59-01:00", id="after year 9999 in UTC"),
        pytest.param("٢٠٢٦-05-01T12:00:00Z", id="digits of another script"),
        pytest.param("2026-05-01T12:00:00Z\n", id="a line end behind"),
        pytest.param(FIRST_NS - 1, id="a nanosecond before year 1"),
        pytest.param(LAST_NS + 1, id="a nanosecond after year 9999"),
        pytest.param(10**4000, id="a huge integer"),
        pytest.param(1e300, id="a huge float"),
        pytest.param(math.nan, id="NaN"),
        pytest.param(math.inf, id="infinity"),
    ],
)
def test_what_is_no_timestamp_says_where(value: Any) -> None:
    """A wrong timestamp is a decode error with its path, and nothing else."""
    with pytest.raises(StreamDecodeException, match=r"timestamp|since the epoch") as caught:
        task(updated_at=value)
    assert caught.value.path == "$.updated_at"
    assert str(caught.value).endswith(" at $.updated_at")
    assert caught.value.__cause__ is not None


@given(values)
@example("2026-05-01T12:00:00+99:99")
@example(-(10**30))
def test_no_value_breaks_the_reading_of_timestamps(value: Any) -> None:
    """Any JSON value is a timestamp or a decode error."""
    try:
        assert read(value).tzinfo is UTC
    except StreamDecodeException as exc:
        assert exc.path == "$"  # noqa: PT017 - either outcome is right


# Bodies


@pytest.mark.parametrize("body", [b"{}", b'{"a": "\xef\xbb\xbf"}', b""], ids=ascii)
def test_a_byte_order_mark_is_skipped(body: bytes) -> None:
    """One that stands before the JSON; another one is data, or is wrong."""
    mark = b"\xef\xbb\xbf"
    if not body:
        with pytest.raises(StreamDecodeException, match="not JSON"):
            _json.loads(mark + mark)
    else:
        assert _json.loads(mark + body) == _json.loads(body)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_in_json_is_never_written(number: bytes) -> None:
    """It is taken as a float, as other programs write it, and is null where it is shown."""
    body = json.dumps(TASK | {"status": "completed", "result": {"a": ["?"]}}).encode()
    task = _json.structure_task(body.replace(b'"?"', number))
    assert task.result is not None
    assert not math.isfinite(task.result["a"][0])
    outcome = TaskOutcome(task.task_id, task, 1, 0.5, TaskResult(task.result, task))
    assert json.loads(json.dumps(outcome.to_dict(), allow_nan=False))["result"] == {"a": [None]}
    started: StartedTask[TaskResult] = StartedTask("t", {"a": task.result["a"]}, TaskResult)
    assert json.loads(started.to_json())["data"] == {"a": [None]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html><h1>502 Bad Gateway</h1></html>", id="HTML"),
        pytest.param(b"upstream connect error", id="a gateway's text"),
        pytest.param(b'{"task_id": "t-1", "sta', id="a truncated body"),
        pytest.param(b'{"a": 1} {"b": 2}', id="two objects"),
        pytest.param(b"\xff\xfe\xff", id="no text in any encoding"),
        pytest.param(b"\x1f\x8b\x08\x00", id="compressed data"),
        pytest.param(b"[" * 200_000, id="lists nested too deeply"),
        pytest.param(b'{"a":' * 200_000, id="objects nested too deeply"),
        pytest.param(b'{"a": ' + b"1" * 5000 + b"}", id="more digits than Python reads"),
    ],
)
def test_what_is_not_json_has_no_path(body: bytes) -> None:
    """A body that is not JSON is a decode error without path that shows the body's beginning."""
    with pytest.raises(StreamDecodeException, match=r"^the body is not JSON: ") as caught:
        _json.structure_task(body)
    assert caught.value.path is None
    assert caught.value.body == body[:500].decode("utf-8", "replace")
    assert " at $" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_only_the_beginning_of_a_body_is_kept() -> None:
    """An error does not carry a whole page of HTML, and its message carries none of it."""
    with pytest.raises(StreamDecodeException) as caught:
        _json.loads(b"<" + b"x" * 10_000)
    assert caught.value.body == "<" + "x" * 499
    assert "xxx" not in str(caught.value)


@given(st.binary())
def test_no_bytes_break_the_parser(body: bytes) -> None:
    """Any bytes are JSON or a decode error."""
    try:
        _json.loads(body)
    except StreamDecodeException as exc:
        assert exc.path is None  # noqa: PT017 - either outcome is right


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Writing and parsing are each other's inverse."""
    assert _json.loads(_json.dumps(value)) == value


def test_json_is_written_without_spaces() -> None:
    """A body is as short as it can be."""
    assert _json.dumps({"a": [1, True, None], "b": "ü"}) == b'{"a":[1,true,null],"b":"\\u00fc"}'


def test_what_stands_for_something_is_written_as_that() -> None:
    """UUIDs are texts, mappings objects, and whole numbers of other kinds numbers."""

    class Number:
        def __index__(self) -> int:
            return 7

    value = {"id": uuid.UUID(int=1), "map": MappingProxyType({"a": 1}), "count": Number()}
    written = b'{"id":"00000000-0000-0000-0000-000000000001","map":{"a":1},"count":7}'
    assert _json.dumps(value) == written


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param({"a": object()}, TypeError, id="an object of Python"),
        pytest.param({"a": NOON}, TypeError, id="a datetime"),
        pytest.param({"a": math.nan}, ValueError, id="NaN"),
        pytest.param([math.inf], ValueError, id="infinity"),
    ],
)
def test_what_json_lacks_is_refused(value: Any, kind: type[Exception]) -> None:
    """What no server could read is never sent."""
    with pytest.raises(kind):
        _json.dumps(value)


# Tasks


def test_a_task_is_read() -> None:
    """The keys of a task become its attributes; what it lacks is None."""
    assert task() == Task("t-1", "running", NOON, NOON)
    error = {"type": "boom", "description": "it broke"}
    failed = task(status="failed", error=error | {"stacktrace": "line 1", "version": "v1"})
    assert failed.error == TaskError("boom", "it broke", "line 1", "v1")
    assert task(error=error).error == TaskError("boom", "it broke")
    assert task(result={"url": "u", "none": None}).result == {"url": "u", "none": None}


def test_a_status_that_is_not_known_is_read() -> None:
    """The server may add statuses."""
    assert task(status="paused").status == "paused"


@given(st.dictionaries(texts.filter(lambda key: key not in attrs.fields_dict(Task)), values))
@example({"duration": "36.23ms", "extra": 1, "self": 2})
def test_unknown_keys_of_a_task_are_ignored(unknown: dict[str, Any]) -> None:
    """What the server adds later changes nothing."""
    assert task(**unknown) == task() if "changes" not in unknown else True
    assert _json.structure(unknown | TASK, Task) == task()


def test_nulls_are_defaults() -> None:
    """A null where a default stands is the default, at every depth."""
    assert task(result=None, error=None) == task()
    error = {"type": "boom", "description": "", "stacktrace": None, "version": None}
    assert task(error=error).error == TaskError("boom", "")
    batch = {"success_channels_count": None, "failed_channels": None, "operation": None, "finished_at": None}
    assert _json.structure(batch, ChannelBatchResult) == ChannelBatchResult()
    assert _json.structure({"url": "u", "extra": None}, ExportUsersResult) == ExportUsersResult("u")


moments = st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))
tasks = st.builds(
    Task,
    task_id=texts,
    status=texts,
    created_at=moments,
    updated_at=moments,
    result=st.none() | objects,
    error=st.none() | st.builds(TaskError, texts, texts, st.none() | texts, st.none() | texts),
)


@given(tasks, st.booleans())
def test_a_task_survives_the_wire(original: Task, as_text: bool) -> None:
    """A task written as the server writes it is read back as it was, whichever timestamps it uses."""

    def wire(moment: datetime) -> Any:
        return moment.isoformat() if as_text else (moment - EPOCH) // MICROSECOND * 1000

    body = attrs.asdict(original, recurse=True)
    body |= {"created_at": wire(original.created_at), "updated_at": wire(original.updated_at)}
    assert _json.structure_task(_json.dumps(body)) == original


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(None, None, id="null"),
        pytest.param({}, None, id="an empty object"),
        pytest.param({"type": "boom"}, TaskError("boom"), id="no description"),
        pytest.param({"description": "it broke"}, TaskError("unknown", "it broke"), id="no type"),
        pytest.param({"type": None, "description": None, "version": "v"}, TaskError(version="v"), id="nulls"),
        pytest.param("it broke", TaskError("unknown", "it broke"), id="a text"),
        pytest.param(["a", 1], TaskError("unknown", '["a", 1]'), id="a list"),
        pytest.param(
            {"type": 5, "description": {"a": 1}, "stacktrace": ["x"]},
            TaskError("5", '{"a": 1}', '["x"]'),
            id="wrong types inside",
        ),
    ],
)
@pytest.mark.parametrize("result", [None, [], "half"], ids=["no result", "a list", "a text"])
def test_a_failed_task_is_one_whatever_is_told_of_its_error(
    error: Any, expected: TaskError | None, result: Any
) -> None:
    """What there is of the error is kept, and nothing that is odd about it hides the failure."""
    failed = task(status="failed", error=error, result=result)
    assert failed.is_failed
    assert (failed.error, failed.result) == (expected, None)
    raised = StreamTaskException.from_task("t", failed)
    assert raised.error_type == (expected or TaskError()).type
    assert raised.description == (expected or TaskError()).description


def test_a_task_that_lacks_its_error_entirely_failed_all_the_same() -> None:
    """No ``error`` at all is like null."""
    assert task(status="failed").error is None


def test_a_missing_key_of_an_error_is_no_trouble_elsewhere_either() -> None:
    """A task that goes on may have an error from an earlier try."""
    assert task(error={"type": "boom"}).error == TaskError("boom", "")


def test_a_task_keeps_its_duration_and_what_is_unknown() -> None:
    """What this version does not know is in `extra`, and neither makes two snapshots differ."""
    found = task(duration="36.23ms", progress=40, extra={"a": 1})
    assert (found.duration, found.extra) == ("36.23ms", {"progress": 40, "extra": {"a": 1}})
    assert found == task()
    assert (task(duration=None).duration, task().extra) == (None, {})


# What does not fit


@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        pytest.param({"task_id": 5}, "$.task_id", "expected str, not int", id="a number for a text"),
        pytest.param({"status": None}, "$.status", "expected str, not NoneType", id="null for a text"),
        pytest.param({"status": True}, "$.status", "expected str, not bool", id="a boolean for a text"),
        pytest.param({"result": []}, "$.result", "expected an object, not list", id="a list for the result"),
        pytest.param({"result": "ok"}, "$.result", "expected an object, not str", id="a text for the result"),
        pytest.param({"error": "boom"}, "$.error", "expected an object, not str", id="a text for the error"),
        pytest.param(
            {"error": {"type": "boom", "description": "", "stacktrace": 1}},
            "$.error.stacktrace",
            "expected str, not int",
            id="a wrong type inside",
        ),
    ],
)
def test_a_task_that_does_not_fit_says_where(changes: dict[str, Any], path: str, reason: str) -> None:
    """The error names the place and what is wrong with it."""
    with pytest.raises(StreamDecodeException) as caught:
        task(**changes)
    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert str(caught.value) == f"{reason} at {path}"


@pytest.mark.parametrize("key", ["task_id", "status", "created_at", "updated_at"])
def test_a_missing_key_is_named(key: str) -> None:
    """A task without one of its keys is an error that says which."""
    body = {name: value for name, value in TASK.items() if name != key}
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure(body, Task)
    assert (caught.value.reason, caught.value.path) == (f"required key {key!r} is missing", f"$.{key}")


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"t-1"', b"true", b"NaN"])
def test_a_body_that_is_no_object_is_no_task(body: bytes) -> None:
    """JSON of another kind is an error at the root."""
    with pytest.raises(StreamDecodeException, match="expected an object") as caught:
        _json.structure_task(body)
    assert caught.value.path == "$"


@pytest.mark.parametrize(
    ("value", "kind", "path"),
    [
        pytest.param({}, ExportChannelsResult, "$.result.url", id="a missing key"),
        pytest.param({"url": 1}, ExportUsersResult, "$.result.url", id="a wrong type"),
        pytest.param(
            {"url": "u", "extra": []}, ExportUsersResult, "$.result.extra", id="a list for the extra"
        ),
        pytest.param(
            {"failed_channels": [{"reason": "r"}, {"cids": []}]},
            ChannelBatchResult,
            "$.result.failed_channels[1].reason",
            id="a missing key in a list",
        ),
        pytest.param(
            {"failed_channels": [{"reason": "r", "cids": ["a", None]}]},
            ChannelBatchResult,
            "$.result.failed_channels[0].cids[1]",
            id="a wrong type in a list in a list",
        ),
        pytest.param(
            {"success_channels_count": True},
            ChannelBatchResult,
            "$.result.success_channels_count",
            id="a boolean",
        ),
        pytest.param(
            {"success_channels_count": "1"},
            ChannelBatchResult,
            "$.result.success_channels_count",
            id="a text",
        ),
        pytest.param(
            {"finished_at": "soon"}, ChannelBatchResult, "$.result.finished_at", id="a wrong timestamp"
        ),
        pytest.param({"users": 5}, DeactivateUsersResult, "$.result.users", id="a number for a list"),
        pytest.param({"amy": "ok"}, DeleteUsersResult, "$.result['amy']", id="a text for an item"),
        pytest.param({"a": {}}, DeleteCallResult, "$.result['a'].status", id="an item without status"),
        pytest.param(
            {"a:b": {"status": 1}},
            DeleteChannelsResult,
            "$.result['a:b'].status",
            id="a wrong status of an item",
        ),
        pytest.param([], DeleteUsersResult, "$.result", id="a list for a mapping of items"),
        pytest.param([], dict[str, Any], "$.result", id="a list for an object"),
        pytest.param(None, dict, "$.result", id="null for a dict"),
    ],
)
def test_a_result_that_does_not_fit_says_where(value: Any, kind: type[Any], path: str) -> None:
    """The path starts where the caller says the value stands."""
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure(value, kind, path="$.result")
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("value", "kind", "path"),
    [
        pytest.param({"reason": "r", "cids": "abc"}, ChannelBatchFailure, "$.cids", id="a text"),
        pytest.param({"users": {"amy": 1}}, DeactivateUsersResult, "$.users", id="an object"),
    ],
)
def test_a_list_is_not_made_of_something_else(value: Any, kind: type[Any], path: str) -> None:
    """A text is not a list of its letters, and an object is not a list of its keys."""
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure(value, kind)
    assert caught.value.path == path


def test_a_value_cannot_disturb_the_path() -> None:
    """Whatever the wrong value holds, the path is the path."""
    with pytest.raises(StreamDecodeException) as caught:
        task(created_at="today @ noon")
    assert caught.value.path == "$.created_at"
    assert "today @ noon" in caught.value.reason


# Results


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            {"url": "u", "path": "p", "s3_bucket_name": "b", "more": [1]},
            ExportChannelsResult("u", "p", "b", {"more": [1]}),
            id="an export of channels",
        ),
        pytest.param({"url": "u", "x": None}, ExportUsersResult("u", {"x": None}), id="an export of users"),
        pytest.param(
            {"users": [{"id": "amy"}], "x": 1},
            DeactivateUsersResult([{"id": "amy"}], {"x": 1}),
            id="a deactivation",
        ),
        pytest.param(
            {"amy": {"status": "ok"}, "bob": {"status": "error", "error": "gone", "code": 16}},
            DeleteUsersResult({"amy": ItemResult("ok"), "bob": ItemResult("error", "gone", {"code": 16})}),
            id="a deletion of users",
        ),
        pytest.param(
            {"items": {"status": "ok"}},
            DeleteUsersResult({"items": ItemResult("ok")}),
            id="a user called items",
        ),
        pytest.param(
            {"messaging:a": {"status": "ok"}},
            DeleteChannelsResult({"messaging:a": ItemResult("ok")}),
            id="a deletion of channels",
        ),
        pytest.param(
            {"default:a": {"status": "ok"}}, DeleteCallResult({"default:a": ItemResult("ok")}), id="a call"
        ),
        pytest.param({}, DeleteUsersResult({}), id="no items"),
        pytest.param(
            {
                "operation": "hide",
                "status": "completed",
                "success_channels_count": 1,
                "failed_channels": [{"reason": "r", "cids": ["a:b"], "code": 17}],
                "batch_created_at": "2026-05-01T12:00:00.123456789Z",
                "finished_at": NOON_NS,
                "took": 1,
            },
            ChannelBatchResult(
                "hide",
                "completed",
                1,
                [ChannelBatchFailure("r", ["a:b"], {"code": 17})],
                NOON,
                NOON,
                {"took": 1},
            ),
            id="a batch update",
        ),
    ],
)
def test_results_are_read_and_their_unknown_keys_are_kept(value: Any, expected: Any) -> None:
    """Each result type keeps what it does not know in its `extra`."""
    assert _json.structure(value, type(expected)) == expected


def test_an_extra_of_the_server_s_own_is_kept_beside_the_unknown_keys() -> None:
    """A key that is called extra is no reason to lose it, or the others."""
    result = _json.structure({"url": "u", "extra": {"a": 1}, "b": 2}, ExportUsersResult)
    assert result.extra == {"a": 1, "b": 2}


# A caller's own types


@attrs.frozen
class Inner:
    size: float
    since: datetime | None = None


@attrs.frozen
class Own:
    url: str
    inner: Inner | None = None
    sizes: list[float] = attrs.Factory(list)


@attrs.frozen
class Tree:
    kids: "list[Tree]" = attrs.Factory(list)


@attrs.frozen
class WithExtraText:
    extra: str = ""


@attrs.frozen
class Box(Generic[T]):
    item: T


def refuse(_: Any) -> Any:
    raise KeyError


@attrs.frozen
class Refusing:
    name: str = attrs.field(converter=refuse)


def test_a_caller_s_own_type_is_read() -> None:
    """An attrs class of the caller's is filled as ours are."""
    own = _json.structure(
        {"url": "u", "inner": {"size": 1, "since": NOON_NS}, "sizes": [1, 2.5], "more": 1}, Own
    )
    assert own == Own("u", Inner(1.0, NOON), [1.0, 2.5])
    assert own.inner is not None
    assert type(own.inner.size) is float
    assert _json.structure({"kids": [{"kids": []}, {}]}, Tree) == Tree([Tree(), Tree()])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        pytest.param({"url": "u", "inner": {}}, "$.inner.size", id="a missing key"),
        pytest.param({"url": "u", "inner": {"size": "1"}}, "$.inner.size", id="a text for a number"),
        pytest.param({"url": "u", "sizes": [1, True]}, "$.sizes[1]", id="a boolean for a number"),
    ],
)
def test_a_caller_s_own_type_says_where_it_does_not_fit(value: Any, path: str) -> None:
    """A caller's own classes are explained as ours are."""
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure(value, Own)
    assert caught.value.path == path


@given(objects)
@example({})
@example({"a": {"b": [None, {"c": 1}]}})
def test_a_plain_dict_is_the_payload_as_it_is(payload: dict[str, Any]) -> None:
    """`dict` and `dict[str, Any]` change nothing in the payload."""
    assert _json.structure(payload, dict) == payload
    assert type(_json.structure(payload, dict)) is dict
    assert _json.structure(payload, dict[str, Any]) == payload


def test_other_types_are_cattrs_own() -> None:
    """What cattrs can structure by itself, it does, with the same strictness inside."""
    assert _json.structure({"a": 1}, dict[str, int]) == {"a": 1}
    assert _json.structure([1, 2], list[int]) == [1, 2]
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure({"a": "1"}, dict[str, int])
    assert caught.value.path == "$['a']"


def test_a_value_nested_too_deeply_for_a_caller_s_type_is_a_decode_error() -> None:
    """Not even a recursive type lets a RecursionError out."""
    value: dict[str, Any] = {}
    for _ in range(5000):
        value = {"kids": [value]}
    with pytest.raises(StreamDecodeException):
        _json.structure(value, Tree)


def test_a_type_that_cannot_be_read_is_a_decode_error() -> None:
    """A result type that no rule covers is told of like a body that does not fit."""
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure({"a": 1}, type("Unheard", (), {}), path="$.result")
    assert caught.value.path == "$.result"


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        pytest.param(ValueError("too odd"), "too odd", id="an error with a message"),
        pytest.param(ValueError(), "ValueError", id="an error without a message"),
    ],
)
def test_whatever_a_caller_s_type_raises_is_a_decode_error(raised: Exception, reason: str) -> None:
    """A validator that refuses is told of with its message, or its name when it has none."""

    def check(*_: Any) -> None:
        raise raised

    kind = attrs.make_class("Checked", {"name": attrs.field(type=str, validator=check)})
    with pytest.raises(StreamDecodeException) as caught:
        _json.structure({"name": "n"}, kind)
    assert caught.value.reason == reason
    assert caught.value.__cause__ is raised


def test_a_key_error_without_a_key_is_a_decode_error() -> None:
    """A caller's converter may raise a bare KeyError."""
    with pytest.raises(StreamDecodeException):
        _json.structure({"name": "n"}, Refusing)


def test_a_caller_s_own_field_called_extra_is_an_ordinary_field() -> None:
    """Only a dict collects unknown keys."""
    assert _json.structure({"extra": "x", "more": 1}, WithExtraText) == WithExtraText("x")


def test_a_caller_s_own_generic_type_is_read() -> None:
    """A generic attrs class works with its parameter."""
    assert _json.structure({"item": 1}, Box[int]) == Box(1)
