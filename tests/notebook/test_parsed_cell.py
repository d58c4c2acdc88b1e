"""owt.notebook.parsed_cell: the Python of a cell."""

import ast

import pytest

from owt.notebook.parsed_cell import Magic, meaning, parse_cell


def source(text: str) -> str:
    cell = parse_cell(text)
    assert cell is not None
    assert cell.source.count("\n") == text.count("\n")
    return cell.source


def test_text_that_python_reads_has_no_magics():
    cell = parse_cell("x = 7 \\\n%3\ns = '''\n%time\n!ls\n'''")
    assert (cell.source, cell.magics) == ("x = 7 \\\n%3\ns = '''\n%time\n!ls\n'''", ())


@pytest.mark.parametrize("line", ["%matplotlib inline", "!ls 'a", "?len", "len?", "str.join??"])
def test_line_that_only_ipython_reads_becomes_a_comment(line):
    assert source(f"x = 1\n{line}\ny = 2") == f"x = 1\n# {line}\ny = 2"
    assert parse_cell(f"x = 1\n{line}").magics == (Magic(2, line),)


@pytest.mark.parametrize("text", ["!pip install a \\\n    b", "%env A=1 \\\n\\\n  2"])
def test_continued_line_is_one_magic(text):
    comments = [f"# {line}".rstrip() for line in text.split("\n")]
    assert source(f"x = 1\n{text}\n").split("\n") == ["x = 1", *comments, ""]
    assert parse_cell(text).magics == (Magic(1, text),)


def test_continued_assignment_is_one_magic():
    cell = parse_cell("files = !ls \\\n  -l\ny = 2")
    assert cell.magics == (Magic(1, "files = !ls \\\n  -l", assigns=True),)
    assert [type(node) for node in cell.tree.body] == [ast.Assign, ast.Assign]
    assert cell.tree.body[1].lineno == 3


@pytest.mark.parametrize(
    "text", ["    x = 1\n    if x:\n        y = 2", "  %who\n  x = 1", "\n  # One.\n  x = 1\ny = 2"]
)
def test_indentation_of_a_whole_cell_is_removed(text):
    assert source(text)


def test_magic_in_a_block_becomes_a_statement():
    assert source("if x:\n    !ls\nelse:\n    %who") == "if x:\n    pass  # !ls\nelse:\n    pass  # %who"


def test_magic_within_a_string_stays():
    assert source("%who\ntext = '''\n%who\n'''") == "# %who\ntext = '''\n%who\n'''"


@pytest.mark.parametrize("line", ["files = !ls", "a, b = %who_ls"])
def test_assignment_from_a_magic_binds_its_target(line):
    cell = parse_cell(line)
    assert cell.magics == (Magic(1, line, assigns=True),)
    assert isinstance(cell.tree.body[0], ast.Assign)


def test_statement_after_time_is_python():
    assert source("if x:\n    %time y = f(x)") == "if x:\n    y = f(x)"


def test_cell_magic_comments_the_whole_cell():
    cell = parse_cell("\n%%bash\nls 'x\n\nx = 1")
    assert (cell.source, cell.tree.body) == ("\n# %%bash\n# ls 'x\n#\n# x = 1", [])
    assert cell.magics == (Magic(2, "%%bash"),)


@pytest.mark.parametrize("name", ["time", "timeit", "capture out", "prun"])
def test_cell_of_a_python_cell_magic_is_python(name):
    assert source(f"%%{name}\nx = f()") == f"# %%{name}\nx = f()"


@pytest.mark.parametrize("text", ["def f(:\n  pass", "x = (", "!ls\nx = = 1", "\0", "(" * 100_000])
def test_text_that_nothing_reads_gives_none(text):
    assert parse_cell(text) is None


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("def f( a ):  # one\n    return a\n\n", "# two\ndef f(a): return a"),
        ("%%time\nmodel = load()  # slow", "%%time\nmodel  =  load()"),
        ("%matplotlib inline\nx = 1", "# About it.\n%matplotlib inline\n\nx = 1"),
        ("def f(:", "def f(:\n\n"),
    ],
)
def test_comments_and_layout_do_not_change_the_meaning(text, other):
    assert meaning(text) == meaning(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("x = 1", "x = 2"),
        ("!ls\nx = 1", "!ls -l\nx = 1"),
        ("!ls\nx = 1", "x = 1\n!ls"),
        ("if x:\n    !ls\nelse:\n    pass", "if x:\n    pass\nelse:\n    !ls"),
        ("x = !ls", "x = !ls -l"),
        ("def x():\n    y = !ls\n    return y", "def x():\n    y = !ls -l\n    return y"),
        ("%%bash\nls", "%%bash\nls -l"),
        ("%%time\nx = 1", "%%capture\nx = 1"),
        ("def f(:", "def g(:"),
        ("return 1", "return 2"),
    ],
)
def test_other_code_has_another_meaning(text, other):
    assert meaning(text) != meaning(other)
