import json

import nbformat
import pytest
from nbformat import v4

from owt.errors import NotebookError
from owt.notebook.document import from_notebook, from_script, read


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **more}).encode()


def code(source: object, *tags: str) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": tags}, "outputs": []}


def test_the_code_cells_are_read_in_order_and_numbered():
    text = {"cell_type": "markdown", "source": "# Title"}
    raw = {"cell_type": "raw", "source": "x = 0"}
    cells = from_notebook(notebook(text, code("x = 1"), raw, code(" \n"), code(["y = 2\n", "z = 3"])))
    assert [(cell.label, cell.text, cell.code) for cell in cells] == [
        ("cell 1", "x = 1", "x = 1"),
        ("cell 2", "y = 2\nz = 3", "y = 2\nz = 3"),
    ]


def test_it_is_what_nbformat_writes(tmp_path):
    written = v4.new_notebook(cells=[v4.new_markdown_cell("Text"), v4.new_code_cell("print(1)\nprint(2)")])
    nbformat.write(written, tmp_path / "n.ipynb")
    assert [cell.text for cell in read(tmp_path / "n.ipynb")] == ["print(1)\nprint(2)"]


def test_tags_say_what_does_not_run_and_what_may_fail():
    cells = from_notebook(notebook(code("a", "skip-execution"), code("b", "raises-exception"), code("c")))
    assert [(cell.label, cell.may_fail) for cell in cells] == [("cell 2", True), ("cell 3", False)]


def test_a_script_has_tags_too():
    text = b'# %% tags=["raises-exception"]\nb\n# %% tags=["skip-execution"]\na\n'
    assert [(cell.label, cell.may_fail) for cell in from_script(text)] == [("line 2", True)]


def test_a_script_may_say_its_encoding():
    [cell] = from_script("# -*- coding: latin-1 -*-\r\nx = 'é'\r\n".encode("latin-1"))
    assert cell.text == "x = 'é'"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "this is no notebook"),
        (b"x = 1", "this is no notebook"),
        (b"\xff\xfe{}", "this is no notebook"),
        (b"[" * 100_000, "this is no notebook"),
        (b"{}", "missing required field `nbformat`"),
        (notebook()[:-20], "this is no notebook"),
        (notebook(nbformat=3, worksheets=[]), "format is 3.*nbconvert"),
        (notebook(nbformat=5), "format is 5, and only format 4"),
        (notebook(metadata={"language_info": {"name": "julia"}}), "language is 'julia'"),
        (notebook(metadata={"kernelspec": {"language": "R"}}), "language is 'r'"),
    ],
)
def test_what_is_no_notebook_for_python_is_refused(data, problem):
    with pytest.raises(NotebookError, match=problem):
        from_notebook(data)


def test_a_script_that_cannot_be_decoded_is_refused():
    with pytest.raises(NotebookError, match="cannot be decoded"):
        from_script(b"x = '\xff'\n")


def test_messages_begin_with_the_file(tmp_path):
    (tmp_path / "n.ipynb").write_text("no")
    (tmp_path / "n.txt").write_text("")
    (tmp_path / "d.py").mkdir()
    for name, problem in [
        ("n.ipynb", "no notebook"),
        ("n.txt", "ends in .ipynb or .py"),
        ("none.ipynb", "No such file"),
        ("d.py", "Is a directory"),
    ]:
        with pytest.raises(NotebookError, match=f"^{tmp_path / name}: .*{problem}"):
            read(tmp_path / name)
