"""Which event loop the blocking client runs on."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from stream_tasks._loop_thread import new_loop


def test_it_is_uvloops_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing the extra is all that it takes."""
    made = object()
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=lambda: made))
    assert new_loop() is made


def test_it_is_asyncios_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_loop()
    loop.close()
    assert isinstance(loop, asyncio.BaseEventLoop)
