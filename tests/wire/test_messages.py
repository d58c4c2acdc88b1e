from __future__ import annotations

import itertools
import struct
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

import owt.wire.messages
from owt.errors import BadSignature, WireError
from owt.wire.call import Caching, Call, NotebookCell, RequestFacts, Target
from owt.wire.chunk import Data, Display, Done, Failed, Head, Stderr, Stdout
from owt.wire.endpoint import Endpoint, Parameter
from owt.wire.handshake import LANES, NONCE, Lane, Signer, preface, read_preface
from owt.wire.messages import (
    Bind,
    Cancel,
    Cell,
    Credit,
    FrameReader,
    FrameWriter,
    Hello,
    Invoke,
    Message,
    Output,
    Queued,
    RegisterEndpoints,
    RegisterResult,
    StartDeadlinePassed,
    Welcome,
)

KEY = b"a connection key"

REQUEST = RequestFacts(
    "POST",
    "/a/é",
    "x=1",
    (("Accept", "*/*"), ("Accept", "a/b")),
    b"\x00\xff",
    "localhost:9876",
    "::1",
    "https",
)
CALL = Call(
    REQUEST, "x", "speak", "{}", "f", "s", "python3", "text/html", True, True, 2.5, Caching(True, "key")
)

EVERY_MESSAGE: list[Message] = [
    Hello("kernel-1", "calls", 4711),
    Hello("kernel-1", "control", 4711, 2),
    Welcome("http://localhost:9876", "127.0.0.1", 9876),
    Welcome("http://localhost:9876", "127.0.0.1", 9876, "s", 4, 1024),
    Welcome("http://localhost:9876", "127.0.0.1", 9876, "s", 4, 1024, 1 << 30),
    Bind("s", 2),
    Bind(None, 1),
    Invoke("r1", CALL),
    Invoke("r2", Call(RequestFacts("GET", "/", "", (), b"", "h"))),
    Credit("r1", 65536),
    Cancel("r1", "timeout"),
    StartDeadlinePassed("r1", 0.5),
    Queued("r1"),
    Cell(True),
    RegisterEndpoints(1, (Endpoint("/a", ("GET",), "f"),), ("/b/{}",)),
    RegisterEndpoints(
        2,
        (
            Endpoint(
                "/{x}", ("GET", "PUT"), "f", "d", (Parameter("x", "path", "{}", True, "1"),), True, "{}", True
            ),
        ),
        keep=False,
    ),
    RegisterResult(1),
    RegisterResult(2, "it is taken"),
    Invoke("r3", Call(REQUEST, session="s", endpoint=Target("/{x}", ("1",), "k1.1"))),
    Invoke("r4", Call(REQUEST, code="x = 1", cell=NotebookCell())),
    Invoke("r5", Call(REQUEST, code="x", cell=NotebookCell("GET", "/{x}", ("x",), "/:x", "print(1)"))),
    Output("r1", ()),
    Output(
        "r1",
        (
            Stdout("out\n"),
            Stderr("err\n"),
            Display({"text/plain": "x", "application/json": {"a": [1, None, 1.5]}}, {"width": 3}),
            Head(200, (("Content-Type", "text/html"), ("Set-Cookie", "a"), ("Set-Cookie", "b"))),
            Data(b"\xc3", "text", True, True),
            Data(b"\xa9", "text", True),
            Data(b"\x00\xff", "bytes"),
            Data(b"{}", "json"),
            Failed(500, "exception", "title", "detail", "ValueError", "Traceback"),
            Done(500, 0.25),
        ),
    ),
]

