"""owt.frontend.http.compression: gzip in both directions."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.http import compression
from owt.frontend.http.compression import SLICE, Compressor, Decompressor


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.integers(1, 20))
def test_members_in_any_parts_become_their_content(contents: list[bytes], size: int) -> None:
    sent = b"".join(map(gzip.compress, contents))
    decompressor = Decompressor()
    parts = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert b"".join(piece for part in parts for piece in decompressor.pieces(part)) == b"".join(contents)
    assert decompressor.complete


@pytest.mark.parametrize("size", [SLICE - 1, SLICE, SLICE + 1, 3 * SLICE])
def test_a_small_part_with_a_large_content_comes_in_bounded_pieces(size: int) -> None:
    decompressor = Decompressor()
    sizes = [len(piece) for piece in decompressor.pieces(gzip.compress(bytes(size)))]
    assert sum(sizes) == size
    assert max(sizes) <= SLICE
    assert decompressor.complete


def test_a_body_that_is_cut_off_is_not_complete() -> None:
    decompressor = Decompressor()
    assert list(decompressor.pieces(gzip.compress(b"content")[:-1])) == [b"content"]
    assert not decompressor.complete
    assert not Decompressor().complete


# The time is part of gzip's head, so the ids of tests must not have it.
@pytest.mark.parametrize(
    "sent",
    [b"text", gzip.compress(b"a") + b"rest", gzip.compress(b"a")[:-1] + b"?"],
    ids=["text", "rest", "checksum"],
)
def test_other_data_than_gzip_is_an_error(sent: bytes) -> None:
    with pytest.raises(zlib.error):
        list(Decompressor().pieces(sent))


def test_each_piece_of_an_answer_can_be_read_at_once() -> None:
    compressor, reader = Compressor(), zlib.decompressobj(31)
    pieces = [b"one", b"", b"two"]
    assert [reader.decompress(compressor.add(piece)) for piece in pieces] == pieces
    assert reader.decompress(compressor.end()) == b""
    assert reader.eof


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("br;q=1.0, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzippy", False),
        ("", False),
    ],
)
def test_an_accept_encoding_asks_for_gzip_or_not(header: str, accepted: bool) -> None:
    assert compression.is_accepted(header) is accepted


@pytest.mark.parametrize(
    ("kind", "compressible"),
    [
        ("text/html; charset=utf-8", True),
        ("Application/JSON", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("application/x-ndjson", True),
        ("text/event-stream; charset=utf-8", False),
        ("image/png", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_types_of_text_are_compressible(kind: str, compressible: bool) -> None:
    assert compression.is_compressible(kind) is compressible
