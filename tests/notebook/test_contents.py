import pytest
from notebook_files import save

from owt.errors import NotebookError
from owt.notebook.contents import Contents


def contents(tmp_path, *cells: str) -> Contents:
    save(tmp_path / "n.ipynb", *cells)
    return Contents.of(tmp_path / "n.ipynb")


def test_comments_and_layout_make_no_other_contents(tmp_path):
    first = contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x)")
    assert first.same(contents(tmp_path, "# About x.\nx = f(1)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f(2)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x, x)"))


def test_what_marked_cells_use_is_known(tmp_path):
    found = contents(tmp_path, "# GET /x\nprint(x)", "# ResponseInfo GET /x\nprint(y)")
    assert [name for user in found.users for each in user for name in sorted(each.eager)] == [
        *("print", "x"),
        *("print", "y"),
    ]


def test_a_script_has_marked_cells_too(tmp_path):
    path = tmp_path / "n.py"
    path.write_text("# %%\nimport json\n\n# %%\n# GET /x/:y\nprint(REQUEST)\n")
    found = Contents.of(path)
    assert [cell.text for cell in found.cells] == ["import json"]
    assert [(each.label, each.path) for each in found.marked] == [("line 5", "/x/{y}")]


@pytest.mark.parametrize("cell", ["# GET /a:b\n1"])
def test_messages_begin_with_the_file(tmp_path, cell):
    with pytest.raises(NotebookError, match=rf"^{tmp_path}/n\.ipynb: cell 1: '/a:b'"):
        contents(tmp_path, cell)
