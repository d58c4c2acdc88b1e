"""owt.notebook.document: the cells of notebooks and scripts."""

import json

import nbformat
import pytest
from nbformat import v4

from owt.errors import NotebookError
from owt.notebook.document import from_ipynb, from_script, read


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **more}).encode()


def code(source: object, *tags: str) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": tags}, "outputs": []}


def test_code_cells_are_read_in_order_and_numbered():
    text = {"cell_type": "markdown", "source": "# Title"}
    raw = {"cell_type": "raw", "source": "x = 0"}
    cells = from_ipynb(notebook(text, code("x = 1"), raw, code(" \n"), code(["y = 2\n", "z = 3"])))
    assert [(cell.label, cell.text, cell.code) for cell in cells] == [
        ("cell 1", "x = 1", "x = 1"),
        ("cell 2", "y = 2\nz = 3", "y = 2\nz = 3"),
    ]


def test_file_written_by_nbformat_is_read(tmp_path):
    written = v4.new_notebook(cells=[v4.new_markdown_cell("Text"), v4.new_code_cell("print(1)\nprint(2)")])
    nbformat.write(written, tmp_path / "n.ipynb")
    assert [cell.text for cell in read(tmp_path / "n.ipynb")] == ["print(1)\nprint(2)"]


def test_tags_skip_cells_and_permit_failure():
    cells = from_ipynb(notebook(code("a", "skip-execution"), code("b", "raises-exception"), code("c")))
    assert [(cell.label, cell.may_fail) for cell in cells] == [("cell 2", True), ("cell 3", False)]


def test_tags_of_a_script_skip_cells_and_permit_failure():
    text = b'# %% tags=["raises-exception"]\nb\n# %% tags=["skip-execution"]\na\n'
    assert [(cell.label, cell.may_fail) for cell in from_script(text)] == [("line 2", True)]


def test_script_may_declare_its_encoding():
    [cell] = from_script("# -*- coding: latin-1 -*-\r\nx = 'é'\r\n".encode("latin-1"))
    assert cell.text == "x = 'é'"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "this is not a notebook"),
        (b"x = 1", "this is not a notebook"),
        (b"\xff\xfe{}", "this is not a notebook"),
        (b"[" * 100_000, "this is not a notebook"),
        (b"{}", "missing required field `nbformat`"),
        (notebook()[:-20], "this is not a notebook"),
        (notebook(nbformat=3, worksheets=[]), "format is 3.*nbconvert"),
        (notebook(nbformat=5), "format is 5, and only format 4"),
        (notebook(metadata={"language_info": {"name": "julia"}}), "language is 'julia'"),
        (notebook(metadata={"kernelspec": {"language": "R"}}), "language is 'r'"),
    ],
)
def test_file_that_is_no_python_notebook_is_refused(data, problem):
    with pytest.raises(NotebookError, match=problem):
        from_ipynb(data)


def test_script_that_cannot_be_decoded_is_refused():
    with pytest.raises(NotebookError, match="cannot be decoded"):
        from_script(b"x = '\xff'\n")


def test_messages_begin_with_the_path(tmp_path):
    (tmp_path / "n.ipynb").write_text("no")
    (tmp_path / "n.txt").write_text("")
    (tmp_path / "d.py").mkdir()
    for name, problem in [
        ("n.ipynb", "not a notebook"),
        ("n.txt", "ends in .ipynb or .py"),
        ("none.ipynb", "No such file"),
        ("d.py", "Is a directory"),
    ]:
        with pytest.raises(NotebookError, match=f"^{tmp_path / name}: .*{problem}"):
            read(tmp_path / name)


MARKED = """\
# ---
# jupyter: ...
# ---

# %%
import a

# %% [markdown]
# Some text

#%% A title tags=["raises-exception", 'x']
b = 1
"""


def script(text: str) -> list[tuple[str, str]]:
    return [(cell.label, cell.text) for cell in from_script(text.encode())]


def texts(text: str) -> list[str]:
    return [cell.text for cell in from_script(text.encode())]


def test_mark_begins_a_cell():
    assert script(MARKED) == [("line 6", "import a"), ("line 12", "b = 1")]


def test_tags_follow_the_mark():
    assert [cell.may_fail for cell in from_script(MARKED.encode())] == [False, True]


@pytest.mark.parametrize("kind", ["[markdown]", "[md]", "[raw]", "Title [markdown]"])
def test_marked_text_is_no_code(kind):
    assert texts(f'# %% {kind}\n"""text"""\n# %%\nx = 1\n') == ["x = 1"]


def test_code_before_the_first_mark_is_a_cell():
    assert texts("x = 1\n# %%\ny = 2\n") == ["x = 1", "y = 2"]


def test_mark_within_a_string_is_none():
    assert [label for label, _ in script('x = """\n# %%\n"""\n# %%\ny = 2')] == ["line 1", "line 5"]


def test_commented_cell_magic_is_no_mark():
    assert texts("# %%\n# %%time\nx = 1") == ["# %%time\nx = 1"]


def test_magics_do_not_hide_the_marks():
    assert texts("# %%\n!ls 'a\n# %%\nx = 1") == ["!ls 'a", "x = 1"]


def test_each_statement_is_a_cell_without_marks():
    text = "import a\n\n# About f.\n@b\n@c\ndef f():\n    pass\nx = 1; y = 2\n"
    assert script(text) == [
        ("line 1", "import a"),
        ("line 4", "@b\n@c\ndef f():\n    pass"),
        ("line 8", "x = 1; y = 2"),
    ]


def test_file_that_is_not_python_is_one_cell():
    assert texts("x = 1\n!ls\n") == ["x = 1\n!ls\n"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "# %%\n# %%\n"])
def test_file_without_code_has_no_cells(text):
    assert texts(text) == []


def test_marked_cell_that_is_not_python_is_a_cell():
    assert from_script(b"# %%\nx = 1\n# %%\ndef f(:\n")[1].code == "\n\n\ndef f(:"


@pytest.mark.parametrize("mark", ["", "# %%\n"])
def test_code_has_the_line_numbers_of_the_file(mark):
    for cell in from_script(f"{mark}import a\n\n{mark}def f():\n    1 / 0\n".encode()):
        lines = cell.code.split("\n")
        first = int(cell.label.removeprefix("line ")) - 1
        assert lines[first:] == cell.text.split("\n")
        assert lines[:first] == [""] * first


def test_cell_magic_stays_in_its_first_line():
    assert from_script(b"# %%\nx = 1\n# %%\n%%bash\nls\n")[1].code == "%%bash\nls"
