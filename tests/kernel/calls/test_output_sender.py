"""owt.kernel.calls.output_sender: a run's chunks, in order, within its credit."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import types
from collections.abc import Callable, Iterator

import pytest
from frontend_side import PLENTY, ConnectionMaker, FrontendSide, SenderStage

from owt.kernel.calls import connection
from owt.kernel.calls import output_sender as module
from owt.kernel.calls.output_sender import (
    FLUSH_DELAY,
    MAX_TEXT_CHUNK,
    MAX_WAITING_TEXT,
    OutputSender,
    encodable,
)
from owt.wire.chunk import Chunk, Data, Done, Stderr, Stdout, size
from owt.wire.messages import Message, Output, encode
from owt.wire.unsent import SIZE, Unsent, UnsentOutput, find_unsent


@pytest.fixture
def run(connections: ConnectionMaker) -> SenderStage:
    return SenderStage(connections)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return a list whose last item is the time that senders see."""
    now = [1000.0]
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[-1]))
    return now


def data(amount: int) -> Data:
    """Return a chunk that counts `amount` bytes."""
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


# Text that waits


@pytest.fixture
def memory(run: SenderStage) -> bytearray:
    memory = bytearray(SIZE)
    run.near.unsent = UnsentOutput(memoryview(memory))
    return memory


def left(memory: bytearray, received: int = 0) -> list[Unsent]:
    return list(find_unsent(bytes(memory), received))


def test_text_that_waits_is_where_it_outlives_the_process(
    run: SenderStage, memory: bytearray, clock: list[float]
) -> None:
    sender = run.sender()
    sender.write("stdout", "sent\n")
    assert left(memory) == []
    sender.write("stdout", "waits €\n")
    sender.write("stdout", "\n")
    sender.write("stdout", "\n")
    assert left(memory) == [Unsent("a", "stdout", "waits €\n\n\n".encode())]
    sender.write("stderr", "error")
    assert left(memory) == [Unsent("a", "stderr", b"error")]
    sender.flush()
    assert left(memory) == []
    assert run.arrived() == [Stdout("sent\n"), Stdout("waits €\n\n\n"), Stderr("error")]


class LookingSocket:
    """Socket that looks at the unsent output before and after each write."""

    def __init__(self, socket: socket.socket, look: Callable[[], object]) -> None:
        self.socket = socket
        self.look = look
        self.seen: list[object] = []

    def sendall(self, data: bytes) -> None:
        self.seen.append(self.look())
        self.socket.sendall(data)


