"""The fold that runs a pipe, and the note on an error that names the failing step.

Each step gets the flow of the one before it. An awaitable value is awaited before the next step gets
it. An error keeps its type and gets a note (PEP 678); also one that a generator raises later, while
its items are read:

    in step 2 of 3, f(<function upper>):
        pipe().kwarg('text')>>>.f(<function upper>)<<<.last()
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any

from owt.errors import add_note
from owt.summat.flow import Flow
from owt.summat.functions import Through
from owt.summat.later import Work, aclosing, is_awaitable
from owt.summat.step import Step, step_source

Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Place:
    """One step of a pipe."""

    steps: Steps
    index: int

    def note(self, error: BaseException) -> None:
        """Add a note to `error` that it happened here, unless it has one for this pipe: a stream's error
        passes through several steps, and the innermost one counts."""
        pipe = _unmarked(f"\n    {pipe_source(self.steps)}")
        if any(_unmarked(str(note)).endswith(pipe) for note in getattr(error, "__notes__", ())):
            return
        add_note(
            error,
            f"in step {self.index + 1} of {len(self.steps)}, {step_source(self.steps[self.index])}:\n"
            f"    {pipe_source(self.steps, self.index)}",
        )


def pipe_source(steps: Steps, marked: int | None = None) -> str:
    """Return the source text of a pipe, with the step at index `marked` between `>>>` and `<<<`."""
    first = bool(steps) and isinstance(steps[0], Through)
    parts = [f".{step_source(step)}" for step in steps]
    if first:
        parts[0] = repr(steps[0])
    if marked is not None:
        parts[marked] = f">>>{parts[marked]}<<<"
    return "".join(parts if first else ["pipe()", *parts])


def _unmarked(text: str) -> str:
    return text.replace(">>>", "").replace("<<<", "")


def run_step(step: Step, flow: Flow) -> Work[Flow]:
    """Run one step and await its result and value if they are awaitable. A `StopIteration` from the step
    becomes `RuntimeError` (PEP 479), so that it ends no generator around the pipe."""
    result = step.run(flow)
    after: object = (yield result) if is_awaitable(result) else result
    if not isinstance(after, Flow):
        raise TypeError(
            f"a step's run returns a Flow, as flow.giving(value) makes it; that of"
            f" {type(step).__name__} returned {type(after).__name__}"
        )
    return after.giving((yield after.value)) if is_awaitable(after.value) else after


def fold(steps: Steps, flow: Flow) -> Work[Flow]:
    """Run `steps` on `flow`; see `owt.summat.later` for what it yields."""
    for index, step in enumerate(steps):
        place = Place(steps, index)
        try:
            after = yield from run_step(step, flow)
        except Exception as error:
            place.note(error)
            raise
        if after.value is not flow.value:
            after = after.giving(_noting(after.value, place))
        flow = after
    return flow


def _noting(value: Any, place: Place) -> Any:
    """Return `value` with generators that add the note of `place` to their errors; also those in a tuple,
    such as a response with headers."""
    if inspect.isgenerator(value):
        return _noted(value, place)
    if inspect.isasyncgen(value):
        return _noted_async(value, place)
    if type(value) is tuple and any(inspect.isgenerator(item) or inspect.isasyncgen(item) for item in value):
        return tuple(_noting(item, place) for item in value)
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
