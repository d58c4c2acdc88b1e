"""The servers that are measured, as processes of their own."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[1]
START = 30.0
STOP = 15.0


@contextmanager
def owt() -> Iterator[int]:
    """A running owt; gives its port."""
    with owt_process() as (port, _):
        yield port


@contextmanager
def owt_process(*options: str) -> Iterator[tuple[int, int]]:
    """A running owt with these options; gives its port and the frontend's process id."""
    with _process("-m", "owt", "serve", "--port", "0", *options) as running:
        yield running


@contextmanager
def floor() -> Iterator[int]:
    """A running bare Tornado server; gives its port."""
    with _process(str(ROOT / "benchmarks" / "floor.py")) as (port, _):
        yield port


@contextmanager
def _process(*command: str) -> Iterator[tuple[int, int]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        assert process.stdout is not None
        giving_up = Timer(START, process.kill)
        giving_up.start()
        try:
            for line in process.stdout:
                if found := re.search(r"serving on http://[^/]*:(\d+)", line, re.IGNORECASE):
                    break
            else:
                errors.seek(0)
                raise RuntimeError(f"{' '.join(command)} did not start within {START:g} s:\n{errors.read()}")
            giving_up.cancel()
            yield int(found[1]), process.pid
        finally:
            giving_up.cancel()
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
