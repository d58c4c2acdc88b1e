"""owt.client.parts: arguments as parts of a form."""

from __future__ import annotations

import io
import os
import pathlib
import sys
import tempfile
import types
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from owt.client.parts import ARROW, Part, encode, split
from owt.errors import CannotSend
from owt.wire.media import NPY, OCTETS

PNG = "image/png"


def part_of(value: Any) -> Part:
    others, parts = split({"x": value})
    assert others == {}
    return parts["x"]


def form_of(content_type: str, body: bytes) -> dict[str | None, tuple[str | None, str, bytes]]:
    """Return the file name, the media type and the content of each part, by its name."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    }


def test_values_that_json_has_are_no_parts():
    kwargs = {
        "a": 1,
        "b": "t",
        "c": [b"nested"],
        "d": {"e": np.zeros(1)},
        "f": None,
        "g": np.float64(1),
        "h": 1j,
    }
    assert split(kwargs) == (kwargs, {})


@pytest.mark.parametrize("value", [b"\0a", bytearray(b"\0a"), memoryview(b"\0a"), memoryview(b"\0xa")[::2]])
def test_bytes_are_sent_unchanged(value):
    assert part_of(value) == Part(b"\0a", OCTETS)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="f4").reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::3],
        np.array(["a", "ß"]),
        np.array([1 + 2j]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
        np.array(3.5),
        np.zeros((0, 2)),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_array_is_sent_as_npy(array):
    part = part_of(array)
    loaded = np.load(io.BytesIO(part.head + part.content), allow_pickle=False)
    assert (part.media_type, loaded.dtype, loaded.shape) == (NPY, array.dtype, array.shape)
    np.testing.assert_array_equal(loaded, array)


class Tensor:
    """The methods of a torch tensor with gradients that a client calls."""

    def reshape(self) -> None: ...

    def detach(self) -> Tensor:
        self.detached = True
        return self

    def cpu(self) -> Tensor:
        assert self.detached
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([1.5])


def test_a_tensor_is_detached_and_sent_as_npy():
    assert np.load(io.BytesIO(part_of(Tensor()).head + part_of(Tensor()).content)) == [1.5]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_an_image_is_sent_as_png(mode):
    part = part_of(Image.new(mode, (2, 3), 1))
    image = Image.open(io.BytesIO(part.content))
    assert (part.media_type, image.mode, image.size) == (PNG, mode, (2, 3))


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        *(("a.png", PNG), ("b.WAV", "audio/x-wav"), ("c.csv", "text/csv"), ("d.csv.gz", OCTETS)),
        *(("e.npy", NPY), ("f.arrows", ARROW), ("g", OCTETS), ('h "ß".bin', OCTETS)),
    ],
)
def test_a_path_and_an_open_file_are_their_content_with_the_type_of_the_name(tmp_path, name, media_type):
    path = tmp_path / name
    path.write_bytes(b"\r\ncontent")
    expected = Part(b"\r\ncontent", media_type, name)
    assert part_of(path) == expected
    with path.open("rb") as file:
        file.read(3)
        assert part_of(file) == expected


def test_an_open_file_without_a_name_is_sent_from_its_beginning():
    buffer = io.BytesIO()
    buffer.write(b"abc")
    assert part_of(buffer) == Part(b"abc")
    with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile(suffix=".png") as named:
        for target in (file, named):
            target.write(b"abc")
        assert part_of(file).content == part_of(named).content == b"abc"
        assert part_of(named).media_type == PNG


def test_a_pipe_is_read_to_its_end():
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    with open(reader, "rb") as file:
        assert part_of(file) == Part(b"abc")


def test_a_polars_frame_writes_its_own_arrow_stream(monkeypatch):
    class DataFrame:
        columns = ()
        __arrow_c_stream__ = None

        def write_ipc_stream(self, file: io.BytesIO) -> None:
            file.write(b"arrow")

    monkeypatch.setitem(sys.modules, "polars", types.SimpleNamespace(DataFrame=DataFrame))
    assert part_of(DataFrame()) == Part(b"arrow", ARROW)


def test_a_pandas_frame_without_pyarrow_is_refused_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        CannotSend, match=r"x: DataFrame cannot be sent: .* install pyarrow, or send its \.to_d"
    ):
        split({"x": pd.DataFrame({"a": [1]})})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([{}]), r"^x: ndarray cannot be sent: it contains Python objects; send its \.tolist\(\)"),
        (np.ma.array([1, 2], mask=[0, 1]), r"^x: MaskedArray cannot be sent: its mask would be lost"),
        (Image.new("F", (1, 1)), "^x: Image cannot be sent: cannot write mode F as PNG"),
        (pathlib.Path("/gone.png"), "^x: /gone.png cannot be read: No such file"),
        (pathlib.Path("/"), "^x: / cannot be read: Is a directory"),
        (io.StringIO("text"), r"^x: the file is open as text; open it in binary mode \('rb'\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_sent_is_refused_by_its_name(value, words):
    with pytest.raises(CannotSend, match=words):
        split({"x": value})


@pytest.mark.parametrize("value", [np.float32(1), np.int64(1), pd.Series([1]), {1}, object()])
def test_scalars_columns_and_unknown_objects_are_left_for_json_to_refuse(value):
    assert split({"x": value})[1] == {}


def test_a_form_has_the_fields_and_the_arguments():
    parts = {"a": Part(b"\r\n--x\0"), "b": Part(b"", PNG, 'ä".png'), "c d": Part(bytearray(b"1"))}
    content_type, body = encode({"code": b"x\ry\n", "kwargs": b'{"n":1}'}, parts)
    assert form_of(content_type, body) == {
        "code": (None, "text/plain", b"x\ry\n"),
        "kwargs": (None, "text/plain", b'{"n":1}'),
        "kwargs.a": ("a", OCTETS, b"\r\n--x\0"),
        "kwargs.b": ("ä%22.png", PNG, b""),
        "kwargs.c d": ("c d", OCTETS, b"1"),
    }
    assert encode({}, parts) == encode({}, parts)


def test_content_that_has_the_boundary_in_it_gets_another_one():
    first, body = encode({"code": b"x"}, {"a": Part(b"1")})
    content_type, other = encode({"code": b"x"}, {"a": Part(body)})
    assert content_type != first
    assert form_of(content_type, other)["kwargs.a"] == ("a", OCTETS, body)
