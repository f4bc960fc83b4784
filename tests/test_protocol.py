"""Requests from arguments, and answers from status, headers and body: all of it pure."""

import enum
import json
import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks import __version__
from stream_tasks._arguments import (
    check_base_url,
    check_method,
    check_request_path,
    check_task_id,
    path_segment,
)
from stream_tasks._http import protocol
from stream_tasks._http.auth import Credentials
from stream_tasks._http.protocol import (
    check_status,
    is_plain_http_beyond_loopback,
    parse_rate_limit,
    parse_retry_after,
    request_headers,
    request_target,
)
from stream_tasks._secret import Secret
from stream_tasks.exceptions import StreamApiException, StreamRateLimitException
from stream_tasks.models import RateLimit

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RESET = int(NOW.timestamp()) + 60
QUOTA = {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(RESET)}
ENVELOPE = {
    "code": 4,
    "message": "DeleteUsers failed",
    "StatusCode": 400,
    "duration": "0.12ms",
    "more_info": "https://getstream.io/chat/docs/api_errors_response",
    "details": [1, 2],
    "exception_fields": {"user_ids": "too many"},
    "unrecoverable": True,
}


class Word(str, enum.Enum):  # noqa: UP042 - the kind that shows its name
    """A text that shows itself otherwise."""

    A = "x"


def refused(status: int, body: bytes, headers: dict[str, str] | None = None) -> StreamApiException:
    """Return what an answer is refused with."""
    with pytest.raises(StreamApiException) as caught:
        check_status(status, headers or {}, body)
    return caught.value


# Base URL


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        pytest.param("https://chat.stream-io-api.com", "https://chat.stream-io-api.com", id="the default"),
        pytest.param("https://example.com/", "https://example.com", id="a trailing slash goes"),
        pytest.param(
            "https://example.com/proxy///", "https://example.com/proxy", id="a path stays, its slashes go"
        ),
        pytest.param("http://127.0.0.1:3030", "http://127.0.0.1:3030", id="a port"),
        pytest.param("http://[::1]:80/", "http://[::1]:80", id="an IPv6 address"),
        pytest.param("HTTPS://Example.com", "HTTPS://Example.com", id="capitals"),
    ],
)
def test_a_base_url_loses_its_trailing_slash(base_url: str, expected: str) -> None:
    """A base URL with http(s) and a host is taken, without the slash at its end."""
    assert check_base_url(base_url) == expected


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("", id="an empty text"),
        pytest.param("chat.stream-io-api.com", id="no scheme"),
        pytest.param("//example.com", id="no scheme but slashes"),
        pytest.param("ftp://example.com", id="another scheme"),
        pytest.param("https:", id="a scheme only"),
        pytest.param("https://", id="no host"),
        pytest.param("https://:443", id="a port without host"),
        pytest.param("https:///path", id="a path without host"),
        pytest.param("https://example.com:0", id="port zero"),
        pytest.param("https://example.com:70000", id="a port too large"),
        pytest.param("https://example.com:port", id="a port that is a word"),
        pytest.param("https://[::1", id="half an IPv6 address"),
        pytest.param("https://example.com?a=1", id="a query"),
        pytest.param("https://example.com?", id="an empty query"),
        pytest.param("https://example.com#a", id="a fragment"),
        pytest.param("https://example.com/#", id="an empty fragment"),
        pytest.param(" https://example.com", id="a space in front"),
        pytest.param("https://example.com\n", id="a line end behind"),
        pytest.param("https://exam\tple.com", id="a tab inside"),
        pytest.param("https://example.com\\path", id="a backslash"),
        pytest.param("https://exämple.com", id="a host beyond ASCII"),
    ],
)
def test_a_wrong_base_url_is_named(base_url: str) -> None:
    """The error names the parameter and the environment variable."""
    with pytest.raises(ValueError, match=r"^base_url \(or STREAM_BASE_URL in the environment\) must "):
        check_base_url(base_url)


