"""Cells of the table of conversions (docs/conversions.py), as the clients receive them from a server.

    with set_up(server, groups) as collector:
        assert collector.differences("python") == {}
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import conversions
import httpx
from jupyter_kernel import notebook

from owt.client import Client
from owt.errors import RemoteError
from owt.testing import PATIENCE, LiveServer
from owt.wire import sse
from owt.wire.media import media_type

ROOT = Path(__file__).resolve().parent.parent


SESSION = "conversions"
DEFAULT_TEXT = re.compile(r" at 0x[0-9a-f]{6,}")
"""Part of Python's text of an object whose class has none of its own."""


@contextmanager
def set_up(server: LiveServer, groups: list[conversions.Group]) -> Iterator[Collector]:
    """Set up the groups in one session."""
    # Cells are shortened, and the path of the files is in some: the name of pytest's folder is too long.
    with TemporaryDirectory(dir="/tmp") as folder:
        yield from _set_up(server, groups, Path(folder))


def _set_up(server: LiveServer, groups: list[conversions.Group], folder: Path) -> Iterator[Collector]:
    code = "\n".join([f"folder = {str(folder)!r}", *(group.setup for group in groups)])
    answer = server.ask("POST", "/", data={"session": SESSION, "code": code})
    assert answer.status_code == 200, answer.text
    yield Collector(server.url, [row for group in groups for row in group.rows], folder)
    server.ask("DELETE", f"/_owt/sessions/{SESSION}")


class Collector:
    """Cells of rows, by client. `folder` is shown as `/data`."""

    def __init__(self, url: str, rows: list[conversions.Row], folder: Path) -> None:
        self._url = url
        self._rows = rows
        self._codes = [row.value for row in rows]
        self._folder = folder

    def differences(self, client: str) -> dict[str, tuple[str, str]]:
        """Return the values whose cell is not that of the table: the cell of the table, and what came."""
        collect: Callable[[], Iterable[str]] = getattr(self, f"_{client}")
        cells = [cell.replace(str(self._folder), "/data") for cell in collect()]
        return {
            row.value: (getattr(row, client), cell)
            for row, cell in zip(self._rows, cells, strict=True)
            if cell != getattr(row, client) or DEFAULT_TEXT.search(cell)
        }

    def _answers(self, accept: str) -> Iterable[httpx.Response]:
        with httpx.Client(base_url=self._url, timeout=PATIENCE, headers={"Accept": accept}) as http:
            for code in self._codes:
                yield http.post("/", data={"code": code, "session": SESSION})

    def _curl(self) -> Iterable[str]:
        return map(response_cell, self._answers("*/*"))

    def _json(self) -> Iterable[str]:
        return map(response_cell, self._answers("application/json"))

    def _events(self) -> Iterable[str]:
        for answer in self._answers("text/event-stream"):
            assert answer.headers["content-type"].startswith("text/event-stream")
            *events, last = sse.Decoder().feed(answer.content)
            assert last.event == "done"
            yield ", ".join(map(event_cell, events)) or "none"

    def _python(self) -> Iterable[str]:
        with Client(self._url, session=SESSION) as client:
            for code in self._codes:
                try:
                    yield python_cell(client.call(code))
                except RemoteError as error:
                    yield f"error {code_cell(str(error))}"

    def _js(self) -> Iterable[str]:
        script = ROOT / "tests" / "clients" / "conversions.js"
        command = ["node", str(script), self._url, SESSION]
        codes = json.dumps(self._codes)
        done = subprocess.run(command, input=codes, capture_output=True, text=True, timeout=PATIENCE)
        assert done.stderr == ""
        return map(js_cell, json.loads(done.stdout))

    def _notebook(self) -> Iterable[str]:
        cells = f"""
from conversion_clients import notebook_cells
%load_ext owt
%owt {self._url} --session {SESSION}
notebook_cells({self._codes!r})
"""
        with notebook(self._folder) as run:
            run(f"import sys; sys.path += {[str(ROOT / 'tests'), str(ROOT / 'docs')]!r}")
            return json.loads(eval(run(cells).value))


