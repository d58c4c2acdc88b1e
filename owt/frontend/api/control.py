"""Control of sessions, runs and the cache, and the index of all pages under /_owt/."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import Annotated

import msgspec

from owt.errors import DISTRIBUTION, BadRequest
from owt.frontend.api.followers import no_such_run
from owt.frontend.http import pages
from owt.frontend.http.fields import cut
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.session import Session
from owt.wire.call import short_path
from owt.wire.chunk import Stderr, Stdout
from owt.wire.names import MAX_NAME_LENGTH, directory, environment, session_name

INDEX = (
    ("GET", "/_owt/sessions", "sessions, and kernels of the pool"),
    ("GET, PUT, DELETE", "/_owt/sessions/NAME", "one session: show, create or end it"),
    ("POST", "/_owt/sessions/NAME/interrupt", "interrupt the session's running calls"),
    ("POST", "/_owt/sessions/NAME/restart", "restart the session's kernel"),
    ("GET", "/_owt/endpoints", "endpoints of all sessions; ?state=live or ?state=gone"),
    ("GET", "/_owt/openapi.json", "endpoints as an OpenAPI document"),
    ("GET", "/_owt/runs", "runs: active ones and recently ended ones; newest N with ?limit=N, ?session=NAME"),
    ("GET, DELETE", "/_owt/runs/ID", "one run: show or cancel it"),
    ("GET", "/_owt/runs/ID/events", "events of a run, after number N with ?after=N"),
    ("GET", "/_owt/runs/ID/answer", "response of a run, as for its caller"),
    ("POST", "/_owt/runs/ID/input", "message for a run, or the answer to its input(); ?end=1 ends its input"),
    ("GET, DELETE", "/_owt/cache", "response cache: show or clear it"),
    ("GET", "/_owt/health", "readiness for calls, with details"),
    ("GET", "/_owt/health/live", "liveness: the server responds"),
    ("GET", "/_owt/health/ready", "readiness for calls: status and reason"),
    ("GET", "/_owt/metrics", "metrics for Prometheus"),
    ("GET", "/_owt/jupyter/api", "Jupyter kernel gateway: version of the Jupyter server"),
    ("GET", "/_owt/jupyter/api/status", "gateway: numbers of kernels and connections"),
    ("GET", "/_owt/jupyter/api/me", "gateway: identity of the user"),
    ("GET, POST", "/_owt/jupyter/api/kernels", "gateway: kernels, which are the sessions; start one"),
    ("GET, DELETE", "/_owt/jupyter/api/kernels/ID", "gateway: one kernel: show or end it"),
    ("POST", "/_owt/jupyter/api/kernels/ID/interrupt", "gateway: interrupt the kernel"),
    ("POST", "/_owt/jupyter/api/kernels/ID/restart", "gateway: restart the kernel"),
    ("GET", "/_owt/jupyter/api/kernels/ID/channels", "gateway: WebSocket of the kernel"),
    ("GET", "/_owt/jupyter/api/kernelspecs", "gateway: kernelspecs"),
    ("GET", "/_owt/jupyter/api/kernelspecs/NAME", "gateway: one kernelspec"),
    ("GET", "/_owt/jupyter/kernelspecs/NAME/FILE", "gateway: file of a kernelspec, such as its logo"),
    ("GET, POST", "/_owt/jupyter/api/sessions", "gateway: notebooks with their kernels; start one"),
    ("GET, PATCH, DELETE", "/_owt/jupyter/api/sessions/ID", "gateway: one notebook's session"),
)
"""Methods (beside HEAD and OPTIONS), address and purpose of every page under /_owt/."""

LINKS = tuple(path for _, path, _ in INDEX if path == path.lower() and "/jupyter/" not in path)
"""Pages that a browser can open: without a placeholder, and without packages that may be missing."""


class IndexHandler(PageHandler):
    """/_owt/"""

    def get(self) -> None:
        """Send the index of all pages: HTML, or JSON if `Accept` has it."""
        if "application/json" in self.request.headers.get("Accept", ""):
            listing = [
                {"methods": methods.split(", "), "path": self.base + path, "purpose": purpose}
                for methods, path, purpose in INDEX
            ]
            links = [self.base + path for path in LINKS]
            self.finish_json({"version": version(DISTRIBUTION), "links": links, "pages": listing})
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(index_page(self.base))


class SessionsHandler(PageHandler):
    """/_owt/sessions"""

    def get(self) -> None:
        """Send all sessions, and the kernels of the pool."""
        sessions = self.service.sessions
        pool = sessions.pool
        self.finish_json(
            {
                "sessions": [session_document(session) for _, session in sorted(sessions.named.items())],
                "pool": [session_document(member) for member in (*pool.members, *pool.spares)],
                "waiting": len(pool.waiting),
            }
        )


class SessionOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a PUT that creates a session."""

    kernel: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] | None = None
    concurrency: int | None = None
    env: dict[str, str | int] | None = None
    cwd: str | None = None