@pytest.mark.parametrize("base_url", [None, b"https://example.com", 5])
def test_a_base_url_is_a_text(base_url: Any) -> None:
    """Another type is an error that names it."""
    with pytest.raises(TypeError, match=r"^base_url must be a str, not \w+$"):
        check_base_url(base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("https://amy:hush@example.com", id="name and password"),
        pytest.param("https://hush@example.com", id="a name"),
        pytest.param("ftp://amy:hush@example.com", id="with another scheme"),
        pytest.param("https://amy:hush@example.com?a=1", id="with a query"),
    ],
)
def test_user_information_is_refused_and_not_repeated(base_url: str) -> None:
    """A password in a URL goes into no message."""
    with pytest.raises(ValueError, match="must not hold user information") as caught:
        check_base_url(base_url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("https://amy:hush hush@example.com", id="a password with a space"),
        pytest.param("amy:hush@example.com", id="no scheme"),
        pytest.param("https:/amy:hush@example.com", id="one slash too few"),
    ],
)
def test_user_information_is_not_repeated_whatever_else_is_wrong(base_url: str) -> None:
    """A password in a URL goes into no message, even when the URL is wrong in another way."""
    with pytest.raises(ValueError, match="base_url") as caught:
        check_base_url(base_url)
    assert "hush" not in str(caught.value)


@given(st.text())
@example("http://[")
def test_a_base_url_is_taken_or_refused(base_url: str) -> None:
    """No text breaks the check, and what it takes has a host and no slash at the end."""
    try:
        taken = check_base_url(base_url)
    except ValueError:
        return
    assert urlsplit(taken).hostname
    assert not taken.endswith("/")


@pytest.mark.parametrize(
    ("base_url", "exposed"),
    [
        pytest.param("https://example.com", False, id="https"),
        pytest.param("https://10.0.0.1", False, id="https to an address"),
        pytest.param("HTTPS://example.com", False, id="https in capitals"),
        pytest.param("http://example.com", True, id="http to a host"),
        pytest.param("http://10.0.0.1:80", True, id="http to an address"),
        pytest.param("http://[2001:db8::1]", True, id="http to an IPv6 address"),
        pytest.param("http://localhost:3030", False, id="localhost"),
        pytest.param("http://LOCALHOST", False, id="localhost in capitals"),
        pytest.param("http://stream.localhost", False, id="a name under localhost"),
        pytest.param("http://127.0.0.1:3030", False, id="the loopback address"),
        pytest.param("http://127.8.8.8", False, id="another loopback address"),
        pytest.param("http://[::1]:3030", False, id="the IPv6 loopback address"),
        pytest.param("http://localhost.example.com", True, id="a host that only begins like localhost"),
        pytest.param("http://notlocalhost", True, id="a host that only ends like localhost"),
        pytest.param("http://127.0.0.1.example.com", True, id="a host that only begins like an address"),
        pytest.param("http://", True, id="no host"),
    ],
)
def test_plain_http_is_for_this_machine(base_url: str, exposed: bool) -> None:
    """Tokens cross a network unencrypted only with http to another machine."""
    assert is_plain_http_beyond_loopback(base_url) is exposed


# Path


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        pytest.param(
            "7fcd52f8-7cc0-4d17-9a96-3b5f6a8c5e0a", "7fcd52f8-7cc0-4d17-9a96-3b5f6a8c5e0a", id="a UUID"
        ),
        pytest.param("a/b", "a%2Fb", id="a slash"),
        pytest.param("../x", "..%2Fx", id="a way out"),
        pytest.param("a?b#c", "a%3Fb%23c", id="a query and a fragment"),
        pytest.param("100%", "100%25", id="a percent sign"),
        pytest.param("%2F", "%252F", id="what is encoded already"),
        pytest.param("a b+c", "a%20b%2Bc", id="a space and a plus"),
        pytest.param("messaging:a", "messaging%3Aa", id="a colon"),
        pytest.param("ü", "%C3%BC", id="what is not ASCII"),
        pytest.param("...", "...", id="three dots"),
        pytest.param("a\r\nb\x00", "a%0D%0Ab%00", id="control characters"),
    ],
)
def test_a_value_becomes_one_segment(value: str, segment: str) -> None:
    """Whatever would mean something in a path is percent-encoded."""
    assert path_segment("task_id", value) == segment


