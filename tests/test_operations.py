"""Each operation is the request that Stream's API documents, or an error before any request."""

import enum
import inspect
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks import _json
from stream_tasks import _operations as ops
from stream_tasks._requests import OPERATIONS, Request, custom
from stream_tasks.models import (
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    ImportResult,
    ImportV2Result,
    TaskResult,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
IDS = ["amy", "bob"]
CHANNEL = {"type": "messaging", "id": "a"}

# The table of Stream's operations: the call, then the request.
# The second row of an operation has all its fields.
TABLE: list[tuple[str, Request[Any], Request[Any]]] = [
    (
        "delete_channels",
        ops.delete_channels(["messaging:a"]),
        Request(
            "POST",
            "/api/v2/chat/channels/delete",
            DeleteChannelsResult,
            {"cids": ["messaging:a"]},
            may_finish_at_once=True,
        ),
    ),
    (
        "delete_channels",
        ops.delete_channels(["messaging:a"], hard_delete=True, skip_truncate=False),
        Request(
            "POST",
            "/api/v2/chat/channels/delete",
            DeleteChannelsResult,
            {"cids": ["messaging:a"], "hard_delete": True, "skip_truncate": False},
            may_finish_at_once=True,
        ),
    ),
    (
        "export_channels",
        ops.export_channels([CHANNEL, {"cid": "messaging:b"}]),
        Request(
            "POST",
            "/api/v2/chat/export_channels",
            ExportChannelsResult,
            {"channels": [CHANNEL, {"cid": "messaging:b"}]},
        ),
    ),
    (
        "export_channels",
        ops.export_channels(
            [CHANNEL],
            format="csv",
            version="v2",
            clear_deleted_message_text=True,
            export_users=False,
            include_fields=["id", "text"],
            include_soft_deleted_channels=True,
            include_truncated_messages=False,
        ),
        Request(
            "POST",
            "/api/v2/chat/export_channels",
            ExportChannelsResult,
            {
                "channels": [CHANNEL],
                "format": "csv",
                "version": "v2",
                "clear_deleted_message_text": True,
                "export_users": False,
                "include_fields": ["id", "text"],
                "include_soft_deleted_channels": True,
                "include_truncated_messages": False,
            },
        ),
    ),
    (
        "update_channels_batch",
        ops.update_channels_batch("hide", {"cid": {"$in": ["messaging:a"]}}),
        Request(
            "PUT",
            "/api/v2/chat/channels/batch",
            ChannelBatchResult,
            {"operation": "hide", "filter": {"cid": {"$in": ["messaging:a"]}}},
            may_finish_at_once=True,
        ),
    ),
    (
        "update_channels_batch",
        ops.update_channels_batch(
            "addMembers",
            {"type": "messaging"},
            members=["amy", {"user_id": "bob", "channel_role": "admin"}],
            data={"frozen": True},
            custom_set={"color.dark": "red"},
            custom_unset=["shape"],
            hide_history_before=NOON,
        ),
        Request(
            "PUT",
            "/api/v2/chat/channels/batch",
            ChannelBatchResult,
            {
                "operation": "addMembers",
                "filter": {"type": "messaging"},
                "members": [{"user_id": "amy"}, {"user_id": "bob", "channel_role": "admin"}],
                "data": {"frozen": True},
                "custom_set": {"color.dark": "red"},
                "custom_unset": ["shape"],
                "hide_history_before": "2026-05-01T12:00:00+00:00",
            },
            may_finish_at_once=True,
        ),
    ),
    (
        "delete_users",
        ops.delete_users(IDS),
        Request("POST", "/api/v2/users/delete", DeleteUsersResult, {"user_ids": IDS}),
    ),
    (
        "delete_users",
        ops.delete_users(
            IDS,
            user="pruning",
            messages="pruning",
            conversations="soft",
            calls="hard",
            files=True,
            new_channel_owner_id="cat",
            new_call_owner_id="dan",
        ),
        Request(
            "POST",
            "/api/v2/users/delete",
            DeleteUsersResult,
            {
                "user_ids": IDS,
                "user": "pruning",
                "messages": "pruning",
                "conversations": "soft",
                "calls": "hard",
                "files": True,
                "new_channel_owner_id": "cat",
                "new_call_owner_id": "dan",
            },
        ),
    ),
    (
        "deactivate_users",
        ops.deactivate_users(IDS),
        Request("POST", "/api/v2/users/deactivate", DeactivateUsersResult, {"user_ids": IDS}),
    ),
    (
        "deactivate_users",
        ops.deactivate_users(
            IDS, created_by_id="cat", mark_channels_deleted=True, mark_messages_deleted=False
        ),
        Request(
            "POST",
            "/api/v2/users/deactivate",
            DeactivateUsersResult,
            {
                "user_ids": IDS,
                "created_by_id": "cat",
                "mark_channels_deleted": True,
                "mark_messages_deleted": False,
            },
        ),
    ),
    (
        "reactivate_users",
        ops.reactivate_users(IDS),
        Request("POST", "/api/v2/users/reactivate", TaskResult, {"user_ids": IDS}),
    ),
    (
        "reactivate_users",
        ops.reactivate_users(IDS, created_by_id="cat", restore_channels=True, restore_messages=False),
        Request(
            "POST",
            "/api/v2/users/reactivate",
            TaskResult,
            {"user_ids": IDS, "created_by_id": "cat", "restore_channels": True, "restore_messages": False},
        ),
    ),
    (
        "export_users",
        ops.export_users(IDS),
        Request("POST", "/api/v2/export/users", ExportUsersResult, {"user_ids": IDS}),
    ),
    (
        "import_block_list",
        ops.import_block_list("rude", ["drat"]),
        Request("POST", "/api/v2/blocklists/rude/import", TaskResult, {"items": ["drat"]}),
    ),
    (
        "import_block_list",
        ops.import_block_list("rude", ["drat"], chunk_size=500),
        Request("POST", "/api/v2/blocklists/rude/import", TaskResult, {"items": ["drat"], "chunk_size": 500}),
    ),
    (
        "delete_call",
        ops.delete_call("default", "a"),
        Request("POST", "/api/v2/video/call/default/a/delete", DeleteCallResult, {}, may_finish_at_once=True),
    ),
    (
        "delete_call",
        ops.delete_call("default", "a", hard=True),
        Request(
            "POST",
            "/api/v2/video/call/default/a/delete",
            DeleteCallResult,
            {"hard": True},
            may_finish_at_once=True,
        ),
    ),
    (
        "delete_feed",
        ops.delete_feed("user", "amy"),
        Request("DELETE", "/api/v2/feeds/feed_groups/user/feeds/amy", TaskResult),
    ),
    (
        "delete_feed",
        ops.delete_feed("user", "amy", hard_delete=True, purge_user_activities=True),
        Request(
            "DELETE",
            "/api/v2/feeds/feed_groups/user/feeds/amy",
            TaskResult,
            params={"hard_delete": True, "purge_user_activities": True},
        ),
    ),
    (
        "delete_feeds_batch",
        ops.delete_feeds_batch(["user:amy"]),
        Request("POST", "/api/v2/feeds/feeds/delete", TaskResult, {"feeds": ["user:amy"]}),
    ),
    (
        "delete_feeds_batch",
        ops.delete_feeds_batch(["user:amy"], hard_delete=True, purge_user_activities=False),
        Request(
            "POST",
            "/api/v2/feeds/feeds/delete",
            TaskResult,
            {"feeds": ["user:amy"], "hard_delete": True, "purge_user_activities": False},
        ),
    ),
    (
        "delete_feed_user_data",
        ops.delete_feed_user_data("amy"),
        Request("POST", "/api/v2/feeds/users/amy/delete", TaskResult, {}),
    ),
    (
        "delete_feed_user_data",
        ops.delete_feed_user_data("amy", hard_delete=True),
        Request("POST", "/api/v2/feeds/users/amy/delete", TaskResult, {"hard_delete": True}),
    ),
    (
        "export_feed_user_data",
        ops.export_feed_user_data("amy"),
        Request("POST", "/api/v2/feeds/users/amy/export", TaskResult),
    ),
    (
        "bulk_image_moderation",
        ops.bulk_image_moderation("https://example.com/images.csv"),
        Request(
            "POST",
            "/api/v2/moderation/bulk_image_moderation",
            TaskResult,
            {"csv_file": "https://example.com/images.csv"},
        ),
    ),
    (
        "check_moderation",
        ops.check_moderation("chat", "m", "amy"),
        Request(
            "POST",
            "/api/v2/moderation/check",
            TaskResult,
            {"entity_type": "chat", "entity_id": "m", "entity_creator_id": "amy"},
            may_finish_at_once=True,
        ),
    ),
    (
        "check_moderation",
        ops.check_moderation(
            "chat",
            "m",
            "amy",
            moderation_payload={"texts": ["drat"]},
            config_key="k",
            config_team="t",
            config={"key": "k"},
            content_published_at="2026-05-01T12:00:00Z",
            options={"force_sync": True},
            test_mode=True,
            user_id="bob",
            user={"id": "bob"},
        ),
        Request(
            "POST",
            "/api/v2/moderation/check",
            TaskResult,
            {
                "entity_type": "chat",
                "entity_id": "m",
                "entity_creator_id": "amy",
                "moderation_payload": {"texts": ["drat"]},
                "config_key": "k",
                "config_team": "t",
                "config": {"key": "k"},
                "content_published_at": "2026-05-01T12:00:00Z",
                "options": {"force_sync": True},
                "test_mode": True,
                "user_id": "bob",
                "user": {"id": "bob"},
            },
            may_finish_at_once=True,
        ),
    ),
    (
        "create_import",
        ops.create_import("file.json", "upsert", merge_custom=True),
        Request(
            "POST",
            "/api/v2/imports",
            ImportResult,
            {"path": "file.json", "mode": "upsert", "merge_custom": True},
            task_id_at="import_task.id",
        ),
    ),
    (
        "create_import_v2_task",
        ops.create_import_v2_task("chat", {"path": "file.json"}, user_id="amy"),
        Request(
            "POST",
            "/api/v2/imports/v2",
            ImportV2Result,
            {"product": "chat", "settings": {"path": "file.json"}, "user_id": "amy"},
            task_id_at="id",
        ),
    ),
    (
        "start_policy_test_run",
        ops.start_policy_test_run("a/b"),
        Request("POST", "/api/v2/moderation/policy_tests/sets/a%2Fb/runs", TaskResult, task_id_at="run.id"),
    ),
]

# Each list that an operation takes, by the name of its parameter.
LISTS: list[Any] = [
    pytest.param(ops.delete_channels, "cids", 100, id="channels to delete"),
    pytest.param(ops.delete_users, "user_ids", 100, id="users to delete"),
    pytest.param(ops.deactivate_users, "user_ids", 100, id="users to deactivate"),
    pytest.param(ops.reactivate_users, "user_ids", 100, id="users to reactivate"),
    pytest.param(ops.export_users, "user_ids", 25, id="users to export"),
    pytest.param(ops.delete_feeds_batch, "feeds", 100, id="feeds to delete"),
    pytest.param(lambda items: ops.import_block_list("rude", items), "items", None, id="words to block"),
    pytest.param(
        lambda fields: ops.export_channels([CHANNEL], include_fields=fields),
        "include_fields",
        None,
        id="fields to include",
    ),
]

NAMED = [pytest.param(*case.values[:2], id=case.id) for case in LISTS]


def operations() -> dict[str, Callable[..., Request[Any]]]:
    """The functions that build the requests, by name."""
    return {name: getattr(ops, name) for name in OPERATIONS}


def test_the_table_is_complete() -> None:
    """Each operation stands in the table, and the table holds eighteen."""
    assert {name for name, _, _ in TABLE} == set(operations())
    assert len(operations()) == 18


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        pytest.param(built, expected, id=f"{name}, {'all' if name == previous else 'only required'} fields")
        for (name, built, expected), (previous, _, _) in zip(TABLE, [("", None, None), *TABLE], strict=False)
    ],
)
def test_an_operation_is_the_request_that_is_documented(built: Request[Any], expected: Request[Any]) -> None:
    """Method, path, body, query and result type are those of the table; what is None is left out."""
    assert built._replace(operation=None, items=()) == expected
    _json.dumps(built.json)


