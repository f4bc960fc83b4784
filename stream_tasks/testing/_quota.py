"""Rate limits: windows that fill and begin anew."""

import math
from collections.abc import Callable

from attrs import Attribute, field, frozen

from stream_tasks._arguments import check_seconds
from stream_tasks.testing._answers import HeaderPairs
from stream_tasks.testing._checks import check_count, flag

__all__ = ["Admission", "Quota", "RateLimitRule"]


def _calls(_: object, attribute: "Attribute[int]", value: int) -> None:
    check_count(attribute.name, value)


def _length(_: object, attribute: "Attribute[float]", value: float) -> None:
    check_seconds(attribute.name, value, positive=True)


def _rate(_: object, attribute: "Attribute[float | None]", value: float | None) -> None:
    if value is None:
        return
    allowed = "a finite number of calls, greater than 0, or None"
    if isinstance(value, bool) or not isinstance(value, int | float):
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


class Quota:
    """The calls made of one endpoint, against a rule that may change at any time.

    Args:
        rule: The rule, or None for no limit.
        clock: The time in seconds, from any start.
        epoch: The Unix time, in seconds, at which that clock shows zero.
    """

    def __init__(self, rule: RateLimitRule | None, clock: Callable[[], float], epoch: float) -> None:
        self.rule = rule
        self._clock = clock
        self._epoch = epoch
        self._window = _Window()
        self._second = _Window()

    def spend(self, calls: int) -> None:
        """Count calls that another program made."""
        if self.rule is not None:
            self._window.add(calls, self._clock(), self.rule.window)

    def admit(self) -> Admission:
        """Count one call and tell whether it fits; a refused call counts, too."""
        rule = self.rule
        if rule is None:
            return Admission(ok=True, headers=())
        now = self._clock()
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
        self._window.add(0, self._clock(), rule.window)
        # Rounded up: who waits until then is never too early.
        reset = math.ceil(self._epoch + self._window.end)
        return {"limit": rule.limit, "remaining": max(0, rule.limit - self._window.used), "reset": reset}


class _Window:
    def __init__(self) -> None:
        self.used = 0
        self._start = -math.inf
        self.end = -math.inf

    def add(self, calls: int, now: float, length: float) -> None:
        if now >= self._start + length:
            self._start = now
            self.used = 0
        self.end = self._start + length
        self.used += calls
