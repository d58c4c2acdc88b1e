"""A live server for tests: owt's own, and those of other people's adaptors.

    with LiveServer() as server:
        httpx.get(server.url, params={"code": "1 + 1"}).text == "2"
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT = 30.0


class LiveServer:
    """`owt serve` in a process of its own, on a free port; a context manager.

    `args` are further options of `owt serve`, `env` further variables. What the server logs is in
    `log()`. Leaving the context stops it, and raises AssertionError if it did not stop properly.
    """

    def __init__(self, *args: str, env: Mapping[str, str] | None = None, cwd: str | Path | None = None) -> None:
        self._args = args
        self._env = {**_clean_environment(), **(env or {})}
        self._cwd = cwd
        self._log = tempfile.NamedTemporaryFile("w+", prefix="owt-log-", suffix=".txt")  # noqa: SIM115
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.port = 0

    @property
    def pid(self) -> int:
        """The frontend's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start, and wait until it says where it serves. Raises RuntimeError, with its log, if it
        does not."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "owt", "serve", "--port", "0", *self._args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._env,
            cwd=self._cwd,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"Owt serving on (http://.*:(\d+))$", line.strip())
        if found is None:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"owt serve did not start: {line!r}\n{self.log()}")
        self.url, self.port = found[1], int(found[2])
        return self

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Send a signal and wait for the end; gives the exit status (negative: by that signal)."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not stop within {timeout} s\n{self.log()}") from None
        finally:
            if process.stdout is not None:
                process.stdout.close()
        return process.returncode

    def log(self) -> str:
        """What the server has written to stderr."""
        return Path(self._log.name).read_text()

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> str:
        """Wait until the log has a match of this regular expression. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.log())):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern!r} is not in the log:\n{self.log()}")
            time.sleep(0.01)
        return found[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.stop()
        log = self.log()
        self._log.close()
        if kind is None and status not in (0, -signal.SIGKILL):
            raise AssertionError(f"the server ended with status {status}\n{log}")


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings of owt that a developer may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
