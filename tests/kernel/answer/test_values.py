"""owt.kernel.answer.values: values to chunks."""

from __future__ import annotations

import asyncio
import base64
import collections
import csv
import dataclasses
import enum
import io
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, MagicMock, Mock, NonCallableMagicMock

import flask
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import werkzeug
import werkzeug.sansio.response
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from werkzeug.datastructures import FileStorage

from owt.kernel.answer.bodies import HTML, JSON, JSON_LINES, MAX_PIECE
from owt.kernel.answer.files import FILE_BLOCK
from owt.kernel.answer.values import AsyncStream, Stream, ValueEncoder, Whole
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Head

OCTETS = "application/octet-stream"
VARY = ("Vary", "Accept")
PNG = b"\x89PNG\r\n\x1a\n"
FACTS = RequestFacts("GET", "/", "", (), b"", "localhost:9876")
SHELL = SimpleNamespace(display_formatter=DisplayFormatter())


def answer(*, accept: str = "*/*", sse: bool = False) -> ValueEncoder:
    return ValueEncoder(Call(FACTS, accept=accept, sse=sse), SHELL)


def whole(value: object, *, accept: str = "*/*", sse: bool = False) -> list[Chunk]:
    """Return the chunks of a value that is answered as a whole."""
    result = answer(accept=accept, sse=sse).classify(value)
    assert isinstance(result, Whole)
    return list(result.chunks)


def streamed(value: object, *, accept: str = "*/*", sse: bool = False) -> list[Chunk]:
    """Return the chunks of a stream, iterated as the execution does it."""
    to = answer(accept=accept, sse=sse)
    result = to.classify(value)
    assert isinstance(result, Stream)
    chunks: list[Chunk] = []
    while True:
        try:
            item = next(result.items)
        except StopIteration as stop:
            chunks += to.finish(stop.value)
            break
        chunks += to.item(item)
    if result.close is not None:
        result.close()
    return chunks


def head(content_type: str = HTML, status: int = 200) -> Head:
    return Head(status, (("Content-Type", content_type),))


def negotiated(content_type: str, status: int = 200, *, kind: str | None = None) -> Head:
    kinds = () if kind is None else (("Owt-Value", kind),)
    return Head(status, (("Content-Type", content_type), VARY, *kinds))


def body(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.body for chunk in chunks if isinstance(chunk, Data))