@given(st.text(alphabet=st.characters()))
@example(".")
@example("..")
@example("\ud800")
@example("%2e%2e")
@example("\u2025")
def test_a_value_stays_one_segment_or_is_refused(value: str) -> None:
    """What is accepted decodes to itself and holds nothing that divides or moves in a path."""
    try:
        segment = path_segment("task_id", value)
    except ValueError:
        assert value in ("", ".", "..") or any("\ud800" <= letter <= "\udfff" for letter in value)
        return
    assert unquote(segment, errors="strict") == value
    assert not set("/?#\\ \r\n") & set(segment)
    assert segment.isascii()
    assert segment not in ("", ".", "..")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        pytest.param("", ValueError, "feed_id must be a non-empty text .*, not ''", id="an empty text"),
        pytest.param(".", ValueError, r"feed_id must be .*, not '\.'", id="a dot"),
        pytest.param("..", ValueError, r"feed_id must be .*, not '\.\.'", id="two dots"),
        pytest.param("a\udfff", ValueError, "feed_id must be valid Unicode", id="half a character"),
        pytest.param(None, TypeError, "feed_id must be a str, not NoneType", id="None"),
        pytest.param(b"a", TypeError, "feed_id must be a str, not bytes", id="bytes"),
        pytest.param(7, TypeError, "feed_id must be a str, not int", id="a number"),
    ],
)
def test_what_is_no_segment_is_refused(value: Any, kind: type[Exception], message: str) -> None:
    """The error names the parameter and what was given."""
    with pytest.raises(kind, match=f"^{message}"):
        path_segment("feed_id", value)


def test_a_task_id_is_checked_and_left_as_it_is() -> None:
    """An id that can be asked for comes back unchanged; another one is refused by name."""
    assert check_task_id("a/b ü") == "a/b ü"
    for wrong in ("", ".", ".."):
        with pytest.raises(ValueError, match=r"^task_id must be a non-empty text"):
            check_task_id(wrong)
    with pytest.raises(TypeError, match=r"^task_id must be a str, not int$"):
        check_task_id(7)


def test_a_uuid_is_an_id() -> None:
    """An id that came from elsewhere as a UUID is the text that it stands for."""
    assert check_task_id(UUID(int=0)) == "00000000-0000-0000-0000-000000000000"
    assert path_segment("task_id", UUID(int=0)) == "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/app", "/api/v2/app", id="a short path gets the prefix"),
        pytest.param("/api/v2/app", "/api/v2/app", id="a full path stays"),
        pytest.param("/api/v3/app", "/api/v3/app", id="another version stays"),
        pytest.param("/apiary", "/api/v2/apiary", id="a path that only begins like the prefix"),
        pytest.param("/users/a%2Fb", "/api/v2/users/a%2Fb", id="an encoded segment stays"),
        pytest.param(
            "/feeds/user:1/x...y", "/api/v2/feeds/user:1/x...y", id="punctuation that paths may hold"
        ),
        pytest.param("/app/", "/api/v2/app/", id="a trailing slash stays"),
    ],
)
def test_a_path_is_put_under_the_prefix(path: str, expected: str) -> None:
    """A caller may leave out the API's prefix."""
    assert check_request_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="an empty text"),
        pytest.param("/", id="a slash only"),
        pytest.param("app", id="a relative path"),
        pytest.param("https://evil.example/app", id="an address"),
        pytest.param("//evil.example/app", id="another host"),
        pytest.param("/app?a=1", id="a query"),
        pytest.param("/app#a", id="a fragment"),
        pytest.param("/a b", id="a space"),
        pytest.param("/ü", id="what is not encoded"),
        pytest.param("/app\n", id="a line end"),
        pytest.param("/app\r\nX: 1", id="a header"),
        pytest.param("/a\\b", id="a backslash"),
        pytest.param("/../app", id="a way up"),
        pytest.param("/app/..", id="a way up at the end"),
        pytest.param("/app/./x", id="a dot"),
        pytest.param("/app/%2e%2E/x", id="an encoded way up"),
        pytest.param("/app/.%2e", id="a half encoded way up"),
        pytest.param("/api/v2/%2E/x", id="an encoded dot"),
    ],
)
def test_a_path_that_leaves_its_place_is_refused(path: str) -> None:
    """The error names the parameter and what was given."""
    with pytest.raises(ValueError, match=r"^path must .*, not "):
        check_request_path(path)


def test_a_path_is_a_text() -> None:
    """Another type is an error that names it."""
    with pytest.raises(TypeError, match=r"^path must be a str, not bytes$"):
        check_request_path(b"/app")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "get", "Delete"])
def test_a_method_is_written_in_capitals(method: str) -> None:
    """The methods of Stream's API are taken in any case."""
    assert check_method(method) == method.upper()


