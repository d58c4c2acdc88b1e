"""Context of user code: the current run, its `request`, the session's `state` and the other injected names.

The current run is a context variable. It follows asyncio tasks, `asyncio.to_thread` and
`contextvars.copy_context().run` into threads, so that overlapping runs see their own. `follow_threads` makes
plain threads and thread pools inherit it too.
"""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cached_property, lru_cache, wraps
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from owt.kernel.body import InputStream, Items, Messages, WholeBody
from owt.server.server import RUN_VARIABLE
from owt.wire.call import PERSONAL_HEADERS, UNKNOWN_SIZE, Call, RequestFacts
from owt.wire.names import INJECTED_NAMES

if TYPE_CHECKING:
    from werkzeug.local import LocalProxy
    from werkzeug.wrappers import Request

    from owt.kernel.calls.output_sender import OutputSender


class Run:
    """Run as the kernel sees it: its id, its call, the sender of its output, and its input.

    `looked_at` has the `PERSONAL_KEYS` that the adaptor has looked at; see `Environ`. `folders` are those of
    its uploaded files.
    """

    def __init__(
        self, id: str, call: Call, sender: OutputSender, new_folder: Callable[[], str] = tempfile.mkdtemp
    ) -> None:
        self.id = id
        self.call = call
        self.sender = sender
        self.looked_at: set[str] = set()
        self._new_folder = new_folder
        self.folders: list[str] | None = None

    def new_folder(self) -> str:
        """Return a new folder for files of the request, which is removed at the end of the run."""
        folder = self._new_folder()
        self.folders = [*(self.folders or ()), folder]
        return folder

    def remove_folders(self) -> None:
        """Remove the folders that `new_folder` has made."""
        for folder in self.folders or ():
            shutil.rmtree(folder, ignore_errors=True)
        self.folders = None

    @property
    def personal(self) -> bool:
        """True once the adaptor has looked at what identifies its client."""
        return bool(self.looked_at)

    @property
    def input(self) -> Items:
        """Input of the run, which has none unless it is a kernel's."""
        raise RuntimeError("this run has no input")

    @property
    def body(self) -> Items:
        """The request's body as the run's input."""
        return self.input

    @cached_property
    def request(self) -> Request:
        """HTTP request, as the class that Flask's users know; built at the first access."""
        return self.new_request()

    def new_request(self) -> Request:
        """Return the HTTP request as a new object, whose body is unread."""
        facts = self.call.request
        body = InputStream(self.body, facts.input_size) if facts.input_size else None
        request = build_request(facts, body)
        cast("Environ", request.environ).looked_at = self.looked_at
        return request

    def __repr__(self) -> str:
        return f"<run {self.id}>"


current: ContextVar[Run] = ContextVar("owt_run")

_only_run: list[Run] = []
injected: dict[str, Any] = {}
"""Injected names of this kernel, importable by `from owt import request, state`. Outside a kernel they are
added with the first such import."""


def set_only_run(run: Run | None) -> None:
    """Set the run for threads without a context of their own; None if there is not exactly one run."""
    _only_run[:] = [] if run is None else [run]
    if run is not None:
        run_variable.set(run.id)


class RunVariable:
    """The environment variable `OWT_RUN` of this process, which the processes that it starts inherit.

    It names the newest run that had the kernel to itself. Of several runs at once, none can be named.

    `os.environ` has no way to change a variable without a loss of memory: the C library never frees a value.
    So each value is written to the same place, which `putenv` has made a part of the environment.
    """

    SIZE = 64

    def __init__(self) -> None:
        self._name = RUN_VARIABLE.encode()
        self._text = ctypes.create_string_buffer(self._name + b"=", len(self._name) + self.SIZE + 2)
        self._value = memoryview(self._text).cast("B")[len(self._name) + 1 :]
        self._newest: object = object()
        self._putenv = ctypes.CDLL(None).putenv

    def set(self, id: str) -> None:
        """Set the variable to a run's id."""
        value = id.encode()[: self.SIZE]
        self._value[: len(value) + 1] = value + b"\0"
        # The mapping behind `os.environ`, which has no public method that leaves `putenv` out;
        # tests/kernel/test_context.py fails when it changes.
        variables: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
        if variables.get(self._name) is not self._newest:
            # The variable is new, or user code has changed it: `putenv` takes longer than the rest.
            self._putenv(self._text)
        self._newest = variables[self._name] = value


