"""Liveness and readiness of the server, at /_owt/health.

No handler waits for a kernel, so they respond while all kernels are busy or stopped. A server is live if it
responds. It is ready unless it is shutting down, one of its notebooks is loading or failed, or a call that
arrived now would get no kernel.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from owt.frontend.api.control import timestamp
from owt.frontend.http.handler import PageHandler
from owt.frontend.service import Service

Status = Literal["ok", "starting", "draining", "no-kernel", "loading", "notebook-failed"]


class Readiness(Struct, frozen=True):
    """Readiness for calls: `ok`, or another status and its reason as text."""

    status: Status
    reason: str | None = None


def readiness(service: Service) -> Readiness:
    """Return the server's current readiness for calls."""
    if service.draining:
        return Readiness("draining", "the server is shutting down and accepts no new calls")
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
        return Readiness("starting", "the process that forks kernels is importing modules")
    return Readiness("ok")


class LiveHandler(PageHandler):
    """/_owt/health/live"""

    def get(self) -> None:
        """Send `ok`: the event loop runs."""
        self.finish_json({"status": "ok"})


class ReadyHandler(PageHandler):
    """/_owt/health/ready"""

    def get(self) -> None:
        """Send the readiness, with status 503 unless it is `ok`."""
        ready = readiness(self.service)
        self.finish_json(ready, 200 if ready.status == "ok" else 503)


class HealthHandler(PageHandler):
    """/_owt/health"""

    def get(self) -> None:
        """Send the readiness with details of sessions, pool, runs and notebooks."""
        ready = readiness(self.service)
        sessions = self.service.sessions
        self.finish_json(
            {
                "status": ready.status,
                "reason": ready.reason,
                "started": timestamp(self.service.started),
                "sessions": len(sessions.named),
                "pool": {
                    "kernels": len(sessions.pool.members),
                    "spare": len(sessions.pool.spares),
                    "stuck": sessions.pool.stuck,
                },
                "kernel_ends": self.service.counters.kernel_ends,
                "runs": len(self.service.runs.live()),
                "preload": list(sessions.kernels.preload_problems),
                "kept": _kept(self.service),
                "notebooks": [notebook.show() for notebook in self.service.notebooks.all],
            },
            200 if ready.status == "ok" else 503,
        )


def _kept(service: Service) -> dict[str, object] | None:
    """Return what is known about a server whose sessions outlive its process (--keep), or None."""
    history, host = service.history, service.sessions.kernels.host
    if history is None or host is None:
        return None
    problem = "no process keeps the sessions any more: none could be started" if host.is_gone else None
    return {
        "seconds": service.settings.keep,
        "since": timestamp(history.started),
        "restarts": history.restarts,
        "kept_seconds": history.kept_seconds,
        "host": host.pid,
        "host_restarts": host.restarts,
        "problem": problem or service.records_problem,
    }
