"""Examples with libraries of tables: the commands on their pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import EXAMPLES, check_example

from owt.testing import LiveServer


@pytest.fixture(scope="module")
def own_server() -> Iterator[LiveServer]:
    """Start a server whose sessions and paths are those of the pages."""
    with LiveServer("-v") as server:
        yield server


@pytest.mark.parametrize("example", [name for name, folder in EXAMPLES.items() if folder == "libraries"])
def test_commands_print_what_the_page_shows(example: str, own_server: LiveServer, tmp_path: Path) -> None:
    check_example(example, tmp_path, own_server)
