"""Whom clients trust who are not told: the system's authorities, as the environment names them."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Final

__all__ = ["system_context"]

_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""What OpenSSL and Python read as a context is made."""


def system_context() -> ssl.SSLContext:
    """Return the context of all clients that are made while the environment is as it is now.

    aiohttp has one, too, but makes it when it is imported, before a program may have read its settings.
    """
    return _context(*map(os.environ.get, _VARIABLES))


@functools.lru_cache(maxsize=4)
def _context(*_: str | None) -> ssl.SSLContext:
    # It takes as long as a hundred polls.
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
