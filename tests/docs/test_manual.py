"""docs/make_man.py: the manual page."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from owt.cli.main import COMMANDS
from owt.frontend.config.settings import settings

PROGRAM = Path(__file__).resolve().parents[2] / "docs" / "make_man.py"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man") / "new"
    subprocess.run([sys.executable, PROGRAM, folder], check=True, timeout=60)
    return folder / "owt.1"


def test_the_manual_has_each_command_and_each_setting(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace(r"\-", "-")
    assert text.startswith(".TH OWT 1 ")
    for command in COMMANDS:
        assert f'.SS "owt {command}"' in text
    for row in settings():
        assert re.search(rf"^\.B .*{row.option}\b", text, re.MULTILINE), row.option
    # Nothing but the requests of this page begins a line with a control character.
    requests = set(re.findall(r"^[.'](\S*)", text, re.MULTILINE))
    assert requests == {"TH", "SH", "SS", "B", "br", "PP", "TP"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_no_complaint_about_the_manual(page: Path) -> None:
    command = ["groff", "-man", "-ww", "-Tutf8", page]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    # Bold text is overstruck.
    assert "--max-sessions" in re.sub(".\x08", "", done.stdout)
