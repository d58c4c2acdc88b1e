"""owt.notebook.endpoint_cells. The expected results are those of Jupyter Kernel Gateway 3.0."""

import pytest

from owt.errors import NotebookError
from owt.notebook.document import CodeCell
from owt.notebook.endpoint_cells import EndpointCell, is_annotated, split


def cells(*texts: str) -> list[CodeCell]:
    return [CodeCell(f"cell {number}", text, text) for number, text in enumerate(texts, 1)]


def test_annotated_cells_are_separate_from_the_others():
    plain, annotated = split(cells("x = 1", "# GET /hello\nprint(x)", "y = 2"))
    assert [cell.text for cell in plain] == ["x = 1", "y = 2"]
    assert annotated == [EndpointCell("cell 2", "GET", "/hello", (), "/hello", "# GET /hello\nprint(x)\n")]


def test_cells_with_one_annotation_are_joined():
    _, annotated = split(cells("# GET /a\nx = 1", "# POST /a\nx = 2", "# GET /a\nprint(x)"))
    assert [(cell.label, cell.method, cell.code) for cell in annotated] == [
        ("cell 1", "GET", "# GET /a\nx = 1\n# GET /a\nprint(x)\n"),
        ("cell 2", "POST", "# POST /a\nx = 2\n"),
    ]


def test_response_info_belongs_to_its_method_and_path():
    first, second = "# ResponseInfo GET /a\nprint(1)", "#  ResponseInfo  GET  /a \nprint(2)"
    _, annotated = split(cells(first, "# GET /a", "# POST /a", "# ResponseInfo GET /b", second))
    assert [cell.response for cell in annotated] == [f"{first}\n{second}\n", None]


def test_joined_cells_may_fail_if_one_of_them_may():
    tagged = CodeCell("cell 2", "# GET /a\nx", "# GET /a\nx", may_fail=True)
    _, annotated = split([*cells("# GET /a", "# GET /b"), tagged])
    assert [(cell.path, cell.may_fail) for cell in annotated] == [("/a", True), ("/b", False)]


def test_parameter_is_a_whole_segment():
    _, [annotated] = split(cells("# PUT /user/:name/:class "))
    assert (annotated.path, annotated.names, annotated.raw_path) == (
        "/user/{name}/{class_}",
        ("name", "class"),
        "/user/:name/:class",
    )


@pytest.mark.parametrize("path", ["/a:b", "/:a.json", "/:a-b", "/:"])
def test_parameter_within_a_segment_is_refused(path):
    with pytest.raises(NotebookError, match=r"cell 1: .*a parameter is a whole segment"):
        split(cells(f"# GET {path}"))


@pytest.mark.parametrize(
    "text", ["#GET /a", "# get /a", "# PATCH /a", "# GET a", "\n# GET /a", "x = 1  # GET /a", "# GETS /a"]
)
def test_other_first_line_is_no_annotation(text):
    assert not is_annotated(cells(text)[0])
