"""summat: pipelines as values.

A pipe is built by its methods and run by calling it:

>>> from owt.summat import pipe
>>> greet = pipe().kwarg("name").f(str.title).f("Hello, {}!".format)
>>> greet
pipe().kwarg('name').f(<function title>).f(<function format>)
>>> greet(name="ada")
'Hello, Ada!'

A value and the kwargs pass from step to step (`Flow`). A pipe begins with the call's kwargs and no
value (or with the call's one positional argument as the value). `.kwarg(name)`, the request's
steps, `.map` and most others set the value and keep the kwargs; `.f`, `.stream`, `.const` and
`.clear` end the kwargs; `.name(name)` makes the value a kwarg, and then there is no value;
`.input()` and `.kwargs(...)` restore those of the call. A pipe that ends without a value returns
the kwargs as a dict. `None` is a value.

If a function is `async def` (or returns another awaitable), the call returns a coroutine; a pipe of
plain functions needs no event loop. Generators stay lazy.

`a.to(b)` has the steps of both, so `to` is associative and `pipe()` its identity. Subclass `Step`
for a step of your own. An error in a step keeps its type and gets a note that shows the pipe with
this step marked.

The package uses only the standard library, and needs no server.

    pipeline    pipe, Pipe, METHODS
    step        base classes of steps, and their source text
    flow        the data that passes from step to step
    fold        runs the steps; notes where an error happened
    later       work that waits only if something must be awaited
    streams     lazy iterators, plain and async
    values, inputs, functions, sequences, branches, files, importing, commands,
    events      the steps
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
