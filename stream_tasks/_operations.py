"""Each operation of Stream's API that starts a task, told once.

An operation is a function that is decorated with what its request needs: method, path, limits, result. Its
parameters are the fields of the request, by name and type; its docstring tells them; its body checks what
concerns several of them. The methods of both clients, the commands of the command line and the checks of
`stream_tasks.testing.FakeStream` are read off these descriptions. Nothing is sent here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from stream_tasks._arguments import check_pairs
from stream_tasks._requests import OPERATIONS, operation

if TYPE_CHECKING:
    from stream_tasks import endpoints, models
else:

    class _Lazy:
        """A module that is imported when something of it is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._name), name)

    endpoints, models = _Lazy("stream_tasks.endpoints"), _Lazy("stream_tasks.models")

__all__ = ["MOST_ITEMS", "OPERATIONS"]

DeletionMode = Literal["soft", "pruning", "hard"]
ChannelDeletionMode = Literal["soft", "hard"]
ExportFormat = Literal["json", "csv"]
ImportMode = Literal["insert", "upsert"]
ImportProduct = Literal["chat", "feeds"]
ChannelBatchOperation = Literal[
    "addMembers",
    "addMembersHideHistory",
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
    destroys=True,
)
def delete_channels(
    cids: Iterable[str], *, hard_delete: bool | None = None, skip_truncate: bool | None = None
) -> None:
    """Delete channels; a hard delete can take more than five minutes.

    See https://getstream.io/chat/docs/python/channel_delete/.

    Args:
        cids: 1 to 100 channels, each as ``type:id``.
        hard_delete: Erase them and their messages beyond recovery. A soft delete is done at once.
        skip_truncate: Keep the messages of soft-deleted distinct channels, for when such a channel is made
            again; not together with `hard_delete`.

    Returns:
        The started task. Its result says of each channel what became of it: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: There are too few or too many, or one has no type.
        StreamException: The request failed.

    Example:
        >>> started = await client.delete_channels(["messaging:general"], hard_delete=True)
        >>> deleted = await client.wait_for_task(started, timeout=600)
        >>> print(deleted.failed)
    """
    check_pairs("cids", cids, "type:id", "messaging:general")


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
        format: ``json`` or ``csv``. Another word is sent with a warning.
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

    Example:
        >>> started = await client.export_channels([{"type": "messaging", "id": "general"}])
        >>> export = await client.wait_for_task(started, timeout=600)
        >>> print(export.url)
    """


@operation(
    "PUT",
    "/chat/channels/batch",
    lambda: models.ChannelBatchResult,
    most={"members": 100},
    quota="ChannelBatchUpdate",
    may_finish_at_once=True,
)
def update_channels_batch(
    operation: ChannelBatchOperation,
    filter: Mapping[str, Any],  # noqa: A002 - the API's own word
    *,
    members: Iterable[str | UUID | Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    custom_set: Mapping[str, Any] | None = None,
    custom_unset: Iterable[str] | None = None,
    hide_history_before: datetime | str | None = None,
) -> None:
    """Change all channels that match a filter.

    See https://getstream.io/chat/docs/python/channel_update/.

    Args:
        operation: What to do: ``addMembers``, ``addMembersHideHistory``, ``removeMembers``,
            ``inviteMembers``, ``invites``, ``assignRoles``, ``addModerators``, ``demoteModerators``,
            ``hide``, ``show``, ``archive``, ``unarchive`` or ``updateData``. Another word is sent with a
            warning.
        filter: Which channels, in Stream's query language; not empty.
        members: 1 to 100 members that the operation is about: ids, or mappings with ``user_id`` and a role.
        data: The new data, for ``updateData``.
        custom_set: Custom fields to set and their values, for ``updateData``; a dot in a name leads into an
            object. Not together with ``custom`` in `data`.
        custom_unset: Names of custom fields to remove, for ``updateData``.
        hide_history_before: For ``addMembersHideHistory``, which needs it: until when messages are hidden
            from the new members. An aware datetime or an RFC 3339 text, in the past.

    Returns:
        The started task. Its result says which channels were not updated: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.

    Example:
        >>> started = await client.update_channels_batch("hide", {"cid": {"$in": ["messaging:general"]}})
        >>> updated = await client.wait_for_task(started, timeout=600)
        >>> print(updated.failed)
    """


@operation(
    "POST",
    "/users/delete",
    lambda: models.DeleteUsersResult,
    items="user_ids",
    most={"user_ids": 100},
    destroys=True,
)
def delete_users(
    user_ids: Iterable[str | UUID],
    *,
    user: DeletionMode | None = None,
    messages: DeletionMode | None = None,
    conversations: ChannelDeletionMode | None = None,
    calls: ChannelDeletionMode | None = None,
    files: bool | None = None,
    new_channel_owner_id: str | UUID | None = None,
    new_call_owner_id: str | UUID | None = None,
) -> None:
    """Delete users and what is theirs.

    See https://getstream.io/chat/docs/python/update_users/.

    Args:
        user_ids: 1 to 100 users.
        user: How to delete the users: ``soft``, ``pruning`` or ``hard``; ``hard`` needs messages and
            conversations ``hard``, too.
        messages: How to delete their messages: ``soft``, ``pruning`` or ``hard``.
        conversations: How to delete their one-to-one channels: ``soft`` or ``hard``.
        calls: How to delete their calls: ``soft`` or ``hard``.
        files: Delete their files too.
        new_channel_owner_id: Who gets the channels of hard-deleted users.
        new_call_owner_id: Who gets their calls.

    Returns:
        The started task. Its result says of each user what became of it: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.

    Example:
        >>> started = await client.delete_users(["jane", "joe"], user="soft")
        >>> deleted = await client.wait_for_task(started, timeout=600)
        >>> print(deleted.failed)
    """
    if user == "hard" and not messages == conversations == "hard":
        raise ValueError(
            "user hard needs messages hard and conversations hard as well,"
            f" not messages {messages} and conversations {conversations}"
        )


@operation(
    "POST",
    "/users/deactivate",
    lambda: models.DeactivateUsersResult,
    items="user_ids",
    most={"user_ids": 100},
)
def deactivate_users(
    user_ids: Iterable[str | UUID],
    *,
    created_by_id: str | UUID | None = None,
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

    Example:
        >>> started = await client.deactivate_users(["jane", "joe"], mark_messages_deleted=True)
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "POST",
    "/users/reactivate",
    lambda: models.TaskResult,
    items="user_ids",
    most={"user_ids": 100},
)
def reactivate_users(
    user_ids: Iterable[str | UUID],
    *,
    created_by_id: str | UUID | None = None,
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

    Example:
        >>> started = await client.reactivate_users(["jane", "joe"], restore_messages=True)
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "POST",
    "/export/users",
    lambda: models.ExportUsersResult,
    items="user_ids",
    most={"user_ids": 25},
)
def export_users(user_ids: Iterable[str | UUID]) -> None:
    """Export all that is known of users to a file.

    See https://getstream.io/chat/docs/python/exporting_users/.

    Args:
        user_ids: 1 to 25 users.

    Returns:
        The started task. Its result's ``url`` lives for a limited time.

    Raises:
        TypeError: `user_ids` is not an iterable of texts.
        ValueError: There are too few or too many.
        StreamException: The request failed.

    Example:
        >>> started = await client.export_users(["jane"])
        >>> export = await client.wait_for_task(started, timeout=600)
        >>> print(export.url)
    """


@operation("POST", "/blocklists/{id}/import", lambda: models.TaskResult, items="items")
def import_block_list(
    id: str | UUID,  # noqa: A002 - the API's own word
    items: Iterable[str],
    *,
    chunk_size: int | None = None,
) -> None:
    """Add words to a block list.

    Args:
        id: The block list.
        items: The words, one or more.
        chunk_size: How many the server takes at a time.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is out of range.
        StreamException: The request failed.

    Example:
        >>> started = await client.import_block_list("profanity", ["darn", "heck"])
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "POST",
    "/video/call/{type}/{id}/delete",
    lambda: models.DeleteCallResult,
    items="{type}:{id}",
    may_finish_at_once=True,
    destroys=True,
)
def delete_call(
    type: str,  # noqa: A002 - the API's own word
    id: str | UUID,  # noqa: A002 - likewise
    *,
    hard: bool | None = None,
) -> None:
    """Delete a call.

    Args:
        type: The call's type, such as ``default``.
        id: The call's id.
        hard: Erase it and what was recorded beyond recovery. A soft delete is done at once.

    Returns:
        The started task. Its result says what became of the call: look at ``.failed``.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An id is empty.
        StreamException: The request failed.

    Example:
        >>> started = await client.delete_call("default", "standup", hard=True)
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "DELETE",
    "/feeds/feed_groups/{feed_group_id}/feeds/{feed_id}",
    lambda: models.TaskResult,
    items="{feed_group_id}:{feed_id}",
    status=200,
    destroys=True,
)
def delete_feed(
    feed_group_id: str,
    feed_id: str | UUID,
    *,
    hard_delete: bool | None = None,
    purge_user_activities: bool | None = None,
) -> None:
    """Delete a feed.

    Args:
        feed_group_id: The feed's group, such as ``user``.
        feed_id: The feed's id.
        hard_delete: Erase it beyond recovery.
        purge_user_activities: Erase its owner's activities from all other feeds, too; needs `hard_delete`.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An id is empty, or `purge_user_activities` lacks `hard_delete`.
        StreamException: The request failed.

    Example:
        >>> started = await client.delete_feed("user", "jane", hard_delete=True)
        >>> await client.wait_for_task(started, timeout=600)
    """
    _check_purge(hard_delete, purge_user_activities)


@operation(
    "POST",
    "/feeds/feeds/delete",
    lambda: models.TaskResult,
    items="feeds",
    most={"feeds": 100},
    destroys=True,
)
def delete_feeds_batch(
    feeds: Iterable[str], *, hard_delete: bool | None = None, purge_user_activities: bool | None = None
) -> None:
    """Delete feeds.

    Args:
        feeds: 1 to 100 feeds, each as ``group:id``.
        hard_delete: Erase them beyond recovery.
        purge_user_activities: Erase their owners' activities from all other feeds, too; needs `hard_delete`.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: There are too few or too many, one has no group, or `purge_user_activities` lacks
            `hard_delete`.
        StreamException: The request failed.

    Example:
        >>> started = await client.delete_feeds_batch(["user:jane", "user:joe"], hard_delete=True)
        >>> await client.wait_for_task(started, timeout=600)
    """
    check_pairs("feeds", feeds, "group:id", "user:amy")
    _check_purge(hard_delete, purge_user_activities)


@operation(
    "POST", "/feeds/users/{user_id}/delete", lambda: models.TaskResult, items="{user_id}", destroys=True
)
def delete_feed_user_data(user_id: str | UUID, *, hard_delete: bool | None = None) -> None:
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

    Example:
        >>> started = await client.delete_feed_user_data("jane", hard_delete=True)
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation("POST", "/feeds/users/{user_id}/export", lambda: models.TaskResult, items="{user_id}")
def export_feed_user_data(user_id: str | UUID) -> None:
    """Export all that a user has in feeds.

    Args:
        user_id: The user.

    Returns:
        The started task; its result is not documented.

    Raises:
        TypeError: The id is not a text.
        ValueError: The id is empty.
        StreamException: The request failed.

    Example:
        >>> started = await client.export_feed_user_data("jane")
        >>> await client.wait_for_task(started, timeout=600)
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
        TypeError: The address is not a text.
        ValueError: The address is empty.
        StreamException: The request failed.

    Example:
        >>> started = await client.bulk_image_moderation("https://example.com/images.csv")
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "POST",
    "/moderation/check",
    lambda: models.TaskResult,
    items="{entity_type}:{entity_id}",
    quota="Check",
    may_finish_at_once=True,
)
def check_moderation(
    entity_type: str,
    entity_id: str | UUID,
    entity_creator_id: str | UUID,
    *,
    moderation_payload: Mapping[str, Any] | None = None,
    config_key: str | None = None,
    config_team: str | None = None,
    config: Mapping[str, Any] | None = None,
    content_published_at: datetime | str | None = None,
    options: Mapping[str, Any] | None = None,
    test_mode: bool | None = None,
    user_id: str | UUID | None = None,
    user: Mapping[str, Any] | None = None,
) -> None:
    """Have content moderated; what takes long, such as videos, is done by a task.

    Args:
        entity_type: What the content is, such as ``stream:chat:v1:message``.
        entity_id: The content's id.
        entity_creator_id: The user who made it.
        moderation_payload: The content: ``texts``, ``images`` and ``videos``, each a list.
        config_key: The key of the configuration to moderate by.
        config_team: That configuration's team.
        config: A configuration to moderate by, in place of a stored one.
        content_published_at: When it was published: an aware datetime or an RFC 3339 text.
        options: Further options.
        test_mode: Change nothing.
        user_id: On whose behalf.
        user: The same, as a mapping.

    Returns:
        The started task; its result is not documented. Its ``data`` is the answer, with ``status`` and
        ``recommended_action``; ``task_id`` is None if that is all.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A text is empty, or a datetime has no zone.
        StreamException: The request failed.

    Example:
        >>> payload = {"videos": ["https://example.com/clip.mp4"]}
        >>> started = await client.check_moderation(
        ...     "stream:chat:v1:message", "message-1", "jane", moderation_payload=payload
        ... )
        >>> await client.wait_for_task(started, timeout=600)
    """


