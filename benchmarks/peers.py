"""Other servers that run Python for a request, in a virtual environment of their own.

The environment is created when it is first needed, and again when its requirements have changed. A peer
that cannot be installed or does not start has a problem; the other peers are still measured.
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
    """Another server: its requirements, its command for a port and a folder of its own, and the request that
    it answers with "Hello, owt!"."""

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
    """Return the command of Kernel Gateway in the mode in which the cells of a notebook are its handlers."""
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
    """Create the environment unless it is up to date; return problems by the names of peers."""
    requirements = [requirement for peer in PEERS for requirement in peer.requirements]
    stamp = "\n".join([sys.version, *requirements])
    if STAMP.is_file() and STAMP.read_text() == stamp:
        return {}
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    except RuntimeError as error:
        return {peer.name: str(error) for peer in PEERS}
    try:
        _install(requirements)
    except RuntimeError:
        # Find the ones that cannot be installed.
        problems = {}
        for peer in PEERS:
            try:
                _install(peer.requirements)
            except RuntimeError as error:
                problems[peer.name] = str(error)
        if problems:
            return problems
    STAMP.write_text(stamp)
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
    """Return the installed versions of the peers' packages."""
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
    """Run the peer as a process; yield its request after a correct answer."""
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
