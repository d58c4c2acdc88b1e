"""Control of a running server: its own resources under `/_owt/`, for the commands and the magics."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote, urlencode

from owt.client.clients import Client
from owt.wire.names import session_name


class Control:
    """Resources of the server that a client calls; the path of its URL is the server's base URL.

    All requests go over the client's connections. Every method raises what `Client.run` raises, and
    those with a session's name raise `BadRequest` for a name that no session can have.
    """

    def __init__(self, client: Client) -> None:
        self._client = client._at_base()

    def about(self) -> dict[str, Any]:
        """Return `{"version": the server's version, "links": [...]}`."""
        return self._client._control("GET", "")

    def sessions(self) -> dict[str, Any]:
        """Return `{"sessions": [...], "pool": [...]}`."""
        return self._client._control("GET", "sessions")

    def session(self, name: str) -> dict[str, Any]:
        """Return all that the server knows about a session."""
        return self._client._control("GET", f"sessions/{session_name(name)}")

    def start(self, name: str, **options: Any) -> dict[str, Any]:
        """Create a session with these options (`kernel`, `concurrency`, `env`, `cwd`), unless it exists; wait
        until it has a kernel, and return what `session` returns."""
        return self._client._control("PUT", f"sessions/{session_name(name)}", options=options or None)

    def delete(self, name: str) -> dict[str, Any]:
        """End a session and its kernel."""
        return self._client._control("DELETE", f"sessions/{session_name(name)}")

    def restart(self, name: str) -> dict[str, Any]:
        """Give a session a fresh kernel."""
        return self._client._control("POST", f"sessions/{session_name(name)}/restart")

    def interrupt(self, name: str) -> dict[str, Any]:
        """Interrupt the code that a session's kernel runs."""
        return self._client._control("POST", f"sessions/{session_name(name)}/interrupt")

    def runs(self, limit: int | None = None, session: str | None = None) -> dict[str, Any]:
        """Return `{"runs": [...]}`, oldest first; with a `limit`, that many of the newest, newest first.

        With a `session`, only the runs of that one.
        """
        fields = {} if limit is None else {"limit": str(limit)}
        if session is not None:
            fields["session"] = session_name(session)
        return self._client._control("GET", _with_query("runs", fields))

    def run(self, id: str) -> dict[str, Any]:
        """Return all that the server knows about a run, and what it printed."""
        return self._client._control("GET", f"runs/{quote(id, safe='')}")

    def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a run, and return `{"cancelled": False if it had ended or others share it, ...}`."""
        return self._client._control("DELETE", f"runs/{quote(id, safe='')}")

    def cache(self) -> dict[str, Any]:
        """Return the number and the size of the cached responses."""
        return self._client._control("GET", "cache")

    def clear_cache(self) -> dict[str, Any]:
        """Remove all cached responses, and return `{"deleted": number}`."""
        return self._client._control("DELETE", "cache")

    def endpoints(self, state: Literal["live", "gone"] | None = None) -> dict[str, Any]:
        """Return `{"endpoints": [...]}`, all or those in a `state`."""
        return self._client._control(
            "GET", _with_query("endpoints", {} if state is None else {"state": state})
        )


def _with_query(path: str, fields: dict[str, str]) -> str:
    return f"{path}?{urlencode(fields)}" if fields else path
