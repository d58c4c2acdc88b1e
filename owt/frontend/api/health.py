"""Whether the server is alive and whether it is ready for calls: /_owt/health.

Nothing here waits for a kernel, or asks one anything, so it answers while all of them are busy or stopped.
A server is alive when it answers at all. It is ready unless it is ending, a notebook of it is not in effect
(yet, or at all), or no kernel could be had for a call that came now.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from owt.frontend.api.control import ControlHandler, when
from owt.frontend.service import Service

Status = Literal["ok", "starting", "draining", "no-kernel", "loading", "notebook-failed"]


class Readiness(Struct, frozen=True):
    """Whether calls can be taken (`ok`), and if not, why, in words for people."""

    status: Status
    reason: str | None = None


def readiness(service: Service) -> Readiness:
    """Whether the server is ready for calls now."""
    if service.draining:
        return Readiness("draining", "the server is ending; it takes no new calls")
    for notebook in service.notebooks.all:
        if not notebook.complete:
            if notebook.state == "failed":
                return Readiness("notebook-failed", f"{notebook.path}: {notebook.reason}")
            return Readiness("loading", f"{notebook.path}: its cells are running")
    sessions = service.sessions
    if sessions.pool.has_kernel:
        return Readiness("ok")
    if (problem := sessions.pool.problem) is not None:
        return Readiness("no-kernel", f"the last kernel could not be started: {problem}")
    if sessions.kernels.preparing:
        return Readiness("starting", "the process that kernels are forked from is still importing")
    return Readiness("ok")


class LiveHandler(ControlHandler):
    """/_owt/health/live"""

    def get(self) -> None:
        """The event loop runs, or there were no answer."""
        self.finish_json({"status": "ok"})


class ReadyHandler(ControlHandler):
    """/_owt/health/ready"""

    def get(self) -> None:
        """Whether calls can be taken, with the reason if they cannot."""
        ready = readiness(self.service)
        self.finish_json(ready, 200 if ready.status == "ok" else 503)


class HealthHandler(ControlHandler):
    """/_owt/health"""

    def get(self) -> None:
        """The same, and a few numbers."""
        ready = readiness(self.service)
        sessions = self.service.sessions
        self.finish_json(
            {
                "status": ready.status,
                "reason": ready.reason,
                "started": when(self.service.started),
                "sessions": len(sessions.named),
                "pool": {"kernels": len(sessions.pool.members), "spare": len(sessions.pool.spares)},
                "runs": len(self.service.runs.live()),
                "notebooks": [each.show() for each in self.service.notebooks.all],
            },
            200 if ready.status == "ok" else 503,
        )


def routes(service: Service) -> list[tuple[str, type[ControlHandler], dict[str, object]]]:
    """The pages about health."""
    given: dict[str, object] = {"service": service}
    return [
        (r"/_owt/health", HealthHandler, given),
        (r"/_owt/health/live", LiveHandler, given),
        (r"/_owt/health/ready", ReadyHandler, given),
    ]
