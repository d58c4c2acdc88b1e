"""Fixtures that all tests share."""

from collections.abc import Iterator

import httpx
import pytest

from owt.testing import LiveServer


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """A server that many tests share: they use sessions of their own, or none."""
    with LiveServer("-v", "--pool-max", "6", "--max-sessions", "300") as server:
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
