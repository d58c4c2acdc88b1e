"""owt.kernel.body: bodies of requests as streams."""

from __future__ import annotations

import io
from collections import deque

import pytest

from owt.kernel.body import PART, InputStream, Messages, WholeBody
from owt.testing import async_test

PARTS = [b"one\ntw", b"", b"o\n\nthr", b"ee"]
TEXT = b"".join(PARTS)


class FakeItems:
    """Input with these items."""

    def __init__(self, *items: bytes | str) -> None:
        self.whole: bytes | None = None
        self.items = deque(items)

    def next_item(self) -> bytes | str | None:
        return self.items.popleft() if self.items else None

    async def next_item_async(self) -> bytes | str | None:
        return self.next_item()


@async_test
async def test_messages_are_the_items_for_both_kinds_of_loops():
    items = (b"one", "", "two", b"")
    assert list(Messages(FakeItems(*items))) == list(items)
    assert [item async for item in Messages(FakeItems(*items))] == list(items)


def stream(*items: bytes | str) -> InputStream:
    return InputStream(FakeItems(*(items or PARTS)))


@pytest.mark.parametrize("new", [stream, lambda: WholeBody(TEXT)])
def test_a_body_is_read_by_lines_or_whole(new):
    assert list(new()) == [b"one\n", b"two\n", b"\n", b"three"]
    assert new().read() == new().read(None) == TEXT
    body = new()
    assert (body.readline(2), body.readline(100), body.readline(0)) == (b"on", b"e\n", b"")
    assert body.read() == b"two\n\nthree"
    assert (body.read(), body.read(5), body.readline()) == (b"", b"", b"")


def test_read_returns_what_has_come():
    body = stream()
    sizes = (4, 100, 2, 0, 100, 100, 100)
    assert [body.read(size) for size in sizes] == [b"one\n", b"tw", b"o\n", b"", b"\nthr", b"ee", b""]


def test_a_part_is_returned_without_a_copy():
    part = b"x" * 1000
    assert stream(part).read(1000) is part
    assert stream(part).read() is part


def test_a_stream_is_a_file_for_libraries():
    assert io.BufferedReader(stream()).read(7) == TEXT[:7]
    assert list(io.TextIOWrapper(io.BufferedReader(stream()))) == ["one\n", "two\n", "\n", "three"]
    buffer = bytearray(4)
    assert (stream().readinto(buffer), bytes(buffer)) == (4, b"one\n")
    assert stream().readable()
    assert not stream().seekable()


def test_text_is_read_as_utf_8():
    assert stream("é", b"!").read() == "é!".encode()


@async_test
async def test_parts_come_one_by_one():
    body = stream(*PARTS, "é")
    assert body.read(2) == b"on"
    assert [part async for part in body] == [b"e\ntw", b"o\n\nthr", b"ee", "é".encode()]
    assert [part async for part in WholeBody(b"x" * (PART + 1))] == [b"x" * PART, b"x"]
    assert [part async for part in WholeBody(b"")] == []


def test_streams_of_one_input_share_what_comes_unless_one_reads_all_of_it():
    items = FakeItems(*PARTS)
    first, second = InputStream(items), InputStream(items)
    assert (first.read(3), second.read(), first.read()) == (b"one", b"o\n\nthree", b"\ntw")
    items = FakeItems(*PARTS)
    first, second = InputStream(items), InputStream(items)
    assert (first.read(), first.read(), second.read(), second.read()) == (TEXT, b"", TEXT, b"")
