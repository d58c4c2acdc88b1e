"""`pipe()` and `Pipe`: a pipeline as an immutable value, built method by method."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from inspect import isfunction
from typing import Any

from owt.errors import shortened
from owt.summat import (
    branches,
    commands,
    events,
    files,
    functions,
    importing,
    inputs,
    sequences,
    values,
)
from owt.summat.flow import MISSING, Flow
from owt.summat.fold import fold, pipe_source
from owt.summat.functions import checked
from owt.summat.later import settled, then
from owt.summat.step import Step, source

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, repr=False)
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

    def input(self) -> Pipe:
        """Restore the call's kwargs (and input value)."""
        return self.to(values.Input())

    def kwargs(self, /, **defaults: Any) -> Pipe:
        """Set defaults for kwargs; those of the call win, also after the kwargs have ended."""
        return self.to(values.Kwargs(tuple(defaults.items())))

    def kwarg(self, name: str) -> Pipe:
        """Take one kwarg as the value. Raises `MissingKwarg` if there is none of that name."""
        return self.to(values.Kwarg(_text(name, "kwarg")))

    def name(self, name: str) -> Pipe:
        """Make the value a kwarg. There is then no value: the next `.f(fn)` gets kwargs."""
        return self.to(values.Name(_text(name, "name")))

    def path(self) -> Pipe:
        """Read the non-empty segments of the request's path, decoded. Raises `NoRequest` without one."""
        return self.to(inputs.Path())

    def query(self) -> Pipe:
        """Read the query parameters: a dict of texts, with a list for a repeated one."""
        return self.to(inputs.Query())

    def json(self) -> Pipe:
        """Read the request's JSON body, decoded. Raises `WrongValue` for another body."""
        return self.to(inputs.Json())

    def data(self) -> Pipe:
        """Read the request's raw body."""
        return self.to(inputs.Data())

    def header(self, name: str) -> Pipe:
        """Read one header of the request, its name in any case; None if it is missing."""
        return self.to(inputs.Header(_text(name, "header")))

    def files(self) -> Pipe:
        """Read the uploaded files by field name, with a list for a field with several."""
        return self.to(inputs.Files())

    def f(self, fn: Function) -> Pipe:
        """Apply `fn` to the value or, without one, to the kwargs in its signature. The kwargs end."""
        return self.to(functions.F(checked(fn, "f")))

    def exec(self, fn: Function) -> Pipe:
        """Call `fn` as `.f` does, for its effect; value and kwargs stay."""
        return self.to(functions.Exec(checked(fn, "exec")))

    def const(self, x: Any) -> Pipe:
        """Set the value to a constant. The kwargs end."""
        return self.to(values.Const(x))

    def identity(self) -> Pipe:
        """Change nothing."""
        return self.to(values.Identity())

    def clear(self) -> Pipe:
        """Set the value to None. The kwargs end."""
        return self.to(values.Clear())

    def cast(self, type: Function) -> Pipe:
        """Convert the value: `type(value)`."""
        return self.to(values.Cast(checked(type, "cast")))

    def map(self, fn: Function) -> Pipe:
        """Apply `fn` to each item: a list, a dict with the same keys, or a lazy stream."""
        return self.to(sequences.Map(checked(fn, "map")))

    def filter(self, fn: Function) -> Pipe:
        """Keep the items for which `fn(item)` is true: a list, a dict, or a lazy stream."""
        return self.to(sequences.Filter(checked(fn, "filter")))

    def foldl(self, fn: Function, start: Any) -> Pipe:
        """Fold from the left: `fn(fn(start, first), second)` and so on."""
        return self.to(sequences.Foldl(checked(fn, "foldl"), start))

    def foldl1(self, fn: Function) -> Pipe:
        """Fold from the left, starting with the first item. Raises `NoItem` if there is none."""
        return self.to(sequences.Foldl1(checked(fn, "foldl1")))

    def ix(self, i: int) -> Pipe:
        """Take the item at index `i`, from the end if it is negative. Raises `NoItem` if there is none."""
        try:
            return self.to(sequences.Ix(operator.index(i)))
        except TypeError:
            raise TypeError(f"ix takes an index, not {source(i)}; .get(key) is for keys") from None

    def get(self, key: Any, default: Any = None) -> Pipe:
        """Take the value at a mapping's key or a sequence's index, or `default`."""
        return self.to(sequences.Get(key, default))

    def last(self) -> Pipe:
        """Take the last item. Raises `NoItem` if there is none."""
        return self.to(sequences.Last())

    def cond(self, then: Function, else_: Function) -> Pipe:
        """Continue with `then` if the value is true and with `else_` otherwise: with a pipe or step as
        `.to` does, with a function as `.f` does."""
        return self.to(branches.Cond(_branch(then, "cond"), _branch(else_, "cond")))

    def fork(self, /, *branches_: Function) -> Pipe:
        """Run functions and pipes on the same input, in order; the value is the tuple of results.
        The kwargs stay."""
        return self.to(branches.Fork(tuple(_branch(branch, "fork") for branch in branches_)))

    def open(self, root_dir: str | os.PathLike[str] | None = None) -> Pipe:
        """Read the file named by the value, as BytesIO. With `root_dir` the path is relative to it; one
        that leaves it, also by a link, raises `PathRefused`."""
        return self.to(files.Open(root_dir))

    def bytes(self) -> Pipe:
        """Take the content of BytesIO, an open file, str (UTF-8), bytes, bytearray or memoryview."""
        return self.to(files.Bytes())

    def text(self, encoding: str = "utf-8") -> Pipe:
        """Take the same content as text."""
        return self.to(files.Text(encoding))

    def shell(self, timeout: float | None = None) -> Pipe:
        """Run the value in bash, with an empty standard input, and take its standard output: str for str,
        bytes for bytes. Raises `ShellError` if it fails, `ShellTimeout` after `timeout` seconds."""
        return self.to(commands.Shell(timeout))

    def importing(self, /, *modules: str) -> Pipe:
        """Import, and make the names usable in the functions of later steps."""
        return self.to(importing.Importing(tuple(_text(module, "importing") for module in modules)))

    def installing(self, /, *packages: str) -> Pipe:
        """Install by pip, each requirement once a process. Raises `InstallError`."""
        return self.to(commands.Installing(tuple(_text(package, "installing") for package in packages)))

    def stream(self, fn: Function) -> Pipe:
        """Apply `fn`, as `.f` does, and stream the items of the iterator that it returns."""
        return self.to(functions.Stream(checked(fn, "stream")))

    def sse(self) -> Pipe:
        """Turn the streamed items into Server-Sent Events, `[DONE]` last: a pair of stream and headers."""
        return self.to(events.Sse())


METHODS = frozenset(
    name for name, item in vars(Pipe).items() if isfunction(item) and name[0] != "_" and name != "run"
)
"""Names with which the terse form of an adaptor may begin: the public methods that return a pipe."""


def pipe(cls: Function | None = None) -> Pipe:
    """Return an empty pipe, whose input is the call's kwargs. `pipe(cls)` first passes them through
    `cls`: a mapping that it returns becomes the kwargs, another object the value, and the fields of a
    dataclass or named tuple are then the kwargs, too."""
    return Pipe() if cls is None else Pipe((functions.Through(checked(cls, "pipe")),))


def _text(name: str, method: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{method} takes a name as str, not {shortened(name)}")
    return name


def _branch(branch: Function | Step, method: str) -> Function | Step:
    return branch if isinstance(branch, Step) else checked(branch, method)
