"""Cells that are endpoints in the manner of Jupyter Kernel Gateway's mode notebook-http.

Source: its documentation ("notebook-http mode"). A cell whose first line is `# GET /hello/:name` does not
run with the others but for each request of that method and path; several cells with the same first line run
as one, in order. A cell whose first line is `# ResponseInfo GET /hello/:name` runs after them and prints
JSON with the `headers` and the `status` of the response.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass

from owt.errors import NotebookError, shortened
from owt.notebook.document import CodeCell

_ANNOTATION = re.compile(r"#\s+(?P<response>ResponseInfo\s+)?(?P<method>GET|PUT|POST|DELETE)\s+(?P<path>/.*)")


@dataclass(frozen=True, slots=True)
class EndpointCell:
    """Cells that run for a method and a path. `path` has its parameters in braces, `raw_path` is the path as
    the cells have it, `names` are the cells' names of the parameters, and `response` is code that runs
    afterwards. `may_fail` means that the notebook is loaded even if there can be no such endpoint."""

    label: str
    method: str
    path: str
    names: tuple[str, ...]
    raw_path: str
    code: str
    response: str | None = None
    may_fail: bool = False


def split(cells: Sequence[CodeCell]) -> tuple[list[CodeCell], list[EndpointCell]]:
    """Return the cells without annotation, and those with one joined by method and path.

    Raises `NotebookError` for a path that no endpoint can have.
    """
    plain: list[CodeCell] = []
    annotated: dict[tuple[str, str], list[CodeCell]] = {}
    responses: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        annotation = _ANNOTATION.match(cell.text)
        if annotation is None:
            plain.append(cell)
            continue
        route = (annotation["method"], annotation["path"].strip())
        if annotation["response"]:
            responses.setdefault(route, []).append(cell.text)
        else:
            annotated.setdefault(route, []).append(cell)
    return plain, [_join(*route, cells, responses.get(route)) for route, cells in annotated.items()]


def is_annotated(cell: CodeCell) -> bool:
    """Return True if the cell has an annotation."""
    return _ANNOTATION.match(cell.text) is not None


def _join(
    method: str, raw_path: str, cells: Sequence[CodeCell], responses: Sequence[str] | None
) -> EndpointCell:
    label = cells[0].label
    path, names = _template(raw_path, label)
    code = "".join(f"{cell.text}\n" for cell in cells)
    response = None if responses is None else "".join(f"{text}\n" for text in responses)
    may_fail = any(cell.may_fail for cell in cells)
    return EndpointCell(label, method, path, names, raw_path, code, response, may_fail)


def _template(path: str, label: str) -> tuple[str, tuple[str, ...]]:
    """Return `/hello/:name` as `/hello/{name}`, and the parameters' names as the cell has them."""
    names: list[str] = []
    parts = path.split("/")
    for index, part in enumerate(parts):
        if ":" not in part:
            continue
        name = part[1:]
        if not part.startswith(":") or not name.isidentifier():
            raise NotebookError(
                f"{label}: {shortened(path)}: a parameter is a whole segment, a colon and a name, as in "
                f"/hello/:name; got {shortened(part)}"
            )
        names.append(name)
        parts[index] = "{" + name + ("_" if keyword.iskeyword(name) else "") + "}"
    return "/".join(parts), tuple(names)
