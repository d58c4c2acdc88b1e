"""Options of a call beside its code and arguments."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, Self, TypedDict

from owt.errors import CannotSend, shortened

_NOT_FIELDS = frozenset({"accept", "headers", "method", "retry"})


class Changes(TypedDict, total=False):
    """Keyword arguments of `with_options`: the fields of `Options`."""

    session: str | None
    kernel: str | None
    env: Mapping[str, str | int] | None
    cwd: str | os.PathLike[str] | None
    adaptor: str | None
    fn_name: str | None
    kwargs: str | None
    timeout: float | None
    stream: str | None
    display: str | None
    reload: bool
    use_cache: bool
    cache_kwargs: bool
    cache_key_override: str | None
    detach: bool
    accept: str | None
    headers: Mapping[str, str]
    method: Literal["GET", "POST"]
    retry: float | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Fields of a request beside the code and the arguments; the server's documentation explains each.

    `env` has variables for a session that does not exist yet, and `cwd` is its working directory, a path of
    the server's machine. `kwargs` is the arguments as text: JSON, or a Python expression that the kernel
    evaluates, for values that JSON does not have. `timeout` is the maximum running time in seconds, without
    the time in the queue. `accept` is an Accept header, which selects a representation of a figure or a
    table; `display` has the same form and effect, also in events and in `as_url`. `method` GET puts
    everything into the URL. `stream`, "sse" or "raw", has an effect in `as_url` only. `detach` makes `call`
    return the addresses of the run at once. `headers` are further headers of the request. `retry` is a
    number of seconds: after a connection that failed, the call is sent again for so long, under the id of one
    run, so that it runs once; a body that is sent as it is read is not. None and False are not sent.
    """

    session: str | None = None
    kernel: str | None = None
    env: Mapping[str, str | int] | None = None
    cwd: str | os.PathLike[str] | None = None
    adaptor: str | None = None
    fn_name: str | None = None
    kwargs: str | None = None
    timeout: float | None = None
    stream: str | None = None
    display: str | None = None
    reload: bool = False
    use_cache: bool = False
    cache_kwargs: bool = False
    cache_key_override: str | None = None
    detach: bool = False
    accept: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: Literal["GET", "POST"] = "POST"
    retry: float | None = None

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return these options with changes. Raises `CannotSend` for a name that is not an option."""
        known = [option.name for option in fields(self)]
        for name in changes:
            if name not in known:
                close = "".join(f"; did you mean {match}?" for match in get_close_matches(name, known, 1))
                raise CannotSend(
                    f"{name!r} is not an option{close or '.'} The options are {', '.join(known)}. "
                    "Arguments of the adaptor go to call() or stream()"
                )
        retry = changes.get("retry")
        if retry is not None and (type(retry) not in (int, float) or not 0 < retry < math.inf):
            raise CannotSend(f"retry: give a number of seconds above 0; got {shortened(retry)}")
        return replace(self, **changes)

    def as_fields(self) -> dict[str, Any]:
        """Return the options that are set, as fields of a request."""
        names = [option.name for option in fields(self) if option.name not in _NOT_FIELDS]
        values = {name: getattr(self, name) for name in names}
        if self.env is not None:
            values["env"] = dict(self.env)
        if self.cwd is not None:
            values["cwd"] = os.fspath(self.cwd)
        return {name: value for name, value in values.items() if value is not None and value is not False}
