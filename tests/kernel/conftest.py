"""Fixtures for the kernel's modules."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from frontend_side import ConnectionMaker
from IPython.core.interactiveshell import InteractiveShell
from runner_bench import RunnerBench, new_shell
from session_sources import SessionSources

from owt.kernel import context


@pytest.fixture
def kernel() -> Iterator[SessionSources]:
    """Return the sources of an empty session; modules that a test loads are removed after it."""
    before = set(sys.modules)
    yield SessionSources()
    for name in set(sys.modules) - before:
        if name.startswith("owt_adaptor_"):
            del sys.modules[name]


@pytest.fixture
def connections() -> Iterator[ConnectionMaker]:
    """Return a factory of connections."""
    with ConnectionMaker() as maker:
        yield maker


@pytest.fixture
def sigint() -> Iterator[None]:
    """Restore the handler of SIGINT after the test."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def ipython() -> InteractiveShell:
    return new_shell()


@pytest.fixture
def shell(ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Return a shell with its initial namespace."""
    monkeypatch.setattr(context, "injected", {})
    fresh = dict(ipython.user_ns)
    yield ipython
    ipython.user_ns.clear()
    ipython.user_ns.update(fresh)


@pytest.fixture
def new_bench(
    connections: ConnectionMaker, shell: InteractiveShell, sigint: None
) -> Iterator[Callable[..., RunnerBench]]:
    """Return a factory of runners."""
    with ExitStack() as stack:

        def new(**options: int) -> RunnerBench:
            return stack.enter_context(closing(RunnerBench(connections, shell, **options)))

        yield new


@pytest.fixture
def bench(new_bench: Callable[..., RunnerBench]) -> RunnerBench:
    """Return a runner with the default options."""
    return new_bench()
