"""The fold that runs a pipe, and the note on an error that says where it happened.

Each step gets the flow that the one before it gave. A value that must be awaited is awaited before
the next step sees it. An error keeps its type and gets a note (PEP 678); so does one that a
generator raises later, while its items are taken:

    in step 2 of 3, f(<function upper>):
        pipe().kwarg('text')>>>.f(<function upper>)<<<.last()
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from owt.summat.flow import Flow
from owt.summat.functions import Through
from owt.summat.later import Work, is_awaitable
from owt.summat.step import Step, shown_step

Steps: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One step of a pipe."""

    steps: Steps
    index: int

    def note(self, error: BaseException) -> None:
        """Say on `error` that it happened here, unless it says so of this pipe already: of a
        stream, each step that it passed sees its error, and the innermost one counts."""
        pipe = _unmarked(f"\n    {shown_pipe(self.steps)}")
        if any(_unmarked(str(note)).endswith(pipe) for note in getattr(error, "__notes__", ())):
            return
        error.add_note(
            f"in step {self.index + 1} of {len(self.steps)}, {shown_step(self.steps[self.index])}:\n"
            f"    {shown_pipe(self.steps, self.index)}"
        )


def shown_pipe(steps: Steps, marked: int | None = None) -> str:
    """The program text of a pipe; the step at index `marked` between `>>>` and `<<<`."""
    first = bool(steps) and isinstance(steps[0], Through)
    parts = [f".{shown_step(step)}" for step in steps]
    if first:
        parts[0] = repr(steps[0])
    if marked is not None:
        parts[marked] = f">>>{parts[marked]}<<<"
    return "".join(parts if first else ["pipe()", *parts])


def _unmarked(text: str) -> str:
    return text.replace(">>>", "").replace("<<<", "")


def ran(step: Step, flow: Flow) -> Work[Flow]:
    """Run one step: what it gives, with nothing left to await in it. A `StopIteration` from the
    step becomes `RuntimeError` (PEP 479), so that it ends no generator around the pipe."""
    begun = step.run(flow)
    passed: object = (yield begun) if is_awaitable(begun) else begun
    if not isinstance(passed, Flow):
        raise TypeError(
            f"a step's run gives a Flow, as flow.giving(value) makes it; that of"
            f" {type(step).__name__} gave {type(passed).__name__}"
        )
    return passed.giving((yield passed.value)) if is_awaitable(passed.value) else passed


def fold(steps: Steps, flow: Flow) -> Work[Flow]:
    """Run `steps` on `flow`; see `owt.summat.later` for what it yields."""
    for index, step in enumerate(steps):
        place = Place(steps, index)
        try:
            passed = yield from ran(step, flow)
        except Exception as error:
            place.note(error)
            raise
        if passed.value is not flow.value:
            passed = passed.giving(_noting(passed.value, place))
        flow = passed
    return flow


def _noting(value: Any, place: Place) -> Any:
    """`value`, whose generators note `place` on what they raise; also those in a tuple, as an
    answer with headers is one."""
    if inspect.isgenerator(value):
        return _noted(value, place)
    if inspect.isasyncgen(value):
        return _noted_async(value, place)
    if type(value) is tuple and any(inspect.isgenerator(each) or inspect.isasyncgen(each) for each in value):
        return tuple(_noting(each, place) for each in value)
    return value


def _noted(items: Generator[Any, Any, Any], place: Place) -> Generator[Any, Any, Any]:
    try:
        return (yield from items)
    except Exception as error:
        place.note(error)
        raise


async def _noted_async(items: AsyncGenerator[Any, Any], place: Place) -> AsyncGenerator[Any, Any]:
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except Exception as error:
            place.note(error)
            raise
