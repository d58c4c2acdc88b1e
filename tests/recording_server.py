"""An HTTP server that records requests and gives prepared responses, for tests of clients."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class RecordingServer(ThreadingHTTPServer):
    """HTTP server on a free port; a context manager, which serves until the block ends.

    `responses[method, path]` is a status, a content type and a body. `requests` has the method, the path and
    the Authorization header of each request, `bodies` the Content-Type and the body of each with a body.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.responses: dict[tuple[str, str], tuple[int, str, bytes]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.bodies: list[tuple[str, bytes]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RecordingServer

    def _respond(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization")))
        if length := int(self.headers.get("Content-Length", "0")):
            self.server.bodies.append((self.headers.get("Content-Type", ""), self.rfile.read(length)))
        status, kind, body = self.server.responses[self.command, self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _respond

    def log_message(self, format: str, *args: object) -> None:
        pass
