"""The measured servers, as processes of their own."""

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
from urllib.request import Request, urlopen

import psutil

ROOT = Path(__file__).parents[1]
START = 60.0
STOP = 60.0


@contextmanager
def owt(*options: str) -> Iterator[int]:
    """Run owt with these options; yield its port."""
    with owt_process(*options) as (port, _):
        yield port


@contextmanager
def owt_process(*options: str) -> Iterator[tuple[int, int]]:
    """Run owt with these options; yield its port and the frontend's process id."""
    with announced(sys.executable, "-m", "owt", "serve", "--port", "0", *options) as running:
        yield running


@contextmanager
def floor() -> Iterator[int]:
    """Run a bare Tornado server; yield its port."""
    with floor_process() as (port, _):
        yield port


@contextmanager
def floor_process() -> Iterator[tuple[int, int]]:
    """Run bare Tornado; yield its port and its process id."""
    with announced(sys.executable, str(ROOT / "benchmarks" / "floor.py")) as running:
        yield running


@contextmanager
def announced(*command: str) -> Iterator[tuple[int, int]]:
    """Run a server that prints its address; yield its port and its process id."""
    with _process(command, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        timer = Timer(START, process.kill)
        timer.start()
        try:
            for line in process.stdout:
                if match := re.search(rb"(?i)serving on http://[^/]*:(\d+)", line):
                    break
            else:
                raise RuntimeError(f"{' '.join(command)} did not start within {START:g} s:\n{log()}")
        finally:
            timer.cancel()
        yield int(match[1]), process.pid
        process.stdout.close()


@contextmanager
def silent(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server that prints no address; yield `port` when it accepts connections."""
    with _process(command, stdout=subprocess.DEVNULL) as (process, log):
        deadline = time.monotonic() + START
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start:\n{log()[-1500:]}")
            time.sleep(0.1)
        yield port


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _process(command: Sequence[str], stdout: int) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """Run a process; end it and its children at the end of the context."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    if command[0] == sys.executable:
        paths = [str(ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    else:
        # Another interpreter, which must not import the packages of this one.
        environment.pop("PYTHONPATH", None)
    # An installed package is compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
    """Return the sessions and the pool of an owt."""
    with urlopen(f"http://127.0.0.1:{port}/_owt/sessions", timeout=60) as answer:
        return json.load(answer)


def create_session(port: int, name: str, **options: object) -> None:
    """Create a session of an owt and wait for its kernel."""
    url = f"http://127.0.0.1:{port}/_owt/sessions/{name}"
    with urlopen(Request(url, json.dumps(options).encode(), method="PUT"), timeout=60) as answer:
        answer.read()


def quiet(port: int, spares: int = 1) -> dict:
    """Wait until no kernel is starting and the pool has its `spares`; return the sessions and the pool."""
    deadline = time.monotonic() + START
    while True:
        listing = listed(port)
        kernels = (*listing["sessions"], *listing["pool"])
        if len(listing["pool"]) >= spares and all(kernel["state"] == "idle" for kernel in kernels):
            return listing
        if time.monotonic() > deadline:
            raise RuntimeError(f"kernels are still starting after {START:g} s")
        time.sleep(0.02)
