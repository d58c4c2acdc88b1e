"""owt.notebook.export: a notebook as an adaptor file."""

import json

import pytest

from owt.errors import NotebookError
from owt.notebook.export import export

SPEECH = [
    "from __future__ import annotations\nimport json\nfrom owt import endpoint, pipe",
    "%matplotlib inline\nimport math",
    "unused = 1",
    "def shout(text: str) -> str:\n    return json.dumps(text.upper())",
    '@endpoint(\n    "/speak",\n    methods=["GET"],\n)\ndef speak(text="hi"):\n    return shout(text)',
    '@endpoint("/add/{a}")\ndef add(a: int, b: int = 1):\n    return math.floor(a + b)',
]


@pytest.fixture
def exported(tmp_path):
    def exported(cells, endpoint=None):
        path = tmp_path / "speech.ipynb"
        code = [{"cell_type": "code", "source": text} for text in cells]
        path.write_text(json.dumps({"nbformat": 4, "cells": code}))
        return export(path, endpoint)

    return exported


def loaded(text: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(text, "exported", "exec", dont_inherit=True), names)
    return names


def test_endpoint_is_exported_with_the_cells_that_it_needs(exported):
    text = exported(SPEECH, "/speak")
    assert text == (
        "# Exported by owt from speech.ipynb.\n\n"
        "from __future__ import annotations\n\n"
        "import json\nfrom owt import pipe\n\n"
        f"{SPEECH[3]}\n\n"
        'def speak(text="hi"):\n    return shout(text)\n\n'
        "run = speak\n"
    )
    assert loaded(text)["run"]("owt") == '"OWT"'


def test_magics_become_comments(exported):
    text = exported(SPEECH, "/add/{a}")
    assert "# %matplotlib inline\nimport math\n" in text
    assert loaded(text)["run"](1.5) == 2


def test_cell_that_changes_an_item_of_a_needed_object_is_needed(exported):
    cells = ["d = {}", "d['x'] = 1", "e = 2", '@endpoint("/d")\ndef f(): return d']
    text = exported(cells, "/d")
    assert "d['x'] = 1" in text
    assert "e = 2" not in text


def test_cell_that_calls_a_method_of_a_needed_object_is_needed(exported):
    cells = ["words, more = [], []", "for word in 'ab':\n    words.append(word)"]
    others = ["more.append(1)", "print(words.pop)", "f()"]
    text = exported([*cells, *others, '@endpoint("/d")\ndef f(): return words'], "/d")
    assert text.split("\n\n")[1:-2] == cells[:2]
    assert loaded(text)["run"]() == ["a", "b"]


@pytest.mark.parametrize(
    "use",
    [
        "eval('lim' + 'it')",
        "vars()['limit']",
        "globals()['limit']",
        "locals().get('limit', limits.__globals__)",
        "state.limit",
        "__main__.limit",
        "__import__('__main__').limit",
        "sys.modules['__main__'].limit",
        "get_ipython().user_ns['limit']",
        "shell.user_ns['limit']",
        "'{limit}'.format(**globals())",
        "frame.query('x <= @limit')",
        "frame.query(condition)",
        "pd.eval('limit + 1')",
        "duckdb.sql('select * from limit')",
        "getattr(state, 'limit')",
        "[exec(line) for line in lines]",
        "dir()",
    ],
)
def test_cell_whose_names_are_used_invisibly_is_needed(exported, use):
    function = f'@endpoint("/x")\ndef f(condition=None, frame=None):\n    return {use}'
    assert "limit = 2" in exported(["limit = 2", function], "/x")


@pytest.mark.parametrize("cell", ["exec('limit = 3')", "state.limit = 3", "globals()['limit'] = 3"])
def test_cell_that_changes_names_invisibly_is_needed(exported, cell):
    assert cell in exported(["limit = 2", cell, '@endpoint("/x")\ndef f(): return limit'], "/x")


def test_name_in_a_docstring_is_no_use(exported):
    function = '@endpoint("/x")\ndef f():\n    """Return less than the limit."""\n    return 1'
    assert "limit = 2" not in exported(["limit = 2", function], "/x")


def test_call_of_a_model_is_no_invisible_use(exported):
    function = '@endpoint("/x")\ndef f(): return model'
    text = exported(["limit = 2", "model = m()", "model.eval()", function], "/x")
    assert ("model.eval()" in text, "limit" in text) == (True, False)


@pytest.mark.parametrize(
    ("use", "other"),
    [
        ("[a(i) for i in b if c]", "i = 1"),
        ("(lambda unused: unused)(1)", "unused = 1"),
        ("{k: v for k, v in b}", "k = 1"),
    ],
)
def test_cell_that_binds_a_local_name_of_the_endpoint_is_not_needed(exported, use, other):
    text = exported([other, "b = 1", f'@endpoint("/x")\ndef f(): return {use}'], "/x")
    assert other not in text


@pytest.mark.parametrize(
    ("cell", "use"),
    [
        ("import a.b as x", "x"),
        ("for x in range(3): pass", "x"),
        ("with open('x') as x: pass", "x"),
        ("class x: pass", "[y for y in x]"),
        ("def set_x():\n    global x\n    x = 1", "x"),
        ("x.y[0] = 1", "x"),
        ("del x.y", "lambda: x"),
        ("if (x := 1): pass", "x"),
    ],
)
def test_cell_that_binds_or_changes_a_used_name_is_needed(exported, cell, use):
    assert cell in exported([cell, f'@endpoint("/e")\ndef f(): return {use}'], "/e")


