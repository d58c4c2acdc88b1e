"""owt.wire.chunk: the kinds of chunks, and their sizes."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Prompt, Stderr, Stdout, size

texts = st.text(st.characters(exclude_categories=["Cs"]))
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
statuses = st.integers(100, 599)
chunks: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(Head, statuses, st.lists(st.tuples(texts, texts)).map(tuple)),
    st.builds(Data, st.binary(), st.sampled_from(["text", "bytes", "json"]), st.booleans(), st.booleans()),
    st.builds(Stdout, texts),
    st.builds(Stderr, texts),
    st.builds(Display, st.dictionaries(texts, json | st.binary()), st.dictionaries(texts, json)),
    st.builds(Prompt, texts, st.booleans(), st.integers(0, 99)),
    st.builds(Failed, statuses, texts, texts, texts, texts, texts),
    st.builds(Done, statuses, st.floats(0, 1e9)),
)


def test_the_strategy_generates_every_kind_of_chunk() -> None:
    assert {Head, Data, Stdout, Stderr, Display, Prompt, Failed, Done} == set(get_args(Chunk))


@given(chunks)
def test_a_chunk_survives_encoding_and_decoding(chunk: Chunk) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(chunk), type=Chunk) == chunk


@given(chunks)
def test_size_is_at_least_the_overhead_and_about_the_payload(chunk: Chunk) -> None:
    assert 32 <= size(chunk) <= 2 * len(msgspec.msgpack.encode(chunk)) + 256


@pytest.mark.parametrize(
    "chunk",
    [
        Data(b"x" * 5000, "bytes"),
        Stdout("x" * 5000),
        Stderr("x" * 5000),
        Display({"text/html": "x" * 5000}),
        Display({"image/png": b"x" * 5000}),
        Display({"application/json": {"points": ["x" * 10] * 500}}),
        Failed(500, "exception", "it failed", "x" * 5000),
        Failed(500, "exception", "it failed", "", "", "x" * 5000),
        Head(200, (("X-Long", "x" * 5000),)),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_size_of_a_large_chunk_is_large(chunk: Chunk) -> None:
    assert 5000 <= size(chunk) <= 8000


def test_a_chunk_is_immutable() -> None:
    head: Any = Head(200, ())
    with pytest.raises(AttributeError):
        head.status = 500


def test_displays_do_not_share_metadata() -> None:
    one, two = Display({}), Display({})
    one.metadata["a"] = 1
    assert two.metadata == {}
