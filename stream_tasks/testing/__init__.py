"""A Stream server and a virtual clock on your machine, for tests and demos.

`FakeStream` listens on a loopback port and speaks the wire of Stream's task endpoints to any client: this
library, the official one, or plain HTTP::

    async with FakeStream() as server:
        task_id = server.add_task(statuses=["pending", "running"], result={"url": "https://example.com/export.json"})
        async with AsyncStream(server.api_key, server.api_secret, base_url=server.url) as client:
            result = await client.wait_for_task(task_id)

With `VirtualClock` nobody waits: time jumps to the next timer as soon as everything else is done.

pytest finds these fixtures by itself:

- ``fake_stream``: a running `FakeStream`, which the ``STREAM_*`` variables of the environment name.
- ``stream_client`` and ``async_stream_client``: a `Stream` and an `AsyncStream` of that server.
- ``virtual_clock``: a running `VirtualClock`.
"""

from stream_tasks.testing._clock import VirtualClock
from stream_tasks.testing._faults import Fault
from stream_tasks.testing._log import Request
from stream_tasks.testing._quota import RateLimitRule
from stream_tasks.testing._scripts import TaskFailure
from stream_tasks.testing._server import FakeStream

__all__ = ["FakeStream", "Fault", "RateLimitRule", "Request", "TaskFailure", "VirtualClock"]
