"""The part of both clients that does no I/O: requests, settings of httpx, and the meaning of responses."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack
from urllib.parse import urlsplit

from owt.client import answers, following, parts, request, values
from owt.client.events import Event, is_prompt
from owt.client.following import Attempts, Following
from owt.client.function import source_of
from owt.client.options import Changes, Options
from owt.client.parts import Part
from owt.client.request import CONNECT_TIMEOUT, Address, Request, authorization, credentials
from owt.client.upload import split_body
from owt.errors import CannotSend, ConfigError, RemoteError, Unreachable, shortened
from owt.server import Server, split_unix
from owt.server.certificate import verification
from owt.wire.http import header_problem

if TYPE_CHECKING:
    import httpx

EVENTS = "text/event-stream"
RESERVED = frozenset({"accept", "authorization", "connection", "content-length", "content-type", "host"})
"""Headers that the client itself sets."""
CONTROL_TIMEOUT = 120.0
"""Seconds until a request to the server's own resources fails. A restart waits for the new kernel."""

RETRY = "; the option retry sends such a call again, and it runs once"
STREAM = (
    "; a call with a body cannot be sent again, but as a stream it goes on after a lost connection: use "
    "client.stream, or owt call --stream sse"
)
"""Remedies for a connection that broke."""

Code = str | Callable[..., Any]


