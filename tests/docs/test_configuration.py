"""The configuration of other programs that the pages show fits the command line."""

from __future__ import annotations

import configparser
import json
import re
import shlex

import click
import pytest
import yaml
from pages import DOCS, blocks

from owt.cli.main import cli
from owt.cli.serve import serve


def block(page: str, language: str) -> str:
    [text] = [block.text for block in blocks(DOCS / page) if block.language == language]
    return text


def parsed(arguments: list[str]) -> dict[str, object]:
    """Return the options of `owt serve ...`, which must all exist."""
    assert arguments[0] == "serve"
    return serve.make_context("serve", arguments[1:], click.Context(cli)).params


def test_the_systemd_unit_starts_the_server() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("how-to/install.md", "ini"))
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/bin/owt")
    options = parsed(arguments)
    assert options["log_format"] == "json"
    assert options["runtime_dir"] == f"/run/{unit['Service']['RuntimeDirectory']}"


def test_the_container_listens_on_the_exposed_port() -> None:
    text = block("how-to/install.md", "docker")
    [command] = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    program, *arguments = json.loads(command)
    assert program == "owt"
    assert parsed(arguments)["address"] == "0.0.0.0"
    assert "EXPOSE 9876" in text


@pytest.mark.parametrize("path", ["/_owt/metrics"])
def test_prometheus_reads_the_metrics(path: str) -> None:
    [job] = yaml.safe_load(block("how-to/metrics.md", "yaml"))["scrape_configs"]
    assert job["metrics_path"] == path
    assert job["static_configs"] == [{"targets": ["localhost:9876"]}]
