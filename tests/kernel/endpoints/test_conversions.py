"""owt.kernel.endpoints.conversions: JSON values and contents to the types of annotations."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd
import PIL.Image
import pydantic
import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from owt.errors import Unprocessable
from owt.kernel import context
from owt.kernel.code.arguments import Arguments
from owt.kernel.endpoints.binding import URLENCODED, bind
from owt.kernel.endpoints.contents import TABLES
from owt.kernel.endpoints.signature import describe, read_signature
from owt.wire import media
from owt.wire.call import Call, RequestFacts
from owt.wire.endpoint import REFERENCE
from owt.wire.media import ARROW, ARROW_FILE, CSV, NPY, PARQUET


class Tag(pydantic.BaseModel):
    name: str


class Item(pydantic.BaseModel):
    name: str
    price: float = pydantic.Field(gt=0)
    tags: list[Tag] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


@pydantic.dataclasses.dataclass
class Checked:
    n: int = pydantic.Field(ge=3)


@attrs.define
class Point:
    x: int = attrs.field(validator=attrs.validators.ge(0))
    y: int = 0


@dataclasses.dataclass
class Job:
    data: np.ndarray
    item: Item | None = None


class Model:
    """Class of another library with pydantic's protocol."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if "bad" in value:
            raise ValueError("is bad")
        return cls(value)

    @classmethod
    def model_json_schema(cls, ref_template: str) -> dict[str, Any]:
        part = ref_template.format(model="Part")
        return {"type": "object", "properties": {"a": {"$ref": part}}, "$defs": {"Part": {"type": "integer"}}}


class Tensor:
    """Class of another library's arrays: torch.Tensor is such a class."""

    def __init__(self, values: Any, dtype: Any = None) -> None:
        self.values = np.asarray(values, dtype)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


class Table:
    """Class of another library's tables: pyarrow.Table is such a class."""

    columns = ()

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise NotImplementedError

    from_pylist = classmethod(lambda cls, rows: cls(rows))
    from_pydict = classmethod(lambda cls, columns: cls(columns))


