"""Registry of one kernel's endpoints: the functions that its session answers with, by path and method.

A cell or a call changes a draft, which takes effect when it has succeeded, so that an error leaves everything
as it was; outside of both a change takes effect at once. A path of another session is refused when it is
registered. The frontend knows all sessions' paths, so the kernel asks it and waits for the answer, about a
millisecond.

A function replaces the endpoint of the same name at the same path with all its methods, and other endpoints
at this path for its own methods only. Endpoints that are not registered again stay.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Union

import msgspec

from owt.errors import EndpointError, EndpointGone
from owt.kernel import context
from owt.kernel.code.arguments import evaluate
from owt.kernel.endpoints.binding import bind
from owt.kernel.endpoints.decorator import Decorator, RegisteredFunction
from owt.wire.call import Call
from owt.wire.endpoint import MAX_ENDPOINTS, METHODS, Endpoint, parameters, shape
from owt.wire.messages import RegisterEndpoints

FRONTEND_TIMEOUT = 10.0
"""Seconds that the kernel waits for the frontend's answer."""


class Removal(NamedTuple):
    """Removal of the endpoints at a path for these methods."""

    path: str
    methods: tuple[str, ...]


Change = Union[RegisteredFunction, Removal]
EndpointTable = dict[tuple[str, str], RegisteredFunction]
"""Endpoints by the shape of a path and a method."""


class Draft:
    """Changes that take effect together, and the endpoints that there will be."""

    def __init__(self, table: EndpointTable) -> None:
        self.changes: list[Change] = []
        self._table = dict(table)

    def add(self, change: Change) -> None:
        """Add a change. Raises `EndpointError`, and leaves it out, if there would be too many endpoints."""
        table = dict(self._table)
        _make_change(table, change)
        _check_count(table)
        self._table = table
        self.changes.append(change)

    def extend(self, draft: Draft) -> None:
        """Add the changes of another draft."""
        for change in draft.changes:
            _make_change(self._table, change)
        self.changes += draft.changes


