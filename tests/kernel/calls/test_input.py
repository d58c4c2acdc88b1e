"""owt.kernel.calls.input: items from the client of a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from frontend_side import ConnectionMaker, SenderStage

from owt.errors import BadRequest
from owt.kernel.calls.input import RunInput
from owt.kernel.calls.interrupts import InMainThread
from owt.kernel.calls.output_sender import OutputSender
from owt.testing import async_test, wait_until
from owt.wire.chunk import OVERHEAD
from owt.wire.messages import Credit, Input, Message, Output

WINDOW = 4 * (OVERHEAD + 100)


class InputStage(SenderStage):
    """Input of a run `a`, and the frontend's side of its connection."""

    def __init__(self, connections: ConnectionMaker) -> None:
        super().__init__(connections)
        self.output: OutputSender = self.sender(WINDOW)
        self.input = RunInput(self.output)

    def add(self, *items: bytes | str) -> None:
        for item in items:
            text = isinstance(item, str)
            self.input.add(Input("a", item.encode() if isinstance(item, str) else item, text))

    def messages(self) -> list[Message]:
        """Return what has been sent since the last call."""
        self.near.send(Output("end", ()))
        messages = []
        while (message := self.far.receive()) != Output("end", ()):
            messages.append(message)
        return messages


@pytest.fixture
def stage(connections: ConnectionMaker) -> InputStage:
    return InputStage(connections)


def test_next_item_returns_items_in_order_until_the_end(stage: InputStage) -> None:
    stage.add(b"one", "two é", b"", "")
    stage.input.end(None)
    assert [stage.input.next_item() for _ in range(6)] == [b"one", "two é", b"", "", None, None]


@async_test
async def test_next_item_async_returns_the_same(connections: ConnectionMaker) -> None:
    stage = InputStage(connections)
    reading = asyncio.create_task(stage.input.next_item_async())
    await asyncio.sleep(0)
    stage.add(b"one", "two")
    assert await reading == b"one"
    assert await stage.input.next_item_async() == "two"
    reading = asyncio.create_task(stage.input.next_item_async())
    await asyncio.sleep(0)
    stage.input.end(None)
    assert await reading is None


def test_nothing_is_requested_before_the_first_look(stage: InputStage) -> None:
    stage.add(b"early")
    assert stage.messages() == []


def test_the_first_look_requests_a_window_and_each_quarter_is_returned(stage: InputStage) -> None:
    with ThreadPoolExecutor(1) as threads:
        item = threads.submit(stage.input.next_item)
        assert stage.far.receive() == Credit("a", WINDOW)
        stage.add(b"x")
        assert item.result() == b"x"
    stage.add(b"y" * 98, b"z")
    stage.input.next_item()
    assert stage.messages() == [Credit("a", 2 * OVERHEAD + 99)]
    stage.input.next_item()
    assert stage.messages() == []


def test_no_credit_is_returned_after_the_end(stage: InputStage) -> None:
    stage.add(b"x" * WINDOW)
    stage.input.end(None)
    stage.input.next_item()
    assert stage.input.next_item() is None
    assert stage.messages() == []


def test_a_broken_sender_raises_after_the_items_before(stage: InputStage) -> None:
    stage.add(b"half")
    stage.input.end("broke off")
    assert stage.input.next_item() == b"half"
    for _ in range(2):
        with pytest.raises(BadRequest, match="body: broke off"):
            stage.input.next_item()


def test_a_closed_input_drops_its_items_and_raises(stage: InputStage) -> None:
    stage.add(b"unread")
    stage.input.close()
    stage.add(b"late")
    with pytest.raises(RuntimeError, match="the input of this call is gone, because the call has ended"):
        stage.input.next_item()


def test_the_end_of_the_run_ends_a_wait_in_another_thread(stage: InputStage) -> None:
    with ThreadPoolExecutor(1) as threads:
        item = threads.submit(stage.input.next_item)
        stage.far.receive()
        stage.input.close()
        with pytest.raises(RuntimeError):
            item.result()


def test_threads_share_the_items_and_the_credit(stage: InputStage) -> None:
    items: list[bytes | str] = []
    credit = 0

    def take_all() -> None:
        while (item := stage.input.next_item()) is not None:
            items.append(item)

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(take_all) for _ in range(4)]
        for number in range(200):
            while credit <= 0:
                message = stage.far.receive()
                assert isinstance(message, Credit)
                credit += message.size
            item = Input("a", b"%d" % number)
            credit -= item.size
            stage.input.add(item)
        stage.input.end(None)
        for reader in readers:
            reader.result()
    assert sorted(map(int, items)) == list(range(200))


def test_a_cancel_ends_a_wait_in_another_thread(stage: InputStage) -> None:
    with ThreadPoolExecutor(1) as threads:
        item = threads.submit(stage.input.next_item)
        stage.far.receive()
        stage.output.stop("cancelled")
        with pytest.raises(KeyboardInterrupt):
            item.result()


def interrupting(
    stage: InputStage, condition: Callable[[], object]
) -> tuple[threading.Thread, threading.Event]:
    """Return a thread that interrupts the main thread when `condition` holds, until the event is set."""
    ended = threading.Event()

    def interrupt() -> None:
        wait_until(condition)
        # A signal that arrives just before the main thread starts to wait does not end the wait.
        while not ended.wait(0.01):
            stage.interrupts.interrupt("a")

    return threading.Thread(target=interrupt), ended


def test_an_interrupt_ends_a_wait_of_the_main_thread(stage: InputStage, sigint: None) -> None:
    stage.interrupts.install()
    stage.interrupts.begin("a")
    thread, ended = interrupting(stage, lambda: stage.far.receive() == Credit("a", WINDOW))
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), InMainThread(stage.interrupts, None):  # type: ignore[arg-type]
            stage.input.next_item()
    finally:
        ended.set()
        thread.join()
    stage.add(b"later")
    assert stage.input.next_item() == b"later"
