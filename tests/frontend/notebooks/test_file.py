import os
from pathlib import Path

import pytest

from owt.frontend.notebooks.file import File


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "n.py"
    path.write_text("1")
    return path


def test_a_file_as_it_was_at_first_has_not_changed(path):
    file = File(path)
    assert [file.changed(), file.changed()] == [False, False]


def test_it_has_changed_once_it_is_the_same_at_two_looks(path):
    file = File(path)
    path.write_text("12")
    assert [file.changed() for _ in range(3)] == [False, True, False]


def test_one_that_grows_is_not_whole_yet(path):
    file = File(path)
    looks = []
    for size in range(2, 5):
        path.write_text("x" * size)
        looks.append(file.changed())
    assert looks == [False] * 3
    assert file.changed()


def test_another_file_in_its_place_is_a_change(path, tmp_path):
    file = File(path)
    (tmp_path / "new").write_text("2")
    before = os.stat(path)
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "new", path)
    assert [file.changed(), file.changed()] == [False, True]


def test_so_are_other_permissions_as_it_may_not_have_been_readable(path):
    file = File(path)
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        # The clock of a file system has few ticks.
        path.chmod(0o600)
    assert [file.changed(), file.changed()] == [False, True]


def test_while_there_is_none_nothing_has_changed(path):
    file = File(path)
    path.unlink()
    assert [file.changed(), file.changed()] == [False, False]
    path.write_text("12")
    assert [file.changed(), file.changed()] == [False, True]
