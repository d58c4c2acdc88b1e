"""`owt serve` in a child process, for programs that start a server: `Server.start`, magics and tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from owt.errors import CannotListen, ConfigError, OwtError
from owt.server.startup import Startup, read_report

STOP_TIMEOUT = 20.0
"""Seconds until a server that was asked to stop is killed; its running calls get `--drain` of them, 5 by
default."""


class Child:
    """A server in a child process, which starts when this object is made.

    Call `wait_ready`, later `stop`, and `close` at the end. `options` are those of `owt serve`, `env` is the
    child's whole environment (default: this process's). With `watch_parent` the server ends when this process
    ends for any reason, and a terminal's Ctrl-C does not reach it; otherwise it goes on.
    """

    def __init__(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        watch_parent: bool = False,
    ) -> None:
        # A file and not a pipe, which would have to be read while the server runs.
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self._report, report = os.pipe()
        command = [sys.executable, "-m", "owt", "serve", *options, "--report-fd", str(report)]
        if watch_parent:
            command.append("--watch-parent")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if watch_parent else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env=env,
                cwd=cwd,
                pass_fds=[report],
                # Jupyter's interrupt and a terminal's Ctrl-C go to whole process groups.
                start_new_session=watch_parent,
            )
        except BaseException:
            os.close(self._report)
            self._log.close()
            raise
        finally:
            os.close(report)

    @property
    def pid(self) -> int:
        """Process id of the frontend."""
        return self._process.pid

    def wait_ready(self, timeout: float = 30.0) -> str:
        """Wait until the server accepts connections, and return its URL.

        Raises `CannotListen` if it cannot listen on its port, `ConfigError` for other settings that cannot
        be used, and `OwtError` if it ends or is not ready within `timeout` seconds. It has ended then.
        """
        try:
            report = read_report(self._report, timeout)
            if isinstance(report, str):
                return report
            if report is not Startup.TIMED_OUT:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT)
        except BaseException:
            self.kill()
            self.close()
            raise
        status = self.kill()
        log = self.log().strip()
        self.close()
        if report is Startup.CANNOT_LISTEN:
            raise CannotListen(log.removeprefix("owt: "))
        # The status of the command line for settings that cannot be used.
        if status == 2:
            raise ConfigError(log.removeprefix("owt: "))
        late = report is Startup.TIMED_OUT
        problem = f"did not serve in {timeout:g} s" if late else f"ended with status {status}"
        raise OwtError(f"owt serve {problem}: {log or 'it wrote nothing to stderr'}")

    def send_signal(self, number: int) -> None:
        """Send a signal to the frontend, if it has not ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the frontend ends, and return its exit status (negative: the signal that ended it).

        Raises `subprocess.TimeoutExpired`.
        """
        return self._process.wait(timeout)

    def exit_status(self) -> int | None:
        """Return the exit status, or None while the server runs."""
        return self._process.poll()

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Send a signal, wait for the end, and kill the server after `timeout` seconds.

        Returns the exit status. The kernels end with the server in any case, unless it has --keep and is
        killed.
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
        """End the server at once, and return its exit status."""
        self._process.kill()
        return self._process.wait()

    def log(self) -> str:
        """Return what the server has written to stderr so far."""
        # A read at an explicit offset does not move the position at which the server writes.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Close the pipes and the log, after the server's end. A second call does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if not self._log.closed:
            os.close(self._report)
        self._log.close()
