"""Content codings, undone: the whole content or an error, however it is cut into pieces."""

import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_tasks._content_coding import CodingError, inflate, inflater

TEXT = b"".join(b"line %d\n" % number for number in range(2_000))


def raw(content: bytes) -> bytes:
    """Deflate without zlib's frame."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def pieces(coding: str, *parts: bytes) -> bytes:
    """Inflate what comes in these parts."""
    made = inflater(coding)
    assert made is not None
    found = b"".join(piece for part in parts for piece in made.feed(part))
    made.finish()
    return found


WHOLE = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip under its old name": ("x-gzip", gzip.compress(TEXT)),
    "gzip in capitals": (" GZip ", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:9_000]) + gzip.compress(TEXT[9_000:])),
    "a member for each line": ("gzip", b"".join(map(gzip.compress, TEXT.splitlines(keepends=True)))),
    "an empty member in between": (
        "gzip",
        gzip.compress(TEXT[:99]) + gzip.compress(b"") + gzip.compress(TEXT[99:]),
    ),
    "zeros behind": ("gzip", gzip.compress(TEXT) + bytes(512)),
    "zeros between": ("gzip", gzip.compress(TEXT[:99]) + bytes(3) + gzip.compress(TEXT[99:])),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate without its frame": ("deflate", raw(TEXT)),
}


@pytest.mark.parametrize(("coding", "content"), WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("step", [1, 7, 2**20])
def test_whole_content_is_inflated(coding: str, content: bytes, step: int) -> None:
    """It does not matter in which parts it comes."""
    assert pieces(coding, *(content[i : i + step] for i in range(0, len(content), step))) == TEXT


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_content_that_is_sent_as_it_is_needs_no_inflater(coding: str) -> None:
    """There is nothing to undo."""
    assert inflater(coding) is None


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "x" * 1_000])
def test_a_coding_that_was_not_asked_for_is_named(coding: str) -> None:
    """It is not taken for the content itself."""
    with pytest.raises(CodingError, match=rf"^the content coding '{coding[:50]}' was not asked for$"):
        inflater(coding)


@given(st.data())
def test_content_that_is_cut_is_not_whole(data: st.DataObject) -> None:
    """Only a cut between two members cannot be seen: each of them is whole."""
    coding, content = data.draw(st.sampled_from([WHOLE["gzip"], WHOLE["deflate"], WHOLE["two members"]]))
    first_member = len(gzip.compress(TEXT[:9_000]))
    cut = data.draw(st.integers(0, len(content) - 1).filter(lambda cut: cut != first_member))
    with pytest.raises(CodingError, match=r"^the \w+ content ends in the middle$"):
        pieces(coding, content[:cut])


BROKEN = {
    "gzip that is none": ("gzip", b"no gzip at all", "gzip content is broken"),
    "zeros only": ("gzip", bytes(64), "gzip content is broken"),
    "deflate that is none": ("deflate", b"\xff" * 64, "deflate content is broken"),
    "a wrong checksum": ("gzip", gzip.compress(TEXT)[:-8] + b"\1" * 8, "gzip content is broken"),
    "garbage behind gzip": ("gzip", gzip.compress(TEXT) + b"garbage", "gzip content is broken"),
    "a byte behind gzip": ("gzip", gzip.compress(TEXT) + b"\x1f", "ends in the middle"),
    "garbage behind deflate": ("deflate", zlib.compress(TEXT) + b"garbage", "bytes follow the end"),
    "deflate twice": ("deflate", zlib.compress(TEXT) * 2, "bytes follow the end"),
}


@pytest.mark.parametrize(("coding", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_content_is_an_error(coding: str, content: bytes, message: str) -> None:
    """What is wrong is said, and nothing else is raised."""
    for step in (1, 2**20):
        with pytest.raises(CodingError, match=message):
            pieces(coding, *(content[i : i + step] for i in range(0, len(content), step)))


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
@example(b"", "gzip")
def test_any_bytes_are_inflated_or_refused(content: bytes, coding: str) -> None:
    """Nothing else is raised."""
    made = inflater(coding)
    assert made is not None
    try:
        list(made.feed(content))
        made.finish()
    except CodingError:
        return


def test_a_bomb_is_inflated_piece_by_piece() -> None:
    """What came in few bytes and stands for many is never in memory at once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(2**6)) + packer.flush()
    made = inflater("gzip")
    assert made is not None
    tracemalloc.start()
    size = sum(len(piece) for piece in made.feed(bomb))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made.finish()
    assert size == 2**26
    assert most < 4 * 2**20


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_what_fills_a_piece_exactly_is_not_lost(size: int) -> None:
    """Zlib may keep the rest until it is asked for it."""
    content = random.Random(0).randbytes(size // 256) * 256
    content += bytes(size - len(content))
    for packed in (gzip.compress(content), gzip.compress(content, 0)):
        made = inflater("gzip")
        assert made is not None
        assert inflate(made, packed, size) == content


def test_the_limit_ends_inflating() -> None:
    """What is beyond it is not looked at, nor whether the content is whole."""
    made = inflater("gzip")
    assert made is not None
    assert 99 < len(inflate(made, gzip.compress(TEXT)[:-20], 99)) <= len(TEXT)
