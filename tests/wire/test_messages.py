"""owt.wire.messages: encoding and decoding of messages."""

from __future__ import annotations

import itertools
import random
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owt.errors import WireError
from owt.wire.call import Caching, Call, ChangeDirectory, NotebookCell, RemoveEndpoint, RequestFacts, Target
from owt.wire.chunk import Data, Display, Done, Failed, Head, Stderr, Stdout
from owt.wire.endpoint import Endpoint, Parameter
from owt.wire.framing import MAX_READ, encode_frame
from owt.wire.journal import DroppedChunks
from owt.wire.messages import (
    MIN_ATTACHMENT,
    Accepted,
    Bind,
    Cancel,
    Cell,
    Credit,
    Forget,
    Hello,
    Input,
    InputEnd,
    Invoke,
    JournalLimit,
    Keep,
    KeptRun,
    Message,
    Output,
    Ping,
    Pong,
    Queued,
    RegisterEndpoints,
    RegisterResult,
    Welcome,
    Withdraw,
    Withdrawn,
    encode,
    message_decoder,
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

DROPPED = DroppedChunks(3, 400, Head(200, ()), 1, True)

EVERY_MESSAGE: list[Message] = [
    Hello(),
    Hello(7),
    Hello(7, 5, True, (KeptRun("r1", CALL, Keep(1, 2.5, "ada", -3, b"d"), 1.5, DROPPED, 7, 2),)),
    Accepted("r1"),
    Forget("r1"),
    JournalLimit("r1", 1000),
    Welcome("http://localhost:9876", "127.0.0.1", 9876),
    Welcome("http://localhost:9876", "127.0.0.1", 9876, keep=True, number=1 << 33),
    Welcome("http://localhost:9876", "127.0.0.1", 9876, "s", 4, 1024),
    Welcome("http://localhost:9876", "127.0.0.1", 9876, "s", 4, 1024, 1 << 30, ("clean", "up")),
    Bind("s", 2),
    Bind(None, 1),
    Invoke("r1", CALL),
    Invoke("r1", CALL, Keep(1, 2.5)),
    Invoke("r2", Call(RequestFacts("GET", "/", "", (), b"", "h"))),
    Input("r1", b"x" * 10),
    Input("r1", "é".encode(), True),
    Input("r1", b"x" * 2 * MIN_ATTACHMENT),
    Input("r1", b"x" * 2 * MIN_ATTACHMENT, True),
    InputEnd("r1"),
    InputEnd("r1", "broke off"),
    Credit("r1", 65536),
    Cancel("r1", "timeout"),
    Ping(),
    Pong(),
    Withdraw("r1"),
    Withdrawn("r1"),
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
    Invoke("r6", Call(REQUEST, session="s", operation=ChangeDirectory("/é"))),
    Invoke("r7", Call(REQUEST, session="s", operation=RemoveEndpoint("/{x}", "GET"))),
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
    st.builds(Hello, numbers),
    st.builds(Welcome, text, text, numbers, st.none() | text, numbers, numbers),
    st.builds(Bind, st.none() | text, numbers),
    st.builds(Invoke, text, calls),
    st.builds(Credit, text, numbers),
    st.builds(Cancel, text, st.sampled_from(["cancelled", "timeout", "interrupted"])),
    st.builds(Output, text, st.lists(chunks).map(tuple)),
)


def stream_of(*sent: Message) -> bytes:
    return b"".join(buffer for message in sent for buffer in encode(message))


def frame_of(payload: bytes) -> bytes:
    """Return a frame around any payload."""
    return struct.pack("!II", len(payload), 0) + payload


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_survives_encoding_and_decoding(message: Message) -> None:
    assert message_decoder().feed(stream_of(message)) == [message]


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 10**6), max_size=8))
def test_messages_survive_any_cuts_of_the_stream(sent: list[Message], places: list[int]) -> None:
    stream = stream_of(*sent)
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    decoder = message_decoder()
    received = [message for a, b in itertools.pairwise(ends) for message in decoder.feed(stream[a:b])]
    assert received == sent


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_cut_at_any_byte_changes_nothing(message: Message) -> None:
    sent = [message, Ping()]
    stream = stream_of(*sent)
    # In the midst of a large body, every thousandth byte stands for the others.
    midst = range(200, len(stream) - 200) if len(stream) > MIN_ATTACHMENT else range(0)
    for place in range(len(stream) + 1):
        if place in midst and place % 1000:
            continue
        decoder = message_decoder()
        assert decoder.feed(stream[:place]) + decoder.feed(stream[place:]) == sent


