"""What tests of owt use, and tests of other people's adaptors.

    LiveServer   a server in a process of its own
    Bystander    somebody else, whose calls to another session must all be right meanwhile
    Gate         something that an adaptor waits for until the test lets it go on
    wait_until   wait for a condition, with a deadline

    with LiveServer() as server:
        assert server.call("1 + 1").text == "2"
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from owt.server import Server, split_unix
from owt.server.child import Child

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")

PATIENCE = 20.0


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Call `condition` until what it gives counts as true, and give that.

    Raises TimeoutError, with the last value, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {value!r} after {timeout:g} s")
        time.sleep(0.01)
    return value


class Gate:
    """Holds an adaptor until the test opens it; a named pipe in `folder`.

    The adaptor runs `open(path).read()`, with `str(gate)` as the path.
    """

    def __init__(self, folder: str | Path, name: str = "gate") -> None:
        self.path = Path(folder) / name
        os.mkfifo(self.path)
        self._end: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    def reached(self, timeout: float = PATIENCE) -> None:
        """Wait until an adaptor stands at the gate. Raises TimeoutError."""

        def hold() -> bool:
            try:
                self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
            return True

        if self._end is None:
            wait_until(hold, timeout)

    def open(self) -> None:
        """Let everyone go on who stands at the gate, waiting for the first one to come."""
        self.reached()
        assert self._end is not None
        os.close(self._end)
        self._end = None


class LiveServer:
    """`owt serve` in a process of its own, on a free port; a context manager.

    `args` are further options of `owt serve`, `env` further variables. `verify` is httpx's: which
    certificates to believe of a server with --certfile (default: any). What the server logs is in
    `log()`. Leaving the context stops it, and raises AssertionError if it did not stop properly.
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
        self._env = {**_clean_environment(), **(env or {})}
        self._cwd = cwd
        self._child: Child | None = None
        self._client: httpx.Client | None = None
        self.url = ""
        self.port = 0

    @property
    def pid(self) -> int:
        """The frontend's process id."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> Self:
        """Start, and wait until it says where it serves. Raises `OwtError`, with its log, if it does not."""
        import httpx

        self._child = Child("--port", "0", *self._args, env=self._env, cwd=self._cwd)
        self.url = self._child.serving()
        self.port = Server.from_url(self.url).port
        socket, root = split_unix(self.url)
        transport = httpx.HTTPTransport(uds=socket, verify=False) if socket else None
        self._client = httpx.Client(
            base_url=root, timeout=60, trust_env=False, verify=self._verify, transport=transport
        )
        return self

    def call(self, code: str | None = None, /, **fields: object) -> httpx.Response:
        """Run an adaptor: a POST with these fields as a form."""
        given = {"code": code, **fields}
        return self.ask("POST", "/", data={name: str(v) for name, v in given.items() if v is not None})

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request. `options` are those of `httpx.Client.request`. May be used by several threads."""
        assert self._client is not None
        return self._client.request(method, path, **options)

    def session(self, name: str) -> dict[str, Any]:
        """What the server says of a session."""
        answer = self.ask("GET", f"/_owt/sessions/{name}")
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def send_signal(self, number: int) -> None:
        """Send a signal to the frontend."""
        assert self._child is not None
        self._child.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the frontend's end; gives its exit status (negative: ended by that signal).

        Raises AssertionError, and kills it, when it does not end.
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
        """Send a signal and wait for the end, as `wait` does."""
        self.send_signal(number)
        return self.wait(timeout)

    def log(self) -> str:
        """What the server has written to stderr."""
        assert self._child is not None
        return self._child.log()

    def wait_for_log(self, pattern: str, timeout: float = PATIENCE) -> str:
        """Wait until the log has a match of this regular expression. Raises TimeoutError."""
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


class Bystander:
    """Calls a session of its own, named `bystander`, from a thread, as long as the `with` block lasts.

        with Bystander(server) as other:
            ...  # what must not disturb others
        assert other.calls > 0

    Each call sends a number, one higher than the last, and wants twice as much back; `calls` counts those
    that got it. The block begins after the first. Leaving it raises AssertionError if an answer was wrong
    or did not come, or if there was none since the block began.
    """

    PAUSE = 0.01
    """Seconds between two calls, so that they disturb nobody either."""

    def __init__(self, server: LiveServer) -> None:
        self.calls = 0
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._call_on, name="bystander")
        self._problem: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            wait_until(lambda: self.calls or self._problem)
        except BaseException:
            self._end()
            raise
        self._before = self.calls
        if self._problem is not None:
            self._end()
            self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: self.calls > self._before or self._problem)
        self._end()
        if kind is None:
            self._check()

    def _end(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _check(self) -> None:
        if (problem := self._problem) is not None:
            raise AssertionError(f"call {self.calls + 1} of the bystander: {problem}") from problem
        if self.calls == self._before:
            raise AssertionError("no call of the bystander was answered")

    def _call_on(self) -> None:
        import httpx

        try:
            # A connection of its own, which stays.
            with httpx.Client(base_url=self._server.url, timeout=PATIENCE, trust_env=False) as client:
                while not self._stopping.wait(self.PAUSE):
                    number = self.calls
                    code = "def run(n): return n * 2"
                    sent = {"code": code, "kwargs": {"n": number}, "session": "bystander"}
                    answer = client.post("/", json=sent)
                    assert (answer.status_code, answer.text) == (200, str(number * 2)), answer.text
                    self.calls += 1
        except BaseException as problem:
            self._problem = problem


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings of owt that a developer may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
