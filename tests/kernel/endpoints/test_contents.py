"""owt.kernel.endpoints.contents: parts of forms, and what they are without a type."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from owt.errors import BadRequest
from owt.kernel.endpoints.contents import Content, argument_parts, read_form
from owt.wire.call import RequestFacts
from owt.wire.media import ARROW, CSV, NPY, PARQUET


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a form of these parts, each a head and its data."""
    return b"".join(b"--B\r\n%s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts) + b"--B--\r\n"


def disposition(name: str, filename: str | None = None, media_type: str | None = None) -> str:
    head = f'Content-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    return head if media_type is None else f"{head}\r\nContent-Type: {media_type}"


@pytest.mark.parametrize(
    ("head", "data", "expected"),
    [
        (disposition("x"), b"a", "a"),
        (disposition("x"), b"", ""),
        (disposition("x"), b"a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
        (disposition("x", media_type="text/plain; charset=utf-8"), "ä".encode(), "ä"),
        (disposition("x", "f", "image/png"), b"\r\n--A", (b"\r\n--A", "image/png", "f")),
        (disposition("x", "ä.txt"), b"\xff", (b"\xff", "", "ä.txt")),
        (disposition("x", "", "application/octet-stream"), b"", (b"", "application/octet-stream", "")),
        (disposition("x", media_type=NPY), b"\x93", (b"\x93", NPY, None)),
        (disposition("x", media_type="Application/JSON"), b"1", (b"1", "application/json", None)),
    ],
)
def test_a_part_is_a_text_or_content(head: str, data: bytes, expected: object) -> None:
    [value] = read_form(form((head, data)), "multipart/form-data; boundary=B")["x"]
    if isinstance(value, Content):
        value = (value.data, value.media_type, value.filename)
    assert value == expected


def test_parts_of_one_name_are_together_in_their_order() -> None:
    body = form((disposition("x"), b"1"), (disposition("y"), b"2"), (disposition("x"), b"3"))
    assert read_form(body, 'multipart/form-data; boundary="B"') == {"x": ["1", "3"], "y": ["2"]}


@pytest.mark.parametrize(
    ("media_type", "data", "expected"),
    [
        ("", b"\xff", b"\xff"),
        ("application/octet-stream", b"a", b"a"),
        ("audio/wav", b"RIFF", b"RIFF"),
        ("image/svg+xml", b"<svg/>", b"<svg/>"),
        ("text/plain", b"a", "a"),
        ("text/html", b"a", "a"),
        ("application/json", b"[1]", [1]),
    ],
)
def test_the_media_type_decides_what_content_is(media_type: str, data: bytes, expected: object) -> None:
    assert Content(data, media_type).value() == expected


@pytest.mark.parametrize(
    ("filename", "data", "expected"),
    [("a.json", b"[1]", [1]), ("a.txt", b"[1]", "[1]"), ("a", b"[1]", b"[1]"), ("a.csv.gz", b"a", b"a")],
)
def test_the_name_of_a_file_decides_where_the_media_type_does_not(
    filename: str, data: bytes, expected: object
) -> None:
    assert Content(data, "application/octet-stream", filename).value() == expected
    table = Content(b"a\n1\n", "application/octet-stream", "t.csv").value()
    assert table.to_dict("list") == {"a": [1]}


def saved(write: Any) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def test_arrays_images_and_tables_are_read_by_their_libraries() -> None:
    array = Content(saved(lambda stream: np.save(stream, np.arange(3))), NPY).value()
    assert (type(array), array.tolist()) == (np.ndarray, [0, 1, 2])
    image = Content(saved(lambda stream: PIL.Image.new("L", (2, 3)).save(stream, "PNG")), "image/png").value()
    assert image.size == (2, 3)
    table = Content(b"a\n1\n", CSV).value()
    assert isinstance(table, pd.DataFrame)
    assert table.to_dict("list") == {"a": [1]}


@pytest.mark.parametrize("media_type", ["image/png", "image/x-mine"])
def test_an_image_that_pillow_cannot_read_is_a_problem_of_its_value(media_type: str) -> None:
    with pytest.raises(ValueError, match="Pillow cannot read this image"):
        Content(b"no", media_type).value()


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in libraries else find(name))


def test_content_whose_library_is_missing_is_text_or_bytes_or_refused(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "pandas", "polars", "pyarrow", "PIL")
    assert Content(b"a\n1\n", CSV).value() == "a\n1\n"
    assert Content(b"\x89PNG", "image/png").value() == b"\x89PNG"
    for media_type in (ARROW, PARQUET):
        with pytest.raises(ValueError, match="needs pyarrow or polars, and this kernel has neither"):
            Content(b"", media_type).value()


def facts(body: bytes, content_type: str = "multipart/form-data; boundary=B") -> RequestFacts:
    return RequestFacts("POST", "/", "", (("Content-Type", content_type),), body, "h")


def test_parts_that_are_arguments_have_the_names_of_the_arguments() -> None:
    names = ("kwargs.a", "kwargs", "kwargs.a.b")
    body = form(*((disposition(name), str(number).encode()) for number, name in enumerate(names, 1)))
    assert argument_parts(facts(body)) == {"a": ["1"], "a.b": ["3"]}
    assert argument_parts(facts(form((disposition("kwargs"), b"{}")))) == {}
    assert argument_parts(facts(b"kwargs.a=1", "application/x-www-form-urlencoded")) == {}


def test_a_part_without_the_name_of_an_argument_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"kwargs\.: names no argument"):
        argument_parts(facts(form((disposition("kwargs."), b"1"))))
