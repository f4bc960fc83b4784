"""From the description of an operation to its request.

The command line's help is read off the descriptions, and is to come at once: so these are named tuples, which
are made faster than other classes, and next to nothing is imported.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from stream_tasks._arguments import (
    API_PREFIX,
    check_count,
    check_flag,
    check_id,
    check_keys,
    check_list,
    check_mapping,
    check_method,
    check_moment,
    check_pairs,
    check_request_path,
    check_segment,
    check_text,
    check_word,
    path_segment,
    text_value,
)

if TYPE_CHECKING:
    from stream_tasks.endpoints import Endpoint

__all__ = ["OPERATIONS", "Field", "Operation", "Request", "custom", "operation"]

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Request(NamedTuple, Generic[T_co]):
    """A request that starts a task.

    Attributes:
        method: The HTTP method.
        path: The path, encoded.
        result_type: What the task's result is decoded to.
        json: The body, or None.
        params: Query parameters.
        may_finish_at_once: The server may do the work in the request, and then names no task.
        task_id_at: Where in the answer the task's id is: keys, joined by dots.
        operation: The operation's name, or None for one that is not described.
        items: What the operation is for.
    """

    method: str
    path: str
    result_type: type[T_co]
    json: dict[str, Any] | None = None
    params: Mapping[str, Any] = MappingProxyType({})
    may_finish_at_once: bool = False
    task_id_at: str = "task_id"
    operation: str | None = None
    items: tuple[str, ...] = ()


class Field(NamedTuple):
    """One field of an operation's request.

    Attributes:
        name: The argument's name, and the field's on the wire unless it is a part of the path.
        place: Where it goes.
        type: What it is; a ``list`` is one of ids unless its `each` says otherwise.
        is_required: Whether it must be given.
        words: The allowed words, for a ``word``.
        most: The longest list that is allowed, or None for any.
        each: Checks an item of a list, and returns what is sent for it.
        is_closed: Whether another word is refused; otherwise the server is the judge of its own list.
    """

    name: str
    place: Literal["path", "query", "body"]
    type: Literal["flag", "count", "text", "id", "word", "moment", "object", "list"]
    is_required: bool = False
    words: tuple[str, ...] = ()
    most: int | None = None
    each: Callable[[str, Any], Any] = check_id
    is_closed: bool = False

    def check(self, value: Any, *, advice: str = "") -> Any:
        """Return what is sent for a value; of a part of the path, before it is encoded.

        Args:
            value: What the caller gave.
            advice: What to say of a list that is too long.

        Raises:
            TypeError: It has a wrong type.
            ValueError: It is out of range.
        """
        if self.place == "path":
            return check_segment(self.name, value)
        if self.type == "word":
            return check_word(self.name, value, self.words, is_closed=self.is_closed)
        if self.type == "object":
            return check_mapping(self.name, value, least=int(self.is_required))
        if self.type == "list":
            items: list[Any] = check_list(self.name, value, most=self.most, advice=advice)
            return [self.each(f"each of {self.name}", item) for item in items]
        return _CHECKS[self.type](self.name, value)


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "flag": check_flag,
    "count": check_count,
    "text": check_text,
    "id": check_id,
    "moment": check_moment,
}


class Operation(NamedTuple, Generic[T_co]):
    """All there is to know of an operation.

    Attributes:
        name: Its name, and that of the clients' methods.
        method: The HTTP method.
        path: The path after ``/api/v2``, with the names of arguments in braces.
        find_result_type: Returns what its task results in.
        items: What it is for: the argument that lists the items, or a text with names of arguments in braces.
        most: How long a list argument may be, by its name; the others have no limit.
        status: The HTTP status of a good answer.
        quota: What Stream's rate limits call it.
        may_finish_at_once: The server may do the work in the request, and then names no task.
        task_id_at: Where in the answer the task's id is: keys, joined by dots.
        find_endpoint: Returns where what it starts is polled; None if that is a task.
        destroys: Whether it deletes something: its words then decide what, and must be known ones.
        rules: The decorated function: its signature names the fields, its body checks what concerns several.
    """

    name: str
    method: str
    path: str
    find_result_type: Callable[[], type[T_co]]
    items: str
    most: Mapping[str, int]
    status: int
    quota: str
    may_finish_at_once: bool
    task_id_at: str
    find_endpoint: Callable[[], Endpoint[T_co]] | None
    destroys: bool
    rules: Callable[..., None]

    @property
    def result_type(self) -> type[T_co]:
        """What its task results in."""
        return self.find_result_type()

    @property
    def signature(self) -> inspect.Signature:
        """How it is called."""
        return _signature(self.rules)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of its request, in the order of the arguments."""
        if self.name not in _FIELDS:
            hints = get_type_hints(self.rules)
            parameters = self.signature.parameters.items()
            _FIELDS[self.name] = tuple(self._field(each, hints[name]) for name, each in parameters)
        return _FIELDS[self.name]

    def _field(self, parameter: inspect.Parameter, hint: Any) -> Field:
        name = parameter.name
        kind = get_args(hint)[0] if get_origin(hint) in (Union, UnionType) else hint
        is_id = kind is str and (name == "id" or name.endswith("_id"))
        place: Literal["path", "query", "body"] = "body" if self.method in ("POST", "PUT") else "query"
        return Field(
            name,
            "path" if f"{{{name}}}" in self.path else place,
            "id" if is_id else _TYPES[get_origin(kind) or kind],
            parameter.default is inspect.Parameter.empty,
            get_args(kind) if get_origin(kind) is Literal else (),
            self.most.get(name),
            _ITEMS.get(name, check_id),
            self.destroys,
        )

    def request(self, *args: Any, **kwargs: Any) -> Request[T_co]:
        """Check the arguments, and build the request.

        Raises:
            TypeError: One is missing, unknown or of a wrong type.
            ValueError: One is out of range.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self.name}() {exc}") from None
        bound.apply_defaults()
        given = bound.arguments
        for each in self.fields:
            if each.is_required or given[each.name] is not None:
                advice = f"; client.start_in_batches(client.{self.name}, {each.name}) takes any number"
                given[each.name] = each.check(
                    given[each.name], advice=advice if each.name == self.items else ""
                )
        self.rules(*bound.args, **bound.kwargs)
        return Request(
            self.method,
            API_PREFIX
            + self.path.format_map({name: path_segment(name, given[name]) for name in self._in("path")}),
            self.result_type,
            self._sent(given, "body") if self._in("body") else None,
            self._sent(given, "query"),
            self.may_finish_at_once,
            self.task_id_at,
            operation=self.name,
            items=self._items(given),
        )

    def _items(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what a request is for."""
        if self.items in given:
            return tuple(map(_item_id, given[self.items]))
        return (self.items.format_map(given),) if self.items else ()

    def _in(self, place: str) -> list[str]:
        return [each.name for each in self.fields if each.place == place]

    def _sent(self, given: Mapping[str, Any], place: str) -> dict[str, Any]:
        return {name: given[name] for name in self._in(place) if given[name] is not None}


