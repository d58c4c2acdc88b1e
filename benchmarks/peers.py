"""Other servers that run Python for a request, in a virtual environment of their own.

The environment is made when it is first needed, and again when what it should hold has changed. A peer
that cannot be had or does not start has a problem, and the others go on.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import servers
from connection import Request, once

ENVIRONMENT = servers.ROOT / ".venv-peers"
STAMP = ENVIRONMENT / "installed"
PROGRAMS = Path(__file__).with_name("peer_programs")
PATIENCE = 30.0
INSTALLING = 300.0

FLASK = "Flask's development server, exec in its own process"
LITSERVE = "LitServe, one worker, a fixed function"
GATEWAY = "Jupyter Kernel Gateway, notebook-http"

ECHO = 'def run(name): return f"Hello, {name}!"'
GATEWAY_CELL = """# POST /echo
import json
print(f"Hello, {json.loads(REQUEST)['body']['name']}!")"""


@dataclass(frozen=True)
class Peer:
    """A server of others: what it needs of PyPI, its command for a port and a folder of its own, and the
    request that makes it say "Hello, owt!"."""

    name: str
    requirements: Sequence[str]
    command: Callable[[int, Path], Sequence[str]]
    request: Callable[[int], Request]

    @property
    def packages(self) -> list[str]:
        return [requirement.partition(">=")[0] for requirement in self.requirements]


def _python(*arguments: str) -> list[str]:
    return [str(ENVIRONMENT / "bin" / "python"), *arguments]


def _flask_request(port: int) -> Request:
    fields = {"code": ECHO, "kwargs": "{'name': 'owt'}"}
    coded = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
    return Request(port, f"/?{urlencode(coded)}")


def _gateway(port: int, folder: Path) -> list[str]:
    """Kernel Gateway in the mode where a notebook's cells are its handlers."""
    cell = {"cell_type": "code", "source": GATEWAY_CELL, "metadata": {}, "outputs": []}
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = folder / "echo.ipynb"
    notebook.write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 4,
                "metadata": {"kernelspec": spec},
                "cells": [cell | {"execution_count": None}],
            }
        )
    )
    return _python(
        "-m",
        "kernel_gateway",
        "--KernelGatewayApp.api=kernel_gateway.notebook_http",
        f"--KernelGatewayApp.seed_uri={notebook}",
        "--KernelGatewayApp.ip=127.0.0.1",
        f"--KernelGatewayApp.port={port}",
        "--KernelGatewayApp.log_level=ERROR",
    )


PEERS = (
    Peer(
        FLASK,
        ["flask>=3.0"],
        lambda port, _: _python(str(PROGRAMS / "flask_exec.py"), str(port)),
        _flask_request,
    ),
    Peer(
        LITSERVE,
        ["litserve>=0.2"],
        lambda port, _: _python(str(PROGRAMS / "litserve_echo.py"), str(port)),
        lambda port: Request(port, "/predict", {"name": "owt"}),
    ),
    Peer(
        GATEWAY,
        ["jupyter_kernel_gateway>=3.0", "ipykernel>=7.0"],
        _gateway,
        lambda port: Request(port, "/echo", {"name": "owt"}),
    ),
)


def install() -> dict[str, str]:
    """Make the environment, if it is not there as it should be; problems by the names of peers."""
    wanted = "\n".join([sys.version, *(each for peer in PEERS for each in peer.requirements)])
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return {}
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    except RuntimeError as error:
        return {peer.name: str(error) for peer in PEERS}
    try:
        _install([each for peer in PEERS for each in peer.requirements])
    except RuntimeError:
        # One of them cannot be had: which?
        problems = {}
        for peer in PEERS:
            try:
                _install(peer.requirements)
            except RuntimeError as error:
                problems[peer.name] = str(error)
        if problems:
            return problems
    STAMP.write_text(wanted)
    return {}


def _install(requirements: Sequence[str]) -> None:
    _run(_python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements))


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode:
        raise RuntimeError(f"python {' '.join(command[1:4])} failed: {done.stderr.strip()[-300:]}")


def versions() -> dict[str, str]:
    """What the environment holds of the peers' packages."""
    names = [package for peer in PEERS for package in peer.packages]
    program = (
        "import json, sys; from importlib.metadata import distributions as d;"
        "have = {e.name.lower().replace('-', '_'): e.version for e in d()};"
        "print(json.dumps({n: have[n] for n in sys.argv[1:] if n in have}))"
    )
    command = _python("-c", program, *names)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return json.loads(done.stdout)


@contextmanager
def running(peer: Peer) -> Iterator[Request]:
    """The peer as a process; gives its request, which has been answered as it should."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory() as folder, servers.silent(peer.command(port, Path(folder)), port):
        request = peer.request(port)
        deadline = time.monotonic() + PATIENCE
        while problem := _problem(request):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name}: {problem}")
            time.sleep(0.2)
        yield request


def _problem(request: Request) -> str:
    try:
        answer = once(request)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if b"Hello, owt!" in answer.body else f"answered {answer.body[:200]!r}"
