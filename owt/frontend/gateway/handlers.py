"""jupyter_server's handlers behind owt's own door: who may come in, from where, and with how much."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from http.client import responses
from typing import Any

import jupyter_server
from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.base.handlers import APIHandler
from jupyter_server.kernelspecs.handlers import KernelSpecResourceHandler
from jupyter_server.kernelspecs.handlers import default_handlers as resource_handlers
from jupyter_server.services.api.handlers import IdentityHandler
from jupyter_server.services.kernels.handlers import default_handlers as kernel_handlers
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from jupyter_server.services.kernelspecs.handlers import default_handlers as spec_handlers
from jupyter_server.services.sessions.handlers import default_handlers as session_handlers
from tornado.web import Application, HTTPError, RequestHandler

from owt.errors import BadRequest, OwtError
from owt.frontend import logs
from owt.frontend.api.control import when
from owt.frontend.gateway.connection import Connection
from owt.frontend.gateway.kernels import SessionKernels
from owt.frontend.gateway.notebooks import Notebooks
from owt.frontend.gateway.specs import Specs, live_session
from owt.frontend.http.handler import OwtHandler
from owt.frontend.problems import Problem, failed
from owt.frontend.service import Service

_log = logging.getLogger("owt.jupyter")


class Guarded(OwtHandler):
    """What stands before each of jupyter_server's handlers, as the first of its bases.

    The door is owt's; what Jupyter's own would ask (a host, a cookie, a token in the URL) is not asked.
    """

    @property
    def log(self) -> logging.Logger:
        """Where Jupyter's handlers log."""
        return _log

    async def prepare(self) -> None:
        """As owt's, and say who has come in the way in which Jupyter asks for it."""
        if (waiting := OwtHandler.prepare(self)) is not None:
            await waiting
        if not self._finished:
            self.current_user = self._jupyter_current_user = User(self.user or "owt")

    def check_origin(self, origin: str = "") -> bool:
        """True: whoever is from elsewhere has not come so far."""
        return True

    def get_json_body(self) -> dict[str, Any] | None:
        """The body as a JSON object; None if there is none. Raises a 400."""
        if not self.body.strip():
            return None
        try:
            model = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HTTPError(400, "the body is not JSON") from None
        if not isinstance(model, dict):
            raise HTTPError(400, "the body must be a JSON object")
        for part in ("kernel", "notebook"):
            if not isinstance(model.get(part, {}), dict):
                raise HTTPError(400, f"{part} must be a JSON object")
        if isinstance(env := model.get("env"), dict) and "path" not in model:
            # A gateway's client does not say which notebook it is for, unless it is told to.
            model["path"] = env.get("JPY_SESSION_NAME")
        return model

    def finish_problem(self, problem: Problem) -> None:
        """Answer with a problem, in JSON with what Jupyter's clients show of an error."""
        document = json.loads(problem.json())
        document |= {"message": problem.detail or problem.title, "reason": problem.title}
        self.set_status(problem.status)
        self.service.counters.refused(problem.status)
        if not self.request._body_future.done():
            self.set_header("Connection", "close")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """An error of ours has its own status, also where Jupyter's handlers have made another of it."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, HTTPError) and isinstance(error.__cause__, OwtError | HTTPError):
            error = error.__cause__
        if isinstance(error, OwtError):
            if isinstance(retry := getattr(error, "retry_after", None), int):
                self.set_header("Retry-After", str(retry))
            self.finish_problem(Problem.of(failed(error)))
            return
        detail = ""
        if isinstance(error, HTTPError):
            status_code = error.status_code
            if error.log_message:
                detail = error.log_message % error.args if error.args else error.log_message
        title = responses.get(status_code) or self._reason or "error"
        self.finish_problem(Problem("about:blank", title, status_code, detail))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors of ours are answers, not accidents."""
        if not isinstance(value, OwtError):
            super().log_exception(typ, value, tb)


def guarded(handler: type[RequestHandler]) -> type[RequestHandler]:
    """This handler of jupyter_server's behind owt's door."""
    return type(handler.__name__, (Guarded, handler), {})


