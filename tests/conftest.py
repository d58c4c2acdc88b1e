"""Fixtures that all tests share."""

import signal
from collections.abc import Iterator

import httpx
import pytest

from owt.testing import LiveServer, wait_until


def pytest_configure() -> None:
    """A shell that runs the tests in the background has them ignore SIGINT, which every program that
    they start would inherit, and so never be interrupted."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """A server that many tests share: they use sessions of their own, or none."""
    options = ["--pool-max", "6", "--max-sessions", "300", "--resume-window", "500ms"]
    with LiveServer("-v", *options) as server:
        wait_until(lambda: server.ask("GET", "/_owt/health/ready").status_code == 200)
        yield server


@pytest.fixture(scope="session")
def patient() -> Iterator[LiveServer]:
    """A server whose runs of events wait so long for a reader that only a client's word ends them."""
    with LiveServer("--resume-window", "1h", "--max-sessions", "300") as server:
        yield server


@pytest.fixture(scope="session")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def session(request: pytest.FixtureRequest, http: httpx.Client) -> Iterator[str]:
    """A session's name that no other test uses; the session is deleted afterwards."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**12}"
    yield name
    http.delete(f"/_owt/sessions/{name}")
