"""`pipe()` and what it gives: a pipeline as an immutable value, built method by method."""

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
    events,
    files,
    functions,
    importing,
    inputs,
    installing,
    kwargs,
    sequences,
    shell,
    values,
)
from owt.summat.flow import MISSING, Flow
from owt.summat.fold import fold, shown_pipe
from owt.summat.functions import checked
from owt.summat.later import settled, then
from owt.summat.step import Step, shown

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, repr=False)
class Pipe(Step):
    """A pipeline: a value with `==` and a readable repr, that may run many times and at once.

    Begin one with `pipe()`. Every method gives a new pipe with one more step. Calling a pipe runs
    it, see `__call__`. What the steps pass on and when the kwargs end is told in `owt.summat`.
    """

    steps: tuple[Step, ...] = ()

    def __call__(self, /, *value: Any, **kwargs: Any) -> Any:
        """Run with these kwargs, and perhaps one input value (also as the kwarg `__last__`).

        Gives the last step's value or, when there is no value, the kwargs as a dict. It is a
        coroutine of that as soon as one step gave something to await.
        """
        given = (*value, kwargs.pop("__last__")) if "__last__" in kwargs else value
        if len(given) > 1:
            raise TypeError(f"a pipe takes one input value, not {len(given)}; name the others as kwargs")
        flow = Flow.of(given[0] if given else MISSING, kwargs)
        return then(self.run(flow), Flow.result)

    def __repr__(self) -> str:
        return shown_pipe(self.steps)

    def run(self, flow: Flow) -> Flow | Coroutine[Any, Any, Flow]:
        """This pipe as a step of another."""
        return settled(fold(self.steps, flow))

    def to(self, step: Step) -> Pipe:
        """Add any step or all steps of a pipe. Raises `TypeError` for anything else."""
        if isinstance(step, Pipe):
            return Pipe(self.steps + step.steps)
        if isinstance(step, Step):
            return Pipe((*self.steps, step))
        if isinstance(step, type) and issubclass(step, Step):
            raise TypeError(f"to({shown(step)}): that is a class; give an instance of it")
        raise TypeError(f"to({shown(step)}): that is no step and no pipe; a function is added by .f(fn)")

    def done(self) -> Pipe:
        """The pipe as a callable, which it is already."""
        return self

    def input(self) -> Pipe:
        """Start again from the call's kwargs (and input value)."""
        return self.to(kwargs.Input())

    def kwargs(self, /, **defaults: Any) -> Pipe:
        """Defaults for kwargs; those given in the call win, also when the kwargs have ended."""
        return self.to(kwargs.Kwargs(tuple(defaults.items())))

    def kwarg(self, name: str) -> Pipe:
        """The value of one kwarg. Raises `MissingKwarg` when there is none of that name."""
        return self.to(kwargs.Kwarg(_text(name, "kwarg")))

    def name(self, name: str) -> Pipe:
        """Give the value a kwarg's name. There is then no value: the next `.f(fn)` gets kwargs."""
        return self.to(kwargs.Name(_text(name, "name")))

    def path(self) -> Pipe:
        """The non-empty segments of the request's path, decoded. Raises `NoRequest` without one."""
        return self.to(inputs.Path())

    def query(self) -> Pipe:
        """The query parameters: a dict of texts, a list where one comes several times."""
        return self.to(inputs.Query())

    def json(self) -> Pipe:
        """The request's JSON body, decoded. Raises `WrongValue` for another body."""
        return self.to(inputs.Json())

    def data(self) -> Pipe:
        """The request's raw body."""
        return self.to(inputs.Data())

    def header(self, name: str) -> Pipe:
        """One header of the request, in any case; None when it is not there."""
        return self.to(inputs.Header(_text(name, "header")))

    def files(self) -> Pipe:
        """The uploaded files by field name, a list where a field has several."""
        return self.to(inputs.Files())

    def f(self, fn: Function) -> Pipe:
        """Apply `fn` to the value or, without one, to the kwargs that it takes. The kwargs end."""
        return self.to(functions.F(checked(fn, "f")))

    def exec(self, fn: Function) -> Pipe:
        """Call `fn` as `.f` does, for its effect; value and kwargs pass on."""
        return self.to(functions.Exec(checked(fn, "exec")))

    def const(self, x: Any) -> Pipe:
        """A constant. The kwargs end."""
        return self.to(values.Const(x))

    def identity(self) -> Pipe:
        """Value and kwargs unchanged."""
        return self.to(values.Identity())

    def clear(self) -> Pipe:
        """The value None. The kwargs end."""
        return self.to(values.Clear())

    def cast(self, type: Function) -> Pipe:
        """The value converted: `type(value)`."""
        return self.to(values.Cast(checked(type, "cast")))

    def map(self, fn: Function) -> Pipe:
        """`fn(item)` for each item: a list, a dict with the same keys, or lazily a stream."""
        return self.to(sequences.Map(checked(fn, "map")))

    def filter(self, fn: Function) -> Pipe:
        """The items for which `fn(item)` is true: a list, a dict, or lazily a stream."""
        return self.to(sequences.Filter(checked(fn, "filter")))

    def foldl(self, fn: Function, start: Any) -> Pipe:
        """Fold from the left: `fn(fn(start, first), second)` and so on."""
        return self.to(sequences.Foldl(checked(fn, "foldl"), start))

    def foldl1(self, fn: Function) -> Pipe:
        """Fold from the left, starting with the first item. Raises `NoItem` when there is none."""
        return self.to(sequences.Foldl1(checked(fn, "foldl1")))

    def ix(self, i: int) -> Pipe:
        """The item at index `i`. Raises `NoItem` when there is none."""
        try:
            return self.to(sequences.Ix(operator.index(i)))
        except TypeError:
            raise TypeError(f"ix takes an index, not {shown(i)}; .get(key) is for keys") from None

    def get(self, key: Any, default: Any = None) -> Pipe:
        """The value of a mapping's key or a sequence's index, or `default`."""
        return self.to(sequences.Get(key, default))

    def last(self) -> Pipe:
        """The last item. Raises `NoItem` when there is none."""
        return self.to(sequences.Last())

    def cond(self, then: Function, else_: Function) -> Pipe:
        """Go on with `then` when the value is true and with `else_` otherwise, as if it stood
        here: a pipe or step goes on as `.to` does, a function as `.f` does."""
        return self.to(branches.Cond(_branch(then, "cond"), _branch(else_, "cond")))

    def fork(self, /, *branches_: Function) -> Pipe:
        """Run functions and pipes on the same input, in order; the value is the tuple of results."""
        return self.to(branches.Fork(tuple(_branch(each, "fork") for each in branches_)))

    def open(self, root_dir: str | os.PathLike[str] | None = None) -> Pipe:
        """The file that the value names, as BytesIO. With `root_dir` the path is relative to it;
        one that leaves it, also by a link, raises `PathRefused`."""
        return self.to(files.Open(root_dir))

    def bytes(self) -> Pipe:
        """The content of BytesIO, an open file, str (UTF-8), bytes, bytearray or memoryview."""
        return self.to(files.Bytes())

    def text(self, encoding: str = "utf-8") -> Pipe:
        """The same as text."""
        return self.to(files.Text(encoding))

    def shell(self, timeout: float | None = None) -> Pipe:
        """Run the value in bash, give its standard output: str for str, bytes for bytes. Raises
        `ShellError` when it fails, `ShellTimeout` after `timeout` seconds."""
        return self.to(shell.Shell(timeout))

    def importing(self, /, *modules: str) -> Pipe:
        """Import, and make the names usable in the functions of later steps."""
        return self.to(importing.Importing(tuple(_text(each, "importing") for each in modules)))

    def installing(self, /, *packages: str) -> Pipe:
        """Install by pip, each requirement once a process. Raises `InstallError`."""
        return self.to(installing.Installing(tuple(_text(each, "installing") for each in packages)))

    def stream(self, fn: Function) -> Pipe:
        """Apply `fn`, as `.f` does, and stream the items of the iterator that it gives."""
        return self.to(functions.Stream(checked(fn, "stream")))

    def sse(self) -> Pipe:
        """The streamed items as Server-Sent Events, `[DONE]` last: a pair of stream and headers."""
        return self.to(events.Sse())


METHODS = frozenset(
    name for name, each in vars(Pipe).items() if isfunction(each) and name[0] != "_" and name != "run"
)
"""The names with which the terse form of an adaptor may begin: the public methods that give a pipe."""


def pipe(cls: Function | None = None) -> Pipe:
    """An empty pipe, whose input is the call's kwargs. `pipe(cls)` first passes them through `cls`:
    a mapping that it gives becomes the kwargs, an object the value, and the fields of a dataclass
    or named tuple are then the kwargs too."""
    return Pipe() if cls is None else Pipe((functions.Through(checked(cls, "pipe")),))


def _text(name: str, method: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{method} takes a name as str, not {shortened(name)}")
    return name


def _branch(branch: Function | Step, method: str) -> Function | Step:
    return branch if isinstance(branch, Step) else checked(branch, method)
