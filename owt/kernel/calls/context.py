"""What user code can see of the call that it works for: `request`, `state` and the run itself.

The current run is a context variable, so it follows `asyncio` tasks, `asyncio.to_thread` and
`contextvars.copy_context().run` into threads, and each of several overlapping runs sees its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from owt.kernel.calls.output_sender import OutputSender
from owt.wire.call import Call, RequestFacts

if TYPE_CHECKING:
    from werkzeug.local import LocalProxy
    from werkzeug.wrappers import Request


class Run:
    """A run, as the kernel sees it: its id, its call and where its output goes."""

    def __init__(self, id: str, call: Call, outlet: OutputSender) -> None:
        self.id = id
        self.call = call
        self.outlet = outlet

    @cached_property
    def request(self) -> Request:
        """The HTTP request, as the class that Flask's users know; built when first asked for."""
        return build_request(self.call.request)

    def __repr__(self) -> str:
        return f"<run {self.id}>"


current: ContextVar[Run] = ContextVar("owt_run")

_alone: list[Run] = []
_given: dict[str, Any] = {}


def give(names: Mapping[str, Any]) -> None:
    """What `from owt import request, state` finds in this kernel."""
    _given.update(names)


def is_given(name: str) -> bool:
    """Whether this is a name that code in a kernel has, and this is a kernel."""
    return name in _given


def given(name: str) -> Any:
    """One of the names that code in a kernel has. Raises AttributeError outside a kernel."""
    try:
        return _given[name]
    except KeyError:
        raise AttributeError(f"{name} is there only in code that owt runs in a kernel") from None


def set_alone(run: Run | None) -> None:
    """The only run there is, or None: what threads without a context of their own work for."""
    _alone[:] = [] if run is None else [run]


def running() -> Run | None:
    """The run that this code works for: its context's, else the only one that is running."""
    run = current.get(None)
    if run is None and _alone:
        return _alone[0]
    return run


def current_request() -> Request:
    """This call's request. Raises RuntimeError outside a call."""
    run = running()
    if run is None:
        raise RuntimeError("there is no request here: this code was not started by a call to owt")
    return run.request


def request_proxy() -> LocalProxy[Request]:
    """`request`: stands for the request of whichever call uses it."""
    from werkzeug.local import LocalProxy

    return LocalProxy(current_request)


def build_request(facts: RequestFacts) -> Request:
    """werkzeug's Request from what the frontend saw (PEP 3333 for the environment's keys)."""
    from werkzeug.wrappers import Request

    host, _, port = facts.host.rpartition(":")
    if not host or not port.isdigit():
        host, port = facts.host, "443" if facts.scheme == "https" else "80"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": facts.method,
        "SCRIPT_NAME": facts.root,
        "PATH_INFO": facts.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "REQUEST_URI": quote(facts.root + facts.path) + (f"?{facts.query}" if facts.query else ""),
        "QUERY_STRING": facts.query,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": facts.remote,
        "HTTP_HOST": facts.host,
        "CONTENT_LENGTH": str(len(facts.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": facts.scheme,
        "wsgi.input": io.BytesIO(facts.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if facts.user is not None:
        environ["REMOTE_USER"] = facts.user
    for name, value in facts.headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in ("CONTENT_LENGTH", "HOST", "TRANSFER_ENCODING"):
            key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    # Not in its own environment: such a circle keeps a body and its files until it is collected.
    return Request(environ, populate_request=False)


class State:
    """The session's own namespace as an object: `state.model = ...` here is `model` in a cell, in
    a notebook that is attached to the session, and `state.model` in every other adaptor."""

    __slots__ = ("_namespace",)

    def __init__(self, namespace: dict[str, Any]) -> None:
        object.__setattr__(self, "_namespace", namespace)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._namespace[name]
        except KeyError:
            raise AttributeError(
                f"the session has no {name!r}; set it with `state.{name} = ...`"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._namespace[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self._namespace:
            raise AttributeError(f"the session has no {name!r}")
        del self._namespace[name]

    def __contains__(self, name: str) -> bool:
        return name in self._namespace

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self._namespace if not name.startswith("_")])

    def __dir__(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"<state: {', '.join(self) or 'empty'}>"
