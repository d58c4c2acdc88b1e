"""owt.frontend.kernels.connection: who gets through the door, and what may be said inside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from owt.frontend.kernels.connection import PREFACE_LIMIT, Door, LaneProtocol
from owt.testing import async_test
from owt.testing.kernel import new_call
from owt.wire.chunk import Done
from owt.wire.handshake import NONCE, Lane, Signer, preface
from owt.wire.messages import (
    FrameReader,
    FrameWriter,
    Hello,
    Invoke,
    Message,
    Output,
    RegisterEndpoints,
    Welcome,
)

KEY = b"the kernel's connection key"
WELCOME = Welcome("http://localhost:9876", "localhost", 9876)
OUTPUT = Output("a", (Done(200, 0.5),))


class PlayedGuest:
    """A kernel as the door knows it: notes what it is told."""

    def __init__(self) -> None:
        self.key = KEY
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.lanes: dict[Lane, LaneProtocol] = {}

    def welcome(self) -> Welcome:
        return WELCOME

    def connected(self, lane: Lane, connection: LaneProtocol) -> None:
        self.lanes[lane] = connection
        self.told.put_nowait(("connected", lane))

    def output(self, message: Output) -> None:
        self.told.put_nowait(message)

    def offered(self, message: RegisterEndpoints) -> None:
        self.told.put_nowait(message)

    def disconnected(self, lane: Lane) -> None:
        self.told.put_nowait(("disconnected", lane))


class Visitor:
    """Whoever connects to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nonce: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.nonce = nonce

    def sign(self, lane: Lane = "calls", key: bytes = KEY, nonce: bytes | None = None) -> None:
        signer = Signer(key, self.nonce if nonce is None else nonce, lane, frontend=False)
        self.frames = FrameWriter(signer.sending)
        self.messages = FrameReader(signer.receiving)

    def frame(self, message: Message) -> bytes:
        return bytes(self.frames.encode(message))

    async def receive(self) -> Message:
        while not (found := self.messages.feed(await self.reader.read(1 << 16))):
            assert not self.reader.at_eof()
        [message] = found
        return message

    async def is_thrown_out(self) -> bool:
        """Waits for the end of the connection; whether it came without another word."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Door, PlayedGuest, Callable[[], Any]]]:
    """A door that expects a kernel `k1`, and a function that connects to it."""
    writers: list[asyncio.StreamWriter] = []

    async def visit() -> Visitor:
        reader, writer = await asyncio.open_unix_connection(door.path)
        writers.append(writer)
        return Visitor(reader, writer, await reader.readexactly(NONCE))

    with TemporaryDirectory(prefix="owt-") as folder:
        door = Door(str(Path(folder) / "door"))
        await door.open()
        guest = PlayedGuest()
        door.expect("k1", guest)
        try:
            async with asyncio.timeout(20):
                yield door, guest, visit
        finally:
            door.close()
            for writer in writers:
                writer.transport.abort()
            for connection in guest.lanes.values():
                connection.close()
            await asyncio.sleep(0)


async def enter(visitor: Visitor, guest: PlayedGuest, lane: Lane = "calls") -> None:
    visitor.sign(lane)
    visitor.writer.write(preface("k1", lane) + visitor.frame(Hello("k1", lane, 1)))
    assert await guest.told.get() == ("connected", lane)
    assert await visitor.receive() == WELCOME


# Coming in


@pytest.mark.parametrize("lane", ["calls", "control"])
@async_test
async def test_an_expected_kernel_is_welcomed(lane: Lane) -> None:
    async with opened() as (_, guest, visit):
        await enter(await visit(), guest, lane)
        assert list(guest.lanes) == [lane]


@async_test
async def test_a_kernel_comes_in_by_both_lanes() -> None:
    async with opened() as (_, guest, visit):
        await enter(await visit(), guest, "control")
        await enter(await visit(), guest, "calls")
        assert list(guest.lanes) == ["control", "calls"]


@async_test
async def test_a_preface_may_come_byte_by_byte() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        visitor.sign()
        for byte in preface("k1", "calls") + visitor.frame(Hello("k1", "calls", 1)):
            visitor.writer.write(bytes([byte]))
            await visitor.writer.drain()
        assert await guest.told.get() == ("connected", "calls")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "began with b'GET / HTTP/1.1"),
        (b"owt1 k1 other\n", "began with"),
        (b"owt9 k1 calls\n", "began with"),
        (b"\n", "began with b''"),
        (b"\xff\xff\n", "began with"),
        (b"x" * (PREFACE_LIMIT + 1), "began with b'xxx"),
        (b"owt1 k2 calls\n", "no kernel 'k2' is expected"),
        (b"owt1 ../k1 calls\n", "no kernel '../k1' is expected"),
    ],
)
@async_test
async def test_whoever_begins_otherwise_is_thrown_out(line: bytes, said: str) -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        visitor.writer.write(line)
        assert await visitor.is_thrown_out()
        assert guest.told.empty()


@async_test
async def test_the_log_says_why_somebody_was_thrown_out(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (_, _, visit):
        visitor = await visit()
        visitor.writer.write(b"owt1 k2 calls\n")
        assert await visitor.is_thrown_out()
    assert "no kernel 'k2' is expected" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@async_test
async def test_a_kernel_that_is_expected_no_more_is_thrown_out() -> None:
    async with opened() as (door, guest, visit):
        forget = door.expect("k2", guest)
        forget()
        forget()
        visitor = await visit()
        visitor.writer.write(b"owt1 k2 calls\n")
        assert await visitor.is_thrown_out()
        assert door.expected("k1") is guest


@async_test
async def test_whoever_has_another_key_is_thrown_out() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        visitor.sign(key=b"another key")
        visitor.writer.write(preface("k1", "calls") + visitor.frame(Hello("k1", "calls", 1)))
        assert await visitor.is_thrown_out()
        assert guest.told.empty()


@async_test
async def test_what_was_recorded_on_one_connection_is_worth_nothing_on_another() -> None:
    async with opened() as (_, guest, visit):
        first = await visit()
        first.sign()
        recorded = preface("k1", "calls") + first.frame(Hello("k1", "calls", 1))
        first.writer.write(recorded)
        assert await guest.told.get() == ("connected", "calls")
        second = await visit()
        assert first.nonce != second.nonce
        second.writer.write(recorded)
        assert await second.is_thrown_out()
        assert guest.told.empty()


@pytest.mark.parametrize(
    "message",
    [Hello("k1", "control", 1), OUTPUT, WELCOME, Invoke("a", new_call())],
    ids=lambda m: type(m).__name__,
)
@async_test
async def test_the_first_message_is_the_right_hello(message: Message) -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        visitor.sign()
        visitor.writer.write(preface("k1", "calls") + visitor.frame(message))
        assert await visitor.is_thrown_out()
        assert guest.told.empty()


# Inside


@async_test
async def test_output_reaches_the_kernels_owner() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        visitor.writer.write(visitor.frame(OUTPUT) + visitor.frame(OUTPUT))
        assert [await guest.told.get(), await guest.told.get()] == [OUTPUT, OUTPUT]


@async_test
async def test_what_a_kernel_offers_reaches_its_owner_too() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        visitor.writer.write(visitor.frame(RegisterEndpoints(1, ())))
        assert await guest.told.get() == RegisterEndpoints(1, ())


@async_test
async def test_a_message_to_the_kernel_reaches_it() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        message = Invoke("a", new_call())
        guest.lanes["calls"].send(message)
        assert await visitor.receive() == message


@async_test
async def test_a_replayed_frame_ends_the_connection() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        frame = visitor.frame(OUTPUT)
        visitor.writer.write(frame)
        assert await guest.told.get() == OUTPUT
        visitor.writer.write(frame)
        assert await visitor.is_thrown_out()
        assert await guest.told.get() == ("disconnected", "calls")


@pytest.mark.parametrize(
    "message", [Hello("k1", "calls", 1), WELCOME, Invoke("a", new_call())], ids=lambda m: type(m).__name__
)
@async_test
async def test_a_message_out_of_place_ends_the_connection(message: Message) -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        visitor.writer.write(visitor.frame(message))
        assert await visitor.is_thrown_out()
        assert await guest.told.get() == ("disconnected", "calls")


@async_test
async def test_rubbish_ends_the_connection() -> None:
    async with opened() as (_, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        visitor.writer.write(b"\xff" * 100)
        assert await visitor.is_thrown_out()
        assert await guest.told.get() == ("disconnected", "calls")


@async_test
async def test_the_end_of_a_connection_is_told_once_and_only_of_guests() -> None:
    async with opened() as (_, guest, visit):
        stranger = await visit()
        stranger.writer.write(b"owt1 k1 calls\n")
        stranger.writer.close()
        visitor = await visit()
        await enter(visitor, guest, "control")
        visitor.writer.close()
        assert await guest.told.get() == ("disconnected", "control")
        assert guest.told.empty()
        # Whoever still holds the lane may send; nobody hears it.
        guest.lanes["control"].send(Invoke("a", new_call()))


@async_test
async def test_a_closed_door_lets_nobody_in_and_nobody_out() -> None:
    async with opened() as (door, guest, visit):
        visitor = await visit()
        await enter(visitor, guest)
        door.close()
        with pytest.raises(OSError, match=r"refused|No such file"):
            await visit()
        visitor.writer.write(visitor.frame(OUTPUT))
        assert await guest.told.get() == OUTPUT
