"""The pages of the documentation, and the fenced blocks in them.

sh        run by tests/docs/test_pages.py; on a page of `EXAMPLES`, by the tests in the folder named there
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

import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from owt.testing import LiveServer

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("README.md"))]
PROSE = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "benchmarks").glob("*.md"))]
EXAMPLES = {**dict.fromkeys(["chat", "classifier", "ocr", "voice"], "models"), "query": "libraries"}
"""Examples with pages, and the folders of tests whose environments have the packages for them."""
AS_WRITTEN = "localhost:9876"
_FRACTION = re.compile(r"\d+\.\d+")
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


def command_environment(folder: Path, url: str) -> dict[str, str]:
    """Create `owt` and `python` of this interpreter in `folder`. Return the environment for commands."""
    folder.mkdir()
    for tool, command in (("owt", f'"{sys.executable}" -m owt'), ("python", f'"{sys.executable}"')):
        script = folder / tool
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OWT_URL": url}


def check_commands(
    page: Path, folder: Path, server: LiveServer, environment: dict[str, str], tolerance: float = 0
) -> None:
    """Run the commands of a page in `folder`, against `server`; assert that they print what the page shows.

    Numbers with a fraction may differ by `tolerance`.
    """
    page_blocks = blocks(page)
    for block, after in zip(page_blocks, [*page_blocks[1:], None], strict=True):
        if block.language == "python" and not is_notebook(page):
            cell = {"session": "dev", "code": block.text}
            assert server.ask("POST", "/", data=cell).status_code == 200, block.text
        if block.language != "sh":
            continue
        command = block.text.replace(AS_WRITTEN, f"127.0.0.1:{server.port}")
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert process.stderr == "", command
        assert process.returncode == 0, command
        if after is not None and after.language == "text":
            assert matches(after.text, process.stdout, tolerance), (
                f"{command}\nprints\n{process.stdout}\ninstead of\n{after.text}"
            )


def check_example(example: str, folder: Path, server: LiveServer) -> None:
    """Run the commands on the page of an example in a copy of the examples in `folder`."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    page = folder / "examples" / example / "README.md"
    # The voice speaks the same sentence a bit faster or slower each time.
    tolerance = 0.5 if example == "voice" else 0
    check_commands(page, page.parent, server, command_environment(folder / "tools", server.url), tolerance)


def matches(expected: str, printed: str, tolerance: float = 0) -> bool:
    """Return whether the text is as the page shows it, except for white space at the ends of lines, and for
    numbers with a fraction, which may differ by `tolerance`."""
    if tolerance and _FRACTION.sub("#", expected) == _FRACTION.sub("#", printed):
        pairs = zip(_FRACTION.findall(expected), _FRACTION.findall(printed), strict=True)
        return all(math.isclose(float(a), float(b), abs_tol=tolerance) for a, b in pairs)
    pattern = ".*?".join(map(re.escape, _stripped(expected).split("...")))
    return re.fullmatch(pattern, _stripped(printed), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
