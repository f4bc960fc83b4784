"""Values as JSON can hold them, and as one line can show them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import attrs

__all__ = ["LOCAL", "WHOLE", "as_json", "plain", "shown"]

WHOLE: Final = "whole"
"""Metadata of a model's field: what the server sent is this field's value, not an object that holds it."""

LOCAL: Final = "local"
"""Metadata of a model's field: it is no part of what the server sent."""

_SHOWN: Final = 200
"""How much of a value a repr shows, in characters."""


def as_json(value: Any) -> Any:
    """Return what stands for a value that JSON does not know, for the ``default`` of `json.dumps`.

    A UUID is its text, a whole number such as NumPy's an int, a mapping a dict.

    Raises:
        TypeError: Nothing stands for it.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable") from None


def plain(value: Any) -> Any:
    """Return any value as dicts, lists, texts, numbers, booleans and None; what fits nowhere is its text.

    Models become what the server sent, with unknown keys beside the known ones.
    """
    if attrs.has(type(value)):
        return _fields(value)
    if hasattr(type(value), "model_dump"):  # a model of pydantic
        return plain(value.model_dump(mode="json"))
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray):
        return [plain(each) for each in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, datetime):
        return value.isoformat()
    try:
        return as_json(value)
    except TypeError:
        return str(value)


def _fields(value: Any) -> Any:
    fields = {
        each.name: plain(getattr(value, each.name))
        for each in attrs.fields(type(value))
        if not each.metadata.get(LOCAL)
    }
    for each in attrs.fields(type(value)):
        if each.metadata.get(WHOLE):
            return fields[each.name]
    extra = fields.pop("extra", None) or {}
    return extra | fields


def shown(value: Any) -> str:
    """Return the beginning of a value's repr, in one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
