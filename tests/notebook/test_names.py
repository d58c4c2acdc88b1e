import pytest

from owt.notebook.names import Statement, statements


def one(text: str) -> Statement:
    [found] = statements(text)
    return found


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
        ("with open(a) as f: x = f.read()", "f x", "open a", ""),
        ("x = await f()", "x", "f", ""),
        ("%time x = f(y)", "x", "f y", ""),
        ("def f():\n    global x\n    x = 1", "f", "", ""),
    ],
)
def test_a_statement_tells_what_it_binds_and_uses(text, binds, eager, late):
    found = one(text)
    assert found.binds == set(binds.split())
    assert found.eager == set(eager.split())
    assert found.late == set(late.split())


@pytest.mark.parametrize("text", ["import a", "def f(): pass", "class A: pass", "x = -1", "x = 'a', 2 * 3"])
def test_what_makes_the_same_again_is_steady(text):
    assert one(text).steady


@pytest.mark.parametrize("text", ["x = f()", "x = []", "x = y", "f()", "x += 1"])
def test_other_statements_are_not(text):
    assert not one(text).steady


def test_comments_and_layout_have_no_meaning():
    assert statements("def f( a ):  # one\n    return a\n\n") == statements("# two\ndef f(a): return a")


def test_each_magic_is_a_statement():
    assert statements("!ls\nx = 1") != statements("!ls -l\nx = 1")
    assert [each.binds for each in statements("!ls\nx = 1")] == [set(), {"x"}]


@pytest.mark.parametrize("text", ["x = !ls", "def x():\n    y = !ls\n    return y"])
def test_what_a_magic_gives_is_another_value_when_the_magic_is_another(text):
    before, after = statements(text), statements(text.replace("ls", "ls -l"))
    assert [each for each in before if "x" in each.binds] != [each for each in after if "x" in each.binds]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("!wget {URL} -O {path / name}", "URL path name"),
        ("%run $script --n {n + 1}", "script n"),
        ("!a {", ""),
    ],
)
def test_a_magic_uses_what_is_put_into_its_line(text, names):
    assert one(text).eager == set(names.split())


def test_what_a_magic_gives_is_not_steady():
    assert [each.steady for each in statements("x = !ls") if each.binds] == [False]


def test_so_does_one_that_gives_a_value():
    assert {name for each in statements("x = !ls {folder}") for name in each.eager} >= {"folder"}


@pytest.mark.parametrize("text", ["%%bash\nls", "def f(:", "return 1"])
def test_of_what_cannot_be_known_the_text_counts(text):
    found = one(text)
    assert not found.binds | found.eager | found.late
    assert found != one(text.replace("s", "S").replace("f", "g").replace("1", "2"))
