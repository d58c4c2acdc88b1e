"""`owt serve` in a process of its own, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from owt.server import Server, split_unix
from owt.server.child import Child
from owt.testing.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    import ssl

    import httpx


class LiveServer:
    """`owt serve` in a child process, on a free port; a context manager.

    `args` are further options of `owt serve`, `env` further variables. `verify` is httpx's TLS verification
    for a server with --certfile (default: none). `log()` returns the server's log. Leaving the context stops
    the server, and raises AssertionError if it did not stop properly.
    """

    def __init__(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        verify: ssl.SSLContext | bool = False,
    ) -> None:
        self._args = args
        self._verify = verify
        # Without the variables of owt that a developer may have set.
        own = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
        self._env = {**own, **(env or {})}
        self._cwd = cwd
        self._child: Child | None = None
        self._client: httpx.Client | None = None
        self.url = ""
        self.port = 0

    @property
    def pid(self) -> int:
        """Process id of the frontend."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> Self:
        """Start the server, again if it has ended, and wait until it accepts connections.

        Raises `OwtError` with its log.
        """
        import httpx

        if self._child is not None:
            self._child.close()
        self._child = Child("--port", "0", *self._args, env=self._env, cwd=self._cwd)
        self.url = self._child.wait_ready()
        self.port = Server.from_url(self.url).port
        socket, root = split_unix(self.url)
        transport = httpx.HTTPTransport(uds=socket, verify=False) if socket else None
        self._client = httpx.Client(
            base_url=root, timeout=60, trust_env=False, verify=self._verify, transport=transport
        )
        return self

    def call(self, code: str | None = None, /, **fields: object) -> httpx.Response:
        """Run an adaptor by a POST with these fields as a form; fields that are None are left out."""
        form = {"code": code, **fields}
        return self.ask("POST", "/", data={name: str(v) for name, v in form.items() if v is not None})

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request. `options` are those of `httpx.Client.request`. Several threads may use it."""
        assert self._client is not None
        return self._client.request(method, path, **options)

    def session(self, name: str) -> dict[str, Any]:
        """Return the server's document about a session. Raises `httpx.HTTPStatusError`."""
        response = self.ask("GET", f"/_owt/sessions/{name}")
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document

    def send_signal(self, number: int) -> None:
        """Send a signal to the frontend."""
        assert self._child is not None
        self._child.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the frontend ends, and return its exit status (negative: the signal that ended it).

        Raises AssertionError, and kills the server, if it does not end in time.
        """
        assert self._child is not None
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            raise AssertionError(f"the server did not stop within {timeout} s\n{self.log()}") from None
        finally:
            if self._client is not None:
                self._client.close()
                self._client = None

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Send a signal and `wait`."""
        self.send_signal(number)
        return self.wait(timeout)

    def log(self) -> str:
        """Return what the server has written to stderr."""
        assert self._child is not None
        return self._child.log()

    def wait_for_log(self, pattern: str, timeout: float = PATIENCE) -> str:
        """Wait until the log matches this regular expression, and return the match. Raises TimeoutError."""
        try:
            return wait_until(lambda: re.search(pattern, self.log()), timeout)[0]  # type: ignore[index]
        except TimeoutError:
            raise TimeoutError(f"{pattern!r} is not in the log:\n{self.log()}") from None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.stop()
        assert self._child is not None
        log = self.log()
        self._child.close()
        if kind is None and status not in (0, -signal.SIGKILL):
            raise AssertionError(f"the server ended with status {status}\n{log}")
