"""Tools of others that read /_owt/openapi.json: Schemathesis, and a generator of Python clients.

They are large, and what they find differs between releases: `make test-openapi` runs this file in an
environment of its own, with fixed releases of both. Everything is on the loopback interface.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from owt.testing import LiveServer

TOOLS = Path(sys.executable).parent
ENDPOINTS = Path(__file__).with_name("endpoints.py")
SECONDS = 45
"""Maximum time of Schemathesis' tests."""


ACCEPTS_MORE = """
[[operations]]
include-path = ["/flag", "/numbers", "/orders", "/price"]
checks.negative_data_rejection.enabled = false
"""
"""Schemathesis' settings: endpoints with fields of which owt accepts more than their schemas say. Fields of
forms are texts, so that 0 is false, and one field is a list of one item. A decimal may be a number in JSON,
while its schema, which is that of answers too, is the text that loses nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Start a server with the endpoints of endpoints.py."""
    with LiveServer("--max-runs", "100") as server:
        server.call(ENDPOINTS.read_text(), session="openapi").raise_for_status()
        yield server


def test_every_answer_conforms_to_its_description(server: LiveServer, tmp_path: Path) -> None:
    command = [TOOLS / "schemathesis", "run", f"{server.url}/_owt/openapi.json", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", "10"]
    command += ["--generation-deterministic", "--no-shrink", "--max-time", str(SECONDS)]
    command += ["--continue-on-failure", "--request-timeout", "10", "--warnings", "off"]
    (tmp_path / "schemathesis.toml").write_text(ACCEPTS_MORE)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * SECONDS + 30)
    assert result.returncode == 0, result.stdout
    assert "Tested: 26" in result.stdout


@pytest.fixture(scope="module")
def client(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Generate a client, and import it."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yml").write_text("post_hooks: []\n")
    with urllib.request.urlopen(f"{server.url}/_owt/openapi.json", timeout=10) as response:
        (folder / "openapi.json").write_bytes(response.read())
    command = [TOOLS / "openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none"]
    command += ["--output-path", "generated_client", "--config", "config.yml", "--fail-on-warning"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("generated_client")
    sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("number", {"a": 1}, 3),
        ("ratio", {"part": 1.0, "whole": 2.0}, 0.5),
        ("flag", {"value": True}, False),
        ("text", {"text": "owt", "times": 2}, "owtowt"),
        ("optional", {}, None),
        ("optional", {"value": 5}, 5),
        ("choice", {"name": "a"}, "a"),
    ],
)
def test_a_generated_client_decodes_answers(
    server: LiveServer, client: ModuleType, operation: str, arguments: dict[str, Any], expected: object
) -> None:
    module = importlib.import_module(f"generated_client.api.openapi.{operation}")
    with client.Client(base_url=server.url) as connected:
        response = module.sync_detailed(client=connected, **arguments)
    assert (response.status_code, response.parsed) == (200, expected)


def test_a_generated_client_decodes_problems(server: LiveServer, client: ModuleType) -> None:
    module = importlib.import_module("generated_client.api.openapi.number")
    with client.Client(base_url=server.url) as connected:
        response = module.sync_detailed(client=connected, a="x")
    assert (response.status_code, response.parsed.status) == (422, 422)
    assert response.parsed.type_ == "urn:owt:unprocessable"
