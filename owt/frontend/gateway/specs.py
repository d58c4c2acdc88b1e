"""The kernelspecs that the gateway offers: those of this machine, and one for each session that lives.

Jupyter's programs let people choose among kernelspecs, and through a gateway among nothing else. So each
session is one, too: whoever starts it gets the session that there is.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from owt.frontend.sessions.sessions import Sessions
from owt.wire.names import MAX_NAME_LENGTH, SESSION_NAME

LIVE = "owt-session."
"""What the kernelspec of a session begins with; the session's name follows."""


def live_session(kernelspec: str) -> str | None:
    """The session that a kernelspec stands for, if it is not an ordinary one."""
    name = kernelspec.removeprefix(LIVE)
    return name if name != kernelspec and SESSION_NAME.fullmatch(name) else None


class Specs:
    """What jupyter_server's handlers ask of a `KernelSpecManager`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        # Its own one would be found by importing ipykernel.
        self._installed = KernelSpecManager(ensure_native_kernel=False)

    def get_all_specs(self) -> dict[str, dict[str, Any]]:
        """Kernelspecs for Python by name, then those of sessions."""
        found: dict[str, dict[str, Any]] = {}
        for name, place in self._installed.find_kernel_specs().items():
            spec = _read(place)
            if spec is not None and spec.language == "python":
                found[name] = {"spec": spec.to_dict(), "resource_dir": spec.resource_dir}
        return found | {LIVE + name: _model(name) for name in sorted(self._sessions.named)}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec | dict[str, Any]:
        """One of them. Raises `NoSuchKernel`, which is a KeyError."""
        session = live_session(kernel_name)
        if session is not None and session in self._sessions.named:
            return _model(session)
        place = self._installed.find_kernel_specs().get(kernel_name[:MAX_NAME_LENGTH].lower())
        spec = _read(place) if place is not None else None
        if spec is None:
            raise NoSuchKernel(kernel_name[:MAX_NAME_LENGTH])
        return spec


def _read(place: str) -> KernelSpec | None:
    try:
        spec: KernelSpec = KernelSpec.from_resource_dir(place)
    except Exception:
        # Somebody's broken kernel.json must not hide all others.
        return None
    return spec


def _model(session: str) -> dict[str, Any]:
    spec = KernelSpec(display_name=f"{session} (owt session)", language="python")
    return {"name": LIVE + session, "spec": spec.to_dict(), "resources": {}}
