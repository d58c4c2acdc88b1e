"""Steps that set, keep, convert or name the value, and steps on the call's kwargs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from owt.summat.errors import MissingKwarg, listed
from owt.summat.flow import Flow
from owt.summat.importing import lend
from owt.summat.step import MethodStep


@dataclass(frozen=True, slots=True, repr=False)
class Const(MethodStep):
    value: Any

    def run(self, flow: Flow) -> Flow:
        return flow.ending(self.value)


@dataclass(frozen=True, slots=True, repr=False)
class Identity(MethodStep):
    def run(self, flow: Flow) -> Flow:
        return flow


@dataclass(frozen=True, slots=True, repr=False)
class Clear(MethodStep):
    def run(self, flow: Flow) -> Flow:
        return flow.ending(None)


@dataclass(frozen=True, slots=True, repr=False)
class Cast(MethodStep):
    type: Callable[[Any], Any]

    def run(self, flow: Flow) -> Flow:
        lend(self.type, flow.names)
        return flow.giving(self.type(flow.needed(self)))


@dataclass(frozen=True, slots=True, repr=False)
class Input(MethodStep):
    def run(self, flow: Flow) -> Flow:
        return flow.naming(flow.call_kwargs).giving(flow.call_value)


@dataclass(frozen=True, slots=True, repr=False)
class Kwargs(MethodStep):
    """Step that sets defaults for kwargs. Current kwargs win, then those of the call, then the defaults."""

    defaults: tuple[tuple[str, Any], ...] = field(metadata={"star": "**"})

    def run(self, flow: Flow) -> Flow:
        kwargs = {name: flow.call_kwargs.get(name, default) for name, default in self.defaults}
        return flow.naming({**kwargs, **flow.kwargs}).giving(flow.value)


@dataclass(frozen=True, slots=True, repr=False)
class Kwarg(MethodStep):
    name: str

    def run(self, flow: Flow) -> Flow:
        if self.name in flow.kwargs:
            return flow.giving(flow.kwargs[self.name])
        if flow.ended:
            raise MissingKwarg(
                f"there is no kwarg {self.name!r} here: the kwargs ended at an earlier step;"
                f" .input() starts again from those of the call, which are {listed(flow.call_kwargs)}"
            )
        raise MissingKwarg(f"there is no kwarg {self.name!r}; those given are {listed(flow.kwargs)}")


@dataclass(frozen=True, slots=True, repr=False)
class Name(MethodStep):
    name: str

    def run(self, flow: Flow) -> Flow:
        return flow.naming({**flow.kwargs, self.name: flow.needed(self)})
