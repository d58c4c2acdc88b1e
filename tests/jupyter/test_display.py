"""owt.jupyter.display: the display messages of a call's output in a notebook."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from owt.jupyter import display
from owt.jupyter.output_items import Blob, JsonValue, MimeBundle, OutputItem, TextValue
from owt.lib.encoding import wav

SOUND = wav(np.zeros(500, np.int16), 1000)
PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 20 + b"IEND\xaeB`\x82"


@pytest.fixture
def messages(monkeypatch):
    """Return a function that gives the display messages of some items, as arguments of Jupyter's function."""
    published: list[dict[str, Any]] = []

    def publish(data: dict[str, Any], metadata: object = None, **arguments: Any) -> None:
        published.append({"data": data, **arguments})

    monkeypatch.setattr(display, "_publish", publish)

    def show(*items: OutputItem) -> list[dict[str, Any]]:
        renderer = display.NotebookRenderer()
        for item in items:
            renderer.show(item)
        renderer.end()
        return published

    return show


def test_a_bundle_keeps_its_id_so_that_other_cells_can_update_it(messages):
    [message] = messages(MimeBundle({"text/plain": "a"}, id="d", update=True))
    assert message == {"data": {"text/plain": "a"}, "transient": {"display_id": "d"}, "update": True}


def test_an_update_without_an_id_is_a_new_display(messages):
    [message] = messages(MimeBundle({"text/plain": "a"}, update=True))
    assert message == {"data": {"text/plain": "a"}, "transient": {}, "update": False}


def test_a_picture_is_displayed_when_its_last_byte_arrives(messages):
    first, rest = Blob(PICTURE[:20], "image/png"), Blob(PICTURE[20:], "image/png")
    [message] = messages(first, rest, TextValue("after\n"))
    assert message["data"]["image/png"] == base64.b64encode(PICTURE).decode()
    assert message["data"]["text/plain"] == f"image/png, {len(PICTURE)} bytes"


def test_sounds_of_one_call_play_one_after_another(messages):
    first, second = messages(Blob(SOUND, "audio/wav"), Blob(SOUND, "audio/wav"))
    chain = first["data"]["text/html"].split('data-owt="')[1][:8]
    assert f'data-owt="{chain}"' in second["data"]["text/html"]
    assert first["data"]["text/plain"] == "audio/wav, 0.5 s, 1.0 kB"


def test_a_sound_in_json_has_the_other_members_as_its_caption(messages):
    document = {"sentence": "One <b>.", "chunk": base64.b64encode(SOUND).decode()}
    [message] = messages(JsonValue(document))
    assert "<span>One &lt;b&gt;. " in message["data"]["text/html"]
    assert message["data"]["text/plain"] == "One <b>. (audio/wav, 0.5 s, 1.0 kB)"


@pytest.mark.parametrize(("lines", "is_tree"), [(10, False), (100, True)])
def test_long_json_is_displayed_as_a_tree_as_well(messages, lines, is_tree):
    [message] = messages(JsonValue(["x" * 80] * lines))
    assert message["data"]["text/plain"].count("\n") == lines + 1
    assert ("application/json" in message["data"]) == is_tree