class SessionHandler(PageHandler):
    """/_owt/sessions/NAME"""

    def get(self, name: str) -> None:
        """Send one session."""
        document = session_document(self.service.sessions.find(name))
        if (notebook := self.service.notebooks.of(name)) is not None:
            document["notebook"] = notebook.show()
        self.finish_json(document)

    async def put(self, name: str) -> None:
        """Create the session with the options in the body (201), or confirm that it has them (200)."""
        session_name(name)
        try:
            options = msgspec.json.decode(self.body or b"{}", type=SessionOptions)
        except ValueError as error:  # msgspec's own errors and UnicodeDecodeError
            raise BadRequest(
                "body", str(error), hint='Send a JSON object such as {"kernel": "owt", "concurrency": 4}'
            ) from None
        env = None if options.env is None else environment(options.env)
        cwd = None if options.cwd is None else directory(options.cwd)
        sessions = self.service.sessions
        session = sessions.named.get(name)
        status = 200
        if session is None:
            concurrency = 1 if options.concurrency is None else options.concurrency
            session = sessions.create(name, options.kernel, concurrency, env, cwd)
            status = 201
        elif (options.kernel or session.spec, options.concurrency or session.concurrency) != (
            session.spec, session.concurrency,
        ):
            raise BadRequest(
                "session",
                f"{name} exists with kernel {session.spec!r} and concurrency {session.concurrency}",
                hint="Delete it first",
            )
        else:
            sessions.check_environment(session, env, cwd)
        await session.started()
        self.finish_json(session_document(session), status)

    async def delete(self, name: str) -> None:
        """End the session and its kernel."""
        await self.service.sessions.delete(name)
        self.finish_json({"deleted": name})


class InterruptHandler(PageHandler):
    """/_owt/sessions/NAME/interrupt"""

    async def post(self, name: str) -> None:
        """Interrupt the running calls of the session."""
        session = self.service.sessions.find(name)
        runs = list(session.active)
        reason = await session.interrupt()
        document: dict[str, object] = {"interrupted": reason is None, "runs": runs}
        self.finish_json(document if reason is None else {**document, "reason": reason})


class RestartHandler(PageHandler):
    """/_owt/sessions/NAME/restart"""

    async def post(self, name: str) -> None:
        """Replace the session's kernel by a new one."""
        session = self.service.sessions.find(name)
        await session.restart()
        self.finish_json(session_document(session))


class RunsHandler(PageHandler):
    """/_owt/runs"""

    def get(self) -> None:
        """Send the known runs of this user, oldest first, or the newest `?limit=`, newest first.

        With `?session=`, only those of a session.
        """
        fields = self.query_fields("limit", "session")
        runs = [run for run in self.service.runs.all() if run.user == self.user]
        runs.sort(key=lambda run: run.created_at)
        if (session := fields.get("session")) is not None:
            session_name(session)
            runs = [run for run in runs if run.session == session]
        if (limit := fields.get("limit")) is not None:
            if not re.fullmatch("[1-9][0-9]{0,8}", limit):
                raise BadRequest("limit", "must be a whole number above 0", cut(limit))
            runs = runs[: -int(limit) - 1 : -1]
        self.finish_json({"runs": [run_document(run) for run in runs]})


class RunHandler(PageHandler):
    """/_owt/runs/ID"""

    async def get(self, id: str) -> None:
        """Send one run with its printed output."""
        if (run := await self._find(id)) is not None:
            document = run_document(run)
            self.finish_json({**document, "stdout": run.text(Stdout), "stderr": run.text(Stderr)})

    async def delete(self, id: str) -> None:
        """Cancel the run (202). A run that has ended, or that other calls share, stays unchanged (200)."""
        if (run := await self._find(id)) is not None:
            cancelled = not run.ended and run.withdraw()
            document = {"run": id, "cancelled": cancelled, "state": run.state}
            if not run.ended and not cancelled:
                document["shared"] = run.shared_by
            self.finish_json(document, 202 if cancelled else 200)

    async def _find(self, id: str) -> Run | None:
        await self.service.wait_for(id)
        run = self.service.known(id, self.user)
        if run is None:
            self.finish_problem(no_such_run(id, self.service.settings.run_retention))
        return run


