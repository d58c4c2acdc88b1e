"""Fixtures for the kernel's modules."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from IPython.core.interactiveshell import InteractiveShell
from lanes import Listening
from running import Bench, new_shell
from sourced import Sourced

from owt.kernel import context


@pytest.fixture
def kernel() -> Iterator[Sourced]:
    """An empty session's sources; the modules that a test loads are gone after it."""
    before = set(sys.modules)
    yield Sourced()
    for name in set(sys.modules) - before:
        if name.startswith("owt_adaptor_"):
            del sys.modules[name]


@pytest.fixture
def door() -> Iterator[Listening]:
    """A maker of connections."""
    with Listening() as listening:
        yield listening


@pytest.fixture
def sigint() -> Iterator[None]:
    """The test may take over SIGINT."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def ipython() -> InteractiveShell:
    return new_shell()


@pytest.fixture
def shell(ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell whose namespace is as at its start."""
    monkeypatch.setattr(context, "_injected", {})
    fresh = dict(ipython.user_ns)
    yield ipython
    ipython.user_ns.clear()
    ipython.user_ns.update(fresh)


@pytest.fixture
def new_bench(door: Listening, shell: InteractiveShell, sigint: None) -> Iterator[Callable[..., Bench]]:
    """Makes a runner to try calls on."""
    with ExitStack() as stack:

        def new(**options: int) -> Bench:
            return stack.enter_context(closing(Bench(door, shell, **options)))

        yield new


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    """A runner as a session usually has it."""
    return new_bench()
