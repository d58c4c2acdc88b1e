"""owt.wire.template: what the frontend and the template say to each other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import WireError
from owt.wire.template import (
    MAX_MESSAGE,
    Exited,
    Fork,
    Forked,
    NotForked,
    Ready,
    TemplateMessage,
    Unpacker,
    pack,
)

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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["gone", 1]),
        b"\xff" * 8,
        b"\x93\xaanot-forked\x01\xa1\xff",
        msgspec.msgpack.encode(Exited(1, 1)) + b"\0",
    ],
)
def test_rubbish_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="is no message of ours"):
        Unpacker().feed(len(body).to_bytes(4, "big") + body)


def test_a_length_that_no_message_has_is_refused_at_once() -> None:
    assert Unpacker().feed(MAX_MESSAGE.to_bytes(4, "big")) == []
    with pytest.raises(WireError, match=f"a message of {MAX_MESSAGE + 1} bytes is not one of ours"):
        Unpacker().feed((MAX_MESSAGE + 1).to_bytes(4, "big"))


@given(st.lists(messages, max_size=3), st.integers(0), st.integers(0, 4), st.binary(max_size=4))
def test_damaged_bytes_give_messages_or_an_error(
    sent: list[TemplateMessage], place: int, old: int, new: bytes
) -> None:
    stream = bytearray(b"".join(map(pack, sent)))
    at = place % (len(stream) + 1)
    stream[at : at + old] = new
    try:
        found = Unpacker().feed(bytes(stream))
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert Unpacker().feed(b"".join(map(pack, found))) == found
