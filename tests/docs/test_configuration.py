"""The configuration of other programs that the pages show fits the command line."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from pages import DOCS, blocks

from owt.cli.main import cli
from owt.cli.serve import serve
from owt.frontend.config.settings import settings


def block(page: str, language: str) -> str:
    [text] = [block.text for block in blocks(DOCS / page) if block.language == language]
    return text


def parsed(arguments: list[str]) -> dict[str, object]:
    """Return the options of `owt serve ...`, which must all exist."""
    assert arguments[0] == "serve"
    return serve.make_context("serve", arguments[1:], click.Context(cli)).params


UNITS = DOCS / "how-to" / "systemd"
SERVICES = ("owt.service", "user/owt.service")


def unit(name: str) -> configparser.ConfigParser:
    """Return the sections of a unit of systemd. Each option is set once."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((UNITS / name).read_text())
    return parser


@pytest.mark.parametrize("name", SERVICES)
def test_the_systemd_unit_starts_a_server_whose_sessions_outlive_a_crash(name: str) -> None:
    service = unit(name)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/owt")
    assert parsed(arguments)["keep"] == "1h"
    assert (service["Type"], service["KillMode"], service["OOMPolicy"]) == ("notify", "process", "continue")
    assert service["ExecReload"] == "kill -HUP $MAINPID"


def test_the_system_unit_has_a_runtime_directory_that_stays() -> None:
    service = unit("owt.service")["Service"]
    options = parsed(shlex.split(service["ExecStart"])[1:])
    assert options["log_format"] == "json"
    assert options["runtime_dir"] == f"/run/{service['RuntimeDirectory']}"
    assert service["RuntimeDirectoryPreserve"] == "yes"


def test_the_socket_of_systemd_is_at_the_default_address() -> None:
    default = {row.name: row.default_text for row in settings()}
    assert unit("owt.socket")["Socket"]["ListenStream"] == f"{default['address']}:{default['port']}"


def test_the_page_shows_the_units_themselves() -> None:
    page = (DOCS / "how-to" / "systemd.md").read_text()
    files = sorted(path.relative_to(UNITS.parent).as_posix() for path in UNITS.rglob("*.*"))
    assert sorted(re.findall(r"^```\{literalinclude\} (\S+)$", page, re.MULTILINE)) == files


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze of Debian's systemd is missing"
)
def test_systemd_knows_each_option_of_the_units(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    for name in (*SERVICES, "owt.socket"):
        text = (UNITS / name).read_text()
        # A program that is not installed is an error, too.
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(re.sub(r"(?<=^ExecStart=)\S+", shutil.which("true") or "", text, flags=re.MULTILINE))
    for units in ([folder / "owt.service", folder / "owt.socket"], [folder / "user" / "owt.service"]):
        command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        problems = [
            line for line in done.stderr.splitlines() if str(folder) in line or line.startswith("owt.")
        ]
        assert (problems, done.returncode) == ([], 0), done.stderr


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
