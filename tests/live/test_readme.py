"""The commands of README.md do what it says.

Each block of language `sh` is run; a block of language `text` right after it is what it prints, where
`...` stands for anything. The blocks of one section share a directory. Blocks of language `console`
(they install things, or start servers) are not run. That of language `js` is run by
tests/clients/test_javascript.py, those of language `nginx` by tests/live/test_nginx.py, and those of
language `python`, which are cells of a notebook, by tests/notebooks/test_readme_cells.py.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
AS_WRITTEN = "localhost:9876"
LANGUAGES = {"sh", "text", "console", "js", "nginx", "python"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def sections(markdown: str) -> dict[str, list[Block]]:
    """The blocks under each heading of the second level."""
    parts = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)[1:]
    return {
        title: [
            Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        ]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def pattern(expected: str) -> str:
    """A regular expression for output that is shown as `expected`."""
    return ".*?".join(map(re.escape, tidy(expected).split("...")))


def tidy(text: str) -> str:
    """Without white space at the ends of lines and of the text, which nobody sees in a README."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


SECTIONS = sections(README.read_text())
RUN = {title: blocks for title, blocks in SECTIONS.items() if any(block.language == "sh" for block in blocks)}


@pytest.mark.parametrize("title", RUN)
def test_the_commands_of_a_section_print_what_it_shows(server, tmp_path, title):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, command in (("owt", f'"{sys.executable}" -m owt'), ("python", f'"{sys.executable}"')):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        tool.chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "OWT_URL": server.url}

    blocks = RUN[title]
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language != "sh":
            continue
        command = block.text.replace(AS_WRITTEN, f"127.0.0.1:{server.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.stderr == "", command
        assert done.returncode == 0, command
        if after is not None and after.language == "text":
            printed = tidy(done.stdout)
            assert re.fullmatch(pattern(after.text), printed, re.DOTALL), (
                f"{command}\nprints\n{printed}\ninstead of\n{after.text}"
            )


def test_every_block_says_whether_it_is_run():
    languages = {block.language for blocks in SECTIONS.values() for block in blocks}
    assert languages == LANGUAGES


def test_output_is_shown_only_after_the_command_that_prints_it():
    for title, blocks in SECTIONS.items():
        for before, block in zip([None, *blocks], blocks, strict=False):
            if block.language == "text":
                assert before is not None, title
                assert before.language in ("sh", "js"), title


def test_the_table_of_settings_is_the_one_that_the_server_has():
    from owt.frontend.config.settings import settings_table

    assert settings_table() in README.read_text()
