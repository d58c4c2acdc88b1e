"""Program that reports, as JSON on stdout, what an interpreter has for kernels: for `owt kernel check`."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import platform
import sys

PACKAGES = ("ipykernel", "msgspec", "werkzeug")
"""Packages that the kernel's part of owt needs; werkzeug only for `request` and endpoints."""
MODULES = ("owt.kernel.process.app", "owt.kernel.calls.runner", "owt.host.template")
"""Modules of owt that a kernel imports before its first call, and that import the others."""


def main() -> None:
    """Print the report: version, packages with their versions (null: missing), and the import's error."""
    error = None
    try:
        for name in MODULES:
            importlib.import_module(name)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    report = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "error": error,
    }
    print(json.dumps(report), file=sys.__stdout__)


def _version(name: str) -> str | None:
    """Return the version of a package, or that it has one, or None if it cannot be imported."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "from owt"


if __name__ == "__main__":
    main()
