"""The generated parts of the documentation are those that docs/generate.py makes."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from pages import DOCS

from owt.frontend.config.settings import settings


@pytest.fixture(scope="module")
def generate():
    """Return docs/generate.py as a module."""
    specification = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings.md", "cli.md"])
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
