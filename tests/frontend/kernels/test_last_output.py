"""owt.frontend.kernels.last_output: what a kernel had written when it died."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Iterator

import pytest

from owt.frontend.kernels.last_output import MAX_READ, LastOutput, Notes
from owt.kernel.calls.handover import FrontendEnd
from owt.testing import async_test, settle
from owt.wire.chunk import Stderr, Stdout
from owt.wire.messages import Output
from owt.wire.unsent import SIZE


class KernelSide:
    """The kernel's side: its memory, and pipes of which it hands over the ends for reading."""

    def __init__(self, channel: socket.socket) -> None:
        _, [memory], _, _ = socket.recv_fds(channel, 1, 1)
        self.channel = channel
        self.end = FrontendEnd(mmap.mmap(memory, SIZE), channel)
        os.close(memory)

    def redirect(self, number: int) -> int:
        """Keep only the end for writing of a new pipe behind descriptor `number`, and return it."""
        output, input = os.pipe()
        self.end.keep(number, output)
        os.close(output)
        return input


def started() -> tuple[LastOutput, KernelSide]:
    last_output = LastOutput()
    return last_output, KernelSide(last_output.hand_over())


@pytest.fixture
def descriptors() -> Iterator[None]:
    before = len(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) == before


@async_test
async def test_text_of_runs_and_text_in_pipes_is_returned() -> None:
    last_output, kernel = started()
    region = kernel.end.unsent.acquire()
    assert region is not None
    region.begin("a", "stdout")
    region.append(b"printed\n")
    kernel.end.unsent.reading["stderr"].append(b"read\n")
    for number, text in ((1, b"out\n"), (2, b"Fatal \xe2")):
        input = kernel.redirect(number)
        os.write(input, text)
        os.close(input)
    outputs, rest = last_output.read(received=0)
    assert outputs == [Output("a", (Stdout("printed\n"),))]
    assert rest == [Stdout("out\n"), Stderr("read\nFatal \ufffd")]
    last_output.close()
    kernel.channel.close()


@async_test
async def test_a_renewed_pipe_replaces_the_earlier_one() -> None:
    last_output, kernel = started()
    first = kernel.redirect(1)
    os.write(first, b"of an earlier run")
    await settle()
    second = kernel.redirect(1)
    await settle()
    os.write(second, b"of this run")
    # The first pipe has no reader any more.
    with pytest.raises(BrokenPipeError):
        os.write(first, b"x")
    assert last_output.read(received=0) == ([], [Stdout("of this run")])
    for end in (first, second):
        os.close(end)
    last_output.close()
    kernel.channel.close()


@async_test
async def test_a_pipe_that_a_child_still_writes_to_is_not_waited_for() -> None:
    last_output, kernel = started()
    child = kernel.redirect(2)
    os.write(child, b"so far")
    assert last_output.read(received=0) == ([], [Stderr("so far")])
    assert MAX_READ >= 64 * 1024
    os.close(child)
    last_output.close()
    kernel.channel.close()


@async_test
async def test_the_end_of_the_kernel_closes_the_channel_and_close_the_rest() -> None:
    before = len(os.listdir("/dev/fd"))
    last_output, kernel = started()
    os.close(kernel.redirect(1))
    kernel.channel.close()
    await settle()
    assert last_output.read(received=0) == ([], [])
    last_output.close()
    del kernel
    assert len(os.listdir("/dev/fd")) == before


@async_test
async def test_notes_are_read_from_the_memory() -> None:
    output = LastOutput()
    memory = output.descriptors[1]
    assert Notes.read(memory) == (0, 0.0, bytes(16))
    output.note_edition(b"0123456789abcdef")
    assert Notes.read(memory) == (0, 0.0, b"0123456789abcdef")
    output.note_call()
    calls, last_call, edition = Notes.read(memory)
    assert (calls, edition) == (1, b"0123456789abcdef")
    assert output.usage() == (1, last_call)
    output.note_edition(b"")
    assert Notes.read(memory) == (1, last_call, bytes(16))
    output.close()
    assert output.usage() == (0, 0.0)
