"""Pure: content codings such as gzip, undone piece by piece, with a check that they have ended."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CodingError", "Inflater", "inflate", "inflater"]

_LARGEST_PIECE: Final = 2**20
"""The largest piece that is inflated at a time, in bytes."""

_SMALLEST_WINDOW: Final = 2**6
_LARGEST_WINDOW: Final = 2**16
"""So much is given to zlib at a time, in bytes: where a member ends, it copies the rest of that."""

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15
_IS_ZLIB: Final = 8  # in the low half of the first byte


class CodingError(Exception):
    """Raised when content is not what its coding says, or ends in the middle of it."""


def inflater(content_encoding: str) -> Inflater | None:
    """Return what undoes a content coding.

    Args:
        content_encoding: The header ``Content-Encoding``.

    Returns:
        The inflater, or None for content that is sent as it is.

    Raises:
        CodingError: This coding cannot be undone.
    """
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return Inflater("gzip")
    if coding == "deflate":
        return Inflater("deflate")
    raise CodingError(f"the content coding {coding[:50]!r} was not asked for")


def inflate(inflater: Inflater, content: bytes, limit: int) -> bytes:
    """Return whole content inflated, or if that is more than `limit` bytes, somewhat more than these.

    Raises:
        CodingError: The content is broken, or not whole.
    """
    found = bytearray()
    for piece in inflater.feed(content):
        found += piece
        if len(found) > limit:
            return bytes(found)
    inflater.finish()
    return bytes(found)


class Inflater:
    """Undoes gzip, of which there may be several members one after another, or deflate.

    Deflate is taken with zlib's frame, as the standard says, and without, as some servers send it.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._member: zlib._Decompress | None = None
        self._has_begun = False

    def feed(self, content: bytes) -> Iterator[bytes]:
        """Yield what the next bytes stand for, in pieces of at most 1 MiB.

        Raises:
            CodingError: They are broken, or follow the end.
        """
        rest = memoryview(content)
        size = _SMALLEST_WINDOW
        may_have_more = False
        while True:
            if self._member is None:
                rest = self._without_padding(rest)
            if not rest and not may_have_more:
                return
            member = self._member or self._begin(rest[0])
            window = rest[:size]
            try:
                piece = member.decompress(window, _LARGEST_PIECE)
            except zlib.error as exc:
                raise CodingError(f"the {self._coding} content is broken: {exc}") from exc
            rest = rest[len(window) - len(member.unconsumed_tail) - len(member.unused_data) :]
            may_have_more = len(piece) >= _LARGEST_PIECE and not member.eof
            size = min(2 * size, _LARGEST_WINDOW)
            if member.eof:
                self._member = None
                size = _SMALLEST_WINDOW
            if piece:
                yield piece

    def finish(self) -> None:
        """Check that the content is whole.

        Raises:
            CodingError: It is not.
        """
        if self._member is not None or not self._has_begun:
            raise CodingError(f"the {self._coding} content ends in the middle")

    def _without_padding(self, rest: memoryview) -> memoryview:
        """Leave out zeros after the end: some tools fill a block with them."""
        if self._has_begun and rest and not rest[0]:
            return memoryview(bytes(rest).lstrip(b"\0"))
        return rest

    def _begin(self, first: int) -> zlib._Decompress:
        if self._coding == "gzip":
            form = _GZIP
        elif self._has_begun:
            raise CodingError("bytes follow the end of the deflate content")
        else:
            form = _ZLIB if first & 0xF == _IS_ZLIB else _RAW
        self._has_begun = True
        self._member = zlib.decompressobj(form)
        return self._member
