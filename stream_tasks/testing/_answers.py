"""What goes back over the wire, before aiohttp sees it."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from stream_tasks._arguments import is_number
from stream_tasks.testing._scripts import FakeTask

__all__ = ["Answer", "HeaderPairs", "Headers", "error_answer", "file_answer", "header_pairs", "json_answer"]

HeaderPairs: TypeAlias = tuple[tuple[str, str], ...]
Headers: TypeAlias = (
    Mapping[str, Any] | Iterable[tuple[str, str | float]]
)  # a dict of both is one of objects to mypy

_ERRORS_URL: Final = "https://getstream.io/chat/docs/api_errors_response"
_INTERNAL: Final = -1
_CODES: Final = {400: 4, 401: 5, 403: 17, 404: 16, 408: 23, 413: 22, 429: 9}


@frozen
class Answer:
    """One HTTP answer.

    Attributes:
        status: The HTTP status.
        body: The body, not compressed.
        content_type: The media type of the body.
        headers: Further headers as pairs, so that a name may come twice.
        task: The task that this shows, if it shows one.
        closes: Whether the connection ends with it.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: HeaderPairs = ()
    task: FakeTask | None = None
    closes: bool = False

    def under(self, headers: HeaderPairs) -> "Answer":
        """Return this answer with `headers` added, which take the place of its own of the same name."""
        named = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in named)
        return evolve(self, headers=kept + headers)


def header_pairs(headers: Headers | None) -> HeaderPairs:
    """Return headers as pairs of texts, whichever way they were written.

    Raises:
        TypeError: They are not headers.
        ValueError: One would break its line, or has no name.
    """
    if headers is None:
        return ()
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise TypeError(f"headers must be a mapping or pairs of name and value, not {pairs!r}")
    return tuple(map(_header, pairs))


def _header(pair: object) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004 - a pair
        raise TypeError(f"each of headers must be a pair of name and value, not {pair!r}")
    name, value = pair
    if not isinstance(name, str) or not (isinstance(value, str) or is_number(value)):
        raise TypeError(f"each of headers must be a name and a text or number, not {name!r}: {value!r}")
    value = str(value)
    if not re.fullmatch(r"[^\s:]+", name) or re.search(r"[\r\n\0]", value):
        raise ValueError(f"each of headers must be a name and one line, not {name!r}: {value!r}")
    return name, value


def json_answer(status: int, body: Mapping[str, Any]) -> Answer:
    """Return an answer with a JSON body, to which the duration that every Stream answer has is added."""
    return Answer(status, json.dumps({**body, "duration": "0.10ms"}).encode())


def file_answer(content: bytes, wanted: str | None) -> Answer:
    """Return a file, or the part of it that a ``Range`` header asks for."""
    kind = "application/octet-stream"
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if found is None:
        return Answer(200, content, kind, (("Accept-Ranges", "bytes"),))
    first, last = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
    if first > last:
        return Answer(416, b"", kind, (("Content-Range", f"bytes */{len(content)}"),))
    place = f"bytes {first}-{last}/{len(content)}"
    return Answer(206, content[first : last + 1], kind, (("Content-Range", place),))


def error_answer(
    status: int,
    message: str,
    *,
    code: int | None = None,
    fields: Mapping[str, str] | None = None,
    unrecoverable: bool = False,
) -> Answer:
    """Return Stream's error envelope.

    Args:
        status: The HTTP status.
        message: What went wrong.
        code: Stream's own error number; by default the usual one of the status.
        fields: What is wrong with single fields of the request.
        unrecoverable: Whether the client is told not to try again.
    """
    body: dict[str, Any] = {
        "code": _CODES.get(status, _INTERNAL) if code is None else code,
        "message": message,
        "StatusCode": status,
        "more_info": _ERRORS_URL,
        "details": [],
    }
    if fields:
        body["exception_fields"] = dict(fields)
    if unrecoverable:
        body["unrecoverable"] = True
    return json_answer(status, body)
