"""owt.notebook.changes: the cells to run after a change, and the record of cells in effect."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from notebook_files import save

from owt.errors import NotebookError
from owt.notebook.changes import Contents, Progress, select
from owt.notebook.statements import statements

STORY = [
    "import json, torch",
    "PATH = 'model.bin'",
    "model = torch.load(PATH)",
    "def speak(text):\n    return model(text)",
    "words = speak('hello')",
]


def run_again(old: list[str], new: list[str], users: list[str] | None = None) -> list[int]:
    ran = [statements(text) for text in old]
    known = {statement for cell in ran for statement in cell}
    cells = [statements(text) for text in new]
    return select(cells, ran, known, [statements(text) for text in users or []])


def edited(index: int, text: str) -> list[int]:
    return run_again(STORY, [*STORY[:index], text, *STORY[index + 1 :]])


def test_nothing_runs_again_without_a_change():
    assert run_again(STORY, STORY) == []


def test_everything_runs_at_first():
    assert run_again([], STORY) == [0, 1, 2, 3, 4]


def test_comment_and_layout_are_no_change():
    assert edited(3, "# Says it.\ndef speak( text ):\n\n    return model(text)  # at last") == []


def test_changed_function_runs_again_with_its_callers_only():
    assert edited(3, "def speak(text):\n    return model(text.upper())") == [3, 4]


def test_changed_constant_runs_its_users_again():
    # The function reads the model when it is called, and needs no new run.
    assert edited(1, "PATH = 'other.bin'") == [1, 2, 4]


def test_further_import_reloads_no_model():
    assert edited(0, "import json, torch\nimport os") == [0]
    assert edited(0, "import json, torch, os") == [0, 2, 4]


def test_new_cell_runs_alone():
    assert run_again(STORY, [*STORY[:2], "x = 1", *STORY[2:]]) == [2]


def test_deleted_cell_runs_nothing():
    assert run_again(STORY, STORY[:-1]) == []


def test_moved_cell_does_not_run_again():
    assert run_again(STORY, [STORY[1], STORY[0], *STORY[2:]]) == []


def test_second_of_two_equal_cells_is_new():
    assert run_again(["n += 1"], ["n += 1", "n += 1"]) == [1]


def test_cell_above_a_change_does_not_run_again():
    assert run_again(["y = x", "x = 1", "z = 1"], ["y = x", "x = 2", "z = 1"]) == [1]


def test_name_counts_as_changed_only_below_its_change():
    old = ["a = f()", "x = 1", "use(x)", "x = g()", "use(x)"]
    assert run_again(old, ["a = h()", "x = 1", "use(x)", "x = h()", "use(x)"]) == [0, 3, 4]


def test_function_passes_a_change_on_wherever_it_is_defined():
    old = ["def outer():\n    return inner()", "def inner():\n    return 1", "x = outer()", "y = other()"]
    assert run_again(old, [old[0], "def inner():\n    return 2", *old[2:]]) == [1, 2]


def test_later_binding_of_a_changed_name_runs_again():
    assert run_again(["x = 1", "x = f()", "y = x"], ["x = 2", "x = f()", "y = x"]) == [0, 1, 2]


def test_later_binding_of_an_unused_name_does_not_run_again():
    old = ["for i in a: f(i)", "for i in b: slow(i)"]
    assert run_again(old, ["for i in a: g(i)", old[1]]) == [0]


def test_later_binding_by_an_equal_statement_does_not_run_again():
    old = ["import os\nx = 1", "import os\nslow(os)"]
    assert run_again(old, ["import os\nx = 2", old[1]]) == [0]


def test_changed_shell_command_runs_again_with_its_users():
    old = ["PATH = 'a'", "files = !ls {PATH}", "n = len(files)"]
    assert run_again(old, [old[0], "files = !ls -l {PATH}", old[2]]) == [1, 2]
    assert run_again(old, ["PATH = 'b'", *old[1:]]) == [0, 1, 2]


def test_changed_item_is_a_change_of_its_object():
    old = ["d = {}", "d['a'] = 1", "x = f(d)"]
    assert run_again(old, [old[0], "d['a'] = 2", old[2]]) == [1, 2]


def test_endpoint_cells_count_as_users_of_names():
    old = ["x = 1", "x = f()"]
    assert run_again(old, ["x = 2", old[1]]) == [0]
    assert run_again(old, ["x = 2", old[1]], ["print(x)"]) == [0, 1]


def test_changed_star_import_runs_everything_below_again():
    old = ["import a", "from a import *", "y = 1", "def f(): return tau", "u = f()"]
    assert run_again(old, [old[0], "from b import *", *old[2:]]) == [1, 2, 3, 4]
    assert run_again(old, [old[0], "from a import *\nimport os", *old[2:]]) == [1]


@pytest.mark.parametrize("text", ["def speak(:", "%%bash\nls", "%matplotlib inline"])
def test_text_that_is_not_python_runs_again_when_it_changes(text):
    assert edited(3, text) == [3]
    assert run_again([text], [text]) == []


def test_statement_of_the_last_good_version_is_no_change_after_a_failure():
    # The cell failed in between, so it is not among those in effect.
    old, new = STORY[0], STORY[0] + "\nimport os"
    known = {statement for text in STORY for statement in statements(text)}
    ran = [statements(text) for text in STORY if text != old]
    assert select([statements(text) for text in [new, *STORY[1:]]], ran, known) == [0]


def contents(tmp_path: Path, *cells: str) -> Contents:
    save(tmp_path / "n.ipynb", *cells)
    return Contents.of(tmp_path / "n.ipynb")


def test_contents_with_other_comments_and_layout_are_the_same(tmp_path):
    first = contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x)")
    assert first.same(contents(tmp_path, "# About x.\nx = f(1)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f(2)", "# GET /x\nprint(x)"))
    assert not first.same(contents(tmp_path, "x = f( 1 )", "# GET /x\nprint(x, x)"))


def test_contents_hold_the_meanings_of_endpoint_cells(tmp_path):
    users = contents(tmp_path, "# GET /x\nprint(x)", "# ResponseInfo GET /x\nprint(y)").users
    assert [name for user in users for statement in user for name in sorted(statement.eager)] == [
        *("print", "x"),
        *("print", "y"),
    ]


def test_script_may_have_endpoint_cells(tmp_path):
    path = tmp_path / "n.py"
    path.write_text("# %%\nimport json\n\n# %%\n# GET /x/:y\nprint(REQUEST)\n")
    script = Contents.of(path)
    assert [cell.text for cell in script.cells] == ["import json"]
    assert [(cell.label, cell.path) for cell in script.endpoint_cells] == [("line 5", "/x/{y}")]


def test_messages_begin_with_the_path(tmp_path):
    with pytest.raises(NotebookError, match=rf"^{tmp_path}/n\.ipynb: cell 1: '/a:b'"):
        contents(tmp_path, "# GET /a:b\n1")


NOTEBOOK = ["import a", "MODEL = 'x'", "model = a.load(MODEL)", "def f(): return model", "y = f()"]


class Runs:
    """A notebook in one kernel, and the cells of it that run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._progress = Progress()

    def run(self, cells: Iterable[str], failing: str | None = None, *, syntax: bool = False) -> list[str]:
        """Return the cells that run, up to the end or the failing one."""
        version = contents(self._folder, *cells)
        texts = []
        for index in self._progress.begin(version):
            texts.append(version.cells[index].text)
            if texts[-1] == failing:
                if not syntax:
                    self._progress.spoil(version)
                return texts
            self._progress.ran(version.meanings[index])
        self._progress.end(version)
        return texts


