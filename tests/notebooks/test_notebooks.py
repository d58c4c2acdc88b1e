"""The tutorials of notebooks/ do what they say, and are saved as they are written: without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from executed import ROOT, Executed, execute

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run(name: str, folder: Path) -> Executed:
    return execute(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4), folder)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_without_what_its_last_user_saw(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(document)
    assert document["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in document["cells"]:
        assert cell["metadata"] == {}
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_each_notebook_is_executed_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in NOTEBOOKS if f'run("{path.stem}"' not in text] == []


def test_first_call(tmp_path):
    seen = run("01_first_call", tmp_path)
    print(seen.outputs)