class Picture:
    """Class of another library's images."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def _repr_png_(self) -> bytes:
        return self.data

    def load(self) -> None:
        if not self.data.startswith(b"P"):
            raise OSError("no picture")


class Library:
    """Module of these classes."""

    Tensor, Table, Picture = Tensor, Table, Picture
    asarray = Tensor
    open = staticmethod(lambda stream: Picture(stream.read()))
    read_csv = staticmethod(lambda stream: ("csv", stream.read()))
    read_parquet = staticmethod(lambda stream: ("parquet", stream.read()))


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "library", Library)  # type: ignore[arg-type]
    for cls in (Tensor, Table, Picture):
        monkeypatch.setattr(cls, "__module__", "library")


@pytest.fixture
def run() -> Iterator[context.Run]:
    run: Any = context.Run("r", Call(RequestFacts("POST", "/", "", (), b"", "h")), None)  # type: ignore[arg-type]
    token = context.current.set(run)
    yield run
    context.current.reset(token)


def taking(**kinds: Any) -> Any:
    parameters = ", ".join(kinds)
    function: Any = eval(f"lambda {parameters}: 1")
    function.__annotations__ = kinds
    return function


def fit(
    function: Any, query: str = "", kwargs: dict[str, Any] | None = None, **request: Any
) -> dict[str, Any]:
    built = EnvironBuilder(query_string=query, method="POST", **request)
    signature = read_signature(function, "/f", [])
    return bind(signature, {}, Request(built.get_environ()), Arguments(kwargs or {}), "POST /f")[1]


def refusal(function: Any, query: str = "", **request: Any) -> str:
    with pytest.raises(Unprocessable) as error:
        fit(function, query, **request)
    return str(error.value)


def body(data: bytes, media_type: str) -> dict[str, Any]:
    return {"data": data, "content_type": media_type}


def part(data: bytes, media_type: str, name: str = "x", filename: str = "f") -> dict[str, Any]:
    """Return the form with this file."""
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    form = f"--B\r\n{head}\r\nContent-Type: {media_type}\r\n\r\n".encode() + data + b"\r\n--B--\r\n"
    return body(form, "multipart/form-data; boundary=B")


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values), allow_pickle=True)
    return stream.getvalue()


def png() -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (4, 3)).save(stream, "PNG")
    return stream.getvalue()


def plain(value: Any) -> Any:
    """Return a value that `==` compares as a whole."""
    match value:
        case np.ndarray():
            return "array", str(value.dtype), value.tolist()
        case Tensor():
            return "tensor", value.values.tolist()
        case pd.DataFrame():
            return "frame", value.to_dict("list")
        case PIL.Image.Image():
            return "image", value.format, value.size
        case Table():
            return "table", value.rows
        case Picture() | Model():
            return type(value), vars(value)
        case Job(data=data, item=item):
            return plain(data), item
    return value


ITEM = {"name": "a", "price": 2}
ROWS = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
COLUMNS = {"a": [1, 3], "b": [2, 4]}
CSV_TEXT = b"a,b\n1,2\n3,4\n"
URL = "data:image/png;base64," + base64.b64encode(png()).decode()
IMAGE = ("image", "PNG", (4, 3))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Item, ITEM, Item(name="a", price=2)),
        (Item | None, None, None),
        (list[Item], [ITEM], [Item(name="a", price=2)]),
        (dict[str, Item], {"k": ITEM}, {"k": Item(name="a", price=2)}),
        (Cat | Dog, {"kind": "dog"}, Dog(kind="dog")),
        (Annotated[int, pydantic.Field(ge=3)], 4, 4),
        (Checked, {"n": 3}, Checked(3)),
        (Point, {"x": 1}, Point(1)),
        (Job, {"data": [1], "item": ITEM}, (("array", "int64", [1]), Item(name="a", price=2))),
        (Model, {"a": 1}, (Model, {"value": {"a": 1}})),
        (np.ndarray, [[1, 2], [3, 4]], ("array", "int64", [[1, 2], [3, 4]])),
        (np.ndarray, 2.5, ("array", "float64", 2.5)),
        (np.ndarray | None, None, None),
        (npt.NDArray[np.float32], [1], ("array", "float32", [1.0])),
        (np.ndarray, base64.b64encode(npy([1, 2])).decode(), ("array", "int64", [1, 2])),
        (Tensor, [1.5], ("tensor", [1.5])),
        (pd.DataFrame, ROWS, ("frame", COLUMNS)),
        (pd.DataFrame, COLUMNS, ("frame", COLUMNS)),
        (pd.DataFrame, "data:text/csv,a,b%0A1,2%0A3,4", ("frame", COLUMNS)),
        (Table, ROWS, ("table", ROWS)),
        (Table, COLUMNS, ("table", COLUMNS)),
        (PIL.Image.Image, URL, IMAGE),
        (PIL.Image.Image, URL.partition(",")[2], IMAGE),
        (Picture, base64.urlsafe_b64encode(b"P\xff\xfe").decode(), (Picture, {"data": b"P\xff\xfe"})),
        (bytes, URL, png()),
        (bytes, "YWI=", b"ab"),
    ],
)
def test_a_json_value_is_converted_to_the_type(kind: Any, value: Any, expected: Any) -> None:
    assert plain(fit(taking(x=kind), json={"x": value})["x"]) == expected


@pytest.mark.parametrize("send", [body, part])
@pytest.mark.parametrize(
    ("kind", "media_type", "data", "expected"),
    [
        (Item, "application/json", json.dumps(ITEM).encode(), Item(name="a", price=2)),
        (list[Item], "application/json", json.dumps([ITEM]).encode(), [Item(name="a", price=2)]),
        (Model, "application/json", b'{"a": 1}', (Model, {"value": {"a": 1}})),
        (np.ndarray, NPY, npy([1, 2]), ("array", "int64", [1, 2])),
        (np.ndarray, "application/octet-stream", npy([1, 2]), ("array", "int64", [1, 2])),
        (np.ndarray, "application/json", b"[1, 2]", ("array", "int64", [1, 2])),
        (Tensor, NPY, npy([1.5]), ("tensor", [1.5])),
        (pd.DataFrame, CSV, CSV_TEXT, ("frame", COLUMNS)),
        (pd.DataFrame, "application/json", json.dumps(ROWS).encode(), ("frame", COLUMNS)),
        (Table, CSV, CSV_TEXT, ("table", ("csv", CSV_TEXT))),
        (Table, PARQUET, b"PAR1", ("table", ("parquet", b"PAR1"))),
        (Table, "application/octet-stream", b"PAR1", ("table", ("parquet", b"PAR1"))),
        (PIL.Image.Image, "image/png", png(), IMAGE),
        (PIL.Image.Image, "application/octet-stream", png(), IMAGE),
        (Picture, "image/x-mine", b"P", (Picture, {"data": b"P"})),
        (bytes, "audio/wav", b"RIFF", b"RIFF"),
        (str, "text/plain", "ä".encode(), "ä"),
    ],
)
def test_a_body_and_a_part_of_a_media_type_are_converted(
    send: Any, kind: Any, media_type: str, data: bytes, expected: Any
) -> None:
    assert plain(fit(taking(x=kind), **send(data, media_type))["x"]) == expected


OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("kind", "media_type", "filename", "data", "expected"),
    [
        (pd.DataFrame, OCTETS, "rec.json", json.dumps(ROWS).encode(), ("frame", COLUMNS)),
        (pd.DataFrame, OCTETS, "upload", b"\n " + json.dumps(COLUMNS).encode(), ("frame", COLUMNS)),
        (pd.DataFrame, OCTETS, "t.csv", CSV_TEXT, ("frame", COLUMNS)),
        (pd.DataFrame, "application/vnd.ms-excel", "T.CSV", CSV_TEXT, ("frame", COLUMNS)),
        (pd.DataFrame, OCTETS, "t.tsv", CSV_TEXT.replace(b",", b"\t"), ("frame", COLUMNS)),
        (np.ndarray, OCTETS, "a.json", b"[1, 2]", ("array", "int64", [1, 2])),
        (Item, OCTETS, "item", json.dumps(ITEM).encode(), Item(name="a", price=2)),
        (str, OCTETS, "a.txt", b'{"a": 1}', '{"a": 1}'),
        (bytes, OCTETS, "a.json", b"[1]", b"[1]"),
    ],
)
def test_a_file_without_a_type_of_its_own_is_what_its_bytes_or_its_name_show(
    kind: Any, media_type: str, filename: str, data: bytes, expected: Any
) -> None:
    assert plain(fit(taking(x=kind), **part(data, media_type, filename=filename))["x"]) == expected


@pytest.mark.parametrize("media_type", [ARROW, ARROW_FILE, PARQUET, OCTETS])
@pytest.mark.parametrize(
    ("data", "reader"), [(b"\xff\xff\xff\xff", "open_stream"), (b"ARROW1\0\0", "open_file")]
)
@pytest.mark.parametrize("send", [body, part])
def test_the_first_bytes_of_an_arrow_table_count_more_than_its_label(
    monkeypatch: pytest.MonkeyPatch, send: Any, media_type: str, data: bytes, reader: str
) -> None:
    reader_of_table = SimpleNamespace(read_all=lambda: COLUMNS)
    monkeypatch.setitem(
        sys.modules, "pyarrow.ipc", SimpleNamespace(**{reader: lambda stream: reader_of_table})
    )
    assert plain(fit(taking(x=Table), **send(data, media_type))["x"]) == ("table", COLUMNS)


@pytest.mark.parametrize("send", [body, part])
def test_bytes_of_no_known_type_are_no_table(send: Any) -> None:
    message = refusal(taking(x=pd.DataFrame), **send(b"any\ntext\n", OCTETS))
    assert "x: expected a table: send JSON or one of application/vnd.apache.arrow.stream, " in message
    assert "text/csv, text/tab-separated-values; this is application/octet-stream; got 9 bytes" in message


def test_an_array_of_bytes_is_the_bytes_for_a_parameter_that_takes_no_array(run: context.Run) -> None:
    def sent(data: bytes, filename: str = "blob") -> dict[str, Any]:
        return part(npy(np.frombuffer(data, "u1")), NPY, filename=filename)

    assert fit(taking(x=bytes), **sent(b"hello")) == {"x": b"hello"}
    assert fit(taking(x=str), **sent(b"hello")) == {"x": "hello"}
    assert plain(fit(taking(x=PIL.Image.Image), **sent(png()))["x"]) == IMAGE
    assert plain(fit(taking(x=pd.DataFrame), **sent(json.dumps(ROWS).encode()))["x"]) == ("frame", COLUMNS)
    assert fit(taking(x=Path), **sent(b"\xff"))["x"].read_bytes() == b"\xff"
    assert fit(taking(x=np.ndarray), **sent(b"ab"))["x"].tolist() == [97, 98]
    written_by_owt = b"".join(map(bytes, media.npy(np.frombuffer(b"hello", "u1"))))
    assert fit(taking(x=bytes), **part(written_by_owt, NPY)) == {"x": b"hello"}
    run.remove_folders()


@pytest.mark.parametrize(
    ("array", "filename"),
    [(np.zeros(3, "u1"), "a.npy"), (np.zeros((2, 2), "u1"), "blob"), (np.zeros(3, "i1"), "blob")],
)
def test_a_file_of_bytes_and_any_other_array_stay_npy_files_for_bytes(array: Any, filename: str) -> None:
    assert fit(taking(x=bytes), **part(npy(array), NPY, filename=filename)) == {"x": npy(array)}


def test_json_in_a_file_is_bytes_for_bytes() -> None:
    assert fit(taking(x=bytes), **part(b"[1]", "application/json")) == {"x": b"[1]"}


def test_repeated_files_are_a_list() -> None:
    files = {"x": [(io.BytesIO(png()), "a.png"), (io.BytesIO(png()), "b.png")]}
    images = fit(taking(x=list[PIL.Image.Image]), data=files)["x"]
    assert [plain(image) for image in images] == [IMAGE, IMAGE]


def test_numbers_of_a_query_are_an_array() -> None:
    assert plain(fit(taking(x=np.ndarray), "x=1&x=2.5")["x"]) == ("array", "float64", [1, 2.5])
    assert plain(fit(taking(x=np.ndarray), "x=%5B1%5D")["x"]) == ("array", "int64", [1])


def test_json_in_a_form_is_a_model() -> None:
    assert fit(taking(x=Item), data={"x": json.dumps(ITEM)})["x"] == Item(name="a", price=2)


def test_a_file_input_that_was_not_filled_in_is_none() -> None:
    function = taking(x=PIL.Image.Image | None)
    assert fit(function, **part(b"", "application/octet-stream", filename="")) == {"x": None}


def test_a_json_object_of_other_names_is_the_one_model() -> None:
    assert fit(taking(x=Item), json=ITEM) == {"x": Item(name="a", price=2)}
    assert "name: is not one of its fields" in refusal(taking(x=Item, y=Item), json=ITEM)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Item, {"name": "a", "price": 0}, "x: price: Input should be greater than 0; got"),
        (Item, {"name": 1, "price": 0}, "x: name: Input should be a valid string; price: Input should"),
        (list[Item], [{**ITEM, "tags": [{}]}], "x: 0.tags.0.name: Field required; got"),
        (Annotated[int, pydantic.Field(ge=3)], 1, "x: Input should be greater than or equal to 3; got 1"),
        (Job, {"data": [1], "item": {}}, "x: expected an object of this model: name: Field required; price"),
        (Checked, {"n": 1}, "x: n: Input should be greater than or equal to 3"),
        (Point, {"x": -1}, "x: 'x' must be >= 0: -1"),
        (Model, {"bad": 1}, "x: expected an object of this model: is bad; got"),
        (np.ndarray, {"a": 1}, "x: expected an array: send lists of numbers; got dict"),
        (np.ndarray, [1, [2]], "x: expected an array: setting an array element with a sequence"),
        (np.ndarray, [{}], "x: expected an array: send lists of numbers; got"),
        (np.ndarray, "YWI=", "x: expected an array: send JSON lists or application/x-npy; got"),
        (pd.DataFrame, 3, "x: expected a table: send a list of records or an object of columns; got int"),
        (PIL.Image.Image, "YWI=", "x: expected an image: cannot identify image file; got 'YWI='"),
        (PIL.Image.Image, 3, "x: expected an image: send the file in base64 or as a data URL; got int"),
        (PIL.Image.Image, [[1]], "as a data URL; got list; got [[1]]"),
        (PIL.Image.Image, "a.png", "x: expected an image: its text is neither base64 nor a data URL; to up"),
        (np.ndarray, "abc", "x: expected an array: its text is neither base64 nor a data URL; to up"),
        (int, [1], "x: Expected int, got array; got [1]"),
    ],
)
def test_a_json_value_that_does_not_fit_is_refused_with_its_place(
    kind: Any, value: Any, problem: str
) -> None:
    assert problem in refusal(taking(x=kind), json={"x": value})


@pytest.mark.parametrize(
    ("kind", "media_type", "data", "problem"),
    [
        (PIL.Image.Image, "image/png", b"no", "x: expected an image: cannot identify image file; got 2"),
        (Picture, "image/png", b"no", "x: expected an image: no picture; got 2 bytes of image/png"),
        (np.ndarray, NPY, b"no", "x: expected an array: its bytes are no npy file"),
        (np.ndarray, NPY, npy([None]), "x: expected an array: Object arrays cannot be loaded"),
        (np.ndarray, "text/csv", b"no", "x: is missing"),
        (pd.DataFrame, CSV, b'a\n"', "x: expected a table: "),
        (Item, "application/json", b"[1]", "x: Input should be a valid dictionary or instance of Item"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    kind: Any, media_type: str, data: bytes, problem: str
) -> None:
    assert problem in refusal(taking(x=kind), **body(data, media_type))


def test_a_table_that_needs_a_library_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    assert "needs pyarrow, which this kernel does not have" in refusal(
        taking(x=pd.DataFrame), **body(b"\xff\xff\xff\xff", ARROW)
    )


def test_a_body_fills_the_parameter_that_is_made_for_it() -> None:
    function = taking(name=str, picture=PIL.Image.Image, data=bytes)
    both = fit(function, "name=n&data=d", **body(png(), "image/png"))
    assert (both["name"], plain(both["picture"]), both["data"]) == ("n", IMAGE, b"d")
    assert fit(taking(text=str, data=bytes), "data=d", **body(b"t", "text/plain"))["text"] == "t"
    assert fit(taking(text=str, data=bytes), "text=t", **body(b"W", "audio/wav"))["data"] == b"W"


def test_a_body_that_two_parameters_could_take_is_refused_and_names_both() -> None:
    message = refusal(taking(a=PIL.Image.Image, b=PIL.Image.Image), **body(png(), "image/png"))
    assert "body: can be a or b; send a form that names them" in message
    assert plain(
        fit(taking(a=PIL.Image.Image, b=bytes), "b=x", **body(png(), "image/png"))["a"]
    ) == IMAGE


def test_a_body_that_no_parameter_takes_is_named_beside_what_is_missing() -> None:
    message = refusal(taking(x=PIL.Image.Image), **body(b"a", CSV))
    assert message.startswith("body: no argument takes text/csv. x: is missing.")


@pytest.mark.parametrize("data", [npy([1.5]), png(), b"n,s\n1,a\n2,b\n"])
def test_a_file_sent_as_a_form_is_an_error_with_the_remedy(data: bytes) -> None:
    message = refusal(taking(x=np.ndarray), **body(data, URLENCODED))
    assert message == (
        "body: was read as a form, which it is not; add -H 'Content-Type: ...' with its type, or send "
        "-F NAME=@FILE. x: is missing. POST /f takes x: numpy.ndarray"
    )


@pytest.mark.parametrize("data", [b"y=1", b"y", b"&y=1&", b"y%5B%5D=1"])
def test_a_form_of_other_names_is_no_misread_file(data: bytes) -> None:
    message = refusal(taking(x=np.ndarray), **body(data, URLENCODED))
    assert message.startswith("x: is missing. ")
    assert "is not one of its fields. POST /f" in message


@pytest.mark.parametrize("kind", [np.ndarray, Item, list[int]])
def test_an_object_of_fields_of_owt_is_no_argument(kind: Any) -> None:
    assert "x: is missing. POST" in refusal(taking(x=kind), json={"kwargs": {"y": 1}, "stream": "sse"})
    message = refusal(taking(x=kind), kwargs={"y": 1}, json={"kwargs": {"y": 1}})
    assert message.startswith("x: is missing. y: is not one of its fields. ")


@pytest.mark.parametrize("kind", [Item, Checked, Point, Job])
def test_a_form_of_the_fields_of_an_object_is_told_to_be_json(kind: Any) -> None:
    remedy = "x: is missing; send JSON, as x={...} or with -H 'Content-Type: application/json'. "
    assert refusal(taking(x=kind), data={"name": "a", "n": "1"}).startswith(remedy)
    assert refusal(taking(x=kind), "name=a").startswith(remedy)
    assert refusal(taking(x=kind), data={}).startswith("x: is missing. ")


def test_a_file_as_the_body_is_no_argument_without_an_annotation() -> None:
    message = refusal(lambda x: 1, **body(png(), "image/png"))
    assert message.startswith("body: no argument takes image/png; annotate one as bytes, for example. x: is")
    assert fit(lambda x=1: 1, **body(png(), "image/png")) == {}


def test_a_body_is_left_to_functions_that_need_no_argument() -> None:
    def f(name: str = "n", size: int = 1, data: bytes = b""): ...

    assert fit(f, "data=d", **body(b"text", "text/plain")) == {"data": b"d"}
    assert fit(lambda: 1, **body(b"\xff", "image/png")) == {}


@pytest.mark.parametrize(
    ("filename", "name"),
    [("photo.png", "photo.png"), ("../../etc/x.txt", "x.txt"), ("..", "upload.png"), ("ä ü.png", "ä ü.png")],
)
def test_an_upload_for_a_path_is_a_file_of_its_name(run: context.Run, filename: str, name: str) -> None:
    path = fit(taking(x=Path), **part(b"\xff", "image/png", filename=filename))["x"]
    assert isinstance(path, Path)
    assert (path.name, path.read_bytes()) == (name, b"\xff")
    assert run.folders == [str(path.parent)]
    run.remove_folders()
    assert not path.parent.exists()


def test_a_body_or_a_data_url_for_a_path_is_a_file_and_text_is_a_path(run: context.Run) -> None:
    for path in (
        fit(taking(x=Path), **body(b"[1]", "image/png"))["x"],
        fit(taking(x=Path), json={"x": "data:image/png;base64,WzFd"})["x"],
        fit(taking(x=Path), **part(b"[1]", "application/json", filename="upload.png"))["x"],
    ):
        assert (path.name, path.read_bytes()) == ("upload.png", b"[1]")
    assert fit(taking(x=Path), "x=a/b") == {"x": Path("a/b")}
    run.remove_folders()


def described(*kinds: Any, returns: Any = None) -> tuple[list[Any], dict[str, Any], Any]:
    function = taking(**{f"p{n}": kind for n, kind in enumerate(kinds)})
    if returns is not None:
        function.__annotations__["return"] = returns
    endpoint = describe(function, read_signature(function, "/f", []), "/f", ("POST",))
    schemas = [json.loads(parameter.schema) for parameter in endpoint.parameters]
    return schemas, json.loads(endpoint.definitions), json.loads(endpoint.result or "null")


def test_pydantic_describes_its_own_types() -> None:
    [one, many, pet, number], definitions, result = described(
        Item, list[Item], Cat | Dog, Annotated[int, pydantic.Field(ge=3)], returns=Item
    )
    reference = {"$ref": REFERENCE + "Item"}
    assert one == result == reference
    assert many == {"type": "array", "items": reference}
    assert pet == {"anyOf": [{"$ref": REFERENCE + "Cat"}, {"$ref": REFERENCE + "Dog"}]}
    assert number == {"type": "integer", "minimum": 3}
    own = Item.model_json_schema(ref_template=REFERENCE + "{model}")
    assert definitions["Tag"] == own.pop("$defs")["Tag"]
    assert definitions["Item"] == own


def test_classes_of_one_name_have_definitions_of_their_own() -> None:
    other = pydantic.create_model("Item", size=(int, ...))
    [one, two], definitions, _ = described(Item, other)
    assert (one, two) == ({"$ref": REFERENCE + "Item"}, {"$ref": REFERENCE + "Item_2"})
    assert definitions["Item_2"]["properties"].keys() == {"size"}


def test_the_definitions_of_a_model_in_another_class_are_among_those_of_the_endpoint() -> None:
    [job, model], definitions, _ = described(Job, Model)
    assert job == {"$ref": REFERENCE + "Job"}
    assert "Tag" in definitions
    assert definitions["Part"] == {"type": "integer"}
    assert model == {"type": "object", "properties": {"a": {"$ref": REFERENCE + "Part"}}}
    assert "$defs" not in json.dumps(definitions)


def test_files_are_described_by_their_media_types() -> None:
    [image, array, table, path], _, _ = described(PIL.Image.Image, np.ndarray, pd.DataFrame, Path)
    assert image == {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
    assert [option.get("contentMediaType") for option in array["anyOf"]] == [None, None, NPY]
    assert [option.get("contentMediaType") for option in table["anyOf"]] == [None, None, *TABLES]
    assert path == {"type": "string", "format": "path"}