class CacheHandler(PageHandler):
    """/_owt/cache"""

    def get(self) -> None:
        """Send the number and the size of the cached responses."""
        cache = self.service.cache
        limit = self.service.settings.cache_bytes
        self.finish_json({"answers": cache.count, "bytes": cache.bytes, "limit": limit})

    def delete(self) -> None:
        """Clear the cache."""
        self.finish_json({"deleted": self.service.cache.clear()})


class UnknownPageHandler(PageHandler):
    """Any other path under /_owt/, and any path that is not under the base URL"""

    def _unknown(self) -> None:
        path = self.request.path
        if path.startswith(f"{self.base}/"):
            detail = f"there is no page {path[:80]!r}; {self.base}/_owt/ lists all pages"
        else:
            detail = f"{path[:80]!r} is not under {self.base}/, the server's base path (--base-url)"
        self.finish_problem(Problem("about:blank", "not found", 404, detail))

    get = head = post = put = patch = delete = options = _unknown


def index_page(base: str = "") -> str:
    """Return the index of all pages as HTML. `base` is the base URL."""
    items = []
    for methods, path, purpose in INDEX:
        address = f'<a href="{base}{path}">{base}{path}</a>' if path in LINKS else escape(base + path)
        items.append(f"<li><code>{methods} {address}</code>: {escape(purpose)}</li>")
    body = "<h1>This server</h1>\n<ul>\n" + "\n".join(items) + f'\n</ul>\n<p><a href="{base}/">owt</a></p>\n'
    return pages.page("owt: this server", body, base)


def timestamp(seconds: float | None) -> str | None:
    """Return a time in seconds since 1970 as RFC 3339 text in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session_document(session: Session) -> dict[str, object]:
    """Return a session as JSON."""
    kernel = session.kernel
    active = list(session.active)
    return {
        "name": session.name,
        "state": session.state,
        "kernel": session.spec,
        "concurrency": session.concurrency,
        # Values may be secrets.
        "env": sorted(session.env),
        "cwd": session.cwd,
        "pid": kernel.pid if kernel else None,
        "memory": kernel.memory() if kernel else None,
        "queue": len(session.queue),
        "current_run": active[0] if active else None,
        "runs": active,
        "waiting_for_input": [run.id for run in session.active.values() if run.input and run.input.prompt],
        "abandoned": [run.id for run in session.active.values() if run.abandoned],
        "calls": session.calls,
        "started": timestamp(session.created),
        "last_used": timestamp(session.used),
        "restarts": session.restarts,
        "restarted": timestamp(session.restarted),
        "last_death": session.last_death,
        "connection_file": kernel.connection_file if kernel else None,
        "kept": kernel.kept_seconds if kernel else None,
    }


def run_document(run: Run) -> dict[str, object]:
    """Return a run as JSON."""
    seconds = (run.ended_at - run.started_at) if run.ended_at and run.started_at else None
    failure = run.failure
    prompt = None if run.input is None else run.input.prompt
    return {
        "id": run.id,
        "state": run.state if prompt is None else "waiting-for-input",
        "session": run.session,
        "kernel": run.kernel,
        "path": short_path(run.call.request.path),
        "status": run.status,
        "created": timestamp(run.created_at),
        "started": timestamp(run.started_at),
        "ended": timestamp(run.ended_at),
        "seconds": seconds,
        "content_type": _content_type(run),
        "bytes": run.journal.total,
        "dropped": run.journal.total - run.journal.bytes,
        "inputs": 0 if run.input is None else run.input.received,
        "prompt": None if prompt is None else prompt.text,
        "detached": run.detached,
        "abandoned": run.abandoned,
        "events": run.journal.number(run.journal.end),
        "failure": failure and msgspec.structs.asdict(failure),
    }


def _content_type(run: Run) -> str | None:
    """Return the Content-Type of the run's plain response, or None before its head."""
    headers = run.journal.head.headers if run.journal.head is not None else ()
    types = [value for name, value in headers if name.lower() == "content-type"]
    return types[-1] if types else None
