"""Steps that read the HTTP request.

A caller that runs pipes for requests sets `current_request`, in the context in which the pipe runs,
to the request: an object such as werkzeug's `Request`, with the decoded `path`, the mappings `args` and
`files` (of which multi-dicts have `lists()`), `headers` whose `get` takes a name in any case, and the
method `get_data()` for the raw body. It may also be set to a function without arguments that returns
the request, so that it is built only if a step reads it. An object with a `path` is the request, any
other is the function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from owt.errors import shortened
from owt.summat.errors import NoRequest, WrongValue
from owt.summat.flow import Flow
from owt.summat.step import Step

current_request: ContextVar[Any] = ContextVar("owt.summat.current_request")
"""The request, or a function that returns it: see the module's docstring."""


def request(step: object) -> Any:
    """Return the current request. Raises `NoRequest`, which names `step`, outside of any."""
    current = current_request.get(None)
    if current is not None and not hasattr(current, "path"):
        current = current()
    if current is None:
        raise NoRequest(f"{step} reads the HTTP request, and this pipe does not run for a request")
    return current


def path(step: Step, flow: Flow) -> Flow:
    """Read the non-empty segments of the request's path, decoded. Raises `NoRequest` without one."""
    return flow.giving([segment for segment in request(step).path.split("/") if segment])


def query(step: Step, flow: Flow) -> Flow:
    """Read the query parameters: a dict of texts, with a list for a repeated one."""
    return flow.giving(_by_name(request(step).args))


def json_(step: Step, flow: Flow) -> Flow:
    """Read the request's JSON body, decoded. Raises `WrongValue` for another body."""
    body = request(step).get_data()
    try:
        return flow.giving(json.loads(body))
    except ValueError as error:
        raise WrongValue(f"the request's body is not JSON: {error}; it is {shortened(body)}") from None


def data(step: Step, flow: Flow) -> Flow:
    """Read the request's raw body."""
    return flow.giving(request(step).get_data())


def header(step: Step, flow: Flow, name: str) -> Flow:
    """Read one header of the request, its name in any case; None if it is missing."""
    return flow.giving(request(step).headers.get(name))


def files(step: Step, flow: Flow) -> Flow:
    """Read the uploaded files by field name, with a list for a field with several."""
    return flow.giving(_by_name(request(step).files))


def _by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    lists: Callable[[], Any] | None = getattr(values, "lists", None)
    if lists is None:
        return dict(values)
    return {name: items[0] if len(items) == 1 else list(items) for name, items in lists()}
