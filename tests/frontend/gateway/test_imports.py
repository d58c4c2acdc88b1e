"""The gateway is an optional part: other modules import only its router, and it imports few modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import owt

PACKAGE = Path(owt.__path__[0])
GATEWAY = PACKAGE / "frontend" / "gateway"
PREFIX = "owt.frontend.gateway"

USED = {
    "owt.errors",
    "owt.wire.chunk",  # the last output of a kernel
    "owt.wire.names",
    "owt.frontend",  # logs
    "owt.frontend.api.control",  # the form of times
    "owt.frontend.http.handler",
    "owt.frontend.kernels.kernels",  # the folders of kernelspecs
    "owt.frontend.problems",
    "owt.frontend.service",
    "owt.frontend.sessions.events",
    "owt.frontend.sessions.session",
    "owt.frontend.sessions.sessions",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "owt":
            yield node.module


def test_owt_imports_only_the_router_of_the_gateway() -> None:
    outside = [path for path in PACKAGE.rglob("*.py") if GATEWAY not in path.parents]
    names = {name for path in outside for name in imports(path) if name.startswith(PREFIX)}
    assert names == {f"{PREFIX}.mount"}


def test_gateway_imports_only_the_modules_that_it_needs() -> None:
    names = {name for path in GATEWAY.glob("*.py") for name in imports(path)}
    assert {name for name in names if not name.startswith(PREFIX)} <= USED
