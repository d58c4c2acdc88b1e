"""`pipe()` and `Pipe`: a pipeline as an immutable value, built method by method."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, isfunction, signature
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from owt.errors import shortened
from owt.summat import branches, commands, events, functions, inputs, sequences, values
from owt.summat import files as files_
from owt.summat import importing as importing_
from owt.summat.flow import MISSING, Flow
from owt.summat.fold import fold, pipe_source
from owt.summat.functions import checked
from owt.summat.later import settled, then
from owt.summat.step import MethodStep, Step, source

Function = Callable[..., Any]
if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec

    P = ParamSpec("P")


def method(
    function: Callable[Concatenate[Step, Flow, P], Flow | Awaitable[Flow]],
    **checks: Callable[[Any, str], Any],
) -> Callable[Concatenate[Pipe, P], Pipe]:
    """Return the method of a pipe that adds the step which `function` runs (see `MethodStep`).

    `checks` are functions for arguments by their names, which return the argument, or raise `TypeError` when
    the pipe is built.
    """
    first, _, *parameters = signature(function).parameters.values()
    own = Signature([first.replace(name="self"), *parameters])
    name = function.__name__.removesuffix("_")
    rows = [(checks.get(parameter.name), parameter.kind) for parameter in parameters]
    simple = all(kind is Parameter.POSITIONAL_OR_KEYWORD for _, kind in rows)

    @wraps(function)
    def add(self: Pipe, /, *args: P.args, **kwargs: P.kwargs) -> Pipe:
        values, pairs = tuple[Any, ...](args), tuple(kwargs.items())
        if pairs or not simple or len(values) != len(rows):
            bound = own.bind(self, *args, **kwargs)
            bound.apply_defaults()
            values, pairs = bound.args[1:], tuple(bound.kwargs.items())
        if checks:
            # Further arguments belong to the last parameter, as in `fork(*branches)`.
            own_checks = chain((check for check, _ in rows), repeat(rows[-1][0]))
            checked_values = zip(values, own_checks)
            values = tuple(check(value, name) if check else value for value, check in checked_values)
        return self.to(MethodStep(function, values, pairs))

    add.__name__, add.__qualname__ = name, f"Pipe.{name}"
    add.__signature__ = own  # type: ignore[attr-defined]
    return add


def a_name(name: Any, method: str) -> str:
    """Return `name`. Raises `TypeError` for what is not a text."""
    if not isinstance(name, str):
        raise TypeError(f"{method} takes a name as str, not {shortened(name)}")
    return name


def an_index(i: Any, method: str) -> int:
    """Return the index `i`. Raises `TypeError` for what is none."""
    try:
        return operator.index(i)
    except TypeError:
        raise TypeError(f"{method} takes an index, not {source(i)}; .get(key) is for keys") from None


def a_branch(branch: Any, method: str) -> Function | Step:
    """Return `branch`. Raises `TypeError` for what is neither a step nor a function."""
    return branch if isinstance(branch, Step) else checked(branch, method)


@dataclass(frozen=True, repr=False)
class Pipe(Step):
    """A pipeline: a value with `==` and a readable repr, that may run many times and at once.

    Begin one with `pipe()`. Every method returns a new pipe with one more step. Calling a pipe runs
    it, see `__call__`. `owt.summat` describes what the steps pass on and when the kwargs end.
    """

    steps: tuple[Step, ...] = ()

    def __call__(self, /, *value: Any, **kwargs: Any) -> Any:
        """Run with these kwargs, and optionally one input value (also as the kwarg `__last__`).

        Returns the last step's value or, if there is none, the kwargs as a dict; a coroutine for it if
        a step returned an awaitable.
        """
        positional = (*value, kwargs.pop("__last__")) if "__last__" in kwargs else value
        if len(positional) > 1:
            raise TypeError(f"a pipe takes one input value, not {len(positional)}; name the others as kwargs")
        flow = Flow.of(positional[0] if positional else MISSING, kwargs)
        return then(self.run(flow), Flow.result)

    def __repr__(self) -> str:
        return pipe_source(self.steps)

    def run(self, flow: Flow) -> Flow | Coroutine[Any, Any, Flow]:
        """Run this pipe as a step of another."""
        return settled(fold(self.steps, flow))

    def to(self, step: Step) -> Pipe:
        """Add any step or all steps of a pipe. Raises `TypeError` for anything else."""
        if isinstance(step, Pipe):
            return Pipe(self.steps + step.steps)
        if isinstance(step, Step):
            return Pipe((*self.steps, step))
        if isinstance(step, type) and issubclass(step, Step):
            raise TypeError(f"to({source(step)}): that is a class; give an instance of it")
        raise TypeError(f"to({source(step)}): that is no step and no pipe; a function is added by .f(fn)")

    def done(self) -> Pipe:
        """Return the pipe itself, which is callable."""
        return self

    input = method(values.input_)
    kwargs = method(values.kwargs)
    kwarg = method(values.kwarg, name=a_name)
    name = method(values.name, name=a_name)
    path = method(inputs.path)
    query = method(inputs.query)
    json = method(inputs.json_)
    data = method(inputs.data)
    header = method(inputs.header, name=a_name)
    files = method(inputs.files)
    f = method(functions.f, fn=checked)
    exec = method(functions.exec_, fn=checked)
    const = method(values.const)
    identity = method(values.identity)
    clear = method(values.clear)
    cast = method(values.cast, type=checked)
    map = method(sequences.map_, fn=checked)
    filter = method(sequences.filter_, fn=checked)
    foldl = method(sequences.foldl, fn=checked)
    foldl1 = method(sequences.foldl1, fn=checked)
    ix = method(sequences.ix, i=an_index)
    get = method(sequences.get)
    last = method(sequences.last)
    cond = method(branches.cond, then=a_branch, else_=a_branch)
    fork = method(branches.fork, branches=a_branch)
    open = method(files_.open_)
    bytes = method(files_.bytes_)
    text = method(files_.text)
    shell = method(commands.shell)
    importing = method(importing_.importing, modules=a_name)
    installing = method(commands.installing, packages=a_name)
    stream = method(functions.stream, fn=checked)
    sse = method(events.sse)


METHODS = frozenset(
    name for name, item in vars(Pipe).items() if isfunction(item) and name[0] != "_" and name != "run"
)
"""Names with which the terse form of an adaptor may begin: the public methods that return a pipe."""


def pipe(cls: Function | None = None) -> Pipe:
    """Return an empty pipe, whose input is the call's kwargs. `pipe(cls)` first passes them through
    `cls`: a mapping that it returns becomes the kwargs, another object the value, and the fields of a
    dataclass or named tuple are then the kwargs, too."""
    return Pipe() if cls is None else Pipe((functions.Through(checked(cls, "pipe")),))
