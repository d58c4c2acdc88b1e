"""Fixtures that all tests share, and the two stages in which the tests run."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from owt.testing import PATIENCE, Gate, LiveServer, wait_until

SECOND_STAGE = ("notebooks", "faults", "docs", "clients", "live")
"""Folders with tests of running servers: end-to-end, fault and fuzz tests, documents and other clients.

They run in this order: a process that begins a long file last would run alone at the end.
"""


def pytest_configure() -> None:
    """Restore SIGINT: a background shell ignores it, and child processes would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave the tests and what they import out of garbage collections, each of which would traverse them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """End that: Hypothesis, which its plugin imports for the summary, looks for references to its objects."""
    gc.unfreeze()


def folder_of(path: Path) -> str:
    """Return the name of the folder of tests that a file is in."""
    return path.relative_to(Path(__file__).parent).parts[0]


def stage_of(path: Path) -> str:
    """Return the stage of a test file."""
    return "second" if folder_of(path) in SECOND_STAGE else "first"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for a single stage, which tests/stages.py uses."""
    parser.addoption("--stage", choices=["first", "second"], help="run only the tests of this stage")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no test files of the other stage."""
    stage = config.getoption("--stage")
    is_other = collection_path.is_file() and stage not in (None, stage_of(collection_path))
    return True if is_other else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name compressed data by its argument: it has the time of its compression, which differs between the
    processes of a parallel run, whose tests must have the same names."""
    return argname if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the stage, or put the second stage after the first, in the order of its folders."""
    stages: dict[str, list[pytest.Item]] = {"first": [], "second": []}
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"the id of a test differs in each process; set `ids`: {item.nodeid}")
        stages[stage_of(item.path)].append(item)
    stages["second"].sort(key=lambda item: SECOND_STAGE.index(folder_of(item.path)))
    match config.getoption("--stage"):
        case None:
            items[:] = stages["first"] + stages["second"]
        case stage:
            items[:] = stages.pop(stage)
            [others] = stages.values()
            config.hook.pytest_deselected(items=others)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Stop before the second stage when a test of the first has failed: it would fail for the same reason."""
    session = item.session
    if stage_of(item.path) == "first" or session.config.stash.get(STARTED, False):
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
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def session(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[str]:
    """Return a session name that no other test uses, and delete the session afterwards."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**12}"
    yield name
    server.ask("DELETE", f"/_owt/sessions/{name}")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate of this test, which adaptors wait at until the test opens it."""
    return Gate(tmp_path)
