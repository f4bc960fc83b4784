"""Each answer of FakeStream has the keys and types of Stream's contract, written down by hand.

A schema is a type, or a dict of the keys that must come; a key with ``?`` may. A list of one schema is a list
of such, `Each` an object whose keys are ids, `Any` whatever there is.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from attrs import frozen

from stream_tasks import Stream, StreamApiException, webhooks
from stream_tasks.testing import FakeStream, Fault, TaskFailure

Schema: TypeAlias = Any


@frozen
class Each:
    """An object whose keys are ids."""

    schema: Schema


@frozen
class Like:
    """A text of a form."""

    pattern: str


TIME = int  # nanoseconds since 1970
DURATION = Like(r"\d+\.\d+ms")
UUID = Like(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RFC3339 = Like(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
URL = Like(r"http://127\.0\.0\.1:\d+/exports/.+")

TASK = {"task_id": UUID, "status": str, "created_at": TIME, "updated_at": TIME, "duration": DURATION}
ERROR = {"type": str, "description": str, "stacktrace?": str, "version?": str}
ENVELOPE = {
    "code": int,
    "message": str,
    "StatusCode": int,
    "duration": DURATION,
    "more_info": Like("https://.+"),
    "details": [int],
    "exception_fields?": Each(str),
    "unrecoverable?": bool,
}
STARTED = {"task_id": UUID, "duration": DURATION}
ITEM = {"status": str, "error?": str}
BATCH = {
    "operation": str,
    "status": str,
    "success_channels_count": int,
    "failed_channels": [{"reason": str, "cids": [str]}],
    "batch_created_at": RFC3339,
    "finished_at": RFC3339,
}
CALL = {"type": str, "id": str, "cid": str}
IMPORT = {
    "id": UUID,
    "state": str,
    "history": [{"created_at": TIME, "prev_state": str, "next_state": str}],
    "mode": str,
    "path": str,
    "size?": int,
    "created_at": TIME,
    "updated_at": TIME,
}
IMPORT_V2 = {
    "id": UUID,
    "app_pk": int,
    "product": str,
    "state": int,
    "settings": {"path?": str, "mode?": str, "merge_custom?": bool},
    "result?": Each(Any),
    "created_at": TIME,
    "updated_at": TIME,
    "duration": DURATION,
}
STATS = {
    "progress": float,
    "stats_channels_created": int,
    "stats_completed_at": TIME,
    "stats_messages_sent": int,
    "stats_started_at": TIME,
    "stats_users_read": int,
    "stats_users_sent": int,
}
CAMPAIGN = {
    **dict.fromkeys(("id", "name", "description", "status"), str),
    **dict.fromkeys(("sender_id", "sender_mode", "sender_visibility"), str),
    **dict.fromkeys(("create_channels", "show_channels", "skip_push", "skip_webhook"), bool),
    "segment_ids": [str],
    "segments": [Any],
    "user_ids": [str],
    "users": [Any],
    "stats": STATS,
    "created_at": TIME,
    "updated_at": TIME,
}
RUN = {
    **dict.fromkeys(("config_key", "set_id", "status", "triggered_by"), str),
    "id": UUID,
    "task_id": UUID,
    "rows_completed": int,
    "rows_total": int,
    "created_at": TIME,
    "completed_at?": TIME,
    "error_message?": str,
}
LIMITS = {"limit": int, "remaining": int, "reset": int}


def misfits(value: Any, schema: Schema, at: str = "$") -> list[str]:
    """Return where a value does not fit."""
    if isinstance(schema, dict | Each) and isinstance(value, dict):
        return list(_object_misfits(value, schema, at))
    if isinstance(schema, list) and isinstance(value, list):
        parts = [misfits(item, schema[0], f"{at}[{number}]") for number, item in enumerate(value)]
        return [each for part in parts for each in part]
    if isinstance(schema, Like) and isinstance(value, str):
        return (
            [] if re.fullmatch(schema.pattern, value) else [f"{at}: {value!r} is not like {schema.pattern}"]
        )
    return [] if schema is Any or type(value) is schema else [f"{at}: {value!r} is not {schema}"]


def _object_misfits(value: dict[str, Any], schema: dict[str, Schema] | Each, at: str) -> Iterator[str]:
    keys = dict.fromkeys(value, schema.schema) if isinstance(schema, Each) else schema
    named = {key.rstrip("?"): each for key, each in keys.items()}
    yield from (f"{at}.{key} is missing" for key in keys if not key.endswith("?") and key not in value)
    yield from (f"{at}.{key} is unknown" for key in value if key not in named)
    for key, item in value.items():
        yield from misfits(item, named.get(key, Any), f"{at}.{key}")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param({"task_id": "x", "duration": "1.0ms"}, "$.task_id: 'x' is not like", id="a form"),
        pytest.param({"duration": "0.10ms"}, "$.task_id is missing", id="too little"),
        pytest.param([], "$: [] is not {'task_id'", id="another type"),
    ],
)
def test_schemas_refuse(value: Any, where: str) -> None:
    """What does not fit is named."""
    assert misfits(value, STARTED)[0].startswith(where)


def test_schemas_refuse_inside() -> None:
    """Lists and objects are looked into, and keys that nobody knows are named."""
    envelope = {"code": True, "details": ["x"], "exception_fields": {"a": 1}, "news": 5}
    found = misfits(
        envelope, {name: each for name, each in ENVELOPE.items() if name in envelope or "?" in name}
    )
    assert found == [
        "$.news is unknown",
        "$.code: True is not <class 'int'>",
        "$.details[0]: 'x' is not <class 'int'>",
        "$.exception_fields.a: 1 is not <class 'str'>",
    ]


# What starts work


CIDS = ["messaging:a", "messaging:b"]
STARTS: list[tuple[str, Any, Schema, Schema]] = [
    ("POST /chat/channels/delete", {"cids": CIDS, "hard_delete": True}, STARTED, Each(ITEM)),
    (
        "POST /chat/export_channels",
        {"channels": [{"cid": "messaging:a"}]},
        STARTED,
        {"url": URL, "path": str, "s3_bucket_name": str},
    ),
    ("PUT /chat/channels/batch", {"operation": "hide", "filter": {"cid": CIDS}}, STARTED, BATCH),
    ("POST /users/delete", {"user_ids": ["u"]}, STARTED, Each(ITEM)),
    ("POST /users/deactivate", {"user_ids": ["u"]}, STARTED, {"users": [Each(Any)]}),
    ("POST /users/reactivate", {"user_ids": ["u"]}, STARTED, None),
    ("POST /export/users", {"user_ids": ["u"]}, STARTED, {"url": URL}),
    ("POST /blocklists/b/import", {"items": ["i"]}, STARTED, None),
    ("POST /video/call/default/c/delete", {"hard": True}, {**STARTED, "call": CALL}, Each(ITEM)),
    ("DELETE /feeds/feed_groups/user/feeds/f", None, STARTED, None),
    ("POST /feeds/feeds/delete", {"feeds": ["user:f"]}, STARTED, None),
    ("POST /feeds/users/u/delete", {}, STARTED, None),
    ("POST /feeds/users/u/export", None, STARTED, None),
    ("POST /moderation/bulk_image_moderation", {"csv_file": "f"}, STARTED, None),
    (
        "POST /moderation/check",
        {
            "entity_type": "t",
            "entity_id": "i",
            "entity_creator_id": "c",
            "moderation_payload": {"texts": ["x"]},
        },
        {**STARTED, "status": str, "recommended_action": str},
        None,
    ),
]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start[0])
def test_operations(
    fake_stream: FakeStream, stream_client: Stream, start: tuple[str, Any, Schema, Schema]
) -> None:
    """A start answers with its task, which shows its result in the end, if it has any."""
    endpoint, body, started, result = start
    method, path = endpoint.split()
    fake_stream.fail_items("messaging:b")
    answer = stream_client.request(method, path, json=body)
    assert answer.status_code == (200 if method == "DELETE" else 201)
    assert misfits(answer.data, started) == []
    seen = [poll(stream_client, f"/tasks/{answer.data['task_id']}") for _ in range(3)]
    expected = [TASK, TASK, TASK if result is None else {**TASK, "result": result}]
    assert [misfits(each, schema) for each, schema in zip(seen, expected, strict=True)] == [[], [], []]
    assert [each["status"] for each in seen] == ["pending", "running", "completed"]


@pytest.mark.parametrize(
    ("path", "body", "schema"),
    [
        ("/chat/channels/delete", {"cids": CIDS}, {"result": Each(ITEM), "duration": DURATION}),
        ("/video/call/default/c/delete", {}, {"call": CALL, "duration": DURATION}),
        ("/imports", {"path": "a", "mode": "insert"}, {"import_task": IMPORT, "duration": DURATION}),
        ("/imports/v2", {"product": "chat", "settings": {"path": "a"}}, IMPORT_V2),
        ("/moderation/policy_tests/sets/s/runs", {}, {"run": RUN, "duration": DURATION}),
    ],
)
def test_other_starts(stream_client: Stream, path: str, body: Any, schema: Schema) -> None:
    """Work that is done at once, or polled elsewhere, has no task id at the top level."""
    answer = stream_client.request("POST", path, json=body)
    assert (answer.status_code, misfits(answer.data, schema)) == (201, [])


# What is polled


def poll(client: Stream, path: str) -> Any:
    """Return the answer to a GET."""
    return client.request("GET", path).data


@pytest.mark.parametrize(
    ("add", "path", "schema"),
    [
        pytest.param(
            lambda s: s.add_task(statuses=(), error=TaskFailure("x", "y", "z", "1")),
            "/tasks/",
            {**TASK, "error": ERROR},
            id="a failed task",
        ),
        pytest.param(
            lambda s: s.add_task(statuses=(), final="failed"), "/tasks/", TASK, id="a silent failure"
        ),
        pytest.param(
            lambda s: s.add_import(size=5),
            "/imports/",
            {"import_task": IMPORT, "duration": DURATION},
            id="an import",
        ),
        pytest.param(
            lambda s: s.add_import_v2(result={"a": 1}), "/imports/v2/", IMPORT_V2, id="one of version 2"
        ),
        pytest.param(
            lambda s: s.add_campaign(),
            "/chat/campaigns/",
            {"campaign": CAMPAIGN, "users": {}, "duration": DURATION},
            id="a campaign",
        ),
        pytest.param(
            lambda s: s.add_policy_test_run(error=TaskFailure("x")),
            "/moderation/policy_tests/runs/",
            {"run": RUN, "duration": DURATION},
            id="a policy-test run",
        ),
    ],
)
def test_polls(
    fake_stream: FakeStream,
    stream_client: Stream,
    add: Callable[[FakeStream], str],
    path: str,
    schema: Schema,
) -> None:
    """Each look at work, from its begin to its end, shows what the contract says."""
    work = add(fake_stream)
    assert [misfits(poll(stream_client, path + work), schema) for _ in range(3)] == [[], [], []]
    fake_stream.assert_all_waited()


def test_rate_limits(fake_stream: FakeStream, stream_client: Stream) -> None:
    """Each endpoint with a rule is reported by its operation id, for the platforms that are asked for."""
    for name in ("GetTask", "ChannelBatchUpdate", "bulk_image_moderation", "GetImportV2Task"):
        fake_stream.limit(name, 60)
    answer = stream_client.request("GET", "/rate_limits", params={"server_side": "true", "web": "true"}).data
    assert misfits(answer, {"server_side": Each(LIMITS), "web": {}, "duration": DURATION}) == []
    assert [*answer["server_side"]] == [
        "GetTask",
        "ChannelBatchUpdate",
        "bulk_image_moderation",
        "GetImportV2Task",
    ]


# What goes wrong


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        pytest.param(lambda c: c.get_task("nobody"), 404, 16, id="no such task"),
        pytest.param(lambda c: c.request("GET", "/nowhere"), 404, 16, id="no such endpoint"),
        pytest.param(lambda c: c.request("POST", "/users/delete", json={}), 400, 4, id="bad input"),
        pytest.param(lambda c: c.get_task("injected"), 503, -1, id="a fault"),
    ],
)
def test_errors(
    fake_stream: FakeStream, stream_client: Stream, call: Callable[[Stream], object], status: int, code: int
) -> None:
    """Each error comes in the envelope."""
    fake_stream.inject(Fault.status(503, unrecoverable=True), task_id="injected")
    with pytest.raises(StreamApiException) as caught:
        call(stream_client)
    body = json.loads(caught.value.raw_response_body)
    assert misfits(body, ENVELOPE) == []
    assert (body["StatusCode"], body["code"]) == (status, code)


# What is told


EXPORT = {
    "type": Like(r"export\.\w+\.success"),
    "task_id": UUID,
    "url": URL,
    "custom": Each(Any),
}
FAILED = {"type": Like(r"export\.\w+\.error"), "task_id": UUID, "error": str, "custom": Each(Any)}
UPDATED = {
    "type": Like(r"channel_batch_update\.completed"),
    "task_id": UUID,
    "operation": str,
    "status": str,
    "success_channels_count": int,
    "failed_channels": [{"reason": str, "cids": [str]}],
    "custom": Each(Any),
}


@pytest.mark.parametrize("timestamps", ["rfc3339", "nanoseconds"])
@pytest.mark.parametrize(
    ("start", "schema"),
    [
        pytest.param(lambda c: c.export_users(["u"]), EXPORT, id="an export of users"),
        pytest.param(lambda c: c.export_channels([{"cid": "a:b"}]), EXPORT, id="of channels"),
        pytest.param(lambda c: c.bulk_image_moderation("f"), EXPORT, id="of images"),
        pytest.param(lambda c: c.export_users(["u"]), FAILED, id="a failed export"),
        pytest.param(
            lambda c: c.update_channels_batch("hide", {"cid": CIDS}),
            UPDATED,
            id="a batch",
        ),
    ],
)
def test_events(
    fake_stream: FakeStream,
    stream_client: Stream,
    start: Callable[[Stream], Any],
    schema: Schema,
    timestamps: Any,
) -> None:
    """An event says what ended, when it began and when it ended, and is read by the client's own parser."""
    if schema is FAILED:
        fake_stream.script_operation("export_users", error=TaskFailure("x", "y"))
    body, headers = fake_stream.webhook(start(stream_client), timestamps=timestamps)
    begin = "batch_created_at" if schema is UPDATED else "started_at"
    moment = RFC3339 if timestamps == "rfc3339" else TIME
    times = dict.fromkeys((begin, "finished_at", "created_at", "received_at"), moment)
    assert misfits(json.loads(body), {**schema, **times}) == []
    assert webhooks.parse(body, headers["X-Signature"], fake_stream.api_secret).task_id
