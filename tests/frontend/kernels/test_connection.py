"""owt.frontend.kernels.connection: the frontend's side of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from owt.errors import WireError
from owt.frontend.kernels.connection import SOCKET_BUFFER, WRITE_SIZE, KernelConnection, joined
from owt.testing import async_test
from owt.testing.kernel import new_call
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Data, Done
from owt.wire.messages import Bind, Hello, Invoke, Message, Output, Pong, encode, message_decoder

OUTPUT = Output("a", (Done(200, 0.5),))


class Recorder:
    """Handler that records its messages; it refuses `Bind`."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Message | str] = asyncio.Queue()
        self.error: WireError | None = None

    def received(self, message: Message) -> None:
        if isinstance(message, Bind):
            raise WireError("Bind is out of order")
        self.events.put_nowait(message)

    def disconnected(self, error: WireError | None) -> None:
        self.events.put_nowait("disconnected")
        self.error = error


class KernelSide:
    """The kernel's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = message_decoder()

    def send(self, *messages: Message) -> None:
        self.writer.writelines(buffer for message in messages for buffer in encode(message))

    async def receive(self) -> list[Message]:
        while not (messages := self._decoder.feed(await self.reader.read(1 << 16))):
            assert not self.reader.at_eof()
        return messages


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[KernelConnection, Recorder, KernelSide]]:
    handler = Recorder()
    connection, kernel_side = await KernelConnection.open(handler)
    kernel = KernelSide(*await asyncio.open_unix_connection(sock=kernel_side))
    try:
        async with asyncio.timeout(20):
            yield connection, handler, kernel
    finally:
        connection.close()
        kernel.writer.close()
        with contextlib.suppress(ConnectionError):
            await kernel.writer.wait_closed()


@async_test
async def test_messages_of_the_kernel_reach_the_handler() -> None:
    async with connected() as (_, handler, kernel):
        kernel.send(Hello(), OUTPUT)
        assert [await handler.events.get(), await handler.events.get()] == [Hello(), OUTPUT]


@async_test
async def test_a_message_reaches_the_kernel() -> None:
    async with connected() as (connection, _, kernel):
        connection.send(Invoke("a", new_call()))
        assert await kernel.receive() == [Invoke("a", new_call())]


@async_test
async def test_a_message_can_be_sent_before_the_kernel_reads() -> None:
    connection, kernel_side = await KernelConnection.open(Recorder())
    connection.send(OUTPUT)
    with kernel_side:
        assert message_decoder().feed(kernel_side.recv(1000)) == [OUTPUT]
    connection.close()


def large(size: int) -> Invoke:
    body = random.Random(size).randbytes(size)
    return Invoke("a", Call(RequestFacts("POST", "/", "", (), body, "h"), code="x"))


@pytest.mark.parametrize("size", [WRITE_SIZE, WRITE_SIZE + 1, 30 * WRITE_SIZE])
@async_test
async def test_a_large_message_arrives_before_those_sent_after_it(size: int) -> None:
    async with connected() as (connection, _, kernel):
        sent = [large(size), Bind("s", 1), large(size), OUTPUT]
        for message in sent:
            connection.send(message)
        received: list[Message] = []
        while len(received) < len(sent):
            received += await kernel.receive()
        assert received == sent


@async_test
async def test_a_large_message_to_a_kernel_that_does_not_read_is_not_copied() -> None:
    async with connected() as (connection, _, _):
        connection.send(large(30 * WRITE_SIZE))
        transport = connection._transport
        assert transport is not None
        assert transport.get_write_buffer_size() <= WRITE_SIZE


@async_test
async def test_messages_sent_later_are_written_together_and_before_those_sent_after_them() -> None:
    async with connected() as (connection, _, kernel):
        for session in "abc":
            connection.send(Bind(session, 1), later=True)
        assert connection.sent == 3
        assert await kernel.receive() == [Bind(session, 1) for session in "abc"]
        connection.send(Bind("d", 1), later=True)
        connection.send(Bind("e", 1))
        assert await kernel.receive() == [Bind("d", 1), Bind("e", 1)]


@async_test
async def test_a_message_out_of_order_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (_, handler, kernel):
        kernel.send(Bind("s", 1), OUTPUT)
        assert await kernel.reader.read() == b""
        assert await handler.events.get() == "disconnected"
        assert str(handler.error) == "Bind is out of order"
    assert "a kernel's connection is closed: Bind is out of order" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@async_test
async def test_bytes_that_are_no_frame_end_the_connection() -> None:
    async with connected() as (_, handler, kernel):
        kernel.writer.write(b"\xff" * 100)
        assert await kernel.reader.read() == b""
        assert await handler.events.get() == "disconnected"


@async_test
async def test_the_end_of_the_connection_is_reported_once() -> None:
    async with connected() as (connection, handler, kernel):
        kernel.writer.close()
        assert await handler.events.get() == "disconnected"
        connection.send(OUTPUT)
        connection.close()
        await asyncio.sleep(0)
        assert handler.events.empty()


@async_test
async def test_the_handler_learns_of_the_end_before_the_socket_is_closed() -> None:
    """The handler kills the kernel first: a kernel whose connection ends would clean up after the server."""
    order: list[str] = []

    class Looking(Recorder):
        def disconnected(self, error: WireError | None) -> None:
            order.append("handled")
            kernel_side.setblocking(False)
            with pytest.raises(BlockingIOError):
                kernel_side.recv(1)
            super().disconnected(error)

    handler = Looking()
    connection, kernel_side = await KernelConnection.open(handler)
    connection.close()
    assert await handler.events.get() == "disconnected"
    await asyncio.sleep(0)
    assert kernel_side.recv(1) == b""
    kernel_side.close()
    assert order == ["handled"]


@async_test
async def test_each_side_can_write_ahead_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    default, other = socket.socketpair()
    monkeypatch.setattr(socket, "socketpair", lambda: (default, other))
    with socket.socket(socket.AF_UNIX) as limited:
        # The system's own limit may be lower (net.core.wmem_max).
        limited.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        size = limited.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    connection, kernel_side = await KernelConnection.open(Recorder())
    with kernel_side:
        for side in (default, other):
            assert side.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == size
        connection.close()
        await connection.ended.wait()


@pytest.mark.parametrize("count", [1, 3])
def test_successive_outputs_of_a_run_are_joined(count: int) -> None:
    chunks = [Data(b"%d" % number, "bytes") for number in range(count)]
    of_a = [Output("a", (chunk,)) for chunk in chunks]
    of_b = Output("b", (Done(200, 0.5),))
    messages: list[Message] = [*of_a, of_b, Pong(), Pong(), *of_a]
    all_of_a = Output("a", tuple(chunks))
    assert list(joined(messages)) == [all_of_a, of_b, Pong(), Pong(), all_of_a]