def test_star_imports_are_always_needed(exported):
    cells = ["from math import *", "x = 1", '@endpoint("/a")\ndef a(): return floor(x + 0.5)']
    assert loaded(exported(cells, "/a"))["run"]() == 1


@pytest.mark.parametrize(
    "cell",
    [
        "from owt import endpoint; x = 1",
        "x = 1; from owt import endpoint",
        "from owt import endpoint, pipe; x = 1",
    ],
)
def test_statement_beside_a_removed_import_stays(exported, cell):
    assert loaded(exported([cell, '@endpoint("/x")\ndef f(): return x']))["run"]() == 1


def test_future_import_beside_a_statement_moves_to_the_start(exported):
    cells = ["from __future__ import annotations; x = 1", '@endpoint("/x")\ndef f(y: None): return x']
    text = exported(cells)
    assert text.split("\n\n")[1:3] == ["from __future__ import annotations", "x = 1"]


def test_decorator_of_a_renamed_module_is_removed(exported):
    text = exported(["import owt as o, math", '@o.endpoint("/x")\ndef get(): return 1'])
    assert text.endswith("import owt as o, math\n\ndef get(): return 1\n\nrun = get\n")


def test_without_an_endpoint_all_cells_are_exported(exported):
    text = exported(["x = 1", "y = 2", "def run(): return x"])
    assert text.endswith("x = 1\n\ny = 2\n\ndef run(): return x\n")


def test_sole_endpoint_becomes_run(exported):
    text = exported(["x = 1", "import owt", '@owt.endpoint("/x")\nasync def get(): return x'])
    assert text.endswith("x = 1\n\nimport owt\n\nasync def get(): return x\n\nrun = get\n")


def test_renamed_decorator_is_removed(exported):
    text = exported(["from owt import endpoint as at", '@at(path="/x")\n@str\ndef get(): return 1'])
    assert text == "# Exported by owt from speech.ipynb.\n\n@str\ndef get(): return 1\n\nrun = get\n"


def test_endpoint_cells_are_left_out(exported):
    text = exported(["# GET /x\nprint(REQUEST)", "def run(): return 1"])
    assert text.endswith(".\n\ndef run(): return 1\n")


def test_script_is_exported(tmp_path):
    path = tmp_path / "speech.py"
    path.write_text('x = 1\ny = 2\n\n@endpoint("/y")\ndef f():\n    return y\n')
    assert export(path, "/y").endswith("py.\n\ny = 2\n\ndef f():\n    return y\n\nrun = f\n")


@pytest.mark.parametrize(
    ("cells", "endpoint", "problem"),
    [
        (SPEECH, "/none", "no function with @endpoint.'/none'.*: /add/{a}, /speak$"),
        (SPEECH, None, "no function run in it; choose one of its endpoints: --endpoint /add/{a} or /speak"),
        (["x = 1"], None, "no function run in it, and no endpoint"),
        (
            ['@endpoint(A)\ndef f(): pass\n@endpoint("/b")\ndef g(): pass'],
            None,
            "choose one of its endpoints: --endpoint /b$",
        ),
        (['@endpoint(A)\ndef f(): pass\n@endpoint(B)\ndef g(): pass'], None, "paths are not in the text"),
        (["# GET /x\nprint(1)"], "/x", "works with the variable REQUEST"),
        (["files = !ls", "def run(): return files"], None, "cell 1: files = !ls takes its value"),
        (["x = await f()", "def run(): return x"], None, "cell 1: it cannot be in a file of its own"),
        (["def run(:"], None, "cell 1: its text is neither"),
        (["def run(): pass", '@endpoint("/x")\ndef f(): return run()'], "/x", "it binds the name run"),
        (["def run(): pass", 'endpoint("/x")(run)'], None, "cell 2: it uses endpoint for something other"),
    ],
)
def test_code_that_a_plain_file_cannot_have_is_refused(exported, cells, endpoint, problem):
    with pytest.raises(NotebookError, match=problem):
        exported(cells, endpoint)


F = '@endpoint("/f")\ndef f(): return files'


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["files = !ls", F], r"cell 1: files = !ls .* write it in Python\. It is needed: cell 2 uses files$"),
        (
            ["a = !ls", "files = a", F],
            r"cell 1: a = !ls .*\. It is needed: cell 2 uses a$",
        ),
        (
            ["a = !ls", "files = 1", "state.x = 1", F],
            r"cell 1: a = !ls .*\. All cells are needed: cell 3 has state, which can use any name$",
        ),
        (
            ["a = !ls", "files = frame.query(text)", F],
            r"cell 1: a = !ls .*\. All cells are needed: cell 2 has query\(\.\.\.\), which can use any name$",
        ),
        (["from a import *\nx = !ls", F], r"cell 1: x = !ls .*\. It is needed: cell 2 may use what it imp"),
        (["def run(): return 1\nfiles = 2", F], r"cell 1: it binds the name run.*needed: cell 2 uses files$"),
        (['files = 1', '@endpoint("/f")\ndef f(): return files\nx = !ls'], r"cell 2: x = !ls .* in Python$"),
    ],
)
def test_the_use_that_makes_a_refused_cell_needed_is_named(exported, cells, problem):
    with pytest.raises(NotebookError, match=problem):
        exported(cells, "/f")
