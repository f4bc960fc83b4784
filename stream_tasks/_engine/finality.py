"""Pure: which failures end a wait. The others are bad moments: the same poll may succeed later."""

from __future__ import annotations

import ssl
from typing import Final

from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    StreamApiException,
    StreamDecodeException,
    StreamTransportException,
)

__all__ = ["ends_wait", "is_not_found", "is_passing", "is_unverified"]

_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500

_PASSING: Final = frozenset({304, 408, 425, 429})
"""The statuses below 500 that tell of a bad moment. A 304 answers a condition that no request holds."""

_ID_PATH: Final = "$.task_id"
"""Where an answer about another task does not fit."""

_ENDPOINT_ID: Final = ".id"
"""The same of what is polled elsewhere."""


def is_passing(status_code: int) -> bool:
    """Whether an HTTP status tells of a bad moment."""
    return status_code in _PASSING or status_code >= _SERVER_ERROR


def is_not_found(failure: Exception) -> bool:
    """Whether the server does not know the task, perhaps not yet."""
    return isinstance(failure, StreamApiException) and failure.status_code == _NOT_FOUND


def ends_wait(failure: Exception, *, waited: float, not_found_grace: float) -> bool:
    """Whether a failed poll is final, rather than a bad moment.

    Args:
        failure: What the poll raised.
        waited: How long the wait has lasted, in seconds.
        not_found_grace: For how long a 404 may mean "not visible yet", in seconds.
    """
    if isinstance(failure, StreamApiException):
        if failure.unrecoverable:
            return True
        if is_not_found(failure):
            return waited >= not_found_grace
        return not is_passing(failure.status_code)
    if isinstance(failure, StreamTransportException):
        return _is_unverified(failure)
    if isinstance(failure, StreamDecodeException):
        # A cut or foreign body is a bad moment; JSON of another shape comes again.
        return not (failure.path is None or failure.path == _ID_PATH or failure.path.endswith(_ENDPOINT_ID))
    return True


def _is_unverified(failure: StreamTransportException) -> bool:
    """Whether the other side did not prove who it is. All other trouble with TLS may pass."""
    return failure.error_type == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED and is_unverified(failure.__cause__)


def is_unverified(cause: BaseException | None) -> bool:
    """Whether a TLS error says, or may say, that the other side did not prove who it is."""
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    return cause is None or isinstance(cause, ssl.SSLCertVerificationError)