def test_text_that_is_being_sent_counts_as_unsent_until_its_message_has_arrived(
    run: SenderStage, memory: bytearray, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = run.sender()
    sender.write("stdout", "1\n")
    sender.write("stdout", "2\n")
    receiver = run.near.receiver
    looking = LookingSocket(receiver.socket, lambda: (left(memory, received=1), left(memory, received=2)))
    monkeypatch.setattr(receiver, "socket", looking)
    sender.flush()
    assert looking.seen == [([Unsent("a", "stdout", b"2\n")], [])]
    assert left(memory) == []


def test_text_of_a_pipe_moves_from_its_region_to_that_of_the_run(
    run: SenderStage, memory: bytearray, clock: list[float]
) -> None:
    assert run.near.unsent is not None
    source = run.near.unsent.reading["stdout"]
    sender = run.sender()
    sender.write("stdout", "1\n")
    source.append(b"2\n")
    sender.write("stdout", "2\n", source)
    assert left(memory) == [Unsent("a", "stdout", b"2\n")]
    sender.finish([])
    assert left(memory) == []
    assert run.near.unsent.acquire() is not None


def test_text_is_sent_at_once_if_no_region_is_free(run: SenderStage, memory: bytearray) -> None:
    assert run.near.unsent is not None
    while run.near.unsent.acquire() is not None:
        pass
    sender = run.sender()
    for text in ("1\n", "2\n", "3"):
        sender.write("stdout", text)
    assert run.arrived() == [Stdout("1\n"), Stdout("2\n"), Stdout("3")]


# Credit


def test_chunks_are_sent_in_order_one_per_frame(run: SenderStage) -> None:
    sender = run.sender()
    chunks = [data(1000), data(2000), data(3000)]
    sender.send(chunks)
    sender.send([data(4000)])
    assert run.arrived() == [*chunks, data(4000)]
    assert sender.credit == PLENTY - 10_000


def sending(sender: OutputSender, chunks: list[Chunk], errors: list[BaseException]) -> threading.Thread:
    """Start a thread that sends."""

    def work() -> None:
        try:
            sender.send(chunks)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def nothing_more(far: FrontendSide) -> None:
    assert not far.pending
    far.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.socket.recv(1)
    far.socket.settimeout(20)


def test_credit_is_overdrawn_by_one_chunk_at_most(run: SenderStage) -> None:
    sender = run.sender(window=2500)
    thread = sending(sender, [data(1000)] * 20, [])
    sent, granted = 0, 2500
    for n in range(20):
        run.far.chunks(1)
        # It was sent while there was still credit.
        assert sent < granted
        sent += 1000
        if sent >= granted and n < 19:
            nothing_more(run.far)
            sender.grant(1300)
            granted += 1300
    thread.join()
    assert sender.credit == granted - sent


def test_a_sender_without_credit_waits_for_enough_of_it(run: SenderStage) -> None:
    sender = run.sender(window=1)
    sender.send([data(1000)])
    thread = sending(sender, [data(500)], [])
    sender.grant(999)
    assert sender.credit == 0
    run.far.chunks(1)
    nothing_more(run.far)
    sender.grant(1)
    thread.join()
    assert run.arrived() == [data(500)]
    assert sender.credit == -499


def test_a_print_without_credit_waits(run: SenderStage) -> None:
    sender = run.sender(window=1)
    sender.send([data(100)])
    thread = threading.Thread(target=sender.write, args=("stdout", "x" * MAX_WAITING_TEXT))
    thread.start()
    run.far.chunks(1)
    nothing_more(run.far)
    sender.grant(1000)
    thread.join()
    assert run.arrived() == [Stdout("x" * MAX_WAITING_TEXT)]


def test_stop_interrupts_a_thread_that_waits_for_credit(run: SenderStage) -> None:
    sender = run.sender(window=1)
    sender.send([data(100)])
    errors: list[BaseException] = []
    thread = sending(sender, [data(100)], errors)
    sender.stop("cancelled")
    thread.join()
    assert [type(error) for error in errors] == [KeyboardInterrupt]
    assert sender.stop_reason == "cancelled"
    assert run.arrived() == [data(100)]


def test_a_stopped_run_may_send_within_its_credit(run: SenderStage) -> None:
    sender = run.sender()
    sender.stop("cancelled")
    sender.send([data(100)])
    assert run.arrived() == [data(100)]


@pytest.mark.usefixtures("sigint")
def test_the_main_thread_can_be_interrupted_while_it_waits_for_credit(run: SenderStage) -> None:
    sender = run.sender(window=1)
    sender.send([data(100)])
    run.interrupts.install()
    run.interrupts.begin("a")
    run.interrupts.enter_user_code()

    def chunks() -> Iterator[Chunk]:
        thread.start()
        yield data(100)

    def aim() -> None:
        run.interrupts.interrupt("a")
        # A signal that arrives just before the main thread starts to wait does not end the wait.
        while not noticed.wait(0.05) and run.interrupts.unnoticed == "a":
            run.interrupts.interrupt("a")

    noticed = threading.Event()
    thread = threading.Thread(target=aim)
    with pytest.raises(KeyboardInterrupt):
        sender.send(chunks())
    noticed.set()
    thread.join()
    run.interrupts.end()
    sender.grant(1000)
    sender.send([data(200)])
    assert run.arrived() == [data(100), data(200)]


@pytest.mark.usefixtures("sigint")
def test_an_interrupt_while_a_chunk_is_sent_is_raised_after_it(run: SenderStage) -> None:
    sender = run.sender()
    run.interrupts.install()
    run.interrupts.begin("a")
    run.interrupts.enter_user_code()

    def chunks() -> Iterator[Chunk]:
        yield data(100)
        run.interrupts.interrupt("a")
        yield data(200)

    with pytest.raises(KeyboardInterrupt):
        sender.send(chunks())
    assert run.arrived() == [data(100), data(200)]


def test_waiting_for_credit_on_the_loop_ends_with_a_grant_of_another_thread(run: SenderStage) -> None:
    sender = run.sender(window=0)

    async def wait() -> int:
        waiting = asyncio.create_task(sender.wait_for_credit())
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(sender.grant, 5)
        await waiting
        await sender.wait_for_credit()
        return sender.credit

    assert asyncio.run(wait()) == 5


def test_waiting_for_credit_on_the_loop_can_be_cancelled(run: SenderStage) -> None:
    sender = run.sender(window=0)

    async def wait() -> None:
        waiting = asyncio.create_task(sender.wait_for_credit())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        sender.grant(5)

    asyncio.run(wait())
    assert sender.credit == 5


# Text


def test_a_line_is_sent_immediately(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    assert sender.write("stdout", "one\n")
    assert run.arrived() == [Stdout("one\n")]
    assert run.due == []


def test_text_without_a_newline_is_sent_later_by_another_thread(
    run: SenderStage, clock: list[float]
) -> None:
    sender = run.sender()
    sender.write("stdout", "50 %")
    sender.write("stdout", " 60 %")
    assert run.arrived() == []
    assert [seconds for seconds, _ in run.due] == [FLUSH_DELAY]
    run.later()
    assert run.arrived() == [Stdout("50 % 60 %")]
    assert run.due == []


def test_lines_that_follow_each_other_closely_are_collected(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "one\n")
    sender.write("stdout", "two\n")
    sender.write("stdout", "three\n")
    assert run.arrived() == [Stdout("one\n")]
    clock.append(clock[-1] + 2 * FLUSH_DELAY)
    sender.write("stdout", "four\n")
    assert run.arrived() == [Stdout("two\nthree\nfour\n")]


def test_text_is_sent_before_later_chunks(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "before")
    sender.send([data(100)])
    sender.write("stdout", "after")
    sender.finish([Done(200, 1.0)])
    assert run.arrived() == [Stdout("before"), data(100), Stdout("after"), Done(200, 1.0)]


def test_stdout_and_stderr_keep_their_order(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "a")
    sender.write("stderr", "b")
    sender.write("stderr", "c")
    sender.write("stdout", "d")
    sender.flush()
    assert run.arrived() == [Stdout("a"), Stderr("bc"), Stdout("d")]


def test_much_text_is_sent_immediately_in_several_chunks(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "x" * MAX_WAITING_TEXT)
    assert run.arrived() == [Stdout("x" * MAX_WAITING_TEXT)]
    sender.write("stdout", "y" * (2 * MAX_TEXT_CHUNK + 1))
    assert run.arrived() == [Stdout("y" * MAX_TEXT_CHUNK), Stdout("y" * MAX_TEXT_CHUNK), Stdout("y")]


def test_a_late_flush_without_credit_does_not_block_its_thread(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender(window=1)
    sender.send([data(100)])
    sender.write("stdout", "patience")
    run.later()
    run.later()
    assert len(run.due) == 1
    assert run.arrived() == [data(100)]
    sender.grant(1000)
    run.later()
    assert run.arrived() == [Stdout("patience")]


def test_a_late_flush_of_escaped_surrogates_is_one_chunk(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender(window=1)
    sender.write("stdout", "\ud800" * (MAX_WAITING_TEXT - 1))
    run.later()
    assert run.arrived() == [Stdout("\\ud800" * (MAX_WAITING_TEXT - 1))]


def test_a_late_flush_does_not_wait_for_a_thread_that_sends(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "text")

    def chunks() -> Iterator[Chunk]:
        # Sending has started.
        sender.write("stdout", "more")
        run.later()
        yield data(100)

    sender.send(chunks())
    assert run.arrived() == [Stdout("text"), data(100)]
    run.later()
    assert run.arrived() == [Stdout("more")]


def test_encodable_escapes_lone_surrogates() -> None:
    assert encodable("plain") == "plain"
    assert encodable("ключ 🔑") == "ключ 🔑"
    assert encodable("half \ud83d of it") == "half \\ud83d of it"


def test_lines_of_several_threads_stay_whole(run: SenderStage) -> None:
    sender = run.sender()
    lines = [[f"{name}{n}\n" for n in range(200)] for name in "abc"]
    threads = [
        threading.Thread(target=lambda mine=mine: [sender.write("stdout", line) for line in mine])
        for mine in lines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.flush()
    text = "".join(chunk.text for chunk in run.arrived() if isinstance(chunk, Stdout))
    printed = text.splitlines(keepends=True)
    assert [[line for line in printed if line[0] == name] for name in "abc"] == lines


class Talkative:
    """Object that prints when it is collected."""

    def __init__(self, sender: OutputSender) -> None:
        self.itself = self
        self.sender = sender

    def __del__(self) -> None:
        self.sender.write("stdout", "last words\n")


def test_output_of_a_finalizer_during_a_send_follows_the_frame(
    run: SenderStage, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect_and_encode(message: Message) -> list[bytes | bytearray]:
        # As may happen at any allocation.
        gc.collect(0)
        return encode(message)

    sender = run.sender()
    monkeypatch.setattr(connection, "encode", collect_and_encode)
    gc.disable()
    try:
        Talkative(sender)
        sender.send([data(100), data(200)])
    finally:
        gc.enable()
    assert run.arrived() == [data(100), Stdout("last words\n"), data(200)]


# The end


def test_finish_sends_waiting_text_and_the_end_in_one_frame_without_credit(
    run: SenderStage, clock: list[float]
) -> None:
    sender = run.sender(window=1)
    sender.send([data(100)])
    sender.write("stdout", "last")
    sender.finish([data(500), Done(200, 1.0)])
    assert run.far.receive() == Output("a", (data(100),))
    assert run.far.receive() == Output("a", (Stdout("last"), data(500), Done(200, 1.0)))


def test_nothing_is_sent_after_finish(run: SenderStage, clock: list[float]) -> None:
    sender = run.sender()
    sender.write("stdout", "in time")
    sender.finish([Done(200, 1.0)])
    assert not sender.write("stdout", "too late\n")
    sender.send([data(100)])
    sender.flush()
    run.later()
    assert run.arrived() == [Stdout("in time"), Done(200, 1.0)]
    assert run.due == []


def test_a_sender_that_waits_is_released_by_credit_after_the_end(run: SenderStage) -> None:
    sender = run.sender(window=1)
    sender.finish([Done(200, 1.0)])
    sender.grant(-1)
    sender.send([data(100)])
    assert run.arrived() == [Done(200, 1.0)]