def notebook_cells(codes: list[str]) -> str:
    """Return the cells of a notebook that runs each expression by `%%owt`, as JSON. It runs in the notebook's
    kernel."""
    from IPython import get_ipython
    from IPython.utils.capture import capture_output

    shell = get_ipython()
    cells = []
    for code in codes:
        try:
            with capture_output() as output:
                shell.run_cell_magic("owt", "", code)
        except RemoteError as error:
            cells.append(f"error {code_cell(str(error))}")
            continue
        value = shell.user_ns["_owt"]
        displays = [f"shows {bundle_of(display.data)}" for display in output.outputs]
        printed = [f"prints {code_cell(output.stdout)}"] if output.stdout else []
        if value is None:
            cells.append(", ".join([*displays, *printed]) or python_cell(value))
        else:
            # The value is seen as well.
            assert displays or printed or value in ("", b""), code
            cells.append(python_cell(value))
    return json.dumps(cells)


def code_cell(text: str) -> str:
    """Return a text as a cell has it: without what differs each time."""
    return conversions.code(re.sub(r"base64,[\w+/=]+", "base64,…", text))


def response_cell(answer: httpx.Response) -> str:
    """Return the cell of a whole response."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if answer.status_code >= 400 and "problem" in kind:
        problem = answer.json()
        return f"{answer.status_code} {code_cell(': '.join([problem['exception'], problem['detail']]))}"
    if answer.status_code == 500:
        return f"500 {code_cell(answer.text)}"
    status = "" if answer.status_code == 200 else f"{answer.status_code} "
    return f"{status}{content_cell(kind, answer.content)}"


def content_cell(kind: str, body: bytes) -> str:
    """Return the cell of a body of a media type."""
    label = conversions.label(kind) or "empty"
    if label == "bytes" and body and body.isascii():
        return f"{label} {code_cell(body.decode())}"
    if not (kind.startswith("text/") or re.search("json|xml|javascript", kind)):
        return label
    text = body.decode()
    return f"{label} {code_cell(text.removesuffix(chr(10)) if label == 'JSON' else text)}"


def event_cell(event: sse.Event) -> str:
    """Return an event's part of a cell."""
    if event.event == "error":
        problem = json.loads(event.data)
        return f"error {code_cell(': '.join([problem['exception'], problem['detail']]))}"
    if bundle := bundle_of(event.data):
        return f"{event.event} {bundle}"
    form = {"json": "JSON ", "bytes": "base64 ", "text": ""}[event.form]
    return f"{event.event} {form}{code_cell(event.data)}"


def bundle_of(document: Any) -> str:
    """Return the names of the media types in a MIME bundle, or nothing for another value."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return ""
    if not isinstance(document, dict) or not document or not all("/" in name for name in document):
        return ""
    names = [conversions.label(name) for name in document if not name.startswith("application/vnd.owt")]
    return ", ".join(sorted(names))


def python_cell(value: Any) -> str:
    """Return the cell of a value of the Python client, or of the variable of a notebook."""
    match type(value).__name__:
        case "DataFrame":
            return f"DataFrame {code_cell(repr(json.loads(value.to_json(orient='records'))))}"
        case "PngImageFile" | "JpegImageFile" | "TiffImageFile":
            return f"Image {value.mode}"
        case "bytes" if kind := media_type(value):
            return f"bytes {conversions.label(kind)}"
        case "dict" if bundle := bundle_of(value):
            return f"bundle {bundle}"
    return code_cell(repr(value))


def js_cell(value: dict[str, Any]) -> str:
    """Return the cell of a value of owt.js, as tests/clients/conversions.js describes it."""
    match value:
        case {"error": text}:
            return f"error {code_cell(text)}"
        case {"blob": kind}:
            return f"Blob {conversions.label(kind)}"
        case {"array": name, "items": items, "shape": shape}:
            return f"{name} {json.dumps(shape, separators=(',', ':'))} {code_cell(items)}"
    return code_cell(value["json"])
