import ast

import pytest

from owt.notebook.magics import Magic, plain


def source(text: str) -> str:
    found = plain(text)
    assert found is not None
    assert found.source.count("\n") == text.count("\n")
    return found.source


def test_what_python_can_read_is_python():
    found = plain("x = 7 \\\n%3\ns = '''\n%time\n!ls\n'''")
    assert (found.source, found.magics) == ("x = 7 \\\n%3\ns = '''\n%time\n!ls\n'''", ())


@pytest.mark.parametrize("line", ["%matplotlib inline", "!ls 'a", "?len", "len?", "str.join??"])
def test_a_line_that_only_ipython_reads_becomes_a_comment(line):
    assert source(f"x = 1\n{line}\ny = 2") == f"x = 1\n# {line}\ny = 2"
    assert plain(f"x = 1\n{line}").magics == (Magic(2, line),)


@pytest.mark.parametrize("text", ["!pip install a \\\n    b", "%env A=1 \\\n\\\n  2"])
def test_a_line_that_goes_on_is_one(text):
    comments = [f"# {line}".rstrip() for line in text.split("\n")]
    assert source(f"x = 1\n{text}\n").split("\n") == ["x = 1", *comments, ""]
    assert plain(text).magics == (Magic(1, text),)


def test_an_assignment_may_go_on_as_well():
    found = plain("files = !ls \\\n  -l\ny = 2")
    assert found.magics == (Magic(1, "files = !ls \\\n  -l", assigns=True),)
    assert [type(each) for each in found.tree.body] == [ast.Assign, ast.Assign]
    assert found.tree.body[1].lineno == 3


@pytest.mark.parametrize(
    "text", ["    x = 1\n    if x:\n        y = 2", "  %who\n  x = 1", "\n  # One.\n  x = 1\ny = 2"]
)
def test_a_cell_that_is_indented_as_a_whole_is_read_as_if_it_were_not(text):
    assert source(text)


def test_in_a_block_a_statement_takes_its_place():
    assert source("if x:\n    !ls\nelse:\n    %who") == "if x:\n    pass  # !ls\nelse:\n    pass  # %who"


def test_what_looks_like_a_magic_in_a_string_stays():
    assert source("%who\ntext = '''\n%who\n'''") == "# %who\ntext = '''\n%who\n'''"


@pytest.mark.parametrize("line", ["files = !ls", "a, b = %who_ls"])
def test_an_assignment_from_a_magic_still_binds(line):
    found = plain(line)
    assert found.magics == (Magic(1, line, assigns=True),)
    assert isinstance(found.tree.body[0], ast.Assign)


def test_what_time_takes_the_time_of_is_python():
    assert source("if x:\n    %time y = f(x)") == "if x:\n    y = f(x)"


def test_a_cell_magic_takes_the_whole_cell():
    found = plain("\n%%bash\nls 'x\n\nx = 1")
    assert (found.source, found.tree.body) == ("\n# %%bash\n# ls 'x\n#\n# x = 1", [])
    assert found.magics == (Magic(2, "%%bash"),)


@pytest.mark.parametrize("name", ["time", "timeit", "capture out", "prun"])
def test_the_cell_of_some_magics_is_python(name):
    assert source(f"%%{name}\nx = f()") == f"# %%{name}\nx = f()"


@pytest.mark.parametrize("text", ["def f(:\n  pass", "x = (", "!ls\nx = = 1", "\0", "(" * 100_000])
def test_what_is_neither_cannot_be_read(text):
    assert plain(text) is None
