"""Pure: signing, checking and reading what Stream's webhooks say of tasks.

See https://getstream.io/chat/docs/python/webhooks_overview/. A webhook is a hint: it is tried a few
times and then lost, in no promised order, and deletions have none. Polling stays the truth.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

from attrs import Factory, frozen

from stream_tasks import _json
from stream_tasks._content_coding import CodingError, Inflater, inflate
from stream_tasks._secret import hidden, kind_of
from stream_tasks.exceptions import StreamDecodeException

__all__ = ["TaskEvent", "parse", "parse_unsigned", "sign", "verify"]

_GZIP: Final = b"\x1f\x8b"
_MAX_BODY: Final = 16 * 2**20
_MOST_WRAPPINGS: Final = 4
"""An SNS envelope, base64 and gzip are three."""


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
        TypeError: The secret is no text, or the body no bytes.
        ValueError: The secret is empty.
        StreamDecodeException: The body is broken gzip, or over 16 MiB.
    """
    api_secret = hidden(api_secret)
    if not isinstance(api_secret, str):
        raise TypeError(f"api_secret must be a str, not {kind_of(api_secret)}")
    if not api_secret:
        # An empty key signs as well as any: whoever guessed that it is empty could forge.
        raise ValueError("api_secret must not be empty")
    if not isinstance(body, bytes | bytearray):
        raise TypeError(f"body must be the request's bytes, not {type(body).__name__}")
    return hmac.new(api_secret.encode(), _inflated(body), hashlib.sha256).hexdigest()


def verify(body: bytes, signature: str | None, api_secret: str) -> bool:
    """Whether a body came from Stream.

    Args:
        body: The request's body, compressed or not.
        signature: The value of ``X-Signature``, or None when that is missing: no such body came from Stream.
        api_secret: The app's secret.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: The secret is empty.
    """
    api_secret = hidden(api_secret)
    if signature is not None and not isinstance(signature, str):
        raise TypeError(f"signature must be a str, not {type(signature).__name__}")
    try:
        expected = sign(body, api_secret)
    except StreamDecodeException:
        return False
    return hmac.compare_digest(expected.encode(), (signature or "").encode("utf-8", "replace"))


def parse(body: bytes, signature: str | None, api_secret: str) -> TaskEvent:
    """Check a webhook's signature, and read what it says.

    Args:
        body: The request's body, compressed or not.
        signature: The value of ``X-Signature``, or None when that is missing.
        api_secret: The app's secret.

    Returns:
        What it says of a task.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: The signature does not fit: the body is not Stream's. Or the secret is empty.
        StreamDecodeException: The body is no event about a task.
    """
    api_secret = hidden(api_secret)
    if not verify(body, signature, api_secret):
        raise ValueError("signature does not fit the body")
    return _json.structure(_json.loads(_inflated(body)), TaskEvent)


def parse_unsigned(body: bytes | str) -> TaskEvent:
    """Read what a message on SQS or SNS says; nothing proves that it came from Stream.

    These messages carry no signature: whoever may write to the queue or the topic may forge them. To make a
    client look at a task they are good enough: ``client.hint(parse_unsigned(message["Body"]))``.

    Args:
        body: The message's body: JSON, or gzip of that, or base64 of that; perhaps in SNS's envelope.

    Returns:
        What it says of a task.

    Raises:
        TypeError: The body is neither bytes nor text.
        StreamDecodeException: The body is no event about a task, or over 16 MiB.
    """
    if not isinstance(body, bytes | bytearray | str):
        raise TypeError(f"body must be the message's bytes or text, not {type(body).__name__}")
    content = body.encode("utf-8", "replace") if isinstance(body, str) else bytes(body)
    for _ in range(_MOST_WRAPPINGS):
        content = _inflated(content.strip() if not content.startswith(_GZIP) else content)
        if len(content) > _MAX_BODY:
            raise StreamDecodeException("the body is larger than 16 MiB", path="$")
        if content.lstrip().startswith(b"{"):
            told = _json.loads(content)
            if told.get("Type") != "Notification" or not isinstance(told.get("Message"), str):
                return _json.structure(told, TaskEvent)
            content = told["Message"].encode("utf-8", "replace")
        else:
            try:
                content = base64.b64decode(content, validate=True)
            except binascii.Error as exc:
                raise StreamDecodeException("the body is neither JSON nor base64") from exc
    raise StreamDecodeException("the body is wrapped too often", path="$")


def _inflated(body: bytes) -> bytes:
    """Return the body that was signed; a framework may have inflated it already."""
    if not body.startswith(_GZIP):
        return body
    try:
        data = inflate(Inflater("gzip"), bytes(body), _MAX_BODY)
    except CodingError as exc:
        raise StreamDecodeException(f"the body is broken: {exc}") from exc
    if len(data) > _MAX_BODY:
        raise StreamDecodeException("the body is larger than 16 MiB", path="$")
    return data
