"""All checks of what callers give: each returns the value to use, or says what is wrong, before any request.

Texts count by their value: a member of ``class Conf(str, Enum)`` is the text that it stands for. Ids may also
be a `uuid.UUID`, and whole numbers anything with ``__index__``, such as NumPy's.

The command line's help needs this module, and is to come at once: it imports next to nothing.
"""

from __future__ import annotations

import math
import operator
import os
import re
import unicodedata
from collections.abc import AsyncIterable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_origin
from uuid import UUID

from stream_tasks._secret import Secret, concealed, kind_of

if TYPE_CHECKING:
    from pathlib import Path

V = TypeVar("V")

API_PREFIX: Final = "/api/v2"
DEFAULT_BASE_URL: Final = "https://chat.stream-io-api.com"
BASE_URL_VARIABLE: Final = "STREAM_BASE_URL"
DEFAULT_REQUEST_TIMEOUT: Final = 30.0
REQUEST_TIMEOUT_VARIABLE: Final = "STREAM_REQUEST_TIMEOUT"

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


# Texts and ids


def text_value(value: str) -> str:
    """Return the value of a text whose class may show another one, as the members of an `enum.Enum` do."""
    return value if type(value) in (str, Secret) else str.__str__(value)


def check_text(name: str, value: Any) -> str:
    """Return a text that is not empty.

    Raises:
        TypeError: It is not a text.
        ValueError: It is empty.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return text_value(value)


def check_id(name: str, value: Any) -> str:
    """Return an id, which may be a text or a UUID, as a text.

    Raises:
        TypeError: It is neither.
        ValueError: It is empty.
    """
    return str(value) if isinstance(value, UUID) else check_text(name, value)


def check_segment(name: str, value: Any) -> str:
    """Return an id that can be one segment of a path.

    Raises:
        TypeError: It is neither a text nor a UUID.
        ValueError: It is empty, ``.`` or ``..``, which no encoding keeps in its place, or not valid Unicode.
    """
    if type(value) is str and value.isascii() and value.replace("-", "").isalnum():
        return value  # as nearly all ids are
    text = str(value) if isinstance(value, UUID) else value
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    text = text_value(text)
    if text in ("", ".", ".."):
        raise ValueError(f"{name} must be a non-empty text other than '.' and '..', not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{name} must be valid Unicode text, not {text!r}") from exc
    return text


def check_task_id(value: Any) -> str:
    """Return a task's id.

    Raises:
        TypeError: It is neither a text nor a UUID.
        ValueError: It cannot be one segment of a path.
    """
    return check_segment("task_id", value)


def path_segment(name: str, value: Any) -> str:
    """Percent-encode an id as exactly one segment of a path.

    Raises:
        TypeError: It is neither a text nor a UUID.
        ValueError: It cannot be one.
    """
    text = check_segment(name, value)
    if text.isascii() and text.replace("-", "").isalnum():
        return text  # as nearly all ids are
    from urllib.parse import quote  # noqa: PLC0415 - see above

    return quote(text, safe="")


def check_pairs(name: str, values: Iterable[str], form: str, example: str) -> None:
    """Check ids of two parts, joined by a colon.

    Raises:
        ValueError: One lacks a part.
    """
    for value in values:
        first, _, second = value.partition(":")
        if not first or not second:
            raise ValueError(f"each of {name} must be {form}, such as {example!r}, not {value!r}")


def check_word(name: str, value: Any, known: tuple[str, ...], *, is_closed: bool = True) -> str:
    """Return one of the known words; with a warning, another one too unless the list is closed.

    Raises:
        ValueError: It is not one of them.
    """
    if value not in known:
        if is_closed or not isinstance(value, str) or not value:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        import logging  # noqa: PLC0415 - see above

        logging.getLogger("stream_tasks").warning(
            "%s=%r is sent as it is: this version knows only %s",
            name,
            text_value(value),
            ", ".join(known),
            extra={"stream_event": "word_unknown"},
        )
    return text_value(value)


def check_keys(name: str, value: Any) -> str:
    """Return a place in an answer: keys, joined by dots.

    Raises:
        TypeError: It is not a text.
        ValueError: One of the keys is empty.
    """
    keys = check_text(name, value)
    if not all(keys.split(".")):
        raise ValueError(f"{name} must be keys joined by dots, such as 'run.task_id', not {keys!r}")
    return keys


# Flags, numbers and times


def check_flag(name: str, value: Any) -> bool:
    """Return a yes or no.

    Raises:
        TypeError: It is neither True nor False.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = None, what: str = "") -> int:
    """Return a whole number: an int, or anything else with ``__index__``.

    Args:
        name: The parameter.
        value: What was given for it.
        least: The least that is allowed.
        most: The most that is allowed, None for no limit.
        what: What to call it in an error, such as ``a whole number``.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is out of range.
    """
    among = f", {least} or more" if most is None else f" from {least} to {most}"
    among = what + among if what else among.strip(", ")
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None:
        allowed, given = (among, repr(value)) if what else ("an int", type(value).__name__)
        raise TypeError(f"{name} must be {allowed}, not {given}")
    if count < least or (most is not None and count > most):
        raise ValueError(f"{name} must be {among}, not {value!r}")
    return count


