"""owt.kernel.answer.representations: the choice among the media types of an object."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from PIL import Image

from owt.kernel.answer.representations import Representation, Rich, find, ranked

PNG = b"\x89PNG\r\n\x1a\n"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SAFARI = "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8"
FIGURE = ("text/html", "image/png", "image/svg+xml", "image/jpeg", "application/pdf", "text/plain")
TABLE = ("text/html", "text/csv", "application/json", "text/plain")
CHART = ("application/vnd.vegalite.v5+json", "text/plain")


@pytest.mark.parametrize(
    ("accept", "available", "first"),
    [
        ("*/*", FIGURE, "image/png"),
        ("", FIGURE, "image/png"),
        ("*", FIGURE, "image/png"),
        ("*/*", FIGURE[2:], "image/svg+xml"),
        ("*/*", FIGURE[3:], "image/jpeg"),
        ("*/*", TABLE, "text/plain"),
        ("*/*", CHART, "text/plain"),
        ("image/*", FIGURE, "image/png"),
        ("image/svg+xml", FIGURE, "image/svg+xml"),
        ("IMAGE/SVG+XML", FIGURE, "image/svg+xml"),
        ("application/pdf", FIGURE, "application/pdf"),
        ("image/png;q=0.5, image/svg+xml", FIGURE, "image/svg+xml"),
        ("image/svg+xml, image/*", FIGURE, "image/svg+xml"),
        ("image/png;q=0, */*", FIGURE, "image/svg+xml"),
        ("image/png;q=0, image/*", FIGURE, "image/svg+xml"),
        ("*/*;q=0.1, image/*;q=0.2, image/jpeg;q=0.3", FIGURE, "image/jpeg"),
        ("text/*", TABLE, "text/html"),
        ("text/html, text/csv", TABLE, "text/html"),
        ("text/csv", TABLE, "text/csv"),
        ("text/csv, */*", TABLE, "text/csv"),
        ("application/json", TABLE, "application/json"),
        ("application/*", TABLE, "application/json"),
        ("text/plain; charset=utf-8", TABLE, "text/plain"),
        ("text/html;level=1", TABLE, "text/html"),
        ("text/html;q=high", TABLE, "text/html"),
        ("application/vnd.vegalite.v5+json, text/plain", CHART, "text/plain"),
        ("application/vnd.vegalite.v5+json, text/plain;q=0.9", CHART, "application/vnd.vegalite.v5+json"),
        ("application/vnd.vegalite.v5+json", CHART, "application/vnd.vegalite.v5+json"),
        ("application/vnd.vegalite.v5+json, */*", CHART, "application/vnd.vegalite.v5+json"),
        ("audio/ogg", FIGURE, "image/png"),
        ("audio/ogg", TABLE, "text/plain"),
        ("rubbish ;;, ,q=", TABLE, "text/plain"),
        (CHROME, TABLE, "text/html"),
        (FIREFOX, TABLE, "text/html"),
        (SAFARI, TABLE, "text/html"),
        (CHROME, FIGURE[1:], "image/png"),
        (FIREFOX, FIGURE[1:], "image/png"),
        (SAFARI, FIGURE[1:], "image/png"),
    ],
)
def test_ranked_puts_the_preferred_type_first(
    accept: str, available: tuple[str, ...], first: str
) -> None:
    assert ranked(accept, available)[0] == first
    assert ranked(accept, reversed(available))[0] == first


def test_ranked_returns_every_available_type() -> None:
    assert sorted(ranked("text/html", FIGURE)) == sorted(FIGURE)


@pytest.fixture(scope="module")
def formatter() -> DisplayFormatter:
    return DisplayFormatter()


@pytest.fixture
def figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2, 3])
    return figure


class Chosen:
    """Object that counts the representations that were computed."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def _repr_html_(self) -> str:
        self.computed.append("html")
        return "<b>ü</b>"

    def _repr_svg_(self) -> str:
        self.computed.append("svg")
        return "<svg/>"

    def __repr__(self) -> str:
        self.computed.append("plain")
        return "Chosen"


