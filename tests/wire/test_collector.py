"""Collector of bytes: one block of the announced size, allocated once."""

import ctypes
import mmap
import sys
import tracemalloc

import pytest

from owt.wire import collector
from owt.wire.collector import HEADROOM, HUGE_BLOCK, HUGE_HEADROOM, Collector


@pytest.mark.parametrize("announced", [0, 100, 10_000])
@pytest.mark.parametrize("parts", [[], [b"one"], [b"one", b"", b"two"], [b"%d" % n * 20 for n in range(250)]])
def test_the_value_is_all_parts_in_order(announced: int, parts: list[bytes]) -> None:
    collected = Collector(announced)
    for part in parts:
        collected.add(memoryview(part))
    assert collected.value() == b"".join(parts)
    assert collected.value() == b"".join(parts)


def test_a_part_may_be_changed_after_it_was_added() -> None:
    part = bytearray(b"one")
    collected = Collector(6)
    for text in (b"one", b"two"):
        part[:] = text
        collected.add(memoryview(part))
    part[:] = b"..."
    assert collected.value() == b"onetwo"


def test_the_announced_size_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        collected = Collector(100_000_000)
        for _ in range(10):
            collected.add(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_whole_is_not_copied() -> None:
    size, part = 20_000_000, bytes(100_000)
    tracemalloc.start()
    try:
        collected = Collector(size)
        for _ in range(size // len(part)):
            collected.add(part)
        value = collected.value()
        assert tracemalloc.get_traced_memory()[1] < size + size // HEADROOM + 1_000_000
    finally:
        tracemalloc.stop()
    assert len(value) == size


def test_a_huge_block_is_allocated_early() -> None:
    part = bytes(HUGE_BLOCK // HUGE_HEADROOM)
    tracemalloc.start()
    try:
        collected = Collector(HUGE_BLOCK)
        collected.add(part)
        collected.add(part)
        assert tracemalloc.get_traced_memory()[0] > HUGE_BLOCK
    finally:
        tracemalloc.stop()
    assert collected.value() == part + part


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are Linux's")
def test_a_large_block_uses_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    advised: list[tuple[int, int, int]] = []

    class Libc:
        def madvise(self, start: ctypes.c_void_p, size: ctypes.c_size_t, advice: int) -> None:
            advised.append((start.value or 0, size.value, advice))

    monkeypatch.setattr(collector, "HUGE_BLOCK", 1_000_000)
    monkeypatch.setattr(collector, "_libc", Libc)
    collected = Collector(1_000_000)
    for _ in range(10):
        collected.add(bytes(100_000))
    value = collected.value()
    [(start, size, advice)] = advised
    address = id(value) + sys.getsizeof(value) - len(value) - 1
    assert start % mmap.PAGESIZE == 0
    assert 0 <= start - address < mmap.PAGESIZE
    assert start + size == address + len(value)
    assert advice == mmap.MADV_HUGEPAGE