def is_number(value: Any) -> bool:
    """Whether `value` is a real number, or a whole one of any kind; a bool is neither."""
    return not isinstance(value, bool) and (isinstance(value, Real) or hasattr(type(value), "__index__"))


def as_real(value: Any) -> Any:
    """Return a whole number that can only be asked for its value as an int, and anything else as it is."""
    return value if isinstance(value, Real) or not is_number(value) else operator.index(value)


def check_seconds(name: str, value: Any, *, positive: bool = False) -> float:
    """Return a time in seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative, NaN or infinite, or zero although `positive` is set.
    """
    if type(value) is float and 0 < value < math.inf:
        return value
    if not is_number(value):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        seconds = float(as_real(value))
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0 or (positive and seconds == 0):
        allowed = "greater than 0" if positive else "0 or more"
        raise ValueError(f"{name} must be a finite number of seconds, {allowed}, not {value!r}")
    return seconds


def check_number(name: str, value: Any, least: float, most: float, allowed: str) -> None:
    """Check that a number lies in a range, which `allowed` describes.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range, NaN or infinite.
    """
    if not is_number(value):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number: Any = as_real(value)
    if not least <= number <= most or number == math.inf:
        raise ValueError(f"{name} must be a finite number, {allowed}, not {value!r}")


def check_timeout(timeout: Any) -> float | None:
    """Return a wait's time-out in seconds, None for no limit.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    return None if timeout is None else check_seconds("timeout", timeout)


def check_request_timeout(value: float) -> float:
    """Return the request time-out in seconds; the environment replaces the default.

    Raises:
        TypeError: It is not a number.
        ValueError: It is out of range.
    """
    text = os.environ.get(REQUEST_TIMEOUT_VARIABLE)
    # By identity: a caller's own 30.0 is another object, and is meant.
    if text and value is DEFAULT_REQUEST_TIMEOUT:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(
                f"{REQUEST_TIMEOUT_VARIABLE} must be a number of seconds, not {text!r}"
            ) from None
    return check_seconds("request_timeout", value, positive=True)


def check_moment(name: str, value: Any) -> str:
    """Return an aware datetime as RFC 3339; a text is left to the server.

    Raises:
        TypeError: It is neither.
        ValueError: It is naive, or empty.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} must be an aware datetime, not {value!r}")
        return value.astimezone(UTC).isoformat()
    if not isinstance(value, str):
        raise TypeError(f"{name} must be an aware datetime or a str, not {type(value).__name__}")
    return check_text(name, value)


# Lists and mappings


def check_list(
    name: str, values: Iterable[V], *, least: int = 1, most: int | None = None, advice: str = ""
) -> list[V]:
    """Return the items of an iterable as a list.

    Raises:
        TypeError: It is not an iterable of items.
        ValueError: There are too few or too many; `advice` follows on what to do with more.
    """
    check_items(name, values, Iterable)
    found = list(values)
    if most is not None and len(found) > most:
        raise ValueError(f"{name} must hold {least} to {most} items, not {len(found)}{advice}")
    if len(found) < least:
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must hold {allowed} items, not {len(found)}")
    return found


