"""Table of endpoints: the session that answers at each path.

Kernels register endpoints (`RegisterEndpoints`), which end with their kernel: the path is then *gone* (410,
with the reason) until a kernel registers it again, or until it is forgotten: after `MAX_GONE_AGE`, or as the
oldest of more than `MAX_GONE`. Literal segments of a path win over parameters.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from owt.errors import BadRequest, EndpointError, EndpointGone, MethodNotAllowed
from owt.frontend.nesting import is_deeper
from owt.wire.call import Target
from owt.wire.endpoint import MAX_SEGMENTS, METHODS, Endpoint, check, segments, shape
from owt.wire.messages import RegisterEndpoints

MAX_LIVE = 2000
"""Maximum number of endpoints of all sessions together."""
MAX_GONE = 200
"""Maximum number of routes of ended kernels that are kept; the oldest are forgotten first."""
MAX_GONE_AGE = 24 * 3600.0
"""Seconds after which a route of an ended kernel is forgotten."""
MAX_DEPTH = 100
"""Maximum number of brackets that may be open at once in an endpoint's types."""

State = Literal["live", "gone"]
Schema = dict[str, Any]
# The names are the OpenAPI Specification's (Components Object).
Definitions = dict[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+$")], Schema]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A registered endpoint.

    `gone` is the reason why it does not answer any more, in words that follow "the kernel", or None. `since`
    is the time of that, or of the registration, in seconds since 1970.
    """

    endpoint: Endpoint
    session: str
    kernel: str
    since: float
    gone: str | None = None

    @property
    def state(self) -> State:
        """Return the state of the endpoint."""
        return "live" if self.gone is None else "gone"

    @property
    def edition(self) -> str:
        """Return an identifier of this definition of the endpoint."""
        return f"{self.kernel}.{self.endpoint.version}"


class Match(NamedTuple):
    """The endpoint at a request's path: its session, and the call's target there.

    `safe` is True if the endpoint is for GET only, so that a HEAD may run it (RFC 9110, section 9.3.2).
    `bodies` are those of the endpoint.
    """

    session: str
    target: Target
    safe: bool = False
    bodies: tuple[str, ...] = ()


def is_encodable(text: str) -> bool:
    """Return False for text with a byte that was not UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


@dataclass(slots=True)
class Node:
    """Node in the tree of paths: the nodes of the next segment, and the entries here by method."""

    literal: dict[str, Node] = field(default_factory=dict)
    parameter: Node | None = None
    entries: dict[str, Entry] = field(default_factory=dict)


Route = tuple[str, str]
"""Shape of a path, and a method."""


class Endpoints:
    """The endpoints of one server."""

    def __init__(
        self,
        *,
        max_gone: int = MAX_GONE,
        max_gone_age: float = MAX_GONE_AGE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Create an empty table. `clock` returns the time in seconds since 1970."""
        self._max_gone = max_gone
        self._max_gone_age = max_gone_age
        self._clock = clock
        self._entries: dict[Route, Entry] = {}
        self._root = Node()
        # Number of endpoints of each kernel.
        self._live: Counter[str] = Counter()

    def find(self, method: str, path: str) -> Match | None:
        """Return the endpoint for a request of this method at this percent-encoded path; for HEAD, GET's.

        Returns None if there has never been one. Raises `MethodNotAllowed`, `EndpointGone`, and, for a
        parameter that is not UTF-8, `BadRequest`.
        """
        if not self._entries or path.count("/") > MAX_SEGMENTS:
            return None
        parts = path[1:].split("/") if path not in ("", "/") else []
        if "%" in path:
            parts = [unquote(part, errors="surrogateescape") for part in parts]
        allowed: set[str] = set()
        gone: Entry | None = None
        for node, arguments in _nodes(self._root, parts, ()):
            entry = node.entries.get("GET" if method == "HEAD" else method)
            if entry is not None and entry.gone is None:
                endpoint = entry.endpoint
                if not all(map(is_encodable, arguments)):
                    raise BadRequest("path", "a parameter of the path is not UTF-8", path)
                target = Target(endpoint.path, arguments, entry.edition)
                return Match(entry.session, target, endpoint.methods == ("GET",), endpoint.bodies)
            if entry is not None:
                raise _gone(method, entry)
            for other in node.entries.values():
                if other.gone is None:
                    allowed.update(other.endpoint.methods)
                else:
                    gone = other
        if allowed:
            raise MethodNotAllowed(method, path, [name for name in METHODS if name in allowed])
        if gone is not None:
            raise _gone(method, gone)
        return None

    def register(self, kernel: str, session: str | None, request: RegisterEndpoints) -> str | None:
        """Register endpoints of a kernel, or only check them (`request.keep`).

        Returns the reason for a refusal, in words for people, or None.
        """
        if session is None:
            # A kernel of an earlier frontend announces all that it has.
            return "endpoints belong to a session, and this kernel has none" if request.endpoints else None
        try:
            check(request.endpoints)
            for endpoint in request.endpoints:
                _check_types(endpoint)
        except EndpointError as error:
            return str(error)
        routes = {
            (shape(endpoint.path), method): endpoint
            for endpoint in request.endpoints
            for method in endpoint.methods
        }
        for route, endpoint in routes.items():
            other = self._entries.get(route)
            if other is not None and other.gone is None and other.session != session:
                return (
                    f"{route[1]} {endpoint.path} is taken by {other.endpoint.name} of session "
                    f"{other.session}; choose another path, or end that one: there, "
                    f"endpoint.remove({other.endpoint.path!r}) (or owt session delete {other.session})"
                )
        others = self._live.total() - self._live[kernel]
        if others + len(request.endpoints) > MAX_LIVE:
            return f"the server has {others} endpoints already (the limit is {MAX_LIVE})"
        if request.keep:
            self._replace(kernel, session, routes, request.removed)
        return None

    def kernel_died(self, kernel: str, reason: str) -> None:
        """Mark the endpoints of a kernel as gone, for this `reason`, in words that follow "the kernel"."""
        dead = {
            route: entry
            for route, entry in self._entries.items()
            if entry.kernel == kernel and entry.gone is None
        }
        if not dead:
            return
        entries = {route: entry for route, entry in self._entries.items() if route not in dead}
        now = self._clock()
        entries.update((route, replace(entry, gone=reason, since=now)) for route, entry in dead.items())
        self._set(entries)
        self.prune()

    def prune(self) -> None:
        """Forget the endpoints that are gone for too long, and the oldest of too many."""
        gone = [route for route, entry in self._entries.items() if entry.gone is not None]
        oldest = self._clock() - self._max_gone_age
        forgotten = set(gone[: max(0, len(gone) - self._max_gone)])
        forgotten.update(route for route in gone if self._entries[route].since < oldest)
        if forgotten:
            self._set({route: entry for route, entry in self._entries.items() if route not in forgotten})

    def all(self) -> list[Entry]:
        """Return every known endpoint, by path. One whose methods differ in session or state is several."""
        groups: dict[tuple[str, str, str, int, str | None], list[Route]] = {}
        for route, entry in self._entries.items():
            key = (entry.endpoint.path, entry.session, entry.kernel, entry.endpoint.version, entry.gone)
            groups.setdefault(key, []).append(route)
        result = []
        for routes in groups.values():
            entry = self._entries[routes[0]]
            known = {method for _, method in routes}
            methods = tuple(method for method in METHODS if method in known)
            endpoint = msgspec.structs.replace(entry.endpoint, methods=methods)
            result.append(replace(entry, endpoint=endpoint))
        return sorted(result, key=lambda entry: (entry.endpoint.path, entry.endpoint.methods, entry.session))

    def _replace(
        self, kernel: str, session: str, routes: dict[Route, Endpoint], removed: Collection[str]
    ) -> None:
        known, removed = self._entries, frozenset(removed)
        entries = {
            route: entry
            for route, entry in known.items()
            if (entry.session != session or route[0] not in removed)
            and (entry.gone is not None or entry.kernel != kernel)
        }
        now = self._clock()
        for route, endpoint in routes.items():
            old = known.get(route)
            same = old is not None and old.kernel == kernel and old.endpoint.version == endpoint.version
            since = old.since if old is not None and same else now
            # At the end: the entries that are gone are kept in the order in which they went.
            entries.pop(route, None)
            entries[route] = Entry(endpoint, session, kernel, since)
        self._set(entries)

    def _set(self, entries: dict[Route, Entry]) -> None:
        root = Node()
        for (_, method), entry in entries.items():
            node = root
            for segment in segments(entry.endpoint.path):
                if segment is None:
                    node.parameter = node.parameter or Node()
                    node = node.parameter
                else:
                    node = node.literal.setdefault(segment, Node())
            node.entries[method] = entry
        self._entries, self._root = entries, root
        live = {(entry.kernel, entry.endpoint.version) for entry in entries.values() if entry.gone is None}
        self._live = Counter(kernel for kernel, _ in live)


def _nodes(
    node: Node, parts: Sequence[str], arguments: tuple[str, ...]
) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Yield the nodes that a path can mean, with the values of its parameters; literal segments first.

    Each node of the tree is visited at most once.
    """
    if not parts:
        if node.entries:
            yield node, arguments
        return
    part, rest = parts[0], parts[1:]
    if (literal := node.literal.get(part)) is not None:
        yield from _nodes(literal, rest, arguments)
    if node.parameter is not None and part:
        yield from _nodes(node.parameter, rest, (*arguments, part))


def _check_types(endpoint: Endpoint) -> None:
    """Raise `EndpointError` unless the types are JSON objects, not nested too deeply, with valid names."""
    texts: list[tuple[str, Any]] = [(endpoint.definitions, Definitions), (endpoint.result or "{}", Schema)]
    for parameter in endpoint.parameters:
        texts += [(parameter.schema, Schema), (parameter.default or "null", Any)]
    for text, kind in texts:
        if is_deeper(text, MAX_DEPTH):
            raise EndpointError(f"{endpoint.path}: its types are nested more than {MAX_DEPTH} deep")
        try:
            msgspec.json.decode(text, type=kind)
        except ValueError as error:
            raise EndpointError(f"{endpoint.path}: its types are not JSON Schemas: {error}") from None


def _gone(method: str, entry: Entry) -> EndpointGone:
    return EndpointGone(
        f"{method} {entry.endpoint.path} was {entry.endpoint.name} of session {entry.session}, whose kernel "
        f"{entry.gone}; to restore it, run the cell that defines it again"
    )
