"""Bytes to models: the only module that imports cattrs.

The rules:

- a timestamp is an integer or float of nanoseconds since the epoch, or an RFC 3339 text with 0 to 9
  fractional digits and any offset; it becomes an aware UTC datetime, cut to microseconds;
- unknown keys go into a model's ``extra`` where it has one, and are ignored elsewhere;
- a null where a default stands is the default;
- texts, integers and booleans are never converted into each other;
- a mapping of per-item outcomes is the whole payload, not a key of it;
- NaN and the infinities, which are not JSON, are taken where anything may stand, and are never written;
- nothing that is odd about a failed task's error or result hides that it failed.

cattrs is imported, and its converters are made, with the first client: importing the package should
cost little more than importing aiohttp.
"""

from __future__ import annotations

import functools
import json
import re
from codecs import BOM_UTF8
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, Union, cast, get_args, get_origin

import attrs

from stream_tasks._plain import LOCAL, as_json
from stream_tasks.endpoints import status_word
from stream_tasks.exceptions import StreamDecodeException, one_line
from stream_tasks.models import ItemResult, ItemResults, Snapshot, Task, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable

    import cattrs

    from stream_tasks.endpoints import Polled

__all__ = ["check_kind", "dumps", "loads", "prepare", "structure", "structure_snapshot", "structure_task"]

T = TypeVar("T")

_decode = json.JSONDecoder().decode

_EXACT = 4 * 10**18  # nanoseconds: the year 2096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_ERROR_KEYS = [each.name for each in attrs.fields(TaskError)]
_BODY_SHOWN = 500
_VALUE_SHOWN = 100


def loads(body: bytes) -> Any:
    """Parse JSON; a byte-order mark before it is skipped.

    Raises:
        StreamDecodeException: The body is not JSON.
    """
    if body.startswith(BOM_UTF8):
        body = body.removeprefix(BOM_UTF8)
    try:
        return _decode(body.decode())
    except (ValueError, RecursionError) as exc:
        raise StreamDecodeException(f"the body is not JSON: {exc}", body=_shown(body)) from exc


def _shown(body: bytes) -> str:
    return body[:_BODY_SHOWN].decode("utf-8", "replace")