class Caller:
    """Address of a server, credentials for it, and the options of calls.

    `url` is the server's URL with the path that the adaptor sees; the default is the URL of
    `owt.Server.current()`. `http+unix://%2Fpath%2Fof%2Fsocket` names a Unix socket. `auth` is
    `"user:password"`, by default the user and password of the URL; `token` is a bearer token instead.
    Raises `ConfigError` for each of them.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        session: str | None = None,
        auth: str | None = None,
        token: str | None = None,
    ) -> None:
        self._address = Address.of(Server.current().url if url is None else url)
        pair = None if auth is None else credentials(auth)
        if pair is None and token is None:
            pair = self._address.auth
        self._authorization = authorization(pair, token)
        self.options = Options(session=session)
        # The path of the server's base URL; None while it is unknown.
        self._base = self._guess_base()
        self._connect()

    def _connect(self) -> None:
        """Make the HTTP client of a class that does I/O."""

    @property
    def url(self) -> str:
        """The URL that calls go to."""
        return self._address.url

    def __repr__(self) -> str:
        # Headers, arguments, variables and the query may contain secrets.
        options = self.options.as_fields().items()
        listed = "".join(f", {name}={value!r}" for name, value in options if name not in ("kwargs", "env"))
        return f"{type(self).__name__}({self.url.partition('?')[0]!r}{listed})"

    def with_options(self, **changes: Unpack[Changes]) -> Self:
        """Return a client on the same connections with these options (`Options`) changed.

        Raises `CannotSend` for an option that does not exist.
        """
        other = copy.copy(self)
        other.options = self.options.changed(changes)
        return other

    def as_url(self, code: Code | None = None, /, **kwargs: Any) -> str:
        """Return the URL that makes this call by GET, from a browser or any program. Raises `CannotSend`."""
        return request.as_url(self._address, self._fields(code, kwargs))

    # Requests

    def _fields(self, code: Code | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        options = self.options
        if code is not None and not isinstance(code, str):
            source = source_of(code)
            if options.fn_name is not None:
                raise CannotSend(
                    f"fn_name is {options.fn_name!r}, and the code is a function, which is called by its own "
                    "name; give one of them"
                )
            options = options.changed({"fn_name": source.fn_name})
            code = source.code
        return request.call_fields(code, kwargs, options, has_path=bool(self._address.path))

    def _call_request(self, code: Code | None, kwargs: dict[str, Any], accept: str) -> Request:
        arguments: dict[str, Part] = {}
        kwargs, body = split_body(kwargs)
        if body is not None and self.options.method == "GET":
            raise CannotSend("data: a GET has no body; leave the option method out")
        if self.options.method == "POST" and body is None:
            kwargs, arguments = parts.split(kwargs)
        if arguments and self.options.kwargs is not None:
            raise CannotSend("there are keyword arguments and the option kwargs; give one of them")
        fields = self._fields(code, kwargs)
        accept = self._accept(fields, accept)
        if body is not None:
            new = request.upload(self._address, fields, accept, body)
        elif self.options.method == "GET":
            new = request.get(self._address, fields, accept)
        else:
            new = request.post(self._address, fields, accept, arguments)
        new = self._with_headers(new)
        if self.options.retry is not None and body is None and new.run is None:
            new.headers["Owt-Run"] = os.urandom(16).hex()
        return new

    def _duplex_request(self, code: Code | None, kwargs: dict[str, Any]) -> Request:
        """Return the handshake of a WebSocket that makes this call."""
        fields = self._fields(code, kwargs)
        accept = self._accept(fields, answers.ANYTHING)
        new = request.handshake(self._address, fields, accept)
        new.headers.update(self._authorization)
        return self._with_headers(new)

    def _body_requests(self, request: Request) -> tuple[Request, Callable[[str], Request]] | None:
        """Return the handshake by which the body of a request is sent, and a function that returns the
        request for the response of a run. None if the request itself carries all.

        httpx reads no response before it has sent a body, so an adaptor that answers more than the buffers
        take would wait for ever. The server takes a detached run, one for the cache, and one with an id of
        the client by HTTP alone.
        """
        is_plain = self.options.detach or self.options.use_cache or request.run is not None
        if request.body is None or is_plain:
            return None
        self._check_open()
        headers = {**request.headers, **self._authorization}
        handshake = Request("GET", request.url.replace("http", "ws", 1), headers=headers)
        accept = {"Accept": request.headers["Accept"]}
        path = "events" if EVENTS in accept["Accept"] else "answer"

        def follow(run: str) -> Request:
            return Request("GET", self._control_url(f"runs/{run}/{path}"), headers=accept, follows=run)

        return handshake, follow

    def _accept(self, fields: dict[str, Any], accept: str) -> str:
        """Return the Accept header of a call. The method of the client decides how the response comes, so the
        field `stream` is removed."""
        fields.pop("stream", None)
        if accept != EVENTS:
            accept = self.options.accept or accept
        if (problem := header_problem("Accept", accept)) is not None:
            raise CannotSend(problem)
        return accept

    def _with_headers(self, new: Request) -> Request:
        """Return a request of a call with the headers of the options, and the run that makes it."""
        if (run := Server.current_run()) is not None:
            new.headers["Owt-Caller"] = run
        for name, value in self.options.headers.items():
            if (problem := header_problem(name, value)) is not None or name.lower() in RESERVED:
                raise CannotSend(problem or f"header {name!r}: the client sets it itself")
            new.headers[name] = value
        return new

    def _attempts(self, request: Request) -> Attempts:
        """Return the attempts at a request of a call."""
        return Attempts(request.run, None if request.body is not None else self.options.retry)

    def _resume_request(self, progress: Following, first: Request) -> Request:
        """Return a request for the events that follow: the first one again if no event has come."""
        if progress.repeats:
            return first
        url = f"{self._control_url(f'runs/{progress.run}')}/events?after={progress.after}"
        headers = {"Accept": f"{answers.PROBLEM}, {EVENTS}"}
        return Request("GET", url, headers=headers, connect_timeout=following.CONNECT_TIMEOUT)

    def _control_request(
        self,
        method: str,
        path: str,
        timeout: float = CONTROL_TIMEOUT,
        options: Mapping[str, Any] | None = None,
        text: str | None = None,
    ) -> Request:
        """Return a request to one of the server's own resources, at `path` under `/_owt/`, with `options` or
        `text` as its body."""
        content = None if text is None else text.encode("utf-8", "surrogateescape")
        body_type = {} if text is None else {"Content-Type": "text/plain; charset=utf-8"}
        if options is not None:
            content, body_type = json.dumps(dict(options)).encode(), {"Content-Type": "application/json"}
        return Request(
            method,
            self._control_url(path),
            content=content,
            headers={"Accept": "application/json", **body_type},
            connect_timeout=min(CONNECT_TIMEOUT, timeout),
            timeout=timeout,
        )

    def _answer_path(self, event: Event, text: str | None) -> str:
        """Return the path of the request that answers an event `input`. Raises `CannotSend`."""
        if not is_prompt(event):
            raise CannotSend(f"the event {event.name!r} asks for no answer; only the event 'input' does")
        return f"runs/{event.id.rpartition('-')[0]}/input{'?end=1' if text is None else ''}"

    def _control_url(self, path: str) -> str:
        return split_unix(f"{self._address.server.url}{self._base or ''}/_owt/{path}")[1]

    # The server's base URL

    def _guess_base(self) -> str | None:
        """Return the path of the server's base URL if it is known before the first response."""
        if not self._address.path:
            return ""
        try:
            current = Server.current().url
        except ConfigError:
            return None
        url = f"{self._address.server.url}{self._address.path}/"
        return urlsplit(current).path if url.startswith(f"{current}/") else None

    def _at_base(self) -> Self:
        """Return a client on the same connections whose URL is the server's base URL."""
        other = copy.copy(self)
        other._base = self._address.path
        return other

    def _update_base(self, response: httpx.Response) -> bool:
        """Learn the server's base URL from a response; return whether it differs from the assumed one."""
        known, headers = self._base, response.headers
        if "Owt-Base" in headers or "Owt-Run" in headers:
            self._base = headers.get("Owt-Base", "")
        elif known is None and response.status_code >= 400 and not answers.is_problem(headers):
            # Another program answers at the root.
            self._base = self._address.path
        return (self._base or "") != (known or "")

    # httpx

    _http: Any
    _parts: Callable[[Any], Any]

    def _check_open(self) -> None:
        """Raise `CannotSend` if the client is closed."""
        if self._http.is_closed:
            raise CannotSend(f"{self!r} is closed; make a new one, or call inside of its with block")

    def _arguments(self, request: Request) -> dict[str, Any]:
        """Return the arguments by which httpx sends a request."""
        import httpx

        return {
            "method": request.method,
            "url": request.url,
            "content": request.content if request.body is None else self._parts(request.body),
            "headers": request.headers,
            "timeout": httpx.Timeout(request.timeout, connect=request.connect_timeout),
        }

    def _settings(self, transport: Callable[..., Any]) -> dict[str, Any]:
        """Return the arguments of httpx's client. `transport` is httpx's class for Unix sockets.

        Raises `ConfigError`.
        """
        import httpx

        try:
            # httpx parses the host's name on access.
            _ = httpx.URL(self._address.http).host
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(f"url: {error}; got {shortened(self._address.url)}") from None
        limits = httpx.Limits(max_connections=None)
        settings: dict[str, Any] = {
            "headers": self._authorization,
            "timeout": httpx.Timeout(None, connect=CONNECT_TIMEOUT),
            "limits": limits,
            # A proxy that the environment names cannot reach this machine's loopback.
            "trust_env": not self._address.is_local,
            "verify": verification(self._address.server),
        }
        if self._address.is_local:
            # On one machine, compression takes longer than what it saves.
            settings["headers"] = {**self._authorization, "Accept-Encoding": "identity"}
        if socket := self._address.socket:
            settings["transport"] = transport(uds=socket, limits=limits, verify=False)
        return settings

    # Responses and errors

    def _value(self, response: httpx.Response, body: bytes, returns: Any) -> Any:
        """Return the decoded response of an adaptor, of the type `returns` unless that is None.

        Raises `RemoteError` and `UnexpectedValue`.
        """
        if response.status_code >= 400:
            raise self._failure(response, body)
        # A caller who chooses the representation gets just that.
        is_chosen = self.options.accept is not None or self.options.display is not None
        kind = None if is_chosen else response.headers.get("Owt-Value")
        return values.value_of(kind, response.headers.get("Content-Type", ""), body, returns)

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        """Return the JSON object of one of the server's own resources; an empty body is an empty object."""
        if response.status_code >= 400:
            self._raise_failure(response, response.content)
        if not response.content:
            return {}
        document = answers.decoded(response.headers.get("Content-Type", ""), response.content)
        if not isinstance(document, dict):
            raise self._not_owt(response, response.content)
        return document

    def _is_failure(self, response: httpx.Response) -> bool:
        """Return whether the headers belong to a failure and not to an adaptor's own response."""
        headers = response.headers
        return "Owt-Run" not in headers or (response.status_code >= 400 and answers.is_problem(headers))

    def _raise_failure(self, response: httpx.Response, body: bytes) -> NoReturn:
        """Raise the error that a response which is not an adaptor's own stands for."""
        # A proxy that asks for a password sends no problem document.
        if not answers.is_problem(response.headers) and response.status_code != 401:
            raise self._not_owt(response, body)
        raise self._failure(response, body)

    def _failure(self, response: httpx.Response, body: bytes) -> RemoteError:
        error = answers.failure(response.status_code, response.headers, body)
        if error.status == 401 and Server.is_in_kernel() and not self._authorization:
            error.add_note(
                "A kernel has no credentials of its server. Give the client some, such as the first line of "
                "the server's --token-file: Client(token=open(path).readline().strip())"
            )
        elif error.status == 401:
            error.add_note(
                "Give auth='user:password' or token='...'; commands take --auth USER:PASSWORD or "
                "--token TOKEN, or OWT_CLIENT_AUTH or OWT_CLIENT_TOKEN"
            )
        return error

    def _not_owt(self, response: httpx.Response, body: bytes) -> Unreachable:
        text = shortened(body[:200].decode("utf-8", "replace"))
        return Unreachable(
            f"what answers at {self._address.server.url} is not an owt server; "
            f"it says {response.status_code} {text}"
        )

    def _refused(self, response: httpx.Response) -> RemoteError | Unreachable:
        """Return the error for a handshake of a WebSocket that was refused."""
        self._update_base(response)
        status, body = response.status_code, response.content
        if answers.is_problem(response.headers) or status == 401:
            return self._failure(response, body)
        text = shortened(body[:200].decode("utf-8", "replace"))
        return Unreachable(
            f"what answers at {self._address.server.url} permits no WebSocket: it says {status} {text}; "
            "a proxy has to pass the headers Upgrade and Connection on"
        )

    def _unreachable(self, error: Exception, remedy: str = "") -> Unreachable:
        """Return the error for a connection that failed before a response."""
        reason = str(error) or type(error).__name__
        return Unreachable(
            f"no server answers at {self._address.server.url}: {reason}; start one: owt serve{remedy}"
        )

    def _lost(self, error: Exception, request: Request) -> Unreachable:
        """Return the error for a call whose connection failed before a response."""
        import httpx

        was_sent = isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
        return self._unreachable(error, _remedy(request) if was_sent else "")

    def _broken(
        self, error: Exception, run: dict[str, Any], request: Request | None = None
    ) -> RemoteError | Unreachable:
        """Return the error for a response that broke off; `run` is what the server knows about its run.
        `request` is that of the response, or None for a WebSocket."""
        reason = str(error) or type(error).__name__
        return answers.run_failure(run) or Unreachable(
            f"the response from {self._address.server.url} broke off: {reason}{_remedy(request)}"
        )


def _remedy(request: Request | None) -> str:
    """Return the end of a message that says which call survives a lost connection, or an empty string."""
    if request is None or request.body is not None:
        return ""
    if request.follows is not None:
        return "" if EVENTS in request.headers["Accept"] else STREAM
    return RETRY