class Giving:
    """Object with the representations that it is created with."""

    def __init__(self, **methods: Any) -> None:
        for name, data in methods.items():
            setattr(self, f"_repr_{name}_", partial(copy, data))

    def __repr__(self) -> str:
        return "Giving"


class Bundle:
    def __init__(self, bundle: Any) -> None:
        self._bundle = bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self._bundle


class Failing:
    def _repr_html_(self) -> str:
        raise ZeroDivisionError("no html today")


def rich_of(value: object, formatter: DisplayFormatter) -> Rich:
    rich = find(value, formatter)
    assert rich is not None
    return rich


@pytest.mark.parametrize(
    "value", [object(), "text", {}, [1], Chosen, Giving(), Bundle({"text/plain": "x"}), Bundle(None)]
)
def test_an_object_with_only_plain_text_has_no_rich_representation(
    value: object, formatter: DisplayFormatter
) -> None:
    assert find(value, formatter) is None


def test_an_object_with_any_attribute_has_no_rich_representation(formatter: DisplayFormatter) -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: "anything"

    assert find(Proxy(), formatter) is None


def test_an_object_computes_the_chosen_representation_only(formatter: DisplayFormatter) -> None:
    value = Chosen()
    assert rich_of(value, formatter).choose("text/html") == Representation(
        "text/html", "<b>ü</b>".encode(), "text"
    )
    assert value.computed == ["html"]


def test_text_representations_have_a_charset() -> None:
    assert Representation("text/csv", b"", "text").content_type == "text/csv; charset=utf-8"
    assert Representation("image/svg+xml", b"", "text").content_type == "image/svg+xml"


def test_a_representation_that_is_none_is_skipped(formatter: DisplayFormatter) -> None:
    value = Giving(html=None, markdown="*b*")
    assert rich_of(value, formatter).choose("text/html, text/markdown;q=0.5").mime == "text/markdown"


def test_a_representation_that_is_not_implemented_is_skipped(formatter: DisplayFormatter) -> None:
    class Half:
        def _repr_html_(self) -> str:
            raise NotImplementedError

        def _repr_svg_(self) -> str:
            return "<svg/>"

    assert rich_of(Half(), formatter).choose("text/html").mime == "image/svg+xml"


def test_an_error_in_a_representation_is_raised(formatter: DisplayFormatter) -> None:
    with pytest.raises(ZeroDivisionError, match="no html today"):
        rich_of(Failing(), formatter).choose("text/html")


def test_metadata_of_a_representation_is_ignored(formatter: DisplayFormatter) -> None:
    assert rich_of(Giving(html=("<p>", {"isolated": True})), formatter).choose("text/html").body == b"<p>"


def test_a_base64_image_is_decoded(formatter: DisplayFormatter) -> None:
    value = Giving(png=base64.b64encode(PNG).decode())
    assert rich_of(value, formatter).choose("image/png") == Representation("image/png", PNG, "bytes")


def test_a_json_representation_is_one_compact_document(formatter: DisplayFormatter) -> None:
    assert rich_of(Giving(json={"a": [np.int64(1)]}), formatter).choose("application/json") == Representation(
        "application/json", b'{"a":[1]}', "json"
    )


def test_json_text_stays_json_in_one_line(formatter: DisplayFormatter) -> None:
    rich = rich_of(Bundle({"application/vnd.x+json": '{\n "a": 1.10\n}\n'}), formatter)
    assert rich.choose("application/vnd.x+json").body == b'{"a":1.10}'


def test_a_json_representation_that_is_no_json_becomes_a_string(formatter: DisplayFormatter) -> None:
    assert rich_of(Bundle({"application/json": "so"}), formatter).choose("application/json").body == b'"so"'


def test_a_list_of_two_is_json_and_not_data_with_metadata(formatter: DisplayFormatter) -> None:
    assert rich_of(Giving(json=[1, {}]), formatter).choose("application/json").body == b"[1,{}]"