def dumps(value: Any) -> bytes:
    """Write JSON; UUIDs, whole numbers of any kind and mappings are what stands for them.

    Raises:
        TypeError: The value holds what JSON cannot.
        ValueError: It holds NaN, an infinity or itself, or is nested too deeply.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=as_json).encode()
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"json (the request's body) must be what JSON can hold: {exc}") from exc
    except RecursionError as exc:
        raise ValueError("json (the request's body) is nested too deeply") from exc


def _brief(value: Any) -> str:
    return one_line(repr(value), _VALUE_SHOWN)


def _timestamp(value: Any, _: Any = None) -> datetime:
    if type(value) is int and 0 <= value < _EXACT:
        # The quick way; a float holds these to a tenth of a microsecond.
        return datetime.fromtimestamp(value // 1000 / 1e6, UTC)
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a timestamp, not {_brief(value)}")
    try:
        return _EPOCH + timedelta(microseconds=int(value) // 1000)
    except (OverflowError, ValueError) as exc:
        raise ValueError(f"expected nanoseconds since the epoch, not {_brief(value)}") from exc


def _from_text(text: str) -> datetime:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"expected an RFC 3339 timestamp, not {_brief(text)}")
    date, clock, fraction, offset = match.groups()
    # Six digits are what a datetime holds, on every Python.
    micros = (fraction or "").ljust(6, "0")[:6]
    zone = "+00:00" if offset in "Zz" else offset
    try:
        return datetime.fromisoformat(f"{date}T{clock}.{micros}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"expected an RFC 3339 timestamp, not {_brief(text)}") from exc


def _strict(kind: type) -> Any:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"expected a number, not {type(value).__name__}")
    return float(value)


def _model(kind: type, converter: cattrs.Converter) -> Any:
    """Structure an attrs class: nulls are defaults, and what is unknown is kept in ``extra``."""
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415 - see above

    fields = attrs.fields_dict(get_origin(kind) or kind)
    local = {name: override(omit=True) for name, a in fields.items() if a.metadata.get(LOCAL)}
    fields = {name: a for name, a in fields.items() if name not in local}
    fill: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, converter, **cast("Any", local))
    optional = {name for name, a in fields.items() if a.default is not attrs.NOTHING}

    def build(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        model = fill({k: v for k, v in value.items() if v is not None or k not in optional}, kind)
        if "extra" in fields and isinstance(model.extra, dict):
            unknown = {k: v for k, v in value.items() if k not in fields}
            model = attrs.evolve(model, extra=model.extra | unknown)
        return model

    return build


def _task(converter: cattrs.Converter) -> Any:
    """Structure a task, as often as one is polled: nulls are defaults, and what is unknown is ``extra``."""
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415 - see above

    fill: Callable[[Any, Any], Task] = make_dict_structure_fn(
        Task, converter, result=override(struct_hook=_payload), extra=override(omit=True)
    )
    known = {each.name for each in attrs.fields(Task)} - {"extra"}

    def build(value: Any, _: Any) -> Task:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        task = fill(_tolerated(value) if value.get("status") == "failed" else value, Task)
        if value.keys() <= known:
            return task
        return attrs.evolve(task, extra={name: value[name] for name in value.keys() - known})

    return build


def _payload(value: Any, _: Any) -> Any:
    return None if value is None else _object(value, _)


def _tolerated(value: dict[str, Any]) -> dict[str, Any]:
    """Return a failed task's answer as one that fits, with what there is of its error."""
    result, error = value.get("result"), value.get("error")
    if isinstance(error, dict):
        told = {name: _text(error[name]) for name in _ERROR_KEYS if error.get(name) is not None}
    else:
        told = {} if error is None else {"description": _text(error)}
    return value | {"result": result if isinstance(result, dict) else None, "error": told or None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_task(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return Task in (kind, origin)


def _is_list(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is list


def _list(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    from cattrs.cols import list_structure_factory  # noqa: PLC0415 - see above

    fill = list_structure_factory(kind, converter)

    def build(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, not {type(value).__name__}")
        return fill(value, kind)

    return build


def _items(converter: cattrs.Converter) -> Any:
    def build(value: Any, kind: type[ItemResults]) -> ItemResults:
        return kind(items=converter.structure(value, dict[str, ItemResult]))

    return build


class _MisfitError(ValueError):
    """Raised when a value does not fit, with the place within the value where that is."""

    def __init__(self, reason: str, place: str) -> None:
        super().__init__(reason)
        self.place = place


def _is_pydantic(kind: Any) -> bool:
    """Whether it is a model, or a dataclass, of pydantic: which then is there."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_core_schema__")


def _pydantic(kind: Any) -> Callable[[Any, Any], Any]:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - only if a caller uses it

    validate = TypeAdapter(kind).validate_python

    def build(value: Any, _: Any) -> Any:
        try:
            return validate(value)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"])
            raise _MisfitError(first["msg"], place) from exc

    return build


def _refuse(kind: Any) -> NoReturn:
    raise TypeError(f"nothing can be decoded to {getattr(kind, '__name__', kind)}")


@functools.lru_cache(maxsize=256)
def check_kind(name: str, kind: Any) -> None:
    """Check that values can be decoded to a type, and to all that it consists of.

    Raises:
        TypeError: They cannot.
    """
    try:
        for each in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
            _converter().get_structure_hook(each)
    except Exception as exc:
        raise TypeError(
            f"{name} must be a type to decode JSON to, such as a class of attrs, dataclasses or pydantic, a"
            f" TypedDict or a list of these, not {getattr(kind, '__name__', kind)}: {exc}"
        ) from exc


def _object(value: Any, kind: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, not {type(value).__name__}")
    return dict(value) if kind is dict else value


@functools.cache
def _converter(*, detailed: bool = False) -> cattrs.Converter:
    """Make a fast converter, or one that explains what does not fit."""
    import cattrs  # noqa: PLC0415 - see above

    converter = cattrs.Converter(detailed_validation=detailed, structure_fallback_factory=_refuse)
    converter.register_structure_hook(datetime, _timestamp)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _strict(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_factory(attrs.has, _model)
    converter.register_structure_hook_func(_is_task, _task(converter))
    converter.register_structure_hook_factory(_is_list, _list)
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, ItemResults), _items(converter)
    )
    converter.register_structure_hook_factory(_is_pydantic, _pydantic)
    converter.register_structure_hook_func(
        lambda kind: dict in (kind, get_origin(kind)) and getattr(kind, "__args__", ()) in ((), (str, Any)),
        _object,
    )
    return converter


@functools.cache
def _task_hook() -> Callable[[Any, type[Task]], Task]:
    return _converter().get_structure_hook(Task)


def prepare() -> None:
    """Do what decoding needs to be done once."""
    _task_hook()


def structure(value: Any, kind: type[T], *, path: str = "$") -> T:
    """Turn parsed JSON into a model.

    Args:
        value: What `loads` returned, or a part of it.
        kind: The model, or any type that cattrs can structure.
        path: Where in the body `value` stands.

    Raises:
        StreamDecodeException: The value does not fit; it says where.
    """
    try:
        return _converter().structure(value, kind)
    except Exception as exc:
        # A caller's own type may raise anything.
        raise _explain(value, kind, path) from exc


def _explain(value: Any, kind: type, path: str) -> StreamDecodeException:
    import cattrs  # noqa: PLC0415 - see above

    # The fast converter stops at the first fault and does not say where: look again, slowly.
    try:
        _converter(detailed=True).structure(value, kind)
    except Exception as exc:  # noqa: BLE001 - as above
        reasons: list[str] = []
        places: list[str] = []

        def reason(exc: BaseException, _: type | None) -> str:
            reasons.append(_reason(exc))
            places.append(getattr(exc, "place", ""))
            return reasons[-1]

        first, *_ = cattrs.transform_error(exc, path, format_exception=reason)
        return StreamDecodeException(reasons[0], path=first.removeprefix(f"{reasons[0]} @ ") + places[0])
    return StreamDecodeException("does not fit", path=path)  # pragma: no cover - both converters agree


def _reason(exc: BaseException) -> str:
    if isinstance(exc, KeyError) and exc.args:
        return f"required key {exc.args[0]!r} is missing"
    return str(exc) or type(exc).__name__


def structure_task(body: bytes, task_id: str | None = None) -> Task:
    """Decode the answer to ``GET /api/v2/tasks/{id}``.

    Args:
        body: The answer's body.
        task_id: The task that was asked for, or None if any will do.

    Raises:
        StreamDecodeException: The body is not JSON, not a task, or another task.
    """
    data = loads(body)
    try:
        task = _task_hook()(data, Task)
    except Exception as exc:
        error = _explain(data, Task, "$")
        error.body = _shown(body)
        raise error from exc
    if task_id is not None and task.task_id != task_id:
        raise StreamDecodeException(
            f"the answer is about another task: {_brief(task.task_id)}, not {_brief(task_id)}",
            path="$.task_id",
            body=_shown(body),
        )
    return task


def structure_snapshot(body: bytes, polled: Polled[Any]) -> Snapshot:
    """Decode the answer of an endpoint.

    Args:
        body: The answer's body.
        polled: What was asked for.

    Raises:
        StreamDecodeException: The body is not JSON, has no status, or is about something else.
    """
    data = loads(body)
    try:
        return _snapshot(data, polled)
    except StreamDecodeException as error:
        error.body = _shown(body)
        raise


def _snapshot(data: Any, polled: Polled[Any]) -> Snapshot:
    endpoint = polled.endpoint
    found, place = _within(data, endpoint.at, "$")
    if not isinstance(found, dict):
        raise StreamDecodeException(f"expected an object, not {type(found).__name__}", path=place)
    if found.get("id", polled.id) != polled.id:
        raise StreamDecodeException(
            f"the answer is about something else: {_brief(found['id'])}, not {_brief(polled.id)}",
            path=f"{place}.id",
        )
    told, at = _within(found, endpoint.status_at, place)
    try:
        status = status_word(told)
    except TypeError as exc:
        raise StreamDecodeException(str(exc), path=at) from exc
    ending = endpoint.ending(status)
    error = None
    if ending == "failed":
        why = _within(found, endpoint.error_at, place, missing="")[0] if endpoint.error_at else ""
        error = TaskError(status, _text(why))
    created = _moment(found, "created_at", place) or _EPOCH
    updated = _moment(found, "updated_at", place) or created
    return Snapshot(polled.id, status, created, updated, found, error, ending=ending)


def _within(data: Any, keys: str, place: str, *, missing: Any = None) -> tuple[Any, str]:
    """Return what stands at keys that are joined by dots, and the path of that."""
    for key in keys.split(".") if keys else ():
        if not isinstance(data, dict) or data.get(key) is None:
            if missing is not None:
                return missing, place
            raise StreamDecodeException(f"required key {key!r} is missing", path=place)
        data, place = data[key], f"{place}.{key}"
    return data, place


def _moment(found: dict[str, Any], key: str, place: str) -> datetime | None:
    if found.get(key) is None:
        return None
    try:
        return _timestamp(found[key])
    except (TypeError, ValueError) as exc:
        raise StreamDecodeException(str(exc), path=f"{place}.{key}") from exc
