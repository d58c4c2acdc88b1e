"""`owt serve` in a process of its own, for programs that start a server: `Server.start`, and tests."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from owt.errors import ConfigError, OwtError

STOP_TIMEOUT = 20.0
"""Seconds; running calls get `--drain` of them, which is 5 unless said otherwise."""
READ_TIMEOUT = 1.0
"""Seconds; what a server has started ends with it, and what outlives it after all is not waited for."""

_SERVING = re.compile(r"Owt serving on ((?:https?|http\+unix)://\S+)$")


class Child:
    """A server that is a child of this process, begun when this is made. See that it is `serving`, `stop`
    it, and `close` this; it does not end with the program that began it.

    `options` are those of `owt serve`, `env` its whole environment (default: this process's). With `tied`
    it ends when this process does, however that ends (`parent_watch`), and no Ctrl-C of a terminal
    reaches it.
    """

    def __init__(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        tied: bool = False,
    ) -> None:
        # A file, not a pipe: nobody has to read it while the server runs.
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self._reader: threading.Thread | None = None
        try:
            program = ["owt.server.parent_watch"] if tied else ["owt", "serve"]
            self._process = subprocess.Popen(
                [sys.executable, "-m", *program, *options],
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=env,
                cwd=cwd,
                # Jupyter's interrupt and a terminal's Ctrl-C go to whole process groups.
                start_new_session=tied,
                text=True,
            )
        except BaseException:
            self._log.close()
            raise

    @property
    def pid(self) -> int:
        """The frontend's process id."""
        return self._process.pid

    def serving(self, timeout: float = 30.0) -> str:
        """Wait until it serves, and give its URL.

        Raises `ConfigError` for settings that it refuses, a port that is taken among them, and
        `OwtError` when it ends or does not begin within `timeout` seconds; then it has ended.
        """
        process = self._process
        assert process.stdout is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], timeout)
            line = process.stdout.readline() if readable else ""
        except BaseException:
            self.kill()
            self.close()
            raise
        if found := _SERVING.match(line.strip()):
            self._reader = threading.Thread(target=_read, args=(process.stdout,), daemon=True)
            self._reader.start()
            return found[1]
        if readable:
            # It has said something else, or is about to end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
        self.kill()
        log = self.log().strip()
        self.close()
        if process.returncode == 2:
            raise ConfigError(log.removeprefix("owt: "))
        problem = f"ended with status {process.returncode}" if readable else f"did not serve in {timeout:g} s"
        raise OwtError(f"owt serve {problem}: {log or 'it wrote nothing to stderr'}")

    def send_signal(self, number: int) -> None:
        """Send a signal to the frontend, if it has not ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; gives the exit status (negative: ended by that signal).

        Raises `subprocess.TimeoutExpired`.
        """
        return self._process.wait(timeout)

    def ended(self) -> int | None:
        """The exit status, if it has ended."""
        return self._process.poll()

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Send a signal, wait for the end, kill it if that takes longer than `timeout` seconds.

        Gives the exit status. Its kernels end with it in any case.
        """
        self.send_signal(number)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> int:
        """End it at once; gives the exit status."""
        self._process.kill()
        return self._process.wait()

    def log(self) -> str:
        """What it has written to stderr so far."""
        # Its own writes go to the end of the file, and reading here must not move them.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of its output, and of its log; after its end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._reader is not None:
            # It closes what it reads, at the latest when all are gone that may write there.
            self._reader.join(READ_TIMEOUT)
        elif self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def _read(pipe: IO[str]) -> None:
    """Take what is printed after the URL, which nobody wants: a full pipe would hold up the kernels."""
    with pipe:
        while os.read(pipe.fileno(), 64 * 1024):
            pass