run_variable = RunVariable()


def running_id() -> str | None:
    """Return the id of the run that the calling code works for, or None."""
    run = running()
    return None if run is None else run.id


def running() -> Run | None:
    """Return the run that the calling code works for: its context's, else the only one that is running."""
    run = current.get(None)
    if run is None and _only_run:
        return _only_run[0]
    return run


def current_messages() -> Messages:
    """Return the messages of this call's client. Raises RuntimeError outside a call."""
    run = running()
    if run is None:
        raise RuntimeError("there are no messages: this code was not started by a call to owt")
    # An answer to messages is for their sender alone.
    run.looked_at.add("REMOTE_USER")
    return Messages(run.input)


def current_request() -> Request:
    """Return the request of this call. Raises RuntimeError outside a call."""
    run = running()
    if run is None:
        raise RuntimeError("there is no request: this code was not started by a call to owt")
    return run.request


# The names that user code has without an import ---------------------------------------------------


def injected_names(
    namespace: dict[str, Any], endpoint: object, owner: str = "the session"
) -> dict[str, Any]:
    """Return the injected names and their values for a session with this namespace and `endpoint`
    decorator. `owner` names the session, or what is in its place, in messages."""
    from werkzeug.local import LocalProxy

    from owt.server import Server
    from owt.summat import pipe

    request: LocalProxy[Request] = LocalProxy(current_request)
    names = {
        "endpoint": endpoint, "pipe": pipe, "request": request, "state": State(namespace, owner),
        "Server": Server, "_SERVER": LocalProxy(Server.current),
    }  # fmt: skip
    assert names.keys() == INJECTED_NAMES
    return names


def provide(names: Mapping[str, Any]) -> None:
    """Add names to those that are importable in this kernel."""
    injected.update(names)


