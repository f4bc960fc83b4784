"""Takes the token out of what a server sent: broken gateways print what they were sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import RequestInfo
from aiohttp.http import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MASK", "mask_error", "mask_escaped", "mask_headers"]

MASK: Final = b"***"

_SECRET_HEADERS: Final = ("Authorization", "Proxy-Authorization")

# A character of ASCII as JSON may write it; an escaped backslash begins no other escape.
_ESCAPED: Final = re.compile(rb"\\(?:\\|u00([0-7][\dA-Fa-f]))")

_PIECE: Final = re.compile(r"[\w-][\w.-]{6,}[\w-]")


def mask_escaped(body: bytes, token: str) -> bytes:
    """Return a body without the token where JSON's escapes hide it."""
    plain = _ESCAPED.sub(_unescape, body)
    return plain.replace(token.encode(), MASK) if token.encode() in plain else body


def _unescape(match: re.Match[bytes]) -> bytes:
    character = b"\\" if match[1] is None else bytes((int(match[1], 16),))
    is_of_a_token = character.isalnum() or character in b".-_"
    return character if is_of_a_token else match[0]


def mask_headers(headers: Mapping[str, str], token: str) -> Mapping[str, str]:
    """Return the headers without the token, nearly always the same ones."""
    if token not in "\n".join(headers.values()):
        return headers
    return CIMultiDictProxy(
        CIMultiDict((name, value.replace(token, MASK.decode())) for name, value in headers.items())
    )


def mask_error(error: BaseException, token: str, handled: BaseException | None = None) -> None:
    """Take the token, and aiohttp's frames, from an error and all that it came of.

    The variables of the frames hold the request as bytes. What the caller was handling before, and what
    that came of, is the caller's.
    """
    error.__traceback__ = None
    error.args = tuple(_masked(value, token) for value in error.args)
    error.__dict__ |= {name: _masked(value, token) for name, value in error.__dict__.items()}
    for inner in {error.__cause__, error.__context__}:
        if inner is not None and inner is not handled:
            mask_error(inner, token, handled)


def _masked(value: Any, token: str) -> Any:
    """Return a value as it is, or as text if it shows the token."""
    if isinstance(value, RequestInfo):
        headers = CIMultiDict(value.headers)
        headers.update({name: MASK.decode() for name in _SECRET_HEADERS if name in headers})
        return RequestInfo(value.url, value.method, CIMultiDictProxy(headers), value.real_url)
    if not isinstance(value, str | bytes | RawResponseMessage):
        return value
    text = value if isinstance(value, str) else repr(value)
    # A parser's piece of an answer may begin or end amid the token.
    mask = MASK.decode()
    plain = _PIECE.sub(lambda piece: mask if piece[0] in token else piece[0], text.replace(token, mask))
    return value if plain == text else plain
