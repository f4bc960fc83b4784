"""What Stream refuses in a request that starts work.

Names, types, limits and words are read off the descriptions of the operations, which the clients' own checks
are read off, too. What only the server refuses stands here.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from stream_tasks._requests import Field

__all__ = ["problems"]

_JSON_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "flag": ((bool,), "a boolean"),
    "count": ((int,), "an integer"),
    "text": ((str,), "a string"),
    "id": ((str,), "a string"),
    "word": ((str,), "a string"),
    "moment": ((str,), "a string"),
    "object": ((dict,), "an object"),
    "list": ((list,), "an array"),
}
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_LONGEST_ID: Final = 64  # characters, of a channel or a call


def problems(
    fields: Sequence[Field], rules: Callable[..., object], given: Mapping[str, Any]
) -> dict[str, str]:
    """Return what is wrong with single fields of a request; {} when nothing is.

    Args:
        fields: The fields of the operation.
        rules: Raises a ValueError for values that do not go together.
        given: What the request holds for them, wherever it does.
    """
    wrong = {}
    is_of_call = {"type", "id"} <= {field.name for field in fields}
    for field in fields:
        value = given.get(field.name)
        if value is None and field.is_required:
            wrong[field.name] = f"{field.name} is a required field"
        elif value is not None:
            for message in _faults(field, value, is_of_call=is_of_call):
                wrong[field.name] = message
    if wrong:
        return wrong
    taken = inspect.signature(rules).parameters
    try:
        rules(**{name: given.get(name) for name in taken})
    except ValueError as error:
        return {_named(taken, str(error)): str(error)}
    return dict(_conflicts(given))


def _faults(field: Field, value: Any, *, is_of_call: bool) -> Iterator[str]:
    kinds, name = _JSON_TYPES[field.type]
    if not isinstance(value, kinds) or (field.type == "count" and isinstance(value, bool)):
        yield f"{field.name} must be {name}"
    elif field.words and value not in field.words:
        yield f"{field.name} must be one of [{' '.join(field.words)}]"
    else:
        try:
            field.check(value)
        except (TypeError, ValueError) as error:
            yield str(error)
        else:
            yield from _server_faults(field, value, is_of_call=is_of_call)


def _server_faults(field: Field, value: Any, *, is_of_call: bool) -> Iterator[str]:
    """Yield what a client passes on, and the server refuses."""
    if field.name in ("cids", "channels") or (is_of_call and field.name in ("type", "id")):
        ids = value if isinstance(value, list) else [value]
        if any(len(part) > _LONGEST_ID for each in ids for part in _parts(each)):
            yield f"{field.name} must not hold an id of more than {_LONGEST_ID} characters"
    moments = [value] if field.type == "moment" else []
    for channel in value if field.name == "channels" else []:
        moments += [channel[name] for name in ("messages_since", "messages_until") if channel.get(name)]
    if not all(isinstance(moment, str) and _RFC3339.fullmatch(moment) for moment in moments):
        yield f"{field.name} must hold times in RFC 3339"
    if field.name == "members" and not all(isinstance(each, dict) and each.get("user_id") for each in value):
        yield "each of members must be an object with a user_id"


def _parts(item: Any) -> list[str]:
    """Return the ids in a channel's cid, in a channel, or in a part of a path."""
    if isinstance(item, str):
        return item.split(":", 1)
    named = [item.get("type"), item.get("id"), *str(item.get("cid") or "").split(":", 1)]
    return [part for part in named if isinstance(part, str)]


def _conflicts(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that do not go together with others, and why."""
    if given.get("format") == "csv" and given.get("version") != "v2":
        yield "version", "version must be v2 for the format csv"
    if given.get("operation") == "addMembersHideHistory" and given.get("hide_history_before") is None:
        yield "hide_history_before", "hide_history_before is a required field of addMembersHideHistory"
    if given.get("operation") not in (None, "addMembersHideHistory") and given.get("hide_history_before"):
        yield "hide_history_before", "hide_history_before is for addMembersHideHistory only"
    for name in ("custom_set", "custom_unset"):
        if given.get("operation") not in (None, "updateData") and given.get(name) is not None:
            yield name, f"{name} is for updateData only"
        elif given.get(name) is not None and "custom" in (given.get("data") or {}):
            yield name, f"{name} must not be combined with data.custom"


def _named(names: Mapping[str, object], message: str) -> str:
    """Return the field that a message names first."""
    places = {name: re.search(rf"\b{name}\b", message) for name in names}
    return min(places, key=lambda name: found.start() if (found := places[name]) else len(message))
