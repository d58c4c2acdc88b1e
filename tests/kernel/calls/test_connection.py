"""owt.kernel.calls.connection: the kernel's side of a connection."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
from frontend_side import ConnectionMaker

from owt.errors import WireError
from owt.kernel.calls import connection as module
from owt.kernel.calls.connection import FrontendConnection
from owt.wire.chunk import Data, Stdout
from owt.wire.messages import Bind, Credit, Message, Output, encode


def output(run: str, text: str) -> Output:
    return Output(run, (Stdout(text),))


def test_messages_arrive_in_the_order_in_which_they_were_sent(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    sent = [output("a", str(n)) for n in range(100)]
    for message in sent:
        near.send(message)
    assert [far.receive() for _ in sent] == sent


def test_frames_of_several_threads_stay_whole_and_in_order(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    names = [f"thread {n}" for n in range(4)]
    at_once = threading.Barrier(len(names))

    def work(name: str) -> None:
        at_once.wait()
        for n in range(50):
            near.send(Output(name, (Data(str(n).encode() * 5000, "bytes"),)))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    received: dict[str, list[bytes]] = {name: [] for name in names}
    for _ in range(50 * len(names)):
        message = far.receive()
        assert isinstance(message, Output)
        [chunk] = message.chunks
        assert isinstance(chunk, Data)
        received[message.run].append(chunk.body)
    for thread in threads:
        thread.join()
    assert received == {name: [str(n).encode() * 5000 for n in range(50)] for name in names}


class SendsWhenCollected:
    """Garbage whose finalizer sends a message."""

    def __init__(self, connection: FrontendConnection, message: Message) -> None:
        self.itself = self
        self.connection = connection
        self.message = message

    def __del__(self) -> None:
        self.connection.send(self.message)


def during_encoding(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Call `action`, then collect garbage, at each encoding, as may happen at any allocation."""

    def encode_and_collect(message: Message) -> list[bytes | bytearray]:
        action()
        frame = encode(message)
        gc.collect(0)
        return frame

    monkeypatch.setattr(module, "encode", encode_and_collect)


def test_a_message_of_a_finalizer_during_a_send_follows_the_frame(
    connections: ConnectionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = connections.connect()
    last_words = [output("a", "first words"), output("a", "second words")]

    def litter() -> None:
        if last_words:
            SendsWhenCollected(near, last_words.pop(0))

    during_encoding(monkeypatch, litter)
    gc.disable()
    try:
        near.send(output("a", "outer"))
        near.send(output("a", "next"))
    finally:
        gc.enable()
    texts = ["outer", "first words", "second words", "next"]
    assert [far.receive() for _ in texts] == [output("a", text) for text in texts]


def test_no_thread_writes_while_another_holds_the_connection(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    thread = threading.Thread(target=near.send, args=(output("a", "late"),))
    with near.hold():
        thread.start()
        far.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.socket.recv(1)
        far.socket.settimeout(20)
    assert far.receive() == output("a", "late")
    thread.join()


def test_receive_returns_what_has_arrived_and_does_not_wait(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    assert near.receiver.receive() == []
    far.send(Credit("a", 1), Bind("mine", 2))
    assert near.receiver.receive() == [Credit("a", 1), Bind("mine", 2)]
    assert near.receiver.receive() == []


def test_a_frame_may_arrive_in_parts(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    [frame] = encode(Credit("a", 1))
    far.socket.sendall(frame[:10])
    assert near.receiver.receive() == []
    far.socket.sendall(frame[10:])
    assert near.receiver.receive() == [Credit("a", 1)]


def test_receive_returns_none_at_the_end_of_the_connection(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    far.close()
    assert near.receiver.receive() is None


def test_receive_returns_none_after_a_reset(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    near.send(output("a", "never read"))
    far.close()
    assert near.receiver.receive() is None


def test_receive_raises_an_error_when_the_socket_was_closed_here(connections: ConnectionMaker) -> None:
    """User code may close all descriptors; that says nothing about the frontend."""
    near, _ = connections.connect()
    near.receiver.socket.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        near.receiver.receive()


def test_receive_raises_an_error_for_bytes_that_are_no_frame(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    far.socket.sendall(b"\xff" * 20)
    with pytest.raises(WireError):
        near.receiver.receive()


def test_reading_the_first_message_waits_for_it(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    [frame] = encode(Credit("a", 1))
    far.socket.sendall(frame[:3])
    thread = threading.Thread(target=far.socket.sendall, args=(frame[3:],))
    thread.start()
    assert near.receiver.receive_first() == Credit("a", 1)
    thread.join()


def test_a_connection_that_ends_before_the_first_message_is_an_error(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    far.close()
    with pytest.raises(WireError, match="closed the connection before its first message"):
        near.receiver.receive_first()


def test_a_message_that_cannot_be_sent_ends_the_process(connections: ConnectionMaker) -> None:
    near, far = connections.connect()
    far.close()
    with pytest.raises(SystemExit, match="the connection is lost"):
        near.send(output("a", "unheard"))