def check_items(name: str, values: Any, *kinds: type) -> None:
    """Check that `values` is an iterable of one of these kinds.

    Raises:
        TypeError: It is not, or it is a single item.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, kinds):
        raise TypeError(f"{name} must be a list or another iterable, not {type(values).__name__}")


def check_mapping(name: str, value: Any, *, least: int = 0) -> dict[str, Any]:
    """Return a mapping as a dict.

    Raises:
        TypeError: It is not a mapping.
        ValueError: It is empty although `least` is 1.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    if len(value) < least:
        raise ValueError(f"{name} must not be empty")
    return dict(value)


# Waits


def check_tasks(tasks: Iterable[V]) -> Iterable[V]:
    """Return an iterable of tasks.

    Raises:
        TypeError: It is not an iterable, or it is a single task.
    """
    if isinstance(tasks, str | bytes | AsyncIterable) or not isinstance(tasks, Iterable):
        raise TypeError(
            f"tasks must be an iterable of task ids or StartedTasks, not {type(tasks).__name__}"
            f"{awaiting(tasks)}{_AS_COMPLETED * isinstance(tasks, AsyncIterable)}"
        )
    return tasks


_AS_COMPLETED: Final = ": as_completed of AsyncStream takes an async iterable"


def awaiting(value: Any) -> str:
    """Return what to do with a value if it is a coroutine that was not awaited; that is closed."""
    if not isinstance(value, Coroutine):
        return ""
    value.close()  # or Python would warn that it was never awaited, too
    return ": await it first, as in wait_for_task(await client.export_users(user_ids))"


def check_result_type(value: Any) -> Any:
    """Return what a result is to be decoded to.

    Raises:
        TypeError: It is not a class.
    """
    if not isinstance(value, type) and get_origin(value) is None:
        raise TypeError(f"result_type must be a class, not {value!r}")
    return value


def check_path(name: str, value: Any) -> Path:
    """Return the path of a file.

    Raises:
        TypeError: It is not a path.
        ValueError: It is empty, or has a null character.
    """
    from pathlib import Path  # noqa: PLC0415 - see above

    try:
        text = os.fsdecode(os.fspath(value))
    except TypeError:
        raise TypeError(f"{name} must be a str or an os.PathLike, not {type(value).__name__}") from None
    if not text or "\0" in text:
        raise ValueError(f"{name} must be the path of a file, not {text!r}")
    return Path(text)


def check_callback(name: str, value: Any) -> None:
    """Check that `value` is None or can be called.

    Raises:
        TypeError: It is neither.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")


# Requests


def check_method(method: Any) -> str:
    """Return an HTTP method in capitals.

    Raises:
        TypeError: It is not a text.
        ValueError: Stream's API does not use it.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    word: str = method.upper()
    if word not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, not {text_value(method)!r}")
    return word


def check_request_path(path: Any) -> str:
    """Return a path given by a caller, under the API's prefix.

    Raises:
        TypeError: It is not a text.
        ValueError: It is not an absolute path, or leaves its place.
    """
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    text = text_value(path)
    if not re.fullmatch(r"/[A-Za-z0-9/%._~:@!$&'()*+,;=-]+", text) or text.startswith("//"):
        raise ValueError(f"path must start with one / and hold neither a query nor spaces, not {text!r}")
    if any(part.lower().replace("%2e", ".") in (".", "..") for part in text.split("/")):
        raise ValueError(f"path must not hold . or .. segments, not {text!r}")
    return text if text.startswith("/api/") else API_PREFIX + text


def check_param(name: str, value: Any) -> str:
    """Return a query parameter as Stream reads it.

    A list or a tuple is one comma-separated value, or JSON if it holds mappings or lists. A mapping is JSON,
    an aware datetime RFC 3339. Booleans are ``true`` and ``false``; numbers, texts and UUIDs are as they are.

    Raises:
        TypeError: It is nothing of these.
        ValueError: A datetime has no zone, a number is NaN or infinite, or an item of a list has a comma.
    """
    if isinstance(value, list | tuple):
        return _list_of(name, value)
    if isinstance(value, Mapping):
        return _json_of(name, value)
    if isinstance(value, datetime):
        return check_moment(name, value)
    if isinstance(value, str):
        return text_value(value)
    if isinstance(value, bool) or is_number(value):
        return _json_of(name, value if hasattr(value, "__index__") else float(value))
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(
        f"{name} must be a text, number, bool, aware datetime, list or mapping, not {type(value).__name__}"
    )


