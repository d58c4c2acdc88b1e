"""The cells in README.md do what it says."""

from __future__ import annotations

import re

from jupyter_kernel import ROOT, notebook


def test_the_cells_of_the_readme_send_what_they_say(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    with notebook(tmp_path) as own:
        *_, last = [own(cell) for cell in cells]
        assert last.stdout == "Hello, owt, 2!\nHello, summat, 3!\n"
        assert own("_owt").value == repr(last.stdout)
