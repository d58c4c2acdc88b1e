"""Cells that are endpoints in the manner of Jupyter Kernel Gateway's mode notebook-http.

Such a cell has the request in `REQUEST`, as JSON: its `body`, `args`, `path` and `headers`. The response is
what the cell prints, else its last expression as a MIME bundle in JSON; its type is text/plain. A
`ResponseInfo` cell prints JSON with `headers` and a `status` for the response.

Source: Kernel Gateway's documentation, and the behaviour of its release 3.0, which the tests record.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from owt.errors import OwtError, SyntaxFault, shortened
from owt.kernel import context
from owt.kernel.code.cells import CellRunner
from owt.kernel.code.compiled import CompiledCell
from owt.kernel.endpoints.decorator import RegisteredFunction
from owt.kernel.endpoints.signature import Signature
from owt.wire.call import NotebookCell
from owt.wire.endpoint import Endpoint, Parameter, check, parameters
from owt.wire.http import is_final_status

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

VARIABLE = "REQUEST"


def make_endpoint(options: NotebookCell, code: str, cells: CellRunner) -> RegisteredFunction:
    """Return a cell with the text `code` as an endpoint. Raises `EndpointError`.

    Text that does not parse is reported now, and is the error of each request.
    """
    name = f"{options.method} {options.notebook_path}"
    texts = [code] if options.response is None else [code, options.response]
    compiled = [_compiled(cells, text, name) for text in texts]

    async def answer(*path: str) -> tuple[str, int, dict[str, str]]:
        """Return the response to the current request. `path` has the values of the path's parameters."""
        run = context.running()
        assert run is not None
        values = dict(zip(options.names, path))
        # The cell can read all headers of it.
        run.looked_at |= context.PERSONAL_KEYS
        cells.shell.user_ns[VARIABLE] = request_json(run.request, run.call.request.headers, values)
        outputs = []
        for text, cell in zip(texts, compiled):
            if isinstance(cell, OwtError):
                raise cell.with_traceback(None)
            outputs.append(await _output(run, cells, cell, text))
        headers, status = {"Content-Type": "text/plain"}, 200
        if options.response is not None:
            more_headers, status = response_info(outputs[1])
            headers.update(more_headers)
        return outputs[0], status, headers

    endpoint = Endpoint(
        path=options.path,
        methods=(options.method,),
        name=name,
        description=f"The notebook's cell {name}.",
        parameters=tuple(
            Parameter(name, "path", '{"type":"string"}', True) for name in parameters(options.path)
        ),
        more=True,
        bodies=("*/*",),
    )
    check([endpoint])
    return RegisteredFunction(answer, Signature({}, None, None, ""), endpoint, takes_request=True)


def _compiled(cells: CellRunner, text: str, name: str) -> CompiledCell | OwtError:
    try:
        return cells.compile(text)
    except SyntaxFault as fault:
        error = OwtError(f"the notebook's cell {name} is not Python: {fault}")
        print(f"owt: {error}", file=sys.stderr)
        return error


async def _output(run: context.Run, cells: CellRunner, cell: CompiledCell, code: str) -> str:
    """Return what a cell and its child processes print, else its value as Jupyter's message `execute_result`
    has it."""
    with run.sender.captured() as output:
        value = await cells.run_async(cell)
        # What child processes have written to the descriptor.
        if (pipe := getattr(sys.stdout, "pipe", None)) is not None:
            pipe.read()
    if text := "".join(output):
        return text
    return json.dumps(cells.mime_bundle(value)) if cells.is_displayed(code, value) else ""


def request_json(request: Request, headers: Sequence[tuple[str, str]], path: dict[str, str]) -> str:
    """Return the value of `REQUEST`."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    by_name = {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}
    args = request.args.to_dict(flat=False)
    return json.dumps({"body": _body(request), "args": args, "path": path, "headers": by_name})


def _body(request: Request) -> Any:
    """Return the body: a form's fields, as lists; a JSON document; otherwise text."""
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
    """Return the headers and the status that a ResponseInfo cell printed. Raises `OwtError` for anything
    else."""
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
    return isinstance(value, (str, int, float))
