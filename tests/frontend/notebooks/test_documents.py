import os
from pathlib import Path

import pytest
from notebook_files import save

from owt.errors import ConfigError
from owt.frontend.notebooks.documents import name_of, read_all


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
def test_a_session_is_named_after_the_file(file, name):
    assert name_of(Path(file)) == name


@pytest.mark.parametrize("file", ["żó.ipynb", "...py"])
def test_a_file_after_which_none_can_be_named_is_refused(file):
    with pytest.raises(ConfigError, match=r"--notebook .*rename it"):
        name_of(Path(file))


def test_files_are_read_in_order(tmp_path):
    save(tmp_path / "b.ipynb", "x = 1", "# GET /x\nprint(x)")
    save(tmp_path / "a.py", "y = 2")
    first, second = read_all([tmp_path / "b.ipynb", tmp_path / "a.py"])
    assert (first.name, second.name) == ("b", "a")
    assert [cell.text for cell in first.contents.cells] == ["x = 1"]
    assert [each.path for each in first.contents.marked] == ["/x"]


def test_two_files_cannot_have_one_session(tmp_path):
    save(tmp_path / "a.ipynb")
    save(tmp_path / "a.py")
    with pytest.raises(ConfigError, match=r"a\.ipynb and .*a\.py would both be session 'a'"):
        read_all([tmp_path / "a.ipynb", tmp_path / "a.py"])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^--notebook \(OWT_NOTEBOOK\): .*none\.ipynb: No such file"):
        read_all([tmp_path / "none.ipynb"])


def test_a_file_whose_name_is_no_text_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.py")
    save(path, "x = 1")
    with pytest.raises(ConfigError, match=r"caf\\udce9\.py': its name is not UTF-8; rename it"):
        read_all([path])
