"""The server that the benchmarks measure against: the wire of Stream's task endpoint, and little else.

It is a raw `asyncio.Protocol`, several times faster than any client here, so that the client is the
bottleneck. What a task does stands in its id: ``done-7`` has ended, ``t3.0-7`` ends 3 seconds after its
first poll. The result says when that was, by `time.monotonic`, which all processes of a machine share.

Run as a program it prints its port, and runs until its standard input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = b"/api/v2/tasks/"
STATS_PATH = b"/stats"
WINDOW = 60.0  # Stream's window, in seconds
NO_LIMIT = 10**9  # told in the headers when there is no quota: real answers always carry them
CREATED = 1_767_225_600_000_000_000  # nanoseconds, as on Stream's v2 wire


class Quota:
    """Stream's rule: so many calls in a window of a minute, and so many in a second. Refused calls count."""

    def __init__(self, limit: int, per_second: float, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.per_second = per_second
        self._clock = clock
        self._window_end = self._second_end = -math.inf
        self._used = self._used_in_second = 0

    def admit(self) -> bool:
        """Count a call, and tell whether it fits."""
        now = self._clock()
        if now >= self._window_end:
            self._window_end, self._used = now + WINDOW, 0
        if now >= self._second_end:
            self._second_end, self._used_in_second = now + 1.0, 0
        self._used += 1
        self._used_in_second += 1
        return self._used <= self.limit and self._used_in_second <= self.per_second

    @property
    def remaining(self) -> int:
        """How many calls are left in this window."""
        return max(0, self.limit - self._used)

    @property
    def reset_in(self) -> float:
        """How many seconds are left of this window."""
        return self._window_end - self._clock()


class Server:
    """Answers requests, and keeps count."""

    def __init__(self, quota: Quota | None) -> None:
        self.quota = quota
        self.polls = 0
        self.refused = 0
        self._ends: dict[bytes, float] = {}
        self._fixed_headers = b""
        self._fixed_until = 0.0

    def answer(self, request: bytes) -> bytes:
        """Return the whole answer to one request, ready for the wire."""
        target = request.split(b" ", 2)[1]
        if target == STATS_PATH:
            return self._respond(
                b"200 OK", json.dumps({"polls": self.polls, "refused": self.refused}).encode()
            )
        self.polls += 1
        if self.quota is not None and not self.quota.admit():
            self.refused += 1
            return self._respond(b"429 Too Many Requests", _REFUSAL)
        return self._respond(b"200 OK", self._look(target[len(PATH) :].partition(b"?")[0]))

    def _look(self, task_id: bytes) -> bytes:
        kind, _, _ = task_id.partition(b"-")
        now = time.monotonic()
        end = now
        if kind != b"done":
            end = self._ends.setdefault(task_id, now + float(kind[1:]))
        if end > now:
            return _RUNNING % (task_id, CREATED, CREATED)
        return _COMPLETED % (task_id, CREATED, CREATED, task_id, end)

    def _respond(self, status: bytes, body: bytes) -> bytes:
        return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, self._headers(), len(body), body)

    def _headers(self) -> bytes:
        now = time.time()
        if self.quota is not None:
            limit, remaining, reset = self.quota.limit, self.quota.remaining, now + self.quota.reset_in
            return _HEADERS % (formatdate(now, usegmt=True).encode(), limit, remaining, math.ceil(reset))
        if now >= self._fixed_until:
            self._fixed_until = math.floor(now) + 1
            date = formatdate(now, usegmt=True).encode()
            self._fixed_headers = _HEADERS % (date, NO_LIMIT, NO_LIMIT, self._fixed_until + WINDOW)
        return self._fixed_headers


_HEADERS = (
    b"Content-Type: application/json\r\nDate: %b\r\n"
    b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n"
)
_RUNNING = b'{"task_id":"%b","status":"running","created_at":%d,"updated_at":%d,"duration":"3.14ms"}'
_COMPLETED = (
    b'{"task_id":"%b","status":"completed","created_at":%d,"updated_at":%d,"duration":"3.14ms",'
    b'"result":{"url":"https://example.com/exports/%b.json.gz","finished_at":%f}}'
)
_REFUSAL = (
    b'{"code":9,"message":"GetTask failed: too many requests","StatusCode":429,"duration":"0.11ms",'
    b'"more_info":"https://getstream.io/chat/docs/api_errors_response","details":[],"exception_fields":{}}'
)


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write to."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request; none of them has a body."""
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(self._server.answer(request))


async def serve(server: Server) -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listener.close()


def main() -> None:
    """Read the quota from the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--limit", type=int, help="calls a minute; without it, there is no quota")
    parser.add_argument(
        "--per-second", type=float, help="calls a second; a thirtieth of the limit without it"
    )
    parser.add_argument("--core", type=int, help="the core to run on")
    options = parser.parse_args()
    if options.core is not None:
        pin(options.core)
    quota = None
    if options.limit is not None:
        quota = Quota(options.limit, options.per_second or options.limit / 30, time.monotonic)
    run = asyncio.run
    try:
        import uvloop  # noqa: PLC0415 - where there is one

        run = uvloop.run
    except ImportError:
        pass
    run(serve(Server(quota)))


def pin(core: int) -> None:
    """Keep this process on one core, where the platform can."""
    if sys.platform == "linux":
        import os  # noqa: PLC0415 - only here

        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    main()