def test_a_text_representation_that_is_no_str_is_an_error(formatter: DisplayFormatter) -> None:
    with pytest.raises(TypeError, match=r"Giving returns a value of type int as text/html"):
        rich_of(Giving(html=7), formatter).choose("text/html")


def test_a_mime_bundle_is_chosen_by_its_types(formatter: DisplayFormatter) -> None:
    rich = rich_of(
        Bundle({"application/vnd.vegalite.v5+json": {"mark": "bar"}, "text/plain": "chart"}), formatter
    )
    assert rich.choose("application/vnd.vegalite.v5+json").body == b'{"mark":"bar"}'
    assert rich.choose("*/*") == Representation("text/plain", b"chart", "text")


def test_a_mime_bundle_may_come_with_metadata(formatter: DisplayFormatter) -> None:
    rich = rich_of(Bundle(({"text/html": "<p>"}, {"text/html": {}})), formatter)
    assert rich.choose("text/html").body == b"<p>"


def test_a_registered_function_wins_over_the_method() -> None:
    formatter = DisplayFormatter()
    formatter.formatters["text/html"].for_type(Chosen, lambda value: "<i>registered</i>")
    assert rich_of(Chosen(), formatter).choose("text/html").body == b"<i>registered</i>"


def test_disabled_formatters_are_used() -> None:
    formatter = DisplayFormatter()
    formatter.active_types = ["text/plain"]
    assert rich_of(Chosen(), formatter).choose("text/html").mime == "text/html"


@pytest.mark.parametrize(
    ("accept", "mime", "start"),
    [
        ("*/*", "image/png", PNG),
        (SAFARI, "image/png", PNG),
        ("image/svg+xml", "image/svg+xml", b"<?xml"),
        ("image/jpeg", "image/jpeg", b"\xff\xd8\xff"),
        ("application/pdf", "application/pdf", b"%PDF-"),
        ("text/plain", "text/plain", b"<Figure size 200x100 with 1 Axes>"),
    ],
)
def test_a_figure_is_drawn_in_the_accepted_format(
    figure: Figure, formatter: DisplayFormatter, accept: str, mime: str, start: bytes
) -> None:
    chosen = rich_of(figure, formatter).choose(accept)
    assert chosen.mime == mime
    assert chosen.body.startswith(start)