text = st.text(st.characters(exclude_categories=["Cs"]))
pairs = st.lists(st.tuples(text, text)).map(tuple)
numbers = st.integers(0, 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
calls = st.builds(
    Call,
    st.builds(RequestFacts, text, text, text, pairs, st.binary(), text, text, text),
    code=st.none() | text,
    kwargs=st.none() | text,
    session=st.none() | text,
    timeout=st.none() | st.floats(allow_nan=False),
    caching=st.none() | st.builds(Caching, st.booleans(), st.none() | text),
)
chunks = st.one_of(
    st.builds(Head, st.integers(100, 999), pairs),
    st.builds(Data, st.binary(), st.sampled_from(["text", "bytes", "json"]), st.booleans(), st.booleans()),
    st.builds(Stdout, text),
    st.builds(Stderr, text),
    st.builds(Display, st.dictionaries(text, plain), st.dictionaries(text, plain)),
    st.builds(Failed, st.integers(100, 999), text, text, text, text, text),
    st.builds(Done, st.integers(100, 999), st.floats(allow_nan=False)),
)
messages = st.one_of(
    st.builds(Hello, text, st.sampled_from(["calls", "control"]), numbers, numbers),
    st.builds(Welcome, text, text, numbers, st.none() | text, numbers, numbers),
    st.builds(Bind, st.none() | text, numbers),
    st.builds(Invoke, text, calls),
    st.builds(Credit, text, numbers),
    st.builds(Cancel, text, st.sampled_from(["cancelled", "timeout", "interrupted"])),
    st.builds(Output, text, st.lists(chunks).map(tuple)),
)


lanes = st.sampled_from([b"calls", b"control", b"control\n", b"shell"])


def frames(*given: Message) -> list[bytes]:
    writer = FrameWriter(KEY)
    return [bytes(writer.encode(message)) for message in given]


def signed(payload: bytes, sequence: int = 0) -> bytes:
    """A frame with a signature that fits, around any payload."""
    signature = AESGCM(KEY).encrypt(sequence.to_bytes(12), b"", payload)
    return struct.pack("!I", 16 + len(payload)) + signature + payload


def test_a_frame_is_length_signature_and_message() -> None:
    [first, second] = frames(Credit("r", 1), Credit("r", 2))
    assert first == signed(msgspec.msgpack.encode(Credit("r", 1)), 0)
    assert second == signed(msgspec.msgpack.encode(Credit("r", 2)), 1)


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert FrameReader(KEY).feed(*frames(message)) == [message]


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 10**6), max_size=8))
def test_messages_come_back_however_the_stream_is_cut(sent: list[Message], places: list[int]) -> None:
    stream = b"".join(frames(*sent))
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    reader = FrameReader(KEY)
    got = [message for a, b in itertools.pairwise(ends) for message in reader.feed(stream[a:b])]
    assert got == sent


def test_a_split_at_any_byte_changes_nothing() -> None:
    stream = b"".join(frames(*EVERY_MESSAGE))
    for place in range(len(stream) + 1):
        reader = FrameReader(KEY)
        assert reader.feed(stream[:place]) + reader.feed(stream[place:]) == EVERY_MESSAGE


def test_a_message_is_there_with_its_last_byte_and_not_before() -> None:
    stream = b"".join(frames(*EVERY_MESSAGE))
    reader = FrameReader(KEY)
    counts = [len(reader.feed(stream[i : i + 1])) for i in range(len(stream))]
    ends = itertools.accumulate(len(frame) for frame in frames(*EVERY_MESSAGE))
    assert [i + 1 for i, count in enumerate(counts) if count] == list(ends)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_come_in_any_kind_of_buffer_and_are_not_kept(kind: Any) -> None:
    [frame] = frames(Output("r", (Data(b"x" * 1000, "bytes"),)))
    buffer = bytearray(frame)
    reader = FrameReader(KEY)
    assert reader.feed(kind(buffer[:100])) == []
    rest = kind(buffer[100:])
    [message] = reader.feed(rest)
    if kind is bytearray:
        rest[:] = bytes(len(rest))
    assert message == Output("r", (Data(b"x" * 1000, "bytes"),))


def test_a_flipped_bit_anywhere_is_never_a_message() -> None:
    [first, second] = frames(Bind("s", 1), Credit("r", 1))
    for place in range(len(first)):
        broken = bytearray(first + second)
        broken[place] ^= 1
        reader = FrameReader(KEY)
        if place < 4:
            # A length that is wrong ends in an error or in waiting for bytes that never come.
            try:
                assert reader.feed(broken) == []
            except WireError as error:
                assert str(error)  # noqa: PT017 - either way is right
        else:
            with pytest.raises(BadSignature):
                reader.feed(broken)


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 2), (1,), (0, 1, 1), (0, 1, 0)])
def test_frames_cannot_be_moved_repeated_or_left_out(order: tuple[int, ...]) -> None:
    sent = frames(Credit("r", 1), Credit("r", 2), Credit("r", 3))
    with pytest.raises(BadSignature):
        FrameReader(KEY).feed(b"".join(sent[i] for i in order))


def test_frames_fit_one_connection_lane_and_direction_only() -> None:
    ends = [
        (key, nonce, lane, frontend)
        for key in (b"key", b"other")
        for nonce in (b"0" * NONCE, b"1" * NONCE)
        for lane in LANES
        for frontend in (True, False)
    ]
    for key, nonce, lane, frontend in ends:
        frame = FrameWriter(Signer(key, nonce, lane, frontend=frontend).sending).encode(Credit("r", 1))
        for other in ends:
            reader = FrameReader(Signer(*other[:3], frontend=other[3]).receiving)
            if other == (key, nonce, lane, not frontend):
                assert reader.feed(frame) == [Credit("r", 1)]
            else:
                with pytest.raises(BadSignature):
                    reader.feed(frame)


@pytest.mark.parametrize("length", [0, 15, owt.wire.messages.MAX_FRAME + 1, 2**32 - 1])
def test_a_length_that_no_frame_has_is_refused_at_once(length: int) -> None:
    with pytest.raises(WireError, match=f"a frame of {length} bytes is not one of ours"):
        FrameReader(KEY).feed(struct.pack("!I", length))


