"""How a call is made, as far as its code and arguments do not say."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from owt.errors import CannotSend


@dataclass(frozen=True, kw_only=True)
class Options:
    """The request's fields beside the code and the arguments; the server's README explains each.

    `kwargs` is the arguments as text, JSON or a Python expression that the kernel evaluates, for
    values that JSON does not hold. `accept` is an Accept header: which representation of a figure
    or a table to send. `timeout` is in seconds of running time; a call that waits has no limit.
    None and False: not said.
    """

    session: str | None = None
    kernel: str | None = None
    adaptor: str | None = None
    fn_name: str | None = None
    kwargs: str | None = None
    timeout: float | None = None
    stream: str | None = None
    reload: bool = False
    use_cache: bool = False
    cache_kwargs: bool = False
    cache_key_override: str | None = None
    accept: str | None = None

    def changed(self, changes: dict[str, Any]) -> Self:
        """These options with some changed. Raises `CannotSend` for a name that is none of them."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise CannotSend(
                    f"{name!r} is not an option; the options are {', '.join(known)}. "
                    "Arguments of the adaptor go to call() or stream()"
                )
        return replace(self, **changes)

    def as_fields(self) -> dict[str, Any]:
        """Those that were said, as fields of a request."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "accept"}
        return {name: value for name, value in said.items() if value is not None and value is not False}