@pytest.mark.parametrize("method", ["", "HEAD", "OPTIONS", "CONNECT", "GET /", " GET", "GET\r\n"])
def test_another_method_is_refused(method: str) -> None:
    """The error says which methods there are and what was given."""
    with pytest.raises(ValueError, match=r"^method must be one of GET, POST, PUT, PATCH, DELETE, not "):
        check_method(method)


def test_a_method_is_a_text() -> None:
    """Another type is an error that names it."""
    with pytest.raises(TypeError, match=r"^method must be a str, not NoneType$"):
        check_method(None)


# Target and headers


@pytest.mark.parametrize(
    ("params", "target"),
    [
        pytest.param(None, "/x?api_key=k", id="no parameters"),
        pytest.param({}, "/x?api_key=k", id="empty parameters"),
        pytest.param(
            {"a": True, "b": False}, "/x?api_key=k&a=true&b=false", id="booleans as JSON writes them"
        ),
        pytest.param(
            {"a": None, "b": 0, "c": ""}, "/x?api_key=k&b=0&c=", id="None is left out, zero and empty not"
        ),
        pytest.param({"a": 1, "b": 1.5}, "/x?api_key=k&a=1&b=1.5", id="numbers"),
        pytest.param({"a": ["x", "y"]}, "/x?api_key=k&a=x%2Cy", id="a list is one comma-separated value"),
        pytest.param(
            {"a": [{"b": "c,d"}, [1]]},
            "/x?api_key=k&a=%5B%7B%22b%22%3A%22c%2Cd%22%7D%2C%5B1%5D%5D",
            id="a list of what is no text is JSON",
        ),
        pytest.param({"a": ("x", 1, None)[:2]}, "/x?api_key=k&a=x%2C1", id="and so is a tuple"),
        pytest.param(
            {"a": {"b": [1, None]}}, "/x?api_key=k&a=%7B%22b%22%3A%5B1%2Cnull%5D%7D", id="an object"
        ),
        pytest.param(
            {"a": {"since": NOW}},
            "/x?api_key=k&a=%7B%22since%22%3A%222026-05-01T12%3A00%3A00%2B00%3A00%22%7D",
            id="a time in an object",
        ),
        pytest.param({"a": NOW}, "/x?api_key=k&a=2026-05-01T12%3A00%3A00%2B00%3A00", id="a time"),
        pytest.param({"a": UUID(int=1)}, "/x?api_key=k&a=00000000-0000-0000-0000-000000000001", id="a UUID"),
        pytest.param({"a": Fraction(1, 2)}, "/x?api_key=k&a=0.5", id="another kind of number"),
        pytest.param({"a": Word.A}, "/x?api_key=k&a=x", id="a text by its value"),
        pytest.param({"a": []}, "/x?api_key=k", id="an empty list is nothing"),
        pytest.param(
            {"a&b": "c d&e=ü#"}, "/x?api_key=k&a%26b=c+d%26e%3D%C3%BC%23", id="what must be encoded"
        ),
    ],
)
def test_a_target_is_path_and_query(params: dict[str, Any] | None, target: str) -> None:
    """Every request carries the key; parameters follow, ready for the wire."""
    assert request_target("/x", "k", params) == target


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_parameters_arrive_as_they_were_given(params: dict[str, str]) -> None:
    """Any texts survive the query, and none of them breaks out of it."""
    target = request_target("/a%2Fb", "key & co", {f"p{name}": value for name, value in params.items()})
    path, _, query = target.partition("?")
    assert path == "/a%2Fb"
    assert target.isascii()
    assert not set(" #\r\n") & set(target)
    expected = {"api_key": "key & co"} | {f"p{name}": value for name, value in params.items()}
    assert dict(parse_qsl(query, keep_blank_values=True)) == expected