class State:
    """The session's namespace as an object.

    `state.model = ...` is `model` in a cell and in a notebook that is attached to the session, and
    `state.model` in every other adaptor.
    """

    __slots__ = ("_namespace", "_owner")

    def __init__(self, namespace: dict[str, Any], owner: str = "the session") -> None:
        object.__setattr__(self, "_namespace", namespace)
        object.__setattr__(self, "_owner", owner)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._namespace[name]
        except KeyError:
            raise AttributeError(
                f"{self._owner} has no {name!r}; set it with `state.{name} = ...`"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._namespace[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self._namespace:
            raise AttributeError(f"{self._owner} has no {name!r}")
        del self._namespace[name]

    def __contains__(self, name: str) -> bool:
        return name in self._namespace

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self._namespace if not name.startswith("_")])

    def __dir__(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"<state: {', '.join(self) or 'empty'}>"


# The request --------------------------------------------------------------------------------------


PERSONAL_KEYS = frozenset(
    {"REMOTE_USER", "REMOTE_ADDR"}
    | {f"HTTP_{name.upper().replace('-', '_')}" for name in PERSONAL_HEADERS}
)
"""Keys of a WSGI environment whose values identify a client."""


class Environ(dict[str, Any]):
    """WSGI environment that records looks at one of `PERSONAL_KEYS`, present or not, or at all keys.

    The answer is then not for other clients, so the cache does not keep it. The record is the run's: a
    reference to the run itself would be a cycle that keeps the request's body until it is collected.
    """

    looked_at: set[str] | None = None

    def __getitem__(self, key: str) -> Any:
        self._look(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        self._look(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._look(key)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self._look("REMOTE_USER")
        return super().__iter__()

    def items(self) -> Any:
        """Return all keys and values."""
        self._look("REMOTE_USER")
        return super().items()

    def values(self) -> Any:
        """Return all values."""
        self._look("REMOTE_USER")
        return super().values()

    def copy(self) -> dict[str, Any]:
        """Return all keys and values as a plain dictionary."""
        return dict(self.items())

    def _look(self, key: object) -> None:
        if self.looked_at is not None and isinstance(key, str) and key in PERSONAL_KEYS:
            self.looked_at.add(key)


@lru_cache(maxsize=2)
def request_class(base: Any) -> Any:
    """Return the class of requests of werkzeug or Flask, whose address is looked at in its `Environ` when
    code asks for it, rather than when the request is built. It has `messages`, too."""

    def remote_addr(self: Any) -> Any:
        self.environ.get("REMOTE_ADDR")
        return vars(self)["remote_addr"]

    def set_remote_addr(self: Any, value: Any) -> None:
        vars(self)["remote_addr"] = value

    names = {
        "remote_addr": property(remote_addr, set_remote_addr),
        "messages": property(lambda _: current_messages()),
        "__module__": base.__module__,
    }
    return type(base.__name__, (base,), names)


def build_request(facts: RequestFacts, body: InputStream | None = None) -> Request:
    """Return werkzeug's Request for a request that the frontend received (PEP 3333 defines the keys).

    `body` is the body if it is the run's input. The environment of the request is an `Environ`.
    """
    from werkzeug.wrappers import Request

    host, _, port = facts.host.rpartition(":")
    if not host or not port.isdigit():
        host, port = facts.host, "443" if facts.scheme in ("https", "wss") else "80"
    values: dict[str, Any] = {
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
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": facts.scheme,
        "wsgi.input": WholeBody(facts.body) if body is None else body,
        # The stream ends with the body, so werkzeug need not count, and copy, what it reads.
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if facts.input_size != UNKNOWN_SIZE:
        values["CONTENT_LENGTH"] = str(facts.input_size or len(facts.body))
    if facts.user is not None:
        values["REMOTE_USER"] = facts.user
    for name, value in facts.headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            values[key] = value
        elif key not in ("CONTENT_LENGTH", "HOST", "TRANSFER_ENCODING"):
            key = f"HTTP_{key}"
            values[key] = f"{values[key]},{value}" if key in values else value
    # A request in its own environment would be a reference cycle that keeps the body until it is collected.
    request: Request = request_class(Request)(Environ(values), populate_request=False)
    return request


# Threads ------------------------------------------------------------------------------------------


def follow_threads() -> None:
    """Make threads, and functions submitted to a thread pool, work for the run that started them.

    That holds after the end of the run too, so that their output never goes to another run. From Python 3.14
    on threads can inherit their context; before, they start with an empty one.
    """
    start: Any = threading.Thread.start
    submit: Any = ThreadPoolExecutor.submit

    @wraps(start)
    def start_for_run(self: threading.Thread) -> None:
        run = running()
        if run is not None:
            work = _bound_to(run, self.run)

            def in_thread() -> None:
                # A thread that keeps its bound method would be a reference cycle.
                vars(self).pop("run", None)
                work()

            self.run = in_thread  # type: ignore[method-assign]
        start(self)

    @wraps(submit)
    def submit_for_run(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        run = running()
        bound = fn if run is None or _is_of_interpreters(self) else _bound_to(run, fn)
        return submit(self, bound, *args, **kwargs)

    setattr(threading.Thread, "start", start_for_run)  # noqa: B010
    setattr(ThreadPoolExecutor, "submit", submit_for_run)  # noqa: B010


def _is_of_interpreters(pool: ThreadPoolExecutor) -> bool:
    """Return True for a pool whose functions run in other interpreters (Python 3.14), and are sent there."""
    module: Any = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)


def _bound_to(run: Run, function: Callable[..., Any]) -> Callable[..., Any]:
    def work(*args: Any, **kwargs: Any) -> Any:
        token = current.set(run)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return work
