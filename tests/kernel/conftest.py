"""Fixtures for the kernel's modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from sourced import Sourced


@pytest.fixture
def kernel() -> Iterator[Sourced]:
    """An empty session's sources; the modules that a test loads are gone after it."""
    before = set(sys.modules)
    yield Sourced()
    for name in set(sys.modules) - before:
        if name.startswith("owt_adaptor_"):
            del sys.modules[name]
