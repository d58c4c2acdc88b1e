"""Steps that read and write files."""

from __future__ import annotations

import io
import os
from io import BytesIO
from pathlib import Path

import pytest

from owt.summat import PathRefused, WrongValue, pipe


@pytest.fixture
def root(tmp_path):
    """Directory with a file, a folder, links inside and links to the outside; beside it a secret."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"inside")
    (root / "folder" / "b.txt").write_bytes(b"deeper")
    (root / "stays").symlink_to(root / "folder" / "b.txt")
    (root / "stays-too").symlink_to("folder")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "secret").write_bytes(b"secret")
    (root / "leaves").symlink_to(tmp_path / "secret")
    (root / "leaves-too").symlink_to("..")
    return root


def test_open_gives_the_file_as_bytesio(root):
    file = pipe().open()(root / "a.txt")
    assert isinstance(file, BytesIO)
    assert file.read() == b"inside"
    assert pipe().open()(str(root / "a.txt")).read() == b"inside"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.txt", b"inside"),
        ("./a.txt", b"inside"),
        ("folder/b.txt", b"deeper"),
        ("folder/../a.txt", b"inside"),
        ("stays", b"deeper"),
        ("stays-too/b.txt", b"deeper"),
        (Path("a.txt"), b"inside"),
    ],
)
def test_path_that_stays_inside_is_file(root, path, content):
    assert pipe().open(root)(path).read() == content
    assert pipe().open(str(root))(path).read() == content


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "folder/../../secret",
        "../root-sibling/secret",
        "leaves",
        "leaves-too/secret",
        "leaves-too/root/../secret",
        "..",
    ],
)
def test_path_that_leaves_is_refused(root, path):
    with pytest.raises(PathRefused, match="leads out of"):
        pipe().open(root)(path)


def test_absolute_path_is_refused_even_one_that_is_inside(root):
    for path in ("/etc/passwd", str(root / "a.txt")):
        with pytest.raises(PathRefused, match="is absolute; give it relative to"):
            pipe().open(root)(path)


def test_refusal_is_a_permission_error_and_shows_the_step(root):
    with pytest.raises(PermissionError) as caught:
        pipe().kwarg("path").open(root)(path="../secret")
    assert ">>>.open(root_dir=" in caught.value.__notes__[0]


def test_root_itself_may_be_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert pipe().open(tmp_path / "link")("a.txt").read() == b"inside"


def test_link_created_after_the_check_is_not_followed(root, tmp_path, monkeypatch):
    real = os.path.realpath

    def swapped(path, **options):
        resolved = real(path, **options)
        if resolved.endswith("a.txt"):
            os.unlink(root / "a.txt")
            (root / "a.txt").symlink_to(tmp_path / "secret")
        return resolved

    monkeypatch.setattr(os.path, "realpath", swapped)
    with pytest.raises(OSError, match="symbolic links"):
        pipe().open(root)("a.txt")


def test_named_pipe_is_refused_without_waiting(root):
    os.mkfifo(root / "fifo")
    with pytest.raises(PathRefused, match="not a regular file"):
        pipe().open(root)("fifo")


def test_directory_is_an_error(root):
    for path in ("folder", "", "."):
        with pytest.raises(IsADirectoryError):
            pipe().open(root)(path)


def test_missing_file_is_an_error(root):
    with pytest.raises(FileNotFoundError):
        pipe().open(root)("none")
    with pytest.raises(FileNotFoundError):
        pipe().open()(root / "none")


def test_no_descriptor_remains_open(root):
    before = sorted(os.listdir("/dev/fd"))
    for path in ("a.txt", "folder/b.txt", "folder", "none", "folder/none"):
        try:
            pipe().open(root)(path)
        except OSError:
            continue
    assert sorted(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("wrong", [3, None, ["a.txt"], b"a.txt"])
def test_value_that_is_no_path_is_refused(root, wrong):
    with pytest.raises(WrongValue, match="needs a path as str"):
        pipe().open()(wrong)
    with pytest.raises(WrongValue, match="needs a path as str"):
        pipe().open(root)(wrong)


@pytest.mark.parametrize(
    "held",
    [
        BytesIO("ä".encode()),
        "ä",
        "ä".encode(),
        bytearray("ä".encode()),
        memoryview("ä".encode()),
        io.StringIO("ä"),
    ],
    ids=lambda held: type(held).__name__,
)
def test_bytes_and_text_of_every_readable_kind(held):
    as_bytes, as_text = (
        pipe().fork(pipe().bytes(), pipe().text())(held)
        if not isinstance(held, io.StringIO)
        else (pipe().bytes()(io.StringIO("ä")), pipe().text()(held))
    )
    assert (as_bytes, as_text) == ("ä".encode(), "ä")


def test_bytesio_is_read_from_its_start():
    held = BytesIO(b"abc")
    held.read(2)
    assert pipe().bytes()(held) == b"abc"
    assert held.tell() == 2


def test_open_file_is_read(root):
    with open(root / "a.txt", "rb") as file:
        assert pipe().text()(file) == "inside"


def test_text_has_an_encoding():
    assert pipe().text("latin-1")(b"\xe4") == "ä"
    with pytest.raises(UnicodeDecodeError):
        pipe().text()(b"\xe4")


@pytest.mark.parametrize("wrong", [5, None, [1], {"a": 1}])
def test_value_without_bytes_is_refused(wrong):
    for step in (pipe().bytes(), pipe().text()):
        with pytest.raises(WrongValue, match=f"it got {type(wrong).__name__}"):
            step(wrong)
