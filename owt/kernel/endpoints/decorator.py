"""`@endpoint`: a function of a session, called by whoever asks for its path.

    @endpoint("/greet/{name}", methods=["GET", "POST"])
    def greet(name: str, times: int = 1) -> list[str]:
        "Say hello."
        return [f"Hello, {name}!"] * times

The function stays what it was; it is only marked (`marks`), so that a program that imports the file
finds its endpoints. In a kernel it is registered besides, when the cell or the call that does it has
succeeded; see `owt.kernel.endpoints.registry`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from owt.errors import EndpointError, shortened
from owt.kernel.endpoints.signature import Signature, describe, read
from owt.wire.endpoint import DEFAULT_METHODS, LONGEST_DESCRIPTION, METHODS, Endpoint, check, parameters
from owt.wire.endpoint import segments as checked

MARK = "__owt_endpoints__"

F = TypeVar("F", bound=Callable[..., Any])


class Mark(NamedTuple):
    """What a function is marked with: one path that it was given, and the methods."""

    path: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """An endpoint's function, how it is called, and what is told of it. One that takes the request `whole`
    is given the path's parameters, by position, and looks at all else itself."""

    function: Callable[..., Any]
    signature: Signature
    endpoint: Endpoint
    whole: bool = False


def marks(function: object) -> tuple[Mark, ...]:
    """The paths that `@endpoint` has given to a function, the innermost decorator's first."""
    found = getattr(function, "__dict__", {}).get(MARK, ())
    return tuple(found)


class Decorator:
    """`endpoint`: gives a function a path. Outside a kernel it only looks whether that can be."""

    def __init__(
        self,
        register: Callable[[Registered], None] = lambda new: None,
        remove: Callable[[str, tuple[str, ...]], None] = lambda path, methods: None,
    ) -> None:
        self._register = register
        self._remove = remove

    def __call__(self, path: str, *, methods: Iterable[str] = DEFAULT_METHODS) -> Callable[[F], F]:
        """A decorator that has this session's function answer at `path` for these methods.

        Raises `EndpointError` for a path or methods that cannot be; what it gives does for a function
        that cannot, and, in a kernel, for a path that another session has.
        """
        if callable(path):
            name = getattr(path, "__name__", "function")
            raise EndpointError(f'@endpoint needs a path: write @endpoint("/{name}")')
        checked(path)
        wanted = _methods(path, methods)

        def decorate(function: F) -> F:
            try:
                self._register(registered(function, path, wanted))
            except EndpointError as error:
                # How it was found out is of no use to whoever wrote the function.
                raise error.with_traceback(None) from None
            try:
                others = [mark for mark in marks(function) if mark.path != path]
                setattr(function, MARK, (*others, Mark(path, wanted)))
            except (AttributeError, TypeError):
                # A builtin or a bound method; it needs no mark in a kernel.
                pass
            return function

        return decorate

    def remove(self, path: str, *, methods: Iterable[str] = METHODS) -> None:
        """Have the session answer no more at `path`, as soon as the cell or the call has succeeded. It is
        no error if it did not."""
        checked(path)
        self._remove(path, _methods(path, methods))

    def __repr__(self) -> str:
        return '<@endpoint("/path", methods=["GET", "POST"])>'


def registered(function: Callable[..., Any], path: str, methods: tuple[str, ...]) -> Registered:
    """The function as an endpoint at this path. Raises `EndpointError`."""
    if not callable(function):
        raise EndpointError(f"{path}: only a function can be an endpoint; got {shortened(function)}")
    names = parameters(path)
    signature = read(function, path, names)
    told = describe(function, signature, names)
    text = inspect.getdoc(function) or ""
    if inspect.getattr_static(type(function), "__doc__", None) == getattr(function, "__doc__", None):
        # That of its class, which says nothing of it.
        text = ""
    endpoint = Endpoint(
        path=path,
        methods=methods,
        name=str(getattr(function, "__name__", type(function).__name__))[:200],
        description=text if len(text) <= LONGEST_DESCRIPTION else text[: LONGEST_DESCRIPTION - 4] + " ...",
        parameters=told.parameters,
        more=signature.more is not None,
        result=told.result,
        streams=told.streams,
        definitions=told.definitions,
    )
    check([endpoint])
    return Registered(function, signature, endpoint)


def _methods(path: str, methods: Iterable[Any]) -> tuple[str, ...]:
    given = [methods] if isinstance(methods, str) else list(methods)
    wanted = [each.upper() if isinstance(each, str) else each for each in given]
    if unknown := [each for each in wanted if each not in METHODS]:
        raise EndpointError(
            f"{path}: {shortened(unknown[0])} is no method of an endpoint; there are {', '.join(METHODS)}"
        )
    if not wanted:
        raise EndpointError(f'{path}: give at least one method, as in methods=["GET"]')
    return tuple(each for each in METHODS if each in wanted)
