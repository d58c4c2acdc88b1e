"""Endpoints: what a kernel reports of a function that its session has given a path.

A path is `/` and segments, each of them literal text or one parameter: `/greet/{name}`. Two paths of one
*shape* differ in the names of their parameters only, and are the same path.

JSON Schemas (draft 2020-12, as in OpenAPI 3.1) travel as JSON text, with references of the form
`#/components/schemas/NAME` to the endpoint's own `definitions`. Nothing here is ever evaluated.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Literal, Optional

import msgspec
from msgspec import Struct

from owt.errors import EndpointError, shortened

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_METHODS = ("GET", "POST")
RESERVED = "_owt"
"""First segment of the server's own pages."""
REFERENCE = "#/components/schemas/"

MAX_PATH = 500
MAX_SEGMENTS = 30
MAX_PARAMETERS = 100
MAX_DESCRIPTION = 4000
"""Maximum length of a description in characters; the kernel cuts longer ones."""
MAX_SIZE = 64 * 1024
"""Maximum size of one endpoint in bytes, schemas included."""
MAX_ENDPOINTS = 200
"""Maximum number of endpoints of one session."""

_PARAMETER = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN = re.compile(r"[{}?#%\\\s\x00-\x1f\x7f\ud800-\udfff]")
_EXAMPLE = 'Write @endpoint("/greet/{name}")'


class Parameter(Struct, frozen=True, array_like=True):
    """Parameter of an endpoint: a segment of the path, or a field of the query, the form or the JSON body.

    `default` is JSON text, or None if there is none or JSON cannot express it. `stream` is the media type of
    a body from which the parameter is fed as it comes; the schema is that of a list of its items.
    """

    name: str
    where: Literal["path", "field"]
    schema: str
    required: bool
    default: Optional[str] = None
    stream: str = ""


class Endpoint(Struct, frozen=True, array_like=True):
    """Function at a path.

    `name` is the function's. `more` is True if it accepts any other field. `result` is the schema of what it
    returns, or of an item if it `streams`, or None if that is unknown. `scalar` is the form of a result that
    is declared as a number, a boolean or a string, or an optional one: the form for a client that prefers
    neither JSON nor text. `version` is the number of its definition in its kernel. `bodies` are the media
    types, and patterns such as `image/*`, of bodies that are an argument: a call begins after the whole of
    such a body.
    """

    path: str
    methods: tuple[str, ...]
    name: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    more: bool = False
    result: Optional[str] = None
    streams: bool = False
    definitions: str = "{}"
    version: int = 0
    scalar: Optional[Literal["text", "json"]] = None
    bodies: tuple[str, ...] = ()


def segments(path: object) -> tuple[str | None, ...]:
    """Return the segments of an endpoint's path, None for a parameter; none for `/`.

    Raises `EndpointError` for what is not a path of an endpoint.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise EndpointError(f"{shortened(path)}: an endpoint's path begins with a slash. {_EXAMPLE}")
    if len(path) > MAX_PATH:
        raise EndpointError(f"{shortened(path)}: an endpoint's path has at most {MAX_PATH} characters")
    if path == "/":
        return ()
    parts = path[1:].split("/")
    if len(parts) > MAX_SEGMENTS:
        raise EndpointError(f"{shortened(path)}: an endpoint's path has at most {MAX_SEGMENTS} segments")
    if parts[0] == RESERVED:
        raise EndpointError(f"{shortened(path)}: paths below /{RESERVED} are the server's own")
    result: list[str | None] = []
    for part in parts:
        if _PARAMETER.fullmatch(part):
            result.append(None)
        elif part in ("", ".", "..") or _FORBIDDEN.search(part):
            segment = f"the segment {shortened(part)}"
            if not part:
                segment = "an empty segment, as of a slash at the end,"
            raise EndpointError(
                f"{shortened(path)}: {segment} cannot be in an endpoint's path; a segment is plain text or "
                f"one {{parameter}}. {_EXAMPLE}"
            )
        else:
            result.append(part)
    names = parameters(path)
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise EndpointError(f"{shortened(path)}: the parameter {shortened(name)} is no name. {_EXAMPLE}")
        if names.count(name) > 1:
            raise EndpointError(f"{shortened(path)}: the parameter {name!r} is there twice")
    return tuple(result)


def parameters(path: str) -> list[str]:
    """Return the names of a path's parameters, in order."""
    return _PARAMETER.findall(path)


def shape(path: str) -> str:
    """Return the path without the names of its parameters: `/greet/{}`."""
    return _PARAMETER.sub("{}", path)


def check(endpoints: Iterable[Endpoint]) -> None:
    """Raise `EndpointError` if the endpoints of a session break a rule or a limit of this module."""
    for number, endpoint in enumerate(endpoints, 1):
        if number > MAX_ENDPOINTS:
            raise EndpointError(f"{endpoint.path}: a session has at most {MAX_ENDPOINTS} endpoints")
        segments(endpoint.path)
        if not endpoint.methods or not set(endpoint.methods) <= set(METHODS):
            raise EndpointError(
                f"{endpoint.path}: its methods are {shortened(endpoint.methods)}; "
                f"there are {', '.join(METHODS)}"
            )
        if len(endpoint.parameters) > MAX_PARAMETERS:
            raise EndpointError(f"{endpoint.path}: an endpoint has at most {MAX_PARAMETERS} parameters")
        size = len(msgspec.msgpack.encode(endpoint))
        if size > MAX_SIZE:
            raise EndpointError(
                f"{endpoint.path}: its description and its types take {size} bytes; the limit is {MAX_SIZE}"
            )