@pytest.mark.parametrize("name", operations())
def test_the_table_gives_each_argument(name: str) -> None:
    """No argument of an operation is left untried, and each one's name is its name on the wire."""
    fullest = [expected for other, _, expected in TABLE if other == name][-1]
    arguments = set(inspect.signature(operations()[name]).parameters)
    sent = set(fullest.json or {}) | set(fullest.params)
    in_path = {field.name for field in OPERATIONS[name].fields if field.place == "path"}
    assert arguments - in_path == sent


@pytest.mark.parametrize("function", operations().values(), ids=operations())
def test_an_operation_s_docstring_tells_each_argument(function: Callable[..., Any]) -> None:
    """Each argument has a line, and the returned task and the errors are told."""
    told = inspect.getdoc(function) or ""
    for name in inspect.signature(function).parameters:
        assert f"\n    {name}: " in told
    for section in ("Args:", "Returns:", "Raises:"):
        assert f"\n{section}\n" in told
    assert {"TypeError", "ValueError", "StreamException"} <= set(re.findall(r"\n    (\w+): ", told))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_s_docstring_tells_its_limits_and_words(name: str) -> None:
    """Help says what the description allows: how many items, and which words."""
    told = " ".join((inspect.getdoc(operations()[name]) or "").split())
    for field in OPERATIONS[name].fields:
        if field.most is not None:
            assert f"{field.name}: 1 to {field.most} " in told
        assert all(f"``{word}``" in told for word in field.words)


