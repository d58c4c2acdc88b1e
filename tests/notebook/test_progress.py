"""Texts stand for cells."""

from __future__ import annotations

from collections.abc import Iterable

from notebook_files import save

from owt.notebook.contents import Contents
from owt.notebook.progress import Progress

STORY = ["import a", "MODEL = 'x'", "model = a.load(MODEL)", "def f(): return model", "y = f()"]


class Tried:
    """A notebook, and the cells of it that run."""

    def __init__(self, folder) -> None:
        self._path = folder / "n.ipynb"
        self._progress = Progress()

    def run(self, cells: Iterable[str], failing: str | None = None, *, syntax: bool = False) -> list[str]:
        """The cells that run, to their end or to one that fails."""
        save(self._path, *cells)
        contents = Contents.of(self._path)
        tried = []
        for at in self._progress.begin(contents):
            tried.append(contents.cells[at].text)
            if tried[-1] == failing:
                if not syntax:
                    self._progress.spoilt(contents)
                return tried
            self._progress.ran(contents.meanings[at])
        self._progress.end(contents)
        return tried


def changed(**texts: str) -> list[str]:
    """The story with other cells: `cell1="..."`."""
    return [texts.get(f"cell{number}", text) for number, text in enumerate(STORY)]


def test_all_cells_run_once(tmp_path):
    tried = Tried(tmp_path)
    assert tried.run(STORY) == STORY
    assert tried.run(STORY) == []


def test_what_failed_and_what_followed_is_tried_again(tmp_path):
    tried = Tried(tmp_path)
    assert tried.run(STORY, failing=STORY[2]) == STORY[:3]
    assert tried.run(STORY) == STORY[2:]


def test_a_failure_and_its_repair_load_no_model_again(tmp_path):
    tried = Tried(tmp_path)
    tried.run(STORY)
    bad, good = "def f(): return model\n1 / 0", "def f(): return model\nz = 1"
    assert tried.run(changed(cell3=bad), failing=bad) == [bad]
    assert tried.run(changed(cell3=good)) == [good]


def test_what_depends_on_a_change_runs_also_when_a_cell_between_them_had_to_be_repaired(tmp_path):
    tried = Tried(tmp_path)
    tried.run([*STORY[:2], "z = 1", *STORY[2:]])
    bad = [STORY[0], "MODEL = 'y'", "1 / 0", *STORY[2:]]
    assert tried.run(bad, failing="1 / 0") == ["MODEL = 'y'", "1 / 0"]
    good = [*bad[:2], "z = 2", *bad[3:]]
    assert tried.run(good) == ["z = 2", "model = a.load(MODEL)", "y = f()"]


def test_a_change_that_is_taken_back_is_a_change(tmp_path):
    tried = Tried(tmp_path)
    tried.run(STORY)
    assert tried.run(changed(cell1="MODEL = 'y'")) == ["MODEL = 'y'", STORY[2], STORY[4]]
    assert tried.run(STORY) == [STORY[1], STORY[2], STORY[4]]


def test_also_after_a_failure_in_between(tmp_path):
    tried = Tried(tmp_path)
    tried.run([*STORY, "z = 1"])
    assert tried.run([*changed(cell1="MODEL = 'y'"), "1 / 0"], failing="1 / 0")[1:] == [
        STORY[2],
        STORY[4],
        "1 / 0",
    ]
    assert tried.run([*STORY, "z = 2"]) == [STORY[1], STORY[2], STORY[4], "z = 2"]


def test_a_cell_that_failed_in_its_middle_runs_again_when_it_is_as_it_was(tmp_path):
    tried = Tried(tmp_path)
    tried.run(STORY)
    bad = "def f(): return 2\n1 / 0"
    tried.run(changed(cell3=bad), failing=bad)
    assert tried.run(STORY) == [STORY[3], STORY[4]]


def test_one_that_could_not_even_be_read_has_spoilt_nothing(tmp_path):
    tried = Tried(tmp_path)
    tried.run(STORY)
    bad = "model = a.load("
    assert tried.run(changed(cell2=bad), failing=bad, syntax=True) == [bad]
    assert tried.run(STORY) == []