def changed(**texts: str) -> list[str]:
    """Return the notebook with other cells: `cell1="..."`."""
    return [texts.get(f"cell{index}", text) for index, text in enumerate(NOTEBOOK)]


def test_all_cells_run_once(tmp_path):
    runs = Runs(tmp_path)
    assert runs.run(NOTEBOOK) == NOTEBOOK
    assert runs.run(NOTEBOOK) == []


def test_failed_cell_and_those_below_run_again(tmp_path):
    runs = Runs(tmp_path)
    assert runs.run(NOTEBOOK, failing=NOTEBOOK[2]) == NOTEBOOK[:3]
    assert runs.run(NOTEBOOK) == NOTEBOOK[2:]


def test_failure_and_its_repair_reload_no_model(tmp_path):
    runs = Runs(tmp_path)
    runs.run(NOTEBOOK)
    bad, good = "def f(): return model\n1 / 0", "def f(): return model\nz = 1"
    assert runs.run(changed(cell3=bad), failing=bad) == [bad]
    assert runs.run(changed(cell3=good)) == [good]


def test_users_of_a_change_run_after_a_cell_between_was_repaired(tmp_path):
    runs = Runs(tmp_path)
    runs.run([*NOTEBOOK[:2], "z = 1", *NOTEBOOK[2:]])
    bad = [NOTEBOOK[0], "MODEL = 'y'", "1 / 0", *NOTEBOOK[2:]]
    assert runs.run(bad, failing="1 / 0") == ["MODEL = 'y'", "1 / 0"]
    good = [*bad[:2], "z = 2", *bad[3:]]
    assert runs.run(good) == ["z = 2", "model = a.load(MODEL)", "y = f()"]


def test_undone_change_is_a_change(tmp_path):
    runs = Runs(tmp_path)
    runs.run(NOTEBOOK)
    assert runs.run(changed(cell1="MODEL = 'y'")) == ["MODEL = 'y'", NOTEBOOK[2], NOTEBOOK[4]]
    assert runs.run(NOTEBOOK) == [NOTEBOOK[1], NOTEBOOK[2], NOTEBOOK[4]]


def test_change_undone_after_a_failure_is_a_change(tmp_path):
    runs = Runs(tmp_path)
    runs.run([*NOTEBOOK, "z = 1"])
    assert runs.run([*changed(cell1="MODEL = 'y'"), "1 / 0"], failing="1 / 0")[1:] == [
        NOTEBOOK[2],
        NOTEBOOK[4],
        "1 / 0",
    ]
    assert runs.run([*NOTEBOOK, "z = 2"]) == [NOTEBOOK[1], NOTEBOOK[2], NOTEBOOK[4], "z = 2"]


def test_earlier_version_of_a_cell_that_failed_in_its_middle_runs_again(tmp_path):
    runs = Runs(tmp_path)
    runs.run(NOTEBOOK)
    bad = "def f(): return 2\n1 / 0"
    runs.run(changed(cell3=bad), failing=bad)
    assert runs.run(NOTEBOOK) == [NOTEBOOK[3], NOTEBOOK[4]]


def test_cell_with_a_syntax_error_spoils_nothing(tmp_path):
    runs = Runs(tmp_path)
    runs.run(NOTEBOOK)
    bad = "model = a.load("
    assert runs.run(changed(cell2=bad), failing=bad, syntax=True) == [bad]
    assert runs.run(NOTEBOOK) == []
