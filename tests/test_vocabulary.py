"""tests/vocabulary.py: the rules for names and prose, and that the code follows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import vocabulary

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "owt"
QUOTING = {TESTS / "vocabulary.py", TESTS / "test_vocabulary.py"}
"""Files that quote what the rules refuse."""


def relative(path: Path) -> str:
    return path.relative_to(TESTS.parent).as_posix()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""What a run is."""\n', "a docstring begins with 'What'"),
        ('"""A run."""\n\n\ndef f():\n    """Whether it runs."""\n', "a docstring begins with 'Whether'"),
        ('"""A run."""\nfor each in ():\n    pass\n', "the name 'each'"),
        ('"""A run."""\n\n\ndef f(most):\n    pass\n', "the name 'most'"),
        ('"""A run."""\n\n\nclass C:\n    def _bury(self):\n        pass\n', "the name '_bury'"),
        ('"""A run."""\n# Nobody reads it.\n', "'Nobody'"),
        ('"""A run."""\n\n\ndef test_it_ends():\n    pass\n', "the test name begins with 'it'"),
    ],
)
def test_a_break_of_the_rules_is_reported(tmp_path, text, expected):
    path = tmp_path / "module.py"
    path.write_text(text)
    [complaint] = vocabulary.complaints(path)
    assert expected in complaint


def test_standard_prose_and_names_are_accepted(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""Runs."""\n\n\ndef first(runs):\n    """Return the oldest run."""\n'
        "    for run in runs:\n        return run\n"
    )
    assert list(vocabulary.complaints(path)) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=relative)
def test_a_module_follows_the_rules(path):
    assert list(vocabulary.complaints(path)) == []


@pytest.mark.parametrize("path", sorted(set(TESTS.rglob("*.py")) - QUOTING), ids=relative)
def test_a_file_of_the_tests_follows_the_rules(path):
    assert list(vocabulary.complaints(path)) == []