@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_calls_are_type_errors_that_name_the_operation(name: str) -> None:
    """Missing and unknown arguments are errors as of any function."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) missing a required argument: "):
        operations()[name]()
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'unheard_of'"):
        operations()[name](unheard_of=1, **dict.fromkeys(inspect.signature(operations()[name]).parameters))


def test_an_operation_is_frozen() -> None:
    """What was checked stays what it was."""
    built: Any = ops.export_users(IDS)
    with pytest.raises(AttributeError):
        built.path = "/elsewhere"


def test_descriptions_are_read_without_the_client() -> None:
    """The command line's help comes at once: what it is read off imports neither aiohttp nor the models."""
    program = """if True:
        import sys, types
        package = types.ModuleType("stream_tasks")
        package.__path__ = [sys.argv[1]]
        sys.modules["stream_tasks"] = package
        from stream_tasks._operations import OPERATIONS
        assert all(operation.fields for operation in OPERATIONS.values())
        assert "stream_tasks.models" not in sys.modules
        print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"})
    """
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(ops.__file__).parent)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout == "stream_tasks\n"


def test_a_description_names_its_result() -> None:
    """What a task results in is known to whoever asks, and imported then."""
    assert OPERATIONS["delete_users"].result_type is DeleteUsersResult


# Lists


@pytest.mark.parametrize(("call", "name", "most"), LISTS)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(list, id="a list"),
        pytest.param(tuple, id="a tuple"),
        pytest.param(iter, id="an iterator"),
        pytest.param(lambda values: (value for value in values), id="a generator"),
        pytest.param(lambda values: dict.fromkeys(values).keys(), id="the keys of a dict"),
    ],
)
def test_any_iterable_is_a_list(
    call: Callable[..., Request[Any]], name: str, most: int | None, make: Callable[..., Any]
) -> None:
    """Any iterable of texts is sent as a list, in its order."""
    values = [f"a:{number}" for number in range(most or 300)]
    body = call(make(values)).json
    assert body is not None
    assert body[name] == values


