"""owt.frontend.runtime_dir: the locked directory of a server, which heals."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from owt.errors import ConfigError
from owt.frontend.runtime_dir import MAX_LENGTH, RuntimeDirectory, problem_of


@pytest.fixture
def directory() -> Iterator[RuntimeDirectory]:
    # The path of `tmp_path` is too long for sockets.
    with TemporaryDirectory() as folder:
        directory = RuntimeDirectory(Path(folder), "0123")
        yield directory
        directory.unlock()
        directory.remove()
        assert not os.path.exists(directory.path)


def is_locked(path: str) -> bool:
    with_lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(with_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(with_lock)
    return False


def test_the_directory_is_locked_and_for_its_owner_only(directory: RuntimeDirectory) -> None:
    assert is_locked(directory.path)
    assert stat.S_IMODE(os.stat(directory.path).st_mode) == 0o700


def test_a_directory_that_is_there_is_not_made_again(directory: RuntimeDirectory) -> None:
    Path(directory.path, "kernel-1.json").write_text("{}")
    assert not directory.restore()
    assert set(os.listdir(directory.path)) == {"kernel-1.json", "server-id"}


def test_the_directory_of_a_server_that_is_gone_is_cleaned_up(directory: RuntimeDirectory) -> None:
    base = Path(directory.path).parent
    live, ended, gone, kept = (
        RuntimeDirectory(base, server_id) for server_id in ("live", "ended", "gone", "kept")
    )
    ended.unlock()
    # The next server with --keep goes on with its records.
    os.mkdir(Path(kept.path, "sessions"))
    for killed in (gone, kept):
        # The kernel of the system releases the lock of a process that was killed.
        os.close(killed._lock)
    # A user's own, and a link to one that is gone.
    os.mkdir(base / "owt-models")
    os.symlink(gone.path, base / "owt-link")
    report = base / "report"
    code = f"import sys; open({str(report)!r}, 'a').write(str(sys.argv[1:]))"
    directory.clean_up_after_others([sys.executable, "-c", code])
    assert report.read_text() == str(["gone", gone.path, "all"])
    live.unlock()


def test_a_directory_that_is_made_again_can_be_cleaned_up(directory: RuntimeDirectory) -> None:
    shutil.rmtree(directory.path)
    directory.restore()
    assert Path(directory.path, "server-id").read_text() == "0123"


def test_a_removed_directory_is_made_again_and_locked(
    directory: RuntimeDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(directory.path)
    assert directory.restore()
    assert is_locked(directory.path)
    assert stat.S_IMODE(os.stat(directory.path).st_mode) == 0o700
    assert "was removed, and is made again; choose one that no program cleans up" in caplog.text


def test_a_path_that_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--runtime-dir: its path is longer than"):
        RuntimeDirectory(tmp_path / ("x" * MAX_LENGTH), "0123")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (PermissionError(), rf"this user \(uid {os.geteuid()}\) cannot write to FOLDER; give another"),
        (FileNotFoundError(), "FOLDER/a/b does not exist; make it"),
        (NotADirectoryError(), "FOLDER is a file; give a directory"),
        (OSError(28, "full"), "FOLDER cannot be written to: full; make room"),
    ],
)
def test_a_problem_with_a_directory_says_what_to_do(error: OSError, problem: str, tmp_path: Path) -> None:
    assert re.match(problem.replace("FOLDER", str(tmp_path)), problem_of(error, tmp_path / "a" / "b"))