def test_a_figure_is_drawn_only_in_the_chosen_format(
    figure: Figure, formatter: DisplayFormatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    savefig = Figure.savefig

    def spy(self: Figure, *args: Any, **options: Any) -> None:
        drawn.append(options["format"])
        savefig(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    rich_of(figure, formatter).choose("image/svg+xml")
    assert drawn == ["svg"]


@pytest.fixture
def _agg() -> Iterator[None]:
    with mpl.rc_context({"backend": "agg"}):
        yield


@pytest.mark.usefixtures("_agg")
def test_a_figure_of_pyplot_stays_open_after_it_was_drawn(formatter: DisplayFormatter) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    try:
        axes.plot([1, 2])
        rich_of(figure, formatter).choose("*/*")
        assert plt.fignum_exists(figure.number)
    finally:
        plt.close(figure)


def test_a_figure_is_drawn_as_the_shells_inline_figures_are(figure: Figure) -> None:
    from IPython.core.pylabtools import select_figure_formats

    formatter = DisplayFormatter()
    select_figure_formats(SimpleNamespace(display_formatter=formatter), {"png"}, dpi=50)
    chosen = rich_of(figure, formatter).choose("*/*")
    assert Image.open(io.BytesIO(chosen.body)).width < 150


def test_an_empty_figure_is_an_image(formatter: DisplayFormatter) -> None:
    assert rich_of(Figure(figsize=(1, 1)), formatter).choose("*/*").body.startswith(PNG)


def test_a_figures_bundle_has_png_and_text_as_in_notebooks(
    figure: Figure, formatter: DisplayFormatter
) -> None:
    bundle = json.loads(rich_of(figure, formatter).bundle())
    assert bundle.keys() == {"image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)


def test_a_pil_image_is_sent_as_png(formatter: DisplayFormatter) -> None:
    image = Image.new("RGBA", (3, 2), (255, 0, 0, 128))
    chosen = rich_of(image, formatter).choose("*/*")
    assert chosen.mime == "image/png"
    assert Image.open(io.BytesIO(chosen.body)).size == (3, 2)


def test_a_pil_image_without_jpeg_is_sent_as_png(formatter: DisplayFormatter) -> None:
    image = Image.new("RGBA", (3, 2))
    assert rich_of(image, formatter).choose("image/jpeg").mime == "image/png"


@pytest.mark.parametrize(
    ("accept", "mime", "body"),
    [
        ("text/csv", "text/csv", ",a,b\n0,1,x\n1,2,y\n"),
        ("application/json", "application/json", '[{"a":1,"b":"x"},{"a":2,"b":"y"}]'),
        ("*/*", "text/plain", "   a  b\n0  1  x\n1  2  y"),
    ],
)
def test_a_data_frame_is_sent_in_the_accepted_format(
    formatter: DisplayFormatter, accept: str, mime: str, body: str
) -> None:
    chosen = rich_of(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), formatter).choose(accept)
    assert (chosen.mime, chosen.body.decode()) == (mime, body)


def test_a_browser_gets_a_data_frame_as_html(formatter: DisplayFormatter) -> None:
    chosen = rich_of(pd.DataFrame({"a": [1]}), formatter).choose(SAFARI)
    assert chosen.mime == "text/html"
    assert b"<table" in chosen.body


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("application/json", "[1,2]"),
        ("text/csv", ",s\n0,1\n1,2\n"),
        ("*/*", "0    1\n1    2\nName: s, dtype: int64"),
    ],
)
def test_a_series_is_sent_in_the_accepted_format(formatter: DisplayFormatter, accept: str, body: str) -> None:
    assert rich_of(pd.Series([1, 2], name="s"), formatter).choose(accept).body.decode() == body


def test_a_data_frames_bundle_is_that_of_notebooks(formatter: DisplayFormatter) -> None:
    bundle = json.loads(rich_of(pd.DataFrame({"a": [1]}), formatter).bundle())
    assert bundle.keys() == {"text/html", "text/plain"}


def test_a_bundle_has_text_json_and_base64(formatter: DisplayFormatter) -> None:
    value = Giving(html="<b>ü</b>", json={"a": 1}, png=PNG, latex=None)
    assert json.loads(rich_of(value, formatter).bundle()) == {
        "application/json": {"a": 1},
        "image/png": base64.b64encode(PNG).decode(),
        "text/html": "<b>ü</b>",
        "text/plain": "Giving",
    }


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        ("*/*", "image/png"),
        ("text/event-stream", "image/png"),
        ("text/event-stream, image/svg+xml;q=0.9", "image/svg+xml"),
    ],
)
def test_a_bundle_has_the_picture_that_the_client_prefers(
    formatter: DisplayFormatter, accept: str, picture: str
) -> None:
    bundle = json.loads(rich_of(Giving(png=PNG, svg=b"<svg/>", jpeg=None), formatter).bundle(accept))
    assert bundle.keys() == {picture, "text/plain"}


def test_a_bundle_has_another_picture_if_the_preferred_one_is_none(formatter: DisplayFormatter) -> None:
    bundle = json.loads(rich_of(Giving(png=None, svg=b"<svg/>"), formatter).bundle())
    assert bundle.keys() == {"image/svg+xml", "text/plain"}


def test_a_bundle_has_a_drawn_format_that_the_client_names(
    formatter: DisplayFormatter, figure: Figure
) -> None:
    bundle = json.loads(rich_of(figure, formatter).bundle("text/event-stream, image/jpeg"))
    assert bundle.keys() == {"image/jpeg", "text/plain"}


def test_no_library_is_imported_to_look_at_an_object() -> None:
    program = """
import sys
from IPython.core.formatters import DisplayFormatter
from owt.kernel.answer.representations import find
assert find(object(), DisplayFormatter()) is None
print([name for name in ("numpy", "pandas", "matplotlib", "PIL", "werkzeug") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