@operation(
    "POST",
    "/imports",
    lambda: models.ImportResult,
    items="{path}",
    task_id_at="import_task.id",
    find_endpoint=lambda: endpoints.IMPORT,
)
def create_import(path: str, mode: ImportMode, *, merge_custom: bool | None = None) -> None:
    """Import a file of users, channels and messages, which has been uploaded.

    Args:
        path: Where it was uploaded to.
        mode: ``upsert`` replaces what is there already, ``insert`` leaves it.
        merge_custom: Merge custom data with what is there already, rather than replacing that.

    Returns:
        What was started; waiting for it polls the import, and returns an `ImportResult` with its steps.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A text is empty.
        StreamException: The request failed.

    Example:
        >>> started = await client.create_import("imports/users.json", "upsert")
        >>> imported = await client.wait_for_task(started, 5, timeout=None)
        >>> print(imported.state, imported.history)
    """


@operation(
    "POST",
    "/imports/v2",
    lambda: models.ImportV2Result,
    quota="CreateImportV2Task",
    task_id_at="id",
    find_endpoint=lambda: endpoints.IMPORT_V2,
)
def create_import_v2_task(
    product: ImportProduct, settings: Mapping[str, Any], *, user_id: str | UUID | None = None
) -> None:
    """Import a file by the second version of imports.

    Stream does not document which states of these are final: see `stream_tasks.endpoints.IMPORT_V2`.

    Args:
        product: ``chat`` or ``feeds``.
        settings: ``path``, ``mode``, ``merge_custom``, ``s3``, ``skip_references_check`` and
            ``use_import_time_as_op_time``.
        user_id: On whose behalf.

    Returns:
        What was started; waiting for it polls the import, and returns an `ImportV2Result`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A text or `settings` is empty.
        StreamException: The request failed.

    Example:
        >>> settings = {"path": "imports/users.json", "mode": "upsert"}
        >>> started = await client.create_import_v2_task("chat", settings)
        >>> imported = await client.wait_for_task(started, 5, timeout=None)
        >>> print(imported.state, imported.result)
    """


@operation(
    "POST",
    "/moderation/policy_tests/sets/{id}/runs",
    lambda: models.TaskResult,
    items="{id}",
    quota="start_policy_test_run",
    task_id_at="run.id",
    find_endpoint=lambda: endpoints.POLICY_TEST_RUN,
)
def start_policy_test_run(id: str | UUID) -> None:  # noqa: A002 - the API's own word
    """Run a set of policy tests of moderation.

    Args:
        id: The set.

    Returns:
        What was started; waiting for it polls the run, and returns what the server tells of it.

    Raises:
        TypeError: The id is not a text.
        ValueError: The id is empty.
        StreamException: The request failed.

    Example:
        >>> started = await client.start_policy_test_run("set-1")
        >>> print(await client.wait_for_task(started, timeout=600))
    """


def _check_purge(hard_delete: bool | None, purge_user_activities: bool | None) -> None:
    if purge_user_activities and not hard_delete:
        raise ValueError("purge_user_activities needs hard_delete as well")


MOST_ITEMS: Final = {
    each.name: each.most[each.items] for each in OPERATIONS.values() if each.items in each.most
}
"""The operations that take a batch of items first, and how many the API allows in one request."""
