"""`owt status`, `owt stop` and `owt restart` find the server of a place, whatever says where it is."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from owt.cli.main import main as owt
from owt.testing import LiveServer, wait_until

OPTIONS = ("--pool-min", "0", "--no-fork")
TOKEN = "0123456789abcdef0123"

Status = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base:
        yield Path(base)


@pytest.fixture(scope="module")
def kept(folder: Path) -> Iterator[LiveServer]:
    """A server with --keep in a directory that its address does not name."""
    with LiveServer("--keep", "10m", "--runtime-dir", str(folder / "k"), *OPTIONS) as server:
        server.call("1", session="tour").raise_for_status()
        yield server


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[LiveServer]:
    """A server without --keep, which wants a token."""
    with LiveServer("--runtime-dir", str(folder), "--token", TOKEN, *OPTIONS) as server:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        server.ask("PUT", "/_owt/sessions/tour", headers=bearer).raise_for_status()
        yield server


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Status:
    def ask(*options: str) -> dict[str, Any]:
        assert owt(["status", "--json", *options]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return ask


def test_a_server_without_keep_shows_its_sessions_to_its_users(plain: LiveServer, status: Status) -> None:
    port = ("--port", str(plain.port))
    document = status(*port, "--token", TOKEN)
    assert (document["server"], document["url"], document["kept_for"]) == (plain.pid, plain.url, 0)
    assert (document["sessions"], document["problem"]) == (["tour"], None)
    assert document["started"] <= time.time()
    document = status(*port)
    assert document["sessions"] is None
    assert "--token (OWT_CLIENT_TOKEN)" in document["problem"]


def test_a_server_without_keep_says_that_nothing_is_kept(
    plain: LiveServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its runtime directory is one in the given directory.
    assert owt(["status", "--port", str(plain.port), "--runtime-dir", str(folder)]) == 0
    assert "not kept (no --keep)\n" in capsys.readouterr().out


def test_the_port_finds_a_server_in_any_directory(
    kept: LiveServer, folder: Path, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    port, place = ("--port", str(kept.port)), ("--runtime-dir", str(folder / "k"))
    document = status(*port)
    assert document == status(*place) == status(*port, *place)
    assert (document["server"], document["runtime_dir"]) == (kept.pid, str(folder / "k"))
    assert (document["kept_for"], document["sessions"]) == (600, ["tour"])
    assert owt(["restart", "--port", str(kept.port)]) == 0
    assert capsys.readouterr().out.startswith(f"restarted the server (process {kept.pid})")
    assert status("--port", str(kept.port))["restarts"] == document["restarts"] + 1


@pytest.mark.parametrize("command", ["status", "stop", "restart"])
@pytest.mark.parametrize(
    ("option", "value"), [("port", "1"), ("address", "127.0.0.9"), ("unix-socket", "/nowhere")]
)
def test_another_address_than_that_of_the_server_in_the_directory_is_refused(
    command: str, option: str, value: str, kept: LiveServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owt([command, f"--{option}", value, "--runtime-dir", str(folder / "k")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"owt: --{option} (OWT_{option.upper().replace('-', '_')}): the server in {folder}/k"
    )
    assert kept.url in error
    assert psutil.pid_exists(kept.pid)


def test_the_given_directory_is_named_if_there_is_no_server(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert owt(["status", "--runtime-dir", str(folder / "none")]) == 3
    error = capsys.readouterr().err
    assert f"serves from {folder}/none, and none has left sessions" in error
    assert "9876" not in error


def test_a_file_as_runtime_directory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert owt(["status", "--runtime-dir", __file__]) == 2
    assert capsys.readouterr().err == f"owt: --runtime-dir: {__file__} is a file; give a directory\n"


def test_lost_sessions_are_named_until_and_by_the_next_server(
    folder: Path, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--runtime-dir", str(folder / "l"))
    with LiveServer("--keep", "10m", *place, *OPTIONS) as server:
        server.call("1", session="a").raise_for_status()
        server.call("1", session="b").raise_for_status()
        server.send_signal(signal.SIGKILL)
        server.wait()
        waiting = status("--port", str(server.port))
        assert 0 < waiting["kept_for"] <= 600
        assert waiting["sessions"] == ["a", "b"]
        psutil.Process(waiting["kept_by"]).kill()
        wait_until(lambda: owt(["status", *place]) == 3)
        reason = "the kernel of each ended with the server and the process that kept it"
        assert f"have lost their state (a, b): {reason}" in capsys.readouterr().err
        server.start()
        assert f"have lost their state, as {reason}: a, b\n" in server.log()
