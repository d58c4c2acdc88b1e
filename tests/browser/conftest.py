"""Headless Chromium for all tests of this folder."""

from collections.abc import Iterator

import pytest
from chromium import started
from selenium import webdriver


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """A Chromium that the tests share."""
    with started() as browser:
        yield browser


@pytest.fixture(scope="session")
def misled() -> Iterator[webdriver.Chrome]:
    """A Chromium for which every name that ends in .example is this machine."""
    with started("--host-resolver-rules=MAP *.example 127.0.0.1") as browser:
        yield browser
