"""owt.client.upload: bodies that are sent as they come."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from owt.client.upload import PART, parts, parts_async, split_body
from owt.errors import CannotSend


def numbers() -> Iterator[str]:
    yield from ("1", "2")


async def later() -> AsyncIterator[bytes]:
    yield b"1"
    yield b"2"
    yield b"x" * (PART + 1)


def all_async(body: Any) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [part async for part in parts_async(body)]

    return asyncio.run(collect())


@pytest.mark.parametrize("collect", [lambda body: list(parts(body)), all_async], ids=["sync", "async"])
def test_the_parts_of_a_body_are_bytes(collect):
    assert collect(iter([b"1", "é", memoryview(b"2"), bytearray(b"3")])) == [b"1", "é".encode(), b"2", b"3"]
    assert collect(numbers()) == [b"1", b"2"]
    assert collect(io.BytesIO(b"x" * (PART + 1))) == [b"x" * PART, b"x"]
    assert collect(io.StringIO("é")) == ["é".encode()]
    assert collect(iter([b"x" * (2 * PART + 1), "y"])) == [b"x" * PART, b"x" * PART, b"x", b"y"]
    with pytest.raises(CannotSend, match="data: the parts of a body are bytes or str; got 1"):
        collect(iter([1]))


def test_an_asynchronous_iterator_needs_an_asynchronous_client():
    assert all_async(later()) == [b"1", b"2", b"x" * PART, b"x"]
    with pytest.raises(CannotSend, match="needs an AsyncClient"):
        list(parts(later()))


@pytest.mark.parametrize(
    ("data", "is_body"),
    [(numbers(), True), (later(), True), (io.BytesIO(), True), (b"x", False), ([1], False), ("x", False)],
)
def test_iterators_and_open_files_are_bodies_and_other_values_are_arguments(data, is_body):
    kwargs = {"data": data, "n": 1}
    rest, body = split_body(kwargs)
    assert (rest, body) == (({"n": 1}, data) if is_body else (kwargs, None))
