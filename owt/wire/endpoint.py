"""Endpoints: what a kernel tells of a function that its session has given a path.

A path is `/` and segments, each of them literal text or one parameter: `/greet/{name}`. Two paths of
one *shape* differ in their parameters' names only, and are the same place.

JSON Schemas (draft 2020-12, as OpenAPI 3.1 has them) travel as JSON text, with references of the form
`#/components/schemas/NAME` to the endpoint's own `definitions`. Nothing here is ever evaluated.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from owt.errors import EndpointError, shortened

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_METHODS = ("GET", "POST")
RESERVED = "_owt"
"""The first segment of the server's own pages."""
REFERENCE = "#/components/schemas/"

LONGEST_PATH = 500
MOST_SEGMENTS = 30
MOST_PARAMETERS = 100
LONGEST_DESCRIPTION = 4000
"""Characters of a description; what is longer is cut by the kernel."""
LARGEST = 64 * 1024
"""Bytes of one endpoint, schemas included."""
MOST = 200
"""Endpoints of one session."""

_PARAMETER = re.compile(r"\{([^{}]*)\}")
_FORBIDDEN = re.compile(r"[{}?#%\\\s\x00-\x1f\x7f\ud800-\udfff]")
_EXAMPLE = 'Write @endpoint("/greet/{name}")'


class Parameter(Struct, frozen=True, array_like=True):
    """One parameter: of the path, or a field of the query, the form or the JSON body. `default` is JSON
    text, or None for one that JSON does not have."""

    name: str
    where: Literal["path", "field"]
    schema: str
    required: bool
    default: str | None = None


class Endpoint(Struct, frozen=True, array_like=True):
    """A function at a path.

    `name` is the function's, `more` whether it takes any other field, `result` the schema of what it
    returns (of an item, if it `streams`), or None when it does not say, and `version` the number of its
    definition in its kernel.
    """

    path: str
    methods: tuple[str, ...]
    name: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    more: bool = False
    result: str | None = None
    streams: bool = False
    definitions: str = "{}"
    version: int = 0


def segments(path: object) -> tuple[str | None, ...]:
    """The segments of an endpoint's path, None for a parameter; none for `/`. Raises `EndpointError`."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise EndpointError(f"{shortened(path)}: an endpoint's path begins with a slash. {_EXAMPLE}")
    if len(path) > LONGEST_PATH:
        raise EndpointError(f"{shortened(path)}: an endpoint's path has at most {LONGEST_PATH} characters")
    if path == "/":
        return ()
    parts = path[1:].split("/")
    if len(parts) > MOST_SEGMENTS:
        raise EndpointError(f"{shortened(path)}: an endpoint's path has at most {MOST_SEGMENTS} segments")
    if parts[0] == RESERVED:
        raise EndpointError(f"{shortened(path)}: what begins with /{RESERVED} is the server's own")
    found: list[str | None] = []
    for part in parts:
        if _PARAMETER.fullmatch(part):
            found.append(None)
        elif part in ("", ".", "..") or _FORBIDDEN.search(part):
            what = f"the segment {shortened(part)}" if part else "an empty segment, as of a slash at the end,"
            raise EndpointError(
                f"{shortened(path)}: {what} cannot be in an endpoint's path; a segment is plain text or one "
                f"{{parameter}}. {_EXAMPLE}"
            )
        else:
            found.append(part)
    names = parameters(path)
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise EndpointError(f"{shortened(path)}: the parameter {shortened(name)} is no name. {_EXAMPLE}")
        if names.count(name) > 1:
            raise EndpointError(f"{shortened(path)}: the parameter {name!r} is there twice")
    return tuple(found)


def parameters(path: str) -> list[str]:
    """The names of a path's parameters, in order."""
    return _PARAMETER.findall(path)


def shape(path: str) -> str:
    """The path without its parameters' names: `/greet/{}`."""
    return _PARAMETER.sub("{}", path)


def check(endpoints: Iterable[Endpoint]) -> None:
    """Raises `EndpointError` for endpoints of a session that break a rule or a limit of this module."""
    for number, each in enumerate(endpoints, 1):
        if number > MOST:
            raise EndpointError(f"{each.path}: a session has at most {MOST} endpoints")
        segments(each.path)
        if not each.methods or not set(each.methods) <= set(METHODS):
            raise EndpointError(
                f"{each.path}: its methods are {shortened(each.methods)}; there are {', '.join(METHODS)}"
            )
        if len(each.parameters) > MOST_PARAMETERS:
            raise EndpointError(f"{each.path}: an endpoint has at most {MOST_PARAMETERS} parameters")
        size = len(msgspec.msgpack.encode(each))
        if size > LARGEST:
            raise EndpointError(
                f"{each.path}: its description and its types take {size} bytes; the limit is {LARGEST}"
            )
