"""A server that is soon out of patience, and a session beside those that something happens to."""

from collections.abc import Iterator

import httpx
import pytest

from owt.testing import Bystander, LiveServer


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """The server of all tests that need no other."""
    with LiveServer(
        "--kill-after", "0.5", "--resume-window", "0", "--drain", "1", "--max-sessions", "300"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of this folder's server: the one of all tests is another server's."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def bystander(server: LiveServer) -> Iterator[Bystander]:
    """Calls to another session, which go on during the whole test; each must be right."""
    with Bystander(server) as other:
        yield other
    assert other.calls > 0
