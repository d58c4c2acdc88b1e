"""Call: everything that a request asks for. It is parsed once, in the frontend, and never changed."""

from __future__ import annotations

import hashlib
from typing import Optional, Union

from msgspec import Struct
from msgspec.structs import replace

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
        "env",
        "cwd",
        "use_cache",
        "cache_kwargs",
        "cache_key_override",
        "timeout",
        "reload",
        "stream",
        "display",
        "detach",
    }
)
"""Names of the fields of a request that owt itself reads, at any path."""

UNKNOWN_SIZE = -1
"""Size of a body that came in chunks, or compressed, and that was not complete when the call began."""

MAX_PATH = 200
"""Maximum number of characters of a path that is shown."""

PERSONAL_HEADERS = ("authorization", "cookie", "forwarded", "x-forwarded-for", "x-real-ip")
"""Headers that identify a client, beside its address and its user."""


class RequestFacts(Struct, frozen=True, array_like=True):
    """The HTTP request as it arrived, enough to build a werkzeug `Request` in the kernel.

    `path` is percent-decoded, `query` is the raw query string without `?`, `headers` keep their order and
    repetitions, `body` is the raw body. `host` is the Host header or the address that the server listens on.
    `remote` is the client's address, or `unix` for a client of the Unix socket. `user` is the authenticated
    user, if the server requires one; the Authorization header is then not among the headers. `root` is the
    path under which the server lies, without a slash at its end: "" or, for example, `/owt`.
    `input_size` is the size of a body that is the run's input, of which `body` has nothing; `UNKNOWN_SIZE`
    if only the end of the body shows it, and 0 for a body that came with the call.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    host: str
    remote: str = "127.0.0.1"
    scheme: str = "http"
    user: Optional[str] = None
    root: str = ""
    input_size: int = 0


class Caching(Struct, frozen=True, array_like=True):
    """Use of the cache by a call: see `owt.frontend.runs.cache`."""

    with_kwargs: bool = False
    key: Optional[str] = None


class Target(Struct, frozen=True, array_like=True):
    """The endpoint that a call is for: see `owt.wire.endpoint`.

    `path` is the endpoint's own; `arguments` are the values that the request's path has for its parameters,
    in order. `edition` changes whenever the endpoint is defined again.
    """

    path: str
    arguments: tuple[str, ...] = ()
    edition: str = ""


class NotebookCell(Struct, frozen=True, array_like=True):
    """Mark of a call whose code is a notebook's cell.

    A cell runs in the session's namespace and shows its value instead of answering with it. With a `path`,
    the cell does not run now, but whenever a request for the path by `method` arrives, and `response` after
    it; `names` are the path's parameters as the cell calls them, and `notebook_path` is the path as the
    notebook has it (see `owt.kernel.endpoints.kernel_gateway`).
    """

    method: str = ""
    path: str = ""
    names: tuple[str, ...] = ()
    notebook_path: str = ""
    response: Optional[str] = None


class ChangeDirectory(Struct, frozen=True, array_like=True, tag="change-directory"):
    """Operation of the server on a kernel: enter a directory."""

    path: str


class RemoveEndpoint(Struct, frozen=True, array_like=True, tag="remove-endpoint"):
    """Operation of the server on a kernel: remove the endpoint at a path, for one method."""

    path: str
    method: str


class Call(Struct, frozen=True, array_like=True):
    """One request to run an adaptor.

    `code` is program text; `adaptor` names a module of `owt.lib` whose `run` is meant instead; `endpoint` is
    a function that the session has given a path, whose arguments are the request's fields. With none of
    them, `fn_name` names a function in the session's namespace. With code, `fn_name` None stands for `run`
    if the code defines that. `kwargs` is text that the kernel evaluates (JSON or a Python expression), or
    None. `accept` is the Accept header, or the field `display` in its place.

    `session` None stands for a kernel of the pool. `kernel` is the kernelspec of a session that this call
    creates, or None for the default; `env` and `cwd` are the variables and the working directory of such a
    session's kernels. `timeout` is in seconds of running time. `sse` asks for Server-Sent
    Events, `sse_streams` asks for them only if the adaptor streams, `detach` for no answer but the run's
    address. `cell` says that the code is a cell of a served notebook. `operation` is what the server itself
    does instead of running code, when its turn comes; no request has one. `body_parsed` says that the
    request's body held the code or the kwargs: the adaptor rarely reads such a body, so a large one stays in
    the frontend until it does. `caller` is the id of the run that has made the request (header
    `Owt-Caller`). `input_end` is the message by WebSocket that ends the run's input.
    """

    request: RequestFacts
    code: Optional[str] = None
    adaptor: Optional[str] = None
    kwargs: Optional[str] = None
    fn_name: Optional[str] = None
    session: Optional[str] = None
    kernel: Optional[str] = None
    accept: str = "*/*"
    sse: bool = False
    reload: bool = False
    timeout: Optional[float] = None
    caching: Optional[Caching] = None
    detach: bool = False
    endpoint: Optional[Target] = None
    cell: Optional[NotebookCell] = None
    operation: Union[ChangeDirectory, RemoveEndpoint, None] = None
    body_parsed: bool = False
    sse_streams: bool = False
    caller: Optional[str] = None
    env: Optional[dict[str, str]] = None
    cwd: Optional[str] = None
    input_end: Optional[str] = None

    def with_body(self, body: bytes) -> Call:
        """Return the call with another body."""
        return replace(self, request=replace(self.request, body=body))

    def outline(self) -> Call:
        """Return what is needed of a call that a kernel has begun: neither code nor arguments, and of the
        request a short path, which is shown."""
        facts = self.request
        method, path = facts.method[:20], short_path(facts.path)
        return Call(
            RequestFacts(method, path, "", (), b"", "", scheme=facts.scheme, user=facts.user),
            session=self.session,
            sse=self.sse,
            sse_streams=self.sse_streams,
            detach=self.detach,
            timeout=self.timeout,
            input_end=self.input_end,
        )

    @property
    def function_name(self) -> str:
        """Return the name of the function to call."""
        return self.fn_name or "run"

    def fingerprint(self) -> int:
        """Return a number that is equal for requests of the same call, in any process: of the same code,
        arguments and session."""
        facts = self.request
        digest = hashlib.blake2b(digest_size=8)
        texts = (self.session, facts.path, self.code, self.adaptor, self.kwargs, self.fn_name)
        endpoint = (facts.method, facts.query, facts.body) if self.endpoint is not None else ()
        for field in (*texts, *endpoint):
            data = field.encode("utf-8", "surrogatepass") if isinstance(field, str) else field
            digest.update(b"-" if data is None else b"%d:" % len(data))
            digest.update(data or b"")
        return int.from_bytes(digest.digest(), "big", signed=True)


def short_path(path: str) -> str:
    """Return a path with its middle cut out beyond `MAX_PATH` characters."""
    return path if len(path) <= MAX_PATH else f"{path[: MAX_PATH - 30]} ... {path[-20:]}"