def test_booleans_in_a_list_are_written_as_json_writes_them() -> None:
    """A boolean means the same wherever it stands."""
    assert request_target("/x", "k", {"a": [True, False]}) == "/x?api_key=k&a=true%2Cfalse"


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        pytest.param({"a"}, TypeError, r"params\['a'\] must be a text, .*, not set$", id="a set"),
        pytest.param(b"a", TypeError, r"params\['a'\] must be a text, .*, not bytes$", id="bytes"),
        pytest.param(
            [None], TypeError, r"each of params\['a'\] must be a text, .*, not NoneType$", id="None"
        ),
        pytest.param(
            {"b": {1}}, TypeError, r"params\['a'\] must be what JSON can hold: .*set", id="a set inside"
        ),
        pytest.param(math.inf, ValueError, r"params\['a'\] must be what JSON can hold", id="infinity"),
        pytest.param(
            ["a", "b,c"], ValueError, r"each of params\['a'\] must have no comma", id="a comma in a list"
        ),
        pytest.param(
            NOW.replace(tzinfo=None), ValueError, r"params\['a'\] must be an aware datetime", id="no zone"
        ),
    ],
)
def test_a_parameter_without_a_form_in_a_query_is_refused(
    value: Any, kind: type[Exception], message: str
) -> None:
    """The error names the parameter and what is allowed."""
    with pytest.raises(kind, match=f"^{message}"):
        request_target("/x", "k", {"a": value})


def test_a_parameter_does_not_replace_the_key() -> None:
    """The key of a request is the client's."""
    assert parse_qsl(request_target("/x", "k", {"api_key": "z"}).partition("?")[2])[0] == ("api_key", "k")


def test_every_request_carries_these_headers() -> None:
    """The token stands alone, without Bearer, and the client says who it is."""
    assert request_headers(Credentials("k", Secret("a.b.c"))) == {
        "Authorization": "a.b.c",
        "stream-auth-type": "jwt",
        "X-Stream-Client": f"stream_tasks-{__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": f"stream_tasks/{__version__}",
    }


def test_the_headers_do_not_show_the_token() -> None:
    """A dump of the headers hides the token."""
    assert "a.b.c" not in repr(request_headers(Credentials("k", Secret("a.b.c"))))


# Status


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_good_status_is_none_of_an_error(status: int) -> None:
    """Nothing is raised below 300, whatever the body holds."""
    check_status(status, {}, b"<html>")


def test_an_envelope_is_taken_whole() -> None:
    """Each field of the envelope and the quota become the error's attributes."""
    body = json.dumps(ENVELOPE).encode()
    error = refused(400, body, QUOTA)
    assert type(error) is StreamApiException
    assert (error.status_code, error.code, error.message) == (400, 4, "DeleteUsers failed")
    assert error.exception_fields == {"user_ids": "too many"}
    assert error.unrecoverable is True
    assert error.more_info == "https://getstream.io/chat/docs/api_errors_response"
    assert error.details == [1, 2]
    assert error.raw_response_body == body.decode()
    assert error.rate_limit == RateLimit(60, 0, NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("envelope", "attribute", "expected"),
    [
        pytest.param({"code": -1}, "code", -1, id="a negative code"),
        pytest.param({"code": 16}, "message", "", id="no message"),
        pytest.param({"code": 16, "message": None}, "message", "", id="null as message"),
        pytest.param({"code": 16, "message": 5}, "message", "5", id="a number as message"),
        pytest.param({"code": 16, "exception_fields": ["a"]}, "exception_fields", {}, id="a list of fields"),
        pytest.param(
            {"code": 16, "exception_fields": {"a": 1}}, "exception_fields", {"a": "1"}, id="a field's number"
        ),
        pytest.param({"code": 16, "details": "a"}, "details", [], id="a text as details"),
        pytest.param({"code": 16, "details": None}, "details", [], id="null as details"),
        pytest.param({"code": 16, "unrecoverable": "true"}, "unrecoverable", False, id="a text as flag"),
        pytest.param({"code": 16, "unrecoverable": None}, "unrecoverable", False, id="null as flag"),
        pytest.param({"code": 16, "more_info": None}, "more_info", "", id="null as address"),
        pytest.param({"code": 16, "StatusCode": 200}, "status_code", 404, id="another status inside"),
    ],
)
def test_an_odd_envelope_is_read_as_far_as_it_goes(envelope: Any, attribute: str, expected: Any) -> None:
    """A field of a wrong type is empty, and the HTTP status is the status."""
    assert getattr(refused(404, json.dumps(envelope).encode()), attribute) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="an empty body"),
        pytest.param(b"<html><h1>502 Bad Gateway</h1></html>", id="HTML"),
        pytest.param(b"upstream connect error or disconnect/reset before headers", id="plain text"),
        pytest.param(json.dumps(ENVELOPE).encode()[:40], id="a truncated envelope"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"message": "no code"}', id="an object without code"),
        pytest.param(b'{"code": "4"}', id="a text as code"),
        pytest.param(b'{"code": true}', id="a boolean as code"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 100_000, id="lists nested too deeply"),
    ],
)
def test_an_answer_without_envelope_is_kept_as_it_came(body: bytes) -> None:
    """A gateway's answer has the code 0, its status, and the body as text."""
    error = refused(502, body)
    assert (error.status_code, error.code, error.unrecoverable) == (502, 0, False)
    assert error.raw_response_body == body.decode("utf-8", "replace")
    assert error.message.startswith("the answer is no error envelope of Stream: ")
    assert len(error.message) < 1000


