"""Pure: signing, checking and reading what Stream's webhooks say of tasks.

See https://getstream.io/chat/docs/python/webhooks_overview/. A webhook is a hint: it is tried a few
times and then lost, in no promised order, and deletions have none. Polling stays the truth.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from typing import Any, Final

from attrs import Factory, frozen

from stream_tasks import _json
from stream_tasks._secret import hidden
from stream_tasks.exceptions import StreamDecodeException

__all__ = ["TaskEvent", "parse", "sign", "verify"]

_GZIP: Final = b"\x1f\x8b"
_MAX_BODY: Final = 16 * 2**20


@frozen
class TaskEvent:
    """What a webhook says of a task.

    Attributes:
        type: The event, such as ``export.channels.success``.
        task_id: The task.
        url: Where the export can be fetched, if that is what ended.
        error: What went wrong, if something did.
        extra: Whatever else was sent.
    """

    type: str
    task_id: str
    url: str | None = None
    error: str | None = None
    extra: dict[str, Any] = Factory(dict)


def sign(body: bytes, api_secret: str) -> str:
    """Return the signature of a body, as ``X-Signature`` carries it.

    Args:
        body: The request's body, compressed or not.
        api_secret: The app's secret.

    Raises:
        StreamDecodeException: The body is broken gzip, or over 16 MiB.
    """
    api_secret = hidden(api_secret)
    return hmac.new(api_secret.encode(), _inflated(body), hashlib.sha256).hexdigest()


def verify(body: bytes, signature: str, api_secret: str) -> bool:
    """Whether a body came from Stream.

    Args:
        body: The request's body, compressed or not.
        signature: The value of ``X-Signature``.
        api_secret: The app's secret.
    """
    api_secret = hidden(api_secret)
    try:
        expected = sign(body, api_secret)
    except StreamDecodeException:
        return False
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def parse(body: bytes, signature: str, api_secret: str) -> TaskEvent:
    """Check a webhook's signature, and read what it says.

    Args:
        body: The request's body, compressed or not.
        signature: The value of ``X-Signature``.
        api_secret: The app's secret.

    Raises:
        ValueError: The signature does not fit: the body is not Stream's.
        StreamDecodeException: The body is no event about a task.
    """
    api_secret = hidden(api_secret)
    if not verify(body, signature, api_secret):
        raise ValueError("signature does not fit the body")
    return _json.structure(_json.loads(_inflated(body)), TaskEvent)


def _inflated(body: bytes) -> bytes:
    """Return the body that was signed; a framework may have inflated it already."""
    if not body.startswith(_GZIP):
        return body
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = inflate.decompress(body, _MAX_BODY)
    except zlib.error as exc:
        raise StreamDecodeException(f"the body is broken gzip: {exc}") from exc
    if inflate.unconsumed_tail or not inflate.eof:
        raise StreamDecodeException("the body is cut, or larger than 16 MiB", path="$")
    return data