class Color(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    text: str
    number: int


class Name(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int = 1


class Represented:
    def _repr_html_(self) -> str:
        return "<b>"

    def _repr_png_(self) -> bytes:
        return PNG


class ShownDict(dict[str, int]):
    def _repr_html_(self) -> str:
        return "<dl>"


class Chart:
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"application/vnd.vegalite.v5+json": {"mark": "bar"}, "text/plain": "chart"}


class Word(str):
    def __str__(self) -> str:
        return "something else"


class TestWhole:
    """Values that are answered as a whole."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("hällo", "hällo"),
            ("", ""),
            (Word("word"), "word"),
            (Name.RED, "red"),
            (42, "42"),
            (1.5, "1.5"),
            (float("nan"), "nan"),
            (True, "True"),
            (np.int64(7), "7"),
            (np.float64(0.1), "0.1"),
            (np.longdouble(0.5), "0.5"),
            (np.bool_(False), "False"),
            (np.str_("s"), "s"),
        ],
    )
    def test_text_and_numbers_are_html_text(self, value: object, text: str) -> None:
        assert whole(value) == [negotiated(HTML), Data(text.encode(), "text", result=True)]

    @pytest.mark.parametrize(
        "value", [b"a\xffb", bytearray(b"a\xffb"), memoryview(b"a\xffb"), np.bytes_(b"a\xffb")], ids=type
    )
    def test_bytes_are_sent_unchanged(self, value: object) -> None:
        assert whole(value) == [head(OCTETS), Data(b"a\xffb", "bytes", result=True)]

    def test_a_strided_memoryview_is_sent_as_its_bytes(self) -> None:
        assert body(whole(memoryview(b"abcd")[::2])) == b"ac"

    def test_none_has_no_body(self) -> None:
        assert whole(None) == [negotiated(HTML)]

    def test_none_is_a_null_result_for_events(self) -> None:
        assert whole(None, sse=True) == [head(), Data(b"null", "json", result=True)]

    def test_nat_is_answered_as_null(self) -> None:
        assert whole(np.datetime64("NaT", "s")) == [negotiated(HTML)]

    @pytest.mark.parametrize(
        ("value", "document"),
        [
            ({"a": [1, None]}, '{"a":[1,null]}'),
            ([1, "x"], '[1,"x"]'),
            ((1, 2, 3), "[1,2,3]"),
            ((), "[]"),
            (("body", 42), '["body",42]'),
            (("body", 600), '["body",600]'),
            (("body", True), '["body",true]'),
            ({1}, "[1]"),
            (frozenset({1}), "[1]"),
            (range(3), "[0,1,2]"),
            ({"a": 1}.items(), '[["a",1]]'),
            (collections.Counter("aa"), '{"a":2}'),
            (Pair("b", 404), '["b",404]'),
            (Point(), '{"x":1}'),
            (Color.RED, '"red"'),
            (Level.HIGH, "3"),
            (1j, '"1j"'),
            (np.complex128(1j), '"1j"'),
            (np.datetime64("2026-01-02"), '"2026-01-02"'),
            (pd.Timestamp("2026-01-02"), '"2026-01-02T00:00:00"'),
            (pd.Index([1, 2]), "[1,2]"),
        ],
    )
    def test_documents_are_compact_json(self, value: object, document: str) -> None:
        assert whole(value) == [head(JSON), Data(document.encode(), "json", result=True)]

    def test_json_does_not_depend_on_the_accept_header(self) -> None:
        assert whole({"a": 1}, accept="text/html")[0] == head(JSON)

    @pytest.mark.parametrize(
        "value",
        [object(), Point, print, NotImplemented, ValueError("x")],
        ids=lambda value: type(value).__name__,
    )
    def test_an_unsupported_value_is_an_error_that_names_its_type(self, value: object) -> None:
        to = answer()
        with pytest.raises(TypeError, match=type(value).__qualname__):
            to.classify(value)
        assert list(to.finish()) == [head()], "an answer that failed had given a head"

    def test_the_error_for_an_unsupported_value_lists_the_supported_ones(self) -> None:
        with pytest.raises(TypeError, match="cannot answer with a value of type type; return str, bytes"):
            whole(Point)

    def test_text_with_a_lone_surrogate_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="lone surrogate"):
            whole("\ud800")

    def test_a_cyclic_value_is_an_error(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(ValueError, match="contains itself"):
            whole(value)

    def test_the_encoders_status_is_200_until_the_head(self) -> None:
        to = answer()
        assert to.status == 200
        to.classify(("x", 418))
        assert to.status == 418


class TestResponseTuples:
    """A body with a status, headers or both."""

    def test_a_response_tuple_with_a_status_sets_it(self) -> None:
        assert whole(("made", 201)) == [negotiated(HTML, 201), Data(b"made", "text", result=True)]

    def test_headers_come_after_the_default_type(self) -> None:
        assert whole(({"a": 1}, {"X-A": 7}))[0] == Head(200, (("Content-Type", JSON), ("X-A", "7")))

    @pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
    def test_a_content_type_of_the_adaptor_replaces_the_default(self, name: str) -> None:
        assert whole(("a,b", 200, {name: "text/csv"}))[0] == Head(200, ((name, "text/csv"),))

    def test_headers_may_be_repeated(self) -> None:
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        assert whole(("x", cookies))[0] == Head(200, (("Content-Type", HTML), *cookies, VARY))

    def test_none_in_a_response_tuple_is_an_empty_body(self) -> None:
        assert whole((None, 404)) == [negotiated(HTML, 404)]

    def test_a_tuple_inside_of_a_value_is_a_json_list(self) -> None:
        assert whole((("x", 404), 201)) == [head(JSON, 201), Data(b'["x",404]', "json", result=True)]

    @pytest.mark.parametrize("status", [204, 304])
    @pytest.mark.parametrize("sse", [False, True])
    @pytest.mark.parametrize("value", ["x", None, {"a": 1}])
    def test_statuses_without_a_body_have_none(self, status: int, sse: bool, value: object) -> None:
        assert [type(chunk) for chunk in whole((value, status), sse=sse)] == [Head]

    def test_a_content_length_of_a_whole_body_is_left_to_the_frontend(self) -> None:
        assert whole(("abc", {"content-length": "99"}))[0] == negotiated(HTML)

    def test_a_content_length_of_a_stream_is_kept(self) -> None:
        chunks = streamed((iter([b"abc"]), {"Content-Length": 3}))
        assert chunks[0] == Head(200, (("Content-Type", OCTETS), ("Content-Length", "3")))

    def test_a_header_that_http_cannot_carry_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="header X-A: "):
            whole(("x", {"X-A": "1\r\nX-B: 2"}))

    @pytest.mark.parametrize(
        ("headers", "limit"),
        [
            ([("X-A", "1")] * 100_000, "at most 500 headers; got 100000"),
            ({"X-A": "1" * 100_000}, "at most 65536 characters"),
        ],
    )
    def test_more_headers_than_an_answer_has_are_an_error(self, headers: Any, limit: str) -> None:
        with pytest.raises(ValueError, match=limit):
            whole(("x", headers))

    def test_a_stream_may_have_status_and_headers(self) -> None:
        chunks = streamed((iter(["a", "b"]), 202, {"Content-Type": "text/event-stream"}))
        assert chunks == [
            Head(202, (("Content-Type", "text/event-stream"),)),
            Data(b"a", "text"),
            Data(b"b", "text"),
        ]

    @pytest.mark.parametrize("status", [204, 304])
    def test_a_stream_with_a_status_without_body_runs_and_sends_none(self, status: int) -> None:
        ran = []

        def run() -> Iterator[str]:
            ran.append(1)
            yield "a"
            ran.append(2)

        assert streamed((run(), status)) == [head(status=status)]
        assert ran == [1, 2]

    def test_a_content_type_of_the_adaptor_chooses_the_representation(self) -> None:
        figure = Figure(figsize=(1, 1))
        chunks = whole((figure, {"content-type": "image/svg+xml"}), accept="image/png")
        assert chunks[0] == Head(200, (("content-type", "image/svg+xml"),))
        assert body(chunks).startswith(b"<?xml")


class TestStreams:
    """Values that are answered item by item."""

    def test_text_and_bytes_are_streamed_as_html(self) -> None:
        def run() -> Iterator[object]:
            yield "ä"
            yield b"\xff"
            yield bytearray(b"b")
            yield memoryview(b"m")
            yield ""

        assert streamed(run()) == [
            head(),
            Data("ä".encode(), "text"),
            *(Data(b"\xff", "bytes"), Data(b"b", "bytes"), Data(b"m", "bytes"), Data(b"", "text")),
        ]

    def test_other_items_are_streamed_as_json_lines(self) -> None:
        items = [{"a": 1}, [1], 7, 1.5, True, None, (1, 404), np.int64(3), np.array([1]), Point(), Color.RED]
        chunks = streamed(iter(items))
        documents = [
            *('{"a":1}', "[1]", "7", "1.5", "true", "null", "[1,404]", "3", "[1]", '{"x":1}', '"red"')
        ]
        assert chunks == [head(JSON_LINES), *(Data(text.encode(), "json") for text in documents)]

    def test_the_first_item_decides_the_content_type(self) -> None:
        assert streamed(iter(["a", {"b": 1}])) == [head(), Data(b"a", "text"), Data(b'{"b":1}', "json")]

    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            ([1, "a", b"x", bytearray(b"y"), None], [1, "a", "eA==", "eQ==", None]),
            ([{"n": 1}, "two\nlines", [b"x"]], [{"n": 1}, "two\nlines", ["eA=="]]),
            ([np.float32(2), np.str_("a"), np.array([1])], [2.0, "a", [1]]),
            ([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})], [[{"a": 1}], [{"a": 2}]]),
            ([PIL.Image.new("1", (1, 1)), "a"], ["data:image/png;base64,", "a"]),
            ([[PIL.Image.new("1", (1, 1))], 1], [["data:image/png;base64,"], 1]),
            ([Figure(), Figure()], ["data:image/png;base64,"] * 2),
        ],
    )  # fmt: skip
    def test_items_of_several_kinds_are_lines_for_a_client_that_prefers_json(
        self, items: list[object], expected: list[object]
    ) -> None:
        first, *data = streamed(iter(items), accept=JSON)
        assert first == negotiated(JSON_LINES)
        assert {chunk.form for chunk in data} == {"json"}
        text = "\n".join(chunk.body.decode() for chunk in data)
        text = re.sub("(data:image/png;base64,)[^\"]+", r"\1", text)
        assert [json.loads(line) for line in text.split("\n")] == expected

    def test_documents_in_a_stream_of_text_are_lines_for_a_client_that_prefers_json(self) -> None:
        items = ["a", "b", 1, 2, "c\n", {"n": 1}, "", [PIL.Image.new("1", (1, 1))]]
        first, *data = streamed(iter(items), accept=JSON)
        assert first == head()
        text = "".join(chunk.body.decode() + "\n" * (chunk.form == "json") for chunk in data)
        assert re.sub("base64,[^\"]+", "base64,", text).split("\n") == [
            "ab", "1", "2", "c", '{"n":1}', '["data:image/png;base64,"]', ""
        ]  # fmt: skip

    @pytest.mark.parametrize("value", [iter([b"a", 1]), (iter([b"a", 1]), {"Content-Type": "text/csv"})])
    def test_a_stream_that_begins_with_bytes_is_the_same_for_a_client_that_prefers_json(
        self, value: object
    ) -> None:
        assert body(streamed(value, accept=JSON)) == b"a1"

    def test_an_adaptor_that_sets_the_type_of_a_stream_decides_its_items(self) -> None:
        chunks = streamed((iter([1, "a"]), {"Content-Type": "text/plain"}), accept=JSON)
        assert chunks[1:] == [Data(b"1", "json"), Data(b"a", "text")]

    def test_each_table_of_a_stream_ends_its_last_line(self) -> None:
        tables = [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})]
        assert body(streamed(iter(tables))) == b"   a\n0  1\n   a\n0  2\n"

    def test_a_stream_without_items_is_empty_html(self) -> None:
        assert streamed(iter(())) == [head()]

    def test_no_head_is_sent_before_the_first_item(self) -> None:
        def run() -> Iterator[str]:
            raise ZeroDivisionError
            yield

        to = answer()
        result = to.classify((run(), 201))
        assert isinstance(result, Stream)
        with pytest.raises(ZeroDivisionError):
            next(result.items)
        assert to.status == 200

    def test_no_head_is_sent_for_a_first_item_that_fails(self) -> None:
        to = answer()
        with pytest.raises(TypeError, match="object"):
            to.item(object())
        assert list(to.item("a")) == [head(), Data(b"a", "text")]

    def test_the_head_is_sent_once(self) -> None:
        assert sum(isinstance(chunk, Head) for chunk in streamed(iter("abc"))) == 1

    def test_a_generators_return_value_after_items_is_the_result(self) -> None:
        def run() -> Generator[str, None, object]:
            yield "a"
            return {"n": 1}

        assert streamed(run()) == [head(), Data(b"a", "text"), Data(b'{"n":1}', "json", result=True)]

    def test_a_generators_return_value_without_items_is_the_answer(self) -> None:
        def run() -> Generator[str, None, object]:
            return ({"n": 1}, 404)
            yield

        assert streamed(run()) == [head(JSON, 404), Data(b'{"n":1}', "json", result=True)]

    def test_a_generators_return_value_keeps_the_headers_of_its_tuple(self) -> None:
        def run() -> Generator[str, None, object]:
            return "x"
            yield

        assert streamed((run(), 202, {"X-A": "1"}))[0] == Head(
            202, (("Content-Type", HTML), ("X-A", "1"), VARY)
        )

    def test_a_generator_returned_by_an_empty_generator_is_an_error(self) -> None:
        def run() -> Generator[str, None, object]:
            return iter("ab")
            yield

        with pytest.raises(TypeError, match="yield from"):
            streamed(run())

    @pytest.mark.parametrize(
        "iterator",
        [
            *(map(str, [1, 2]), filter(None, ["1", "2"]), reversed(["2", "1"]), iter(["1", "2"])),
            *(itertools.chain("1", "2"), itertools.islice(itertools.count(1), 2)),
        ],
        ids=lambda iterator: type(iterator).__name__,
    )
    def test_iterators_of_all_kinds_are_streamed(self, iterator: Iterator[object]) -> None:
        assert body(streamed(iterator)) == b"12"

    def test_rows_of_a_csv_reader_are_json_lines(self) -> None:
        assert body(streamed(csv.reader(["a,b"]))) == b'["a","b"]'

    def test_an_unsupported_item_is_an_error_that_names_its_type(self) -> None:
        with pytest.raises(TypeError, match="object"):
            streamed(iter(["a", object()]))

    def test_closing_a_generator_runs_its_finally(self) -> None:
        ended = []

        def run() -> Iterator[str]:
            try:
                yield "a"
            finally:
                ended.append(True)

        result = answer().classify(run())
        assert isinstance(result, Stream)
        assert result.close is not None
        next(result.items)
        result.close()
        assert ended == [True]

    def test_an_iterator_without_close_is_a_stream_without_close(self) -> None:
        result = answer().classify(iter("ab"))
        assert isinstance(result, Stream)
        assert result.close is None


class TestAsyncStreams:
    """Asynchronous iterators."""

    def test_an_async_generator_is_streamed_and_can_be_closed(self) -> None:
        ended = []

        async def run() -> AsyncIterator[str]:
            try:
                yield "a"
                yield "b"
            finally:
                ended.append(True)

        async def drive() -> list[Chunk]:
            to = answer()
            result = to.classify((run(), 201))
            assert isinstance(result, AsyncStream)
            chunks = [*to.item(await anext(result.items))]
            assert result.close is not None
            await result.close()
            return [*chunks, *to.finish()]

        assert asyncio.run(drive()) == [head(status=201), Data(b"a", "text")]
        assert ended == [True]

    def test_an_async_iterable_is_iterated(self) -> None:
        class Numbers:
            def __aiter__(self) -> AsyncIterator[int]:
                return self._numbers()

            async def _numbers(self) -> AsyncIterator[int]:
                yield 1

        async def drive() -> list[Chunk]:
            to = answer()
            result = to.classify(Numbers())
            assert isinstance(result, AsyncStream)
            return [chunk async for item in result.items for chunk in to.item(item)]

        assert asyncio.run(drive()) == [head(JSON_LINES), Data(b"1", "json")]

    def test_an_async_iterator_without_aclose_is_a_stream_without_close(self) -> None:
        class Once:
            def __aiter__(self) -> Once:
                return self

            async def __anext__(self) -> str:
                raise StopAsyncIteration

        result = answer().classify(Once())
        assert isinstance(result, AsyncStream)
        assert result.close is None


class TestFiles:
    """Open files, which are streamed."""

    def test_a_binary_file_is_streamed_in_blocks_and_closed(self, tmp_path: pathlib.Path) -> None:
        content = bytes(range(256)) * 1024
        path = tmp_path / "data"
        path.write_bytes(content)
        file = path.open("rb")
        chunks = streamed(file)
        assert body(chunks) == content
        assert max(len(chunk.body) for chunk in chunks if isinstance(chunk, Data)) <= FILE_BLOCK
        assert file.closed

    def test_an_unbuffered_file_is_streamed_in_blocks(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"\n" * 1000)
        assert len(streamed(path.open("rb", buffering=0))) == 2

    def test_a_text_file_is_streamed_in_lines(self) -> None:
        assert streamed(io.StringIO("a\nb\n")) == [head(), Data(b"a\n", "text"), Data(b"b\n", "text")]

    def test_wrapped_files_are_streamed_as_files(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"a\nb")
            file.seek(0)
            assert body(streamed(file)) == b"a\nb"
        assert body(streamed(FileStorage(io.BytesIO(b"upload")))) == b"upload"

    def test_a_pipe_is_streamed_as_its_data_arrives(self) -> None:
        with subprocess.Popen([sys.executable, "-c", "print('out')"], stdout=subprocess.PIPE) as process:
            assert body(streamed(process.stdout)) == b"out\n"


class TestResponses:
    """Responses of werkzeug and Flask."""

    def test_a_werkzeug_response_keeps_status_headers_and_body(self) -> None:
        response = werkzeug.Response("hällo", 202, {"X-A": "1"}, mimetype="text/plain")
        assert whole(response) == [
            Head(202, (("X-A", "1"), ("Content-Type", "text/plain; charset=utf-8"))),
            Data("hällo".encode(), "text", result=True),
        ]

    def test_a_response_without_a_content_type_gets_none(self) -> None:
        response = werkzeug.Response(b"x")
        del response.headers["Content-Type"]
        assert whole(response) == [Head(200, ()), Data(b"x", "bytes", result=True)]

    def test_a_response_keeps_repeated_headers(self) -> None:
        response = werkzeug.Response("x")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        first = whole(response)[0]
        assert isinstance(first, Head)
        assert [value.partition(";")[0] for name, value in first.headers if name == "Set-Cookie"] == [
            "a=1",
            "b=2",
        ]

    @pytest.mark.parametrize(
        ("mimetype", "form"),
        [
            ("application/json", "text"),
            ("application/problem+json", "text"),
            ("image/svg+xml", "text"),
            ("application/octet-stream", "bytes"),
            ("image/png", "bytes"),
        ],
    )
    def test_the_body_of_a_response_is_text_if_its_type_is_text(self, mimetype: str, form: str) -> None:
        last = whole(werkzeug.Response(b"{}", mimetype=mimetype))[-1]
        assert isinstance(last, Data)
        assert last.form == form

    def test_a_text_response_that_is_not_utf_8_is_bytes(self) -> None:
        last = whole(werkzeug.Response(b"\xff", content_type="text/plain; charset=latin-1"))[-1]
        assert last == Data(b"\xff", "bytes", result=True)

    def test_a_whole_response_is_closed_and_its_length_is_the_frontends(self) -> None:
        closed = []
        response = werkzeug.Response("x")
        response.headers["Content-Length"] = "99"
        response.call_on_close(lambda: closed.append(True))
        first = whole(response)[0]
        assert isinstance(first, Head)
        assert "Content-Length" not in dict(first.headers)
        assert closed == [True]

    def test_a_streaming_response_is_streamed_and_closed(self) -> None:
        closed = []

        def run() -> Iterator[Any]:
            try:
                yield "ä"
                yield b"\xff"
            finally:
                closed.append("generator")

        response = werkzeug.Response(run(), 201, {"Content-Length": "3"}, content_type="text/x")
        response.call_on_close(lambda: closed.append("response"))
        assert streamed(response) == [
            Head(201, (("Content-Length", "3"), ("Content-Type", "text/x"))),
            Data("ä".encode(), "text"),
            Data(b"\xff", "bytes"),
        ]
        assert closed == ["generator", "response"]

    def test_a_streaming_response_that_sends_nothing_has_its_head(self) -> None:
        assert streamed(werkzeug.Response(iter(()), 202, content_type="text/x")) == [head("text/x", 202)]

    def test_a_response_around_a_file_is_streamed(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(b"content")
        environ = werkzeug.test.create_environ()
        response = werkzeug.utils.send_file(path, environ)
        assert body(streamed(response)) == b"content"

    def test_a_response_tuple_around_a_response_wins(self) -> None:
        response = werkzeug.Response("x", 404, {"X-A": "1", "X-B": "2"}, content_type="text/x")
        assert whole((response, 200, {"x-a": "3"}))[0] == Head(
            200, (("X-B", "2"), ("Content-Type", "text/x"), ("x-a", "3"))
        )
        assert whole((werkzeug.Response("x", 404), {"X-A": "3"}))[0].status == 404  # type: ignore[union-attr]

    @pytest.mark.parametrize("status", [204, 304])
    def test_a_response_whose_status_has_no_body_is_not_iterated(self, status: int) -> None:
        closed = []
        response = werkzeug.Response(iter(["never"]), status)
        response.call_on_close(lambda: closed.append(True))
        assert [type(chunk) for chunk in whole(response)] == [Head]
        assert closed == [True]

    def test_a_sansio_response_has_no_body(self) -> None:
        response = werkzeug.sansio.response.Response(404, {"X-A": "1"})
        assert whole(response) == [
            Head(404, (("X-A", "1"), ("Content-Type", "text/plain; charset=utf-8"))),
        ]

    def test_a_redirect_keeps_its_location(self) -> None:
        first = whole(werkzeug.utils.redirect("/there"))[0]
        assert isinstance(first, Head)
        assert (first.status, dict(first.headers)["Location"]) == (302, "/there")

    def test_a_response_with_an_invalid_status_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="from 200 to 599; got 101"):
            whole(werkzeug.Response("x", 101))

    def test_a_flask_response_keeps_status_headers_and_body(self) -> None:
        with flask.Flask("app").app_context():
            response = flask.jsonify(a=1)
        assert whole(response) == [head(JSON), Data(b'{"a":1}\n', "text", result=True)]


class TestRich:
    """Objects with representations of several media types."""

    def test_a_client_that_accepts_anything_gets_the_image(self) -> None:
        assert whole(Represented()) == [negotiated("image/png"), Data(PNG, "bytes", result=True)]

    def test_a_content_type_of_the_adaptor_adds_no_vary_header(self) -> None:
        assert whole((Represented(), {"Content-Type": "text/html"}), accept="image/png") == [
            head("text/html"), Data(b"<b>", "text", result=True),
        ]

    def test_a_vary_header_of_the_adaptor_stays(self) -> None:
        assert whole((Represented(), {"Vary": "Cookie"}))[0] == Head(
            200, (("Content-Type", "image/png"), ("Vary", "Cookie"), ("Vary", "Accept"))
        )

    def test_a_client_that_asks_for_html_gets_html(self) -> None:
        chunks = whole(Represented(), accept="text/html")
        assert chunks == [negotiated(HTML), Data(b"<b>", "text", result=True)]

    def test_a_client_that_accepts_no_representation_gets_the_image(self) -> None:
        assert whole(Represented(), accept="audio/ogg")[0] == negotiated("image/png")

    def test_a_vendor_type_is_sent_if_accept_names_it(self) -> None:
        kind = "application/vnd.vegalite.v5+json"
        assert whole(Chart(), accept=kind) == [negotiated(kind), Data(b'{"mark":"bar"}', "json", result=True)]
        assert whole(Chart()) == [
            negotiated("text/plain; charset=utf-8"), Data(b"chart", "text", result=True),
        ]

    def test_events_carry_the_whole_mime_bundle(self) -> None:
        chunks = whole(Represented(), sse=True, accept="text/event-stream")
        assert chunks[0] == head(JSON)
        last = chunks[1]
        assert isinstance(last, Data)
        assert (last.form, last.result) == ("json", True)
        bundle = json.loads(last.body)
        assert bundle["text/html"] == "<b>"
        assert base64.b64decode(bundle["image/png"]) == PNG
        assert bundle.keys() == {"text/html", "image/png", "text/plain"}

    def test_a_figure_in_a_response_tuple_is_drawn(self) -> None:
        chunks = whole((Figure(figsize=(1, 1)), 201))
        assert chunks[0] == negotiated("image/png", 201)
        assert body(chunks).startswith(PNG)

    def test_a_data_frame_is_text_records_or_csv(self) -> None:
        table = pd.DataFrame({"a": [1]})
        assert whole(table)[0] == negotiated("text/plain; charset=utf-8", kind="table")
        assert whole(table, accept="text/csv")[0] == negotiated("text/csv; charset=utf-8", kind="table")
        assert whole(table, accept=JSON) == [
            negotiated(JSON, kind="table"), Data(b'[{"a":1}]', "json", result=True),
        ]

    def test_a_series_is_text_and_not_an_array(self) -> None:
        assert whole(pd.Series([1]))[0] == negotiated("text/plain; charset=utf-8")

    def test_a_dict_subclass_with_a_representation_uses_it(self) -> None:
        assert whole(ShownDict(a=1), accept="text/html")[0] == negotiated(HTML)
        assert body(whole(ShownDict(a=1), accept="text/html")) == b"<dl>"

    def test_the_shells_display_formatter_is_used(self) -> None:
        class Shell:
            display_formatter = DisplayFormatter()

        Shell.display_formatter.formatters["text/html"].for_type(Point, lambda point: "<i>point</i>")
        to = ValueEncoder(Call(FACTS, accept="text/html"), Shell())
        result = to.classify(Point())
        assert isinstance(result, Whole)
        assert list(result.chunks) == [negotiated(HTML), Data(b"<i>point</i>", "text", result=True)]

    def test_yielded_figures_are_streamed_as_images(self) -> None:
        chunks = streamed(iter([Represented(), Represented()]))
        assert chunks == [negotiated("image/png"), Data(PNG, "bytes"), Data(PNG, "bytes")]

    def test_yielded_tables_are_json_lines_for_clients_that_accept_json(self) -> None:
        chunks = streamed(iter([pd.DataFrame({"a": [1]})]), accept=JSON)
        assert chunks == [negotiated(JSON_LINES), Data(b'[{"a":1}]', "json")]

    def test_a_yielded_figure_is_a_bundle_in_events(self) -> None:
        last = streamed(iter([Represented()]), sse=True)[1]
        assert isinstance(last, Data)
        assert json.loads(last.body).keys() == {"text/html", "image/png", "text/plain"}
        assert (last.form, last.result) == ("json", False)


class TestPieces:
    """Large bodies, which are split."""

    @pytest.mark.parametrize(
        ("value", "form"),
        [
            (b"abc" * 200_000, "bytes"),
            (bytearray(b"abc" * 200_000), "bytes"),
            (memoryview(b"abc" * 200_000), "bytes"),
            (memoryview(b"a.b.c." * 200_000)[::2], "bytes"),
            ("abc" * 200_000, "text"),
        ],
        ids=lambda value: type(value).__name__,
    )
    @pytest.mark.parametrize("yielded", [False, True])
    def test_every_piece_but_the_last_is_marked_as_continued(
        self, value: Any, form: str, yielded: bool
    ) -> None:
        first, *pieces = streamed(iter([value])) if yielded else whole(value)
        assert first == (head(OCTETS) if form == "bytes" else head() if yielded else negotiated(HTML))
        data = [piece for piece in pieces if isinstance(piece, Data)]
        assert [(len(piece.body), piece.more) for piece in data] == [
            *((MAX_PIECE, True), (MAX_PIECE, True), (600_000 - 2 * MAX_PIECE, False))
        ]
        assert {(piece.form, piece.result) for piece in data} == {(form, not yielded)}
        assert body(pieces) == b"abc" * 200_000

    def test_a_large_document_is_split_too(self) -> None:
        chunks = whole(list(range(100_000)))
        assert len(chunks) > 2
        assert json.loads(body(chunks)) == list(range(100_000))

    def test_a_view_of_wide_numbers_counts_bytes(self) -> None:
        numbers = np.zeros((3, MAX_PIECE // 8), dtype="i8")
        assert body(whole(numbers.data)) == numbers.tobytes()

    @pytest.mark.parametrize(("size", "pieces"), [(MAX_PIECE, 1), (MAX_PIECE + 1, 2), (2 * MAX_PIECE, 2)])
    def test_a_body_of_the_maximum_size_is_not_split(self, size: int, pieces: int) -> None:
        chunks = whole(b"x" * size)
        assert len(chunks) == 1 + pieces
        assert chunks[-1].more is False  # type: ignore[union-attr]

    def test_the_size_of_a_piece_is_a_multiple_of_three(self) -> None:
        assert MAX_PIECE % 3 == 0

    def test_a_large_body_is_cut_as_it_is_sent(self) -> None:
        result = answer().classify(b"x" * (3 * MAX_PIECE))
        assert isinstance(result, Whole)
        assert isinstance(result.chunks, Iterator)


def test_no_library_is_imported_to_answer_with_plain_values() -> None:
    program = """
import sys
from owt.kernel.answer.values import ValueEncoder
from owt.wire.call import Call, RequestFacts
call = Call(RequestFacts("GET", "/", "", (), b"", "localhost"))
for value in ("a", b"b", 1, None, {"a": 1}, ("a", 404), ("a", 1)):
    list(ValueEncoder(call, None).classify(value).chunks)
next(ValueEncoder(call, None).classify(iter("ab")).items)
names = ("numpy", "pandas", "matplotlib", "PIL", "werkzeug", "IPython", "tornado")
print([name for name in names if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


@pytest.mark.parametrize("kind", [Mock, MagicMock, AsyncMock, NonCallableMagicMock])
def test_a_mock_cannot_be_answered(kind: type[Mock]) -> None:
    for value in (kind(), [kind()], (kind(), 201), kind(spec=io.BytesIO), kind(spec=int), kind(spec=str)):
        with pytest.raises(TypeError, match=f"{kind.__name__}"):
            whole(value)


class Pretender:
    """Object with any attribute."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: "again"

    def __iter__(self) -> Iterator[str]:
        return iter("ab")


def test_a_capability_of_an_instance_alone_does_not_count() -> None:
    with pytest.raises(TypeError, match="cannot answer with a value of type"):
        whole(Pretender())


def test_the_end_of_a_file_that_yields_text_is_its_end() -> None:
    class TextReader(io.StringIO):
        def read1(self, size: int) -> str:
            return self.read(size)

    chunks = streamed(TextReader("text"))
    assert [chunk.body for chunk in chunks if isinstance(chunk, Data)] == [b"text"]


def test_the_wrapper_of_a_named_temporary_file_has_its_private_class() -> None:
    # `is_file` looks for `tempfile._TemporaryFileWrapper`.
    with tempfile.NamedTemporaryFile() as file:
        assert type(file) is tempfile._TemporaryFileWrapper
