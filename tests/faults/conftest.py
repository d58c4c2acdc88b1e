"""A server that is soon out of patience, and a session beside those that something happens to."""

from collections.abc import Iterator

import pytest

from owt.testing import Bystander, LiveServer


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """The server of all tests that need no other."""
    with LiveServer(
        "--kill-after", "0.5", "--resume-window", "0", "--drain", "1", "--max-sessions", "300"
    ) as server:
        yield server


@pytest.fixture
def bystander(server: LiveServer) -> Iterator[Bystander]:
    """Calls to another session, which go on during the whole test; each must be right."""
    with Bystander(server) as other:
        yield other
    assert other.calls > 0