def test_a_message_too_large_for_a_frame_is_refused_and_leaves_no_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owt.wire.messages, "MAX_FRAME", 1000)
    writer, reader = FrameWriter(KEY), FrameReader(KEY)
    with pytest.raises(WireError, match="does not fit a frame"):
        writer.encode(Output("r", (Data(bytes(1000), "bytes"),)))
    assert reader.feed(writer.encode(Credit("r", 1))) == [Credit("r", 1)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["hello"]),
        msgspec.msgpack.encode(["nonsense", 1]),
        msgspec.msgpack.encode(["cancel", "r", "because"]),
        msgspec.msgpack.encode({"run": "r"}),
        msgspec.msgpack.encode(Credit("r", 1)) + b"\x00",
        msgspec.msgpack.encode(["credit", "r", "1"]),
        b"\x93\xa6credit\xa1\xff\x01",
        b"\x93\xa6output\xa1r\x91\x93\xa7display\x81\xa1x" + b"\x91" * 100_000 + b"\xc0\x80",
    ],
)
def test_a_signed_frame_that_holds_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        FrameReader(KEY).feed(signed(payload))


@given(st.binary())
def test_rubbish_is_never_a_message(rubbish: bytes) -> None:
    reader = FrameReader(KEY)
    try:
        assert reader.feed(rubbish) == []
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[Message], bytes]:
    """Messages, and their frames after something has happened to them."""
    sent = draw(st.lists(messages, min_size=1, max_size=3))
    stream = frames(*sent)
    match draw(st.sampled_from(["bytes", "cut", "frames"])):
        case "frames":
            order = draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=5))
            return sent, b"".join(stream[i] for i in order)
        case "cut":
            whole = b"".join(stream)
            start, end = draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))
            return sent, whole[:start] + whole[end:]
    changed = bytearray(b"".join(stream))
    patches = st.tuples(st.integers(0), st.integers(0, 4), st.binary(max_size=4))
    for place, old, new in draw(st.lists(patches)):
        at = place % (len(changed) + 1)
        changed[at : at + old] = new
    return sent, bytes(changed)


@settings(max_examples=300)
@given(damaged(), st.lists(st.integers(0, 10**6), max_size=3))
def test_damaged_frames_give_what_came_before_the_damage_or_an_error(
    what: tuple[list[Message], bytes], places: list[int]
) -> None:
    sent, stream = what
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    reader = FrameReader(KEY)
    got: list[Message] = []
    try:
        for a, b in itertools.pairwise(ends):
            got += reader.feed(stream[a:b])
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    assert got == sent[: len(got)]


@settings(max_examples=300)
@given(messages | st.none(), st.binary(max_size=30), st.integers(0, 10**6), st.integers(0, 8))
def test_whatever_is_signed_is_a_message_or_an_error(
    message: Message | None, patch: bytes, place: int, old: int
) -> None:
    # A kernel whose user code does what it likes holds the key, and the frontend must bear what it sends.
    payload = bytearray(msgspec.msgpack.encode(message))
    at = place % (len(payload) + 1)
    payload[at : at + old] = patch
    try:
        [got] = FrameReader(KEY).feed(signed(bytes(payload)))
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert isinstance(got, Message)
        # Text and numbers in it are such that it can be sent on.
        assert FrameReader(KEY).feed(FrameWriter(KEY).encode(got))


@given(st.binary() | st.tuples(st.sampled_from([b"owt1", b"owt"]), st.binary(), lanes).map(b" ".join))
def test_any_first_line_is_a_preface_or_an_error(line: bytes) -> None:
    try:
        kernel, lane = read_preface(line)
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert read_preface(preface(kernel, lane)) == (kernel, lane)


def test_a_large_message_in_small_pieces_is_read_once() -> None:
    message = Output("r", (Data(bytes(range(256)) * 4096, "bytes"),))
    [frame] = frames(message)
    reader = FrameReader(KEY)
    got = [m for i in range(0, len(frame), 1000) for m in reader.feed(frame[i : i + 1000])]
    assert got == [message]


@pytest.mark.parametrize("lane", LANES)
def test_a_preface_names_kernel_and_lane(lane: Lane) -> None:
    assert read_preface(preface("k-1", lane)) == ("k-1", lane)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\n",
        b"owt0 k calls\n",
        b"owt1 k shell\n",
        b"owt1 calls\n",
        b"owt1 \xff calls\n",
        b"owt1  k calls",
        b"\xff" * 99,
    ],
)
def test_another_first_line_is_refused(line: bytes) -> None:
    with pytest.raises(WireError, match="a connection to the call channel began with"):
        read_preface(line)
