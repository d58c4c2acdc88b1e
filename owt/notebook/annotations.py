"""Cells that are marked as endpoints in the manner of Jupyter Kernel Gateway's mode notebook-http.

Source: its documentation ("notebook-http mode"). A cell whose first line is `# GET /hello/:name` does not
run with the others but whenever that is asked for; several cells with one mark run as one, in order. A
cell whose first line is `# ResponseInfo GET /hello/:name` runs after them, and what it prints is JSON with
the `headers` and the `status` of the answer.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass

from owt.errors import NotebookError, shortened
from owt.notebook.document import Cell

_MARK = re.compile(r"#\s+(?P<response>ResponseInfo\s+)?(?P<method>GET|PUT|POST|DELETE)\s+(?P<path>/.*)")


@dataclass(frozen=True, slots=True)
class Annotated:
    """What runs for a method and a path, whose parameters are in braces here. `names` are what the cells call
    these parameters, `shown` is the path as the cells have it, and `response` runs afterwards."""

    label: str
    method: str
    path: str
    names: tuple[str, ...]
    shown: str
    code: str
    response: str | None = None


def split(cells: Sequence[Cell]) -> tuple[list[Cell], list[Annotated]]:
    """The cells that run like any others, and what the marked ones among them make.

    Raises `NotebookError` for a path that no endpoint can have.
    """
    plain: list[Cell] = []
    marked: dict[tuple[str, str], list[Cell]] = {}
    responses: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        mark = _MARK.match(cell.text)
        if mark is None:
            plain.append(cell)
            continue
        place = (mark["method"], mark["path"].strip())
        if mark["response"]:
            responses.setdefault(place, []).append(cell.text)
        else:
            marked.setdefault(place, []).append(cell)
    found = []
    for (method, shown), several in marked.items():
        label = several[0].label
        path, names = _template(shown, label)
        response = responses.get((method, shown))
        found.append(
            Annotated(
                label,
                method,
                path,
                names,
                shown,
                _joined([cell.text for cell in several]),
                None if response is None else _joined(response),
            )
        )
    return plain, found


def is_marked(cell: Cell) -> bool:
    """Whether the cell is marked so."""
    return _MARK.match(cell.text) is not None


def _joined(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _template(path: str, label: str) -> tuple[str, tuple[str, ...]]:
    """`/hello/:name` as `/hello/{name}`, and the parameters' names as they were."""
    names: list[str] = []
    parts = path.split("/")
    for at, part in enumerate(parts):
        if ":" not in part:
            continue
        name = part[1:]
        if not part.startswith(":") or not name.isidentifier():
            raise NotebookError(
                f"{label}: {shortened(path)}: a parameter is a whole segment, a colon and a name, as in "
                f"/hello/:name; got {shortened(part)}"
            )
        names.append(name)
        parts[at] = "{" + name + ("_" if keyword.iskeyword(name) else "") + "}"
    return "/".join(parts), tuple(names)
