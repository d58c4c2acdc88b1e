"""The generated parts of the documentation are up to date."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from types import ModuleType

import pytest
from pages import DOCS

from owt.frontend.config.settings import settings


def load(script: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    specification = importlib.util.spec_from_file_location(f"docs_{script}", DOCS / f"{script}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Return docs/generate.py."""
    return load("generate")


def words(svg: str) -> list[str]:
    """Return the words of a picture's text, whichever way its lines are divided into elements."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return html.unescape(" ".join(texts)).split()


@pytest.mark.parametrize("page", ["settings.md", "cli.md", "conversions.md"])
def test_a_generated_page_is_up_to_date(generate, page):
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    assert text == generate.generated(page), "run: python docs/generate.py"


def test_every_setting_is_documented():
    text = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    assert [row.option for row in settings() if f"`{row.option}" not in text] == []
    assert [row.variable for row in settings() if f"`{row.variable}`" not in text] == []


def test_every_generated_page_has_one_pair_of_marks(generate, tmp_path, monkeypatch):
    (tmp_path / "settings.md").write_text("no marks")
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    with pytest.raises(ValueError, match=r"settings\.md: expected one pair of marks, got 0"):
        generate.generated("settings.md")


def test_the_picture_shows_what_a_server_answers(server):
    picture = load("make_picture")
    text = picture.PICTURE.read_text(encoding="utf-8")
    drawn = picture.draw(server)
    server.ask("DELETE", "/_owt/sessions/demo")
    assert words(drawn) == words(text), "run: make picture"


def test_the_table_has_a_row_for_each_setting(generate):
    lines = generate.settings_table().splitlines()
    assert len(lines) == 2 + len(settings())
    for line, row in zip(lines[2:], settings(), strict=True):
        assert line.count(" | ") == 3
        assert f"`{row.variable}`" in line
        assert row.option in line
        assert row.help in line
