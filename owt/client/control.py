"""A running server, as the person who operates it sees it: its own resources under `/_owt/`.

The commands `owt session` and `owt console` are made of this. httpx is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from owt.errors import BadRequest, OwtError, Unreachable, shortened
from owt.server import Server, split_unix
from owt.server.certificate import verification
from owt.wire.http import is_loopback

if TYPE_CHECKING:
    import httpx

# A restart answers when the fresh kernel does.
_PATIENCE = 120.0
_CONNECT = 5.0
_LONGEST = 1000


class Refused(OwtError):
    """The server answered that it will not, or cannot; the message is the server's. `code` is HTTP's."""

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


class Remote:
    """The server at `url`. `authorization` is the headers that say who asks, if any.

    Every method raises `Unreachable` or `Refused`, one with a name `BadRequest` for a name that no path can
    have, and the constructor `ConfigError` for a bad URL.
    """

    def __init__(self, url: str, authorization: Mapping[str, str] | None = None) -> None:
        self._server = Server.from_url(url, source="--url")
        self._headers = {"Accept": "application/json", **(authorization or {})}

    def about(self) -> dict[str, Any]:
        """`{"version": the server's, "links": [...]}`."""
        return self._ask("GET", "/_owt/")

    def sessions(self) -> dict[str, Any]:
        """`{"sessions": [...], "pool": [...]}`."""
        return self._ask("GET", "/_owt/sessions")

    def session(self, name: str) -> dict[str, Any]:
        """Everything that the server knows of one session."""
        return self._ask("GET", _page(name))

    def ready(self, name: str) -> dict[str, Any]:
        """Wait until the session, which there is, has a kernel; gives what `session` does."""
        return self._ask("PUT", _page(name))

    def delete(self, name: str) -> dict[str, Any]:
        """End a session and its kernel."""
        return self._ask("DELETE", _page(name))

    def restart(self, name: str) -> dict[str, Any]:
        """Give a session a fresh kernel."""
        return self._ask("POST", _page(name) + "/restart")

    def interrupt(self, name: str) -> dict[str, Any]:
        """Interrupt what a session's kernel runs."""
        return self._ask("POST", _page(name) + "/interrupt")

    def endpoints(self) -> dict[str, Any]:
        """`{"endpoints": [...]}`."""
        return self._ask("GET", "/_owt/endpoints")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        import httpx

        url = self._server.url
        socket, root = split_unix(url)
        # A proxy that the environment names cannot reach this machine's loopback.
        direct = socket is not None or is_loopback(self._server.address)
        verify = verification(self._server)
        try:
            with httpx.Client(
                timeout=httpx.Timeout(_PATIENCE, connect=_CONNECT),
                trust_env=not direct,
                verify=verify,
                transport=httpx.HTTPTransport(uds=socket, verify=False) if socket else None,
            ) as client:
                answer = client.request(method, root + path, headers=self._headers)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"no server answers at {url}: {why}; start one: owt serve") from error
        if answer.status_code >= 400:
            raise Refused(_refusal(answer), answer.status_code)
        if not answer.content:
            return {}
        document = _document(answer)
        if document is None:
            raise Unreachable(f"what answers at {url} is not an owt server; it says {shortened(answer.text)}")
        return document


def _page(session: str) -> str:
    """The path of a session's page."""
    try:
        quoted = quote(session, safe="")
    except UnicodeEncodeError:
        # Bytes of the command line that are no text.
        quoted = ""
    if quoted in ("", ".", "..") or len(quoted) > _LONGEST:
        raise BadRequest("session", "no session can have this name", session)
    return f"/_owt/sessions/{quoted}"


def _document(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _refusal(answer: httpx.Response) -> str:
    """The server's message, one line: a problem document's (RFC 9457) detail, or the first line of text."""
    problem = _document(answer) or {}
    text = str(problem.get("detail") or problem.get("title") or "")
    if not text and "html" not in answer.headers.get("Content-Type", ""):
        text = answer.text
    lines = text.strip().splitlines()
    message = lines[0] if lines else f"the server answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code == 401:
        message += (
            "; give --auth user:password or --token TOKEN, or set OWT_CLIENT_AUTH or OWT_CLIENT_TOKEN"
        )
    return message