class Channels(Guarded, KernelWebsocketHandler):  # type: ignore[misc]
    """The WebSocket of a kernel."""

    gone = False

    @property
    def ping_interval(self) -> float:
        """Milliseconds between Jupyter's pings. Tornado, which asks before there is a connection, and means
        seconds, sends none of its own."""
        return 0.0 if self.ws_connection is None else float(super().ping_interval)

    @property
    def ping_timeout(self) -> float:
        """Milliseconds without a pong after which the connection is closed: a client that has gone, or that
        has long read nothing."""
        return 0.0 if self.ws_connection is None else float(super().ping_timeout)

    async def on_message(self, ws_message: str | bytes) -> None:
        """A message of the client. The next one is read when this one has been passed on."""
        await self.connection.take(ws_message)

    async def pre_get(self) -> None:
        """Make the connection. Raises `BadRequest` for a session id that ZeroMQ cannot have as an identity
        (RFC 28/REQREP), and a 499 when the client goes away meanwhile: nobody would be told again."""
        id = self.get_argument("session_id", "")
        if not id.isascii() or len(id) > 255:
            raise BadRequest("session_id", "must have at most 255 characters, all of them ASCII", id)
        if not self.gone:
            await super().pre_get()
        if self.gone:
            raise HTTPError(499, reason="client gone")

    def on_close(self) -> None:
        """The client has gone, perhaps before there was a connection."""
        self.gone = True
        if getattr(self, "connection", None) is not None:
            super().on_close()


class Resource(Guarded, KernelSpecResourceHandler):  # type: ignore[misc]
    """A kernelspec's logo."""

    def initialize(self, service: Service) -> None:
        """As both do."""
        OwtHandler.initialize(self, service)
        KernelSpecResourceHandler.initialize(self)

    async def get(self, kernel_name: str, path: str, include_body: bool = True) -> None:
        """The file. Raises a 404 for the kernelspec of a session, which has none."""
        if live_session(kernel_name) is not None:
            raise HTTPError(404, "the kernelspec of a session has no files")
        await KernelSpecResourceHandler.get(self, kernel_name, path, include_body)


class VersionHandler(Guarded, APIHandler):  # type: ignore[misc]
    """Which Jupyter server this seems to be."""

    def get(self) -> None:
        """Its version."""
        self.finish(json.dumps({"version": jupyter_server.__version__}))


class StatusHandler(Guarded, APIHandler):  # type: ignore[misc]
    """What the server does."""

    def get(self) -> None:
        """How many kernels there are, and when something last happened."""
        kernels = self.kernel_manager.list_kernels()
        started = when(self.service.started)
        status = {
            "started": started,
            "last_activity": max((each["last_activity"] for each in kernels), default=started),
            "kernels": len(kernels),
            "connections": sum(each["connections"] for each in kernels),
        }
        self.finish(json.dumps(status))


class MeHandler(Guarded, IdentityHandler):  # type: ignore[misc]
    """Who the user is."""

    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")


class UnknownHandler(Guarded, APIHandler):  # type: ignore[misc]
    """Anything else below the gateway."""

    def _unknown(self) -> None:
        raise HTTPError(404, "owt is a gateway to kernels; there is no %s", self.request.path[:80])

    get = head = post = put = patch = delete = _unknown


class Gateway:
    """The handlers and what they work on. One for a server."""

    def __init__(self, service: Service, root: str) -> None:
        """`root` is the path that all of it lies under."""
        self._kernels = SessionKernels(service, log=_log)
        provider = IdentityProvider(token="", log=_log)
        self.application = Application(
            _routes(root, {"service": service}),
            log_function=logs.log_request,
            base_url=root + "/",
            kernel_manager=self._kernels,
            kernel_spec_manager=Specs(service.sessions),
            session_manager=Notebooks(self._kernels),
            identity_provider=provider,
            authorizer=AllowAllAuthorizer(identity_provider=provider, log=_log),
            kernel_websocket_connection_class=Connection,
            websocket_max_message_size=service.settings.max_body,
            started=datetime.fromtimestamp(service.started, UTC),
        )

    def close(self) -> None:
        """Let go of all kernels."""
        self._kernels.close()


def _routes(root: str, given: dict[str, Any]) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    own: dict[type[RequestHandler], type[RequestHandler]] = {
        KernelWebsocketHandler: Channels,
        KernelSpecResourceHandler: Resource,
    }
    theirs: list[tuple[str, type[RequestHandler]]] = [
        *kernel_handlers,
        *spec_handlers,
        *session_handlers,
        *resource_handlers,
    ]
    pairs: list[tuple[str, type[RequestHandler]]] = [
        (r"/api/?", VersionHandler),
        (r"/api/status", StatusHandler),
        (r"/api/me", MeHandler),
        *((pattern, own.get(handler) or guarded(handler)) for pattern, handler in theirs),
    ]
    found = [(re.escape(root) + pattern, handler, given) for pattern, handler in pairs]
    return [*found, (r".*", UnknownHandler, given)]