def test_a_set_is_a_list() -> None:
    """A set has no order, and is taken all the same."""
    body = ops.delete_users(set(IDS)).json
    assert body is not None
    assert sorted(body["user_ids"]) == IDS


@pytest.mark.parametrize(("call", "name", "most"), LISTS)
def test_an_empty_list_is_refused(call: Callable[..., Any], name: str, most: int | None) -> None:
    """The error names the parameter and how many are allowed."""
    allowed = "1 or more" if most is None else f"1 to {most}"
    with pytest.raises(ValueError, match=f"^{name} must hold {allowed} items, not 0$"):
        call([])


@pytest.mark.parametrize(("call", "name", "most"), [case for case in LISTS if case.values[2] is not None])
def test_a_list_that_is_too_long_is_refused(call: Callable[..., Any], name: str, most: int) -> None:
    """The error names the parameter, how many are allowed, and how many there were."""
    with pytest.raises(ValueError, match=f"^{name} must hold 1 to {most} items, not {most + 1};"):
        call([f"v{number}" for number in range(most + 1)])


@pytest.mark.parametrize(("call", "name"), NAMED)
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param("amy", "str", id="a bare text, which would be its letters"),
        pytest.param("", "str", id="an empty text"),
        pytest.param(b"amy", "bytes", id="bytes"),
        pytest.param({"amy": 1}, "dict", id="a mapping"),
        pytest.param(5, "int", id="a number"),
        pytest.param(True, "bool", id="a boolean"),
        pytest.param(object(), "object", id="what cannot be iterated"),
    ],
)
def test_what_is_no_list_is_refused(call: Callable[..., Any], name: str, values: Any, kind: str) -> None:
    """The error names the parameter and the type that was given."""
    with pytest.raises(TypeError, match=f"^{name} must be a list or another iterable, not {kind}$"):
        call(values)


@pytest.mark.parametrize(("call", "name"), NAMED)
@pytest.mark.parametrize(
    ("member", "kind", "message"),
    [
        pytest.param(5, TypeError, "must be a str, not int", id="a number"),
        pytest.param(None, TypeError, "must be a str, not NoneType", id="None"),
        pytest.param(b"amy", TypeError, "must be a str, not bytes", id="bytes"),
        pytest.param(["amy"], TypeError, "must be a str, not list", id="a list"),
        pytest.param("", ValueError, "must not be empty", id="an empty text"),
    ],
)
def test_a_wrong_member_is_refused(
    call: Callable[..., Any], name: str, member: Any, kind: type[Exception], message: str
) -> None:
    """Each member is a text that is not empty."""
    with pytest.raises(kind, match=f"^each of {name} {message}$"):
        call(["amy", member])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=100))
@example(["a/b", "ü", "."])
def test_ids_in_a_body_are_sent_as_they_are(ids: list[str]) -> None:
    """Only a path needs encoding; duplicates and order are the caller's."""
    assert ops.delete_users(ids).json == {"user_ids": ids}


def test_none_for_a_required_list_is_refused() -> None:
    """Leaving out what is required is an error, not an empty body."""
    with pytest.raises(TypeError, match=r"^user_ids must be a list or another iterable, not NoneType$"):
        ops.delete_users(None)  # type: ignore[arg-type]


# Words, flags, texts and numbers

FLAGS: list[Any] = [
    (ops.delete_channels, [["a:b"]], "hard_delete"),
    (ops.export_channels, [[CHANNEL]], "clear_deleted_message_text"),
    (ops.export_channels, [[CHANNEL]], "export_users"),
    (ops.export_channels, [[CHANNEL]], "include_soft_deleted_channels"),
    (ops.export_channels, [[CHANNEL]], "include_truncated_messages"),
    (ops.delete_users, [IDS], "files"),
    (ops.deactivate_users, [IDS], "mark_channels_deleted"),
    (ops.deactivate_users, [IDS], "mark_messages_deleted"),
    (ops.reactivate_users, [IDS], "restore_channels"),
    (ops.reactivate_users, [IDS], "restore_messages"),
    (ops.delete_call, ["default", "a"], "hard"),
    (ops.delete_feed, ["user", "amy"], "hard_delete"),
    (ops.delete_feeds_batch, [["user:amy"]], "hard_delete"),
    (ops.delete_feed_user_data, ["amy"], "hard_delete"),
]


@pytest.mark.parametrize(
    ("function", "required", "name"),
    [pytest.param(*case, id=f"{case[0].__name__} {case[2]}") for case in FLAGS],
)
def test_a_flag_is_a_boolean(function: Callable[..., Request[Any]], required: list[Any], name: str) -> None:
    """False is sent, None is left out, and anything else is an error that names the flag."""
    for value in (True, False):
        built = function(*required, **{name: value})
        assert (built.params if built.json is None else built.json)[name] is value
    assert function(*required, **{name: None}) == function(*required)
    for wrong, kind in ((1, "int"), (0, "int"), ("true", "str"), ([], "list")):
        with pytest.raises(TypeError, match=f"^{name} must be a bool, not {kind}$"):
            function(*required, **{name: wrong})


ALL_HARD: Any = {"messages": "hard", "conversations": "hard"}