def _list_of(name: str, values: list[Any] | tuple[Any, ...]) -> str:
    if any(isinstance(each, Mapping | list | tuple) for each in values):
        return _json_of(name, values)
    words = [check_param(f"each of {name}", each) for each in values]
    if any("," in word for word in words):
        raise ValueError(f"each of {name} must have no comma, which would make two of it, not {words!r}")
    return ",".join(words)


def _json_of(name: str, value: Any) -> str:
    import json  # noqa: PLC0415 - see above

    from stream_tasks._plain import as_json  # noqa: PLC0415 - see above

    def default(each: Any) -> Any:
        return check_moment(name, each) if isinstance(each, datetime) else as_json(each)

    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=default)
    except (TypeError, ValueError, RecursionError) as exc:
        kind = TypeError if isinstance(exc, TypeError) else ValueError
        raise kind(f"{name} must be what JSON can hold: {exc}") from exc


# A client's settings


def check_credential(name: str, value: Any, variable: str | None) -> str:
    """Return a key, a secret or a token, which `variable` in the environment can stand for.

    Raises:
        TypeError: It is not a text.
        ValueError: It is missing or empty, or cannot go into a header.
    """
    if value is None:
        other = " (or give a ready token)" if name == "api_secret" else ""
        raise ValueError(f"{name} is missing: give it, or set {variable} in the environment{other}")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {kind_of(value)}")
    if not value.strip():
        other = f"; it can also come from {variable} in the environment" if variable else ""
        raise ValueError(f"{name} must not be empty{other}")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} must be printable ASCII")
    return text_value(value)


def check_base_url(base_url: Any) -> str:
    """Return the base URL without its trailing slash.

    Raises:
        TypeError: It is not a text.
        ValueError: It is not a plain http(s) address, or it ends in ``/api/v2``.
    """
    from urllib.parse import unquote  # noqa: PLC0415 - see above

    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, not {kind_of(base_url)}")
    where = f"base_url (or {BASE_URL_VARIABLE} in the environment)"
    # Any part of it may be a password in the wrong place: it is not repeated.
    if "@" in unicodedata.normalize("NFKC", unquote(base_url)):
        raise ValueError(f"{where} must not hold user information")
    if "?" in base_url or "#" in base_url:
        raise ValueError(f"{where} must have no query and no fragment")
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError(f"{where} must be a plain http(s) URL in ASCII, without spaces and backslashes")
    if not _has_valid_authority(base_url):
        raise ValueError(f"{where} must name a valid host, and if any a valid port")
    if not _is_http(base_url):
        raise ValueError(f"{where} must be an http(s) URL such as {DEFAULT_BASE_URL!r}")
    base = str.__str__(base_url).rstrip("/")
    if re.search(r"/api/v\d+$", base):
        raise ValueError(f"{where} must end before {API_PREFIX}, which this client puts before each path")
    return base


def _has_valid_authority(url: str) -> bool:
    from urllib.parse import urlsplit  # noqa: PLC0415 - see above

    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_http(url: str) -> bool:
    from urllib.parse import urlsplit  # noqa: PLC0415 - see above

    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def settings_of(client: Any) -> dict[str, Any]:
    """Return the arguments that make a client like an official one.

    Raises:
        TypeError: `client` lacks one of them.
    """
    settings = concealed({name: getattr(client, name, None) for name in ("api_key", "token", "base_url")})
    for name, value in settings.items():
        if not isinstance(value, str):
            raise TypeError(f"client must be a getstream client: it has no text {name!r}")
    return settings


def check_instance(name: str, value: Any, kind: type[V]) -> V | None:
    """Return `value` if it is None or a `kind`.

    Raises:
        TypeError: It is neither.
    """
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be an {kind.__module__}.{kind.__name__}, not {type(value).__name__}")
    return value
