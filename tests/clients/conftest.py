"""Skip conditions for clients in other languages: each needs its programs.

CI installs no `ghc`: with its libraries it has 1 GB. So owt.hs is tested by hand, where that is installed.
"""

import json
import shutil
from pathlib import Path

import pytest
from npm_package import CLIENTS, TOOLS

NEEDED = {
    "test_javascript.py": "node",
    "test_package.py": "npm",
    "test_bundles.py": TOOLS / "esbuild",
    "test_haskell.py": "ghc",
}

collect_ignore = [file for file, program in NEEDED.items() if shutil.which(program) is None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Folder of a project that has the package installed."""
    package = tmp_path / "node_modules" / "owt-client"
    package.mkdir(parents=True)
    for name in ("package.json", *json.loads((CLIENTS / "package.json").read_text())["files"]):
        shutil.copy(CLIENTS / name, package)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path
