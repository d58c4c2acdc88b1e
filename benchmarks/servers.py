"""The servers that are measured, as processes of their own."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import IO
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).parents[1]
START = 60.0
STOP = 60.0


@contextmanager
def owt(*options: str) -> Iterator[int]:
    """A running owt with these options; gives its port."""
    with owt_process(*options) as (port, _):
        yield port


@contextmanager
def owt_process(*options: str) -> Iterator[tuple[int, int]]:
    """A running owt with these options; gives its port and the frontend's process id."""
    with announced(sys.executable, "-m", "owt", "serve", "--port", "0", *options) as running:
        yield running


@contextmanager
def floor() -> Iterator[int]:
    """A running bare Tornado server; gives its port."""
    with announced(sys.executable, str(ROOT / "benchmarks" / "floor.py")) as (port, _):
        yield port


@contextmanager
def announced(*command: str) -> Iterator[tuple[int, int]]:
    """A server that prints where it serves; gives its port and its process id."""
    with _process(command, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        giving_up = Timer(START, process.kill)
        giving_up.start()
        try:
            for line in process.stdout:
                if found := re.search(rb"(?i)serving on http://[^/]*:(\d+)", line):
                    break
            else:
                raise RuntimeError(f"{' '.join(command)} did not start within {START:g} s:\n{log()}")
        finally:
            giving_up.cancel()
        yield int(found[1]), process.pid
        process.stdout.close()


@contextmanager
def silent(command: Sequence[str], port: int) -> Iterator[int]:
    """A server that says nothing: it runs once something answers at `port`, which it gives."""
    with _process(command, stdout=subprocess.DEVNULL) as (process, log):
        deadline = time.monotonic() + START
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start:\n{log()[-1500:]}")
            time.sleep(0.1)
        yield port


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _process(command: Sequence[str], stdout: int) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """A process that has ended, with its children, when the context does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    if command[0] == sys.executable:
        ours = [str(ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, ours))
    else:
        # An interpreter with other packages, to which ours are none of its business.
        environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=stdout, stderr=errors, env=environment)
        try:
            yield process, lambda: _read(errors)
        finally:
            _end(process)


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _end(process: subprocess.Popen) -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(children, timeout=2)
    for child in left:
        child.kill()


def listed(port: int) -> dict:
    """What an owt says of its sessions and its pool."""
    with urlopen(f"http://127.0.0.1:{port}/_owt/sessions", timeout=60) as answer:
        return json.load(answer)


def quiet(port: int, spares: int = 1) -> dict:
    """Wait until no kernel of an owt is starting and the pool has its `spares`; what it then says."""
    deadline = time.monotonic() + START
    while True:
        found = listed(port)
        kernels = (*found["sessions"], *found["pool"])
        if len(found["pool"]) >= spares and all(each["state"] == "idle" for each in kernels):
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"kernels are still starting after {START:g} s")
        time.sleep(0.02)