_signature = functools.cache(inspect.signature)

_FIELDS: Final[dict[str, tuple[Field, ...]]] = {}
"""The fields of the operations that were asked for, by the operation's name."""

OPERATIONS: Final[dict[str, Operation[Any]]] = {}
"""All operations, by name."""


def operation(
    method: str,
    path: str,
    find_result_type: Callable[[], type[T]],
    *,
    items: str = "",
    most: Mapping[str, int] | None = None,
    status: int = 201,
    quota: str | None = None,
    may_finish_at_once: bool = False,
    task_id_at: str = "task_id",
    find_endpoint: Callable[[], Endpoint[T]] | None = None,
    destroys: bool = False,
) -> Callable[[Callable[P, None]], Callable[P, Request[T]]]:
    """Make a function that builds an operation's request of the function that describes its arguments."""

    def decorate(rules: Callable[P, None]) -> Callable[P, Request[T]]:
        name = rules.__name__
        described = OPERATIONS[name] = Operation(
            name, method, path, find_result_type, items, most or {}, status,
            quota or name.title().replace("_", ""), may_finish_at_once, task_id_at, find_endpoint, destroys,
            rules,
        )  # fmt: skip

        @functools.wraps(rules)
        def build(*args: P.args, **kwargs: P.kwargs) -> Request[T]:
            return described.request(*args, **kwargs)

        return build

    return decorate


def _member(name: str, value: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str | UUID):
        return {"user_id": check_id(name, value)}
    return check_mapping(name, value, least=1)


def _channel(name: str, value: Any) -> dict[str, Any]:
    channel = {
        key: text_value(each) if isinstance(each, str) else each
        for key, each in check_mapping(name, value).items()
    }
    if not channel.get("cid") and not (channel.get("type") and channel.get("id")):
        raise ValueError(f"{name} must hold cid, or type and id, not {channel!r}")
    if channel.get("cid"):
        check_pairs(
            "the cid of a channel", [check_text("cid", channel["cid"])], "type:id", "messaging:general"
        )
    for key in ("messages_since", "messages_until"):
        if channel.get(key) is not None:
            channel[key] = check_moment(key, channel[key])
    return channel


def _item_id(item: str | Mapping[str, Any]) -> str:
    if isinstance(item, str):
        return item
    return str(item.get("cid") or f"{item['type']}:{item['id']}")


_ITEMS: Final[Mapping[str, Callable[[str, Any], Any]]] = {"members": _member, "channels": _channel}
"""The lists that do not hold ids, by name."""

_TYPES: Final[Mapping[Any, Any]] = {
    bool: "flag",
    int: "count",
    str: "text",
    datetime: "moment",
    Literal: "word",
    Mapping: "object",
    Iterable: "list",
}
"""What a field is, by the type of the argument."""


def custom(
    method: str,
    path: str,
    result_type: type[T],
    json: Mapping[str, Any] | None,
    params: Mapping[str, Any] | None,
    *,
    task_id_at: str = "task_id",
    may_finish_at_once: bool = False,
) -> Request[T]:
    """Build the request of an operation that is not described.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: The method, the path or `task_id_at` is not valid.
    """
    return Request(
        check_method(method),
        check_request_path(path),
        result_type,
        None if json is None else check_mapping("json", json),
        {} if params is None else check_mapping("params", params),
        check_flag("may_finish_at_once", may_finish_at_once),
        check_keys("task_id_at", task_id_at),
    )