def invoke(body: bytes) -> Invoke:
    return Invoke("r", Call(RequestFacts("POST", "/", "", (), body, "h"), code="x", session="s"))


def test_a_large_request_body_is_sent_from_where_it_lies() -> None:
    body = bytes(MIN_ATTACHMENT)
    head, attachment = encode(invoke(body))
    assert attachment is body
    assert len(head) < 100


def test_a_small_request_body_is_part_of_the_message() -> None:
    assert len(encode(invoke(bytes(MIN_ATTACHMENT - 1)))) == 1


@pytest.mark.parametrize("size", [MIN_ATTACHMENT, MAX_READ, MAX_READ + 1, 5 * MAX_READ])
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_large_request_body_arrives_between_other_messages(size: int, step: int) -> None:
    sent = [Bind("s", 1), invoke(random.Random(size).randbytes(size)), Bind("t", 2)]
    stream = stream_of(*sent)
    decoder = message_decoder()
    assert [m for at in range(0, len(stream), step) for m in decoder.feed(stream[at : at + step])] == sent


def test_an_attachment_of_a_message_without_a_body_is_an_error() -> None:
    frame = encode_frame(Credit("r", 1), 4)
    with pytest.raises(WireError, match="received an attachment of 4 bytes with Credit"):
        message_decoder().feed(frame + b"body")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["hello", "2"]),
        msgspec.msgpack.encode(["nonsense", 1]),
        msgspec.msgpack.encode(["cancel", "r", "because"]),
        msgspec.msgpack.encode({"run": "r"}),
        msgspec.msgpack.encode(Credit("r", 1)) + b"\x00",
        msgspec.msgpack.encode(["credit", "r", "1"]),
        b"\x93\xa6credit\xa1\xff\x01",
        b"\x93\xa6output\xa1r\x91\x93\xa7display\x81\xa1x" + b"\x91" * 100_000 + b"\xc0\x80",
    ],
)
def test_a_frame_without_a_valid_message_is_an_error(payload: bytes) -> None:
    with pytest.raises(WireError, match="received a frame without a valid message"):
        message_decoder().feed(frame_of(payload))


@settings(max_examples=300)
@given(messages | st.none(), st.binary(max_size=30), st.integers(0, 10**6), st.integers(0, 8))
def test_any_payload_is_a_message_or_an_error(
    message: Message | None, patch: bytes, place: int, old: int
) -> None:
    # User code can write to a kernel's connections, so the frontend must accept or refuse any bytes.
    payload = bytearray(msgspec.msgpack.encode(message))
    at = place % (len(payload) + 1)
    payload[at : at + old] = patch
    try:
        [received] = message_decoder().feed(frame_of(bytes(payload)))
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert isinstance(received, Message)
        # Text and numbers of the message can be encoded again. NaN equals nothing, but has the same bytes.
        stream = stream_of(received)
        assert [stream_of(again) for again in message_decoder().feed(stream)] == [stream]


def test_a_large_body_whose_fields_are_in_the_call_stays_in_the_frontend() -> None:
    body = b"x" * MIN_ATTACHMENT
    call = Call(msgspec.structs.replace(REQUEST, body=body), code="x", body_parsed=True)
    [frame] = encode(Invoke("r1", call))
    assert len(frame) < MIN_ATTACHMENT
    [message] = message_decoder().feed(frame)
    assert isinstance(message, Invoke)
    assert (message.call.request.body, message.call.request.input_size) == (b"", MIN_ATTACHMENT)
    assert call.request.body is body


def test_a_large_body_travels_with_a_call_that_outlives_the_frontend() -> None:
    call = Call(msgspec.structs.replace(REQUEST, body=b"x" * MIN_ATTACHMENT), code="x", body_parsed=True)
    invoke = Invoke("r1", call, Keep(1000, 1000.5))
    assert encode(invoke)[1] is call.request.body
    assert message_decoder().feed(stream_of(invoke)) == [invoke]


def test_a_small_body_travels_with_the_call() -> None:
    request = msgspec.structs.replace(REQUEST, body=b"x" * (MIN_ATTACHMENT - 1))
    call = Call(request, code="x", body_parsed=True)
    assert message_decoder().feed(stream_of(Invoke("r1", call))) == [Invoke("r1", call)]
