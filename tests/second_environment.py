"""A second virtual environment, made without a network: it has IPython's kernel and msgspec, and not owt."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PACKAGES = ("ipykernel", "msgspec")


def requirements(names):
    """Return the distributions of this environment that `names` need, and their own."""
    needed, pending = {}, list(names)
    while pending:
        name = pending.pop().lower().replace("_", "-")
        if name in needed:
            continue
        try:
            needed[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for text in needed[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return needed.values()


def make(folder: Path, packages=PACKAGES) -> Path:
    """Make the environment, with links to packages of this one, and return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    for package in requirements(packages):
        tops = {Path(file).parts[0] for file in package.files or () if Path(file).parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            source = Path(str(package.locate_file(top)))
            if source.exists() and not (site / top).exists():
                os.symlink(source, site / top)
    return python


def own_version() -> str:
    """Return the version of this interpreter, which is also that of the environment."""
    return ".".join(map(str, sys.version_info[:3]))
