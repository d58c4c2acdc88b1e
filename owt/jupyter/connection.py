"""The server that a notebook calls, with its session; and a server that the notebook starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from owt.client import Client, RemoteError
from owt.client.control import Control
from owt.server import Server
from owt.server.child import Child


@dataclass(frozen=True)
class Connection:
    """Client of a server, and the session of its calls; None: each call borrows a kernel of the pool."""

    client: Client
    session: str | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        return self.client.url.rstrip("/")

    def description(self) -> str:
        """Return one line about the server and the session. Raises `Unreachable` and `RemoteError`."""
        try:
            about = Control(self.client).about()
        except RemoteError as error:
            if error.status in (400, 404) and (path := urlsplit(self.url).path):
                error.add_note(f"%owt needs the server's own URL; {path} is not its --base-url")
            raise
        return f"owt {about.get('version', '?')} at {self.url}, {self._session_description()}"

    def session_names(self) -> list[str]:
        """Return the names of the server's sessions."""
        return [str(session["name"]) for session in Control(self.client).sessions().get("sessions", ())]

    def _session_description(self) -> str:
        if self.session is None:
            return "no session: each call borrows an idle kernel"
        try:
            session = Control(self.client).session(self.session)
        except RemoteError as error:
            if error.status != 404:
                raise
            return f"session {self.session}: new, its kernel starts with the first call"
        return f"session {self.session}: {_kernel_description(session)}"


def _kernel_description(session: dict[str, Any]) -> str:
    calls = int(session.get("calls") or 0)
    parts = [f"{session.get('state')}", f"kernel {session.get('kernel')}"]
    if session.get("pid") is not None:
        parts.append(f"pid {session['pid']}")
    parts.append(f"{calls} call{'' if calls == 1 else 's'}")
    if session.get("restarts"):
        parts.append(f"restarted: {session.get('last_death') or 'on request'}")
    return ", ".join(parts)


class NotebookServer:
    """Server that the notebook starts on a free port. It ends with the notebook's kernel, for any reason.

    `options` are those of `owt serve`. `token` is one of the tokens that they name. Raises `ConfigError`
    and `OwtError`.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.options = tuple(options)
        self.token = _token(options)
        # Of an option that appears twice, the last one counts.
        self._child = Child("--port", "0", *options, watch_parent=True)
        self.url = Server.from_url(self._child.wait_ready()).as_reached().url

    @property
    def is_running(self) -> bool:
        """True until the server's process ends."""
        return self._child.exit_status() is None

    def stop(self) -> None:
        """End the server, its kernels and their child processes."""
        self._child.stop()
        self._child.close()


def _token(options: Sequence[str]) -> str | None:
    """Return the value of a `--token` among options of `owt serve`, or None."""
    for option, following in pairwise((*options, "")):
        name, equals, value = option.partition("=")
        if name == "--token":
            return value if equals else following
    return None
