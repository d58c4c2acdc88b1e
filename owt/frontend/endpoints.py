"""The table of endpoints: which session answers at which path.

Kernels tell what they have (`Offer`), and it ends with them: then the path is *gone* (410, with the
reason) until a kernel has it again. Literal segments of a path win over parameters.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote

import msgspec

from owt.errors import EndpointError, EndpointGone, MethodNotAllowed
from owt.frontend.nesting import is_deeper
from owt.wire.call import Target
from owt.wire.endpoint import METHODS, MOST_SEGMENTS, Endpoint, check, segments, shape
from owt.wire.messages import RegisterEndpoints

MOST_LIVE = 2000
"""Endpoints of all sessions together."""
DEEPEST = 100
"""Brackets that may be open at once in what is told of an endpoint's types."""

Schema = dict[str, Any]
# The names are the OpenAPI Specification's (Components Object).
Definitions = dict[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+$")], Schema]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An endpoint as it is known here. `gone` is why it does not answer, in words that fit after "the
    kernel", or None; `since` is when that, or its registration, was, in seconds since 1970."""

    endpoint: Endpoint
    session: str
    kernel: str
    since: float
    gone: str | None = None

    @property
    def edition(self) -> str:
        """Another one for each time that it was defined."""
        return f"{self.kernel}.{self.endpoint.version}"


class Match(NamedTuple):
    """What a request's path leads to: the session, and the call's target there."""

    session: str
    target: Target


@dataclass(slots=True)
class Node:
    """A place in the tree of paths: what follows it by the next segment, and what is there by method."""

    literal: dict[str, Node] = field(default_factory=dict)
    parameter: Node | None = None
    entries: dict[str, Entry] = field(default_factory=dict)


Place = tuple[str, str]
"""The shape of a path, and a method."""


class Endpoints:
    """The endpoints of one server."""

    def __init__(self, *, most_gone: int = 1000) -> None:
        """`most_gone` places are remembered that answer no more; the oldest are forgotten first."""
        self._most_gone = most_gone
        self._entries: dict[Place, Entry] = {}
        # Never changed, but replaced: requests with large bodies are parsed in other threads.
        self._root = Node()

    def find(self, method: str, path: str) -> Match | None:
        """What answers a request of this method at this path, percent-encoded as it came; None where no
        endpoint has ever been.

        Raises `MethodNotAllowed` and `EndpointGone`.
        """
        if not self._entries or path.count("/") > MOST_SEGMENTS:
            return None
        parts = [unquote(part) for part in path[1:].split("/")] if path not in ("", "/") else []
        allowed: set[str] = set()
        gone: Entry | None = None
        for node, arguments in _nodes(self._root, parts, ()):
            entry = node.entries.get(method)
            if entry is not None and entry.gone is None:
                return Match(entry.session, Target(entry.endpoint.path, arguments, entry.edition))
            if entry is not None:
                raise _gone(method, entry)
            for each in node.entries.values():
                if each.gone is None:
                    allowed.update(each.endpoint.methods)
                else:
                    gone = each
        if allowed:
            raise MethodNotAllowed(method, path, [each for each in METHODS if each in allowed])
        if gone is not None:
            raise _gone(method, gone)
        return None

    def offer(self, kernel: str, session: str | None, offer: RegisterEndpoints) -> str | None:
        """A kernel asks for paths, or has them from now on. Gives why that cannot be, in words for people."""
        if session is None:
            return "endpoints belong to a session, and this kernel has none"
        try:
            check(offer.endpoints)
            for each in offer.endpoints:
                _check_types(each)
        except EndpointError as error:
            return str(error)
        wanted = {
            (shape(each.path), method): each for each in offer.endpoints for method in each.methods
        }
        for place, each in wanted.items():
            other = self._entries.get(place)
            if other is not None and other.gone is None and other.session != session:
                return (
                    f"{place[1]} {each.path} is taken by {other.endpoint.name} of session {other.session}; "
                    f"choose another path, or end that one: there, endpoint.remove({other.endpoint.path!r}) "
                    f"(or owt session delete {other.session})"
                )
        others = {
            (entry.kernel, entry.endpoint.version)
            for entry in self._entries.values()
            if entry.gone is None and entry.kernel != kernel
        }
        if len(others) + len(offer.endpoints) > MOST_LIVE:
            return f"the server has {len(others)} endpoints already (the limit is {MOST_LIVE})"
        if offer.keep:
            self._keep(kernel, session, wanted, offer.removed)
        return None

    def lost(self, kernel: str, reason: str) -> None:
        """A kernel is gone, for this `reason`, in words that fit after "the kernel"."""
        theirs = {
            place: entry
            for place, entry in self._entries.items()
            if entry.kernel == kernel and entry.gone is None
        }
        if not theirs:
            return
        entries = {place: entry for place, entry in self._entries.items() if place not in theirs}
        now = time.time()
        entries.update((place, replace(each, gone=reason, since=now)) for place, each in theirs.items())
        over = [place for place, entry in entries.items() if entry.gone is not None][: -self._most_gone]
        for place in over:
            del entries[place]
        self._set(entries)

    def all(self) -> list[Entry]:
        """Every endpoint that is known, by path; one whose methods have different fates is several."""
        methods: dict[tuple[str, str, str, int, str | None], list[Place]] = {}
        for place, entry in self._entries.items():
            key = (entry.endpoint.path, entry.session, entry.kernel, entry.endpoint.version, entry.gone)
            methods.setdefault(key, []).append(place)
        found = []
        for places in methods.values():
            entry = self._entries[places[0]]
            have = tuple(each for each in METHODS if any(each == method for _, method in places))
            endpoint = msgspec.structs.replace(entry.endpoint, methods=have)
            found.append(replace(entry, endpoint=endpoint))
        return sorted(found, key=lambda entry: (entry.endpoint.path, entry.endpoint.methods, entry.session))

    def _keep(
        self, kernel: str, session: str, wanted: dict[Place, Endpoint], removed: Sequence[str]
    ) -> None:
        known = self._entries
        entries = {
            place: entry
            for place, entry in known.items()
            if (entry.session != session or place[0] not in removed)
            and (entry.gone is not None or entry.kernel != kernel)
        }
        now = time.time()
        for place, each in wanted.items():
            old = known.get(place)
            same = old is not None and old.kernel == kernel and old.endpoint.version == each.version
            since = old.since if old is not None and same else now
            # At its end, as what is gone is in the order in which it went.
            entries.pop(place, None)
            entries[place] = Entry(each, session, kernel, since)
        self._set(entries)

    def _set(self, entries: dict[Place, Entry]) -> None:
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


def _nodes(
    node: Node, parts: Sequence[str], arguments: tuple[str, ...]
) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """The places that a path can mean, and its parameters there: literal segments first. Each place of the
    tree is looked at once at most."""
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
    """Raises `EndpointError` for schemas that are not JSON objects, or nested too deeply, and for names of
    them that a document cannot have."""
    texts: list[tuple[str, Any]] = [(endpoint.definitions, Definitions), (endpoint.result or "{}", Schema)]
    for each in endpoint.parameters:
        texts += [(each.schema, Schema), (each.default or "null", Any)]
    for text, kind in texts:
        try:
            if is_deeper(text, DEEPEST):
                raise EndpointError(f"{endpoint.path}: its types are nested more than {DEEPEST} deep")
            msgspec.json.decode(text, type=kind)
        except ValueError as error:
            if isinstance(error, EndpointError):
                raise
            raise EndpointError(f"{endpoint.path}: its types are not JSON Schemas: {error}") from None


def _gone(method: str, entry: Entry) -> EndpointGone:
    return EndpointGone(
        f"{method} {entry.endpoint.path} was {entry.endpoint.name} of session {entry.session}, whose kernel "
        f"{entry.gone}; it is back when the cell that defines it has run again"
    )