class Registry:
    """Endpoints of this kernel. Thread-safe."""

    def __init__(
        self, shell: Any, send: Callable[[RegisterEndpoints], bool], is_active: Callable[[str], bool]
    ) -> None:
        """Create the registry. `send` sends to the frontend, or returns False without one; `is_active(id)` is
        True until that run has ended."""
        self.session: str | None = None
        self.endpoint = Decorator(self.register, lambda path, methods: self._change(Removal(path, methods)))
        self._send = send
        self._is_active = is_active
        self._table: EndpointTable = {}
        self._drafts: dict[str, Draft] = {}
        # A stack: a cell may run other cells, as %run does with a notebook.
        self._cell_drafts: list[Draft] = []
        self._versions = itertools.count(1)
        self._numbers = itertools.count(1)
        self._requests: dict[int, Future[str | None]] = {}
        self._lock = threading.RLock()
        shell.events.register("pre_run_cell", self._on_cell_start)
        shell.events.register("post_run_cell", self._on_cell_end)

    @property
    def paths(self) -> list[str]:
        """Paths of all endpoints."""
        return sorted({function.endpoint.path for function in self._table.values()})

    def on_result(self, number: int, problem: str | None) -> None:
        """Receive the frontend's answer to a request. Call it in the control thread."""
        if (answer := self._requests.get(number)) is None:
            if problem is not None:
                print(f"owt: the server does not have the endpoints again: {problem}", file=sys.stderr)
        elif not answer.done():
            answer.set_result(problem)

    def disconnected(self) -> None:
        """Handle the end of the frontend, which answers no more. Call it in the control thread."""
        for answer in list(self._requests.values()):
            if not answer.done():
                answer.set_result(None)

    def announcement(self) -> RegisterEndpoints:
        """Return the message that tells a new frontend all endpoints."""
        return RegisterEndpoints(next(self._numbers), _endpoints(self._table))

    def commit(self, run: str) -> None:
        """Apply the draft of a run that is about to succeed. Raises `EndpointError` if the frontend refuses
        it."""
        if (draft := self._drafts.get(run)) is not None:
            self._apply(draft.changes)
            del self._drafts[run]

    def discard(self, run: str) -> bool:
        """Discard the draft of a run that has failed. Returns True if there was one."""
        return self._drafts.pop(run, None) is not None

    def is_cell(self, call: Call) -> bool:
        """Return True if a call is for a notebook's cell, which does not overlap with other calls."""
        if call.endpoint is None:
            return False
        function = self._table.get((shape(call.endpoint.path), call.request.method))
        return function is not None and function.takes_request

    def prepare(
        self, run: context.Run, namespace: dict[str, Any]
    ) -> tuple[Callable[..., Any], list[Any], dict[str, Any], Literal["text", "json"] | None]:
        """Return the function that a call is for, its arguments, and the form of a scalar result.

        Raises `EndpointGone` if the endpoint does not exist, `Unprocessable` if arguments do not fit, and
        whatever evaluating the field `kwargs` raises.
        """
        call = run.call
        target, method = call.endpoint, call.request.method
        assert target is not None
        registered = self._table.get((shape(target.path), method))
        if registered is None:
            raise EndpointGone(
                f"{method} {target.path}: this kernel of session {self.session} does not have it; it is back "
                "when the cell that defines it has run again"
            )
        if registered.takes_request:
            return registered.function, list(target.arguments), {}, None
        args, kwargs = bind(
            registered.signature,
            dict(zip(parameters(registered.endpoint.path), target.arguments)),
            run.request,
            evaluate(call.kwargs, namespace),
            f"{method} {registered.endpoint.path}",
        )
        return registered.function, args, kwargs, registered.endpoint.scalar

    def register(self, new: RegisteredFunction) -> None:
        """Add an endpoint after the cell or the call has succeeded. Raises `EndpointError`."""
        if self.session is None:
            raise EndpointError(
                f"{new.endpoint.path}: an endpoint belongs to a session, and this call names none; "
                "add session=NAME"
            )
        versioned = msgspec.structs.replace(new.endpoint, version=next(self._versions))
        self._request((versioned,), keep=False)
        self._change(replace(new, endpoint=versioned))

    def _change(self, change: Change) -> None:
        with self._lock:
            draft = self._current_draft()
            if draft is None:
                self._apply([change])
                return
            draft.add(change)

    def _current_draft(self) -> Draft | None:
        """Return the draft of the current run, else of the current cell, else None."""
        run = context.running()
        if run is not None and self._is_active(run.id):
            draft = self._drafts.get(run.id)
            if draft is None:
                draft = self._drafts[run.id] = Draft(self._table)
            return draft
        return self._cell_drafts[-1] if self._cell_drafts else None

    def _apply(self, changes: Sequence[Change]) -> None:
        with self._lock:
            # Other calls may have changed the table since the draft began.
            table = dict(self._table)
            for change in changes:
                _make_change(table, change)
            _check_count(table)
            removed = {shape(change.path) for change in changes if isinstance(change, Removal)}
            # Before the request: the frontend may be gone, and the next one gets what is in the table.
            before, self._table = self._table, table
            try:
                self._request(_endpoints(table), tuple(removed), keep=True)
            except BaseException:
                self._table = before
                raise

    def _request(
        self, endpoints: tuple[Endpoint, ...], removed: tuple[str, ...] = (), *, keep: bool
    ) -> None:
        number = next(self._numbers)
        answer = self._requests[number] = Future()
        try:
            if not self._send(RegisterEndpoints(number, endpoints, removed, keep)):
                return
            problem = answer.result(FRONTEND_TIMEOUT)
        except TimeoutError:
            problem = f"the server did not answer for {FRONTEND_TIMEOUT:g} s; run the cell again"
        finally:
            del self._requests[number]
        if problem is not None:
            raise EndpointError(problem)

    def _on_cell_start(self, info: Any) -> None:
        self._cell_drafts.append(Draft(self._table))

    def _on_cell_end(self, result: Any) -> None:
        # A cancelled cell has no result, and an empty one had no start.
        if result is not None and not (result.info.raw_cell or "").strip():
            return
        draft = self._cell_drafts.pop() if self._cell_drafts else None
        if draft is None or not draft.changes or result is None or not result.success:
            return
        if self._cell_drafts:
            self._cell_drafts[-1].extend(draft)
            return
        try:
            self._apply(draft.changes)
        except EndpointError as error:
            print(f"owt: nothing was registered: {error}", file=sys.stderr)


def _make_change(table: EndpointTable, change: Change) -> None:
    """Change a table of endpoints."""
    if isinstance(change, Removal):
        removed = shape(change.path)
        for method in change.methods:
            table.pop((removed, method), None)
        return
    new = change.endpoint
    new_shape = shape(new.path)
    for method in METHODS:
        other = table.get((new_shape, method))
        if other is not None and other.endpoint.name == new.name:
            del table[new_shape, method]
    table.update(((new_shape, method), change) for method in new.methods)


def _endpoints(table: EndpointTable) -> tuple[Endpoint, ...]:
    """Return the public descriptions, each with the methods that it still has."""
    methods: dict[RegisteredFunction, list[str]] = {}
    for (_, method), function in table.items():
        methods.setdefault(function, []).append(method)
    return tuple(
        msgspec.structs.replace(function.endpoint, methods=tuple(names))
        for function, names in methods.items()
    )


def _check_count(table: EndpointTable) -> None:
    if len(set(table.values())) > MAX_ENDPOINTS:
        raise EndpointError(
            f"a session has at most {MAX_ENDPOINTS} endpoints; endpoint.remove(path) removes one"
        )
