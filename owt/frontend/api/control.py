"""The server's own pages, under /_owt/: sessions, runs, the cache."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from tornado.routing import Router

from owt.errors import BadRequest, OwtError
from owt.frontend.api.followers import AnswerExchange, EventsExchange, RunRouter, no_such_run
from owt.frontend.http import pages
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem
from owt.frontend.runs.runs import Run
from owt.frontend.service import Service
from owt.frontend.sessions.session import Session
from owt.wire.chunk import Stderr, Stdout
from owt.wire.names import MAX_NAME_LENGTH, session_name

Page = tuple[str, type[PageHandler] | Router, dict[str, Any]]
"""A path's pattern, below the base URL, and who answers there."""


class ControlHandler(PageHandler):
    """What the pages under /_owt/ share: JSON out, errors of ours as problems."""

    def finish_json(self, document: object, status: int = 200) -> None:
        """Answer with a JSON document."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(msgspec.json.encode(document) + b"\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Our own errors carry their status and message."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, OwtError):
            self.finish_error(error)
        else:
            super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of ours are answers, not accidents."""
        if not isinstance(value, OwtError):
            super().log_exception(typ, value, tb)


class IndexHandler(ControlHandler):
    """/_owt/"""

    def get(self) -> None:
        """A page that links to what the server offers; JSON for programs that ask for it."""
        if "application/json" in self.request.headers.get("Accept", ""):
            links = [self.base + link for link, _ in pages.LINKS]
            self.finish_json({"version": version("owt"), "links": links})
            return
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(pages.index(self.base))


class SessionsHandler(ControlHandler):
    """/_owt/sessions"""

    def get(self) -> None:
        """All sessions, and the pool's kernels."""
        sessions = self.service.sessions
        pool = sessions.pool
        self.finish_json(
            {
                "sessions": [show_session(each) for _, each in sorted(sessions.named.items())],
                "pool": [show_session(each) for each in (*pool.members, *pool.spares)],
                "waiting": len(pool.waiting),
            }
        )


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What a PUT may say about the session that it makes."""

    kernel: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] | None = None
    concurrency: int | None = None


class SessionHandler(ControlHandler):
    """/_owt/sessions/NAME"""

    def get(self, name: str) -> None:
        """One session."""
        shown = show_session(self.service.sessions.find(name))
        if (notebook := self.service.notebooks.of(name)) is not None:
            shown["notebook"] = notebook.show()
        self.finish_json(shown)

    async def put(self, name: str) -> None:
        """Make the session, with options as a JSON object; it may exist already if it is the same."""
        session_name(name)
        try:
            wanted = msgspec.json.decode(self.body or b"{}", type=Wanted)
        except ValueError as error:  # msgspec's own errors and UnicodeDecodeError
            raise BadRequest(
                "body", str(error), hint='Send a JSON object such as {"kernel": "owt", "concurrency": 4}'
            ) from None
        sessions = self.service.sessions
        session = sessions.named.get(name)
        status = 200
        if session is None:
            concurrency = 1 if wanted.concurrency is None else wanted.concurrency
            session = sessions.create(name, wanted.kernel, concurrency)
            status = 201
        elif (wanted.kernel or session.spec, wanted.concurrency or session.concurrency) != (
            session.spec, session.concurrency,
        ):
            raise BadRequest(
                "session",
                f"{name} exists with kernel {session.spec!r} and concurrency {session.concurrency}",
                hint="Delete it first",
            )
        await session.started()
        self.finish_json(show_session(session), status)

    async def delete(self, name: str) -> None:
        """End the session and its kernel."""
        await self.service.sessions.delete(name)
        self.finish_json({"deleted": name})


class InterruptHandler(ControlHandler):
    """/_owt/sessions/NAME/interrupt"""

    async def post(self, name: str) -> None:
        """Interrupt what the session's kernel is doing."""
        session = self.service.sessions.find(name)
        runs = list(session.active)
        self.finish_json({"interrupted": await session.interrupt(), "runs": runs})


class RestartHandler(ControlHandler):
    """/_owt/sessions/NAME/restart"""

    async def post(self, name: str) -> None:
        """A fresh kernel for the session."""
        session = self.service.sessions.find(name)
        await session.restart()
        self.finish_json(show_session(session))


class RunsHandler(ControlHandler):
    """/_owt/runs"""

    def get(self) -> None:
        """The runs of this user that are known, oldest first."""
        runs = [show_run(run) for run in self.service.runs.all() if self.user in run.users]
        self.finish_json({"runs": runs})


