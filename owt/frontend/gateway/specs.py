"""Kernelspecs of the gateway: those of this machine, and one for each session.

Jupyter's programs offer only kernelspecs to choose from. So each session has one, too; starting it attaches
to the session.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, NoSuchKernel

from owt.frontend.kernels.kernels import kernelspecs
from owt.frontend.sessions.sessions import Sessions
from owt.wire.names import MAX_NAME_LENGTH, SESSION_NAME

SPEC_PREFIX = "owt-session."
"""Prefix of a session's kernelspec; the session's name follows."""


def spec_session(kernelspec: str) -> str | None:
    """Return the name of the session whose kernelspec this is, or None for any other."""
    name = kernelspec.removeprefix(SPEC_PREFIX)
    return name if name != kernelspec and SESSION_NAME.fullmatch(name) else None


class Specs:
    """Kernelspec manager for jupyter_server's handlers."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        # The native kernel would be found by importing ipykernel.
        self._installed = kernelspecs(ensure_native_kernel=False)

    def get_all_specs(self) -> dict[str, dict[str, Any]]:
        """Return the kernelspecs for Python by name, then those of sessions."""
        folders = self._installed.find_kernel_specs()
        specs = {name: _read(folder) for name, folder in folders.items()}
        for name, session in sorted(self._sessions.named.items()):
            specs[SPEC_PREFIX + name] = _session_spec(name, folders.get(session.spec))
        return {
            name: {"spec": spec.to_dict(), "resource_dir": spec.resource_dir}
            for name, spec in specs.items()
            if spec is not None and spec.language == "python"
        }

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return one kernelspec. Raises `NoSuchKernel`, which is a KeyError."""
        folders = self._installed.find_kernel_specs()
        name = spec_session(kernel_name)
        if name is not None and (session := self._sessions.named.get(name)) is not None:
            return _session_spec(name, folders.get(session.spec))
        folder = folders.get(kernel_name[:MAX_NAME_LENGTH].lower())
        if kernel_name == "python":
            folder = folder or folders.get(NATIVE_KERNEL_NAME)
        spec = _read(folder) if folder is not None else None
        if spec is None:
            raise NoSuchKernel(kernel_name[:MAX_NAME_LENGTH])
        return spec


def _session_spec(session: str, folder: str | None) -> KernelSpec:
    """Return the kernelspec of a session. It has the logo of the kernelspec in `folder`."""
    # No file is below the null device.
    return KernelSpec(
        display_name=f"{session} (owt session)", language="python", resource_dir=folder or os.devnull
    )


def _read(folder: str) -> KernelSpec | None:
    try:
        return KernelSpec.from_resource_dir(folder)
    except Exception:
        # One invalid kernel.json must not hide all others.
        return None
