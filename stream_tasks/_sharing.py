"""What the log tells of clients that compete with each other, or that hold an event loop up."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import weakref
from typing import Final, Protocol

__all__ = ["closed", "opened", "warn_of_running_loop"]

logger = logging.getLogger("stream_tasks")

_open: Final[dict[tuple[str, str], weakref.WeakSet[Sharer]]] = {}
"""The open clients of each app."""

_told: Final[set[object]] = set()
"""What the log has told already, as it tells it once."""

_BLOCKED: Final = "a running loop"


class Sharer(Protocol):
    """A client, as far as this module knows it."""

    @property
    def _is_left_open(self) -> bool:
        """Whether it may still be used."""
        ...


def opened(client: Sharer, origin: str, api_key: str) -> None:
    """Tell, once for each app, that there is another client already."""
    app = origin, api_key
    clients = _open.setdefault(app, weakref.WeakSet())
    if app not in _told and any(other._is_left_open for other in list(clients)):  # noqa: SLF001 - not public
        _told.add(app)
        # At INFO, as scripts that make another client are not wrong: without handlers, it is not printed.
        logger.info(
            "another client of the app %s is open in this process: share one client, since they compete for"
            " one quota",
            api_key,
            extra={"stream_event": "client_not_shared"},
        )
    clients.add(client)


def closed(client: Sharer, origin: str, api_key: str) -> None:
    """Forget a client."""
    clients = _open.get((origin, api_key))
    if clients is not None:
        clients.discard(client)
        if not clients:
            _open.pop((origin, api_key), None)


def warn_of_running_loop() -> None:
    """Tell, once, that a blocking call holds up this thread's event loop; that of a notebook may wait."""
    if asyncio._get_running_loop() is None or _BLOCKED in _told or _is_notebook():  # noqa: SLF001 - documented
        return
    _told.add(_BLOCKED)
    logger.warning(
        "a blocking Stream is called on the thread of a running event loop, which can do nothing else"
        " meanwhile: use AsyncStream there, or call it in a thread, as asyncio.to_thread does",
        extra={"stream_event": "loop_blocked"},
    )


def _is_notebook() -> bool:
    """Whether this is IPython, whose cells run within a loop."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython, "get_ipython", lambda: None)() is not None


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(after_in_child=_open.clear)  # they are the parent's
