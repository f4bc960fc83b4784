"""Which failures end a wait, and which may pass."""

import ssl

import pytest

from stream_tasks._engine.finality import ends_wait, is_not_found, is_passing
from stream_tasks.exceptions import (
    StreamApiException,
    StreamDecodeException,
    StreamRateLimitException,
    StreamTransportException,
)


def tls(cause: BaseException | None) -> StreamTransportException:
    """Return what a failed handshake is told as."""
    error = StreamTransportException("tls_handshake_failed")
    between = ConnectionError()
    between.__cause__ = cause
    error.__cause__ = between
    return error


def status(code: int, *, unrecoverable: bool = False) -> StreamApiException:
    return StreamApiException(status_code=code, unrecoverable=unrecoverable)


@pytest.mark.parametrize(
    "failure",
    [
        *map(status, (304, 408, 425, 500, 502, 503, 504, 599)),
        StreamRateLimitException(),
        *(
            StreamTransportException(kind)
            for kind in ("connection_reset", "timeout", "dns_failure", "unknown")
        ),
        tls(ssl.SSLEOFError()),
        tls(ssl.SSLZeroReturnError()),
        tls(ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error")),
        tls(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
        StreamDecodeException("not JSON"),
        StreamDecodeException("another task's", path="$.task_id"),
    ],
    ids=repr,
)
def test_a_bad_moment_ends_no_wait(failure: Exception) -> None:
    """The same poll may succeed later, however long the wait has lasted."""
    assert not ends_wait(failure, waited=100, not_found_grace=5)


@pytest.mark.parametrize(
    "failure",
    [
        *map(status, (300, 301, 302, 303, 307, 308, 400, 401, 403, 405, 407, 413, 422)),
        status(503, unrecoverable=True),
        StreamRateLimitException(unrecoverable=True),
        tls(ssl.SSLCertVerificationError(1, "self-signed certificate")),
        tls(None),
        StreamDecodeException("wrong", path="$.status"),
        StreamDecodeException("too large", path="$"),
        ZeroDivisionError(),
    ],
    ids=repr,
)
def test_what_trying_again_cannot_mend_ends_a_wait(failure: Exception) -> None:
    """It does so at once."""
    assert ends_wait(failure, waited=0, not_found_grace=5)


def test_a_task_that_is_not_found_ends_a_wait_after_the_grace() -> None:
    """Before that it may be too new to be seen."""
    assert is_not_found(status(404))
    assert not is_not_found(status(403))
    assert not is_not_found(StreamTransportException("unknown"))
    assert not ends_wait(status(404), waited=4.9, not_found_grace=5)
    assert ends_wait(status(404), waited=5, not_found_grace=5)


@pytest.mark.parametrize(
    ("code", "passes"), [(200, False), (304, True), (404, False), (429, True), (500, True)]
)
def test_a_status_tells_whether_it_may_pass(code: int, *, passes: bool) -> None:
    """Downloads ask the same of a status alone."""
    assert is_passing(code) is passes
