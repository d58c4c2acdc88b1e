"""Fixtures that all tests share, and the two stages in which the tests run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from owt.testing import Gate, LiveServer, wait_until

SECOND_STAGE = ("live", "faults", "notebooks", "clients", "docs")
"""Folders with tests of running servers: end-to-end, fault and fuzz tests, documents and other clients."""


def pytest_configure() -> None:
    """Restore SIGINT: a background shell ignores it, and child processes would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def in_second_stage(path: Path) -> bool:
    """Return whether a test file's tests run after those of single modules."""
    return path.relative_to(Path(__file__).parent).parts[0] in SECOND_STAGE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the second stage after the first; otherwise the order stays."""
    items.sort(key=lambda item: in_second_stage(item.path))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Stop before the second stage when a test of the first has failed: it would fail for the same reason."""
    session = item.session
    if not in_second_stage(item.path) or session.config.stash.get(STARTED, False):
        return None
    if session.testsfailed:
        session.shouldfail = "the first stage failed, so the tests of running servers were not started"
        return True
    session.config.stash[STARTED] = True
    return None


STARTED = pytest.StashKey[bool]()
"""Whether the second stage has begun."""


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """Start a server that many tests share: each uses sessions of its own, or none."""
    options = ["--pool-max", "6", "--max-sessions", "300", "--resume-window", "500ms"]
    with LiveServer("-v", *options) as server:
        wait_until(lambda: server.ask("GET", "/_owt/health/ready").status_code == 200)
        yield server


@pytest.fixture(scope="session")
def patient() -> Iterator[LiveServer]:
    """Start a server whose event runs wait for a reader until a client cancels them."""
    with LiveServer("--resume-window", "1h", "--max-sessions", "300") as server:
        yield server


@pytest.fixture(scope="session")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """Open a client of the shared server."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def session(request: pytest.FixtureRequest, http: httpx.Client) -> Iterator[str]:
    """Return a session name that no other test uses, and delete the session afterwards."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**12}"
    yield name
    http.delete(f"/_owt/sessions/{name}")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate of this test, which adaptors wait at until the test opens it."""
    return Gate(tmp_path)
