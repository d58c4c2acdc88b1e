"""owt.files: reading of files that a user names."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from owt import files
from owt.files import read_file


def test_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff1")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == b"\xff1"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
@pytest.mark.parametrize("pipe", [False, True])
def test_device_is_refused(tmp_path: Path, device: str, pipe: bool) -> None:
    (tmp_path / "link").symlink_to(device)
    with pytest.raises(OSError, match=r"^it is not a regular file$"):
        read_file(tmp_path / "link", pipe=pipe)


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)


def test_named_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"^it is not a regular file$"):
        read_file(tmp_path / "pipe")
    assert read_file(tmp_path / "pipe", pipe=True) == b""


def test_pipe_of_a_shell_is_read_until_its_end() -> None:
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", buffering=0) as file:
            file.write(b"a")
            file.write(b"b")

    thread = threading.Thread(target=write)
    thread.start()
    assert read_file(f"/dev/fd/{reader}", pipe=True) == b"ab"
    thread.join()
    os.close(reader)


def test_larger_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_SIZE", 2**20)
    (tmp_path / "file").write_bytes(b"x" * 2**20)
    assert len(read_file(tmp_path / "file")) == 2**20
    (tmp_path / "file").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(OSError, match=r"^it is larger than 1 MiB$"):
        read_file(tmp_path / "file")
