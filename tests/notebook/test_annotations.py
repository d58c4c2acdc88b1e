"""What counts as a mark, and what becomes of it, is as in Jupyter Kernel Gateway 3.0."""

import pytest

from owt.errors import NotebookError
from owt.notebook.annotations import Annotated, is_marked, split
from owt.notebook.document import Cell


def cells(*texts: str) -> list[Cell]:
    return [Cell(f"cell {number}", text, text) for number, text in enumerate(texts, 1)]


def test_marked_cells_are_apart_from_the_others():
    plain, marked = split(cells("x = 1", "# GET /hello\nprint(x)", "y = 2"))
    assert [cell.text for cell in plain] == ["x = 1", "y = 2"]
    assert marked == [Annotated("cell 2", "GET", "/hello", (), "/hello", "# GET /hello\nprint(x)\n")]


def test_cells_with_one_mark_are_one():
    _, marked = split(cells("# GET /a\nx = 1", "# POST /a\nx = 2", "# GET /a\nprint(x)"))
    assert [(each.label, each.method, each.code) for each in marked] == [
        ("cell 1", "GET", "# GET /a\nx = 1\n# GET /a\nprint(x)\n"),
        ("cell 2", "POST", "# POST /a\nx = 2\n"),
    ]


def test_a_response_info_belongs_to_its_method_and_path():
    first, second = "# ResponseInfo GET /a\nprint(1)", "#  ResponseInfo  GET  /a \nprint(2)"
    _, marked = split(cells(first, "# GET /a", "# POST /a", "# ResponseInfo GET /b", second))
    assert [each.response for each in marked] == [f"{first}\n{second}\n", None]


def test_parameters_are_segments():
    _, [marked] = split(cells("# PUT /user/:name/:class "))
    assert (marked.path, marked.names, marked.shown) == (
        "/user/{name}/{class_}",
        ("name", "class"),
        "/user/:name/:class",
    )


@pytest.mark.parametrize("path", ["/a:b", "/:a.json", "/:a-b", "/:"])
def test_other_parameters_cannot_be(path):
    with pytest.raises(NotebookError, match=r"cell 1: .*a parameter is a whole segment"):
        split(cells(f"# GET {path}"))


@pytest.mark.parametrize(
    "text", ["#GET /a", "# get /a", "# PATCH /a", "# GET a", "\n# GET /a", "x = 1  # GET /a", "# GETS /a"]
)
def test_what_is_no_mark(text):
    assert not is_marked(cells(text)[0])
