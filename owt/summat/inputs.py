"""Steps that read the HTTP request, and where they find it.

Whoever runs pipes for requests sets `current_request`, in the context in which the pipe runs, to
the request: anything with the attributes of `Request` below, as werkzeug's has them. It may also
be set to a function without arguments that gives the request, so that a request which no step
asks for need not be built. What has a `path` is taken for the request, all else for the function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

from owt.errors import shortened
from owt.summat.errors import NoRequest, WrongValue
from owt.summat.flow import Flow
from owt.summat.step import MethodStep


class Request(Protocol):
    """What the steps use of a request; werkzeug's `Request` has it."""

    @property
    def path(self) -> str:
        """The path, percent-decoded."""

    @property
    def args(self) -> Mapping[str, Any]:
        """The query parameters; a multi-dict has `lists()`."""

    @property
    def files(self) -> Mapping[str, Any]:
        """Uploaded files by field name; a multi-dict has `lists()`."""

    @property
    def headers(self) -> Any:
        """The headers; `get` takes a name in any case."""

    def get_data(self) -> bytes:
        """The raw body."""


current_request: ContextVar[Any] = ContextVar("owt.summat.current_request")
"""The request, or a function that gives it: see the module's docstring."""


def request(step: object) -> Request:
    """The current request. Raises `NoRequest`, in the name of `step`, outside of any."""
    held = current_request.get(None)
    if held is not None and not hasattr(held, "path"):
        held = held()
    if held is None:
        raise NoRequest(f"{step} reads the HTTP request, and this pipe does not run for a request")
    return cast(Request, held)


@dataclass(frozen=True, slots=True, repr=False)
class Path(MethodStep):
    """The path's segments, decoded, without empty ones."""

    def run(self, flow: Flow) -> Flow:
        return flow.giving([each for each in request(self).path.split("/") if each])


@dataclass(frozen=True, slots=True, repr=False)
class Query(MethodStep):
    """The query parameters as a dict; one that comes several times has the list of its values."""

    def run(self, flow: Flow) -> Flow:
        return flow.giving(_by_name(request(self).args))


@dataclass(frozen=True, slots=True, repr=False)
class Json(MethodStep):
    """The body read as JSON, whatever its content type says."""

    def run(self, flow: Flow) -> Flow:
        body = request(self).get_data()
        try:
            return flow.giving(json.loads(body))
        except ValueError as error:
            raise WrongValue(f"the request's body is not JSON: {error}; it is {shortened(body)}") from None


@dataclass(frozen=True, slots=True, repr=False)
class Data(MethodStep):
    """The raw body, as bytes."""

    def run(self, flow: Flow) -> Flow:
        return flow.giving(request(self).get_data())


@dataclass(frozen=True, slots=True, repr=False)
class Header(MethodStep):
    """A header's value, or None."""

    name: str

    def run(self, flow: Flow) -> Flow:
        return flow.giving(request(self).headers.get(self.name))


@dataclass(frozen=True, slots=True, repr=False)
class Files(MethodStep):
    """The uploaded files by field name; a name with several files has the list of them."""

    def run(self, flow: Flow) -> Flow:
        return flow.giving(_by_name(request(self).files))


def _by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    lists: Callable[[], Any] | None = getattr(values, "lists", None)
    if lists is None:
        return dict(values)
    return {name: each[0] if len(each) == 1 else list(each) for name, each in lists()}
