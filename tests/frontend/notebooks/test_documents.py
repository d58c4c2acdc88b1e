"""owt.frontend.notebooks.documents: files of served notebooks, and changes of files."""

import os
from pathlib import Path

import pytest
from notebook_files import save

from owt.errors import ConfigError, NotebookError
from owt.frontend.notebooks.documents import Contents, WatchedFile, read_documents, session_for


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("speech.ipynb", "speech"),
        ("dir/my_file.v2.py", "my_file.v2"),
        ("My analysis (2).ipynb", "My-analysis-2"),
        ("é.a.py", ".a"),
        (f"{'x' * 100}.py", "x" * 64),
    ],
)
def test_session_is_named_after_the_file(file, name):
    assert session_for(Path(file)) == name


@pytest.mark.parametrize("file", ["żó.ipynb", "...py"])
def test_file_name_without_usable_characters_is_refused(file):
    with pytest.raises(ConfigError, match=r"--notebook .*rename it"):
        session_for(Path(file))


def test_documents_are_read_in_order(tmp_path):
    save(tmp_path / "b.ipynb", "x = 1", "# GET /x\nprint(x)")
    save(tmp_path / "a.py", "y = 2")
    first, second = read_documents([tmp_path / "b.ipynb", tmp_path / "a.py"])
    assert (first.name, second.name) == ("b", "a")
    assert [cell.text for cell in first.contents.cells] == ["x = 1"]
    assert [cell.path for cell in first.contents.endpoint_cells] == ["/x"]


def test_two_files_with_one_session_name_are_refused(tmp_path):
    save(tmp_path / "a.ipynb")
    save(tmp_path / "a.py")
    with pytest.raises(ConfigError, match=r"a\.ipynb and .*a\.py would both be session 'a'"):
        read_documents([tmp_path / "a.ipynb", tmp_path / "a.py"])


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^--notebook \(OWT_NOTEBOOK\): .*none\.ipynb: No such file"):
        read_documents([tmp_path / "none.ipynb"])


def test_file_name_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.py")
    save(path, "x = 1")
    with pytest.raises(ConfigError, match=r"caf\\udce9\.py': its name is not UTF-8; rename it"):
        read_documents([path])


def contents(tmp_path: Path, *cells: str) -> Contents:
    save(tmp_path / "n.ipynb", *cells)
    return Contents.of(tmp_path / "n.ipynb")


def test_contents_with_other_comments_and_layout_are_the_same(tmp_path):
    first = contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x)")
    assert first.same(contents(tmp_path, "# About x.\nx = f(1)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f(2)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x, x)"))


def test_script_may_have_endpoint_cells(tmp_path):
    path = tmp_path / "n.py"
    path.write_text("# %%\nimport json\n\n# %%\n# GET /x/:y\nprint(REQUEST)\n")
    script = Contents.of(path)
    assert [cell.text for cell in script.cells] == ["import json"]
    assert [(cell.label, cell.path) for cell in script.endpoint_cells] == [("line 5", "/x/{y}")]


def test_messages_begin_with_the_path(tmp_path):
    with pytest.raises(NotebookError, match=rf"^{tmp_path}/n\.ipynb: cell 1: '/a:b'"):
        contents(tmp_path, "# GET /a:b\n1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "n.py"
    path.write_text("1")
    return path


def checks(file: WatchedFile, number: int = 2) -> list[bool]:
    return [file.changed() for _ in range(number)]


def test_unchanged_file_has_not_changed(path):
    assert checks(WatchedFile(path)) == [False, False]


def test_file_has_changed_once_two_checks_see_it_alike(path):
    file = WatchedFile(path)
    path.write_text("12")
    assert checks(file, 3) == [False, True, False]


def test_growing_file_has_not_changed_yet(path):
    file = WatchedFile(path)
    results = []
    for size in range(2, 5):
        path.write_text("x" * size)
        results.append(file.changed())
    assert results == [False] * 3
    assert file.changed()


def test_replaced_file_with_equal_times_and_size_has_changed(path, tmp_path):
    file = WatchedFile(path)
    (tmp_path / "new").write_text("2")
    before = os.stat(path)
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "new", path)
    assert checks(file) == [False, True]


def test_changed_permissions_count_as_a_change(path):
    # The file may not have been readable before.
    file = WatchedFile(path)
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        # The clock of a file system has few ticks.
        path.chmod(0o600)
    assert checks(file) == [False, True]


def test_missing_file_has_not_changed_until_it_is_back(path):
    file = WatchedFile(path)
    path.unlink()
    assert checks(file) == [False, False]
    path.write_text("12")
    assert checks(file) == [False, True]
