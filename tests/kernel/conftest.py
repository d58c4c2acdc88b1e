"""Fixtures for the kernel's modules."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from lanes import Listening
from sourced import Sourced


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
    """A door that lanes connect to."""
    # Its path must be short: pytest's folders with a test's name in them are not.
    with TemporaryDirectory(prefix="owt-") as folder, Listening(Path(folder)) as listening:
        yield listening


@pytest.fixture
def sigint() -> Iterator[None]:
    """The test may take over SIGINT."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)
