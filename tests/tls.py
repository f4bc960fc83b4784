"""Certificates, good and bad, and the authority that issued them."""

import ssl
from datetime import UTC, datetime

import trustme

__all__ = ["server_context", "trusting_context"]

AUTHORITY = trustme.CA()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2020, 2, 1, tzinfo=UTC)


def server_context(host: str = "127.0.0.1", *, is_expired: bool = False) -> ssl.SSLContext:
    """Return what a server needs to be `host`."""
    certificate = (
        AUTHORITY.issue_cert(host, not_before=LONG_AGO, not_after=LATER)
        if is_expired
        else AUTHORITY.issue_cert(host)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def trusting_context() -> ssl.SSLContext:
    """Return what a client needs to trust the authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    return context
