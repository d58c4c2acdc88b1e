"""owt.notebook.statements: the names that statements bind and use."""

import pytest

from owt.notebook.statements import Statement, statements


def one(text: str) -> Statement:
    [statement] = statements(text)
    return statement


@pytest.mark.parametrize(
    ("text", "binds", "eager", "late"),
    [
        ("x = y + 1", "x", "y", ""),
        ("import a.b, c as d", "a d", "", ""),
        ("from a import b as c", "c", "", ""),
        ("x += 1", "x", "x", ""),
        ("del x", "x", "", ""),
        ("x.y[z] = 1", "x", "x z", ""),
        ("x[0] += y", "x", "x y", ""),
        ("def f(a, b=c): return a + d", "f", "c", "d"),
        ("@g('/x')\ndef f(): return [h(i) for i in j]", "f", "g", "h j"),
        ("f = lambda a: a + b", "f", "", "b"),
        ("class A(B):\n    c = d\n    def e(self): return f", "A", "B d", "f"),
        ("x = [a(i) for i in b if c]", "x", "a b c", ""),
        ("x = sum(a(i) for i in b)", "x", "sum a b", ""),
        ("for i in a: print(i)", "i", "a print", ""),
        ("for i in i: print(i)", "i", "i print", ""),
        ("while x: x = f(y)", "x", "x f y", ""),
        ("with open(a) as f: x = f.read()", "f x", "open a", ""),
        ("x = await f()", "x", "f", ""),
        ("%time x = f(y)", "x", "f y", ""),
        ("def f():\n    global x\n    x = 1", "f", "", ""),
    ],
)
def test_names_that_a_statement_binds_and_uses(text, binds, eager, late):
    statement = one(text)
    assert statement.binds == set(binds.split())
    assert statement.eager == set(eager.split())
    assert statement.late == set(late.split())


@pytest.mark.parametrize("text", ["import a", "def f(): pass", "class A: pass", "x = -1", "x: t = 1, 2 * 3"])
def test_imports_definitions_and_constants_are_steady(text):
    assert one(text).steady


@pytest.mark.parametrize("text", ["x = f()", "x = []", "x = y", "f()", "x += 1"])
def test_other_statements_are_not_steady(text):
    assert not one(text).steady


def test_comments_and_layout_do_not_change_the_meaning():
    assert statements("def f( a ):  # one\n    return a\n\n") == statements("# two\ndef f(a): return a")


def test_magic_is_a_statement_of_its_own():
    assert statements("!ls\nx = 1") != statements("!ls -l\nx = 1")
    assert [part.binds for part in statements("!ls\nx = 1")] == [set(), {"x"}]


@pytest.mark.parametrize("text", ["x = !ls", "def x():\n    y = !ls\n    return y"])
def test_assignment_from_another_magic_is_another_statement(text):
    before, after = statements(text), statements(text.replace("ls", "ls -l"))
    assert [part for part in before if "x" in part.binds] != [part for part in after if "x" in part.binds]


def test_magic_uses_all_names_in_its_line():
    assert one("!wget {URL} -O $path").eager == {"wget", "URL", "O", "path"}


def test_assignment_from_a_magic_is_not_steady():
    assert [part.steady for part in statements("x = !ls") if part.binds] == [False]


def test_assignment_from_a_magic_uses_the_names_in_its_line():
    assert {name for part in statements("x = !ls {folder}") for name in part.eager} >= {"folder"}


@pytest.mark.parametrize("text", ["%%bash\nls", "def f(:", "return 1"])
def test_text_that_is_not_python_is_one_statement(text):
    statement = one(text)
    assert not statement.binds | statement.eager | statement.late
    assert statement != one(text.replace("s", "S").replace("f", "g").replace("1", "2"))
