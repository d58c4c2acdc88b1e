"""Which server a notebook calls, with which session; and a server of the notebook's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from owt.client import Client
from owt.client.control import Refused, Remote
from owt.client.identity import authorization, credentials
from owt.client.request import Address
from owt.server import Server
from owt.server.child import Child


@dataclass(frozen=True)
class Connection:
    """A server, the session that calls go to (None: none), and how to call it and look at it."""

    client: Client
    remote: Remote
    session: str | None = None

    @classmethod
    def to(
        cls, url: str | None, session: str | None, auth: str | None = None, token: str | None = None
    ) -> Connection:
        """The server at `url`, or where clients look for one. Raises `ConfigError`."""
        address = Address.of(Server.sing().url if url is None else url)
        given = credentials(auth) if auth is not None else None
        if given is None and token is None:
            given = address.auth
        client = Client(url, auth=auth, token=token)
        return cls(client, Remote(address.url, authorization(given, token)), session)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.client.url.rstrip("/")

    def with_session(self, name: str | None) -> Connection:
        """The same server, and another session."""
        return Connection(self.client, self.remote, name)

    def told(self) -> str:
        """What there is, in one line. Raises `Unreachable` and `Refused`."""
        try:
            about = self.remote.about()
        except Refused as error:
            if error.code in (400, 404) and (path := urlsplit(self.url).path):
                error.add_note(f"%owt wants the server's own URL; {path} is not its --base-url")
            raise
        return f"owt {about.get('version', '?')} at {self.url}, {self._session_told()}"

    def sessions(self) -> list[str]:
        """The names of the server's sessions."""
        return [str(each["name"]) for each in self.remote.sessions().get("sessions", ())]

    def _session_told(self) -> str:
        if self.session is None:
            return "no session: each call borrows an idle kernel"
        try:
            facts = self.remote.session(self.session)
        except Refused as error:
            if error.code != 404:
                raise
            return f"session {self.session}: new, its kernel starts with the first call"
        return f"session {self.session}: {_kernel_told(facts)}"


def _kernel_told(facts: dict[str, Any]) -> str:
    calls = int(facts.get("calls") or 0)
    parts = [f"{facts.get('state')}", f"kernel {facts.get('kernel')}"]
    if facts.get("pid") is not None:
        parts.append(f"pid {facts['pid']}")
    parts.append(f"{calls} call{'' if calls == 1 else 's'}")
    if facts.get("restarts"):
        parts.append(f"restarted: {facts.get('last_death') or 'as was asked'}")
    return ", ".join(parts)


def _token(options: Sequence[str]) -> str | None:
    """One of the tokens that a server takes which is started with these options."""
    for option, following in pairwise((*options, "")):
        name, given, value = option.partition("=")
        if name == "--token":
            return value if given else following
    return None


class Own:
    """A server of the notebook's own. It ends with the notebook's kernel, however that ends."""

    def __init__(self, options: Sequence[str]) -> None:
        """Start it, with these options of `owt serve`, on a free port. Raises `ConfigError`, `OwtError`."""
        self.options = tuple(options)
        # Of an option that is given twice, the last one counts.
        self._child = Child("--port", "0", *options, tied=True)
        self.token = _token(options)
        self.server = Server.from_url(self._child.serving()).as_reached()

    @property
    def url(self) -> str:
        """Where it serves."""
        return self.server.url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._child.ended() is None

    def log(self) -> str:
        """What it has written to stderr."""
        return self._child.log()

    def stop(self) -> None:
        """End it, its kernels and all that these have started."""
        self._child.stop()
        self._child.close()
