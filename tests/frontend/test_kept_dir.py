"""owt.frontend.kept_dir: the runtime directory that the next server finds."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from owt.errors import ConfigError
from owt.frontend.config.settings import Settings
from owt.frontend.kept_dir import KeptDirectory, frontend_of, kept_path, read_history
from owt.frontend.kernels.template import REAPER

REAPER_COMMAND = (sys.executable, "-I", REAPER)


@pytest.fixture
def folder() -> Iterator[Path]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base:
        yield Path(base, "kept")


def close(directory: KeptDirectory) -> None:
    """End all that holds the directory, as the end of its processes does."""
    os.close(directory.lock)
    os.close(directory._frontend_lock)


@pytest.fixture
def directory(folder: Path) -> Iterator[KeptDirectory]:
    directory = KeptDirectory(folder, REAPER_COMMAND)
    yield directory
    close(directory)


def test_the_directory_is_made_for_its_owner_only(directory: KeptDirectory, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert frontend_of(folder) == os.getpid()
    assert (folder / "server-id").read_text() == directory.server_id


@pytest.mark.usefixtures("directory")
def test_a_second_frontend_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"another server \(process {os.getpid()}\) serves from"):
        KeptDirectory(folder, REAPER_COMMAND)


def test_the_directory_of_another_user_is_refused_and_not_believed(
    directory: KeptDirectory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.begin_history("http://localhost:1", 60.0)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert frontend_of(folder) is None
    assert read_history(folder) is None
    with pytest.raises(ConfigError, match=rf"belongs to another user \(uid {os.getuid()}\)"):
        KeptDirectory(folder, REAPER_COMMAND)


def test_a_directory_with_other_files_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"a directory of its own: .* has other files, such as thesis\.tex"):
        KeptDirectory(folder, REAPER_COMMAND)
    assert os.listdir(folder) == ["thesis.tex"]


def test_a_path_that_is_too_long_for_sockets_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="too long for Unix sockets"):
        KeptDirectory(folder / ("a" * 64), REAPER_COMMAND)


def test_records_of_a_server_without_processes_go_to_the_next_one(folder: Path) -> None:
    first = KeptDirectory(folder, REAPER_COMMAND)
    (folder / "sessions" / "a.json").write_text("{}")
    (folder / "kernel-1.json").write_text("{}")
    close(first)
    assert frontend_of(folder) is None
    second = KeptDirectory(folder, REAPER_COMMAND)
    assert second.host is None
    assert second.server_id != first.server_id
    assert os.listdir(folder / "sessions") == ["a.json"]
    assert not (folder / "kernel-1.json").exists()
    close(second)


def test_a_server_that_cannot_start_leaves_no_directory(folder: Path) -> None:
    directory = KeptDirectory(folder, REAPER_COMMAND)
    directory.discard()
    assert not folder.exists()
    close(directory)


def test_a_server_that_cannot_start_leaves_the_records_of_an_earlier_one(folder: Path) -> None:
    first = KeptDirectory(folder, REAPER_COMMAND)
    (folder / "sessions" / "a.json").write_text("a record")
    close(first)
    second = KeptDirectory(folder, REAPER_COMMAND)
    reason = second.ending
    # Such as because its port is in use.
    second.discard()
    third = KeptDirectory(folder, REAPER_COMMAND)
    assert (folder / "sessions" / "a.json").read_text() == "a record"
    assert third.ending == reason
    close(third)


def test_a_full_disk_leaves_no_new_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for owner, name in ((os, "pwrite"), (Path, "write_text")):
        with monkeypatch.context() as full:
            full.setattr(owner, name, write)
            with pytest.raises(ConfigError, match="No space left on device; make room"):
                KeptDirectory(folder, REAPER_COMMAND)
        assert not folder.exists()


def test_the_history_begins_with_the_first_frontend(directory: KeptDirectory, folder: Path) -> None:
    assert read_history(folder) is None
    history = directory.begin_history("http://localhost:1", 60.0)
    assert read_history(folder) == history
    assert (history.restarts, history.kept_seconds, history.keep) == (0, 0.0, 60.0)


def test_a_directory_that_was_removed_is_made_and_locked_again(
    directory: KeptDirectory, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not directory.restore()
    for path in (folder / "sessions", folder):
        for file in path.glob("*.*"):
            file.unlink()
    (folder / "server-id").unlink()
    (folder / "sessions").rmdir()
    folder.rmdir()
    assert directory.restore()
    assert frontend_of(folder) == os.getpid()
    assert "sessions will not outlive this server any more" in caplog.text


def test_the_place_is_the_same_for_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    paths = {
        kept_path(Settings(keep=1.0, **options))
        for options in ({}, {"port": 1}, {"address": "::1"}, {"unix_socket": "/a"}, {"unix_socket": "/b"})
    }
    assert len(paths) == 5
    assert kept_path(Settings(keep=1.0)) == Path(f"/run/user/1/owt-{os.getuid()}-127.0.0.1-9876")
    assert kept_path(Settings(keep=1.0, runtime_dir=Path("/run/owt"))) == Path("/run/owt")
