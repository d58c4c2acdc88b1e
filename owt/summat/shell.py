"""`.shell()`: the value as a bash script."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from owt.errors import shortened
from owt.summat.command import run
from owt.summat.errors import ShellError, ShellTimeout
from owt.summat.flow import Flow
from owt.summat.step import MethodStep


@dataclass(frozen=True, slots=True, repr=False)
class Shell(MethodStep):
    """Run the value in bash; give what it writes to standard output: text for text, bytes for
    bytes. Standard input is empty. `timeout` is in seconds."""

    timeout: float | None = None

    def run(self, flow: Flow) -> Flow:
        script = flow.value
        if not isinstance(script, str | bytes):
            raise flow.wrong(self, "a bash script as str or bytes")
        try:
            finished = run(["bash", "-c", script], self.timeout)
        except subprocess.TimeoutExpired as late:
            raise ShellTimeout(
                f"bash was killed after {self.timeout} seconds, running {shortened(script)}",
                None,
                late.stdout or b"",
                late.stderr or b"",
            ) from None
        if finished.status != 0:
            raise ShellError(
                f"bash ended with status {finished.status}, running {shortened(script)}",
                finished.status,
                finished.stdout,
                finished.stderr,
            )
        if isinstance(script, bytes):
            return flow.giving(finished.stdout)
        try:
            return flow.giving(finished.stdout.decode())
        except UnicodeDecodeError as error:
            raise ShellError(
                f"bash wrote something that is not UTF-8 text ({error}); with .bytes() before"
                f" .shell() the output is bytes, running {shortened(script)}",
                0,
                finished.stdout,
                finished.stderr,
            ) from None
