"""Each batch operation of Stream's API as data: what is sent, and what its task results in.

The functions check their arguments and build a request; nothing is sent here. The limits are those
of https://getstream.io/chat/docs/rest/ and the pages named in each docstring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from attrs import field, frozen

from stream_tasks._http.protocol import API_PREFIX, check_method, check_request_path, path_segment
from stream_tasks.models import (
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    TaskResult,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DeletionMode = Literal["soft", "pruning", "hard"]
ExportFormat = Literal["json", "csv"]
ChannelBatchOperation = Literal[
    "addMembers",
    "removeMembers",
    "inviteMembers",
    "invites",
    "assignRoles",
    "addModerators",
    "demoteModerators",
    "hide",
    "show",
    "archive",
    "unarchive",
    "updateData",
]

MOST_ITEMS: Final = {
    "delete_channels": 100,
    "export_channels": 100,
    "delete_users": 100,
    "deactivate_users": 100,
    "reactivate_users": 100,
    "export_users": 25,
    "delete_feeds_batch": 100,
}
"""The operations that take a batch of items first, and how many the API allows in one request."""


@frozen
class Operation(Generic[T_co]):
    """A request that starts a task.

    Attributes:
        method: The HTTP method.
        path: The path, encoded.
        result_type: What the task's result is decoded to.
        json: The body, or None.
        params: Query parameters.
        may_finish_at_once: The server may do the work in the request, and then names no task.
    """

    method: str
    path: str
    result_type: type[T_co]
    json: dict[str, Any] | None = None
    params: dict[str, Any] = field(factory=dict)
    may_finish_at_once: bool = False


def delete_channels(
    cids: Iterable[str], *, hard_delete: bool | None = None
) -> Operation[DeleteChannelsResult]:
    """Delete channels; a hard delete can take more than five minutes.

    See https://getstream.io/chat/docs/python/channel_delete/.

    Args:
        cids: 1 to 100 channels, each as ``type:id``.
        hard_delete: Erase them and their messages beyond recovery. A soft delete is done at once.

    Returns:
        The started task. Its result says of each channel what became of it: look at ``.failed``.

    Raises:
        TypeError: `cids` is no iterable of texts.
        ValueError: There are too few or too many.
        StreamException: The request failed.
    """
    body = _body(
        cids=_texts("cids", cids, operation="delete_channels"), hard_delete=_flag("hard_delete", hard_delete)
    )
    return _post("/chat/channels/delete", DeleteChannelsResult, body, may_finish_at_once=True)


def export_channels(
    channels: Iterable[Mapping[str, Any]],
    *,
    format: ExportFormat | None = None,  # noqa: A002 - the API's own word
    version: str | None = None,
    clear_deleted_message_text: bool | None = None,
    export_users: bool | None = None,
    include_fields: Iterable[str] | None = None,
    include_soft_deleted_channels: bool | None = None,
    include_truncated_messages: bool | None = None,
) -> Operation[ExportChannelsResult]:
    """Export the messages of channels to a file.

    See https://getstream.io/chat/docs/python/exporting_channels/.

    Args:
        channels: 1 to 100 mappings with ``type`` and ``id``, or ``cid``; ``messages_since`` and
            ``messages_until`` may be aware datetimes or RFC 3339 texts.
        format: ``json`` or ``csv``.
        version: The version of the export format, such as ``v2``.
        clear_deleted_message_text: Leave out the text of deleted messages.
        export_users: Export the channels' users too.
        include_fields: The only fields to export.
        include_soft_deleted_channels: Export soft-deleted channels too.
        include_truncated_messages: Export truncated messages too.

    Returns:
        The started task. Its result's ``url`` lives for 24 hours.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.
    """
    body = _body(
        channels=[_channel(channel) for channel in _items("channels", channels, operation="export_channels")],
        format=_choice("format", format, get_args(ExportFormat)),
        version=_optional_text("version", version),
        clear_deleted_message_text=_flag("clear_deleted_message_text", clear_deleted_message_text),
        export_users=_flag("export_users", export_users),
        include_fields=_optional_texts("include_fields", include_fields),
        include_soft_deleted_channels=_flag("include_soft_deleted_channels", include_soft_deleted_channels),
        include_truncated_messages=_flag("include_truncated_messages", include_truncated_messages),
    )
    return _post("/chat/export_channels", ExportChannelsResult, body)


def update_channels_batch(
    operation: ChannelBatchOperation,
    filter: Mapping[str, Any],  # noqa: A002 - the API's own word
    *,
    members: Iterable[str | Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Operation[ChannelBatchResult]:
    """Change all channels that match a filter.

    See https://getstream.io/chat/docs/python/channel_update/.

    Args:
        operation: What to do: ``addMembers``, ``removeMembers``, ``inviteMembers``, ``invites``,
            ``assignRoles``, ``addModerators``, ``demoteModerators``, ``hide``, ``show``, ``archive``,
            ``unarchive`` or ``updateData``.
        filter: Which channels, in Stream's query language; not empty.
        members: The members that the operation is about: ids, or mappings with ``user_id`` and a role.
        data: The new data, for ``updateData``.

    Returns:
        The started task. Its result says which channels were not updated: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.
    """
    body = _body(
        operation=_choice("operation", operation, get_args(ChannelBatchOperation), required=True),
        filter=_mapping("filter", filter, required=True),
        members=None if members is None else [_member(m) for m in _items("members", members)],
        data=None if data is None else _mapping("data", data),
    )
    path = f"{API_PREFIX}/chat/channels/batch"
    return Operation("PUT", path, ChannelBatchResult, body, may_finish_at_once=True)


def delete_users(
    user_ids: Iterable[str],
    *,
    user: DeletionMode | None = None,
    messages: DeletionMode | None = None,
    conversations: DeletionMode | None = None,
    calls: DeletionMode | None = None,
    files: bool | None = None,
    new_channel_owner_id: str | None = None,
    new_call_owner_id: str | None = None,
) -> Operation[DeleteUsersResult]:
    """Delete users and what is theirs.

    See https://getstream.io/chat/docs/python/update_users/.

    Args:
        user_ids: 1 to 100 users.
        user: How to delete the users: ``soft``, ``pruning`` or ``hard``.
        messages: How to delete their messages.
        conversations: How to delete their one-to-one channels.
        calls: How to delete their calls.
        files: Delete their files too.
        new_channel_owner_id: Who gets the channels of hard-deleted users.
        new_call_owner_id: Who gets their calls.

    Returns:
        The started task. Its result says of each user what became of it: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.
    """
    modes = get_args(DeletionMode)
    body = _body(
        user_ids=_texts("user_ids", user_ids, operation="delete_users"),
        user=_choice("user", user, modes),
        messages=_choice("messages", messages, modes),
        conversations=_choice("conversations", conversations, modes),
        calls=_choice("calls", calls, modes),
        files=_flag("files", files),
        new_channel_owner_id=_optional_text("new_channel_owner_id", new_channel_owner_id),
        new_call_owner_id=_optional_text("new_call_owner_id", new_call_owner_id),
    )
    return _post("/users/delete", DeleteUsersResult, body)


def deactivate_users(
    user_ids: Iterable[str],
    *,
    created_by_id: str | None = None,
    mark_channels_deleted: bool | None = None,
    mark_messages_deleted: bool | None = None,
) -> Operation[DeactivateUsersResult]:
    """Deactivate users: they can no longer connect.

    See https://getstream.io/chat/docs/python/update_users/.

    Args:
        user_ids: 1 to 100 users.
        created_by_id: On whose behalf.
        mark_channels_deleted: Mark their channels as deleted.
        mark_messages_deleted: Mark their messages as deleted.

    Returns:
        The started task.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: There are too few or too many ids.
        StreamException: The request failed.
    """
    body = _body(
        user_ids=_texts("user_ids", user_ids, operation="deactivate_users"),
        created_by_id=_optional_text("created_by_id", created_by_id),
        mark_channels_deleted=_flag("mark_channels_deleted", mark_channels_deleted),
        mark_messages_deleted=_flag("mark_messages_deleted", mark_messages_deleted),
    )
    return _post("/users/deactivate", DeactivateUsersResult, body)


def reactivate_users(
    user_ids: Iterable[str],
    *,
    created_by_id: str | None = None,
    restore_channels: bool | None = None,
    restore_messages: bool | None = None,
) -> Operation[TaskResult]:
    """Let deactivated users connect again.

    See https://getstream.io/chat/docs/python/update_users/.

    Args:
        user_ids: 1 to 100 users.
        created_by_id: On whose behalf.
        restore_channels: Restore their channels.
        restore_messages: Restore their messages.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: There are too few or too many ids.
        StreamException: The request failed.
    """
    body = _body(
        user_ids=_texts("user_ids", user_ids, operation="reactivate_users"),
        created_by_id=_optional_text("created_by_id", created_by_id),
        restore_channels=_flag("restore_channels", restore_channels),
        restore_messages=_flag("restore_messages", restore_messages),
    )
    return _post("/users/reactivate", TaskResult, body)


def export_users(user_ids: Iterable[str]) -> Operation[ExportUsersResult]:
    """Export all that is known of users to a file.

    See https://getstream.io/chat/docs/python/exporting_users/.

    Args:
        user_ids: 1 to 25 users.

    Returns:
        The started task. Its result's ``url`` lives for a limited time.

    Raises:
        TypeError: `user_ids` is no iterable of texts.
        ValueError: There are too few or too many.
        StreamException: The request failed.
    """
    body = _body(user_ids=_texts("user_ids", user_ids, operation="export_users"))
    return _post("/export/users", ExportUsersResult, body)


def import_block_list(
    block_list_id: str, items: Iterable[str], *, chunk_size: int | None = None
) -> Operation[TaskResult]:
    """Add words to a block list.

    Args:
        block_list_id: The block list.
        items: The words, one or more.
        chunk_size: How many the server takes at a time.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.
    """
    body = _body(
        items=_texts("items", items),
        chunk_size=None if chunk_size is None else check_count("chunk_size", chunk_size),
    )
    return _post(f"/blocklists/{path_segment('block_list_id', block_list_id)}/import", TaskResult, body)


def delete_call(call_type: str, call_id: str, *, hard: bool | None = None) -> Operation[DeleteCallResult]:
    """Delete a call.

    Args:
        call_type: The call's type, such as ``default``.
        call_id: The call's id.
        hard: Erase it and what was recorded beyond recovery. A soft delete is done at once.

    Returns:
        The started task. Its result says what became of the call: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An id is empty.
        StreamException: The request failed.
    """
    path = f"/video/call/{path_segment('call_type', call_type)}/{path_segment('call_id', call_id)}/delete"
    return _post(path, DeleteCallResult, _body(hard=_flag("hard", hard)), may_finish_at_once=True)


def delete_feed(feed_group: str, feed_id: str, *, hard_delete: bool | None = None) -> Operation[TaskResult]:
    """Delete a feed.

    Args:
        feed_group: The feed's group, such as ``user``.
        feed_id: The feed's id.
        hard_delete: Erase it beyond recovery.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An id is empty.
        StreamException: The request failed.
    """
    group, feed = path_segment("feed_group", feed_group), path_segment("feed_id", feed_id)
    params = _body(hard_delete=_flag("hard_delete", hard_delete))
    path = f"{API_PREFIX}/feeds/feed_groups/{group}/feeds/{feed}"
    return Operation("DELETE", path, TaskResult, params=params)


def delete_feeds_batch(feeds: Iterable[str], *, hard_delete: bool | None = None) -> Operation[TaskResult]:
    """Delete feeds.

    Args:
        feeds: 1 to 100 feeds, each as ``group:id``.
        hard_delete: Erase them beyond recovery.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: `feeds` is no iterable of texts.
        ValueError: There are too few or too many.
        StreamException: The request failed.
    """
    body = _body(
        feeds=_texts("feeds", feeds, operation="delete_feeds_batch"),
        hard_delete=_flag("hard_delete", hard_delete),
    )
    return _post("/feeds/feeds/delete", TaskResult, body)


def delete_feed_user_data(user_id: str, *, hard_delete: bool | None = None) -> Operation[TaskResult]:
    """Delete all that a user has in feeds.

    Args:
        user_id: The user.
        hard_delete: Erase it beyond recovery.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: The id is empty.
        StreamException: The request failed.
    """
    path = f"/feeds/users/{path_segment('user_id', user_id)}/delete"
    return _post(path, TaskResult, _body(hard_delete=_flag("hard_delete", hard_delete)))


def export_feed_user_data(user_id: str) -> Operation[TaskResult]:
    """Export all that a user has in feeds.

    Args:
        user_id: The user.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: The id is no text.
        ValueError: The id is empty.
        StreamException: The request failed.
    """
    return _post(f"/feeds/users/{path_segment('user_id', user_id)}/export", TaskResult, {})


def bulk_image_moderation(csv_file: str) -> Operation[TaskResult]:
    """Moderate many images.

    Args:
        csv_file: The address of a CSV file that lists them.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: The address is no text.
        ValueError: The address is empty.
        StreamException: The request failed.
    """
    body = _body(csv_file=_text("csv_file", csv_file))
    return _post("/moderation/bulk_image_moderation", TaskResult, body)


def custom(
    method: str,
    path: str,
    result_type: type[T],
    json: Mapping[str, Any] | None,
    params: Mapping[str, Any] | None,
) -> Operation[T]:
    """Build an operation that this module lacks.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: The method or the path is none.
    """
    return Operation(
        check_method(method),
        check_request_path(path),
        result_type,
        None if json is None else _mapping("json", json),
        {} if params is None else _mapping("params", params),
        may_finish_at_once=True,
    )


def _post(
    path: str, result_type: type[T], body: dict[str, Any], *, may_finish_at_once: bool = False
) -> Operation[T]:
    return Operation("POST", API_PREFIX + path, result_type, body, may_finish_at_once=may_finish_at_once)


def _body(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _items(name: str, values: Iterable[T], *, operation: str | None = None) -> list[T]:
    """Return the items as a list, as many as the operation takes at once."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list or another iterable, not {type(values).__name__}")
    found = list(values)
    most = None if operation is None else MOST_ITEMS[operation]
    if most is not None and len(found) > most:
        raise ValueError(
            f"{name} must hold 1 to {most} items, not {len(found)};"
            f" client.start_in_batches(client.{operation}, {name}) takes any number"
        )
    if not found:
        allowed = "1 or more" if most is None else f"1 to {most}"
        raise ValueError(f"{name} must hold {allowed} items, not 0")
    return found


def _texts(name: str, values: Iterable[str], *, operation: str | None = None) -> list[str]:
    return [_text(f"each of {name}", value) for value in _items(name, values, operation=operation)]


def _optional_texts(name: str, values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else _texts(name, values)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _flag(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def check_count(name: str, value: Any) -> int:
    """Return a number of things, at least one.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value}")
    return value


def _choice(name: str, value: Any, allowed: tuple[str, ...], *, required: bool = False) -> Any:
    if (value is not None or required) and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _mapping(name: str, value: Any, *, required: bool = False) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    if required and not value:
        raise ValueError(f"{name} must not be empty")
    return dict(value)


def _member(value: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"user_id": _text("each of members", value)}
    return _mapping("each of members", value, required=True)


def _channel(value: Any) -> dict[str, Any]:
    channel = _mapping("each of channels", value)
    if not channel.get("cid") and not (channel.get("type") and channel.get("id")):
        raise ValueError(f"each of channels must hold cid, or type and id, not {channel!r}")
    for name in ("messages_since", "messages_until"):
        moment = channel.get(name)
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ValueError(f"{name} must be an aware datetime, not {moment!r}")
            channel[name] = moment.astimezone(UTC).isoformat()
    return channel
