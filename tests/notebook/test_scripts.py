import pytest

from owt.notebook.scripts import pieces

MARKED = '''\
# ---
# jupyter: ...
# ---

# %%
import a

# %% [markdown]
# Some text

#%% A title tags=["skip-execution", 'x']
b = 1
'''


def test_a_mark_begins_a_cell():
    assert [(piece.line, piece.text) for piece in pieces(MARKED)] == [(6, "import a"), (12, "b = 1")]


def test_tags_stand_in_the_mark():
    assert [piece.tags for piece in pieces(MARKED)] == [set(), {"skip-execution", "x"}]


@pytest.mark.parametrize("kind", ["[markdown]", "[md]", "[raw]", "Title [markdown]"])
def test_text_is_no_code(kind):
    assert pieces(f'# %% {kind}\n"""text"""\n# %%\nx = 1\n')[0].text == "x = 1"


def test_what_stands_before_the_first_mark_is_a_cell_too():
    assert [piece.text for piece in pieces("x = 1\n# %%\ny = 2\n")] == ["x = 1", "y = 2"]


def test_no_mark_is_in_a_string():
    assert [piece.line for piece in pieces('x = """\n# %%\n"""\n# %%\ny = 2')] == [1, 5]


def test_a_commented_cell_magic_is_no_mark():
    assert [piece.text for piece in pieces("# %%\n# %%time\nx = 1")] == ["# %%time\nx = 1"]


def test_magics_do_not_hide_the_marks():
    assert [piece.text for piece in pieces("# %%\n!ls 'a\n# %%\nx = 1")] == ["!ls 'a", "x = 1"]


def test_without_marks_each_statement_is_a_cell():
    text = "import a\n\n# About f.\n@b\n@c\ndef f():\n    pass\nx = 1; y = 2\n"
    assert [(piece.line, piece.text) for piece in pieces(text)] == [
        (1, "import a"),
        (4, "@b\n@c\ndef f():\n    pass"),
        (8, "x = 1; y = 2"),
    ]


def test_a_file_that_is_not_python_is_one_cell():
    assert [piece.text for piece in pieces("x = 1\n!ls\n")] == ["x = 1\n!ls\n"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "# %%\n# %%\n"])
def test_a_file_without_code_has_no_cells(text):
    assert pieces(text) == []


def test_so_has_what_cannot_be_read():
    assert pieces("# %%\nx = 1\n# %%\ndef f(:\n")[1].code == "\n\n\ndef f(:"


@pytest.mark.parametrize("mark", ["", "# %%\n"])
def test_what_runs_has_the_line_numbers_of_the_file(mark):
    text = f"{mark}import a\n\n{mark}def f():\n    1 / 0\n"
    for piece in pieces(text):
        lines = piece.code.split("\n")
        assert lines[piece.line - 1 :] == piece.text.split("\n")
        assert lines[: piece.line - 1] == [""] * (piece.line - 1)


def test_but_a_cell_magic_stays_in_its_first_line():
    assert pieces("# %%\nx = 1\n# %%\n%%bash\nls\n")[1].code == "%%bash\nls"


@pytest.mark.parametrize("mark", ["", "# %%\n"])
def test_what_comes_from_the_future_counts_for_the_whole_file(mark):
    text = f'{mark}"""About."""\nfrom __future__ import annotations\n{mark}def f(x: Later): pass\n'
    last = pieces(text)[-1].code
    assert last.split("\n")[0] == "from __future__ import annotations"
    exec(compile(last, "f", "exec", dont_inherit=True), {})