@pytest.mark.parametrize(
    ("call", "name", "allowed"),
    [
        pytest.param(
            lambda v: ops.delete_users(IDS, user=v, **ALL_HARD), "user", "soft, pruning, hard", id="user"
        ),
        pytest.param(
            lambda v: ops.delete_users(IDS, messages=v), "messages", "soft, pruning, hard", id="messages"
        ),
        pytest.param(
            lambda v: ops.delete_users(IDS, conversations=v),
            "conversations",
            "soft, hard",
            id="conversations",
        ),
        pytest.param(lambda v: ops.delete_users(IDS, calls=v), "calls", "soft, hard", id="calls"),
    ],
)
def test_a_word_that_decides_what_is_destroyed_is_a_known_one(
    call: Callable[[Any], Request[Any]], name: str, allowed: str
) -> None:
    """Each known word is sent as it is; another one is an error that lists them."""
    for word in allowed.split(", "):
        body = call(word).json
        assert body is not None
        assert body[name] == word
    for wrong in ("", "Hard", "JSON", "harder", 5, True, ["hard"]):
        with pytest.raises(
            ValueError, match=f"^{name} must be one of {allowed}, not {re.escape(repr(wrong))}$"
        ):
            call(wrong)


@pytest.mark.parametrize(
    ("call", "name", "known"),
    [
        pytest.param(lambda v: ops.export_channels([CHANNEL], format=v), "format", "json, csv", id="format"),
        pytest.param(
            lambda v: ops.update_channels_batch(v, {"type": "messaging"}),
            "operation",
            "addMembers, addMembersHideHistory, removeMembers, inviteMembers, invites, assignRoles, "
            "addModerators, demoteModerators, hide, show, archive, unarchive, updateData",
            id="operation",
        ),
    ],
)
def test_another_word_is_sent_with_a_warning(
    call: Callable[[Any], Request[Any]], name: str, known: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is the judge of its own list; what is not a word at all is refused."""
    for word in known.split(", "):
        body = call(word).json
        assert body is not None
        assert body[name] == word
    assert not caplog.records
    body = call("brandNew").json
    assert body is not None
    assert body[name] == "brandNew"
    assert caplog.messages == [f"{name}='brandNew' is sent as it is: this version knows only {known}"]
    assert caplog.records[0].levelname == "WARNING"
    for wrong in ("", 5, True, ["hide"]):
        with pytest.raises(
            ValueError, match=f"^{name} must be one of {known}, not {re.escape(repr(wrong))}$"
        ):
            call(wrong)


# What concerns several arguments


@pytest.mark.parametrize(
    "others",
    [
        pytest.param({}, id="nothing else"),
        pytest.param({"messages": "hard"}, id="conversations not given"),
        pytest.param({"conversations": "hard"}, id="messages not given"),
        pytest.param({"messages": "pruning", "conversations": "hard"}, id="messages pruned"),
        pytest.param({"messages": "hard", "conversations": "soft"}, id="conversations soft"),
    ],
)
def test_hard_deleted_users_need_hard_messages_and_conversations(others: Any) -> None:
    """The server would refuse it, and the error says what is missing."""
    with pytest.raises(ValueError, match=r"^user hard needs messages hard and conversations hard"):
        ops.delete_users(IDS, user="hard", **others)


def test_hard_deleted_users_with_all_that_is_needed() -> None:
    """Hard with hard messages and hard conversations is sent as it is; calls are left to the caller."""
    body = ops.delete_users(IDS, user="hard", **ALL_HARD).json
    assert body == {"user_ids": IDS, "user": "hard", "messages": "hard", "conversations": "hard"}


@pytest.mark.parametrize("hard", [None, False], ids=["not given", "soft"])
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda **given: ops.delete_feed("user", "amy", **given), id="one feed"),
        pytest.param(lambda **given: ops.delete_feeds_batch(["user:amy"], **given), id="many feeds"),
    ],
)
def test_purging_activities_needs_a_hard_deletion(call: Callable[..., Any], hard: bool | None) -> None:
    """The server would refuse it."""
    with pytest.raises(ValueError, match=r"^purge_user_activities needs hard_delete as well$"):
        call(hard_delete=hard, purge_user_activities=True)
    call(hard_delete=hard, purge_user_activities=False)


# What an operation is for


@pytest.mark.parametrize(
    ("built", "items"),
    [
        pytest.param(ops.delete_channels(["a:1", "a:2"]), ("a:1", "a:2"), id="channels"),
        pytest.param(
            ops.export_channels([CHANNEL, {"cid": "a:b"}]), ("messaging:a", "a:b"), id="channels as mappings"
        ),
        pytest.param(ops.export_users(iter(IDS)), ("amy", "bob"), id="users of an iterator"),
        pytest.param(ops.import_block_list("rude", ["drat"]), ("drat",), id="words"),
        pytest.param(ops.delete_call("default", "a/b"), ("default:a/b",), id="a call"),
        pytest.param(ops.delete_feed("user", "amy"), ("user:amy",), id="a feed"),
        pytest.param(ops.export_feed_user_data("amy"), ("amy",), id="a user"),
        pytest.param(ops.update_channels_batch("hide", {"a": 1}), (), id="whatever a filter matches"),
    ],
)
def test_a_request_tells_what_it_is_for(built: Request[Any], items: tuple[str, ...]) -> None:
    """The items of a request are the ids that it names, as texts."""
    assert built.items == items
    assert built.operation in OPERATIONS


# Texts and ids by their value


class Word(str, enum.Enum):  # noqa: UP042 - the kind that shows its name
    """Texts that show themselves otherwise."""

    ID = "amy"
    HARD = "hard"
    FORMAT = "json"
    CID = "a:b"


def test_a_text_subclass_counts_by_its_value() -> None:
    """A member of an enum is the text that it stands for, wherever a text is taken."""
    hard: Any = Word.HARD
    deletion = ops.delete_users([Word.ID], user=hard, messages=hard, conversations=hard)
    assert deletion == ops.delete_users(["amy"], user="hard", messages="hard", conversations="hard")
    assert {type(value) for value in (deletion.json or {}).values()} == {list, str}
    assert ops.deactivate_users(["bob"], created_by_id=Word.ID) == ops.deactivate_users(
        ["bob"], created_by_id="amy"
    )
    assert ops.delete_call(Word.ID, Word.ID) == ops.delete_call("amy", "amy")
    json: Any = Word.FORMAT
    assert ops.export_channels([{"cid": Word.CID}], format=json) == ops.export_channels(
        [{"cid": "a:b"}], format="json"
    )
    assert ops.export_channels([{"cid": Word.CID}]).items == ("a:b",)
    assert ops.update_channels_batch("addMembers", {"a": 1}, members=[Word.ID]).json == {
        "operation": "addMembers", "filter": {"a": 1}, "members": [{"user_id": "amy"}]
    }  # fmt: skip


def test_a_uuid_is_an_id_wherever_an_id_is_taken() -> None:
    """A UUID is sent as its text."""
    some = uuid.UUID(int=7)
    assert ops.delete_users([some], new_call_owner_id=some) == ops.delete_users(
        [str(some)], new_call_owner_id=str(some)
    )
    assert ops.export_feed_user_data(some) == ops.export_feed_user_data(str(some))
    assert ops.update_channels_batch("addMembers", {"a": 1}, members=[some]).json == {
        "operation": "addMembers", "filter": {"a": 1}, "members": [{"user_id": str(some)}]
    }  # fmt: skip


class Count:
    """A whole number of another kind, as NumPy has them."""

    def __index__(self) -> int:
        return 500


def test_any_whole_number_is_a_count() -> None:
    """What can be an index is a number."""
    built = ops.import_block_list("rude", ["drat"], chunk_size=Count())  # type: ignore[arg-type]
    assert built.json == {"items": ["drat"], "chunk_size": 500}


def test_the_operation_of_a_batch_update_is_required() -> None:
    """None is no operation."""
    with pytest.raises(ValueError, match=r"^operation must be one of .*, not None$"):
        ops.update_channels_batch(None, {"a": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param(lambda v: ops.export_channels([CHANNEL], version=v), "version", id="version"),
        pytest.param(
            lambda v: ops.delete_users(IDS, new_channel_owner_id=v),
            "new_channel_owner_id",
            id="new_channel_owner_id",
        ),
        pytest.param(
            lambda v: ops.delete_users(IDS, new_call_owner_id=v), "new_call_owner_id", id="new_call_owner_id"
        ),
        pytest.param(
            lambda v: ops.deactivate_users(IDS, created_by_id=v), "created_by_id", id="who deactivates"
        ),
        pytest.param(
            lambda v: ops.reactivate_users(IDS, created_by_id=v), "created_by_id", id="who reactivates"
        ),
        pytest.param(ops.bulk_image_moderation, "csv_file", id="csv_file"),
    ],
)
def test_a_text_is_a_text_that_is_not_empty(call: Callable[[Any], Any], name: str) -> None:
    """A text of a wrong type or of no letters is an error that names it."""
    with pytest.raises(ValueError, match=f"^{name} must not be empty$"):
        call("")
    with pytest.raises(TypeError, match=f"^{name} must be a str, not int$"):
        call(5)
    with pytest.raises(TypeError, match=f"^{name} must be a str, not bytes$"):
        call(b"amy")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        pytest.param(0, ValueError, "chunk_size must be 1 or more, not 0", id="zero"),
        pytest.param(-5, ValueError, "chunk_size must be 1 or more, not -5", id="negative"),
        pytest.param(True, TypeError, "chunk_size must be an int, not bool", id="a boolean"),
        pytest.param(1.0, TypeError, "chunk_size must be an int, not float", id="a float"),
        pytest.param("1", TypeError, "chunk_size must be an int, not str", id="a text"),
    ],
)
def test_a_chunk_size_is_a_count(value: Any, kind: type[Exception], message: str) -> None:
    """A chunk holds one word or more."""
    with pytest.raises(kind, match=f"^{message}$"):
        ops.import_block_list("rude", ["drat"], chunk_size=value)


# Ids in the path

IN_PATH: list[Any] = [
    (lambda v: ops.import_block_list(v, ["drat"]), "id", "/blocklists/{}/import"),
    (lambda v: ops.delete_call(v, "a"), "type", "/video/call/{}/a/delete"),
    (lambda v: ops.delete_call("default", v), "id", "/video/call/default/{}/delete"),
    (lambda v: ops.delete_feed(v, "amy"), "feed_group_id", "/feeds/feed_groups/{}/feeds/amy"),
    (lambda v: ops.delete_feed("user", v), "feed_id", "/feeds/feed_groups/user/feeds/{}"),
    (ops.delete_feed_user_data, "user_id", "/feeds/users/{}/delete"),
    (ops.export_feed_user_data, "user_id", "/feeds/users/{}/export"),
]


@pytest.mark.parametrize(("call", "name", "path"), [pytest.param(*case, id=case[2]) for case in IN_PATH])
def test_an_id_in_the_path_is_one_segment(call: Callable[[Any], Request[Any]], name: str, path: str) -> None:
    """An id with slashes, dots or other letters stays in its place."""
    for value in ("a/b", "../../app", "a?b#c", "%2e%2e", "ü d"):
        before, after = ("/api/v2" + path).split("{}")
        built = call(value).path
        assert built.startswith(before)
        assert built.endswith(after)
        segment = built[len(before) : len(built) - len(after)]
        assert "/" not in segment
        assert unquote(segment) == value
        assert built.count("/") == path.count("/") + 2


@pytest.mark.parametrize(("call", "name", "path"), [pytest.param(*case, id=case[2]) for case in IN_PATH])
def test_an_id_that_is_no_segment_is_refused(call: Callable[[Any], Any], name: str, path: str) -> None:
    """An empty id, a dot, two dots, or another type is an error that names the parameter."""
    for wrong in ("", ".", ".."):
        with pytest.raises(ValueError, match=f"^{name} must be a non-empty text"):
            call(wrong)
    for wrong_type in (None, 5, True, b"a", ["a"]):
        with pytest.raises(TypeError, match=f"^{name} must be a str, not {type(wrong_type).__name__}$"):
            call(wrong_type)


# Channels, members and filters


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(NOON, "2026-05-01T12:00:00+00:00", id="UTC"),
        pytest.param(NOON.replace(microsecond=5), "2026-05-01T12:00:00.000005+00:00", id="microseconds"),
        pytest.param(
            NOON.replace(tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
            "2026-05-01T17:30:00+00:00",
            id="a zone",
        ),
        pytest.param("2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z", id="a text as it is"),
        pytest.param(None, None, id="None as it is"),
    ],
)
@pytest.mark.parametrize("name", ["messages_since", "messages_until"])
def test_a_datetime_is_sent_as_rfc_3339(name: str, moment: Any, text: str | None) -> None:
    """An aware datetime becomes the text that names it, and the caller's mapping stays as it was."""
    channel = CHANNEL | {name: moment}
    built = ops.export_channels([channel])
    assert built.json == {"channels": [CHANNEL | {name: text}]}
    assert channel[name] is moment


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
@example(NOON)
def test_what_is_sent_names_the_same_moment(moment: datetime) -> None:
    """Any aware datetime is read back as the moment that it was."""
    body = ops.export_channels([CHANNEL | {"messages_since": moment}]).json
    assert body is not None
    assert datetime.fromisoformat(body["channels"][0]["messages_since"]) - moment == timedelta(0)


@pytest.mark.parametrize("name", ["messages_since", "messages_until"])
def test_a_naive_datetime_is_refused(name: str) -> None:
    """A moment without a zone could be any of many; the error names the key."""
    with pytest.raises(ValueError, match=f"^{name} must be an aware datetime, not "):
        ops.export_channels([CHANNEL | {name: NOON.replace(tzinfo=None)}])


@pytest.mark.parametrize(
    ("channels", "kind", "message"),
    [
        pytest.param([], ValueError, "channels must hold 1 to 100 items, not 0", id="none"),
        pytest.param(
            [CHANNEL] * 101, ValueError, "channels must hold 1 to 100 items, not 101", id="too many"
        ),
        pytest.param("messaging:a", TypeError, "channels must be a list .*, not str", id="a bare text"),
        pytest.param(b"messaging:a", TypeError, "channels must be a list .*, not bytes", id="bytes"),
        pytest.param(
            CHANNEL, TypeError, "channels must be a list .*, not dict", id="one channel without a list"
        ),
        pytest.param(
            ["messaging:a"], TypeError, "each of channels must be a mapping, not str", id="a cid as text"
        ),
        pytest.param(
            [{}], ValueError, "each of channels must hold cid, or type and id", id="an empty mapping"
        ),
        pytest.param(
            [{"type": "m"}], ValueError, "each of channels must hold cid, or type and id", id="no id"
        ),
        pytest.param(
            [{"id": "a"}], ValueError, "each of channels must hold cid, or type and id", id="no type"
        ),
        pytest.param(
            [{"type": "m", "id": ""}],
            ValueError,
            "each of channels must hold cid, or type and id",
            id="an empty id",
        ),
        pytest.param(
            [{"cid": ""}], ValueError, "each of channels must hold cid, or type and id", id="an empty cid"
        ),
    ],
)
def test_wrong_channels_are_refused(channels: Any, kind: type[Exception], message: str) -> None:
    """A channel to export is a mapping that says which."""
    with pytest.raises(kind, match=f"^{message}"):
        ops.export_channels(channels)


def test_channels_may_come_from_a_generator() -> None:
    """A hundred channels from a generator are one batch."""
    body = ops.export_channels({"cid": f"messaging:{number}"} for number in range(100)).json
    assert body is not None
    assert len(body["channels"]) == 100


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param(
            {"filter": {}}, ValueError, "filter must not be empty", id="an empty filter, which is everything"
        ),
        pytest.param({"filter": None}, TypeError, "filter must be a mapping, not NoneType", id="no filter"),
        pytest.param({"filter": []}, TypeError, "filter must be a mapping, not list", id="a list as filter"),
        pytest.param({"members": []}, ValueError, "members must hold 1 to 100 items, not 0", id="no members"),
        pytest.param(
            {"members": ["amy"] * 101},
            ValueError,
            "members must hold 1 to 100 items, not 101$",
            id="too many members",
        ),
        pytest.param(
            {"hide_history_before": NOON.replace(tzinfo=None)},
            ValueError,
            "hide_history_before must be an aware datetime, not ",
            id="a moment without a zone",
        ),
        pytest.param(
            {"hide_history_before": 5},
            TypeError,
            "hide_history_before must be an aware datetime or a str, not int",
            id="a moment as a number",
        ),
        pytest.param(
            {"custom_unset": "shape"}, TypeError, "custom_unset must be a list .*, not str", id="one name"
        ),
        pytest.param({"members": "amy"}, TypeError, "members must be a list .*, not str", id="a bare text"),
        pytest.param(
            {"members": {"user_id": "amy"}},
            TypeError,
            "members must be a list .*, not dict",
            id="one mapping",
        ),
        pytest.param({"members": [""]}, ValueError, "each of members must not be empty", id="an empty id"),
        pytest.param(
            {"members": [{}]}, ValueError, "each of members must not be empty", id="an empty mapping"
        ),
        pytest.param(
            {"members": [5]}, TypeError, "each of members must be a mapping, not int", id="a number"
        ),
        pytest.param({"data": []}, TypeError, "data must be a mapping, not list", id="a list as data"),
        pytest.param({"data": "x"}, TypeError, "data must be a mapping, not str", id="a text as data"),
    ],
)
def test_a_wrong_batch_update_is_refused(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """The error names the parameter, or its member."""
    with pytest.raises(kind, match=f"^{message}"):
        ops.update_channels_batch(
            **({"operation": "addMembers", "filter": {"type": "messaging"}} | arguments)
        )


def test_a_batch_update_may_have_a_hundred_members_and_empty_data() -> None:
    """Empty data is data."""
    body = ops.update_channels_batch(
        "updateData", {"type": "m"}, members=(f"u{number}" for number in range(100)), data={}
    ).json
    assert body is not None
    assert len(body["members"]) == 100
    assert body["data"] == {}


# Operations that the module lacks


def test_a_custom_operation_is_checked_and_put_under_the_prefix() -> None:
    """Method and path are completed; body and query are the caller's, copied."""
    json, params = {"a": 1}, {"b": [True, None]}
    built = custom("post", "/users/a%2Fb", dict, json, params)
    assert built == Request("POST", "/api/v2/users/a%2Fb", dict, {"a": 1}, {"b": [True, None]})
    assert built.json is not json
    assert built.params is not params
    bare = custom("DELETE", "/api/v2/x", TaskResult, None, None)
    assert bare == Request("DELETE", "/api/v2/x", TaskResult)
    asked = custom("POST", "/x", dict, None, None, task_id_at="run.task_id", may_finish_at_once=True)
    assert (asked.task_id_at, asked.may_finish_at_once) == ("run.task_id", True)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        pytest.param({"task_id_at": ""}, ValueError, "task_id_at must not be empty", id="no keys"),
        pytest.param(
            {"task_id_at": "a..b"}, ValueError, "task_id_at must be keys joined by dots", id="a gap"
        ),
        pytest.param({"task_id_at": None}, TypeError, "task_id_at must be a str, not NoneType", id="None"),
        pytest.param(
            {"may_finish_at_once": 1}, TypeError, "may_finish_at_once must be a bool, not int", id="a number"
        ),
    ],
)
def test_a_wrong_place_of_the_id_is_refused(
    given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """The error names the parameter."""
    with pytest.raises(kind, match=f"^{message}"):
        custom("POST", "/x", dict, None, None, **given)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param(
            ("HEAD", "/x", dict, None, None), ValueError, "method must be one of", id="another method"
        ),
        pytest.param((None, "/x", dict, None, None), TypeError, "method must be a str", id="no method"),
        pytest.param(
            ("GET", "x", dict, None, None), ValueError, "path must start with", id="a relative path"
        ),
        pytest.param(("GET", "/../x", dict, None, None), ValueError, "path must not hold", id="a way up"),
        pytest.param(("GET", None, dict, None, None), TypeError, "path must be a str", id="no path"),
        pytest.param(
            ("POST", "/x", dict, [1], None),
            TypeError,
            "json must be a mapping, not list",
            id="a list as body",
        ),
        pytest.param(
            ("POST", "/x", dict, None, "a=1"),
            TypeError,
            "params must be a mapping, not str",
            id="a text as query",
        ),
    ],
)
def test_a_wrong_custom_operation_is_refused(
    arguments: tuple[Any, ...], kind: type[Exception], message: str
) -> None:
    """The error names the parameter."""
    with pytest.raises(kind, match=f"^{message}"):
        custom(*arguments)
