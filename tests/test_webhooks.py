"""What a webhook says is only believed with its signature."""

import gzip
import hashlib
import hmac
import json
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks import StreamDecodeException
from stream_tasks.webhooks import TaskEvent, parse, sign, verify

SECRET = "webhook-secret"
BODY = json.dumps(
    {"type": "export.channels.success", "task_id": "t", "url": "https://x", "created_at": "2026"}
).encode()


def test_a_signature_is_the_hex_hmac_of_the_uncompressed_body() -> None:
    """As Stream makes it, whether or not the body came compressed."""
    expected = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    assert sign(BODY, SECRET) == sign(gzip.compress(BODY), SECRET) == expected


@pytest.mark.parametrize("body", [BODY, gzip.compress(BODY)], ids=["plain", "compressed"])
def test_a_signed_event_is_read(body: bytes) -> None:
    """Keys that are not known are kept."""
    assert parse(body, sign(BODY, SECRET), SECRET) == TaskEvent(
        "export.channels.success", "t", "https://x", extra={"created_at": "2026"}
    )


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]),
        bytearray(gzip.compress(BODY)),
        b"\xef\xbb\xbf" + BODY,
        gzip.compress(b"\xef\xbb\xbf" + BODY),
    ],
    ids=["two members", "a bytearray", "a byte-order mark", "a byte-order mark, compressed"],
)
def test_an_event_is_read_however_it_is_packed(body: bytes) -> None:
    """The signature is that of what is in it."""
    assert parse(body, sign(body, SECRET), SECRET).url == "https://x"


@given(st.text())
@example("")
@example("ü")
@example("\ud800")
def test_any_forged_signature_is_rejected(signature: str) -> None:
    """Whatever text it is."""
    assert not verify(BODY, signature, SECRET)
    with pytest.raises(ValueError, match="signature"):
        parse(BODY, signature, SECRET)


@given(st.binary())
@example(b"\x1f\x8b")
@example(b"\x1f\x8b" + bytes(20))
@example(gzip.compress(BODY)[:-4])
@example(gzip.compress(BODY) + b"garbage")
@example(gzip.compress(BODY[:9]))
@example(gzip.compress(bytes(17 * 2**20)))
def test_no_other_body_passes_with_a_good_signature(body: bytes) -> None:
    """A changed, cut or exploding body is rejected, and nothing else is raised."""
    assert not verify(body, sign(BODY, SECRET), SECRET)


def test_the_secret_shows_in_no_traceback() -> None:
    """Not even in one that prints the variables of each frame."""
    with pytest.raises(ValueError, match="signature") as info:
        parse(b"\x1f\x8b" + bytes(20), "", SECRET)
    ours = info.tb.tb_next
    assert ours is not None
    shown = traceback.TracebackException(ValueError, info.value, ours, capture_locals=True)
    assert SECRET not in "".join(shown.format())


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"type": "message.new"}'], ids=["no JSON", "no object", "another event"]
)
def test_a_signed_body_that_is_no_task_event_says_so(body: bytes) -> None:
    """A good signature does not make it one."""
    with pytest.raises(StreamDecodeException):
        parse(body, sign(body, SECRET), SECRET)
