"""Each operation of Stream's API that starts a task, told once.

An operation is a function that is decorated with what its request needs: method, path, limits, result. Its
parameters are the fields of the request, by name and type; its docstring tells them; its body checks what
concerns several of them. The methods of both clients, the commands of the command line and the checks of
`stream_tasks.testing.FakeStream` are read off these descriptions. Nothing is sent here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from stream_tasks._requests import OPERATIONS, operation

if TYPE_CHECKING:
    from stream_tasks import models
else:

    class _Models:
        """The module of that name, imported when a result type is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("stream_tasks.models"), name)

    models = _Models()

__all__ = ["MOST_ITEMS", "OPERATIONS"]

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


@operation(
    "POST",
    "/chat/channels/delete",
    lambda: models.DeleteChannelsResult,
    items="cids",
    most={"cids": 100},
    may_finish_at_once=True,
)
def delete_channels(cids: Iterable[str], *, hard_delete: bool | None = None) -> None:
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


@operation(
    "POST",
    "/chat/export_channels",
    lambda: models.ExportChannelsResult,
    items="channels",
    most={"channels": 100},
)
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
) -> None:
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


@operation(
    "PUT",
    "/chat/channels/batch",
    lambda: models.ChannelBatchResult,
    quota="ChannelBatchUpdate",
    may_finish_at_once=True,
)
def update_channels_batch(
    operation: ChannelBatchOperation,
    filter: Mapping[str, Any],  # noqa: A002 - the API's own word
    *,
    members: Iterable[str | Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
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


@operation(
    "POST",
    "/users/delete",
    lambda: models.DeleteUsersResult,
    items="user_ids",
    most={"user_ids": 100},
)
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
) -> None:
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


@operation(
    "POST",
    "/users/deactivate",
    lambda: models.DeactivateUsersResult,
    items="user_ids",
    most={"user_ids": 100},
)
def deactivate_users(
    user_ids: Iterable[str],
    *,
    created_by_id: str | None = None,
    mark_channels_deleted: bool | None = None,
    mark_messages_deleted: bool | None = None,
) -> None:
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


@operation(
    "POST",
    "/users/reactivate",
    lambda: models.TaskResult,
    items="user_ids",
    most={"user_ids": 100},
)
def reactivate_users(
    user_ids: Iterable[str],
    *,
    created_by_id: str | None = None,
    restore_channels: bool | None = None,
    restore_messages: bool | None = None,
) -> None:
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


@operation(
    "POST",
    "/export/users",
    lambda: models.ExportUsersResult,
    items="user_ids",
    most={"user_ids": 25},
)
def export_users(user_ids: Iterable[str]) -> None:
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


@operation("POST", "/blocklists/{block_list_id}/import", lambda: models.TaskResult, items="items")
def import_block_list(block_list_id: str, items: Iterable[str], *, chunk_size: int | None = None) -> None:
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


@operation(
    "POST",
    "/video/call/{call_type}/{call_id}/delete",
    lambda: models.DeleteCallResult,
    items="{call_type}:{call_id}",
    may_finish_at_once=True,
)
def delete_call(call_type: str, call_id: str, *, hard: bool | None = None) -> None:
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


@operation(
    "DELETE",
    "/feeds/feed_groups/{feed_group_id}/feeds/{feed_id}",
    lambda: models.TaskResult,
    items="{feed_group_id}:{feed_id}",
    status=200,
)
def delete_feed(feed_group_id: str, feed_id: str, *, hard_delete: bool | None = None) -> None:
    """Delete a feed.

    Args:
        feed_group_id: The feed's group, such as ``user``.
        feed_id: The feed's id.
        hard_delete: Erase it beyond recovery.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An id is empty.
        StreamException: The request failed.
    """


@operation("POST", "/feeds/feeds/delete", lambda: models.TaskResult, items="feeds", most={"feeds": 100})
def delete_feeds_batch(feeds: Iterable[str], *, hard_delete: bool | None = None) -> None:
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


@operation("POST", "/feeds/users/{user_id}/delete", lambda: models.TaskResult, items="{user_id}")
def delete_feed_user_data(user_id: str, *, hard_delete: bool | None = None) -> None:
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


@operation("POST", "/feeds/users/{user_id}/export", lambda: models.TaskResult, items="{user_id}")
def export_feed_user_data(user_id: str) -> None:
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


@operation(
    "POST",
    "/moderation/bulk_image_moderation",
    lambda: models.TaskResult,
    items="{csv_file}",
    quota="bulk_image_moderation",
)
def bulk_image_moderation(csv_file: str) -> None:
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


MOST_ITEMS: Final = {
    each.name: each.most[each.items] for each in OPERATIONS.values() if each.items in each.most
}
"""The operations that take a batch of items first, and how many the API allows in one request."""
