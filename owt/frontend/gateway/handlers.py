"""jupyter_server's handlers behind owt's access control and limits."""

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
from jupyter_server.services.kernels.handlers import MainKernelHandler
from jupyter_server.services.kernels.handlers import default_handlers as kernel_handlers
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from jupyter_server.services.kernelspecs.handlers import default_handlers as spec_handlers
from jupyter_server.services.sessions.handlers import default_handlers as session_handlers
from tornado.web import Application, HTTPError, RequestHandler

from owt.errors import BadRequest, Busy, OwtError
from owt.frontend import logs
from owt.frontend.api.control import timestamp
from owt.frontend.gateway.channels import ChannelsConnection
from owt.frontend.gateway.jupyter_sessions import JupyterSessions
from owt.frontend.gateway.kernels import SessionKernels
from owt.frontend.gateway.specs import Specs
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem, WholeResponse, failed
from owt.frontend.service import Service

_log = logging.getLogger("owt.jupyter")


class Guarded(PageHandler):
    """First base of each of jupyter_server's handlers. owt's access control replaces Jupyter's, which checks
    the host, a cookie, or a token in the URL."""

    @property
    def log(self) -> logging.Logger:
        """The logger of Jupyter's handlers."""
        return _log

    def set_default_headers(self) -> None:
        """Begin a response as owt's pages do. What the API says changes all the time."""
        PageHandler.set_default_headers(self)
        if "/api" in self.request.path:
            self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        """Check the request as owt's handlers do, and set the user where Jupyter's handlers look for it."""
        await PageHandler.prepare(self)
        self.current_user = User(self.user or "owt")

    def check_origin(self, origin: str = "") -> bool:
        """Return True, since `prepare` has refused other origins."""
        return True

    def get_json_body(self) -> dict[str, Any] | None:
        """Return the body as a JSON object; None if there is none. Raises a 400."""
        if not self.body.strip():
            return None
        try:
            model = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HTTPError(400, "the body is not JSON") from None
        if not isinstance(model, dict):
            raise HTTPError(400, "the body must be a JSON object")
        for part in ("kernel", "notebook", "env"):
            if not isinstance(model.get(part, {}), dict):
                raise HTTPError(400, f"{part} must be a JSON object")
        return model

    def finish_problem(self, problem: Problem) -> None:
        """Respond with a problem, in JSON with the members that Jupyter's clients show."""
        document = json.loads(problem.json())
        document |= {"message": problem.detail or problem.title, "reason": problem.title}
        body = json.dumps(document).encode()
        self.finish_answer(WholeResponse(problem.status, [("Content-Type", "application/json")], body))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Respond with an error. One of owt keeps its status where Jupyter's handlers have wrapped it."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, HTTPError) and isinstance(error.__cause__, OwtError | HTTPError):
            error = error.__cause__
        if isinstance(error, OwtError):
            if isinstance(error, Busy):
                self.set_header("Retry-After", str(error.retry_after))
            self.finish_problem(Problem.of(failed(error)))
            return
        title = detail = ""
        if isinstance(error, HTTPError):
            status_code, title = error.status_code, error.reason or ""
            if error.log_message:
                detail = error.log_message % error.args if error.args else error.log_message
        title = responses.get(status_code) or title or "error"
        self.finish_problem(Problem("about:blank", title, status_code, detail))


def guarded(handler: type[RequestHandler]) -> type[RequestHandler]:
    """Return this handler of jupyter_server with owt's access control."""
    return type(handler.__name__, (Guarded, handler), {})


class KernelsHandler(Guarded, MainKernelHandler):  # type: ignore[misc]
    """The list of kernels."""

    async def post(self) -> None:
        """Start a kernel. Jupyter's handler ignores the environment, in which a gateway's client passes
        `KERNEL_` variables and the path of its notebook."""
        model = self.get_json_body() or {}
        env = model.get("env", {})
        kernel_id = await self.kernel_manager.start_kernel(
            model.get("name"), model.get("path", env.get("JPY_SESSION_NAME")), model.get("kernel_id"), env
        )
        self.set_header("Location", f"{self.base_url}api/kernels/{kernel_id}")
        self.set_status(201)
        self.finish(json.dumps(self.kernel_manager.kernel_model(kernel_id)))