@given(
    st.integers(300, 599),
    st.binary(),
    st.dictionaries(st.sampled_from([*QUOTA, "Retry-After", "Date"]), st.text()),
)
def test_no_answer_breaks_the_check(status: int, body: bytes, headers: dict[str, str]) -> None:
    """Whatever body and headers hold, an error status is an API error with that status."""
    error = refused(status, body, headers)
    assert error.status_code == status
    assert isinstance(error, StreamRateLimitException) == (status == 429)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_an_error(status: int) -> None:
    """Redirects are not followed."""
    error = refused(status, b"", {"Location": "https://evil.example"})
    assert (error.status_code, error.code) == (status, 0)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (302, "a redirect, which is not followed: is base_url right?"),
        (304, "not modified: a cache answers a question that was not asked"),
        (407, "a proxy asks for credentials: are those in HTTP_PROXY or HTTPS_PROXY right?"),
        (502, "the answer is no error envelope of Stream: 'Bad Gateway'"),
    ],
)
def test_an_error_that_is_not_of_stream_is_described(status: int, message: str) -> None:
    """It says what is probably wrong."""
    assert refused(status, b"Bad Gateway").message == message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param({}, None, id="without Retry-After"),
        pytest.param({"Retry-After": "7"}, timedelta(seconds=7), id="with Retry-After"),
        pytest.param({"Retry-After": "soon"}, None, id="with garbage"),
    ],
)
def test_a_spent_quota_says_how_long_to_wait(header: dict[str, str], expected: timedelta | None) -> None:
    """429 is a rate limit error, with the wait that the server asked for, if it did."""
    error = refused(429, b'{"code": 9, "message": "Too many requests"}', QUOTA | header)
    assert isinstance(error, StreamRateLimitException)
    assert (error.status_code, error.code, error.retry_after) == (429, 9, expected)
    assert error.rate_limit == RateLimit(60, 0, NOW + timedelta(minutes=1))


def test_a_spent_quota_told_by_a_gateway_is_one_too() -> None:
    """429 without envelope is a rate limit error all the same."""
    assert type(refused(429, b"<html>")) is StreamRateLimitException


def test_a_server_under_maintenance_says_how_long_to_wait() -> None:
    """A 503's Retry-After is kept for the pacing."""
    assert refused(503, b"", {"Retry-After": "9"}).hold == 9
    assert refused(503, b"").hold is None


# Rate limit


def test_the_quota_is_read_from_its_three_headers() -> None:
    """Limit and remaining are numbers, reset is an aware datetime."""
    quota = parse_rate_limit(
        {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59", "X-RateLimit-Reset": "0"}
    )
    assert quota == RateLimit(60, 59, datetime(1970, 1, 1, tzinfo=UTC))
    assert quota.reset.tzinfo is UTC


@pytest.mark.parametrize("missing", list(QUOTA))
def test_a_quota_without_one_of_its_headers_is_none(missing: str) -> None:
    """Two of three headers are not enough."""
    assert parse_rate_limit({name: value for name, value in QUOTA.items() if name != missing}) is None
    assert parse_rate_limit({}) is None


@pytest.mark.parametrize("name", list(QUOTA))
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("60, 60", id="comma-joined"),
        pytest.param("60,59", id="comma-joined without a space"),
        pytest.param("", id="empty"),
        pytest.param("many", id="a word"),
        pytest.param("-1", id="negative"),
        pytest.param("1.5", id="a fraction"),
        pytest.param("nan", id="NaN"),
        pytest.param("inf", id="infinite"),
        pytest.param("0x10", id="hexadecimal"),
        pytest.param("9" * 5000, id="too many digits for Python"),
    ],
)
def test_a_quota_that_makes_no_sense_is_none(name: str, value: str) -> None:
    """Garbage in one header makes the quota unknown and never fails a request."""
    assert parse_rate_limit(QUOTA | {name: value}) is None


