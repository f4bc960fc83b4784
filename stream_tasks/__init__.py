"""Wait on Stream's (getstream.io) long-running tasks: one, or a hundred thousand at a time.

Public names are imported at first use: the command line's help, and programs that need only the exceptions,
do without aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from stream_tasks._version import __version__

if TYPE_CHECKING:
    from stream_tasks import exceptions as exceptions
    from stream_tasks import models as models
    from stream_tasks._backoff import Backoff
    from stream_tasks._blocking import Stream
    from stream_tasks._client import AsyncStream
    from stream_tasks._engine.durations import Durations, OperationDurations
    from stream_tasks._report import Report, report
    from stream_tasks.endpoints import Endpoint
    from stream_tasks.exceptions import (
        StreamApiException,
        StreamBatchException,
        StreamDecodeException,
        StreamDownloadException,
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
        ImportResult,
        ImportStep,
        ImportV2Result,
        ItemResult,
        Obstacle,
        RateLimit,
        Snapshot,
        StartedTask,
        Stats,
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
    "Durations",
    "Endpoint",
    "ExportChannelsResult",
    "ExportUsersResult",
    "ImportResult",
    "ImportStep",
    "ImportV2Result",
    "ItemResult",
    "Obstacle",
    "OperationDurations",
    "RateLimit",
    "Report",
    "Snapshot",
    "StartedTask",
    "Stats",
    "Stream",
    "StreamApiException",
    "StreamBatchException",
    "StreamDecodeException",
    "StreamDownloadException",
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
    "report",
]

_SUBMODULES: Final = ("exceptions", "models")
"""Public modules that need no import of their own."""

_DEFINED_IN: Final = (
    *_SUBMODULES,
    "endpoints",
    "_backoff",
    "_engine.durations",
    "_client",
    "_blocking",
    "_report",
)
"""Where public names are looked for: those modules first that import the least."""


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        modules = (vars(import_module(f"{__name__}.{module}")) for module in _DEFINED_IN)
        value = globals()[name] = next(module[name] for module in modules if name in module)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES, *(name for name in globals() if name.startswith("_"))})
