"""Credentials come from arguments or the environment, and never show themselves."""

import copy
import json
import pickle
import time
import warnings
from typing import Any

import attrs
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_tasks._http.auth import Credentials, credentials, from_environment, server_token
from stream_tasks._secret import Secret

KEY, SECRET = "key-1", "a secret that is long enough for HS256"
ENVIRONMENT = {
    "STREAM_API_KEY": "key-from-environment",
    "STREAM_API_SECRET": "secret-from-environment-long-enough",
}


def claims(token: str, secret: str) -> dict[str, Any]:
    """Verify a token and read it; short secrets are none of the test's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"])
    return found


def test_the_secret_becomes_a_server_token() -> None:
    """Key and secret from the arguments give the key and a token signed with the secret."""
    found = credentials(KEY, SECRET, None, {})
    assert found.api_key == KEY
    assert claims(found.token, SECRET)["server"] is True
    with pytest.raises(jwt.InvalidSignatureError):
        claims(found.token, SECRET + "!")


def test_a_ready_token_is_taken_as_it_is() -> None:
    """A token from the arguments is sent unchanged, and the environment's secret is not looked at."""
    assert credentials(KEY, None, "a.b.c", ENVIRONMENT).token == "a.b.c"


def test_the_environment_fills_in_what_is_missing() -> None:
    """Key and secret come from the environment one by one; arguments come first."""
    both = credentials(None, None, None, ENVIRONMENT)
    assert both.api_key == "key-from-environment"
    assert claims(both.token, ENVIRONMENT["STREAM_API_SECRET"])["server"] is True
    assert credentials(KEY, None, None, ENVIRONMENT).api_key == KEY
    assert claims(credentials(None, SECRET, None, ENVIRONMENT).token, SECRET)["server"] is True
    assert credentials(None, None, "a.b.c", ENVIRONMENT).api_key == "key-from-environment"


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        pytest.param("given", {"NAME": "set"}, "given", id="an argument comes first"),
        pytest.param("", {"NAME": "set"}, "", id="even an empty one, which is then refused"),
        pytest.param(0, {"NAME": "set"}, 0, id="or one of a wrong type"),
        pytest.param(None, {"NAME": "set"}, "set", id="then the environment"),
        pytest.param(None, {"NAME": ""}, None, id="an empty variable counts as unset"),
        pytest.param(None, {}, None, id="and then nothing"),
    ],
)
def test_arguments_come_before_the_environment(value: Any, environ: dict[str, str], expected: Any) -> None:
    """The environment is asked only when the argument is None."""
    assert from_environment(value, "NAME", environ) == expected


def test_a_secret_in_the_place_of_the_key() -> None:
    """It is refused by its length, and not shown."""
    with pytest.raises(ValueError, match="are they swapped") as raised:
        credentials("s" * 64, "k" * 12, None, {})
    assert "s" * 64 not in str(raised.value)
    assert credentials("k" * 64, "s" * 64, None, {}).api_key == "k" * 64  # a key of another server


@pytest.mark.parametrize(
    ("arguments", "environ", "parameter", "variable"),
    [
        pytest.param((None, SECRET, None), {}, "api_key", "STREAM_API_KEY", id="no key"),
        pytest.param((None, None, "a.b.c"), {}, "api_key", "STREAM_API_KEY", id="no key beside a token"),
        pytest.param((KEY, None, None), {}, "api_secret", "STREAM_API_SECRET", id="neither secret nor token"),
        pytest.param(("", SECRET, None), {}, "api_key", "STREAM_API_KEY", id="an empty key"),
        pytest.param(
            ("", SECRET, None), ENVIRONMENT, "api_key", "STREAM_API_KEY", id="an empty key with one set"
        ),
        pytest.param((KEY, "", None), {}, "api_secret", "STREAM_API_SECRET", id="an empty secret"),
        pytest.param(
            (KEY, "", None), ENVIRONMENT, "api_secret", "STREAM_API_SECRET", id="an empty one with one set"
        ),
        pytest.param((KEY, " \t", None), {}, "api_secret", "STREAM_API_SECRET", id="a secret of spaces"),
        pytest.param(
            (None, None, None),
            {"STREAM_API_KEY": "", "STREAM_API_SECRET": SECRET},
            "api_key",
            "STREAM_API_KEY",
            id="an empty key in the environment",
        ),
        pytest.param(
            (None, None, None),
            {"STREAM_API_KEY": " ", "STREAM_API_SECRET": SECRET},
            "api_key",
            "STREAM_API_KEY",
            id="a key of spaces in the environment",
        ),
        pytest.param(
            (KEY, None, None),
            {"STREAM_API_SECRET": ""},
            "api_secret",
            "STREAM_API_SECRET",
            id="an empty secret there",
        ),
    ],
)
def test_a_missing_or_empty_credential_is_named(
    arguments: tuple[Any, Any, Any], environ: dict[str, str], parameter: str, variable: str
) -> None:
    """The error names the parameter and the environment variable that can stand for it."""
    with pytest.raises(ValueError, match=rf"^{parameter}\b.*\b{variable}\b"):
        credentials(*arguments, environ)


def test_an_empty_token_is_refused() -> None:
    """An empty token is an error that names it, not a request without authentication."""
    with pytest.raises(ValueError, match=r"^token must not be empty"):
        credentials(KEY, None, "", ENVIRONMENT)


