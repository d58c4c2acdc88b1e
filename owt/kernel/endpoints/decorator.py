"""`@endpoint`: makes a function of a session answer at a path.

    @endpoint("/greet/{name}", methods=["GET", "POST"])
    def greet(name: str, times: int = 1) -> list[str]:
        "Say hello."
        return [f"Hello, {name}!"] * times

The function itself is unchanged. In a kernel it is registered after the cell or the call that defines it has
succeeded; see `owt.kernel.endpoints.registry`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from owt.errors import EndpointError, shortened
from owt.kernel.endpoints.signature import (
    Signature,
    describe,
    read_signature,
    unreachable_fields,
)
from owt.wire import endpoint as rules
from owt.wire.endpoint import DEFAULT_METHODS, METHODS, Endpoint

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class RegisteredFunction:
    """Endpoint's function with its signature and public description.

    If it `takes_request`, it receives only the path's parameters, by position, and reads the request itself.
    """

    function: Callable[..., Any]
    signature: Signature
    endpoint: Endpoint
    takes_request: bool = False


class Decorator:
    """`endpoint`: gives a function a path. Outside of a kernel it only validates."""

    def __init__(
        self,
        register: Callable[[RegisteredFunction], None] = lambda new: None,
        remove: Callable[[str, tuple[str, ...]], None] = lambda path, methods: None,
    ) -> None:
        self._register = register
        self._remove = remove

    def __call__(self, path: str, *, methods: Iterable[str] = DEFAULT_METHODS) -> Callable[[F], F]:
        """Return a decorator that makes this session's function answer at `path` for these methods.

        By default, a function that is fed from the body answers PUT too.

        Raises `EndpointError` for an invalid path or method. The decorator raises it for an invalid function
        and, in a kernel, for a path of another session.
        """
        if callable(path):
            name = getattr(path, "__name__", "function")
            raise EndpointError(f'@endpoint needs a path: write @endpoint("/{name}")')
        rules.segments(path)
        valid_methods = _methods(path, methods)

        def decorate(function: F) -> F:
            try:
                new = make_endpoint(function, path, valid_methods)
                if methods is DEFAULT_METHODS and new.signature.stream is not None:
                    # `curl -T` uploads by PUT.
                    new = make_endpoint(function, path, (*DEFAULT_METHODS, "PUT"))
                self._register(new)
                name, fields = unreachable_fields(new.signature, new.endpoint)
                if fields:
                    print(
                        f"{path}: the type of {name!r} has fields that owt itself reads in every request "
                        f'({", ".join(fields)}); send {{"{name}": {{...}}}}, not the object alone',
                        file=sys.stderr,
                    )
            except EndpointError as error:
                # owt's frames are of no use to the author of the function.
                raise error.with_traceback(None) from None
            return function

        return decorate

    def remove(self, path: str, *, methods: Iterable[str] = METHODS) -> None:
        """Remove the session's endpoint at `path`, after the cell or the call has succeeded.

        It is no error if there is none.
        """
        rules.segments(path)
        self._remove(path, _methods(path, methods))

    def __repr__(self) -> str:
        return '<@endpoint("/path", methods=["GET", "POST"])>'


def make_endpoint(function: Callable[..., Any], path: str, methods: tuple[str, ...]) -> RegisteredFunction:
    """Return the function as an endpoint at this path. Raises `EndpointError`."""
    if not callable(function):
        raise EndpointError(f"{path}: only a function can be an endpoint; got {shortened(function)}")
    signature = read_signature(function, path, rules.parameters(path))
    return RegisteredFunction(function, signature, describe(function, signature, path, methods))


def _methods(path: str, methods: Iterable[Any]) -> tuple[str, ...]:
    names = [methods] if isinstance(methods, str) else list(methods)
    names = [name.upper() if isinstance(name, str) else name for name in names]
    if unknown := [name for name in names if not isinstance(name, str) or name not in METHODS]:
        raise EndpointError(
            f"{path}: {shortened(unknown[0])} is no method of an endpoint; there are {', '.join(METHODS)}"
        )
    if not names:
        raise EndpointError(f'{path}: give at least one method, as in methods=["GET"]')
    return tuple(method for method in METHODS if method in names)
