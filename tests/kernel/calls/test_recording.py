"""owt.kernel.calls.recording: what a call without a value has shown, as its answer."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from owt.kernel.answer.representations import Representation
from owt.kernel.calls import recording
from owt.kernel.calls.recording import WIDGET, Recording
from owt.wire.chunk import FACTS

PNG = b"\x89PNG picture"
PICTURE = {"text/plain": "<Figure>", "image/png": base64.b64encode(PNG).decode()}
PAGE = {"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>page</b>"}


def text_of(kept: Recording) -> str:
    answer = kept.answer()
    assert answer is None or answer.mime == "text/plain"
    return "" if answer is None else answer.body.decode()


def show(kept: Recording, bundle: dict[str, Any], id: str | None = None, *, update: bool = False) -> None:
    kept.show({**bundle, FACTS: {"display_id": id, "update": update}})


def test_nothing_shown_is_no_answer() -> None:
    assert Recording("*/*").answer() is None


@pytest.mark.parametrize(
    ("accept", "bundle", "answer"),
    [
        ("*/*", PICTURE, Representation("image/png", PNG, "bytes")),
        ("application/pdf", PICTURE, Representation("image/png", PNG, "bytes")),
        ("*/*", PAGE, Representation("text/html", b"<b>page</b>", "text")),
        ("text/plain", PAGE, Representation("text/plain", b"<IPython.core.display.HTML object>\n", "text")),
        ("*/*", {"text/plain": "7"}, Representation("text/plain", b"7\n", "text")),
        ("*/*", {"application/json": [1, 2]}, Representation("application/json", b"[1,2]", "json")),
    ],
)
def test_a_display_is_the_answer_in_the_type_that_the_client_prefers(
    accept: str, bundle: dict[str, Any], answer: Representation
) -> None:
    kept = Recording(accept)
    kept.write("printed\n")
    kept.show(bundle)
    if answer.mime == "text/plain":
        answer = answer._replace(body=b"printed\n" + answer.body)
    assert kept.answer() == answer
    assert kept.has_displays


def test_the_last_picture_is_the_answer() -> None:
    kept = Recording("*/*")
    show(kept, PAGE)
    show(kept, PICTURE)
    show(kept, {"text/plain": "text"})
    assert kept.answer() == Representation("image/png", PNG, "bytes")


def test_prints_and_displays_of_text_keep_their_order() -> None:
    kept = Recording("*/*")
    kept.write("a\r\n")
    show(kept, {"text/plain": "1"})
    kept.write("b\n")
    assert text_of(kept) == "a\n1\nb\n"


def test_an_update_replaces_the_display_with_its_id_only() -> None:
    kept = Recording("*/*")
    for id in ("x", "y"):
        show(kept, {"text/plain": id}, id)
    show(kept, {"text/plain": "new"}, "x", update=True)
    assert text_of(kept) == "new\ny\n"
    show(kept, PICTURE, "picture")
    show(kept, PAGE, "other", update=True)
    assert kept.answer() == Representation("image/png", PNG, "bytes")
    show(kept, PAGE, "picture", update=True)
    assert kept.answer() == Representation("text/html", b"<b>page</b>", "text")


def test_cleared_output_is_no_answer() -> None:
    kept = Recording("*/*")
    kept.write("a\n")
    show(kept, PICTURE)
    kept.show({FACTS: {"clear": "now"}})
    assert kept.answer() is None
    assert not kept.has_displays


def test_output_that_waits_to_be_cleared_goes_with_the_next_output() -> None:
    kept = Recording("*/*")
    kept.write("a\n")
    kept.show({FACTS: {"clear": "wait"}})
    assert text_of(kept) == "a\n"
    kept.write("b\n")
    assert text_of(kept) == "b\n"


@pytest.mark.parametrize("bundle", [{}, {**PAGE, WIDGET: {}}, {"image/png": "a"}, {"text/html": 7}])
def test_a_display_that_no_client_can_read_is_no_answer(bundle: dict[str, Any]) -> None:
    kept = Recording("*/*")
    kept.show(bundle)
    assert kept.answer() is None


def test_too_much_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_RECORDED", 4)
    kept = Recording("*/*")
    kept.write("123")
    show(kept, {"text/plain": "456"})
    assert text_of(kept) == "1234\n... 3 characters left out ...\n"


def test_lone_surrogates_become_escapes() -> None:
    kept = Recording("*/*")
    kept.write("\udc80")
    assert text_of(kept) == "\\udc80"
