"""Steps on the call's kwargs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from owt.summat.errors import MissingKwarg, listed
from owt.summat.flow import Flow
from owt.summat.step import MethodStep


@dataclass(frozen=True, slots=True, repr=False)
class Input(MethodStep):
    """Start again from what the call gave: its kwargs, and its input value if it has one."""

    def run(self, flow: Flow) -> Flow:
        return flow.naming(flow.given).giving(flow.given_value)


@dataclass(frozen=True, slots=True, repr=False)
class Kwargs(MethodStep):
    """Defaults for kwargs. Those along win, then those that the call gave, then the defaults."""

    defaults: tuple[tuple[str, Any], ...] = field(metadata={"star": "**"})

    def run(self, flow: Flow) -> Flow:
        kwargs = {name: flow.given.get(name, default) for name, default in self.defaults}
        return flow.naming({**kwargs, **flow.kwargs}).giving(flow.value)


@dataclass(frozen=True, slots=True, repr=False)
class Kwarg(MethodStep):
    """The value of one kwarg; the kwargs stay along."""

    name: str

    def run(self, flow: Flow) -> Flow:
        if self.name in flow.kwargs:
            return flow.giving(flow.kwargs[self.name])
        if flow.ended:
            raise MissingKwarg(
                f"there is no kwarg {self.name!r} here: the kwargs ended at an earlier step;"
                f" .input() starts again from those of the call, which are {listed(flow.given)}"
            )
        raise MissingKwarg(f"there is no kwarg {self.name!r}; those given are {listed(flow.kwargs)}")


@dataclass(frozen=True, slots=True, repr=False)
class Name(MethodStep):
    """Put the value among the kwargs under a name; there is then no value, only kwargs."""

    name: str

    def run(self, flow: Flow) -> Flow:
        return flow.naming({**flow.kwargs, self.name: flow.needed(self)})