class Channels(Guarded, KernelWebsocketHandler):  # type: ignore[misc]
    """The WebSocket of a kernel."""

    client_gone = False

    def supports(self, method: str) -> bool:
        """Return True for GET, which opens the WebSocket, and OPTIONS. A HEAD would connect to the kernel."""
        return method in ("GET", "OPTIONS")

    @property
    def ping_interval(self) -> float:
        """Milliseconds between Jupyter's pings. Tornado, which reads this before there is a connection and in
        seconds, sends none."""
        return 0.0 if self.ws_connection is None else float(super().ping_interval)

    @property
    def ping_timeout(self) -> float:
        """Milliseconds without a pong after which the connection is closed, since the client is gone or reads
        nothing."""
        return 0.0 if self.ws_connection is None else float(super().ping_timeout)

    async def on_message(self, ws_message: str | bytes) -> None:
        """Forward a message of the client. The next one is read after that."""
        await self.connection.handle_incoming_message(ws_message)

    async def pre_get(self) -> None:
        """Create the connection. Raises `BadRequest` for a session id that cannot be a ZeroMQ identity
        (RFC 28/REQREP), and a 499 if the client disconnects meanwhile, whose end would not be reported
        again."""
        id = self.get_argument("session_id", "")
        if not id.isascii() or len(id) > 255:
            raise BadRequest("session_id", "must have at most 255 characters, all of them ASCII", id)
        if not self.client_gone:
            await super().pre_get()
        if self.client_gone:
            raise HTTPError(499, reason="client gone")

    def on_close(self) -> None:
        """Release the connection, if the client was still there when it was created."""
        self.client_gone = True
        if getattr(self, "connection", None) is not None:
            super().on_close()


class Resource(Guarded, KernelSpecResourceHandler):  # type: ignore[misc]
    """A kernelspec's logo."""

    def initialize(self, service: Service) -> None:
        """Initialize both bases."""
        PageHandler.initialize(self, service)
        KernelSpecResourceHandler.initialize(self)


class VersionHandler(Guarded, APIHandler):  # type: ignore[misc]
    """The version of the Jupyter server."""

    def get(self) -> None:
        """Respond with jupyter_server's version."""
        self.finish(json.dumps({"version": jupyter_server.__version__}))


class StatusHandler(Guarded, APIHandler):  # type: ignore[misc]
    """The state of the server."""

    def get(self) -> None:
        """Respond with the number of kernels and connections, and the time of the last activity."""
        kernels = self.kernel_manager.list_kernels()
        started = timestamp(self.service.started)
        status = {
            "started": started,
            "last_activity": max((kernel["last_activity"] for kernel in kernels), default=started),
            "kernels": len(kernels),
            "connections": sum(kernel["connections"] for kernel in kernels),
        }
        self.finish(json.dumps(status))


class MeHandler(Guarded, IdentityHandler):  # type: ignore[misc]
    """The identity of the user."""

    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")


class UnknownHandler(Guarded, APIHandler):  # type: ignore[misc]
    """All other paths of the gateway."""

    def _unknown(self) -> None:
        raise HTTPError(404, "owt is a gateway to kernels; there is no %s", self.request.path[:80])

    get = head = post = put = patch = delete = options = _unknown


def create_application(service: Service, root: str) -> Application:
    """Return the application of the gateway, whose path is `root`, with its managers in the settings."""
    kernels = SessionKernels(service)
    provider = IdentityProvider(token="", log=_log)
    return Application(
        _routes(root, {"service": service}),
        log_function=logs.log_request,
        base_url=root + "/",
        kernel_manager=kernels,
        kernel_spec_manager=Specs(service.sessions),
        session_manager=JupyterSessions(kernels),
        identity_provider=provider,
        authorizer=AllowAllAuthorizer(identity_provider=provider, log=_log),
        kernel_websocket_connection_class=ChannelsConnection,
        websocket_max_message_size=service.settings.max_body,
        started=datetime.fromtimestamp(service.started, UTC),
    )


def _routes(root: str, kwargs: dict[str, Any]) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    replacements: dict[type[RequestHandler], type[RequestHandler]] = {
        KernelWebsocketHandler: Channels,
        MainKernelHandler: KernelsHandler,
        KernelSpecResourceHandler: Resource,
    }
    jupyter_routes = [*kernel_handlers, *spec_handlers, *session_handlers, *resource_handlers]
    pairs: list[tuple[str, type[RequestHandler]]] = [
        (r"/api/?", VersionHandler),
        (r"/api/status", StatusHandler),
        (r"/api/me", MeHandler),
        *((pattern, replacements.get(handler) or guarded(handler)) for pattern, handler in jupyter_routes),
    ]
    routes = [(re.escape(root) + pattern, handler, kwargs) for pattern, handler in pairs]
    return [*routes, (r".*", UnknownHandler, kwargs)]
