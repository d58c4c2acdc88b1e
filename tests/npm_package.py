"""The npm package of owt.js in the tests, and the programs that check it."""

import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "clients"
ROOT = FOLDER.parents[1]
CLIENTS = ROOT / "examples" / "clients"
TOOLS = FOLDER / "node_modules" / ".bin"
"""Programs that `npm install --prefix tests/clients` installs."""


def run(*command: str | Path, folder: Path) -> str:
    """Return the output of a program, which must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
