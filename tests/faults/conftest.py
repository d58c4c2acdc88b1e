"""A server with short time limits, and a session that the faults must not disturb."""

from collections.abc import Iterator

import httpx
import pytest

from owt.testing import PATIENCE, Bystander, LiveServer


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """Start the server of all fault tests that need no special one."""
    with LiveServer(
        "--kill-after", "0.5", "--resume-window", "0", "--drain", "1", "--max-sessions", "300"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """Open a client of the server of the fault tests."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def bystander(server: LiveServer) -> Iterator[Bystander]:
    """Call another session during the whole test; every answer must be right."""
    with Bystander(server) as other:
        yield other
    assert other.calls > 0
