"""What can be waited for: what to poll, how to read the answer, and when it is final.

A task is the usual case, and needs nothing of this. Imports, campaigns and policy-test runs are polled at
addresses of their own, and answer in their own ways::

    from stream_tasks.endpoints import CAMPAIGN, Endpoint

    campaign = await client.wait_for(CAMPAIGN.of("spring"), poll_interval=10, timeout=3600)

    export = Endpoint("/exports/{id}", status_at="state", completed=("done",), failed=("error",))
    outcomes = await client.wait_for_tasks([export.of("1"), export.of("2"), "the-id-of-a-task"])
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Generic, Literal

from attrs import evolve, field, frozen

from stream_tasks._arguments import (
    check_keys,
    check_request_path,
    check_result_type,
    check_segment,
    path_segment,
)
from stream_tasks.models import (
    ImportResult,
    ImportV2Result,
    TaskResult,
)

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["CAMPAIGN", "IMPORT", "IMPORT_V2", "POLICY_TEST_RUN", "TASK", "Endpoint", "Polled"]

T_co = TypeVar("T_co", covariant=True, default=TaskResult)

_ID: Final = "{id}"


def status_word(value: Any) -> str:
    """Return a status as text: a number's digits, a text as it is.

    Raises:
        TypeError: It is neither a text nor an integer.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"a status must be a str or an int, not {type(value).__name__}")
    return str(operator.index(value))


def _words(statuses: Iterable[str | int]) -> tuple[str, ...]:
    if isinstance(statuses, str) or not isinstance(statuses, Iterable):
        raise TypeError(f"completed and failed must be lists of statuses, not {statuses!r}")
    return tuple(map(status_word, statuses))


def _path(path: Any) -> str:
    if not isinstance(path, str) or path.count(_ID) != 1:
        raise ValueError(f"path must be a text with one {_ID}, such as '/imports/{_ID}', not {path!r}")
    check_request_path(path.replace(_ID, "id"))
    return path


def _keys(keys: Any) -> str:
    return "" if keys == "" else check_keys("at, status_at and error_at", keys)


def _check_result_type(_: object, __: object, value: Any) -> None:
    check_result_type(value)


@frozen(cache_hash=True)
class Endpoint(Generic[T_co]):
    """What to poll, how to read the answer, and when it is final.

    Attributes:
        path: The path of the GET request, ``{id}`` in place of the id; ``/api/v2`` is put before it.
        at: The key of the answer that holds what is polled, or keys joined by dots; empty if the answer
            itself is what is polled.
        status_at: Where in that the status is: a text or an integer.
        completed: The statuses with which the work has ended well. An integer stands for itself, and ``*``
            in a text for any characters.
        failed: The statuses with which it has failed.
        error_at: Where in that a failure is described; empty if nothing does.
        result_type: What waiting returns: a type to decode what is polled to, a `TaskResult` without it.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: An argument is not valid.
    """

    path: str = field(converter=_path)
    at: str = field(default="", converter=_keys)
    status_at: str = field(default="status", converter=_keys)
    completed: tuple[str, ...] = field(default=("completed",), converter=_words)
    failed: tuple[str, ...] = field(default=("failed",), converter=_words)
    error_at: str = field(default="", converter=_keys)
    result_type: type[T_co] = field(default=TaskResult, validator=_check_result_type)  # type: ignore[assignment]

    def of(self, id: str | UUID) -> Polled[T_co]:  # noqa: A002 - it stands in the path by this name
        """Return what to wait for: the work with this id.

        Args:
            id: The id.

        Returns:
            What `wait_for` takes, and `wait_for_task`, `wait_for_tasks`, `as_completed` and `watch_task` too.

        Raises:
            TypeError: The id is not a text.
            ValueError: The id is empty, ``.`` or ``..``.
        """
        return Polled(self, check_segment("id", id))

    def ending_with(
        self, completed: Iterable[str | int] | None = None, failed: Iterable[str | int] | None = None
    ) -> Endpoint[T_co]:
        """Return the same endpoint with other final statuses.

        Args:
            completed: The statuses with which the work has ended well; the same ones without it.
            failed: The statuses with which it has failed; the same ones without it.

        Returns:
            The endpoint.

        Raises:
            TypeError: One is not a list of texts and integers.
        """
        return evolve(
            self,
            completed=self.completed if completed is None else completed,
            failed=self.failed if failed is None else failed,
        )

    def ending(self, status: str) -> Literal["completed", "failed"] | None:
        """Return how the work has ended.

        Args:
            status: A status, as text.

        Returns:
            ``completed``, ``failed``, or None if the status is not a final one.
        """
        if any(fnmatchcase(status, word) for word in self.completed):
            return "completed"
        if any(fnmatchcase(status, word) for word in self.failed):
            return "failed"
        return None


@frozen(cache_hash=True, repr=False)
class Polled(Generic[T_co]):
    """One thing to wait for: an id at an endpoint. `Endpoint.of` makes it.

    Attributes:
        endpoint: Where it is polled, and how the answer is read.
        id: Its id.
    """

    endpoint: Endpoint[T_co]
    id: str

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.path!r}, id={self.id!r})"

    @property
    def path(self) -> str:
        """The path of the GET request, encoded."""
        before, _, after = self.endpoint.path.partition(_ID)
        return check_request_path(f"{before}{path_segment('id', self.id)}{after}")


def check_polled(value: Any) -> None:
    """Check what is to be waited for.

    Raises:
        TypeError: It is not an id at an endpoint.
    """
    if not isinstance(value, Polled):
        raise TypeError(
            f"polled must be an id at an endpoint, such as IMPORT.of(id), not {type(value).__name__}"
        )


TASK: Final[Endpoint[TaskResult]] = Endpoint("/tasks/{id}")
"""A task."""

IMPORT: Final[Endpoint[ImportResult]] = Endpoint(
    "/imports/{id}", "import_task", "state", failed=("*failed",), result_type=ImportResult
)
"""An import. Its states are texts, and Stream may add some: any that ends in ``failed`` is a failure."""

IMPORT_V2: Final[Endpoint[ImportV2Result]] = Endpoint(
    "/imports/v2/{id}", status_at="state", completed=(3,), failed=(4,), result_type=ImportV2Result
)
"""An import of the second version. Stream does not document its states, which are integers; 3 is taken for
completed and 4 for failed. ``IMPORT_V2.ending_with(completed=[5])`` is what to poll if yours are others."""

POLICY_TEST_RUN: Final[Endpoint[TaskResult]] = Endpoint(
    "/moderation/policy_tests/runs/{id}", "run", error_at="error_message"
)
"""A run of a policy test of moderation."""

CAMPAIGN: Final[Endpoint[TaskResult]] = Endpoint("/chat/campaigns/{id}", "campaign", failed=("stopped",))
"""A campaign: it ends as ``completed``, or fails as ``stopped``."""
