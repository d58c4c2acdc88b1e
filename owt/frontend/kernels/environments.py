"""Interpreters of kernelspecs, and what `owt kernel add` writes about them into kernel.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any, NamedTuple

LAUNCHER = os.path.join("owt", "host", "launcher.py")
"""End of the path of the program that runs modules of owt where owt is not installed."""

MINIMUM = (3, 9)
"""Oldest Python of kernels, as `owt.host.launcher` has it."""

METADATA = "owt"
"""Name of owt's own object in the metadata of a kernelspec."""


class Environment(NamedTuple):
    """Values of a kernelspec that only owt reads: the working directory of its kernels, and the modules that
    its template imports."""

    cwd: str | None = None
    preload: tuple[str, ...] = ()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Environment:
        """Return the values in the metadata of a kernelspec. Those of a wrong type count as absent."""
        values = metadata.get(METADATA)
        if not isinstance(values, dict):
            return cls()
        cwd, preload = values.get("cwd"), values.get("preload")
        names = tuple(filter(None, map(str, preload))) if isinstance(preload, list) else ()
        return cls(cwd if isinstance(cwd, str) else None, names)


def too_old(version: str) -> str | None:
    """Return advice if an interpreter of this version is too old for kernels, or None."""
    numbers = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:2]]
    if tuple(numbers) >= MINIMUM:
        return None
    minimum = ".".join(map(str, MINIMUM))
    return (
        f"kernels need Python {minimum} or newer; make an environment with one, such as: "
        f"uv venv --python {minimum}"
    )


def module_command(command: Sequence[str]) -> list[str] | None:
    """Return the part of a kernel's command that is before the module `owt.kernel`, and can run other modules
    of owt too. Returns None for the command of another kernel.
    """
    if len(command) < 3 or command[2] != "owt.kernel":
        return None
    if command[1] != "-m" and not command[1].endswith(os.sep + LAUNCHER):
        return None
    return [os.path.abspath(command[0]), command[1]]


def variables(spec_env: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with the variables of a kernelspec, whose values may refer to others by `${NAME}`."""
    return {
        **environ,
        **{name: Template(value).safe_substitute(environ) for name, value in spec_env.items()},
    }


def literal(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables as a kernelspec has them whose values refer to no others."""
    return {name: value.replace("$", "$$") for name, value in env.items()}