@pytest.mark.parametrize("reset", ["253402300800", "1777636800000", "9" * 30, "9" * 400])
def test_a_reset_beyond_the_calendar_is_none(reset: str) -> None:
    """A reset after the year 9999, such as one in milliseconds, is ignored."""
    assert parse_rate_limit(QUOTA | {"X-RateLimit-Reset": reset}) is None


def test_a_limit_that_no_float_holds_is_none() -> None:
    """What cannot be reckoned with is garbage."""
    assert parse_rate_limit(QUOTA | {"X-RateLimit-Limit": "9" * 400}) is None


@given(st.dictionaries(st.sampled_from([*QUOTA, "Date"]), st.text() | st.integers().map(str)))
def test_no_header_breaks_the_reading_of_the_quota(headers: dict[str, str]) -> None:
    """A quota is three sensible values or None."""
    quota = parse_rate_limit(headers)
    assert quota is None or (min(quota.limit, quota.remaining) >= 0 and quota.reset.tzinfo is UTC)


@pytest.mark.parametrize(
    ("date", "reset_in"),
    [
        pytest.param(None, 60, id="without a Date, by our clock"),
        pytest.param(
            "Fri, 01 May 2026 12:00:01 GMT", 60, id="with clocks that agree, by ours, which is finer"
        ),
        pytest.param("Fri, 01 May 2026 11:59:58 GMT", 60, id="with a Date that took its time, by ours"),
        pytest.param("Fri, 01 May 2026 12:00:30 GMT", 30, id="with our clock slow, by the server's"),
        pytest.param("Fri, 01 May 2026 11:50:00 GMT", 660, id="with our clock fast, by the server's"),
        pytest.param("Fri, 01 May 2026 13:50:00 +0200", 660, id="with a Date in another zone"),
        pytest.param("noon", 60, id="with a word for a Date, by ours"),
        pytest.param("", 60, id="with an empty Date, by ours"),
        pytest.param("Fri, 99 May 2026 12:00:00 GMT", 60, id="with a day that does not exist, by ours"),
    ],
)
def test_the_time_left_is_told_by_the_server_s_clock(
    monkeypatch: pytest.MonkeyPatch, date: str | None, reset_in: float
) -> None:
    """How long a window lasts does not depend on whether this machine's clock is right."""
    monkeypatch.setattr("stream_tasks._http.protocol.time.time", NOW.timestamp)
    quota = parse_rate_limit(QUOTA if date is None else QUOTA | {"Date": date})
    assert quota is not None
    assert quota.reset == NOW + timedelta(minutes=1)
    assert quota.reset_in == pytest.approx(reset_in)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set here")
def test_a_date_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's zone plays no part."""
    monkeypatch.setattr("stream_tasks._http.protocol.time.time", NOW.timestamp)
    monkeypatch.setenv("TZ", "UTC+7")
    time.tzset()
    try:
        quota = parse_rate_limit(QUOTA | {"Date": "Fri, 01 May 2026 11:50:01 -0000"})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert quota is not None
    assert quota.reset_in == pytest.approx(659)


# Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, None, id="no header"),
        pytest.param("0", timedelta(0), id="zero"),
        pytest.param("120", timedelta(minutes=2), id="seconds"),
        pytest.param("1.5", timedelta(seconds=1.5), id="a fraction of seconds"),
        pytest.param(" 5 ", timedelta(seconds=5), id="spaces around"),
        pytest.param("Fri, 01 May 2026 12:00:30 GMT", timedelta(seconds=30), id="a date"),
        pytest.param(
            "Friday, 01-May-26 12:00:30 GMT", timedelta(seconds=30), id="a date as RFC 850 wrote it"
        ),
        pytest.param(
            "Fri May  1 12:00:30 2026", timedelta(seconds=30), id="a date as C writes it, without a zone"
        ),
        pytest.param("Fri, 01 May 2026 14:00:30 +0200", timedelta(seconds=30), id="a date in another zone"),
        pytest.param("Fri, 01 May 2026 11:59:59 GMT", timedelta(0), id="a date in the past"),
        pytest.param("Fri, 01 May 2026 12:00:00 GMT", timedelta(0), id="this very moment"),
        pytest.param("-1", None, id="negative"),
        pytest.param("nan", None, id="NaN"),
        pytest.param("inf", None, id="infinite"),
        pytest.param("-inf", None, id="infinitely negative"),
        pytest.param("1e400", None, id="an overflow"),
        pytest.param("1e12", None, id="thousands of years"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a word"),
        pytest.param("5, 5", None, id="comma-joined"),
        pytest.param("Fri, 99 May 2026 12:00:00 GMT", None, id="a day that does not exist"),
        pytest.param("Fri, 01 May 99999999999 12:00:00 GMT", None, id="a year too large"),
        pytest.param("Fri, 01 May 2026 12:00:00 +9999", None, id="a zone that does not exist"),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: timedelta | None) -> None:
    """A wait that makes sense is never negative, and what makes none is None."""
    assert parse_retry_after(value, now=NOW) == expected


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        pytest.param("Fri, 01 May 2026 12:10:00 GMT", 1, id="the server's clock is fast"),
        pytest.param("Fri, 01 May 2026 12:10:02 GMT", 0, id="it is over by the server's clock"),
        pytest.param("Friday, 01-May-26 12:09:00 GMT", 61, id="as RFC 850 wrote it"),
        pytest.param("yesterday", 601, id="the server's clock makes no sense"),
        pytest.param(None, 601, id="the server's clock is not known"),
    ],
)
def test_a_date_counts_from_what_the_server_s_clock_shows(date: str | None, seconds: int) -> None:
    """Both are the server's; ours may be minutes away."""
    found = parse_retry_after("Fri, 01 May 2026 12:10:01 GMT", date, now=NOW)
    assert found == timedelta(seconds=seconds)


def test_a_refusal_reads_its_date_by_its_own_clock() -> None:
    """So do a spent quota and a server under maintenance."""
    headers = {"Retry-After": "Fri, 01 May 2026 12:10:01 GMT", "Date": "Fri, 01 May 2026 12:10:00 GMT"}
    error = refused(429, b"", headers)
    assert isinstance(error, StreamRateLimitException)
    assert error.retry_after == timedelta(seconds=1)
    assert refused(503, b"", headers).hold == 1


def test_a_date_counts_from_now() -> None:
    """Without more said, the clock is the wall clock."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    found = parse_retry_after(later)
    assert found is not None
    assert timedelta(seconds=50) < found <= timedelta(seconds=60)


@given(st.floats(0, 1e9))
def test_seconds_are_read_as_they_are(seconds: float) -> None:
    """Any sensible number of seconds is that long."""
    found = parse_retry_after(repr(seconds), now=NOW)
    assert found is not None
    assert math.isclose(found.total_seconds(), seconds, abs_tol=1e-6)


@given(st.datetimes(NOW.replace(year=1900, tzinfo=None), NOW.replace(year=9999, tzinfo=None)))
def test_any_date_is_read_as_it_is(moment: datetime) -> None:
    """A date is as far away as it is, and not at all when it is past."""
    when = moment.replace(microsecond=0, tzinfo=UTC)
    assert parse_retry_after(format_datetime(when, usegmt=True), now=NOW) == max(when - NOW, timedelta(0))


@given(st.text() | st.from_regex(r"\w{3}, \d{1,4} \w{3} \d{1,12} \d\d:\d\d:\d\d [+-]?\w{3,5}"))
@example("Mon, 1 Jan 0001 00:00:00 +2359")
def test_no_header_breaks_the_reading_of_retry_after(value: str) -> None:
    """Whatever the header holds, the wait is None or not negative."""
    found = parse_retry_after(value, now=NOW)
    assert found is None or found >= timedelta(0)


@pytest.mark.parametrize("value", ["1_0", "٣"], ids=["an underscore", "a digit of another script"])
def test_numbers_that_only_python_reads_are_garbage(value: str) -> None:
    """A header's number is written in ASCII digits."""
    assert parse_retry_after(value, now=NOW) is None
    assert parse_rate_limit(QUOTA | {"X-RateLimit-Remaining": value}) is None


def test_the_public_names_are_sorted() -> None:
    """`__all__` is in order and complete enough to import from."""
    assert protocol.__all__ == sorted(protocol.__all__)
    assert all(hasattr(protocol, name) for name in protocol.__all__)
