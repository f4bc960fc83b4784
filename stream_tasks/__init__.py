"""Wait on Stream's (getstream.io) long-running tasks: one, or a hundred thousand at a time."""

from stream_tasks._backoff import Backoff
from stream_tasks._blocking import Stream
from stream_tasks._client import AsyncStream
from stream_tasks._version import __version__
from stream_tasks.exceptions import (
    StreamApiException,
    StreamBatchException,
    StreamDecodeException,
    StreamException,
    StreamRateLimitException,
    StreamTaskException,
    StreamTransportException,
    StreamWaitTimeoutException,
)
from stream_tasks.models import (
    ChannelBatchFailure,
    ChannelBatchResult,
    DeactivateUsersResult,
    DeleteCallResult,
    DeleteChannelsResult,
    DeleteUsersResult,
    ExportChannelsResult,
    ExportUsersResult,
    ItemResult,
    Obstacle,
    RateLimit,
    StartedTask,
    StreamResponse,
    Task,
    TaskError,
    TaskOutcome,
    TaskResult,
)

__all__ = [
    "AsyncStream",
    "Backoff",
    "ChannelBatchFailure",
    "ChannelBatchResult",
    "DeactivateUsersResult",
    "DeleteCallResult",
    "DeleteChannelsResult",
    "DeleteUsersResult",
    "ExportChannelsResult",
    "ExportUsersResult",
    "ItemResult",
    "Obstacle",
    "RateLimit",
    "StartedTask",
    "Stream",
    "StreamApiException",
    "StreamBatchException",
    "StreamDecodeException",
    "StreamException",
    "StreamRateLimitException",
    "StreamResponse",
    "StreamTaskException",
    "StreamTransportException",
    "StreamWaitTimeoutException",
    "Task",
    "TaskError",
    "TaskOutcome",
    "TaskResult",
    "__version__",
]
