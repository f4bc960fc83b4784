"""What a webhook says is only believed with its signature."""

import base64
import gzip
import hashlib
import hmac
import json
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks import StreamDecodeException
from stream_tasks.webhooks import TaskEvent, parse, parse_unsigned, sign, verify

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
@example(gzip.compress(bytes(17 * 2**20), 1))
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


MEMBERS = gzip.compress(BODY[:10]) + gzip.compress(BODY[10:])
BASE64 = base64.b64encode(gzip.compress(BODY))


def envelope(message: bytes) -> bytes:
    """What SNS makes of a message."""
    return json.dumps({"Type": "Notification", "MessageId": "1", "Message": message.decode()}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY, id="JSON"),
        pytest.param(BODY.decode(), id="text"),
        pytest.param(b" \n" + BODY, id="JSON after spaces"),
        pytest.param(gzip.compress(BODY), id="gzip"),
        pytest.param(MEMBERS, id="several members of gzip"),
        pytest.param(BASE64, id="base64 of gzip"),
        pytest.param(BASE64.decode() + "\n", id="base64 with a line's end"),
        pytest.param(base64.b64encode(BODY), id="base64"),
        pytest.param(envelope(BODY), id="an envelope"),
        pytest.param(envelope(BASE64), id="an envelope of base64 of gzip"),
        pytest.param(bytearray(BODY), id="a bytearray"),
    ],
)
def test_an_unsigned_message_of_a_queue_is_read(body: bytes | str) -> None:
    """In each form in which SQS and SNS deliver it."""
    event = parse_unsigned(body)
    assert (event.type, event.task_id, event.url) == ("export.channels.success", "t", "https://x")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"not base64!", id="no base64"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b'{"Type": "SubscriptionConfirmation", "Message": "x"}', id="another message of SNS"),
        pytest.param(b'{"Type": "Notification", "Message": 5}', id="an envelope without a text"),
        pytest.param(gzip.compress(BODY)[:-4], id="cut gzip"),
        pytest.param(gzip.compress(bytes(17 * 2**20), 1), id="gzip that explodes"),
        pytest.param(
            base64.b64encode(gzip.compress(bytes(17 * 2**20), 1)), id="base64 of gzip that explodes"
        ),
        pytest.param(gzip.compress(bytes(9 * 2**20), 1) * 2, id="members that explode together"),
        pytest.param(b" " * 2**20 * 17 + b"x", id="only spaces"),
        pytest.param(b"{" + b" " * 2**20 * 17, id="too large"),
        pytest.param(envelope(envelope(envelope(envelope(BODY)))), id="wrapped for ever"),
        pytest.param("\ud800", id="no Unicode"),
    ],
)
def test_an_unsigned_message_that_is_no_event_says_so(body: bytes | str) -> None:
    """Nothing else is raised, and no more is inflated than the limit."""
    with pytest.raises(StreamDecodeException):
        parse_unsigned(body)


def test_an_unsigned_message_is_bytes_or_text() -> None:
    """A parsed one is refused."""
    with pytest.raises(TypeError, match="dict"):
        parse_unsigned({})  # type: ignore[arg-type]


def test_a_signature_covers_all_members_of_gzip() -> None:
    """They are one body."""
    assert sign(MEMBERS, SECRET) == sign(BODY, SECRET)
    assert parse(MEMBERS, sign(BODY, SECRET), SECRET).task_id == "t"
