"""owt.wire.unsent: output in memory that outlives a kernel."""

from __future__ import annotations

import os

import pytest

from owt.wire.unsent import REGION, SIZE, WAITING, Region, Unsent, UnsentOutput, find_unsent


@pytest.fixture
def memory() -> bytearray:
    return bytearray(SIZE)


@pytest.fixture
def unsent(memory: bytearray) -> UnsentOutput:
    return UnsentOutput(memoryview(memory))


def acquired(unsent: UnsentOutput) -> Region:
    region = unsent.acquire()
    assert region is not None
    return region


def left(memory: bytearray, received: int = 0) -> list[Unsent]:
    return list(find_unsent(bytes(memory), received))


def test_new_memory_has_no_output(memory: bytearray, unsent: UnsentOutput) -> None:
    assert left(memory) == []


def test_waiting_text_is_found_with_its_run_and_stream(memory: bytearray, unsent: UnsentOutput) -> None:
    region = acquired(unsent)
    region.begin("a1", "stderr")
    assert region.append(b"first ")
    assert region.append(b"second\0\0")
    assert left(memory) == [Unsent("a1", "stderr", b"first second\0\0")]


def test_bytes_of_a_pipe_are_in_memory_before_their_use(memory: bytearray, unsent: UnsentOutput) -> None:
    output, input = os.pipe()
    os.write(input, b"from C\n")
    assert unsent.reading["stdout"].read(output) == b"from C\n"
    assert left(memory) == [Unsent("", "stdout", b"from C\n")]
    unsent.reading["stdout"].clear()
    assert left(memory) == []
    for end in (output, input):
        os.close(end)


def test_text_whose_message_has_arrived_is_not_unsent(memory: bytearray, unsent: UnsentOutput) -> None:
    region = acquired(unsent)
    region.begin("a", "stdout")
    region.append(b"x")
    region.mark(8)
    assert left(memory, received=7) == [Unsent("a", "stdout", b"x")]
    assert left(memory, received=8) == []


def test_a_cleared_region_can_be_used_again(memory: bytearray, unsent: UnsentOutput) -> None:
    region = acquired(unsent)
    region.begin("a", "stdout")
    region.append(b"longer than what follows")
    region.mark(3)
    region.clear()
    assert left(memory) == []
    region.begin("b", "stdout")
    region.append(b"short")
    assert left(memory, received=100) == [Unsent("b", "stdout", b"short")]


def test_a_region_refuses_text_that_it_has_no_room_for(memory: bytearray, unsent: UnsentOutput) -> None:
    region = acquired(unsent)
    region.begin("a", "stdout")
    assert region.append(b"x")
    assert not region.append(bytes(REGION))
    assert left(memory) == [Unsent("a", "stdout", b"x")]


def test_regions_are_limited_and_used_again(unsent: UnsentOutput) -> None:
    regions = [acquired(unsent) for _ in range(WAITING)]
    assert unsent.acquire() is None
    unsent.release(regions[3])
    assert unsent.acquire() is regions[3]


@pytest.mark.parametrize("rubbish", [b"\xff", bytes(range(256)), b"\x01"])
def test_a_kernel_may_have_written_anything(rubbish: bytes) -> None:
    memory = (rubbish * SIZE)[:SIZE]
    for unsent in find_unsent(memory, received=5):
        assert len(unsent.text) < REGION
    assert list(find_unsent(memory[:10], received=0)) == []
