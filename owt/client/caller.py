"""What both clients are, but for their I/O."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

from owt.client import answers, following, request
from owt.client.following import Following
from owt.client.function import source_of
from owt.client.identity import authorization, credentials
from owt.client.options import Options
from owt.client.request import CONNECT, Address, Request
from owt.errors import CannotSend, ConfigError, RemoteError, Unreachable, shortened
from owt.server import Server, split_unix
from owt.server.certificate import verification

if TYPE_CHECKING:
    import httpx

EVENTS = "text/event-stream"
JSON = {"Accept": "application/json"}

Code = str | Callable[..., Any]


class Caller:
    """A server's address, who calls it, and how.

    `url` is the server's, with the path that the adaptor sees; without one it is
    `owt.Server.sing()`'s. `http+unix://%2Fpath%2Fof%2Fsocket` stands for a Unix socket. `auth` is
    `"user:password"`, or what the URL itself names; `token` is a bearer token instead. Raises
    `ConfigError` for each of them.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        session: str | None = None,
        auth: str | None = None,
        token: str | None = None,
    ) -> None:
        self._address = Address.of(Server.sing().url if url is None else url)
        given = None if auth is None else credentials(auth)
        if given is None and token is None:
            given = self._address.auth
        self._authorization = authorization(given, token)
        self.options = Options(session=session)
        self._base = self._guessed_base()

    @property
    def url(self) -> str:
        """Where the calls go."""
        return self._address.url

    def with_options(self, **changes: Any) -> Self:
        """A client on the same connections that calls with these options (`Options`) changed.

        Raises `CannotSend` for an option that there is not.
        """
        other = copy.copy(self)
        other.options = self.options.changed(changes)
        return other

    def as_url(self, code: Code | None = None, /, **kwargs: Any) -> str:
        """The URL that makes this call by GET, from a browser or anywhere. Raises `CannotSend`."""
        return request.as_url(self._address, self._fields(code, kwargs))

    def _fields(self, code: Code | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        options = self.options
        if code is not None and not isinstance(code, str):
            source = source_of(code)
            if options.fn_name is not None:
                raise CannotSend(
                    f"fn_name is {options.fn_name!r}, and a function was given; it is called by its own name"
                )
            options = options.changed({"fn_name": source.fn_name})
            code = source.code
        return request.call_fields(code, kwargs, options)

    def _request(self, code: Code | None, kwargs: dict[str, Any], accept: str) -> Request:
        fields = self._fields(code, kwargs)
        # Who calls by a method has said by it how the answer is to come.
        fields.pop("stream", None)
        if accept != EVENTS:
            accept = self.options.accept or accept
        make = request.get if self.options.method == "GET" else request.post
        return make(self._address, fields, accept)

    def _guessed_base(self) -> str | None:
        """The path under which the server lies, if that can be known before it has answered."""
        if not self._address.path:
            return ""
        try:
            here = Server.sing().url
        except ConfigError:
            return None
        place = f"{self._address.server.url}{self._address.path}/"
        return urlsplit(here).path if place.startswith(f"{here}/") else None

    def _learn(self, response: httpx.Response) -> bool:
        """Note the server's base URL; whether it is another one than was thought."""
        known, headers = self._base, response.headers
        if "Owt-Base" in headers or "Owt-Run" in headers:
            self._base = headers.get("Owt-Base", "")
        elif known is None and response.status_code >= 400 and not answers.is_problem(headers):
            # Something else than owt answers at the root.
            self._base = self._address.path
        return (self._base or "") != (known or "")

    def _run_url(self, id: str) -> str:
        return split_unix(f"{self._address.server.url}{self._base or ''}/_owt/runs/{id}")[1]

    def _again(self, followed: Following) -> Request:
        """What asks for the events that follow."""
        url = f"{self._run_url(followed.run or '')}/events?after={followed.after}"
        headers = {"Accept": f"{answers.PROBLEM}, {EVENTS}"}
        return Request("GET", url, headers=headers, connect=following.CONNECT)

    def _sent(self, request: Request) -> dict[str, Any]:
        """A request as httpx is to send it."""
        import httpx

        timeout = httpx.Timeout(None, connect=request.connect)
        return {
            "method": request.method, "url": request.url, "content": request.content,
            "headers": request.headers, "timeout": timeout,
        }  # fmt: skip

    def _settings(self, transport: Callable[..., Any]) -> dict[str, Any]:
        """How httpx is to connect. `transport` is its class for Unix sockets. Raises `ConfigError`."""
        import httpx

        try:
            # It reads the host's name when it is asked for it.
            _ = httpx.URL(self._address.http).host
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(f"url: {error}; got {shortened(self._address.url)}") from None
        limits = httpx.Limits(max_connections=None)
        settings: dict[str, Any] = {
            "headers": self._authorization,
            "timeout": httpx.Timeout(None, connect=CONNECT),
            "limits": limits,
            "trust_env": not self._address.is_local,
            "verify": verification(self._address.server),
        }
        if socket := self._address.socket:
            settings["transport"] = transport(uds=socket, limits=limits, verify=False)
        return settings

    def _lost(self, error: Exception) -> Unreachable:
        """What it means that a connection failed."""
        why = str(error) or type(error).__name__
        return Unreachable(f"no server answers at {self._address.server.url}: {why}; start one: owt serve")

    def _broken(self, error: Exception, run: dict[str, Any]) -> RemoteError | Unreachable:
        """What it means that an answer broke off, of which the server says `run`."""
        why = str(error) or type(error).__name__
        return answers.run_failure(run) or Unreachable(
            f"the answer from {self._address.server.url} broke off: {why}"
        )

    def _has_failed(self, response: httpx.Response) -> bool:
        """Whether an answer that begins like this is one of an adaptor's: if not, `_check` it."""
        headers = response.headers
        return "Owt-Run" not in headers or (response.status_code >= 400 and answers.is_problem(headers))

    def _check(self, response: httpx.Response, body: bytes) -> NoReturn:
        """Raise what an answer means that is not an adaptor's."""
        if not answers.is_problem(response.headers):
            raise self._stranger(response, body)
        raise self._failure(response, body)

    def _failure(self, response: httpx.Response, body: bytes) -> RemoteError:
        error = answers.failure(response.status_code, response.headers, body)
        if error.status == 401:
            error.add_note(
                "Give auth='user:password' or token='...'; owt call takes --auth and --token, or "
                "OWT_CLIENT_AUTH and OWT_CLIENT_TOKEN"
            )
        return error

    def _stranger(self, response: httpx.Response, body: bytes) -> Unreachable:
        said = shortened(body[:200].decode("utf-8", "replace"))
        return Unreachable(
            f"what answers at {self._address.server.url} is not an owt server; "
            f"it says {response.status_code} {said}"
        )

    def _value(self, response: httpx.Response, body: bytes) -> Any:
        """The decoded answer of an adaptor."""
        if response.status_code >= 400:
            raise self._failure(response, body)
        return answers.decoded(response.headers.get("Content-Type", ""), body)

    def _told(self, response: httpx.Response) -> dict[str, Any]:
        """What the server says itself, under /_owt/."""
        if response.status_code >= 400:
            raise self._failure(response, response.content)
        document = answers.decoded(response.headers.get("Content-Type", ""), response.content)
        if not isinstance(document, dict):
            raise self._stranger(response, response.content)
        return document
