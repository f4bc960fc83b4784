"""Faults: what goes wrong between a client and Stream, on demand."""

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from stream_tasks.testing._answers import Answer, HeaderPairs, Headers, error_answer, header_pairs
from stream_tasks.testing._checks import check_count, check_flag, check_json, check_kind, check_pause

__all__ = ["Fault"]

Body: TypeAlias = Mapping[str, Any] | str | bytes

_STATUSES: Final = (200, 599)  # clients take a lower one for the announcement of another
_REDIRECTS: Final = (300, 399)


@frozen
class Fault:
    """One way for a request to go wrong; made by the constructors below, given to `FakeStream.inject`.

    Attributes:
        name: What it is called in its repr.
        pause: Seconds of silence before anything is said.
        answer: The answer in place of the true one, or None.
        metered: Whether the answer comes from Stream itself, which counts it against the quota.
        breaks: Whether the connection is reset in place of an answer, or cut half-way through it.
        overrides: Headers that take the place of the answer's own.
    """

    name: str
    pause: float = field(default=0.0, repr=False)
    answer: Answer | None = field(default=None, repr=False)
    metered: bool = field(default=False, repr=False)
    breaks: Literal["reset", "cut"] | None = field(default=None, repr=False)
    overrides: HeaderPairs = field(default=(), repr=False)

    @classmethod
    def status(
        cls,
        code: int,
        *,
        body: Body | None = None,
        headers: Headers | None = None,
        unrecoverable: bool = False,
    ) -> "Fault":
        """Stream answers with this HTTP status.

        Args:
            code: The HTTP status.
            body: The body, sent as JSON unless it is text or bytes; by default Stream's error envelope.
            headers: Headers to add, in place of the rate-limit ones where they have the same name.
            unrecoverable: Whether the envelope tells the client not to try again.

        Raises:
            TypeError: An argument is not of its type, or JSON cannot hold `body`.
            ValueError: `code` is not from 200 to 599, or a header has more than one line.
        """
        _check_status(code)
        check_flag("unrecoverable", unrecoverable)
        answer = error_answer(code, _phrase(code), unrecoverable=unrecoverable)
        if body is not None:
            answer = Answer(code, _encoded(body))
        return cls(f"status {code}", answer=answer, metered=True, overrides=header_pairs(headers))

    @classmethod
    def html(cls, code: int = 502) -> "Fault":
        """A gateway before Stream answers with a page for people.

        Args:
            code: Its HTTP status.

        Raises:
            TypeError: `code` is not a whole number.
            ValueError: It is not from 200 to 599.
        """
        _check_status(code)
        title = f"{code} {_phrase(code)}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return cls(f"html {code}", answer=Answer(code, page.encode(), "text/html"))

    @classmethod
    def redirect(cls, location: str, code: int = 302) -> "Fault":
        """The answer points to another URL.

        Args:
            location: The URL.
            code: The HTTP status.

        Raises:
            TypeError: An argument is not of its type.
            ValueError: `code` is not from 300 to 399, or `location` has more than one line.
        """
        check_kind("location", location, str, "a text")
        _check_status(code, _REDIRECTS)
        answer = Answer(code, b"", "text/html", header_pairs({"Location": location}))
        return cls(f"redirect to {location}", answer=answer)

    @classmethod
    def body(
        cls, content: bytes, content_type: str = "application/json", *, headers: Headers | None = None
    ) -> "Fault":
        """The answer is a 200 with these bytes.

        Args:
            content: The bytes.
            content_type: What they are said to be.
            headers: Headers to add, in place of the rate-limit ones where they have the same name.

        Raises:
            TypeError: An argument is not of its type.
            ValueError: A header has more than one line.
        """
        check_kind("content", content, bytes, "bytes")
        check_kind("content_type", content_type, str, "a text")
        header_pairs({"Content-Type": content_type})
        return cls(
            "body", answer=Answer(200, content, content_type), metered=True, overrides=header_pairs(headers)
        )

    @classmethod
    def malformed(cls) -> "Fault":
        """The answer is a 200 whose content type is JSON, and whose body is not."""
        return cls("malformed", answer=Answer(200, b'{"task_id": "half a'), metered=True)

    @classmethod
    def with_headers(cls, headers: Headers) -> "Fault":
        """The true answer, with other headers.

        Args:
            headers: What takes the place of its own of the same name; as pairs they may repeat one.

        Raises:
            TypeError: They are not headers.
            ValueError: One has more than one line.
        """
        return cls("headers", overrides=header_pairs(headers))

    @classmethod
    def reset(cls) -> "Fault":
        """The connection is reset before the server does or says anything.

        aiohttp sends a GET once again, at once and unasked, if the connection that breaks was kept from an
        earlier request. So one reset of a poll may pass unseen, save for the log; let it strike twice, or
        for some seconds, where the client must notice.
        """
        return cls("reset", breaks="reset")

    @classmethod
    def cut(cls) -> "Fault":
        """Stream does the work and begins its answer; the connection ends half-way through it."""
        return cls("cut", breaks="cut")

    @classmethod
    def delay(cls, seconds: float) -> "Fault":
        """The true answer comes late.

        Args:
            seconds: How late.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: It is negative or NaN.
        """
        check_pause("seconds", seconds)
        return cls(f"delay {seconds:g} s", pause=seconds)

    @classmethod
    def hang(cls, seconds: float = math.inf) -> "Fault":
        """The server accepts the request and says nothing; then the true answer comes.

        Args:
            seconds: For how long; `math.inf` for ever.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: It is negative or NaN.
        """
        check_pause("seconds", seconds)
        return cls(f"hang {seconds:g} s", pause=seconds)


def _check_status(code: int, among: tuple[int, int] = _STATUSES) -> None:
    check_count("code", code, least=among[0], most=among[1], what="an HTTP status")


def _phrase(code: int) -> str:
    return HTTPStatus(code).phrase if code in HTTPStatus.__members__.values() else "Unknown"


def _encoded(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    check_json("body", body)
    return json.dumps(body).encode()
