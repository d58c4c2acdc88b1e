"""A call: everything that a request asks for, parsed once at the edge and never changed after."""

from __future__ import annotations

from msgspec import Struct

FIELDS = frozenset(
    {
        "code_b64",
        "code",
        "kwargs_b64",
        "kwargs",
        "adaptor",
        "fn_name",
        "session",
        "kernel",
        "use_cache",
        "cache_kwargs",
        "cache_key_override",
        "timeout",
        "reload",
        "stream",
        "detach",
    }
)
"""The fields of a request that say something to owt itself, at whatever path."""


class RequestFacts(Struct, frozen=True, array_like=True):
    """The HTTP request as it arrived, enough to build a werkzeug `Request` in the kernel.

    `path` is percent-decoded, `query` is the raw query string without `?`, `headers` keep their
    order and repetitions, `body` is the raw body (empty for a GET), `host` is the Host header or
    the address that the server listens on, `remote` is the client's address, or `unix` for one that came
    by the Unix socket. `user` is who calls, where the server asks for that; the Authorization header is
    then not among the headers. `root` is the path before `path` under which the server lies, without a
    slash at its end: "" or such as `/owt`.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    host: str
    remote: str = "127.0.0.1"
    scheme: str = "http"
    user: str | None = None
    root: str = ""


class Caching(Struct, frozen=True, array_like=True):
    """How a call may be answered from the cache: see `owt.frontend.runs.cache`."""

    with_kwargs: bool = False
    key: str | None = None


class Target(Struct, frozen=True, array_like=True):
    """The endpoint that a call is for: see `owt.wire.endpoint`.

    `path` is the endpoint's own, `arguments` what the request's path has for its parameters, in order.
    `edition` is another one whenever the endpoint has been defined again.
    """

    path: str
    arguments: tuple[str, ...] = ()
    edition: str = ""


class NotebookCell(Struct, frozen=True, array_like=True):
    """The call's code is a notebook's cell: it runs in the session's namespace, whatever it looks like, and
    shows its value rather than answering with it.

    With a `path`, in braces what the cell calls `names`, it does not run now but whenever the path is asked
    for by `method`, and `response` after it: see `owt.kernel.endpoints.kernel_gateway`.
    `shown` is the path as the
    notebook has it.
    """

    method: str = ""
    path: str = ""
    names: tuple[str, ...] = ()
    shown: str = ""
    response: str | None = None


class Call(Struct, frozen=True, array_like=True):
    """One request to run an adaptor.

    `code` is program text; `adaptor` names a module of `owt.lib` whose `run` is meant instead, and
    `endpoint` a function that the session has given a path, whose arguments are the request's fields.
    With none of them, `fn_name` names a function in the session's namespace. `kwargs` is text that the
    kernel evaluates (JSON or a Python expression), or None. `accept` is the Accept header.
    `session` None means: a kernel of the pool. `kernel` is the kernelspec for a session that this
    call creates, or None for the default. `timeout` is in seconds of running time.
    `sse` asks for Server-Sent Events, `detach` for no answer but the run's address. `cell` says that the
    code is a cell of a notebook that the server serves.
    """

    request: RequestFacts
    code: str | None = None
    adaptor: str | None = None
    kwargs: str | None = None
    fn_name: str = "run"
    session: str | None = None
    kernel: str | None = None
    accept: str = "*/*"
    sse: bool = False
    reload: bool = False
    timeout: float | None = None
    caching: Caching | None = None
    detach: bool = False
    endpoint: Target | None = None
    cell: NotebookCell | None = None
