"""The cells on pages about the magics show what the page says."""

from __future__ import annotations

import pytest
from jupyter_kernel import notebook
from pages import PAGES, blocks, is_notebook, matches, name


@pytest.mark.parametrize("page", [page for page in PAGES if is_notebook(page)], ids=name)
def test_cells_show_what_the_page_says(tmp_path, page):
    page_blocks = blocks(page)
    with notebook(tmp_path) as run_cell:
        for block, after in zip(page_blocks, [*page_blocks[1:], None], strict=True):
            if block.language != "python":
                continue
            cell = run_cell(block.text)
            assert cell.reply["status"] == "ok", block.text
            if after is not None and after.language == "text":
                assert matches(after.text, cell.stdout), cell.stdout