class RunHandler(ControlHandler):
    """/_owt/runs/ID"""

    def get(self, id: str) -> None:
        """One run, with what it printed."""
        if (run := self._find(id)) is not None:
            shown = show_run(run)
            self.finish_json({**shown, "stdout": run.text(Stdout), "stderr": run.text(Stderr)})

    def delete(self, id: str) -> None:
        """Cancel the run; one that has ended stays as it is."""
        if (run := self._find(id)) is not None:
            ended = run.ended
            run.cancel("cancelled")
            self.finish_json({"run": id, "cancelled": not ended, "state": run.state}, 200 if ended else 202)

    def _find(self, id: str) -> Run | None:
        run = self.service.known(id, self.user)
        if run is None:
            self.finish_problem(no_such_run(id, self.service.settings.run_retention))
        return run


class CacheHandler(ControlHandler):
    """/_owt/cache"""

    def get(self) -> None:
        """How much is stored."""
        cache = self.service.cache
        limit = self.service.settings.cache_bytes
        self.finish_json({"answers": cache.count, "bytes": cache.bytes, "limit": limit})

    def delete(self) -> None:
        """Forget every stored answer."""
        self.finish_json({"deleted": self.service.cache.clear()})


class UnknownHandler(ControlHandler):
    """Anything else under /_owt/"""

    def _unknown(self) -> None:
        self.finish_problem(
            Problem(
                "about:blank", "not found", 404,
                f"there is no page {self.request.path[:80]!r}; {self.base}/_owt/ lists those that there are",
            )
        )

    get = head = post = put = patch = delete = _unknown


def when(moment: float | None) -> str | None:
    """A moment in seconds since 1970, as RFC 3339 text in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_session(session: Session) -> dict[str, object]:
    """A session as JSON."""
    kernel = session.kernel
    active = list(session.active)
    return {
        "name": session.name,
        "state": session.state,
        "kernel": session.spec,
        "concurrency": session.concurrency,
        "pid": kernel.pid if kernel else None,
        "memory": kernel.memory() if kernel else None,
        "queue": len(session.queue),
        "current_run": active[0] if active else None,
        "runs": active,
        "calls": session.calls,
        "started": when(session.created),
        "last_used": when(session.used),
        "restarts": session.restarts,
        "restarted": when(session.restarted),
        "last_death": session.last_death,
        "connection_file": kernel.connection_file if kernel else None,
    }


def content_type(run: Run) -> str | None:
    """The Content-Type that a run's plain answer has, once it has begun."""
    head = run.journal.head
    said = [] if head is None else [value for name, value in head.headers if name.lower() == "content-type"]
    return said[-1] if said else None


def show_run(run: Run) -> dict[str, object]:
    """A run as JSON."""
    seconds = (run.ended_at - run.started_at) if run.ended_at and run.started_at else None
    failure = run.failure
    return {
        "id": run.id,
        "state": run.state,
        "session": run.session,
        "kernel": run.kernel,
        "path": run.call.request.path,
        "status": run.status,
        "created": when(run.created_at),
        "started": when(run.started_at),
        "ended": when(run.ended_at),
        "seconds": seconds,
        "content_type": content_type(run),
        "form": run.form,
        "bytes": run.journal.total,
        "detached": run.detached,
        "events": run.journal.number(run.journal.end),
        "failure": failure and msgspec.structs.asdict(failure),
    }


def routes(
    service: Service, more: Sequence[Page] = ()
) -> list[Page]:
    """The pages under /_owt/, `more` of them among these."""
    given: dict[str, Any] = {"service": service}
    return [
        (r"/_owt/?", IndexHandler, given),
        (r"/_owt/sessions", SessionsHandler, given),
        (r"/_owt/sessions/([^/]+)", SessionHandler, given),
        (r"/_owt/sessions/([^/]+)/interrupt", InterruptHandler, given),
        (r"/_owt/sessions/([^/]+)/restart", RestartHandler, given),
        (r"/_owt/runs", RunsHandler, given),
        (r"/_owt/runs/([^/]+)", RunHandler, given),
        (r"/_owt/runs/([^/]+)/events", RunRouter(service, EventsExchange), {}),
        (r"/_owt/runs/([^/]+)/answer", RunRouter(service, AnswerExchange), {}),
        (r"/_owt/cache", CacheHandler, given),
        *more,
        (r"/_owt/.*", UnknownHandler, given),
    ]
