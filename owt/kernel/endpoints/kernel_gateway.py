"""Cells that are endpoints in the manner of Jupyter Kernel Gateway's mode notebook-http.

Such a cell finds the request in `REQUEST`, as JSON: its `body`, `args`, `path` and `headers`. What it prints
is the answer, else its last expression as a MIME bundle in JSON; it is text/plain. What its `ResponseInfo`
cell prints is JSON with `headers` and a `status` for the answer.

Source: Kernel Gateway's documentation, and what its release 3.0 answers, which the tests tell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from owt.errors import OwtError, shortened
from owt.kernel.calls import context
from owt.kernel.calls.stdio import is_shown, mime_bundle
from owt.kernel.code.prepared import Cell
from owt.kernel.endpoints.decorator import Registered
from owt.kernel.endpoints.signature import Signature
from owt.wire.call import NotebookCell
from owt.wire.endpoint import Endpoint, Parameter, check, parameters
from owt.wire.http import is_final_status

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from owt.kernel.calls.execution import Surroundings

VARIABLE = "REQUEST"


class Annotated:
    """What an annotated cell does for a request."""

    def __init__(self, told: NotebookCell, cell: Cell, code: str, around: Surroundings) -> None:
        """Raises `SyntaxFault` for a ResponseInfo cell that cannot be read."""
        self.__name__ = f"{told.method} {told.notebook_path}"
        self._names = told.names
        self._cell = (cell, code)
        response = told.response
        self._response = None if response is None else (around.sources.cell(response), response)
        self._around = around

    async def __call__(self, *path: str) -> tuple[str, int, dict[str, str]]:
        """The answer to the request that is being answered, where the path's parameters are these."""
        run = context.running()
        assert run is not None
        around = self._around
        values = dict(zip(self._names, path, strict=True))
        around.shell.user_ns[VARIABLE] = bundle(run.request, run.call.request.headers, values)
        body = await self._text(*self._cell)
        headers, status = {"Content-Type": "text/plain"}, 200
        if self._response is not None:
            headers_said, status = response_info(await self._text(*self._response))
            headers.update(headers_said)
        return body, status, headers

    async def _text(self, cell: Cell, code: str) -> str:
        """What a cell prints, else its value as Jupyter's message `execute_result` would have it."""
        with redirect_stdout(io.StringIO()) as printed:
            value = await self._around.run_cell_async(cell)
        if text := printed.getvalue():
            return text
        shell = self._around.shell
        return json.dumps(mime_bundle(shell, value)) if is_shown(shell, code, value) else ""


def registered(told: NotebookCell, cell: Cell, code: str, around: Surroundings) -> Registered:
    """A cell, whose text is `code`, as an endpoint. Raises `EndpointError`, and `SyntaxFault` as `Annotated`
    does."""
    function = Annotated(told, cell, code, around)
    endpoint = Endpoint(
        path=told.path,
        methods=(told.method,),
        name=function.__name__,
        description=f"The notebook's cell {told.method} {told.notebook_path}.",
        parameters=tuple(
            Parameter(name, "path", '{"type":"string"}', True) for name in parameters(told.path)
        ),
        more=True,
    )
    check([endpoint])
    return Registered(function, Signature({}, None, None, ""), endpoint, whole=True)


def bundle(request: Request, headers: Sequence[tuple[str, str]], path: dict[str, str]) -> str:
    """What `REQUEST` is."""
    sent: dict[str, Any] = {}
    for name, value in headers:
        if name in sent:
            several = sent[name]
            sent[name] = [*several, value] if isinstance(several, list) else [several, value]
        else:
            sent[name] = value
    args = request.args.to_dict(flat=False)
    return json.dumps({"body": _body(request), "args": args, "path": path, "headers": sent})


def _body(request: Request) -> Any:
    """A form's fields, as lists; a JSON document; otherwise text."""
    kind = request.headers.get("Content-Type", "text/plain")
    if kind == "application/x-www-form-urlencoded" or kind.startswith("multipart/form-data"):
        request.max_form_memory_size = None
        return request.form.to_dict(flat=False)
    text = request.get_data().decode()
    if kind == "application/json":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def response_info(text: str) -> tuple[dict[str, str], int]:
    """The headers and the status that a ResponseInfo cell has printed.

    Raises `OwtError` for what is neither.
    """
    try:
        info = json.loads(text)
    except ValueError as error:
        raise OwtError(f"the ResponseInfo cell printed no JSON: {error}; got {shortened(text)}") from None
    if not isinstance(info, dict):
        raise OwtError(f"the ResponseInfo cell printed no JSON object; got {shortened(text)}")
    headers, status = info.get("headers") or {}, info.get("status")
    if not isinstance(headers, dict) or not all(map(_is_header, headers.values())):
        raise OwtError(f"the ResponseInfo cell: headers are an object of texts; got {shortened(headers)}")
    status = 200 if status is None else status
    number = int(status) if isinstance(status, str) and status.isdecimal() else status
    if not is_final_status(number):
        raise OwtError(f"the ResponseInfo cell: a status is from 200 to 599; got {shortened(status)}")
    return {name.title(): str(value) for name, value in headers.items()}, number


def _is_header(value: object) -> bool:
    return isinstance(value, str | int | float)
