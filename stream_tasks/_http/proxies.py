"""The proxies that the environment names, checked before one of them is needed."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from yarl import URL

__all__ = ["check_proxies"]

_SCHEMES: Final = ("http", "https", "ws", "wss")
"""aiohttp reads the variables of all of these, whichever it needs."""


def check_proxies(base_url: str) -> None:
    """Check the variables, such as ``HTTPS_PROXY``, that a session reads which trusts the environment.

    Args:
        base_url: What is to be reached.

    Raises:
        ValueError: One of them is not a URL, or the one that counts for `base_url` not of an HTTP proxy.
    """
    parts = urlsplit(base_url)
    for scheme, value in getproxies().items():
        if scheme not in _SCHEMES:
            continue
        counts = scheme == parts.scheme.lower() and not proxy_bypass(parts.hostname or "")
        if not _is_url(value, of_a_proxy=counts):
            # The value may hold a password: it is not repeated.
            raise ValueError(
                f"{_variable(scheme)} (in the environment, which trust_env=True trusts) must be the URL of an"
                " HTTP proxy, such as 'http://proxy.example.com:3128'"
            )


def _is_url(value: str, *, of_a_proxy: bool) -> bool:
    try:
        url = URL(value)
    except ValueError:
        return False
    # aiohttp passes over a proxy that is spoken to over TLS: requests would go past it.
    return not of_a_proxy or (url.scheme == "http" and bool(url.host))


def _variable(scheme: str) -> str:
    """Return the name of the variable that counts: the one in small letters, if there are both."""
    small = f"{scheme}_proxy"
    return small if os.environ.get(small) else small.upper()
