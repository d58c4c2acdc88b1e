"""owt.jupyter.tracebacks: a remote traceback with the lines of its cell."""

from __future__ import annotations

from owt.jupyter.tracebacks import in_cell

CELL = "def run():\n    a = 1\n    b = 0\n    c = a / b\n    return c\n    # end\n"
TRACEBACK = """\
Traceback (most recent call last):
  File "<adaptor 0123456789>", line 4, in run
    c = a / b
        ~~^~~
  File "/somewhere/else.py", line 4, in other
    c = a / b
ZeroDivisionError: division by zero
"""


def test_a_frame_of_the_cell_shows_the_lines_around_it():
    assert (
        in_cell(TRACEBACK, CELL, 2)
        == """\
Traceback (most recent call last):
  Cell line 5, in run
          3     a = 1
          4     b = 0
  ---->   5     c = a / b
          6     return c
          7     # end
  File "/somewhere/else.py", line 4, in other
    c = a / b
ZeroDivisionError: division by zero
"""
    )


def test_a_frame_of_another_cell_is_unchanged():
    assert in_cell(TRACEBACK, "def run():\n    return 1\n") == TRACEBACK


def test_the_frames_of_a_group_keep_their_margin():
    text = '  |   File "<adaptor 0123456789>", line 1, in f\n  |     x\n  | E: e\n'
    assert in_cell(text, "x") == "  |   Cell line 1, in f\n  |   ---->   1 x\n  | E: e\n"
