"""Headless Chromium for tests."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service


def as_url(script: Path) -> str:
    """Return a URL that is the script."""
    return f"data:text/javascript;base64,{base64.b64encode(script.read_bytes()).decode()}"


OWT = as_url(Path(__file__).parents[1] / "examples" / "clients" / "owt.js")


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


@contextmanager
def with_microphone(wav: Path) -> Iterator[webdriver.Chrome]:
    """Chromium whose microphone plays a file again and again."""
    with started(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}",
    ) as browser:
        yield browser
