"""owt.wire.template: messages between the frontend and the template."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import WireError
from owt.wire.framing import encode_frame
from owt.wire.template import (
    Exited,
    Fork,
    Forked,
    NotForked,
    Ready,
    TemplateMessage,
    template_decoder,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(0, 2**31)
messages: st.SearchStrategy[TemplateMessage] = st.one_of(
    st.builds(Fork, numbers, st.lists(texts).map(tuple), st.dictionaries(texts, texts), texts, st.booleans()),
    st.builds(Ready, st.booleans(), st.lists(texts).map(tuple)),
    st.builds(Forked, numbers, numbers),
    st.builds(NotForked, numbers, texts),
    st.builds(Exited, numbers, st.integers(-64, 255)),
)


@given(st.lists(messages), st.lists(st.integers(0, 10**6), max_size=5))
def test_messages_survive_any_cuts_of_the_stream(sent: list[TemplateMessage], places: list[int]) -> None:
    stream = b"".join(map(encode_frame, sent))
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    decoder = template_decoder()
    assert [message for a, b in itertools.pairwise(ends) for message in decoder.feed(stream[a:b])] == sent


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", msgspec.msgpack.encode(["gone", 1]), msgspec.msgpack.encode(Exited(1, 1)) + b"\0"],
)
def test_a_frame_without_a_valid_message_is_an_error(payload: bytes) -> None:
    with pytest.raises(WireError, match="received a frame without a valid message"):
        template_decoder().feed(len(payload).to_bytes(4, "big") + bytes(4) + payload)
