"""owt.cli.input: items of a file, and the end of sending."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from owt.cli.input import PART, Input
from owt.client import RemoteError
from owt.errors import CannotSend


class Stream:
    """A stream that records what it gets, and raises `error` at the first item."""

    def __init__(self, error: Exception | None = None) -> None:
        self.items: list[Any] = []
        self.over = threading.Event()
        self._error = error

    def send(self, item: Any) -> None:
        if self._error is not None:
            self.over.set()
            raise self._error
        self.items.append(item)

    def end(self) -> None:
        self.items.append("end")
        self.over.set()

    def close(self) -> None:
        self.items.append("closed")
        self.over.set()


class Broken(io.RawIOBase):
    """A file whose disk has a fault after its first bytes."""

    def __init__(self) -> None:
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        if self._begun:
            raise OSError(5, "Input/output error")
        self._begun = True
        return b"one"


def sent(source: Input, stream: Stream) -> list[Any]:
    source.send_to(stream)  # type: ignore[arg-type]
    assert stream.over.wait(60)
    return stream.items


@pytest.mark.parametrize(
    ("data", "lines", "items"),
    [
        (b"a\nb", False, [b"a\nb"]),
        (bytes(PART + 1), False, [bytes(PART), b"\0"]),
        (b"", False, []),
        (b"a\n\n\xc3\xa9\r\nb", True, ["a", "", "é\r", "b"]),
        (b"a\n", True, ["a"]),
        (b"\xff\nb", True, [b"\xff", "b"]),
    ],
)
def test_parts_or_lines_are_sent_until_the_end(data: bytes, lines: bool, items: list[Any]) -> None:
    assert sent(Input(io.BytesIO(data), lines), Stream()) == [*items, "end"]


def test_a_file_that_breaks_closes_the_stream() -> None:
    source = Input(Broken(), False)
    assert sent(source, Stream()) == [b"one", "closed"]
    assert str(source.error) == "--input: cannot be read: Input/output error"


@pytest.mark.parametrize("error", [CannotSend("over"), RemoteError({"status": 500})])
def test_sending_ends_with_the_call(error: Exception) -> None:
    source = Input(io.BytesIO(b"a"), False)
    assert sent(source, Stream(error)) == []
    assert source.error is None
