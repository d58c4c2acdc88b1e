"""summat: pipelines as values.

A pipe is built by its methods and run by calling it:

>>> from owt.summat import pipe
>>> greet = pipe().kwarg("name").f(str.title).f("Hello, {}!".format)
>>> greet
pipe().kwarg('name').f(<function title>).f(<function format>)
>>> greet(name="ada")
'Hello, Ada!'

What passes from step to step is a value and the kwargs (`Flow`). A pipe begins with the call's
kwargs and no value (or with the call's one positional argument as the value). `.kwarg(name)`, the
request's steps, `.map` and most others make a value and keep the kwargs along; `.f`, `.stream`,
`.const` and `.clear` end the kwargs; `.name(name)` puts the value among the kwargs, and then there
is no value; `.input()` and `.kwargs(...)` bring back those of the call. A pipe that ends without a
value gives the kwargs as a dict. `None` is a value.

A function that is `async def` (or gives anything to await) makes the call give a coroutine; a pipe
of plain functions needs no event loop. Generators stay lazy.

`a.to(b)` has the steps of both, so `to` is associative and `pipe()` its identity. A step of your
own is a subclass of `Step`: see there. An error in a step keeps its type and gets a note that
shows the pipe with this step marked.

Only the standard library is used, and no server is needed.

    pipeline    pipe, Pipe, METHODS
    step        a piece of a pipe, and how it is shown
    flow        what passes from step to step
    fold        runs the steps; says where an error happened
    later       work that waits only when something must be awaited
    streams     lazy iterators, plain and async
    kwargs, inputs, values, functions, sequences, branches, files, shell, importing,
    installing, events    the steps
    command     programs in a process group of their own
    errors      the exceptions
"""

from owt.summat.errors import (
    InstallError,
    MissingArgument,
    MissingKwarg,
    NoItem,
    NoRequest,
    NoValue,
    PathRefused,
    PipeError,
    ShellError,
    ShellTimeout,
    WrongValue,
)
from owt.summat.flow import MISSING, Flow
from owt.summat.inputs import current_request
from owt.summat.pipeline import METHODS, Pipe, pipe
from owt.summat.step import Step

__all__ = [
    "METHODS",
    "MISSING",
    "Flow",
    "InstallError",
    "MissingArgument",
    "MissingKwarg",
    "NoItem",
    "NoRequest",
    "NoValue",
    "PathRefused",
    "Pipe",
    "PipeError",
    "ShellError",
    "ShellTimeout",
    "Step",
    "WrongValue",
    "current_request",
    "pipe",
]