def test_the_error_for_an_empty_token_promises_nothing_wrong() -> None:
    """A token cannot come from the secret's variable."""
    with pytest.raises(ValueError, match="token") as caught:
        credentials(KEY, None, "", {})
    assert "it can also come from STREAM_API_SECRET" not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRET, ""], ids=["a secret", "an empty secret"])
def test_a_secret_beside_a_token_is_refused(secret: str) -> None:
    """Which of the two was meant cannot be known."""
    with pytest.raises(ValueError, match="api_secret or token, not both"):
        credentials(KEY, secret, "a.b.c", {})


def test_a_secret_beside_a_token_names_the_variable() -> None:
    """Every refused credential names the environment variable."""
    with pytest.raises(ValueError, match="STREAM_API_SECRET"):
        credentials(KEY, SECRET, "a.b.c", {})


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        pytest.param((1, SECRET, None), "api_key", id="a number as key"),
        pytest.param((False, SECRET, None), "api_key", id="a boolean as key"),
        pytest.param((KEY, SECRET.encode(), None), "api_secret", id="bytes as secret"),
        pytest.param((KEY, None, b"a.b.c"), "token", id="bytes as token"),
    ],
)
def test_a_credential_of_a_wrong_type_is_named(arguments: tuple[Any, Any, Any], parameter: str) -> None:
    """The error names the parameter and the type, and does not repeat the value."""
    with pytest.raises(TypeError, match=rf"^{parameter} must be a str, not \w+$"):
        credentials(*arguments, {})


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        pytest.param(("key\n", SECRET, None), "api_key", id="a key with a line end"),
        pytest.param(("schlüssel", SECRET, None), "api_key", id="a key beyond ASCII"),
        pytest.param((KEY, "hush-hush\n", None), "api_secret", id="a secret with a line end"),
        pytest.param((KEY, None, "hush-hush\r\nX: 1"), "token", id="a token that would add a header"),
        pytest.param((KEY, None, "hush-hush\x00"), "token", id="a token with a NUL"),
    ],
)
def test_a_credential_that_no_header_can_carry_is_refused(
    arguments: tuple[Any, Any, Any], parameter: str
) -> None:
    """The error names the parameter and does not repeat the value."""
    with pytest.raises(ValueError, match=rf"^{parameter} must be printable ASCII") as caught:
        credentials(*arguments, {})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("secret", ["ssh-rsa AAAA", "ssh-ed25519 AAAA"])
def test_a_secret_that_looks_like_a_key_file_is_refused(secret: str) -> None:
    """A secret that cannot sign is a ValueError that names it, not an error of the JWT library."""
    with pytest.raises(ValueError, match="api_secret"):
        credentials(KEY, secret, None, {})


@given(st.integers(5, 2**40), st.floats(0, 0.99))
def test_a_token_is_back_dated_by_five_seconds(second: int, fraction: float) -> None:
    """The server's clock may be behind; a token carries the time of issue, less five seconds, and no more."""
    token = server_token(SECRET, now=second + fraction)
    found = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_iat": False})
    assert found == {"iat": second - 5, "server": True}
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_a_token_is_issued_now() -> None:
    """Without more said, the clock is the wall clock."""
    before = int(time.time()) - 5
    issued = claims(server_token(SECRET), SECRET)["iat"]
    assert before <= issued <= int(time.time()) - 5


@pytest.mark.parametrize("secret", ["s", "short", "x" * 31, "x" * 32])
def test_a_short_secret_causes_no_warning(secret: str) -> None:
    """Stream chose the secret: the caller hears nothing of its length."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = credentials(KEY, secret, None, {}).token
    assert claims(token, secret)["server"] is True


def test_the_caller_s_warning_filters_are_left_alone() -> None:
    """Silencing one warning inside does not silence any outside."""
    before = list(warnings.filters)
    server_token("short")
    assert list(warnings.filters) == before


@given(st.text())
def test_a_secret_does_not_show_itself(text: str) -> None:
    """Its repr is always the same, alone or inside a container; otherwise it is the text."""
    secret = Secret(text)
    assert repr(secret) == "'***'"
    assert repr([secret]) == "['***']"
    assert secret == text
    assert hash(secret) == hash(text)


def test_a_secret_stays_a_secret_when_copied() -> None:
    """Copies hide themselves too, and JSON gets the text."""
    secret = Secret("hush")
    for again in (copy.copy(secret), copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))):
        assert repr(again) == "'***'"
        assert again == "hush"
    assert json.dumps(secret) == '"hush"'


def test_credentials_do_not_show_the_token() -> None:
    """No repr, format or dump of the attributes shows the token or the secret."""
    for found in (credentials(KEY, None, "hush.hush.hush", {}), credentials(KEY, SECRET, None, {})):
        for shown in (repr(found), str(found), f"{found}", repr([found]), repr(attrs.asdict(found))):
            assert str(found.token) not in shown
            assert SECRET not in shown
        assert repr(found) == f"Credentials(api_key={KEY!r})"
        assert repr(found.token) == "'***'"


def test_credentials_are_frozen() -> None:
    """Nobody swaps a token under a client's feet."""
    found: Any = Credentials(KEY, Secret("t"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.token = "other"
