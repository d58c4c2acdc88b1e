"""How a call is made, as far as its code and arguments do not say."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from owt.errors import CannotSend


@dataclass(frozen=True, kw_only=True)
class Options:
    """The request's fields beside the code and the arguments; the server's README explains each.

    `kwargs` is the arguments as text, JSON or a Python expression that the kernel evaluates, for
    values that JSON does not hold. `timeout` is in seconds of running time; waiting has no limit.
    `accept` is an Accept header, which says what to send of a figure or a table. `method` GET puts
    everything into the URL. `stream`, "sse" or "raw", counts in `as_url` only. None and False: not
    said.
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
    method: Literal["GET", "POST"] = "POST"

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
        names = [field.name for field in fields(self) if field.name not in ("accept", "method")]
        said = {name: getattr(self, name) for name in names}
        return {name: value for name, value in said.items() if value is not None and value is not False}
