"""owt.wire.template: what the frontend and the template say to each other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.wire.template import Exited, Fork, Forked, NotForked, Ready, TemplateMessage, Unpacker, pack

texts = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(0, 2**31)
messages: st.SearchStrategy[TemplateMessage] = st.one_of(
    st.builds(Fork, whole, st.lists(texts).map(tuple), st.dictionaries(texts, texts), texts),
    st.builds(Ready, st.booleans(), st.lists(texts).map(tuple)),
    st.builds(Forked, whole, whole),
    st.builds(NotForked, whole, texts),
    st.builds(Exited, whole, st.integers(-64, 255)),
)


@given(st.lists(messages), st.data())
def test_messages_are_themselves_however_their_bytes_are_cut(
    sent: list[TemplateMessage], data: st.DataObject
) -> None:
    stream = b"".join(map(pack, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    unpacker = Unpacker()
    found: list[TemplateMessage] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += unpacker.feed(stream[start:end])
    assert found == sent


def test_a_message_is_its_length_and_msgpack() -> None:
    packed = pack(Exited(7, -9))
    assert packed[:4] == (len(packed) - 4).to_bytes(4, "big")
    assert msgspec.msgpack.decode(packed[4:]) == ["exited", 7, -9]


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode(["gone", 1]), b"\xff" * 8])
def test_rubbish_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Unpacker().feed(len(body).to_bytes(4, "big") + body)
