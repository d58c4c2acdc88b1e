"""The endpoints of one kernel: what its session answers at which path.

What a cell or a call registers and removes is a draft until that has succeeded, so that an error leaves
everything as it was; outside of both it counts at once. What another session has is refused when it is
asked for, which is why the frontend is asked, and the kernel waits for its answer: a millisecond.

A function replaces the endpoint of the same name at the same path with all its methods, and others
there only for the methods that it has. What is not registered again stays.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from owt.errors import EndpointError, EndpointGone
from owt.kernel.calls import context
from owt.kernel.code.arguments import evaluate
from owt.kernel.endpoints.binding import fitted
from owt.kernel.endpoints.decorator import Decorator, Registered
from owt.wire.call import Call
from owt.wire.endpoint import MOST, Endpoint, parameters, shape
from owt.wire.messages import RegisterEndpoints

PATIENCE = 10.0
"""Seconds that the frontend may take to answer."""


class Removal(NamedTuple):
    """A path that is to be one no more, for these methods."""

    path: str
    methods: tuple[str, ...]


Change = Registered | Removal
LiveEndpoints = dict[tuple[str, str], Registered]
"""By the shape of a path and a method."""


class Registry:
    """The endpoints of this kernel. Safe to use from several threads."""

    def __init__(
        self, shell: Any, send: Callable[[RegisterEndpoints], None], is_running: Callable[[str], bool]
    ) -> None:
        """`send` sends to the frontend, and `is_running` says whether a run of this id has not ended."""
        self.session: str | None = None
        self.endpoint = Decorator(self.register, lambda path, methods: self._change(Removal(path, methods)))
        self._send = send
        self._is_running = is_running
        self._live: LiveEndpoints = {}
        self._drafts: dict[str, list[Change]] = {}
        # Cells may run cells, as %run does with a notebook.
        self._cells: list[list[Change]] = []
        self._versions = itertools.count(1)
        self._numbers = itertools.count(1)
        self._verdicts: dict[int, _Waiting] = {}
        self._lock = threading.RLock()
        shell.events.register("pre_run_cell", self._cell_begins)
        shell.events.register("post_run_cell", self._cell_ends)

    @property
    def paths(self) -> list[str]:
        """The paths of all endpoints."""
        return sorted({each.endpoint.path for each in self._live.values()})

    def heard(self, number: int, problem: str | None) -> None:
        """The frontend's answer has come. In the control thread."""
        waiting = self._verdicts.get(number)
        if waiting is not None:
            waiting.problem = problem
            waiting.there.set()

    def settle(self, run: str) -> None:
        """A run is about to end well: what it has drafted takes effect. Raises `EndpointError` when the
        frontend refuses it after all."""
        if (draft := self._drafts.get(run)) is not None:
            self._take_effect(draft)
            del self._drafts[run]

    def give_up(self, run: str) -> bool:
        """A run has failed: what it has drafted, if anything, is lost. Gives whether there was something."""
        return self._drafts.pop(run, None) is not None

    def is_cell(self, call: Call) -> bool:
        """Whether a call is for a notebook's cell, which takes its turn as cells do."""
        target = call.endpoint
        found = None if target is None else self._live.get((shape(target.path), call.request.method))
        return found is not None and found.whole

    def prepare(
        self, run: context.Run, namespace: dict[str, Any]
    ) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        """The function that a call is for, and its arguments.

        Raises `EndpointGone` where there is none any more, and `Unprocessable`, or what evaluating the
        field `kwargs` raises.
        """
        call = run.call
        target, method = call.endpoint, call.request.method
        assert target is not None
        found = self._live.get((shape(target.path), method))
        if found is None:
            raise EndpointGone(
                f"{method} {target.path}: this kernel of session {self.session} does not have it; it is back "
                "when the cell that defines it has run again"
            )
        if found.whole:
            return found.function, list(target.arguments), {}
        args, kwargs = fitted(
            found.signature,
            dict(zip(parameters(found.endpoint.path), target.arguments, strict=True)),
            run.request,
            evaluate(call.kwargs, namespace),
            f"{method} {found.endpoint.path}",
        )
        return found.function, args, kwargs

    def register(self, new: Registered) -> None:
        """Have an endpoint as soon as the cell or the call has succeeded. Raises `EndpointError`."""
        if self.session is None:
            raise EndpointError(
                f"{new.endpoint.path}: an endpoint belongs to a session, and this call names none; "
                "add session=NAME"
            )
        versioned = msgspec.structs.replace(new.endpoint, version=next(self._versions))
        self._ask((versioned,), keep=False)
        self._change(replace(new, endpoint=versioned))

    def _change(self, change: Change) -> None:
        with self._lock:
            draft = self._draft()
            if draft is None:
                self._take_effect([change])
                return
            _check_count(_changed(self._live, [*draft, change]))
            draft.append(change)

    def _draft(self) -> list[Change] | None:
        """What the change belongs in: the draft of a run, of a cell, or none."""
        run = context.running()
        if run is not None and self._is_running(run.id):
            return self._drafts.setdefault(run.id, [])
        return self._cells[-1] if self._cells else None

    def _take_effect(self, draft: Sequence[Change]) -> None:
        with self._lock:
            live = _changed(self._live, draft)
            _check_count(live)
            removed = [shape(each.path) for each in draft if isinstance(each, Removal)]
            self._ask(_described(live), tuple(removed), keep=True)
            self._live = live

    def _ask(self, endpoints: tuple[Endpoint, ...], removed: tuple[str, ...] = (), *, keep: bool) -> None:
        number = next(self._numbers)
        waiting = self._verdicts[number] = _Waiting()
        try:
            self._send(RegisterEndpoints(number, endpoints, removed, keep))
            if not waiting.there.wait(PATIENCE):
                raise EndpointError(f"the server did not answer for {PATIENCE:g} s; run the cell again")
        finally:
            del self._verdicts[number]
        if waiting.problem is not None:
            raise EndpointError(waiting.problem)

    def _cell_begins(self, info: Any) -> None:
        self._cells.append([])

    def _cell_ends(self, result: Any) -> None:
        # There is no result for a cell that was cancelled, and was no beginning for one that is empty.
        if result is not None and not (result.info.raw_cell or "").strip():
            return
        draft = self._cells.pop() if self._cells else []
        if not draft or result is None or not result.success:
            return
        if self._cells:
            self._cells[-1].extend(draft)
            return
        try:
            self._take_effect(draft)
        except EndpointError as error:
            print(f"owt: nothing was registered: {error}", file=sys.stderr)


class _Waiting:
    """A question to the frontend."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.problem: str | None = None


def _changed(live: LiveEndpoints, draft: Sequence[Change]) -> LiveEndpoints:
    """What is live after these changes."""
    live = dict(live)
    for change in draft:
        match change:
            case Removal(path, methods):
                for method in methods:
                    live.pop((shape(path), method), None)
            case Registered(endpoint=new):
                place = shape(new.path)
                for key, other in list(live.items()):
                    if key[0] == place and other.endpoint.name == new.name:
                        del live[key]
                live.update(((place, method), change) for method in new.methods)
    return live


def _described(live: LiveEndpoints) -> tuple[Endpoint, ...]:
    """What is told of them, each with the methods that it still has."""
    methods: dict[Registered, list[str]] = {}
    for (_, method), each in live.items():
        methods.setdefault(each, []).append(method)
    return tuple(
        msgspec.structs.replace(each.endpoint, methods=tuple(found)) for each, found in methods.items()
    )


def _check_count(live: LiveEndpoints) -> None:
    if len(set(live.values())) > MOST:
        raise EndpointError(f"a session has at most {MOST} endpoints; endpoint.remove(path) ends one")
