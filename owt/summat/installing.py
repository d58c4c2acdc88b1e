"""`.installing(...)`: packages that are installed when a pipe first needs them."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import dataclass, field

from owt.summat.command import run
from owt.summat.errors import InstallError
from owt.summat.flow import Flow
from owt.summat.step import MethodStep

_lock = threading.Lock()
_installed: set[str] = set()


@dataclass(frozen=True, slots=True, repr=False)
class Installing(MethodStep):
    """Have pip install packages into this process's environment, each requirement once a process.

    Two runs at once wait for one pip. What failed is tried again by the next run.
    """

    packages: tuple[str, ...] = field(metadata={"star": "*"})

    def run(self, flow: Flow) -> Flow:
        with _lock:
            wanted = [each for each in self.packages if each not in _installed]
            if wanted:
                _install(wanted)
                _installed.update(wanted)
        return flow


def _install(packages: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    finished = run([*pip, "--", *packages])
    if finished.status != 0:
        output = (finished.stdout + finished.stderr).decode("utf-8", "backslashreplace")
        raise InstallError(
            f"pip ended with status {finished.status} and could not install {' '.join(packages)}", output
        )
    importlib.invalidate_caches()
