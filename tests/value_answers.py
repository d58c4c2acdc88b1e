"""Whole answers of the values of large libraries, without a server."""

from __future__ import annotations

from types import SimpleNamespace

from IPython.core.formatters import DisplayFormatter

from owt.kernel.answer.values import ValueEncoder, Whole
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Data, Head

SHELL = SimpleNamespace(display_formatter=DisplayFormatter())
FACTS = RequestFacts("GET", "/", "", (), b"", "localhost:9876")


def answer(value: object, accept: str) -> tuple[dict[str, str], bytes]:
    """Return headers and body for a client with this Accept header."""
    result = ValueEncoder(Call(FACTS, accept=accept), SHELL).classify(value)
    assert isinstance(result, Whole)
    head, *data = result.chunks
    assert isinstance(head, Head)
    return dict(head.headers), b"".join(chunk.body for chunk in data if isinstance(chunk, Data))
