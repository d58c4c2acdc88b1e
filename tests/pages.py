"""The pages of the documentation, and the fenced blocks in them.

sh        run by tests/docs/test_pages.py
text      the output of the block before it; `...` stands for any text
python    cells of session `dev`, sent by tests/docs/test_pages.py; on a page with `%load_ext owt`, cells
          of a notebook, run by tests/docs/test_notebook_pages.py
js        run by tests/clients/test_javascript.py
nginx     used by tests/live/test_nginx.py
console   commands that install packages or start servers; not run
docker, ini, yaml
          configuration of other programs; tests/docs/test_configuration.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
PROSE = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "benchmarks").glob("*.md"))]
LANGUAGES = {"sh", "text", "console", "js", "nginx", "python", "docker", "ini", "yaml"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, without the directives of the generator and generated help."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```(\S*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(*fence) for fence in fences if fence[0] and not fence[0].startswith("{")]


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    """Return the page's path below the repository's root."""
    return page.relative_to(ROOT).as_posix()


def is_notebook(page: Path) -> bool:
    """Return whether the page's cells run in a notebook's own kernel."""
    return "%load_ext owt" in "".join(block.text for block in blocks(page))


def matches(expected: str, printed: str) -> bool:
    """Return whether the text is as the page shows it, except for white space at the ends of lines."""
    pattern = ".*?".join(map(re.escape, _stripped(expected).split("...")))
    return re.fullmatch(pattern, _stripped(printed), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
