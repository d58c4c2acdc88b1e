"""owt.cli.input: parts and lines of a file."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from owt.cli.input import PART, Lines, read_parts
from owt.client import RemoteError
from owt.errors import CannotSend


class Stream:
    """A stream that records what it gets, and raises `error` at the end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.items: list[Any] = []
        self.over = threading.Event()
        self._error = error

    def send_all(self, items: Iterable[Any]) -> None:
        self.items += items
        self.over.set()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.items.append("closed")
        self.over.set()


class Broken(io.RawIOBase):
    """A file whose disk has a fault after its first bytes."""

    def __init__(self) -> None:
        self._begun = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._begun:
            raise OSError(5, "Input/output error")
        self._begun = True
        return b"one"

    def readinto(self, buffer: Any, /) -> int:
        data = self.read()
        buffer[: len(data)] = data
        return len(data)


def sent(lines: Lines, stream: Stream) -> list[Any]:
    lines.send_to(stream)  # type: ignore[arg-type]
    assert stream.over.wait(60)
    return stream.items


@pytest.mark.parametrize(
    ("data", "parts"), [(b"a\nb", [b"a\nb"]), (bytes(PART + 1), [bytes(PART), b"\0"]), (b"", [])]
)
def test_parts_are_what_the_file_gives(data: bytes, parts: list[bytes]) -> None:
    assert list(read_parts(io.BytesIO(data))) == parts


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b"a\n\n\xc3\xa9\r\nb", ["a", "", "é\r", "b"]),
        (b"a\n", ["a"]),
        (b"\xff\nb", [b"\xff", "b"]),
        (b"", []),
    ],
)
def test_lines_have_no_ends(data: bytes, items: list[Any]) -> None:
    assert sent(Lines(io.BytesIO(data)), Stream()) == items


def test_a_file_that_breaks_is_an_error() -> None:
    parts = read_parts(Broken())
    assert next(parts) == b"one"
    with pytest.raises(CannotSend, match="--input: cannot be read: Input/output error"):
        next(parts)
    lines = Lines(Broken())
    assert sent(lines, Stream()) == ["closed"]
    assert str(lines.error) == "--input: cannot be read: Input/output error"


def test_a_failure_of_the_call_is_that_of_its_reader() -> None:
    lines = Lines(io.BytesIO(b"a"))
    assert sent(lines, Stream(RemoteError({"status": 500}))) == ["a"]
    assert lines.error is None
