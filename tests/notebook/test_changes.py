"""Cells are given as texts; what runs again is given by its places, from 0."""

import pytest

from owt.notebook.changes import again
from owt.notebook.names import statements

STORY = [
    "import json, torch",
    "PATH = 'model.bin'",
    "model = torch.load(PATH)",
    "def speak(text):\n    return model(text)",
    "greeting = speak('hello')",
]


def run_again(old: list[str], new: list[str], users: list[str] | None = None) -> list[int]:
    ran = [statements(text) for text in old]
    known = {statement for cell in ran for statement in cell}
    cells = [statements(text) for text in new]
    return again(cells, ran, known, [statements(text) for text in users or []])


def edited(place: int, text: str) -> list[int]:
    return run_again(STORY, [*STORY[:place], text, *STORY[place + 1 :]])


def test_nothing_runs_again_when_nothing_has_changed():
    assert run_again(STORY, STORY) == []


def test_at_first_everything_runs():
    assert run_again([], STORY) == [0, 1, 2, 3, 4]


def test_a_comment_is_no_change():
    assert edited(3, "# Says it.\ndef speak( text ):\n\n    return model(text)  # at last") == []


def test_a_changed_function_runs_again_with_what_called_it_and_not_with_what_it_calls():
    assert edited(3, "def speak(text):\n    return model(text.upper())") == [3, 4]


def test_a_changed_constant_has_all_that_was_made_of_it_made_again():
    # Not the function, which looks its model up when it is called.
    assert edited(1, "PATH = 'other.bin'") == [1, 2, 4]


def test_a_further_import_loads_no_model_again():
    assert edited(0, "import json, torch\nimport os") == [0]
    assert edited(0, "import json, torch, os") == [0, 2, 4]


def test_a_new_cell_runs_alone():
    assert run_again(STORY, [*STORY[:2], "x = 1", *STORY[2:]]) == [2]


def test_a_deleted_cell_has_nothing_run():
    assert run_again(STORY, STORY[:-1]) == []


def test_a_moved_cell_does_not_run_again():
    assert run_again(STORY, [STORY[1], STORY[0], *STORY[2:]]) == []


def test_of_two_equal_cells_the_second_is_new():
    assert run_again(["n += 1"], ["n += 1", "n += 1"]) == [1]


def test_what_stands_above_a_change_does_not_run_again():
    assert run_again(["y = x", "x = 1", "z = 1"], ["y = x", "x = 2", "z = 1"]) == [1]


def test_a_name_counts_from_where_it_changed():
    old = ["a = f()", "x = 1", "use(x)", "x = g()", "use(x)"]
    assert run_again(old, ["a = h()", "x = 1", "use(x)", "x = h()", "use(x)"]) == [0, 3, 4]


def test_functions_pass_a_change_on_wherever_they_stand():
    old = ["def outer():\n    return inner()", "def inner():\n    return 1", "x = outer()", "y = other()"]
    assert run_again(old, [old[0], "def inner():\n    return 2", *old[2:]]) == [1, 2]


def test_what_binds_a_name_once_more_has_the_last_word():
    assert run_again(["x = 1", "x = f()", "y = x"], ["x = 2", "x = f()", "y = x"]) == [0, 1, 2]


def test_not_where_nobody_else_uses_the_name():
    old = ["for i in a: f(i)", "for i in b: slow(i)"]
    assert run_again(old, ["for i in a: g(i)", old[1]]) == [0]


def test_nor_where_it_binds_the_same():
    old = ["import os\nx = 1", "import os\nslow(os)"]
    assert run_again(old, ["import os\nx = 2", old[1]]) == [0]


def test_a_change_of_a_shell_command_has_its_output_taken_again():
    old = ["PATH = 'a'", "files = !ls {PATH}", "n = len(files)"]
    assert run_again(old, [old[0], "files = !ls -l {PATH}", old[2]]) == [1, 2]
    assert run_again(old, ["PATH = 'b'", *old[1:]]) == [0, 1, 2]


def test_a_change_of_an_item_is_a_change():
    old = ["d = {}", "d['a'] = 1", "x = f(d)"]
    assert run_again(old, [old[0], "d['a'] = 2", old[2]]) == [1, 2]


def test_cells_that_wait_for_requests_use_names_too():
    old = ["x = 1", "x = f()"]
    assert run_again(old, ["x = 2", old[1]]) == [0]
    assert run_again(old, ["x = 2", old[1]], ["print(x)"]) == [0, 1]


def test_what_another_star_import_may_have_changed_runs_again():
    old = ["from a import *", "y = sqrt(2)", "z = abs(w)", "def f(): return tau", "u = f()", "w = 1"]
    assert run_again(old, ["from b import *", *old[1:]]) == [0, 1, 4]
    assert run_again(old, ["from a import *\nimport os", *old[1:]]) == [0]


@pytest.mark.parametrize("text", ["def speak(:", "%%bash\nls", "%matplotlib inline"])
def test_what_is_not_python_runs_again_when_its_text_changes(text):
    assert edited(3, text) == [3]
    assert run_again([text], [text]) == []


def test_what_the_last_good_version_had_is_no_change_after_a_failure():
    # The cell failed in between, and so is not among those in effect.
    old, new = STORY[0], STORY[0] + "\nimport os"
    known = {statement for text in STORY for statement in statements(text)}
    ran = [statements(text) for text in STORY if text != old]
    assert again([statements(text) for text in [new, *STORY[1:]]], ran, known) == [0]
