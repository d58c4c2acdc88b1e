"""owt.kernel.calls.connection: the kernel's end of a connection."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable

import pytest
from lanes import KEY, Listening

from owt.errors import WireError
from owt.kernel.calls import connection as module
from owt.kernel.calls.connection import LaneEnd
from owt.wire.chunk import Data, Stdout
from owt.wire.messages import Bind, Credit, FrameWriter, Hello, Message, Output


def output(run: str, text: str) -> Output:
    return Output(run, (Stdout(text),))


def test_a_lane_says_hello_when_it_connects(door: Listening) -> None:
    _, far = door.connect("control")
    assert far.hello == Hello(kernel="k1", lane="control", pid=os.getpid())
    assert (far.kernel, far.lane) == ("k1", "control")


def test_a_door_that_is_gone_is_an_oserror(door: Listening) -> None:
    with pytest.raises(OSError, match="No such file"):
        LaneEnd(door.path + "-gone", "k1", KEY, "calls")


def test_a_door_that_closes_before_it_has_said_anything_is_a_wire_error(door: Listening) -> None:
    thread = threading.Thread(target=lambda: door._listener.accept()[0].close())
    thread.start()
    with pytest.raises(WireError, match="closed the connection"):
        LaneEnd(door.path, "k1", KEY, "calls")
    thread.join()


def test_messages_arrive_in_the_order_in_which_they_were_sent(door: Listening) -> None:
    near, far = door.connect()
    sent = [output("a", str(n)) for n in range(100)]
    for message in sent:
        near.send(message)
    assert [far.receive() for _ in sent] == sent


def test_frames_of_several_threads_stay_whole_and_each_threads_in_order(door: Listening) -> None:
    near, far = door.connect()
    names = [f"thread {n}" for n in range(4)]
    at_once = threading.Barrier(len(names))

    def work(name: str) -> None:
        at_once.wait()
        for n in range(50):
            near.send(Output(name, (Data(str(n).encode() * 5000, "bytes"),)))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    found: dict[str, list[bytes]] = {name: [] for name in names}
    for _ in range(50 * len(names)):
        message = far.receive()
        assert isinstance(message, Output)
        [chunk] = message.chunks
        assert isinstance(chunk, Data)
        found[message.run].append(chunk.body)
    for thread in threads:
        thread.join()
    assert found == {name: [str(n).encode() * 5000 for n in range(50)] for name in names}


class Collecting(FrameWriter):
    """Collects garbage while it writes a frame, as may happen at any allocation."""

    def __init__(self, writer: FrameWriter, before: Callable[[], None]) -> None:
        """Goes on where `writer` is."""
        self.__dict__.update(writer.__dict__)
        self.before = before

    def encode(self, message: Message) -> bytearray:
        self.before()
        frame = super().encode(message)
        gc.collect(0)
        return frame


class Dying:
    """Sends a message when it is collected."""

    def __init__(self, lane: LaneEnd, message: Message) -> None:
        self.itself = self
        self.lane = lane
        self.message = message

    def __del__(self) -> None:
        self.lane.send(self.message)


def test_what_a_finalizer_sends_in_the_middle_of_a_frame_follows_it(door: Listening) -> None:
    near, far = door.connect()
    last_words = [output("a", "first words"), output("a", "second words")]

    def litter() -> None:
        if last_words:
            Dying(near, last_words.pop(0))

    near._writer = Collecting(near._writer, litter)
    gc.disable()
    try:
        near.send(output("a", "outer"))
        near.send(output("a", "next"))
    finally:
        gc.enable()
    texts = ["outer", "first words", "second words", "next"]
    assert [far.receive() for _ in texts] == [output("a", text) for text in texts]


def test_nobody_writes_while_somebody_holds_the_lane(door: Listening) -> None:
    near, far = door.connect()
    thread = threading.Thread(target=near.send, args=(output("a", "late"),))
    with near.hold():
        thread.start()
        far.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.socket.recv(1)
        far.socket.settimeout(20)
    assert far.receive() == output("a", "late")
    thread.join()


def test_receive_gives_what_has_arrived_and_does_not_wait(door: Listening) -> None:
    near, far = door.connect()
    assert near.receive() == []
    far.send(Credit("a", 1), Bind("mine", 2))
    assert near.receive() == [Credit("a", 1), Bind("mine", 2)]
    assert near.receive() == []


def test_a_frame_may_arrive_in_parts(door: Listening) -> None:
    near, far = door.connect()
    frame = far.writer.encode(Credit("a", 1))
    far.socket.sendall(frame[:10])
    assert near.receive() == []
    far.socket.sendall(frame[10:])
    assert near.receive() == [Credit("a", 1)]


def test_the_end_of_the_connection_is_none(door: Listening) -> None:
    near, far = door.connect()
    far.close()
    assert near.receive() is None


def test_a_reset_connection_is_none(door: Listening) -> None:
    near, far = door.connect()
    near.send(output("a", "never read"))
    far.close()
    assert near.receive() is None


def test_the_first_messages_are_waited_for(door: Listening) -> None:
    near, far = door.connect()
    frame = far.writer.encode(Credit("a", 1))
    far.socket.sendall(frame[:3])

    def rest() -> None:
        far.socket.sendall(frame[3:])

    thread = threading.Thread(target=rest)
    thread.start()
    assert near.receive_first() == [Credit("a", 1)]
    thread.join()


def test_a_connection_that_ends_before_the_first_message_is_a_wire_error(door: Listening) -> None:
    near, far = door.connect()
    far.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(WireError, match="closed the call channel"):
        near.receive_first()


def test_a_frame_with_another_key_ends_the_lane(door: Listening) -> None:
    near, far = door.connect()
    far.writer = FrameWriter(b"another key of 32 bytes, not our")
    far.send(Credit("a", 1))
    assert near.receive() is None


def test_a_replayed_frame_ends_the_lane(door: Listening) -> None:
    near, far = door.connect()
    frame = far.writer.encode(Credit("a", 1))
    far.socket.sendall(frame)
    assert near.receive() == [Credit("a", 1)]
    far.socket.sendall(frame)
    assert near.receive() is None


def test_what_does_not_fit_into_memory_ends_the_lane(
    door: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def received(size: int) -> None:
        raise MemoryError

    near, far = door.connect()
    monkeypatch.setattr(near._reader, "received", received)
    far.send(Credit("a", 1))
    assert near.receive() is None


def test_a_kernel_whose_frontend_is_gone_leaves(door: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(path: str) -> None:
        raise SystemExit(path)

    monkeypatch.setattr(module, "leave", leave)
    near, far = door.connect()
    far.close()
    with pytest.raises(SystemExit, match="door"):
        near.send(output("a", "to nobody"))
