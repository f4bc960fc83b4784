"""Rate limits: windows that fill and begin anew."""

import math
from collections.abc import Iterable
from typing import Final

from attrs import Attribute, define, field, frozen

from stream_tasks._arguments import check_seconds, is_number
from stream_tasks.testing._answers import HeaderPairs
from stream_tasks.testing._checks import check_count, flag
from stream_tasks.testing._clock import ServerTime
from stream_tasks.testing._kinds import KINDS
from stream_tasks.testing._operations import OPERATIONS

__all__ = ["Admission", "Quota", "Quotas", "RateLimitRule", "as_rule"]

_ENDPOINTS: Final = (
    *(kind.endpoint for kind in KINDS),
    "GetRateLimits",
    *(operation.endpoint for operation in OPERATIONS.values()),
)


def _calls(_: object, attribute: "Attribute[int]", value: int) -> None:
    check_count(attribute.name, value)


def _length(_: object, attribute: "Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value, positive=True)


def _rate(_: object, attribute: "Attribute[float | None]", value: float | None) -> None:
    if value is None:
        return
    allowed = "a finite number of calls, greater than 0, or None"
    if not is_number(value):
        raise TypeError(f"{attribute.name} must be {allowed}, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} must be {allowed}, not {value!r}")


@frozen
class RateLimitRule:
    """How often an endpoint may be called.

    Attributes:
        limit: Calls that fit into one window; at least 0.
        window: The length of a window in seconds. It begins with its first call.
        per_second: Calls that are allowed in one second, besides; None for no such rule. Stream's own is a
            thirtieth of the minute's limit.
        retry_after: Whether a refusal says when to come again; Stream's usually does not.
        headers: Whether answers carry the ``X-RateLimit-*`` headers.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: A number is out of range.
    """

    limit: int = field(validator=_calls)
    window: float = field(default=60.0, validator=_length)
    per_second: float | None = field(default=None, validator=_rate)
    retry_after: bool = field(default=False, validator=flag)
    headers: bool = field(default=True, validator=flag)


@frozen
class Admission:
    """Whether one call was let in.

    Attributes:
        ok: True when it was.
        headers: The rate-limit headers of its answer, ``Retry-After`` among them where the rule says so.
    """

    ok: bool
    headers: HeaderPairs


@define
class _Window:
    used: int = 0
    start: float = -math.inf
    end: float = -math.inf

    def add(self, calls: int, now: float, length: float) -> None:
        if now >= self.start + length:
            self.start = now
            self.used = 0
        self.end = self.start + length
        self.used += calls


@define(eq=False)
class Quota:
    """The calls made of one endpoint, against a rule that may change at any time.

    Attributes:
        rule: The rule, or None for no limit.
        time: The server's time.
    """

    rule: RateLimitRule | None
    time: ServerTime
    _window: _Window = field(init=False, factory=_Window)
    _second: _Window = field(init=False, factory=_Window)

    def spend(self, calls: int) -> None:
        """Count calls that another program made."""
        if self.rule is not None:
            self._window.add(calls, self.time.now(), self.rule.window)

    def admit(self) -> Admission:
        """Count one call and tell whether it fits; a refused call counts, too."""
        rule = self.rule
        if rule is None:
            return Admission(ok=True, headers=())
        now = self.time.now()
        wait = 0.0
        self._window.add(1, now, rule.window)
        if self._window.used > rule.limit:
            wait = self._window.end - now
        if rule.per_second is not None:
            burst = max(1, int(rule.per_second))
            self._second.add(1, now, burst / rule.per_second)
            if self._second.used > burst:
                wait = max(wait, self._second.end - now)
        headers: HeaderPairs = ()
        if rule.headers:
            headers = tuple((f"X-RateLimit-{name.title()}", str(n)) for name, n in self.report().items())
        if wait and rule.retry_after:
            headers += (("Retry-After", str(math.ceil(wait))),)
        return Admission(ok=not wait, headers=headers)

    def report(self) -> dict[str, int]:
        """Return limit, remaining calls and the window's end in whole Unix seconds; {} without a rule."""
        rule = self.rule
        if rule is None:
            return {}
        self._window.add(0, self.time.now(), rule.window)
        # Rounded up, so that a client that waits until then is never too early.
        reset = math.ceil(self.time.epoch + self._window.end)
        return {"limit": rule.limit, "remaining": max(0, rule.limit - self._window.used), "reset": reset}


class Quotas:
    """The quota of each endpoint.

    Args:
        time: The server's time.
    """

    def __init__(self, time: ServerTime) -> None:
        self._time = time
        self._quotas: dict[str, Quota] = {}

    def of(self, endpoint: str) -> Quota:
        """Return the quota of an endpoint, by its name."""
        if endpoint not in self._quotas:
            self._quotas[endpoint] = Quota(None, self._time)
        return self._quotas[endpoint]

    def limit(self, endpoint: str, rule: RateLimitRule | int | None) -> None:
        """Set the rule of one endpoint, for instance ``ExportChannels``; each has a window of its own.

        Args:
            endpoint: Stream's name of the endpoint: the operation's in CamelCase, or ``GetTask``.
            rule: The rule, a number of calls a minute, or None for no limit.

        Raises:
            TypeError: `rule` is not one of these.
            ValueError: The endpoint is not known, or the number is negative.
        """
        _check_endpoint(endpoint)
        self.of(endpoint).rule = as_rule("rule", rule)

    def spend(self, calls: int, *, endpoint: str = "GetTask") -> None:
        """Let another program spend some of an endpoint's window, if it has a rule.

        Args:
            calls: How many calls.
            endpoint: As for `limit`.

        Raises:
            TypeError: `calls` is not a whole number.
            ValueError: It is negative, or the endpoint is not known.
        """
        check_count("calls", calls)
        _check_endpoint(endpoint)
        self.of(endpoint).spend(calls)

    def report(self, endpoints: Iterable[str] | None) -> dict[str, dict[str, int]]:
        """Return the reports of the endpoints that have a rule; None for all."""
        names = list(self._quotas) if endpoints is None else endpoints
        reports = {name: self._quotas[name].report() for name in names if name in self._quotas}
        return {name: report for name, report in reports.items() if report}

    def clear(self) -> None:
        """Forget what was spent; rules stay."""
        for endpoint, quota in self._quotas.items():
            self._quotas[endpoint] = Quota(quota.rule, self._time)


def as_rule(name: str, rule: RateLimitRule | int | None) -> RateLimitRule | None:
    """Return a rule that may be given as a number of calls a minute.

    Raises:
        TypeError: It is neither of these, nor None.
        ValueError: The number is negative.
    """
    if rule is None or isinstance(rule, RateLimitRule):
        return rule
    if isinstance(rule, bool) or not hasattr(type(rule), "__index__"):
        raise TypeError(f"{name} must be a RateLimitRule, a number of calls a minute, or None, not {rule!r}")
    return RateLimitRule(rule)


def _check_endpoint(name: str) -> None:
    if name not in _ENDPOINTS:
        raise ValueError(f"no endpoint is called {name!r}; there are {', '.join(_ENDPOINTS)}")
