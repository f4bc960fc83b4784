"""Everything that the client raises.

::

    StreamException
    ├── StreamApiException            the server refused: a 4xx or 5xx status
    │   └── StreamRateLimitException  429: the quota is spent
    ├── StreamTransportException      no usable answer came
    │   └── StreamWaitTimeoutException   the wait elapsed (also a TimeoutError)
    ├── StreamDecodeException         an answer came that does not fit
    ├── StreamBatchException          one of many batches could not be started
    ├── StreamDownloadException       an export could not be downloaded
    └── StreamTaskException           the task failed

Wrong arguments are ``ValueError`` and ``TypeError``, before any request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from stream_tasks.models import RateLimit, Task

__all__ = [
    "TRANSPORT_ERROR_CONNECTION_RESET",
    "TRANSPORT_ERROR_DNS_FAILURE",
    "TRANSPORT_ERROR_TIMEOUT",
    "TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED",
    "TRANSPORT_ERROR_UNKNOWN",
    "StreamApiException",
    "StreamBatchException",
    "StreamDecodeException",
    "StreamDownloadException",
    "StreamException",
    "StreamRateLimitException",
    "StreamTaskException",
    "StreamTransportException",
    "StreamWaitTimeoutException",
]

TRANSPORT_ERROR_CONNECTION_RESET = "connection_reset"
TRANSPORT_ERROR_DNS_FAILURE = "dns_failure"
TRANSPORT_ERROR_TIMEOUT = "timeout"
TRANSPORT_ERROR_TLS_HANDSHAKE_FAILED = "tls_handshake_failed"
TRANSPORT_ERROR_UNKNOWN = "unknown"

WaitReason = Literal["still_running", "unreachable", "not_found", "rate_limited"]

_LONGEST_PART: Final = 300
_LONGEST_MESSAGE: Final = 1_000


def one_line(text: object, longest: int = _LONGEST_PART) -> str:
    """Return what a server or a caller named as a log or a terminal may show it.

    It is cut to `longest` characters, and what could steer a terminal or begin another line is escaped.
    """
    shown = str(text)
    if len(shown) > longest:
        shown = f"{shown[:longest]}…"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def _rebuild(
    kind: type[StreamException], args: tuple[Any, ...], state: dict[str, Any], cause: StreamException | None
) -> StreamException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    if cause is not None:  # setting it, even to None, hides the context
        error.__cause__ = cause
    return error


class StreamException(Exception):
    """Raised when something goes wrong between this client and Stream; the base of all below.

    Attributes hold what the server said as it came. The message is one line of at most about 1,000
    characters, safe to log and to print.
    """

    _outcome_status: ClassVar[str] = "error"  # what `TaskOutcome.status` says of it

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, _LONGEST_MESSAGE))

    @property
    def _kind(self) -> str:
        """What kind of error it is, in one word."""
        return "undecodable"

    def _task_error_fields(self) -> tuple[str, str, str | None, str | None]:
        """Return the fields of a `TaskError`, for `TaskOutcome.to_dict`."""
        description = str(self)
        if isinstance(self.__cause__, StreamException):
            description += f"; the last failure: {self.__cause__}"
        return self._kind, description, None, None

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle as class(*args), which does not fit constructors that take data.
        # A lower library's cause may not pickle at all: only our own is taken along.
        cause = self.__cause__ if isinstance(self.__cause__, StreamException) else None
        return _rebuild, (type(self), self.args, dict(self.__dict__), cause)


class StreamApiException(StreamException):
    """Raised when the server answers with an error status.

    Attributes:
        status_code: The HTTP status.
        code: Stream's error code, 0 when the body was no error envelope.
        message: What the server said.
        exception_fields: Which inputs are wrong, and why.
        unrecoverable: The server says that trying again is of no use.
        more_info: The address of the code's documentation.
        details: Further codes.
        raw_response_body: The body as it came.
        rate_limit: The quota, when the headers told it.
    """

    def __init__(
        self,
        *,
        status_code: int,
        code: int = 0,
        message: str = "",
        exception_fields: Mapping[str, str] | None = None,
        unrecoverable: bool = False,
        more_info: str = "",
        details: Sequence[Any] = (),
        raw_response_body: str = "",
        rate_limit: RateLimit | None = None,
        _hold: timedelta | None = None,
    ) -> None:
        self.status_code = status_code
        self.code = code
        self.message = message
        self.exception_fields: dict[str, str] = dict(exception_fields or {})
        self.unrecoverable = unrecoverable
        self.more_info = more_info
        self.details: list[Any] = list(details)
        self.raw_response_body = raw_response_body
        self.rate_limit = rate_limit
        self._hold = _hold
        super().__init__(self._describe())

    @property
    def _kind(self) -> str:
        return f"http_{self.status_code}"

    @property
    def hold(self) -> float | None:
        """How long the server asked to wait, in seconds, or None when it did not say."""
        return None if self._hold is None else self._hold.total_seconds()

    def _describe(self) -> str:
        parts = [f"HTTP {self.status_code}"]
        if self.code:
            parts.append(f"code {self.code}")
        text = f"{', '.join(parts)}: {one_line(self.message)}" if self.message else ", ".join(parts)
        if self.exception_fields:
            text += f" ({'; '.join(f'{name}: {why}' for name, why in self.exception_fields.items())})"
        return text


class StreamRateLimitException(StreamApiException):
    """Raised when the quota is spent: HTTP 429.

    Attributes:
        retry_after: How long the server asked to wait, or None when it did not say.
    """

    def __init__(
        self, *, status_code: int = 429, retry_after: timedelta | None = None, **fields: Any
    ) -> None:
        self.retry_after = retry_after
        super().__init__(status_code=status_code, _hold=retry_after, **fields)


class StreamTransportException(StreamException):
    """Raised when no usable answer came; ``__cause__`` is the lower library's error.

    Attributes:
        error_type: ``connection_reset``, ``timeout``, ``dns_failure``, ``tls_handshake_failed`` or
            ``unknown``.
    """

    def __init__(self, error_type: str, message: str = "") -> None:
        self.error_type = error_type
        super().__init__(message or f"no answer from Stream: {error_type}")

    @property
    def _kind(self) -> str:
        return self.error_type


class StreamWaitTimeoutException(StreamTransportException, TimeoutError):
    """Raised when a wait elapsed; the task may still be running on the server.

    The last failure, if the last poll failed, is its ``__cause__``.

    Attributes:
        task_id: The task.
        timeout: The wait's limit, in seconds.
        elapsed: How long the wait lasted, in seconds.
        polls: How often the task was asked for.
        task: The last snapshot, or None when none came.
        reason: ``still_running``; ``unreachable`` if the server did not answer; ``not_found`` if it did not
            know the task, perhaps not yet; ``rate_limited`` if the quota, not the task, took up the time.
    """

    _outcome_status = "timed_out"

    def __init__(
        self,
        *,
        task_id: str,
        timeout: float,
        elapsed: float,
        polls: int,
        task: Task | None = None,
        reason: WaitReason = "still_running",
    ) -> None:
        self.task_id = task_id
        self.timeout = timeout
        self.elapsed = elapsed
        self.polls = polls
        self.task = task
        self.reason = reason
        seen = f"last status {one_line(task.status)!r}" if task is not None else "never seen"
        super().__init__(
            TRANSPORT_ERROR_TIMEOUT,
            f"task {one_line(task_id)} did not finish within {timeout:g} s "
            f"({reason.replace('_', ' ')}; {seen}; polls: {polls}); it may still be running on the server",
        )

    @property
    def _kind(self) -> str:
        return self.reason


class StreamDecodeException(StreamException):
    """Raised when an answer came that does not fit.

    Attributes:
        reason: What does not fit, in one line.
        path: Where, such as ``$.result.url``; None when the body is not JSON at all.
        body: The beginning of the body, as text.
    """

    def __init__(self, reason: str, *, path: str | None = None, body: str = "") -> None:
        # What is wrong, and where, is the server's to name: it may be of any length.
        self.reason: str = one_line(reason)
        self.path: str | None = None if path is None else one_line(path)
        self.body = body
        super().__init__(self.reason if path is None else f"{self.reason} at {self.path}")


class StreamBatchException(StreamException):
    """Raised when one of many batches could not be started; ``__cause__`` says why.

    What came before it was started, what comes after it was not: of a list, ``items[error.position:]``
    is what is left to do.

    Attributes:
        operation: The operation, such as ``delete_users``.
        batch: The items of the batch that could not be started.
        position: How many items came before these; all of them were started.
        may_have_started: Whether the server may have started the batch all the same: it broke off, or
            its answer was lost.
        task_ids: The tasks that were started before, the latest 10,000 of them.
    """

    def __init__(
        self,
        *,
        operation: str,
        batch: Sequence[Any],
        position: int = 0,
        may_have_started: bool = False,
        task_ids: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        self.operation = operation
        self.batch: list[Any] = list(batch)
        self.position = position
        self.may_have_started = may_have_started
        self.task_ids: list[str] = list(task_ids)
        fate = "may or may not have been started" if may_have_started else "was not started"
        text = f"{operation}: the batch of {len(batch)} from item {position + 1} on {fate}"
        super().__init__(f"{text}: {reason}".removesuffix(": "))


class StreamDownloadException(StreamException):
    """Raised when an export could not be downloaded, however often it was tried; nothing is left of it.

    Attributes:
        task_id: The task that exported it, or None when that is not known.
        status_code: The HTTP status that was answered last, or None when none was.
    """

    def __init__(self, reason: str, *, task_id: str | None = None, status_code: int | None = None) -> None:
        self.task_id = task_id
        self.status_code = status_code
        super().__init__(reason)

    @property
    def _kind(self) -> str:
        return "download_failed"


class StreamTaskException(StreamException):
    """Raised when the task failed on the server.

    Attributes:
        task_id: The task.
        error_type: The kind of failure, ``unknown`` when the server did not say.
        description: What went wrong.
        stack_trace: The server's stack trace, if it gave one.
        version: The version of the server's worker, if it gave one.
        task: The task's final snapshot.
    """

    _outcome_status = "failed"

    def __init__(
        self,
        *,
        task_id: str,
        error_type: str = "unknown",
        description: str = "",
        stack_trace: str | None = None,
        version: str | None = None,
        task: Task | None = None,
    ) -> None:
        self.task_id = task_id
        self.error_type = error_type
        self.description = description
        self.stack_trace = stack_trace
        self.version = version
        self.task = task
        text = f"task {one_line(task_id)} failed ({one_line(error_type)}): {description}"
        super().__init__(text.removesuffix(": "))

    def _task_error_fields(self) -> tuple[str, str, str | None, str | None]:
        return self.error_type, self.description, self.stack_trace, self.version

    @classmethod
    def from_task(cls, task_id: str, task: Task) -> StreamTaskException:
        """Tell of a failed task.

        Args:
            task_id: The id that the caller knows it by.
            task: Its last snapshot.

        Returns:
            The exception, with what the task says of its error.
        """
        error = task.error
        if error is None:
            return cls(task_id=task_id, task=task)
        return cls(
            task_id=task_id,
            error_type=error.type,
            description=error.description,
            stack_trace=error.stacktrace,
            version=error.version,
            task=task,
        )
