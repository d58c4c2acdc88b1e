"""Page of examples/ocr, operated in a browser. The recognition is scripted; tests/models has the real one."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from owt.testing import LiveServer, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "ocr"
RECOGNITION = """
import sys
from types import SimpleNamespace

import numpy as np

class RapidOCR:
    def __init__(self, params):
        pass

    def __call__(self, array):
        if array.min() == 255:
            return SimpleNamespace(txts=None)
        box = np.array([[10, 20], [50, 20], [50, 40], [10, 40]], "f4")
        return SimpleNamespace(txts=("a <b>", "second"), scores=(1.0, 0.5), boxes=[box, box + 30])

sys.modules["rapidocr"] = SimpleNamespace(RapidOCR=RapidOCR)
"""
PIXEL = "return [...document.querySelector('canvas').getContext('2d').getImageData(...arguments, 1, 1).data]"


@pytest.fixture
def page(chromium: webdriver.Chrome, server: LiveServer) -> Iterator[webdriver.Chrome]:
    """Open the page of a session that runs the example."""
    fields = {"session": "ocr", "cwd": str(EXAMPLE)}
    for code in RECOGNITION, (EXAMPLE / "read.py").read_text():
        assert server.call(code, **fields).status_code == 200
    chromium.get(f"{server.url}/ocr")
    yield chromium
    chromium.get("about:blank")
    server.ask("DELETE", "/_owt/sessions/ocr")


def upload(page: webdriver.Chrome, file: Path, status: str) -> None:
    page.find_element(By.TAG_NAME, "input").send_keys(str(file))
    wait_until(lambda: page.find_element(By.TAG_NAME, "p").text.startswith(status))


def test_page_draws_a_frame_around_each_line_and_lists_it(page: webdriver.Chrome, tmp_path: Path) -> None:
    picture = runpy.run_path(str(EXAMPLE / "page.py"))["run"](["Any Python,", "over HTTP."])
    picture.save(tmp_path / "page.png")
    upload(page, tmp_path / "page.png", "2 lines")
    assert [item.text for item in page.find_elements(By.TAG_NAME, "li")] == ["a <b>", "second"]
    canvas = page.find_element(By.TAG_NAME, "canvas")
    assert [int(canvas.get_property(side)) for side in ("width", "height")] == [*picture.size]
    red, green, _, _ = page.execute_script(PIXEL, 30, 20)
    assert red > green
    assert page.execute_script(PIXEL, 2, 2) == [255, 255, 255, 255]
    (tmp_path / "notes.txt").write_text("no picture")
    upload(page, tmp_path / "notes.txt", "body: no argument takes text/plain")
    assert page.find_elements(By.TAG_NAME, "li") == []


def test_page_says_that_a_picture_has_no_text(page: webdriver.Chrome, tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE / "page.py"))["run"]([]).save(tmp_path / "empty.png")
    upload(page, tmp_path / "empty.png", "0 lines")
