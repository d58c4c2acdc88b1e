"""Headless Chromium for all tests of this folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service


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


@contextmanager
def started(*more: str) -> Iterator[webdriver.Chrome]:
    """Chromium by its own driver; nothing is downloaded. `more`: further options."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program, "these tests need Chromium: apt-get install chromium"
    assert driver, "these tests need Chromium's driver: apt-get install chromium-driver"
    options = Options()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--window-size=900,800",
        "--autoplay-policy=no-user-gesture-required",
        # Containers give little shared memory.
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        *more,
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=Service(executable_path=driver)) as browser:
        browser.set_script_timeout(60)
        yield browser
