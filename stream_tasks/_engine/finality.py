"""Pure: which failures end a wait, and which are bad moments that pass."""

from __future__ import annotations

import ssl

from stream_tasks.exceptions import (
    TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED,
    StreamApiException,
    StreamDecodeException,
    StreamTransportException,
)

__all__ = ["ends_wait", "is_not_found", "is_passing"]

_NOT_FOUND = 404
_PASSING = frozenset({408, 425, 429})
_SERVER_ERROR = 500


def is_passing(status_code: int) -> bool:
    """Whether an HTTP status tells of a bad moment, after which the same request may fare better."""
    return status_code in _PASSING or status_code >= _SERVER_ERROR


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
        return failure.error_type == TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED and not _was_cut_off(failure)
    if isinstance(failure, StreamDecodeException):
        # A cut or foreign body is a bad moment; JSON of another shape comes again.
        return failure.path is not None
    return True


def _was_cut_off(failure: BaseException | None) -> bool:
    """Whether the other side left in the middle of a handshake, rather than failing it."""
    while failure is not None:
        if isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return True
        failure = failure.__cause__
    return False


def is_not_found(failure: Exception) -> bool:
    """Whether the server does not know the task, perhaps not yet."""
    return isinstance(failure, StreamApiException) and failure.status_code == _NOT_FOUND
