"""Steps that set, keep or convert the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owt.summat.flow import Flow
from owt.summat.importing import lend
from owt.summat.step import MethodStep


@dataclass(frozen=True, slots=True, repr=False)
class Const(MethodStep):
    """A constant, the same object in each run; the kwargs end."""

    value: Any

    def run(self, flow: Flow) -> Flow:
        return flow.ending(self.value)


@dataclass(frozen=True, slots=True, repr=False)
class Identity(MethodStep):
    """Value and kwargs unchanged."""

    def run(self, flow: Flow) -> Flow:
        return flow


@dataclass(frozen=True, slots=True, repr=False)
class Clear(MethodStep):
    """The value None; the kwargs end."""

    def run(self, flow: Flow) -> Flow:
        return flow.ending(None)


@dataclass(frozen=True, slots=True, repr=False)
class Cast(MethodStep):
    """The value converted by calling a type with it."""

    type: Callable[[Any], Any]

    def run(self, flow: Flow) -> Flow:
        lend(self.type, flow.names)
        return flow.giving(self.type(flow.needed(self)))
